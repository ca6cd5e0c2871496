"""Criteria: which weights matter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lth_utils.errors import InputError, look_up
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.pruning._outlook import Outlook
from lth_utils.pruning._probe import Probe
from lth_utils.pruning._scopes import check, remove, to_remove
from lth_utils.randomness import stream

if TYPE_CHECKING:
    from lth_utils.tasks import Task


@dataclass(frozen=True)
class Layer:
    """What a criterion may look at, for one prunable tensor of all R members."""

    name: str
    weights: Tensor
    """Weights at the end of training (R, \\*shape)."""
    kept: Tensor
    """Which of them the present mask keeps, boolean (R, \\*shape)."""
    _start: Weights | None
    _seeds: Sequence[int] | None
    _level: int
    _probe: Callable[[], Probe]
    _outlook: Outlook

    @property
    def start(self) -> Tensor:
        """Weights at the start of training (R, \\*shape)."""
        if self._start is None:
            raise InputError("This criterion compares with the start: pass start=..., the weights.")
        return self._start[self.name].to(self.weights.device)

    @property
    def gradient(self) -> Tensor:
        """Mean gradient of the training loss (R, \\*shape), at the trained weights."""
        return self._probe().gradient[self.name]

    @property
    def gradient_size(self) -> Tensor:
        """Mean absolute gradient of a batch's loss (R, \\*shape)."""
        return self._probe().size[self.name]

    @property
    def momentum(self) -> Tensor:
        """Running average of the gradients of batches, the last counting most (R, \\*shape)."""
        return self._probe().momentum[self.name]

    @property
    def activations(self) -> Tensor:
        """Mean absolute value of what comes in through each weight, (R, 1, in) or, for a
        convolution, (R, 1, in, 1, 1)."""
        return self._probe().inputs[self.name]

    @property
    def first_gradient(self) -> Tensor:
        """Gradient of the mean training loss (R, \\*shape) as a first step of training sees it; see
        :class:`Outlook`."""
        return self._outlook.gradient[self.name]

    @property
    def hessian_gradient(self) -> Tensor:
        """The Hessian of that loss times that gradient (R, \\*shape)."""
        return self._outlook.hessian_gradient[self.name]

    @property
    def flow(self) -> Tensor:
        """What the paths through each weight bring from inputs of 1 to the outputs, divided by the
        weight's absolute value: float64 (R, \\*shape), of absolute weights and no data."""
        return self._outlook.flow[self.name]

    def factor(self) -> Tensor:
        """A positive factor for the whole layer, (R, 1, ...), whose logarithm is a standard normal
        deviate that depends on the seeds and the layer alone."""
        if self._seeds is None:
            raise InputError("This criterion draws at random: pass seeds=..., one a member.")
        draws = [stream(seed, "treatment", "factor", self.name).normal(1) for seed in self._seeds]
        shape = (-1, *[1] * (self.weights.dim() - 1))
        return torch.cat(draws).exp().view(shape).to(self.weights.device)

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


def criterion(
    scores: Callable[[Layer], Tensor] | None = None, *, rounds: int = 1
) -> Criterion | Callable[[Callable[[Layer], Tensor]], Criterion]:
    """Make a pruner of a function from a :class:`Layer` to scores (R, \\*shape).

    The pruner is called as ``pruner(weights, mask, fractions, scope="layer", start=None,
    seeds=None, level=0, task=None)``; see :func:`prune`. It joins ``CRITERIA`` under its name.
    Nothing of this is asked of a caller, or computed, that the criterion does not look at.

    ``@criterion(rounds=100)`` prunes in so many rounds and scores what is left anew in each. What
    is kept falls by the same factor from round to round, and its count is exact at the end.
    """
    if scores is None:
        return functools.partial(criterion, rounds=rounds)

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
        task: Task | None = None,
    ) -> Mask:
        mask.check({n: tuple(weights[n].shape[1:]) for n in mask if n in weights}, None)
        shares, left = check(mask, fractions, scope), mask
        before = {name: [0] * mask.members for name in mask}
        for number in range(1, rounds + 1):
            values = _scored(scores, weights, left, start, seeds, level, task)
            # Counted from the first mask, so that no rounding adds up.
            part = {n: 1 - (1 - f) ** (number / rounds) for n, f in shares.items()}
            gone = to_remove(mask, part if number < rounds else shares)
            now = {n: [k - b for k, b in zip(gone[n], before[n], strict=True)] for n in gone}
            left, before = remove(values, left, now, scope, weights, task), gone
        return left

    pruner.scores, pruner.rounds = scores, rounds
    CRITERIA[scores.__name__.replace("_", " ")] = pruner
    return pruner


def _scored(
    scores: Callable[[Layer], Tensor],
    weights: Weights,
    mask: Mask,
    start: Weights | None,
    seeds: Sequence[int] | None,
    level: int,
    task: Task | None,
) -> Weights:
    """What a criterion thinks of every weight, of the network under a mask."""
    kept = mask.apply(weights)
    probe = functools.cache(lambda: Probe.of(task, kept, seeds, level))
    outlook = Outlook(task, kept, seeds, level)
    layers = [
        Layer(name, weights[name].detach(), mask[name], start, seeds, level, probe, outlook)
        for name in mask
    ]
    return {layer.name: scores(layer) for layer in layers}


