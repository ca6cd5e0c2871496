"""Distance, the line between two networks, and a bent path."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lth_utils import models
from lth_utils.datasets import Dataset
from lth_utils.errors import InputError, unknown
from lth_utils.models import Weights
from lth_utils.randomness import stream
from lth_utils.training import channels_last, chunk_of, evaluate

if TYPE_CHECKING:
    from lth_utils.tasks import Task

STATISTICS = ("re-estimated", "interpolated")
"""What becomes of batch-norm statistics between two networks."""

ESTIMATE = 2000
"""Training images that statistics are estimated on, unless another number is given."""


# Two networks -------------------------------------------------------------------------------------


def distance(model: nn.Module, one: Weights, other: Weights) -> Tensor:
    """Euclidean distance between the trainable weights of R pairs of networks.

    Batch-norm statistics do not count: they follow from the weights and the data.

    Args:
        model: whose weights these are.
        one: tensors (R, \\*shape).
        other: tensors (R, \\*shape).

    Returns:
        Float64 (R,).
    """
    _check(model, one, other)
    return sum(
        (one[n].double() - other[n].double()).flatten(1).square().sum(1)
        for n in models.trainable(model)
    ).sqrt()


def cosine(model: nn.Module, one: Weights, other: Weights, origin: Weights | None = None) -> Tensor:
    """Cosine of the angle between the trainable weights of R pairs of networks.

    Args:
        model: whose weights these are.
        one: tensors (R, \\*shape).
        other: tensors (R, \\*shape).
        origin: where the angle is measured; zero by default. With the weights that both started
            from, it says whether they went the same way.

    Returns:
        Float64 (R,).
    """
    _check(model, one, other)

    def flat(weights: Weights) -> Tensor:
        parts = [
            (weights[n].double() - (origin[n].double() if origin else 0)).flatten(1)
            for n in models.trainable(model)
        ]
        return torch.cat(parts, dim=1)

    return F.cosine_similarity(flat(one), flat(other), dim=1)


def interpolate(one: Weights, other: Weights, position: float) -> Weights:
    """The network at ``position`` on the line from ``one`` (0) to ``other`` (1).

    All tensors are interpolated, batch-norm statistics too, for which that is only a guess; see
    :func:`reestimate`. At both ends the network is returned as it was, to the bit.
    """
    if position in (0, 1):
        return dict(one if position == 0 else other)
    return {n: torch.lerp(w, other[n], position) for n, w in one.items()}


@torch.no_grad()
def reestimate(
    model: nn.Module, weights: Weights, data: Dataset, images: int | None = None
) -> Weights:
    """The same weights with batch-norm statistics measured on training images.

    Images are not augmented. Each layer's mean and variance are averages over equal batches, with
    the layers before it normalised by the batch, as in training.

    Args:
        model: the function.
        weights: tensors (R, \\*shape).
        data: the first ``images`` of its training images are looked at.
        images: how many, 2,000 by default, or all where there are fewer.

    Returns:
        New weights; unchanged where there is no batch norm.
    """
    statistics = set(weights) - set(models.trainable(model))
    if not statistics:
        return dict(weights)
    shadow = copy.deepcopy(model)
    for layer in shadow.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = 1.0  # what is found of a batch replaces what was there
    batch = chunk_of(model)
    seen = data.train.first(min(images or ESTIMATE, len(data.train))).images
    batches = seen[: max(batch, len(seen) // batch * batch)].split(batch)
    found = {name: torch.zeros_like(weights[name]) for name in statistics}
    for pictures in batches:
        own = {n: w.clone() if n in statistics else w for n, w in weights.items()}
        models.forward(shadow, own, data.normalise(pictures), training=True)
        for name in statistics:
            found[name] += own[name] / len(batches)
    return weights | found


@dataclass(frozen=True)
class Line:
    """Loss and accuracy at points between R pairs of networks.

    Attributes:
        positions: of the P points, from 0 to 1.
        loss: mean cross-entropy, float64 (R, P).
        accuracy: in percent, float64 (R, P).
    """

    positions: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray

    @property
    def error_barrier(self) -> np.ndarray:
        """By how many points the worst error on the line exceeds the mean error of its ends,
        float64 (R,) (Frankle et al., 2020, who call below 2 stable)."""
        error = 100 - self.accuracy
        return error.max(1) - (error[:, 0] + error[:, -1]) / 2

    @property
    def climb(self) -> np.ndarray:
        """By how many points the worst error on the line exceeds that of its worse end, float64
        (R,): what lies between two networks, also where one of them is worse than the other."""
        error = 100 - self.accuracy
        return error.max(1) - np.maximum(error[:, 0], error[:, -1])

    @property
    def loss_barrier(self) -> np.ndarray:
        """By how much the greatest loss exceeds the mean loss of the ends, float64 (R,)."""
        return self.loss.max(1) - (self.loss[:, 0] + self.loss[:, -1]) / 2

    @property
    def midpoint_gain(self) -> np.ndarray:
        """By how many points of accuracy the middle exceeds the mean of the ends, float64 (R,).

        With an even number of points the middle is between two of them.
        """
        middle = np.stack([np.interp(0.5, self.positions, row) for row in self.accuracy])
        return middle - (self.accuracy[:, 0] + self.accuracy[:, -1]) / 2


def path(
    task: Task,
    one: Weights,
    other: Weights,
    points: int = 30,
    split: str = "test",
    statistics: str = "re-estimated",
    images: int | None = None,
    via: Weights | None = None,
) -> Line:
    """Loss and accuracy at evenly spaced points on the line between R pairs of networks.

    Args:
        task: whose network and data.
        one: where the line begins, tensors (R, \\*shape).
        other: where it ends.
        points: how many, both ends included.
        split: the images that loss and accuracy are of.
        statistics: ``"re-estimated"`` measures batch-norm statistics again at every point, the
            ends included; ``"interpolated"`` takes them from the line, so that the ends are the
            networks as they are.
        images: how many of the split; all by default.
        via: a third set of weights, to go there on one line and on from there on another.

    Raises:
        InputError: fewer than three points, an unknown way or split, or weights that do not fit.
    """
    if points < 3:
        raise InputError(f"A line has at least 3 points, two of them its ends; got {points}.")
    if statistics not in STATISTICS:
        raise unknown("treatment of batch-norm statistics", statistics, STATISTICS)
    if split not in ("train", "val", "test"):
        raise unknown("split", split, ("train", "val", "test"))
    _check(task.model, one, other)
    if via is not None:
        _check(task.model, one, via)
    looked_at = getattr(task.data, split)
    looked_at = looked_at.first(min(images or len(looked_at), len(looked_at)))
    positions = np.linspace(0, 1, points)
    losses, accuracies = [], []
    for position in positions:
        weights = _on(one, other, via, float(position))
        if statistics == "re-estimated":
            weights = reestimate(task.model, weights, task.data)
        loss, accuracy = evaluate(task.model, weights, task.data, looked_at)
        losses.append(loss.numpy())
        accuracies.append(accuracy.numpy())
    return Line(positions, np.stack(losses, axis=1), np.stack(accuracies, axis=1))


def _on(one: Weights, other: Weights, via: Weights | None, position: float) -> Weights:
    if via is None:
        return interpolate(one, other, position)
    if position <= 0.5:
        return interpolate(one, via, 2 * position)
    return interpolate(via, other, 2 * position - 1)


# A bent path --------------------------------------------------------------------------------------


def bend(
    task: Task,
    one: Weights,
    other: Weights,
    seeds: Sequence[int],
    iterations: int,
    rate: float | None = None,
) -> Weights:
    """A third network through which R pairs are joined without a barrier (Garipov et al., 2018).

    It starts in the middle and is trained so that the loss is low on both lines that meet in it:
    at every step a point of the two is drawn, and the gradient of the loss there moves the
    corner, in proportion to its share in the point. A weight that is zero in both networks stays
    zero: it is pruned. Training is by the task's optimiser, at a
    steady rate for the first half and then falling to zero.

    Args:
        task: whose network, data, batch size and optimiser.
        one: tensors (R, \\*shape).
        other: tensors (R, \\*shape).
        seeds: one for each pair; with the iteration they name the draws.
        iterations: how long to train.
        rate: learning rate; a tenth of the recipe's by default, for the ends are trained already.

    Returns:
        Tensors (R, \\*shape), for ``path(..., via=corner)``.
    """
    _check(task.model, one, other)
    data, recipe = task.data, task.recipe
    model = copy.deepcopy(task.model)  # whose noisy layers are given streams
    noisy = {n: m for n, m in model.named_modules() if isinstance(m, models.Noisy)}
    device, names = data.train.images.device, models.trainable(model)
    one, other = ({n: channels_last(w) for n, w in w.items()} for w in (one, other))
    corner = interpolate(one, other, 0.5)
    trained = [corner[n].detach().clone().requires_grad_() for n in names]
    kept = [(one[n] != 0) | (other[n] != 0) for n in names]
    optimiser = recipe.optimiser.build(trained)
    rate = recipe.optimiser.rate / 10 if rate is None else rate
    for i in range(iterations):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - i / iterations))
        draws = [stream(seed, "copy", "bend", i) for seed in seeds]
        position = np.array([draw.uniform(1)[0] for draw in draws])
        index = [draw.integers(len(data.train), recipe.batch) for draw in draws]
        index = torch.from_numpy(np.stack(index)).to(device)
        near = torch.from_numpy(position <= 0.5).to(device)
        share = torch.from_numpy(1 - np.abs(2 * position - 1)).to(device)  # of the corner
        weights = {n: w.clone() for n, w in corner.items() if n not in names}
        for n, w in zip(names, trained, strict=True):
            per_member = (-1, *[1] * (w.dim() - 1))
            end = torch.where(near.view(per_member), one[n], other[n])
            weights[n] = torch.lerp(end, w, share.to(w.dtype).view(per_member))
        for name, layer in noisy.items():
            layer.streams = [stream(s, "copy", "bend", i, layer.purpose, name) for s in seeds]
        outputs = models.forward(
            model,
            weights,
            channels_last(data.normalise(data.train.images[index])),
            training=True,
        )
        labels = data.train.labels[index]
        loss = F.cross_entropy(outputs.flatten(0, -2), labels.flatten(), reduction="sum")
        optimiser.zero_grad(set_to_none=True)
        (loss / labels[0].numel()).backward()
        optimiser.step()
        with torch.no_grad():
            for w, acts in zip(trained, kept, strict=True):
                w.mul_(acts)
    corner |= {n: w.detach() for n, w in zip(names, trained, strict=True)}
    return reestimate(task.model, {n: w.contiguous() for n, w in corner.items()}, data)


def _check(model: nn.Module, one: Weights, other: Weights) -> None:
    for weights in (one, other):
        models.check_weights(model, weights)
    members = [len(next(iter(weights.values()))) for weights in (one, other)]
    if members[0] != members[1]:
        raise InputError(f"Networks pair one by one; got {members[0]} and {members[1]} of them.")
