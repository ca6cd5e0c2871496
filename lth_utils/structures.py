"""Structures: whole units removed, so that what is left is a smaller dense network.

A *unit* is what goes at once: a neuron with all that leads into it and out of it; a filter with its
channel, its batch norm and what reads it; around a residual connection the channel of every block
that adds to it; an attention head. Which tensors hang together is found by Torch-Pruning (Fang et
al., 2023), which follows one image through the network.

Two steps, because a structured mask is a :class:`.Mask` like any other and can be trained, compared
and stored as such::

    mask = prune(model, trained, (1, 28, 28), density=0.1)    # whole units, by magnitude
    small = remove(model, start, mask, (1, 28, 28))           # one member: R = 1
    run = train(small.model, small.weights, small.mask, data, recipe, seeds)

:func:`remove` is exact for every mask: it takes away the units from which no kept weight leads on,
and no others. :func:`.shrink` takes away more, since it also follows such units back, but reads
plain sequences only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from lth_utils import models, pruning
from lth_utils.errors import InputError, unknown
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import stream

__all__ = ["CRITERIA", "Group", "Smaller", "groups", "prune", "random_units", "remove", "units"]

CRITERIA = ("magnitude", "random")
"""What decides which units go, the norm of all weights into and out of a unit or chance."""


# What hangs together ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Layers that have their units in common.

    Attributes:
        name: the prunable tensor that the group begins at.
        size: how many units.
        parts: for each prunable tensor that a unit has a share in, ``(name, axis, at, unit)``: the
            entries ``at`` along ``axis`` (0: it leads into the unit, 1: out of it) belong to the
            units ``unit``, int64 both. Behind convolutions a unit has many entries of a linear
            layer, one for each position.
    """

    name: str
    size: int
    parts: tuple[tuple[str, int, Tensor, Tensor], ...]


def groups(model: nn.Module, input_shape: Sequence[int]) -> list[Group]:
    """The groups of a network's hidden units, in the order of their first layers.

    Inputs and outputs are no units: the images and the classes stay. Nor are the channels that a
    layer norm reads, which could not go without changing all others.

    Args:
        model: the network; its weights play no part.
        input_shape: of one image, (C, H, W).
    """
    found = [group for group, _ in _followed(copy.deepcopy(model).cpu(), input_shape)[1]]
    place = {name: i for i, name in enumerate(models.prunable(model))}
    return sorted(found, key=lambda group: place[group.name])


def _followed(module: nn.Module, input_shape: Sequence[int]):
    """Torch-Pruning's graph of a module, and each group with what the library calls it."""
    import torch_pruning

    modes = {part: part.training for part in module.modules()}
    module.eval()  # batch norm counts no image that only finds the way
    dtype = next(module.parameters()).dtype
    graph = torch_pruning.DependencyGraph().build_dependency(
        module, example_inputs=torch.zeros(1, *input_shape, dtype=dtype)
    )
    for part, mode in modes.items():
        part.training = mode
    kinds = models.prunable(module)
    outputs = [module.get_submodule(_layer(name)) for name in kinds if kinds[name] == "output"]
    listed = list(
        graph.get_all_groups(ignored_layers=outputs, root_module_types=[nn.Conv2d, nn.Linear])
    )
    return graph, [(_read(module, each), each) for each in listed if _can_go(each)]


def _can_go(listed) -> bool:
    whole = (nn.LayerNorm, nn.Embedding)
    return not any(isinstance(item.dep.target.module, whole) for item in listed)


