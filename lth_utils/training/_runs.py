"""What a training gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.recipes import Step

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
        paths: the way that each member was trained, ``"dense"``, ``"sparse"`` or ``"captured"``.
        masks: what was kept at each step of ``snapshots`` and at the end, by iteration; no two
            differ unless the mask moved. None of a run that comes out of a store.
    """

    weights: Weights
    history: pd.DataFrame
    snapshots: Mapping[int, Weights]
    locate: Callable[[Step | str | int], int]
    paths: tuple[str, ...] = ()
    masks: Mapping[int, Mask] = field(default_factory=dict)

    @property
    def mask(self) -> Mask:
        """The mask at the end, R members.

        Raises:
            InputError: the run comes out of a store, where masks are not kept.
        """
        if not self.masks:
            raise InputError("No mask was kept with this run; train it again, with lth.train.")
        return self.masks[max(self.masks)]

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
            self.paths[index : index + 1],
            {at: mask.member(index) for at, mask in self.masks.items()},
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
            tuple(path for run in runs for path in run.paths),
            {
                at: Mask.cat([run.masks[at] for run in runs])
                for at in runs[0].masks
                if all(at in run.masks for run in runs)
            },
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


def _only(weights: Weights, member: int) -> Weights:
    return {name: w[member : member + 1] for name, w in weights.items()}
