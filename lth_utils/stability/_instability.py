"""Instability analysis: copies that part at several steps, of dense and of sparse networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from lth_utils import controls, lottery, models
from lth_utils.errors import InputError
from lth_utils.lottery import Lottery
from lth_utils.models import Weights
from lth_utils.recipes import Step
from lth_utils.stability._lines import ESTIMATE, Line, bend, cosine, distance, path
from lth_utils.training import HISTORY

if TYPE_CHECKING:
    from lth_utils.tasks import Task


STABLE = 2.0
"""Points of error below which a barrier counts as none (Frankle et al., 2020)."""


@dataclass(frozen=True)
class Between:
    """What :func:`instability` measures between a network and its copy.

    Rows have moment ``between`` and metrics ``distance`` (L2), ``cosine``, ``error barrier``
    (points), ``loss barrier`` and ``midpoint gain`` (points); and moment ``line`` with ``accuracy``
    and ``loss`` at each point, ``step`` being its number. Where a corner is trained there is also
    ``bent barrier`` (points), the error barrier on the way through it.

    Attributes:
        points: on the line between the two, both ends included.
        split: the images that error is measured on.
        limit: how many of them; all if None.
        statistics: what becomes of batch norm's, as in :func:`lth_utils.stability.path`.
        bend: length of the training of a corner, as :func:`lth_utils.stability.bend` does it,
            where the error barrier exceeds ``STABLE``, 2 points; none by default.
    """

    points: int = 30
    split: str = "test"
    limit: int | None = None
    statistics: str = "re-estimated"
    bend: str = "0it"

    against: ClassVar[str] = controls.COPY

    def __call__(self, task: Task, one: Weights, other: Weights, seed: int) -> pd.DataFrame:
        """Measure one pair (R = 1); the rows of a training's history."""
        how = (self.points, self.split, self.statistics, self.limit)
        line = path(task, one, other, *how)
        scalars = {
            "distance": distance(task.model, one, other).item(),
            "cosine": cosine(task.model, one, other).item(),
            "error barrier": line.error_barrier.item(),
            "loss barrier": line.loss_barrier.item(),
            "midpoint gain": line.midpoint_gain.item(),
            **self._more(line),
        }
        corner_for = task.recipe.iteration(self.bend, len(task.data.train))
        if corner_for and line.error_barrier.item() > STABLE:
            corner = bend(task, one, other, [seed], corner_for)
            scalars["bent barrier"] = path(task, one, other, *how, corner).error_barrier.item()
        end = task.iterations
        rows = [(0, seed, "between", end, self.split, name, v) for name, v in scalars.items()]
        for name, values in (("accuracy", line.accuracy[0]), ("loss", line.loss[0])):
            rows += [(0, seed, "line", i, self.split, name, v) for i, v in enumerate(values)]
        return pd.DataFrame(rows, columns=HISTORY)

    def _more(self, line: Line) -> dict[str, float]:
        """What else to measure on a line, by metric."""
        return {}

    def images(self, task: Task) -> int:
        """How many images one line looks at."""
        looked_at = min(self.limit or 10**9, len(getattr(task.data, self.split)))
        normed = len(models.trainable(task.model)) < len(models.shapes(task.model))
        estimated = ESTIMATE if normed and self.statistics == "re-estimated" else 0
        return self.points * (looked_at + estimated)


class ToDense(Between):
    """What is measured between a sparse network and the dense one whose weights were pruned: does
    it stay in the minimum that the dense network found, or leave it?

    Rows and attributes are those of :class:`Between`; what is measured stands under the sparse
    network's treatment. On the straight line from the one to the other the pruned weights shrink
    to zero and all others move. One of the two may be worse by many points, which is no barrier:
    metric ``climb`` (points) counts from the worse of them.
    """

    against: ClassVar[str] = controls.DENSE

    def _more(self, line: Line) -> dict[str, float]:
        return {"climb": line.climb.item()}


def instability(
    task: Task,
    steps: Sequence[Step | str | int] = ("0%", "1%", "6%"),
    treatments: Sequence[str] = ("ticket",),
    alone: Sequence[str] = ("reinit",),
    dense: Sequence[Step | str | int] | None = None,
    between: Between | None = None,
    **options: Any,
) -> Lottery:
    """Train tickets rewound to several steps, each with a copy under other SGD noise, and measure
    between the two (Frankle et al., 2020).

    Args:
        task: at the scale to run.
        steps: where copies part; tickets are rewound there.
        treatments: what is rewound to every step and compared with its copy.
        alone: treatments that are trained as they are, with no copy.
        dense: steps at which copies of the dense network part, the same ones by default. The dense
            network itself goes on, and is what its copies are compared with; a copy's momentum
            starts at zero, as in every training, which is a second difference to the dense one's.
        between: what is measured; at 30 points by default.
        **options: of :func:`lth_utils.imp`.

    Returns:
        As :func:`lth_utils.imp`, with treatments as ``"ticket @ 6%"``; what was measured stands
        under the first of each pair, ``"ticket @ 6%"`` or ``"dense @ 6%"``.

    Raises:
        InputError: there is no step or no treatment, or as :func:`lth_utils.imp`.
    """
    return lottery.imp(task, **_design(steps, treatments, alone, dense, between), **options)


def predict(
    task: Task,
    steps: Sequence[Step | str | int] = ("0%", "1%", "6%"),
    treatments: Sequence[str] = ("ticket",),
    alone: Sequence[str] = ("reinit",),
    dense: Sequence[Step | str | int] | None = None,
    between: Between | None = None,
    **options: Any,
) -> float:
    """Seconds that :func:`instability` will take here for the same arguments."""
    return lottery.predict(task, **_design(steps, treatments, alone, dense, between), **options)


def _design(steps, treatments, alone, dense, between) -> dict[str, Any]:
    """The same as treatments of :func:`lth_utils.imp`."""
    if not steps or not treatments:
        raise InputError("Name at least one step, and a treatment that is rewound to it.")
    rewound = [controls.at_step(name, step) for step in steps for name in treatments]
    copies = [f"{name}, {controls.COPY}" for name in rewound]
    dense = steps if dense is None else dense
    parted = [f"{controls.at_step(controls.DENSE, step)}, {controls.COPY}" for step in dense]
    names = (*rewound, *alone, *copies, *parted)
    return {"treatments": names, "between": between or Between()}
