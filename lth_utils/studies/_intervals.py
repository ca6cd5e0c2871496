"""Statistics, in one place: means and 95% intervals over replicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import binom

from lth_utils.errors import InputError
from lth_utils.lottery import TABLE

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


def median(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Median with an interval between two of the values themselves, by the sign test.

    It asks for no normal distribution: the errors of a stopwatch have none, since either something
    comes in between or nothing does. The field ``mean`` of what comes back is the median.

    >>> median([3.0, 1.0, 2.0, 90.0, 4.0, 5.0, 6.0])
    4.00 (95% interval 1.00 to 90.00, n = 7)

    Raises:
        InputError: there are no values.
    """
    values = np.sort(np.asarray(values, dtype=float))
    n = len(values)
    if n == 0:
        raise InputError("A median needs at least one value; there is none.")
    at = int(binom.ppf((1 - confidence) / 2, n, 0.5))  # 0 where there are too few for an interval
    ends = (values[at - 1], values[n - at]) if at else (np.nan, np.nan)
    return Interval(float(np.median(values)), *map(float, ends), n)


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
    # What is not of the usual columns tells the variants of a study apart.
    extra = [name for name in rows if name not in TABLE]
    return rows[["treatment", "level", "density", "replicate", "value", *extra]]


def summary(
    table: pd.DataFrame, metric: str = "accuracy", by: str = "treatment", **which: str
) -> pd.DataFrame:
    """Mean and interval over replicates for each treatment and level.

    Args:
        table: tidy, as :func:`lth_utils.imp` gives it.
        metric: as in :func:`measure`.
        by: the column that tells rows apart, for instance the axis of a study with variants; the
            table then holds one treatment.
        which: as in :func:`measure`.

    Returns:
        Columns ``by``, level, density, mean, low, high, n.

    Raises:
        InputError: the rows differ in something else as well.
    """
    return _over_replicates(comparable(measure(table, metric, **which), by), by, sort=False)


def paired(
    table: pd.DataFrame,
    one: str,
    other: str,
    metric: str = "accuracy",
    by: str = "treatment",
    **which: str,
) -> pd.DataFrame:
    """Seed-paired differences ``one`` - ``other`` at each level, with their intervals.

    The dense network exists at level 0 alone, and is compared with every level. Replicates pair
    because a seed gives all its treatments the same order of the images and, at one level, the
    same number of weights in each layer.

    Args:
        table: tidy, as :func:`lth_utils.imp` gives it.
        one: name of a treatment, or whatever else stands in column ``by``.
        other: what it is compared with.
        metric: as in :func:`measure`.
        by: the column that tells the two apart, for instance the axis of a study with variants;
            the table then holds one treatment.
        which: as in :func:`measure`.

    Returns:
        Columns level, density, mean, low, high, n, sparser levels later.

    Raises:
        InputError: the two have no level and replicate in common, or the rows differ in something
            else as well.
    """
    rows = comparable(measure(table, metric, **which), by)
    ours, theirs = rows[rows[by] == one], rows[rows[by] == other]
    keys = ["replicate"] if other == "dense" else ["replicate", "level"]
    both = ours.merge(theirs[[*keys, "value"]], on=keys, suffixes=("", "_other"))
    if both.empty:
        known = ", ".join(map(str, rows[by].unique()))
        raise InputError(f"{one!r} and {other!r} cannot be compared here; {by}s: {known}.")
    both["value"] -= both.pop("value_other")
    return _over_replicates(both, by, sort=True).drop(columns=by)


def _over_replicates(rows: pd.DataFrame, by: str, sort: bool) -> pd.DataFrame:
    found = [
        (name, level, group.density.mean(), *interval(group.value))
        for (name, level), group in rows.groupby([by, "level"], sort=sort)
    ]
    return pd.DataFrame(found, columns=[by, "level", "density", "mean", "low", "high", "n"])


def comparable(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """The rows, if they differ in nothing but column ``by``, the level and the replicate."""
    if by not in rows:
        raise InputError(f"The table has no column {by!r}; it has {', '.join(rows)}.")
    usual = {"level", "density", "replicate", "value", by}
    for name in [name for name in rows if name not in usual]:
        # Every treatment begins as the dense network.
        found = [v for v in rows[name].unique() if not (name == "treatment" and v == "dense")]
        if len(found) > 1:
            raise InputError(
                f"The table holds several values of {name!r} ({', '.join(map(str, found))}): "
                f"choose one, or compare them with by={name!r}."
            )
    return rows
