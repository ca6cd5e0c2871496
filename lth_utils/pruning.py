"""Pruning: which weights go.

A *criterion* gives every weight a score, and the weights with the lowest scores are removed. It is
a function from a :class:`Layer`, which knows the weights, where they began, their gradients and
what comes in, to a tensor of scores; :func:`criterion` turns it into a pruner::

    @criterion
    def magnitude(layer):
        \"""Keep the weights that ended largest.\"""
        return layer.weights.abs()

    mask = magnitude(run.weights, mask, fraction=0.2)

A *fraction* is the share of the **remaining** weights that one call removes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lth_utils import models
from lth_utils.errors import InputError, look_up, unknown
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import stream

if TYPE_CHECKING:
    from lth_utils.tasks import Task

SCOPES = ("layer", "global")


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
    seeds=None, level=0, task=None)``; see :func:`prune`. It joins :data:`CRITERIA` under its name.
    Nothing of this is asked of a caller, or computed, that the criterion does not look at.
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
        task: Task | None = None,
    ) -> Mask:
        mask.check({n: tuple(weights[n].shape[1:]) for n in mask if n in weights}, None)
        probe = functools.cache(lambda: Probe.of(task, mask.apply(weights), seeds, level))
        layers = [
            Layer(name, weights[name].detach(), mask[name], start, seeds, level, probe)
            for name in mask
        ]
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


# What a criterion learns from data ----------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """Gradients and inputs of a trained network on batches of training images.

    Attributes:
        gradient: mean over the batches of each prunable tensor's gradient, (R, \\*shape).
        size: mean over the batches of its absolute value.
        momentum: running average over the batches, a tenth of what SGD with momentum 0.9 holds.
        inputs: mean absolute value of each layer's inputs, (R, 1, in) or (R, 1, in, 1, 1).
    """

    gradient: Weights
    size: Weights
    momentum: Weights
    inputs: Weights

    BATCHES = 20
    DECAY = 0.9

    @classmethod
    def of(
        cls, task: Task | None, weights: Weights, seeds: Sequence[int] | None, level: int = 0
    ) -> Probe:
        """Look at twenty batches, drawn for each seed and level.

        Args:
            task: whose network, training images and batch size.
            weights: trained weights (R, \\*shape), with pruned ones zero.
            seeds: one for each member.
            level: makes the draw of each level its own.

        Raises:
            InputError: there is no task, not one seed for each member, or the weights do not fit.
        """
        if task is None or seeds is None:
            raise InputError(
                "This criterion looks at training images: pass task=... and seeds=..., one a "
                "member."
            )
        models.check_weights(task.model, weights)
        if len(seeds) != len(next(iter(weights.values()))):
            raise InputError(
                f"There are {len(seeds)} seeds for {len(next(iter(weights.values())))} sets of "
                "weights."
            )
        members = [
            cls._of_member(task, {n: w[i] for n, w in weights.items()}, seed, level)
            for i, seed in enumerate(seeds)
        ]
        return cls(
            *({n: torch.stack([m[part][n] for m in members]) for n in members[0][part]}
              for part in range(4))
        )  # fmt: skip

    @classmethod
    def _of_member(
        cls, task: Task, weights: Weights, seed: int, level: int
    ) -> tuple[Weights, Weights, Weights, Weights]:
        data, names = task.data, list(models.prunable(task.model))
        order = stream(seed, "probe", level).permutation(len(data.train))
        batches = np.resize(order, (cls.BATCHES, task.recipe.batch))  # again from its beginning
        batches = torch.from_numpy(batches).to(data.train.labels.device)
        weights = {n: w.detach().clone().requires_grad_(n in names) for n, w in weights.items()}
        mean, size, momentum = ({n: torch.zeros_like(weights[n]) for n in names} for _ in range(3))
        with _listening(task.model, names) as inputs:
            for index in batches:
                outputs = functional_call(
                    task.model, weights, data.normalise(data.train.images[index])
                )
                loss = F.cross_entropy(outputs, data.train.labels[index])
                gradients = torch.autograd.grad(loss, [weights[n] for n in names])
                for name, g in zip(names, gradients, strict=True):
                    mean[name] += g / cls.BATCHES
                    size[name] += g.abs() / cls.BATCHES
                    momentum[name].mul_(cls.DECAY).add_(g, alpha=1 - cls.DECAY)
        inputs = {n: torch.stack(means).mean(0).unsqueeze(0) for n, means in inputs.items()}
        return mean, size, momentum, inputs


@contextmanager
def _listening(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """While open, collect the mean absolute input of each channel of the layers named; as they
    are when a trained network is used, with nothing left out and no statistics updated."""
    heard: dict[str, list[Tensor]] = {name: [] for name in names}

    def hook(name: str):
        def listen(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            [x] = inputs
            channels = x.dim() - 1 if isinstance(layer, nn.Linear) else 1
            others = [axis for axis in range(x.dim()) if axis != channels]
            mean = x.detach().abs().mean(others)
            heard[name].append(mean.view(-1, *[1] * (layer.weight.dim() - 2)))

        return listen

    modes = {module: module.training for module in model.modules()}
    hooks = [
        model.get_submodule(name.removesuffix("weight").removesuffix(".")).register_forward_hook(
            hook(name)
        )
        for name in names
    ]
    model.eval()
    try:
        yield heard
    finally:
        for each in hooks:
            each.remove()
        for module, mode in modes.items():
            module.training = mode


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
