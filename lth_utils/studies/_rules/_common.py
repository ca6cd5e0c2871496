"""What rules share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lth_utils.studies._intervals import paired


@dataclass(frozen=True)
class Finding:
    """What a study says of a claim: ``ours`` is ``quantity``, with a 95% interval."""

    verdict: str
    ours: float
    low: float
    high: float
    quantity: str


def verdict_of(holds: bool, partly: bool) -> str:
    return "holds" if holds else "partly" if partly else "not reproduced"


def sparsest_unbroken(rows: pd.DataFrame, good: pd.Series) -> pd.Series:
    """The sparsest row down to which every row is good; if the densest is not, the densest good
    one, and failing that the densest: never a lucky row behind bad ones."""
    if not good.any():
        return rows.iloc[0]
    first = int(good.to_numpy().argmax())
    run = good.to_numpy()[first:]
    last = first + (len(run) if run.all() else int(run.argmin())) - 1
    return rows.iloc[last]


def nearest_levels(density: pd.Series, wanted: Sequence[float]) -> list[int] | None:
    """The levels, by which ``density`` is indexed, nearest to some densities on a logarithmic axis;
    None where one serves for two of them, or the sparsest is not nearly reached."""
    levels = [np.log(density / at).abs().idxmin() for at in wanted]
    if len(set(levels)) < len(wanted) or density.min() > 1.5 * min(wanted):
        return None
    return levels


def finding_at(verdict: str, row: pd.Series, what: str) -> Finding:
    return Finding(
        verdict, row["mean"], row["low"], row["high"], f"{what} at {row['density']:.1%} of weights"
    )


def change(table: pd.DataFrame, treatment: str, before: int, after: int):
    """The seed-paired change in test accuracy of one treatment between two levels."""
    rows = table[(table.treatment == treatment) & table.level.isin([before, after])]
    renamed = rows.assign(treatment=rows.level.map({before: "before", after: "after"}), level=0)
    return paired(renamed, "after", "before").iloc[0]
