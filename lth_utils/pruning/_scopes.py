"""From scores to a mask: how many weights of each layer go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lth_utils import training
from lth_utils.errors import InputError, unknown
from lth_utils.masks import Mask
from lth_utils.models import Weights

if TYPE_CHECKING:
    from lth_utils.tasks import Task


def prune(
    scores: Mapping[str, Tensor],
    mask: Mask,
    fractions: float | Mapping[str, float],
    scope: str = "layer",
    weights: Weights | None = None,
    task: Task | None = None,
) -> Mask:
    """Remove the lowest scores among the weights that ``mask`` still keeps.

    From each layer go ``round(fraction × kept)`` weights, an exact count. Any other scope than
    ``"layer"`` removes the same total, and divides it among the layers in its own way. A layer
    whose fraction is 0 loses nothing in any scope. Among equal scores the one that comes first in
    the tensor goes first, so the result never depends on the machine.

    Args:
        scores: (R, \\*shape) for each tensor of the mask.
        mask: the present mask, R members.
        fractions: share of the remaining weights to remove; one number, or one for each tensor.
        scope: how the total is divided, a name in ``SCOPES``.
        weights: trained weights (R, \\*shape), for a scope that tries them.
        task: whose network and validation images, for a scope that tries the weights.

    Returns:
        A new mask, a subset of ``mask``.

    Raises:
        InputError: a fraction outside 0 to 1, an unknown scope, scores that do not fit or are
            not numbers.
    """
    return remove(
        scores, mask, to_remove(mask, check(mask, fractions, scope)), scope, weights, task
    )


def remove(
    scores: Mapping[str, Tensor],
    mask: Mask,
    removed: Mapping[str, Sequence[int]],
    scope: str,
    weights: Weights | None,
    task: Task | None,
) -> Mask:
    """:func:`prune` by counts, of each layer that may lose any: one number a member. A scope other
    than ``"layer"`` removes their total."""
    for name in mask:
        if scores[name].shape != mask[name].shape:
            raise InputError(
                f"The mask does not fit at {name}: the mask has shape "
                f"{tuple(mask[name].shape)}, the scores {tuple(scores[name].shape)}."
            )
        if (torch.isnan(scores[name]) & mask[name]).any():
            raise InputError(
                f"A score of {name} is not a number: training has diverged. Lower the rate."
            )
    flat = {name: scores[name].flatten(1).double() for name in mask}
    if removed:
        part = Mask({name: mask[name] for name in removed})
        choice = Choice({n: flat[n] for n in removed}, part, removed, weights, task)
        removed = SCOPES[scope](choice)
    left = {
        name: _drop_lowest(flat[name], mask[name].flatten(1), counts)
        for name, counts in removed.items()
    }
    return Mask({name: left[name].view_as(k) if name in left else k for name, k in mask.items()})


def to_remove(mask: Mask, shares: Mapping[str, float]) -> dict[str, list[int]]:
    """How many weights that is of each layer with a share above 0, one number a member."""
    kept = _kept(mask)
    return {n: [round(shares[n] * k) for k in kept[n]] for n in mask if shares[n] > 0}


def check(mask: Mask, fractions: float | Mapping[str, float], scope: str) -> dict[str, float]:
    """The fraction for each tensor of a mask.

    Raises:
        InputError: a fraction is missing or outside 0 to 1, or there is no such scope.
    """
    if scope not in SCOPES:
        raise unknown("scope", scope, SCOPES)
    shares = fractions if isinstance(fractions, Mapping) else dict.fromkeys(mask, fractions)
    for name in mask:
        if name not in shares:
            raise InputError(f"No fraction is given for {name}; give one number or one a layer.")
        if not 0 <= shares[name] <= 1:
            raise InputError(
                f"A fraction is the share of the remaining weights to remove, from 0 to 1; "
                f"got {shares[name]} for {name}."
            )
    return {name: shares[name] for name in mask}


def _kept(mask: Mask) -> dict[str, list[int]]:
    return {name: kept.flatten(1).sum(1).tolist() for name, kept in mask.items()}


def _drop_lowest(scores: Tensor, kept: Tensor, counts: Sequence[int]) -> Tensor:
    """Keep all of ``kept`` (R, n) but the ``counts[r]`` lowest scores of each member."""
    left, scores = kept.cpu().numpy().copy(), scores.cpu().numpy()
    for member, count in enumerate(counts):
        if count == 0:
            continue
        candidates = np.flatnonzero(left[member])
        values = scores[member][candidates]
        # The last score to go is found without a sort, which would cost many times as much.
        last = np.partition(values, count - 1)[count - 1]
        below, ties = candidates[values < last], candidates[values == last]
        left[member, below] = False
        left[member, ties[: count - len(below)]] = False
    return torch.from_numpy(left).to(kept.device)


# Scopes -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """What a scope may look at when it divides what is to be removed among the layers."""

    scores: Mapping[str, Tensor]
    """Of the covered layers, float64 (R, n)."""
    mask: Mask
    """What the covered layers keep now."""
    removed: Mapping[str, list[int]]
    """How many weights the fractions remove of each layer, one number a member."""
    weights: Weights | None
    task: Task | None

    @property
    def totals(self) -> list[int]:
        """How many weights of all covered layers go, one number a member."""
        return [sum(counts) for counts in zip(*(self.removed[n] for n in self.mask), strict=True)]


Scope = Callable[[Choice], Mapping[str, list[int]]]

SCOPES: dict[str, Scope] = {}
"""Every way to divide what is removed among the layers, by name.

