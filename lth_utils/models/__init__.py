"""Networks as functions, weights as values.

A network here is a plain ``nn.Module`` that is never trained in place: it is only the function.
Its weights are a dictionary of tensors with a leading axis of members, (R, \\*shape), and
:func:`forward` applies the function to R sets of weights at once. Rewinding, drawing anew,
interpolating are then arithmetic on dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lth_utils.errors import InputError, look_up
from lth_utils.models._masked import Masked, Rule
from lth_utils.models._networks import (
    MLP,
    VGG,
    Conv,
    Dropout,
    LeNet,
    Noisy,
    ResNet,
    ResNet18,
    ResNet50,
    Shortcut,
    add_dropout,
    glorot_normal,
    kaiming_normal,
)
from lth_utils.models._own import Network, called, check, made
from lth_utils.models._transformer import Attention, Reader, Transformer, heads
from lth_utils.models._weights import (
    Weights,
    check_weights,
    constants,
    dense_mask,
    from_module,
    initialise,
    prunable,
    shapes,
    to_module,
    trainable,
)

__all__ = [
    "MLP", "NETWORKS", "STACKED", "VGG", "Attention", "Conv", "Dropout", "LeNet", "Masked",
    "Noisy", "Reader", "ResNet", "ResNet18", "ResNet50", "Rule", "Shortcut",
    "Transformer", "add_dropout", "build", "called", "check", "check_weights", "constants",
    "dense_mask", "forward", "from_module", "glorot_normal", "heads", "initialise", "is_stackable",
    "kaiming_normal", "made", "prunable", "shapes", "to_module", "trainable",
]  # fmt: skip

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "lenet-300-100": LeNet,
    "mlp-3": MLP,
    "mlp-5": partial(MLP, depth=5),
    "conv-2": partial(Conv, depth=2),
    "conv-4": partial(Conv, depth=4),
    "conv-6": partial(Conv, depth=6),
    "vgg-11": partial(VGG, depth=11),
    "vgg-11-plain": partial(VGG, depth=11, norm=False),
    "vgg-16": partial(VGG, depth=16),
    "vgg-19": partial(VGG, depth=19),
    "resnet-20": partial(ResNet, depth=20),
    "resnet-32": partial(ResNet, depth=32),
    "resnet-56": partial(ResNet, depth=56),
    "resnet-18": ResNet18,
    "resnet-50": ResNet50,
    "transformer-2": partial(Transformer, depth=2),
}
"""Every network by name, to be called with the shape of an image, the classes and a width.

:meta hide-value:
"""


def build(
    network: Network, inputs: Sequence[int], classes: int, width: float = 1.0, dropout: float = 0.0
) -> nn.Module:
    """A network for images of shape ``inputs``, by its name or a reader's own.

    With a ``dropout`` rate, units of every hidden layer that is fully connected are left out. A
    class or function of a reader's own is called with those of ``inputs``, ``classes`` and
    ``width`` that it names; a module is copied.

    Raises:
        InputError: no network has that name, or it cannot take such images, or has no layer for
            dropout; or one's own cannot be made.
    """
    if isinstance(network, str):
        model = look_up("network", network, NETWORKS)(inputs, classes, width)
    else:
        model = made(network, inputs, classes, width)
    if dropout and not isinstance(model, nn.Sequential):
        raise InputError(
            f"{called(network)} is no plain sequence of layers, so it is not known where dropout "
            "goes; put nn.Dropout into the network."
        )
    if dropout:
        add_dropout(model, dropout)
    return model


# The function -------------------------------------------------------------------------------------


def forward(model: nn.Module, weights: Weights, images: Tensor, training: bool = False) -> Tensor:
    """Outputs of R networks at once.

    A network that is a plain sequence of the layers in :data:`STACKED` runs as stacked products;
    any other runs one member after another.

    Args:
        model: the function.
        weights: tensors (R, \\*shape). Batch-norm statistics in it are updated when training.
        images: (B, C, H, W), the same for every member, or (R, B, C, H, W); a text's windows are
            (1, 1, T) in place of (C, H, W).
        training: whether batch norm uses the batch's own statistics.

    Returns:
        (R, B, classes), or of a network that reads text (R, B, T, classes).
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
    # A subclass may do more than run its layers in order.
    if type(model).forward is not nn.Sequential.forward:
        return False
    # A module that is used twice is named once, so it needs the way of one member after another.
    once = len(list(model.children())) == len(model._modules)
    return once and all(type(m) in STACKED for m in model)


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
