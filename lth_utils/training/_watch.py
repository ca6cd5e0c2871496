"""What is seen while training: validation, and each member's early stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor

from lth_utils.datasets import Dataset, Split
from lth_utils.models import Weights
from lth_utils.training._runs import HISTORY


class Engine(Protocol):
    """What takes the steps: it holds the weights of its members while they train."""

    path: str
    """Its name in a result's provenance."""

    def advance(self, first: int, last: int) -> None:
        """Take the steps of iterations ``first`` to ``last``."""

    @property
    def weights(self) -> Weights:
        """Present weights, tensors (R, \\*shape); they may change with the next step."""

    def evaluate(self, weights: Weights, split: Split) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy (percent) on a split, float64 (R,) on the CPU."""

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state, to the bit."""


class Watch:
    """Follows the validation loss, and remembers each member's weights where it was least."""

    def __init__(self, engine: Engine, data: Dataset, seeds: Sequence[int], first: int):
        self.engine, self.data, self.seeds = engine, data, seeds
        self.rows: list[tuple] = []
        self.least = torch.full((len(seeds),), torch.inf, dtype=torch.float64)
        self.stop = [first] * len(seeds)
        self.best = {name: w.detach().clone() for name, w in engine.weights.items()}

    def validate(self, step: int) -> None:
        weights = self.engine.weights
        loss, accuracy = self.engine.evaluate(weights, self.data.val)
        self._add("during", [step] * len(self.seeds), "val", loss, accuracy)
        for member in torch.nonzero(loss < self.least).flatten().tolist():
            self.least[member], self.stop[member] = loss[member], step
            for name, w in weights.items():
                self.best[name][member] = w[member].detach()

    def report(self, last: int, splits: Sequence[str]) -> pd.DataFrame:
        ends = [last] * len(self.seeds)
        for moment, steps, weights in (
            ("early stop", self.stop, self.best),
            ("end", ends, self.engine.weights),
        ):
            for split in dict.fromkeys(("val", *splits)):
                result = self.engine.evaluate(weights, getattr(self.data, split))
                self._add(moment, steps, split, *result)
        return pd.DataFrame(self.rows, columns=HISTORY)

    def _add(self, moment: str, steps: Sequence[int], split: str, loss: Tensor, accuracy: Tensor):
        for metric, values in (("loss", loss), ("accuracy", accuracy)):
            for member, value in enumerate(values.tolist()):
                seed, step = self.seeds[member], steps[member]
                self.rows.append((member, seed, moment, step, split, metric, value))
