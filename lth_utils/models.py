"""Networks as functions, weights as values.

A network here is a plain ``nn.Module`` that is never trained in place: it is only the function.
Its weights are a dictionary of tensors with a leading axis of members, (R, \\*shape), and
:func:`forward` applies the function to R sets of weights at once. Rewinding, drawing anew,
interpolating are then arithmetic on dictionaries.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lth_utils.errors import InputError, look_up
from lth_utils.masks import Mask
from lth_utils.randomness import stream

Weights = dict[str, Tensor]


# The papers' networks ----------------------------------------------------------------------------


class LeNet(nn.Sequential):
    """LeNet-300-100: two hidden layers, fully connected (LeCun et al., 1998).

    Args:
        inputs: shape of one image.
        classes: number of outputs.
        width: multiplies both hidden layers; 1 is the paper's network, 266,200 prunable weights.
    """

    def __init__(self, inputs: Sequence[int] = (1, 28, 28), classes: int = 10, width: float = 1.0):
        wide, narrow = _scaled(300, width), _scaled(100, width)
        super().__init__(
            OrderedDict(
                flatten=nn.Flatten(),
                fc1=nn.Linear(math.prod(inputs), wide),
                relu1=nn.ReLU(),
                fc2=nn.Linear(wide, narrow),
                relu2=nn.ReLU(),
                output=nn.Linear(narrow, classes),
            )
        )


def _scaled(units: int, width: float) -> int:
    if width <= 0:
        raise InputError(f"A network's width is a positive multiple; got {width}.")
    return max(1, round(units * width))


NETWORKS: dict[str, Callable[..., nn.Module]] = {"lenet-300-100": LeNet}
"""Every network by name, to be called with the shape of an image, the classes and a width."""


def build(name: str, inputs: Sequence[int], classes: int, width: float = 1.0) -> nn.Module:
    """The network called ``name`` for images of shape ``inputs``.

    Raises:
        InputError: no network has that name.
    """
    return look_up("network", name, NETWORKS)(inputs, classes, width)


# What of a network can be pruned ------------------------------------------------------------------


def prunable(model: nn.Module) -> dict[str, str]:
    """The prunable tensors of a network, in order, each with its kind.

    These are the weights of linear and convolutional layers; kinds are ``"conv"``, ``"linear"``
    and, for the last linear layer, ``"output"``. Biases and batch norm are not prunable.
    """
    kinds = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            kinds[f"{name}.weight" if name else "weight"] = "linear"
        elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            kinds[f"{name}.weight" if name else "weight"] = "conv"
    linear = [name for name, kind in kinds.items() if kind == "linear"]
    if linear:
        kinds[linear[-1]] = "output"
    return kinds


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of each trainable tensor and each batch-norm statistic, without the member axis."""
    return {name: tuple(t.shape) for name, t in _tensors(model).items()}


