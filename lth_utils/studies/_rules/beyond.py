"""Rules for *Beyond vision*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import paired
from lth_utils.studies._rules._common import Finding, finding_at, sparsest_unbroken, verdict_of

SPARSE = 0.22
"""C30 speaks of a fifth of the weights and less, seven of the papers' levels of 20%."""


def tickets_in_text(table: pd.DataFrame, margin: float) -> Finding | None:
    """An extension: the podcast claims nothing of text. Holds where both are so, partly where one
    is:

    * at some density of :data:`SPARSE` or less the rewound ticket matches the dense transformer,
      and is better than fresh weights and than a random mask;
    * with one attention head removed, the one that its magnitude or the loss without it points at,
      and trained from the rewind step, the network matches the dense one.

    The number is the ticket's difference to the dense network at the sparsest density down to
    which the first is so. Settles nothing without both tables, or where no ticket is that sparse.
    """
    if "removed" not in table or table.removed.isna().all() or table.removed.notna().all():
        return None
    weights = table[table.removed.isna()].drop(columns="removed")
    against = {
        name: paired(weights, "ticket", name).set_index("level")
        for name in ("dense", "reinit", "random mask")
    }
    sparse = against["dense"].loc[lambda rows: rows.density <= SPARSE]
    if sparse.empty:
        return None
    wins = sparse.low > -margin
    for name in ("reinit", "random mask"):
        wins &= against[name].low.reindex(sparse.index) > 0
    verdict = verdict_of(
        bool(wins.any()) and spares_a_head(table, margin),
        bool(wins.any()) or spares_a_head(table, margin),
    )
    shown = sparsest_unbroken(sparse, wins)
    return finding_at(verdict, shown, "ticket − dense, points of characters predicted")


def spares_a_head(table: pd.DataFrame, margin: float) -> bool:
    """Whether the first head that magnitude or loss points at can go."""
    for how in ("heads by magnitude", "heads by loss"):
        rows = table[table.removed == how].drop(columns="removed")
        first = paired(rows, "ticket", "dense").iloc[0]
        if first.low > -margin:
            return True
    return False
