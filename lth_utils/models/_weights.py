"""What of a network can be pruned, its weights as values, and initial weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.models._masked import Masked
from lth_utils.models._networks import Shortcut, glorot_normal
from lth_utils.randomness import stream

Weights = dict[str, Tensor]


# What of a network can be pruned ------------------------------------------------------------------


def prunable(model: nn.Module) -> dict[str, str]:
    """The prunable tensors of a network, in order, each with its kind.

    These are the weights of linear and convolutional layers; kinds are ``"conv"``,
    ``"shortcut"`` for the convolutions of a residual network's shortcuts (:class:`Shortcut`),
    ``"linear"`` and, for the last linear layer, ``"output"``. Biases and batch norm are not
    prunable.
    """
    kinds = {}
    for name, module in model.named_modules():
        layer = module.layer if isinstance(module, Masked) else module
        if isinstance(layer, nn.Linear):
            kinds[f"{name}.weight" if name else "weight"] = "linear"
        elif isinstance(layer, Shortcut):
            kinds[f"{name}.weight" if name else "weight"] = "shortcut"
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            kinds[f"{name}.weight" if name else "weight"] = "conv"
    linear = [name for name, kind in kinds.items() if kind == "linear"]
    if linear:
        kinds[linear[-1]] = "output"
    return kinds


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor that a network's weights hold, without the member axis: what can be
    trained, batch-norm statistics, and what a :class:`Masked` layer masks."""
    return {name: tuple(t.shape) for name, t in _tensors(model).items()}


def trainable(model: nn.Module) -> list[str]:
    """Names of the tensors that training changes by gradient: all but batch-norm statistics and
    what a :class:`Masked` layer masks."""
    return [name for name, _ in model.named_parameters()]


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and statistics; a count of batches seen, or an index, is no weight and stays
    out."""
    buffers = {n: b for n, b in model.named_buffers() if b.is_floating_point()}
    return dict(model.named_parameters()) | buffers


def dense_mask(model: nn.Module, members: int = 1) -> Mask:
    """The mask of ``members`` networks from which nothing has been pruned."""
    every = shapes(model)
    return Mask.dense({name: every[name] for name in prunable(model)}, members)


# Initial weights ----------------------------------------------------------------------------------


def initialise(
    model: nn.Module,
    seeds: Sequence[int],
    purpose: str = "init",
    *where: object,
    deviation: Callable[[Sequence[int]], float] | None = None,
) -> Weights:
    """Initial weights, one member a seed: normal weights, zero biases, neutral batch norm.

    Each tensor has a stream of its own, so a layer that changes its size changes no other. What
    :func:`constants` names begins as the module has it.

    Args:
        model: the network; its other present values are not used.
        seeds: one for each member.
        purpose: ``"init"`` for the original weights, ``"reinit"`` for a control's fresh ones.
        where: what else the draw depends on, for instance the level.
        deviation: standard deviation from the shape of a weight tensor; by default the
            network's own, its attribute ``deviation``, or else that of Glorot and Bengio, with
            which Frankle and Carbin (2019) initialise all their networks.

    Returns:
        Tensors (R, \\*shape), float32, on the CPU.
    """
    deviation = deviation or getattr(model, "deviation", glorot_normal)
    kept, weights = constants(model), {}
    for name, shape in shapes(model).items():
        streams = [stream(seed, purpose, *where, name) for seed in seeds]
        layer, _, part = name.rpartition(".")
        rule = getattr(model.get_submodule(layer), "rule", None)
        if rule and part == "scores":
            weights[name] = torch.stack([rule.scores(shape, each) for each in streams])
        elif name in kept:
            weights[name] = kept[name].cpu().float().expand(len(seeds), *shape).clone()
        elif len(shape) > 1:
            draws = torch.stack([each.normal(*shape) for each in streams])
            weights[name] = rule.weights(draws, deviation) if rule else draws * deviation(shape)
        else:
            one = part in ("running_var", "weight")
            weights[name] = torch.full((len(seeds), *shape), float(one))
    return weights


_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def constants(model: nn.Module) -> dict[str, Tensor]:
    """What of a reader's own network begins as the module has it, for every seed.

    These are buffers that are no statistics, and parameters that are neither weight, bias nor norm
    and have one axis or the same number everywhere: gains, slopes, the token of a class.
    """
    kinds, learnt, found = prunable(model), dict(model.named_parameters()), {}
    for name, tensor in _tensors(model).items():
        layer, _, part = name.rpartition(".")
        layer = model.get_submodule(layer)
        is_usual = part in ("bias", "running_mean", "running_var") or isinstance(layer, _NORMS)
        is_drawn = name in learnt and tensor.dim() > 1 and tensor.ne(tensor.flatten()[0]).any()
        if not (name in kinds or is_usual or is_drawn or isinstance(layer, Masked)):
            found[name] = tensor.detach()
    return found


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