def trainable(model: nn.Module) -> list[str]:
    """Names of the tensors that training changes by gradient: all but batch-norm statistics."""
    return [name for name, _ in model.named_parameters()]


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and statistics; the count of batches seen is no weight and stays out."""
    buffers = {n: b for n, b in model.named_buffers() if not n.endswith("num_batches_tracked")}
    return dict(model.named_parameters()) | buffers


def dense_mask(model: nn.Module, members: int = 1) -> Mask:
    """The mask of ``members`` networks from which nothing has been pruned."""
    return Mask.dense({n: tuple(model.get_parameter(n).shape) for n in prunable(model)}, members)


# Initial weights ----------------------------------------------------------------------------------


def glorot_normal(shape: Sequence[int]) -> float:
    """Standard deviation of Glorot and Bengio (2010): sqrt(2 / (fan in + fan out))."""
    area = math.prod(shape[2:])
    return math.sqrt(2 / ((shape[0] + shape[1]) * area))


def initialise(
    model: nn.Module,
    seeds: Sequence[int],
    purpose: str = "init",
    *where: object,
    deviation: Callable[[Sequence[int]], float] = glorot_normal,
) -> Weights:
    """Initial weights, one member a seed: normal weights, zero biases, neutral batch norm.

    Each tensor has a stream of its own, so a layer that changes its size changes no other.

    Args:
        model: the network; its own present values are not used.
        seeds: one for each member.
        purpose: ``"init"`` for the original weights, ``"reinit"`` for a control's fresh ones.
        where: what else the draw depends on, for instance the level.
        deviation: standard deviation from the shape of a weight tensor.

    Returns:
        Tensors (R, \\*shape), float32, on the CPU.
    """
    kinds = prunable(model)
    weights = {}
    for name, shape in shapes(model).items():
        if name in kinds or len(shape) > 1:
            draws = [stream(seed, purpose, *where, name).normal(*shape) for seed in seeds]
            weights[name] = torch.stack(draws) * deviation(shape)
        else:
            one = name.endswith(("running_var", "weight"))
            weights[name] = torch.full((len(seeds), *shape), float(one))
    return weights


# The function -------------------------------------------------------------------------------------


def forward(model: nn.Module, weights: Weights, images: Tensor, training: bool = False) -> Tensor:
    """Outputs of R networks at once.

    A network that is a plain sequence of the layers in :data:`STACKED` runs as stacked products;
    any other runs one member after another.

    Args:
        model: the function.
        weights: tensors (R, \\*shape). Batch-norm statistics in it are updated when training.
        images: (B, C, H, W), the same for every member, or (R, B, C, H, W).
        training: whether batch norm uses the batch's own statistics.

    Returns:
        (R, B, classes).
    """
    members = len(next(iter(weights.values())))
    if is_stackable(model):
        x = images
        for name, layer in model.named_children():
            x = STACKED[type(layer)](layer, _of_layer(weights, name), x)
        return x
    modes = {module: module.training for module in model.modules()}
    # Batch norm counts its batches in place; nobody asks, so that each call counts on a copy.
    counts = {n: b for n, b in model.named_buffers() if n.endswith("num_batches_tracked")}
    per_member = images if images.dim() == 5 else images.expand(members, *images.shape)
    model.train(training)
    try:
        outputs = []
        for r in range(members):
            values = {n: w[r] for n, w in weights.items()}
            values |= {n: b.clone() for n, b in counts.items()}
            outputs.append(functional_call(model, values, (per_member[r],)))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return torch.stack(outputs)


def is_stackable(model: nn.Module) -> bool:
    """Whether the population can be computed as one product a layer."""
    # A module that is used twice is named once, so it needs the way of one member after another.
    once = len(list(model.children())) == len(model._modules)
    return isinstance(model, nn.Sequential) and once and all(type(m) in STACKED for m in model)


def _of_layer(weights: Weights, layer: str) -> Weights:
    prefix = f"{layer}."
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}


def _linear(layer: nn.Linear, weights: Weights, x: Tensor) -> Tensor:
    weight, bias = weights["weight"], weights.get("bias")
    if x.dim() == 2:  # one batch for all members: a single product with all their rows
        members, out, _ = weight.shape
        y = (x @ weight.flatten(0, 1).T).unflatten(1, (members, out)).transpose(0, 1)
        return y if bias is None else y + bias.unsqueeze(1)
    if bias is None:
        return torch.bmm(x, weight.mT)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)


STACKED: dict[type[nn.Module], Callable[[nn.Module, Weights, Tensor], Tensor]] = {
    # Images have channels, rows and columns; what a linear layer gives is flat already.
    nn.Flatten: lambda layer, weights, x: x.flatten(-3) if x.dim() > 3 else x,
    nn.Linear: _linear,
    nn.ReLU: lambda layer, weights, x: torch.relu(x),
    nn.Tanh: lambda layer, weights, x: torch.tanh(x),
    nn.Identity: lambda layer, weights, x: x,
}
"""How each kind of layer runs for a whole population; a new kind is one line."""


# To and from nn.Module ----------------------------------------------------------------------------


def from_module(module: nn.Module) -> Weights:
    """The weights that a module holds now, as values with one member (R = 1)."""
    return {name: t.detach().clone().unsqueeze(0) for name, t in _tensors(module).items()}


def to_module(
    model: nn.Module, weights: Weights, member: int = 0, mask: Mask | None = None
) -> nn.Module:
    """A copy of ``model`` that holds one member's weights, ready for any PyTorch code.

    Args:
        model: the network that the weights belong to; it stays as it is.
        weights: tensors (R, \\*shape).
        member: which of the R.
        mask: pruned weights of this mask are set to zero in the copy.

    Raises:
        InputError: names or shapes differ from the model's, or there is no such member.
    """
    check_weights(model, weights)
    members = len(next(iter(weights.values())))
    if not -members <= member < members:
        raise InputError(f"There is no member {member}; the weights have {members}.")
    if mask is not None:
        weights = mask.apply(weights)
    module = copy.deepcopy(model)
    with torch.no_grad():
        for name, tensor in _tensors(module).items():
            tensor.copy_(weights[name][member])
    return module


def check_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise :class:`~lth_utils.errors.InputError` unless the weights fit the network."""
    expected = shapes(model)
    if missing := [n for n in expected if n not in weights]:
        raise InputError(f"The weights lack {', '.join(missing)}; start from task.init(seeds).")
    if extra := [n for n in weights if n not in expected]:
        raise InputError(f"The network has no tensor called {', '.join(extra)}.")
    for name, shape in expected.items():
        if tuple(weights[name].shape[1:]) != shape or weights[name].dim() == 0:
            raise InputError(
                f"{name} has shape {tuple(weights[name].shape)}; expected (members, "
                f"{', '.join(map(str, shape))}), with a leading axis of members."
            )
    members = {name: len(w) for name, w in weights.items()}
    if len(set(members.values())) != 1:
        raise InputError(f"Every tensor leads with the same number of members; got {members}.")
