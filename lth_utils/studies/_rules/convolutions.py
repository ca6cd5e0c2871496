"""Rules for *Convolutions*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import measure, paired
from lth_utils.studies._rules._common import Finding, verdict_of

SPARSE = 0.10
"""The two densities that the rule looks at keep at most this share of the kind that is pruned."""


def kinds_prune_differently(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at both of the two sparsest densities, the ticket whose convolutions are pruned
    differs in accuracy from the one whose fully connected layers are pruned to an equal share, and
    on the same side; partly where it differs at one of the two. The podcast names no side."""
    tickets = table[table.treatment == "ticket"]
    difference = paired(tickets, "convolutions", "fully connected", by="pruned")
    difference = difference.assign(share=difference.level.map(share_of_kind(tickets)))
    last = difference.tail(2)
    if len(last) < 2 or (last.share > SPARSE).any():
        return None
    above, below = last.low > 0, last.high < 0
    shown = last.iloc[-1]
    return Finding(
        verdict_of(bool(above.all() or below.all()), bool((above | below).any())),
        shown["mean"], shown["low"], shown["high"],
        "only convolutions pruned − only fully connected layers pruned, points of test accuracy "
        f"at {shown.share:.1%} of the pruned kind",
    )  # fmt: skip


def share_of_kind(table: pd.DataFrame) -> pd.Series:
    """By level, the share that is kept of the one kind that is pruned.

    With shares ``c`` of the weights in convolutions and ``1 - c`` elsewhere, pruning the one kind
    to the share ``s`` leaves the densities ``c s + 1 - c`` and ``c + (1 - c) s``, whose sum is
    ``1 + s``.
    """
    densities = measure(table).groupby(["level", "pruned"]).density.mean().unstack()
    return densities["convolutions"] + densities["fully connected"] - 1
