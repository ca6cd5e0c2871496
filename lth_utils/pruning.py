"""Pruning: which weights go.

A *criterion* gives every weight a score, and the weights with the lowest scores are removed. It is
a function from a :class:`Layer` to a tensor of scores, and :func:`criterion` turns it into a
pruner::

    @criterion
    def magnitude(layer):
        \"""Keep the weights that ended largest.\"""
        return layer.weights.abs()

    mask = magnitude(run.weights, mask, fraction=0.2)

A *fraction* is the share of the **remaining** weights that one call removes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lth_utils.errors import InputError, look_up, unknown
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import stream

SCOPES = ("layer", "global")


@dataclass(frozen=True)
class Layer:
    """What a criterion may look at, for one prunable tensor of all R members."""

    name: str
    weights: Tensor
    """Weights at the end of training (R, \\*shape)."""
    _start: Weights | None
    _seeds: Sequence[int] | None
    _level: int

    @property
    def start(self) -> Tensor:
        """Weights at the start of training (R, \\*shape)."""
        if self._start is None:
            raise InputError("This criterion compares with the start: pass start=..., the weights.")
        return self._start[self.name].to(self.weights.device)

    def uniform(self) -> Tensor:
        """Uniform deviates (R, \\*shape) that depend on the seeds, the level and the layer."""
        if self._seeds is None:
            raise InputError("This criterion draws at random: pass seeds=..., one a member.")
        shape = self.weights.shape[1:]
        draws = [
            stream(seed, "random mask", "criterion", self._level, self.name).uniform(*shape)
            for seed in self._seeds
        ]
        return torch.from_numpy(np.stack(draws)).to(self.weights.device)


Criterion = Callable[..., Mask]

CRITERIA: dict[str, Criterion] = {}
"""Every criterion, by name."""


def criterion(scores: Callable[[Layer], Tensor]) -> Criterion:
    """Make a pruner of a function from a :class:`Layer` to scores (R, \\*shape).

    The pruner is called as ``pruner(weights, mask, fractions, scope="layer", start=None,
    seeds=None, level=0)``; see :func:`prune`. It joins :data:`CRITERIA` under its name.
    """

    @functools.wraps(scores)
    def pruner(
        weights: Weights,
        mask: Mask,
        fractions: float | Mapping[str, float],
        scope: str = "layer",
        *,
        start: Weights | None = None,
        seeds: Sequence[int] | None = None,
        level: int = 0,
    ) -> Mask:
        mask.check({n: tuple(weights[n].shape[1:]) for n in mask if n in weights}, None)
        layers = [Layer(name, weights[name].detach(), start, seeds, level) for name in mask]
        return prune({layer.name: scores(layer) for layer in layers}, mask, fractions, scope)

    pruner.scores = scores
    CRITERIA[scores.__name__.replace("_", " ")] = pruner
    return pruner


def by_name(name: str) -> Criterion:
    """The criterion called ``name``; an :class:`.InputError` lists those known."""
    return look_up("criterion", name, CRITERIA)


# Criteria -----------------------------------------------------------------------------------------


@criterion
def magnitude(layer: Layer) -> Tensor:
    """Keep the weights that ended largest in absolute value (Han et al., 2015)."""
    return layer.weights.abs()


@criterion
def smallest(layer: Layer) -> Tensor:
    """Keep the weights that ended smallest: magnitude pruning the wrong way round."""
    return -layer.weights.abs()


@criterion
def movement(layer: Layer) -> Tensor:
    """Keep the weights that moved furthest from where they began (Zhou et al., 2019)."""
    return (layer.weights - layer.start).abs()


@criterion
def magnitude_increase(layer: Layer) -> Tensor:
    """Keep the weights whose absolute value grew most (Zhou et al., 2019)."""
    return layer.weights.abs() - layer.start.abs()


@criterion
def random(layer: Layer) -> Tensor:
    """Keep weights at random: the control for every other criterion."""
    return layer.uniform()


# From scores to a mask ----------------------------------------------------------------------------


def prune(
    scores: Mapping[str, Tensor],
    mask: Mask,
    fractions: float | Mapping[str, float],
    scope: str = "layer",
) -> Mask:
    """Remove the lowest scores among the weights that ``mask`` still keeps.

    From each layer go ``round(fraction × kept)`` weights, an exact count. With
    ``scope="global"`` the same total goes, chosen without regard to layers. Among equal scores
    the one that comes first in the tensor goes first, so the result never depends on the machine.

    Args:
        scores: (R, \\*shape) for each tensor of the mask.
        mask: the present mask, R members.
        fractions: share of the remaining weights to remove; one number, or one for each tensor.
        scope: ``"layer"`` ranks within each tensor, ``"global"`` ranks all together.

    Returns:
        A new mask, a subset of ``mask``.

    Raises:
        InputError: a fraction outside 0 to 1, an unknown scope, scores that do not fit or are
            not numbers.
    """
    shares = check(mask, fractions, scope)
    for name in mask:
        if scores[name].shape != mask[name].shape:
            raise InputError(
                f"The mask does not fit at {name}: the mask has shape "
                f"{tuple(mask[name].shape)}, the scores {tuple(scores[name].shape)}."
            )
        if torch.isnan(scores[name][mask[name]]).any():
            raise InputError(
                f"A score of {name} is not a number: training has diverged. Lower the rate."
            )
    flat = {name: scores[name].flatten(1).double() for name in mask}
    kept = {name: mask[name].flatten(1) for name in mask}
    remove = {name: [round(shares[name] * n) for n in kept[name].sum(1).tolist()] for name in mask}

    if scope == "layer":
        left = {name: _drop_lowest(flat[name], kept[name], remove[name]) for name in mask}
    else:
        total = [sum(counts) for counts in zip(*remove.values(), strict=True)]
        joined = _drop_lowest(
            torch.cat(list(flat.values()), dim=1), torch.cat(list(kept.values()), dim=1), total
        )
        parts = joined.split([k.shape[1] for k in kept.values()], dim=1)
        left = dict(zip(mask, parts, strict=True))
    return Mask({name: left[name].view_as(mask[name]) for name in mask})


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


def _drop_lowest(scores: Tensor, kept: Tensor, counts: Sequence[int]) -> Tensor:
    """Keep all of ``kept`` (R, n) but the ``counts[r]`` lowest scores of each member."""
    left = kept.clone()
    for member, count in enumerate(counts):
        candidates = kept[member].nonzero().squeeze(1)
        order = torch.sort(scores[member][candidates], stable=True).indices
        left[member, candidates[order[:count]]] = False
    return left
