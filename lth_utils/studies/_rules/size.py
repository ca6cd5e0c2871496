"""Rules for *Another size*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import paired
from lth_utils.studies._rules._common import Finding, verdict_of

SPARSE = 0.12
"""The rule looks at densities up to this share: denser, random masks do nearly as well."""

RIVALS = ("random ticket", "random mask, moved")
"""A mask drawn in the larger network, with fresh weights; and one drawn in the small network that
has been moved as the ticket was."""


def ticket_grows(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, in every larger network and at every density up to 12%, the ticket of the
    smaller network is better beyond noise than fresh random masks of equal layer densities and than
    random masks that were moved in its way; partly where it is so in some network at some density.
    """
    found = {key: _least(rows) for key, rows in table.groupby(["study", "size"], sort=False)}
    found = {key: rows for key, rows in found.items() if not rows.empty}
    if not found:
        return None
    better = pd.concat([rows.low > 0 for rows in found.values()])
    last = {key: rows.iloc[-1] for key, rows in found.items()}
    shown = min(last, key=lambda key: last[key]["mean"])
    row = last[shown]
    return Finding(
        verdict_of(bool(better.all()), bool(better.any())),
        row["mean"], row.low, row.high,
        f"moved ticket − {row.rival}, {shown[1]} (the smallest gain), points of test accuracy at "
        f"{row.density:.1%} of weights",
    )  # fmt: skip


def _least(table: pd.DataFrame) -> pd.DataFrame:
    """At each sparse level, the difference to the rival whose interval begins lowest."""
    rows = pd.concat([paired(table, "ticket", rival).assign(rival=rival) for rival in RIVALS])
    rows = rows[rows.density <= SPARSE]
    return rows.sort_values("low").drop_duplicates("level").sort_values("level").set_index("level")
