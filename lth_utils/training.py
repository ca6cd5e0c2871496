"""Training: the core.

:func:`train` is a pure function: network, starting weights, mask, data, recipe and seeds in,
trained weights and a history out. Nothing that is given is changed. Every experiment of the book
is this function called with other weights, another mask, another beginning or end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lth_utils import models
from lth_utils.datasets import Dataset, Split
from lth_utils.errors import InputError, unknown
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import stream
from lth_utils.recipes import Augment, Recipe, Step

# Adam's averages of a gradient that has become exactly zero, as behind a dead unit, shrink until
# they are denormal numbers, on which a CPU is many times slower. Zero serves as well. Set on
# import because the threads of a pool inherit it from whoever starts them.
torch.set_flush_denormal(True)

HISTORY = ["member", "seed", "moment", "step", "split", "metric", "value"]


@dataclass(frozen=True)
class Run:
    """What a training gives back, for R members.

    Attributes:
        weights: trained weights at the end, tensors (R, \\*shape).
        history: tidy table with columns member, seed, moment, step, split, metric (``loss`` or
            ``accuracy``, the latter in percent) and value. Moments are ``during`` (validation at
            the recipe's cadence), ``early stop`` (the step of least validation loss) and ``end``.
        snapshots: weights kept on the way, by iteration.
        locate: turns a step such as ``"1%"`` into an iteration.
    """

    weights: Weights
    history: pd.DataFrame
    snapshots: Mapping[int, Weights]
    locate: Callable[[Step | str | int], int]

    @property
    def at(self) -> _At:
        """The weights at a step that was kept, as in ``run.at["1%"]``."""
        return _At(self)

    @property
    def early_stop(self) -> list[int]:
        """Iteration of least validation loss, one for each member."""
        rows = self.history[self.history.moment == "early stop"]
        return rows.groupby("member").step.first().tolist()

    def member(self, index: int) -> Run:
        """One member of this run, as a run with R = 1."""
        members = len(next(iter(self.weights.values())))
        if index not in range(members):
            raise InputError(f"There is no member {index}; the run has {members}.")
        return Run(
            _only(self.weights, index),
            self.history[self.history.member == index].assign(member=0),
            {at: _only(w, index) for at, w in self.snapshots.items()},
            self.locate,
        )

    @staticmethod
    def cat(runs: Sequence[Run]) -> Run:
        """One run with the members of several, in order."""
        ends, kept = [run.weights for run in runs], [run.snapshots for run in runs]
        counts = [len(next(iter(w.values()))) for w in ends]
        before = [sum(counts[:i]) for i in range(len(runs))]
        return Run(
            {n: torch.cat([w[n] for w in ends]) for n in ends[0]},
            pd.concat(
                [
                    run.history.assign(member=run.history.member + at)
                    for run, at in zip(runs, before, strict=True)
                ],
                ignore_index=True,
            ),
            {at: {n: torch.cat([k[at][n] for k in kept]) for n in ends[0]} for at in kept[0]},
            runs[0].locate,
        )

    def accuracy(self, moment: str = "end", split: str = "test") -> np.ndarray:
        """Accuracy in percent of each member at ``moment``, float64 (R,)."""
        h = self.history
        return h[(h.moment == moment) & (h.split == split) & (h.metric == "accuracy")][
            "value"
        ].to_numpy()


@dataclass(frozen=True)
class _At:
    run: Run

    def __getitem__(self, step: Step | str | int) -> Weights:
        iteration = self.run.locate(step)
        if iteration not in self.run.snapshots:
            kept = ", ".join(map(str, self.run.snapshots)) or "none"
            raise InputError(
                f"No weights were kept at step {step} (iteration {iteration}; kept: {kept}). "
                f"Train with keep=({str(step)!r},)."
            )
        return self.run.snapshots[iteration]


def train(
    model: nn.Module,
    start: Weights,
    mask: Mask,
    data: Dataset,
    recipe: Recipe,
    seeds: Sequence[int],
    begin: Step | str | int = "0it",
    end: Step | str | int | None = None,
    keep: Iterable[Step | str | int] = (),
    copies: Sequence[int] | None = None,
    report: Sequence[str] = ("test",),
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Train R members of a network, each with its own weights, mask and order of the data.

    Training continues the recipe at ``begin``: its rate schedule and its order of the data.
    Momentum starts at zero. A pruned weight is zero at the start and after every step.

    Args:
        model: the network, used as a function; its own weights play no part.
        start: weights to start from, tensors (R, \\*shape).
        mask: which weights each member keeps.
        data: the images; the validation split chooses the early stop, the splits in ``report``
            are looked at only there and at the end.
        recipe: how to train.
        seeds: one for each member; a seed names the order of the data.
        begin: where in the recipe to begin.
        end: where to stop; the recipe's end by default.
        keep: steps at which to keep a snapshot of the weights, for ``run.at[step]``.
        copies: a number for each member; members of one seed with different numbers see the data
            in different orders, with different augmentation. By default all are copy 0.
        report: splits to report on at the early stop and at the end.
        progress: called with the number of iterations just done, summed over members.

    Raises:
        InputError: weights, mask, seeds and steps do not fit each other.
    """
    members, images = len(seeds), len(data.train)
    models.check_weights(model, start)
    mask.check({n: tuple(start[n].shape[1:]) for n in models.prunable(model)}, members)
    if len(next(iter(start.values()))) != members:
        raise InputError(
            f"There are {members} seeds for {len(next(iter(start.values())))} sets of weights."
        )
    copies = list(copies) if copies is not None else [0] * members
    if len(copies) != members:
        raise InputError(f"There are {len(copies)} copy numbers for {members} seeds.")

    def locate(step: Step | str | int) -> int:
        return recipe.iteration(step, images)

    first, last = locate(begin), locate("100%" if end is None else end)
    if first > last:
        raise InputError(f"Training would begin at iteration {first}, after its end at {last}.")
    kept_at = {locate(step) for step in keep}
    if outside := [step for step in kept_at if not first <= step <= last]:
        raise InputError(f"Iteration {outside[0]} cannot be kept: training is {first} to {last}.")
    if strange := [split for split in report if split not in ("train", "val", "test")]:
        raise unknown("split", strange[0], ("train", "val", "test"))
    every = recipe.cadence(images)

    device = data.train.images.device
    state = _State(model, mask.to(device).apply({n: w.to(device) for n, w in start.items()}))
    masks = {n: state.arrange(n, m.to(device, state.dtype)) for n, m in mask.items()}
    optimiser = recipe.optimiser.build([state.tensors[n] for n in models.trainable(model)])

    watch = _Watch(model, state, data, seeds, first)
    snapshots: dict[int, Weights] = {}
    batches = _batches(data.train, recipe, seeds, copies, first, last)
    for iteration in range(first, last + 1):
        if iteration in kept_at:
            snapshots[iteration] = state.copy()
        if iteration % every == 0 or iteration == last:
            watch.validate(iteration)
        if iteration == last:
            break
        pictures, labels = next(batches)
        optimiser.param_groups[0]["lr"] = recipe.rate(iteration, images)
        outputs = models.forward(
            model, state.weights, data.normalise(pictures, state.dtype), training=True
        )
        # The mean over each member's batch, summed over members: the members share no weight, so
        # each receives its own gradient and no other.
        loss = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="sum")
        optimiser.zero_grad(set_to_none=True)
        (loss / labels.shape[1]).backward()
        optimiser.step()
        with torch.no_grad():
            for name, kept in masks.items():
                state.tensors[name].mul_(kept)
        if progress:
            progress(members)

    return Run(state.copy(), watch.report(last, report), snapshots, locate)


