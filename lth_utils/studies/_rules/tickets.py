"""Rules for *Winning tickets*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import paired
from lth_utils.studies._rules._common import (
    Finding,
    change,
    finding_at,
    sparsest_unbroken,
    verdict_of,
)


def reinit_gets_worse(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where reinit is worse than dense at every density up to 10%, and falls from the
    densest of these to the sparsest, seed by seed; partly where it falls and is worse at the
    sparsest."""
    difference = paired(table, "reinit", "dense")
    sparse = difference[difference.density <= 0.10]
    if len(sparse) < 2:
        return None
    worse = sparse.high < 0
    falling = change(table, "reinit", sparse.level.iloc[0], sparse.level.iloc[-1]).high < 0
    return finding_at(
        verdict_of(bool(worse.all() and falling), bool(worse.iloc[-1] and falling)),
        sparse.iloc[-1],
        "reinit − dense, points of test accuracy",
    )


def ticket_matches(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at some density from 1% to 10%, the ticket matches dense and beats reinit;
    partly where it matches dense and does not beat reinit."""
    to_dense = paired(table, "ticket", "dense").set_index("level")
    to_reinit = paired(table, "ticket", "reinit").set_index("level")
    sparse = to_dense[to_dense.density.between(0.01, 0.10)]
    if sparse.empty:
        return None
    matches = sparse.low > -margin
    beats = to_reinit.low.reindex(sparse.index) > 0
    both = matches & beats
    shown = sparsest_unbroken(sparse, both if both.any() else matches)
    verdict = verdict_of(bool(both.any()), bool(matches.any()))
    return finding_at(verdict, shown, "ticket − dense, points of test accuracy")


def ticket_learns_faster(table: pd.DataFrame, margin: float) -> Finding:
    """Holds where, at one and the same density, the ticket stops earlier than dense and is more
    accurate there; partly where it stops earlier and matches, or is only more accurate."""
    steps = paired(table, "ticket", "dense", metric="step").set_index("level")
    accuracy = paired(table, "ticket", "dense").set_index("level")
    earlier, better = steps.high < 0, accuracy.low > 0
    both = earlier & better
    matches = accuracy.low > -margin
    verdict = verdict_of(bool(both.any()), bool((earlier & matches).any() or better.any()))
    shown = steps[both if both.any() else earlier | ~earlier].sort_values("mean").iloc[0]
    what = (
        f"early-stop iteration, ticket − dense (both hold at {both.sum()} of {len(both)} densities)"
    )
    return finding_at(verdict, shown, what)