def by_name(name: str) -> Criterion:
    """The criterion called ``name``; an :class:`.InputError` lists those known."""
    return look_up("criterion", name, CRITERIA)


# Criteria -----------------------------------------------------------------------------------------


@criterion
def magnitude(layer: Layer) -> Tensor:
    """Keep the weights that ended largest in absolute value (Han et al., 2015)."""
    return layer.weights.abs()


@criterion
def rescaled_magnitude(layer: Layer) -> Tensor:
    """Keep the largest after each layer is multiplied by a factor of its own, which rectifiers or
    batch norm let the next layer undo: the same function, the same ranking within each layer."""
    return layer.weights.abs() * layer.factor()


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
def large_init(layer: Layer) -> Tensor:
    """Keep the weights that began largest, wherever they went (Zhou et al., 2019)."""
    return layer.start.abs()


@criterion
def small_init(layer: Layer) -> Tensor:
    """Keep the weights that began smallest (Zhou et al., 2019)."""
    return -layer.start.abs()


@criterion
def large_init_large_final(layer: Layer) -> Tensor:
    """Keep the weights whose smaller absolute value, of initial and final, is largest (Zhou et al.,
    2019); the final ones scaled to the mean of the initial ones, which is our choice."""
    return torch.minimum(_final_scaled(layer), layer.start.abs())


@criterion
def small_init_small_final(layer: Layer) -> Tensor:
    """Keep the weights whose larger absolute value, of initial and final, is smallest (Zhou et al.,
    2019); the final ones scaled as for :func:`large_init_large_final`."""
    return -torch.maximum(_final_scaled(layer), layer.start.abs())


def _final_scaled(layer: Layer) -> Tensor:
    """Final absolute values with the mean of the initial ones, over each member's kept weights:
    a scale of ours, where the paper has a constant."""
    final, initial = layer.weights.abs(), layer.start.abs()
    # In double precision, so that no order of adding up shows in the ratio.
    sums = [(w * layer.kept).flatten(1).double().sum(1) for w in (initial, final)]
    scale = torch.where(sums[1] > 0, sums[0] / sums[1], 1.0)
    return final * scale.to(final.dtype).view(-1, *[1] * (final.dim() - 1))


# Criteria that also ask for the sign. Zhou et al. (2019) score every weight that changed its sign
# zero. So many equal scores would be ranked by position, and these go on below zero instead, which
# differs only among the weights that would have tied there.


@criterion
def magnitude_same_sign(layer: Layer) -> Tensor:
    """Keep the weights that ended largest with the sign they began with (Zhou et al., 2019)."""
    return layer.weights * layer.start.sign()


@criterion
def magnitude_changed_sign(layer: Layer) -> Tensor:
    """Keep the weights that ended largest with the other sign: the control for the former."""
    return -layer.weights * layer.start.sign()


@criterion
def magnitude_increase_same_sign(layer: Layer) -> Tensor:
    """Keep the weights that grew most in the direction of their initial sign (Zhou et al., 2019):
    one that changed its sign shrank by more than all it had."""
    return layer.weights * layer.start.sign() - layer.start.abs()


@criterion
def movement_same_sign(layer: Layer) -> Tensor:
    """Keep the weights that moved furthest and kept their sign (Zhou et al., 2019)."""
    return (layer.weights - layer.start).abs() * (layer.weights * layer.start).sign()


@criterion
def random_same_sign(layer: Layer) -> Tensor:
    """Keep weights at random, those that kept their sign first (Zhou et al., 2019)."""
    return layer.uniform() * (layer.weights * layer.start).sign()


@criterion
def gradient(layer: Layer) -> Tensor:
    """Keep the weights that the loss still pulls at, whichever way."""
    return layer.gradient_size


@criterion
def activation(layer: Layer) -> Tensor:
    """Keep the weights that pass on most: magnitude times the mean input (Sun et al., 2024)."""
    return layer.weights.abs() * layer.activations


@criterion
def sensitivity(layer: Layer) -> Tensor:
    """Keep the weights without which the loss would change most, to first order (Mozer and
    Smolensky, 1989)."""
    return layer.weights.abs() * layer.gradient_size


@criterion
def momentum(layer: Layer) -> Tensor:
    """Keep the weights whose gradients agree from batch to batch (Dettmers and Zettlemoyer,
    2019)."""
    return layer.momentum.abs()


@criterion
def random(layer: Layer) -> Tensor:
    """Keep weights at random: the control for every other criterion."""
    return layer.uniform()


# Criteria for a network that has yet to be trained ------------------------------------------------


@criterion
def snip(layer: Layer) -> Tensor:
    """Keep the weights whose removal would change the loss most, up or down, to first order and
    over all images together (Lee et al., 2019)."""
    return (layer.weights * layer.first_gradient).abs()


@criterion
def grasp(layer: Layer) -> Tensor:
    """Keep the weights whose removal would take most from the gradient's length, to first order
    (Wang et al., 2020, whose score is minus this one and whose highest scores go)."""
    return layer.weights * layer.hessian_gradient


@criterion(rounds=100)
def synflow(layer: Layer) -> Tensor:
    """Keep the weights through which most flows, with absolute weights and no data (Tanaka et al.,
    2020)."""
    return layer.weights.abs() * layer.flow