def _only(weights: Weights, member: int) -> Weights:
    return {name: w[member : member + 1] for name, w in weights.items()}


class _State:
    """The tensors being trained, laid out in memory as the products like them.

    A population's product reads weights as (R, in, out) while a weight is (R, out, in). Training
    the transpose spares a transposed read in every step: a third of the time of a LeNet's.
    """

    def __init__(self, model: nn.Module, weights: Weights):
        stacked = models.is_stackable(model)
        self._flipped = {n for n in models.prunable(model) if stacked and weights[n].dim() == 3}
        self.tensors = {n: self.arrange(n, w).clone() for n, w in weights.items()}
        for name in models.trainable(model):
            self.tensors[name].requires_grad_()
        self.dtype = weights[models.trainable(model)[0]].dtype

    def arrange(self, name: str, tensor: Tensor) -> Tensor:
        return tensor.mT.contiguous() if name in self._flipped else tensor.contiguous()

    @property
    def weights(self) -> Weights:
        """Views of the tensors in the shapes that everyone else knows."""
        return {n: t.mT if n in self._flipped else t for n, t in self.tensors.items()}

    def copy(self) -> Weights:
        return {n: w.detach().contiguous().clone() for n, w in self.weights.items()}


# What is seen while training ----------------------------------------------------------------------


class _Watch:
    """Follows the validation loss, and remembers each member's weights where it was least."""

    def __init__(
        self, model: nn.Module, state: _State, data: Dataset, seeds: Sequence[int], first: int
    ):
        self.model, self.state, self.data, self.seeds = model, state, data, seeds
        self.rows: list[tuple] = []
        self.least = torch.full((len(seeds),), torch.inf, dtype=torch.float64)
        self.stop = [first] * len(seeds)
        self.best = state.copy()

    def validate(self, step: int) -> None:
        weights = self.state.weights
        loss, accuracy = evaluate(self.model, weights, self.data, self.data.val)
        self._add("during", [step] * len(self.seeds), "val", loss, accuracy)
        for member in torch.nonzero(loss < self.least).flatten().tolist():
            self.least[member], self.stop[member] = loss[member], step
            for name, w in weights.items():
                self.best[name][member] = w[member].detach()

    def report(self, last: int, splits: Sequence[str]) -> pd.DataFrame:
        ends = [last] * len(self.seeds)
        for moment, steps, weights in (
            ("early stop", self.stop, self.best),
            ("end", ends, self.state.weights),
        ):
            for split in dict.fromkeys(("val", *splits)):
                result = evaluate(self.model, weights, self.data, getattr(self.data, split))
                self._add(moment, steps, split, *result)
        return pd.DataFrame(self.rows, columns=HISTORY)

    def _add(self, moment: str, steps: Sequence[int], split: str, loss: Tensor, accuracy: Tensor):
        for metric, values in (("loss", loss), ("accuracy", accuracy)):
            for member, value in enumerate(values.tolist()):
                seed, step = self.seeds[member], steps[member]
                self.rows.append((member, seed, moment, step, split, metric, value))


