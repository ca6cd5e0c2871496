"""Statistics, in one place: means and 95% intervals over replicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from lth_utils.errors import InputError

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean over ``n`` replicates with its interval; the ends are NaN where n is 1."""

    mean: float
    low: float
    high: float
    n: int

    def __repr__(self) -> str:
        return f"{self.mean:.2f} (95% interval {self.low:.2f} to {self.high:.2f}, n = {self.n})"


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean and Student's t interval (Student, 1908) over replicates.

    >>> interval([1.0, 2.0, 3.0])
    2.00 (95% interval -0.48 to 4.48, n = 3)

    Raises:
        InputError: there are no values.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 0:
        raise InputError("An interval needs at least one replicate; there is none.")
    mean = float(values.mean())
    if n == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half = stdtrit(n - 1, (1 + confidence) / 2) * values.std(ddof=1) / np.sqrt(n)
    return Interval(mean, float(mean - half), float(mean + half), n)


def measure(
    table: pd.DataFrame, metric: str = "accuracy", moment: str = "early stop", split: str = "test"
) -> pd.DataFrame:
    """One value for each training: columns treatment, level, density, replicate and value.

    Args:
        table: tidy, as :func:`lth_utils.imp` gives it.
        metric: ``"accuracy"`` (percent), ``"loss"``, or ``"step"``: the iteration of ``moment``.
        moment: ``"early stop"`` or ``"end"``.
        split: ``"val"`` or ``"test"``.

    Raises:
        InputError: the table has no such rows.
    """
    wanted = "loss" if metric == "step" else metric
    rows = table[(table.metric == wanted) & (table.moment == moment) & (table.split == split)]
    if rows.empty:
        raise InputError(f"The table has no {metric} of {split} at moment {moment!r}.")
    if metric == "step":
        rows = rows.assign(value=rows.step.astype(float))
    return rows[["treatment", "level", "density", "replicate", "value"]]


def summary(table: pd.DataFrame, metric: str = "accuracy", **which: str) -> pd.DataFrame:
    """Mean and interval over replicates for each treatment and level.

    Returns:
        Columns treatment, level, density, mean, low, high, n. ``which`` as in :func:`measure`.
    """
    rows = measure(table, metric, **which)
    return _over_replicates(rows.groupby(["treatment", "level"], sort=False))


def paired(
    table: pd.DataFrame, one: str, other: str, metric: str = "accuracy", **which: str
) -> pd.DataFrame:
    """Seed-paired differences ``one`` - ``other`` at each level, with their intervals.

    The dense network exists at level 0 alone, and is compared with every level. Replicates pair
    because a seed gives all its treatments the same order of the images and, at one level, the
    same number of weights in each layer.

    Returns:
        Columns level, density, mean, low, high, n, sparser levels later.

    Raises:
        InputError: the two have no level and replicate in common.
    """
    rows = measure(table, metric, **which)
    ours, theirs = rows[rows.treatment == one], rows[rows.treatment == other]
    keys = ["replicate"] if other == "dense" else ["replicate", "level"]
    both = ours.merge(theirs[[*keys, "value"]], on=keys, suffixes=("", "_other"))
    if both.empty:
        known = ", ".join(rows.treatment.unique())
        raise InputError(f"{one!r} and {other!r} cannot be compared here; treatments: {known}.")
    both["value"] -= both.pop("value_other")
    return _over_replicates(both.groupby(["treatment", "level"], sort=True)).drop(
        columns="treatment"
    )


def _over_replicates(groups) -> pd.DataFrame:
    rows = [
        (treatment, level, group.density.mean(), *interval(group.value))
        for (treatment, level), group in groups
    ]
    return pd.DataFrame(rows, columns=["treatment", "level", "density", "mean", "low", "high", "n"])
