"""Rules for *Signs, zeros and criteria*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import paired
from lth_utils.studies._rules._common import Finding, finding_at, nearest_levels, verdict_of

SIGNS_AT = (0.07, 0.036, 0.02)
"""C23 speaks of the recorded densities nearest to these: where fresh weights are worse."""
CRITERIA_AT = (0.25, 0.07, 0.02)
"""C24 speaks of the recorded densities nearest to these."""


def signs_matter(table: pd.DataFrame, margin: float) -> Finding | None:
    """Fresh weights with the ticket's signs, against the ticket and against fresh signs.

    At each density of :data:`SIGNS_AT` where fresh weights are worse than the ticket beyond noise,
    fresh weights with the ticket's signs match the ticket (the interval of the paired difference
    lies above minus the margin) and are better than with fresh signs, beyond noise. Holds where
    that is so at all of them; partly where they are better than with fresh signs at all of them,
    and yet do not match. None where fresh weights are worse at none.

    The number is the difference to the ticket at the sparsest of them.
    """
    same = paired(table, "reinit, same signs", "ticket").set_index("level")
    gain = paired(table, "reinit, same signs", "reinit").set_index("level")
    fresh = paired(table, "reinit", "ticket").set_index("level")
    levels = nearest_levels(fresh.density, SIGNS_AT)
    if levels is None:
        return None
    levels = [level for level in levels if fresh.high[level] < 0]
    if not levels:
        return None
    helps = all(gain.low[level] > 0 for level in levels)
    matches = all(same.low[level] > -margin for level in levels)
    what = "fresh weights with the ticket's signs − ticket, points of test accuracy"
    return finding_at(verdict_of(helps and matches, helps), same.loc[levels[-1]], what)


def increase_as_good(table: pd.DataFrame, margin: float) -> Finding | None:
    """Magnitude increase matches magnitude, and keeping the smallest weights is worse than keeping
    random ones beyond noise, at each density of :data:`CRITERIA_AT`. Holds where both are so;
    partly where one is.

    The number is magnitude increase − magnitude at the density where it trails most.
    """
    tickets = table[table.treatment.isin(["ticket", "dense"])]
    increase = paired(tickets, "magnitude increase", "magnitude", by="criterion")
    small = paired(tickets, "smallest", "random", by="criterion").set_index("level")
    increase = increase.set_index("level").drop(0, errors="ignore")
    levels = nearest_levels(increase.density, CRITERIA_AT)
    if levels is None:
        return None
    good = bool((increase.low[levels] > -margin).all())
    bad = bool((small.high[levels] < 0).all())
    row = increase.loc[increase["mean"][levels].idxmin()]
    what = "magnitude increase − magnitude, points of test accuracy"
    return finding_at(verdict_of(good and bad, good or bad), row, what)