def _read(module: nn.Module, listed) -> Group:
    names = {layer: f"{name}.weight" for name, layer in module.named_modules()}
    kinds, parts = models.prunable(module), {}
    size = len(listed[0].idxs)
    each = size // _heads(module, listed) if _heads(module, listed) else 1
    for item in listed:
        name = names.get(item.dep.target.module, "")
        if name in kinds:
            axis = 0 if "out" in item.dep.handler.__name__ else 1
            unit = torch.tensor(item.root_idxs) // each
            parts[name, axis] = (name, axis, torch.tensor(item.idxs), unit)
    order = list(kinds)  # the library may have begun to follow the group anywhere
    first = min((name for name, axis in parts if axis == 0), key=order.index)
    return Group(first, size // each, tuple(parts.values()))


def _heads(module: nn.Module, listed) -> int:
    """How many heads the values of a group belong to; none if it is no attention's."""
    layers = {item.dep.target.module for item in listed}
    found = [part for part in module.modules() if isinstance(part, models.Attention)]
    return next((part.heads for part in found if part.value in layers), 0)


def _layer(name: str) -> str:
    return name.removesuffix("weight").removesuffix(".")


# Which units go -----------------------------------------------------------------------------------


def prune(
    model: nn.Module,
    weights: Weights,
    input_shape: Sequence[int],
    density: float | None = None,
    share: float | None = None,
    criterion: str = "magnitude",
    seeds: Sequence[int] | None = None,
    level: int = 0,
) -> Mask:
    """A mask that keeps whole units, the same share of every group and at least one unit.

    Of a unit that goes, no weight is kept, neither into it nor out of it.

    Args:
        model: the function.
        weights: tensors (R, \\*shape), by which units are ranked. A unit whose weights are zero
            already goes first, so that masks of ever fewer units lie one in another.
        input_shape: of one image, (C, H, W).
        density: the most that is kept of the prunable weights; as much of it as whole units give.
        share: of the units that are kept, instead of a density.
        criterion: one of ``CRITERIA``.
        seeds: one for each member, where units go at random.
        level: what a draw depends on besides.

    Returns:
        R members.

    Raises:
        InputError: weights and network do not fit, neither or both of ``density`` and ``share`` are
            given, or one is not between 0 and 1.
    """
    models.check_weights(model, weights)
    if (density is None) == (share is None):
        raise InputError("Give either the density of weights to keep, or the share of units.")
    given = share if density is None else density
    if not 0 < given <= 1:
        raise InputError(f"What is kept is more than 0 and at most 1; got {given}.")
    found = groups(model, input_shape)
    shapes = {name: models.shapes(model)[name] for name in models.prunable(model)}
    if share is None:
        share = _share_for(density, found, shapes)
    members = len(next(iter(weights.values())))
    if criterion == "magnitude":
        scores = [_norms(group, weights) for group in found]
    elif criterion == "random":
        if seeds is None or len(seeds) != members:
            raise InputError("Units that go at random need seeds=..., one a member.")
        scores = [_draws(group, weights, seeds, level) for group in found]
    else:
        raise unknown("criterion for units", criterion, CRITERIA)
    kept = {name: torch.ones(members, *shape, dtype=torch.bool) for name, shape in shapes.items()}
    for group, score in zip(found, scores, strict=True):
        best = score.cpu().topk(_units(share, group.size), dim=1).indices
        stays = torch.zeros(members, group.size, dtype=torch.bool).scatter_(1, best, True)
        for name, axis, at, unit in group.parts:
            whole = torch.ones(members, shapes[name][axis], dtype=torch.bool)
            whole[:, at] = stays[:, unit]
            side = [members, *[1] * len(shapes[name])]
            side[axis + 1] = -1
            kept[name] &= whole.view(side)
    return Mask(kept).to(next(iter(weights.values())).device)


def _units(share: float, size: int) -> int:
    return max(1, round(share * size))


def _share_for(density: float, found: Sequence[Group], shapes: Mapping) -> float:
    """The largest share of units that keeps at most this density of weights."""
    sizes = {name: list(shape[:2]) for name, shape in shapes.items()}

    def weights_left(share: float) -> int:
        left = {name: list(size) for name, size in sizes.items()}
        for group in found:
            for name, axis, at, _ in group.parts:
                gone = group.size - _units(share, group.size)
                left[name][axis] -= gone * len(at) // group.size
        return sum(math.prod(left[n]) * math.prod(shape[2:]) for n, shape in shapes.items())

    most, low, high = density * weights_left(1.0), 0.0, 1.0
    if weights_left(high) <= most:
        return high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if weights_left(middle) <= most else (low, middle)
    return low


def _norms(group: Group, weights: Weights) -> Tensor:
    """The norm of all prunable weights into and out of each unit, (R, units)."""
    squares = 0.0
    for name, axis, at, unit in group.parts:
        w = weights[name].detach().transpose(1, axis + 1)
        rows = w.flatten(2).double().square().sum(2)[:, at]
        squares += rows.new_zeros(len(rows), group.size).index_add_(1, unit.to(rows.device), rows)
    return squares.sqrt()


def _draws(group: Group, weights: Weights, seeds: Sequence[int], level: int) -> Tensor:
    """A number for each unit, (R, units); zero for what is gone already."""
    draws = [
        stream(seed, "random mask", "units", level, group.name).uniform(group.size)
        for seed in seeds
    ]
    there = _norms(group, weights) > 0
    return torch.from_numpy(np.stack(draws)).to(there.device) * there


def _pruner(criterion: str):
    def pruner(
        weights: Weights,
        mask: Mask,
        fractions: float | Mapping[str, float],
        scope: str = "layer",
        *,
        start: Weights | None = None,
        seeds: Sequence[int] | None = None,
        level: int = 0,
        task=None,
    ) -> Mask:
        if task is None:
            raise InputError("Units are found in a network: pass task=..., the task it belongs to.")
        shares = pruning.check(mask, fractions, scope)
        left = sum((1 - shares[name]) * int(kept[0].sum()) for name, kept in mask.items())
        found = prune(
            task.model, mask.apply(weights), task.data.input_shape, density=left / mask.size,
            criterion=criterion, seeds=seeds, level=level,
        )  # fmt: skip
        return found & mask

    return pruner


units = _pruner("magnitude")
units.__name__ = units.__qualname__ = "units"
units.__doc__ = """Remove whole units of least norm, as many as leave no more weights in all than
the fractions ask for: a criterion for :func:`lth_utils.imp`, which every scope treats alike."""

random_units = _pruner("random")
random_units.__name__ = random_units.__qualname__ = "random_units"
random_units.__doc__ = """Remove whole units at random: the control for :func:`units`."""

units.scores, random_units.scores = units, random_units  # by which a store knows them


# The smaller network ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Smaller:
    """A network from which units were removed, as one member (R = 1).

    Attributes:
        model: the smaller network; its layers have the names of the full one's.
        weights: its weights, tensors (1, \\*smaller shape); what the mask prunes is zero.
        mask: what of the given mask is left in it, of its own shapes.
        saved: share of the full network's prunable weights that are not there any more, 0 to 1.
    """

    model: nn.Module
    weights: Weights
    mask: Mask
    saved: float
    _places: Mapping[str, Tensor]
    _full: Mapping[str, tuple[int, ...]]

    def cut(self, weights: Weights) -> Weights:
        """Other weights of the full network, cut in the same way: those to rewind to, say.

        Args:
            weights: tensors (R, \\*full shape).

        Returns:
            Tensors (R, \\*smaller shape).
        """
        small = models.shapes(self.model)
        return {
            name: w.detach().flatten(1)[:, self._places[name].to(w.device)].view(-1, *small[name])
            for name, w in weights.items()
        }

    def restore(self, weights: Weights) -> Weights:
        """Weights of the full network, zero where units were removed.

        Args:
            weights: tensors (R, \\*smaller shape).

        Returns:
            Tensors (R, \\*full shape).

        Raises:
            InputError: the weights are not of the smaller network.
        """
        models.check_weights(self.model, weights)
        full = {}
        for name, w in weights.items():
            whole = w.new_zeros(len(w), math.prod(self._full[name]))
            whole[:, self._places[name].to(w.device)] = w.detach().flatten(1)
            full[name] = whole.view(-1, *self._full[name])
        return full


def remove(model: nn.Module, weights: Weights, mask: Mask, input_shape: Sequence[int]) -> Smaller:
    """The network without the units from which no kept weight leads on.

    It computes the same outputs and, without weight decay, trains in the same way. Of a group that
    is dead as a whole one unit stays.

    Args:
        model: the network, used as a function.
        weights: tensors (1, \\*shape); those that the mask prunes count as zero.
        mask: one member (R = 1), of whole units or any other.
        input_shape: of one image, (C, H, W).

    Raises:
        InputError: weights and mask do not fit the network or have more members than one.
    """
    models.check_weights(model, weights)
    shapes = models.shapes(model)
    mask.check({name: shapes[name] for name in models.prunable(model)}, 1)
    mask = mask.to(next(iter(weights.values())).device)
    module = copy.deepcopy(model).cpu().double()
    graph, found = _followed(module, input_shape)
    gone = [(listed, group.size, _dead(group, mask)) for group, listed in found]
    # Each tensor holds the numbers of its own places, so that what the library leaves of it says
    # where everything comes from. In double precision, which counts to 2 to the 53rd.
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.no_grad():
        for name, shape in shapes.items():
            tensors[name].copy_(torch.arange(math.prod(shape)).view(shape))
    for listed, size, dead in gone:
        if dead:
            root, each = listed[0], len(listed[0].idxs) // size
            at = [unit * each + i for unit in dead for i in range(each)]
            _fewer_heads(module, listed, dead)
            graph.get_pruning_group(root.dep.target.module, root.dep.handler, at).prune()
    places = {name: w.flatten().long() for name, w in models.from_module(module).items()}
    module = module.float().to(next(model.parameters()).device)
    left = {name: kept.flatten(1)[:, places[name].to(kept.device)] for name, kept in mask.items()}
    small = models.shapes(module)
    left = Mask({name: kept.view(1, *small[name]) for name, kept in left.items()})
    found = Smaller(module, {}, left, 1 - left.size / mask.size, places, shapes)
    weights = found.cut(mask.apply(weights))
    return replace(found, model=models.to_module(module, weights), weights=weights)


def _dead(group: Group, mask: Mask) -> list[int]:
    """The units that nothing reads, but never all of them."""
    read = torch.zeros(group.size, dtype=torch.long)
    for name, axis, at, unit in group.parts:
        if axis == 1:
            columns = mask[name][0].cpu().transpose(0, 1).flatten(1).any(1)
            read.index_add_(0, unit, columns[at].long())
    dead = (read == 0).nonzero().flatten().tolist()
    return dead[1:] if len(dead) == group.size else dead


def _fewer_heads(module: nn.Module, listed, gone: Sequence[int]) -> None:
    layers = {item.dep.target.module for item in listed}
    for part in module.modules():
        if isinstance(part, models.Attention) and part.value in layers:
            part.slopes = tuple(s for head, s in enumerate(part.slopes) if head not in gone)
