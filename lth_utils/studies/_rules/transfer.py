"""Rules for *Transfer, and the ticket zoo*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import measure, paired
from lth_utils.studies._rules._common import Finding, verdict_of

SPARSE = 0.12
"""The rule looks at densities up to this share: denser, random masks do nearly as well."""


def tickets_transfer(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, in every study, at every density up to 12% and in both directions, a ticket of
    the other task is better than random masks of equal layer densities beyond noise, and matches
    the ticket that was found on the task itself; partly where it is better than random masks in
    both directions of a study at some such density. Which direction loses less to the task's own
    tickets is told and decides nothing."""
    found, holds, partly = {}, True, False
    for study, rows in table.groupby("study", sort=False):
        pair = {name: _against(rows[rows.transfer == name]) for name in rows.transfer.unique()}
        if len(pair) != 2 or any(each.empty for each in pair.values()):
            return None
        better = pd.DataFrame({name: each.low_random > 0 for name, each in pair.items()})
        equal = pd.DataFrame({name: each.low_native > -margin for name, each in pair.items()})
        holds &= bool((better & equal).all(axis=None))
        partly |= bool(better.all(axis=1).any())
        found |= {(study, name): each.iloc[-1] for name, each in pair.items()}
    shown = min(found, key=lambda name: found[name].mean_random)
    row = found[shown]
    return Finding(
        verdict_of(holds, partly),
        row.mean_random, row.low_random, row.high_random,
        f"ticket − random mask, {shown[1]} (the smallest gain), points of test accuracy at "
        f"{row.density:.1%} of weights; {_best_direction(table, found)}",
    )  # fmt: skip


def _against(table: pd.DataFrame) -> pd.DataFrame:
    """The moved ticket's differences to random masks and to the task's own, by level."""
    random = paired(table, "ticket", "random mask")
    native = paired(table, "ticket", "native").drop(columns="density")
    both = random.merge(native, on="level", suffixes=("_random", "_native"))
    return both[both.density <= SPARSE].set_index("level")


def _best_direction(table: pd.DataFrame, found: dict[tuple[str, str], pd.Series]) -> str:
    """In how many studies the direction to the easier task, that with the better dense network, is
    the one that loses less to the task's own tickets."""
    agree, studies = 0, table.groupby("study")
    for study, rows in studies:
        dense = measure(rows[rows.treatment == "dense"]).groupby("transfer").value.mean()
        losses = {name: row.mean_native for (own, name), row in found.items() if own == study}
        agree += max(losses, key=losses.get) == dense.idxmax()
    return f"to the easier task less is lost in {agree} of {len(studies)} studies"
