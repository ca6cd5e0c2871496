"""Rules for *Winning tickets*."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lth_utils.studies._intervals import interval, measure, paired
from lth_utils.studies._rules._common import (
    Finding,
    change,
    finding_at,
    sparsest_unbroken,
    verdict_of,
)

LEARNED = 90.0
"""Test accuracy that a dense network needs to count for C35: one that has learned little is
cheaply matched."""
FACTOR = 2.0
"""*About as sparse* in C36: within this factor, which is three of the paper's levels."""


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


def small_has_no_ticket(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at some width below 1, no ticket matches its dense network and every one is
    worse, while at width 1 one matches; partly where at that width none matches and every one
    loses more than the margin in the mean alone."""
    widths = table.width.astype(float)
    if 1.0 not in set(widths) or widths.min() >= 1:
        return None
    differences = {w: paired(table[widths == w], "ticket", "dense") for w in sorted(set(widths))}
    smaller = [w for w in differences if w < 1]
    none = {w: bool((differences[w].low <= -margin).all()) for w in differences}
    worse = [w for w in smaller if none[w] and (differences[w].high < 0).all()]
    in_the_mean = [w for w in smaller if none[w] and (differences[w]["mean"] < -margin).all()]
    verdict = verdict_of(bool(worse) and not none[1.0], bool(in_the_mean) and not none[1.0])
    width = max(worse or in_the_mean or smaller[:1])
    best = differences[width].loc[differences[width]["mean"].idxmax()]
    what = f"best ticket − dense at width {width:g}, points of test accuracy"
    return finding_at(verdict, best, what)


def share_falls_with_width(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where the share of the weights in a replicate's smallest matching ticket falls with
    the width of the dense network: the interval of the slope, both in logs, lies below zero;
    partly where it falls in the mean alone. Widths whose dense networks reach less than
    ``LEARNED`` do not count."""
    widths = table.width.astype(float)
    shares = {}
    for width in sorted(set(widths)):
        rows = measure(table[widths == width])
        if rows[rows.treatment == "dense"].value.mean() >= LEARNED:
            shares[width] = smallest_matching(rows, "ticket", margin)
    if len(shares) < 2:
        return None
    logs = np.log(pd.DataFrame(shares).dropna())
    slopes = interval(np.polyfit(np.log(list(shares)), logs.T, 1)[0].round(9))  # flat is 0
    factor = [2**slope for slope in slopes[:3]]
    verdict = verdict_of(slopes.high < 0, slopes.mean < 0)
    what = (
        "factor of the share of the smallest matching ticket for twice the width, "
        f"widths {min(shares):g} to {max(shares):g}"
    )
    return Finding(verdict, *factor, what)


def as_sparse_as_trained_on(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where a replicate's smallest matching ticket has between half and twice the weights of
    the smallest network that matches when it is trained on instead of rewound; partly where only
    the mean ratio is within these bounds. Settles nothing where most replicates of either still
    match at the sparsest level: both could be smaller."""
    shares = {}
    for way, treatment in (("rewound", "ticket"), ("trained on", "fine-tune")):
        rows = measure(table[table.way == way])
        shares[way] = smallest_matching(rows, treatment, margin)
        if np.isclose(shares[way], rows.density.min(), rtol=1e-3).mean() > 0.5:
            return None
    log = interval(np.log(shares["rewound"] / shares["trained on"]).dropna())
    bound = np.log(FACTOR)
    verdict = verdict_of(-bound < log.low and log.high < bound, abs(log.mean) < bound)
    what = "weights of the smallest matching network, rewound ÷ trained on"
    return Finding(verdict, *np.exp(log[:3]).tolist(), what)


def smallest_matching(rows: pd.DataFrame, treatment: str, margin: float) -> pd.Series:
    """For each replicate the least density down to which no level loses ``margin`` points or more
    against the replicate's own dense network; 1 where the first level does.

    ``rows`` are those of :func:`lth_utils.studies.measure`, of one dense network."""
    rows = rows[rows.treatment.isin(["dense", treatment])]
    values = rows.pivot(index="replicate", columns="level", values="value")
    matches = values.sub(values[0], axis=0).gt(-margin).astype(int).cummin(axis=1)
    density = rows.groupby("level").density.mean().to_numpy()
    return matches.sum(axis=1).map(lambda levels: density[levels - 1])
