"""What rules share."""

from __future__ import annotations

from dataclasses import dataclass

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


def finding_at(verdict: str, row: pd.Series, what: str) -> Finding:
    return Finding(
        verdict, row["mean"], row["low"], row["high"], f"{what} at {row['density']:.1%} of weights"
    )


def change(table: pd.DataFrame, treatment: str, before: int, after: int):
    """The seed-paired change in test accuracy of one treatment between two levels."""
    rows = table[(table.treatment == treatment) & table.level.isin([before, after])]
    renamed = rows.assign(treatment=rows.level.map({before: "before", after: "after"}), level=0)
    return paired(renamed, "after", "before").iloc[0]