@torch.no_grad()
def evaluate(
    model: nn.Module, weights: Weights, data: Dataset, split: Split, chunk: int = 2500
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and accuracy (percent) of R members over all images of a split.

    Returns:
        Two float64 tensors (R,) on the CPU.
    """
    loss, right = 0, 0
    dtype = next(iter(weights.values())).dtype
    for at in range(0, len(split), chunk):
        labels = split.labels[at : at + chunk]
        images = data.normalise(split.images[at : at + chunk], dtype)
        outputs = models.forward(model, weights, images)
        per_image = F.cross_entropy(
            outputs.flatten(0, 1), labels.repeat(len(outputs)), reduction="none"
        )
        loss = loss + per_image.view(len(outputs), -1).double().sum(1)
        right = right + (outputs.argmax(2) == labels).sum(1)
    return (loss / len(split)).cpu(), (100 * right.double() / len(split)).cpu()


# Batches ------------------------------------------------------------------------------------------


def _batches(
    train: Split,
    recipe: Recipe,
    seeds: Sequence[int],
    copies: Sequence[int],
    first: int,
    last: int,
    block: int = 200,
):
    """Images (R, B, C, H, W) and labels (R, B) for each iteration from ``first`` to ``last``."""
    orders = [_Order(seed, number, len(train)) for seed, number in zip(seeds, copies, strict=True)]
    for begin in range(first, last, block):
        # Indices travel to the device a block at a time, not a batch at a time.
        count = min(block, last - begin) * recipe.batch
        indices = np.stack([order.slice(begin * recipe.batch, count) for order in orders])
        batches = torch.from_numpy(indices).to(train.labels.device).split(recipe.batch, dim=1)
        for iteration, index in enumerate(batches, start=begin):
            pictures = train.images[index]
            if recipe.augment:
                pictures = _augment(pictures, recipe.augment, seeds, copies, iteration)
            yield pictures, train.labels[index]


def _noise(seed: int, copy: int, purpose: str, where: int):
    """Copy 0 is the seed's own noise; any other differs in order and augmentation alone."""
    if copy == 0:
        return stream(seed, purpose, where)
    return stream(seed, "copy", copy, purpose, where)


class _Order:
    """The endless order in which one member sees ``n`` images: one permutation after another."""

    def __init__(self, seed: int, copy: int, n: int):
        self.seed, self.copy, self.n = seed, copy, n
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def slice(self, position: int, count: int) -> np.ndarray:
        """Indices of the images at ``position`` to ``position + count``."""
        pieces = []
        while count > 0:
            epoch, offset = divmod(position, self.n)
            if epoch != self._epoch:
                self._epoch = epoch
                self._permutation = _noise(self.seed, self.copy, "order", epoch).permutation(self.n)
            piece = self._permutation[offset : offset + count]
            pieces.append(piece)
            position, count = position + len(piece), count - len(piece)
        return np.concatenate(pieces)


def _augment(
    images: Tensor, augment: Augment, seeds: Sequence[int], copies: Sequence[int], iteration: int
) -> Tensor:
    """Mirrored and shifted copies of uint8 images (R, B, C, H, W)."""
    members, batch, _, height, width = images.shape
    reach = 2 * augment.crop + 1
    draws = torch.from_numpy(
        np.stack(
            [
                _noise(seed, number, "augment", iteration).uniform(3, batch)
                for seed, number in zip(seeds, copies, strict=True)
            ]
        )
    ).to(images.device)
    mirrored = (draws[:, 0] < 0.5) & augment.flip
    down, right = (draws[:, 1] * reach).long(), (draws[:, 2] * reach).long()
    rows = torch.arange(height, device=images.device) + down.unsqueeze(-1)
    columns = torch.arange(width, device=images.device).expand(members, batch, width)
    columns = torch.where(mirrored.unsqueeze(-1), columns.flip(-1), columns) + right.unsqueeze(-1)
    padded = F.pad(images, [augment.crop] * 4)
    r = torch.arange(members, device=images.device).view(-1, 1, 1, 1)
    b = torch.arange(batch, device=images.device).view(1, -1, 1, 1)
    # Advanced indices on both sides of the channel slice put the channels last.
    picked = padded[r, b, :, rows.unsqueeze(-1), columns.unsqueeze(-2)]
    return picked.movedim(-1, 2)