:meta hide-value:
"""


def scope(name: str) -> Callable[[Scope], Scope]:
    """Register a function from a :class:`Choice` to how many weights of each layer go."""

    def register(function: Scope) -> Scope:
        SCOPES[name] = function
        return function

    return register


@scope("layer")
def by_layer(choice: Choice) -> Mapping[str, list[int]]:
    """Each layer by itself, by its own fraction."""
    return {name: choice.removed[name] for name in choice.mask}


@scope("global")
def over_all(choice: Choice) -> Mapping[str, list[int]]:
    """All layers ranked together: one threshold for the whole network."""
    kept = torch.cat([kept.flatten(1) for kept in choice.mask.values()], dim=1)
    left = _drop_lowest(torch.cat(list(choice.scores.values()), dim=1), kept, choice.totals)
    gone = (kept & ~left).split([s.shape[1] for s in choice.scores.values()], dim=1)
    return {name: part.sum(1).tolist() for name, part in zip(choice.mask, gone, strict=True)}


@scope("uniform")
def uniform(choice: Choice) -> Mapping[str, list[int]]:
    """One density for all layers."""
    size = {name: float(np.prod(shape)) for name, shape in choice.mask.shapes.items()}
    return _to_keep(choice, lambda scale, _: {name: scale * n for name, n in size.items()})


@scope("erdos-renyi")
def erdos_renyi(choice: Choice) -> Mapping[str, list[int]]:
    """Densities in proportion to (fan in + fan out + rows + columns) ÷ the product of these, where
    fans count channels (Mocanu et al., 2018; for convolutions Evci et al., 2020): small layers
    keep more. What one layer cannot hold goes to the others."""
    shapes = choice.mask.shapes
    size = {name: float(np.prod(shape)) for name, shape in shapes.items()}
    odds = {name: sum(shape) / size[name] for name, shape in shapes.items()}
    return _to_keep(choice, lambda scale, _: {n: scale * odds[n] * size[n] for n in size})


SENSITIVITY_GRID = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.003, 0.001)
SENSITIVITY_IMAGES = 1000


@scope("sensitivity")
def by_sensitivity(choice: Choice) -> Mapping[str, list[int]]:
    """Each layer as far as the validation loss rises equally when it alone is pruned (after Han et
    al., 2015, who chose by hand from such curves).

    The loss is measured at ten densities with nothing retrained, on 1,000 images. Between them the
    logarithm of the density is interpolated.
    """
    if choice.task is None or choice.weights is None:
        raise InputError(
            "This scope tries pruned networks on validation images: pass task=... and weights=...."
        )
    rises = _rises(choice)
    sizes = {name: scores.shape[1] for name, scores in choice.scores.items()}
    logs = np.log(SENSITIVITY_GRID)

    def wanted(tolerance: float, member: int) -> dict[str, float]:
        return {
            name: size
            * float(np.exp(np.interp(-tolerance, -rises[name][member][::-1], logs[::-1])))
            for name, size in sizes.items()
        }

    return _to_keep(choice, lambda scale, member: wanted(1 / scale - 1, member))


def _rises(choice: Choice) -> dict[str, np.ndarray]:
    """For each layer, by how much the loss rises at each density of the grid, (R, points); as
    the density falls it never falls."""
    task, weights = choice.task, choice.weights
    images = task.data.val.first(min(SENSITIVITY_IMAGES, len(task.data.val)))

    def loss(values: Weights) -> np.ndarray:
        return training.evaluate(task.model, values, task.data, images)[0].numpy()

    base, rises = loss(weights), {}
    for name, kept in choice.mask.items():
        points = []
        for density in SENSITIVITY_GRID:
            flat = kept.flatten(1)
            gone = [max(0, n - round(density * flat.shape[1])) for n in flat.sum(1).tolist()]
            left = _drop_lowest(choice.scores[name], flat, gone).view_as(kept)
            points.append(loss(weights | {name: weights[name] * left}) - base)
        rises[name] = np.maximum.accumulate(np.stack(points, axis=1), axis=1)
    return rises


def _to_keep(
    choice: Choice, wanted: Callable[[float, int], Mapping[str, float]]
) -> dict[str, list[int]]:
    """How many weights go where ``wanted(scale, member)`` says what each layer would keep.

    The more the greater the scale, which is found by halving; no layer keeps more than it has.
    """
    kept, result = _kept(choice.mask), {name: [] for name in choice.mask}
    for member, total in enumerate(choice.totals):
        most = {name: counts[member] for name, counts in kept.items()}
        target = sum(most.values()) - total

        def held(scale: float, member: int = member, most=most) -> dict[str, float]:
            return {name: min(most[name], n) for name, n in wanted(scale, member).items()}

        low, high = -60.0, 60.0  # powers of two
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if sum(held(2**middle).values()) < target else (low, middle)
        less, more = held(2**low), held(2**high)
        gap = sum(more.values()) - sum(less.values())
        # Where what is wanted leaps, only the layers that leap share what is between.
        part = min(1.0, (target - sum(less.values())) / gap) if gap > 0 else 1.0
        shares = {name: less[name] + part * (more[name] - less[name]) for name in most}
        counts = _whole(shares, most, target)
        for name in result:
            result[name].append(most[name] - counts[name])
    return result


def _whole(shares: Mapping[str, float], most: Mapping[str, int], target: int) -> dict[str, int]:
    """Whole numbers near ``shares``, none above ``most``, that add up to ``target``."""
    counts = {name: min(most[name], int(share)) for name, share in shares.items()}
    by_rest = sorted(shares, key=lambda name: counts[name] - shares[name])
    while missing := target - sum(counts.values()):
        step = 1 if missing > 0 else -1
        can = [n for n in by_rest if 0 <= counts[n] + step <= most[n]][: abs(missing)]
        for name in can:
            counts[name] += step
    return counts
