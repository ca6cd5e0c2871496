"""Masks that move: a training under one mask, and then under the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lth_utils.datasets import Split
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import Stream
from lth_utils.training._batches import noise
from lth_utils.training._plain import evaluate

if TYPE_CHECKING:
    from lth_utils.training._train import Job


class Rule(Protocol):
    """When and how a mask moves; see :mod:`lth_utils.dynamic`."""

    looks: bool
    """Whether it asks for the gradients of all weights, pruned ones too."""

    def share(self, at: int, locate: Callable) -> float:
        """Share of every layer's kept weights that moves at iteration ``at``; 0 where none do."""

    def move(
        self, weights: Tensor, kept: Tensor, slopes: Tensor | None, share: float, draws: Stream
    ) -> tuple[Tensor, Tensor]:
        """One layer's next mask, and which weights of it have been grown."""


class Moving:
    """An engine whose mask moves; between two moves another engine takes the steps.

    At an iteration at which the mask moves, no step is taken: its batch is what the gradients of
    pruned weights are seen on, if the rule looks at them (Evci et al., 2020).
    """

    def __init__(self, job: Job, engine):
        self.job, self.engine, self.mask = job, engine, job.mask
        self.path = engine.path

    def advance(self, first: int, last: int) -> None:
        for at in range(first, last):
            if share := self.job.recipe.moves.share(at, self.job.locate):
                self._advance(first, at)
                self._move(at, share)
                first = at + 1
        self._advance(first, last)

    def _advance(self, first: int, last: int) -> None:
        if first < last:
            self.engine.advance(first, last)

    def _move(self, at: int, share: float) -> None:
        rule, members = self.job.recipe.moves, range(len(self.job.seeds))
        slopes = self.engine.slopes(at) if rule.looks else None
        weights, kept, fresh = self.engine.weights, {}, {}
        for name, mask in self.mask.items():
            draws = noise(self.job.seeds, self.job.copies, "grown", at, name)
            moved = [
                rule.move(weights[name][i], mask[i], slopes and slopes[name][i], share, draws[i])
                for i in members
            ]
            kept[name], grown = map(torch.stack, zip(*moved, strict=True))
            fresh[name] = grown | (mask ^ kept[name])
        self.mask = Mask(kept)
        self.engine.remask(self.mask, Mask(fresh))

    @property
    def weights(self) -> Weights:
        return self.engine.weights

    def evaluate(self, weights: Weights, split: Split) -> tuple[Tensor, Tensor]:
        # Weights of an earlier step, the early stop's, may lie where the mask is no more.
        if all((self.mask[name] | (weights[name] == 0)).all() for name in self.mask):
            return self.engine.evaluate(weights, split)
        return evaluate(self.job.model, weights, self.job.data, split)

    def state(self) -> dict[str, Tensor]:
        masks = {f"mask.{name}": kept for name, kept in self.mask.items()}
        return masks | {f"steps.{name}": t for name, t in self.engine.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.mask = Mask({name: state[f"mask.{name}"] for name in self.mask})
        self.engine.remask(self.mask, self.mask & ~self.mask)
        steps = {n.removeprefix("steps."): t for n, t in state.items() if n.startswith("steps.")}
        self.engine.restore(steps)
