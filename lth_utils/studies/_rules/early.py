"""Rules for *Pruning early*."""

from __future__ import annotations

import pandas as pd

from lth_utils.recipes import Step
from lth_utils.studies._intervals import paired
from lth_utils.studies._rules._common import Finding, finding_at, nearest_levels, verdict_of

EARLY_AT = (0.05, 0.02, 0.01)
"""C21 speaks of the recorded densities nearest to these."""
MOMENTS_AT = (0.07, 0.036, 0.02)
"""C22 speaks of the recorded densities nearest to these."""
HALF = 50.0
"""The share of training, in percent, before which C22 calls magnitude a poor guide."""


def snip_below_ticket(table: pd.DataFrame, margin: float) -> Finding | None:
    """SNIP at initialisation, against random masks and against the ticket: the same network pruned
    level by level by magnitude after training.

    Holds where, at each density of :data:`EARLY_AT`, SNIP is better than random and worse than the
    ticket, beyond noise. Partly where it is better than random at each of them, and worse than the
    ticket at one of them at least. That it costs almost nothing needs no table.

    The number is SNIP − ticket at the middle one of these densities.
    """
    tickets = table[table.treatment.isin(["ticket", "dense"])]
    chance = paired(tickets, "snip", "random", by="criterion").set_index("level")
    ceiling = paired(tickets, "snip", "magnitude", by="criterion").set_index("level")
    levels = nearest_levels(ceiling.density.drop(0, errors="ignore"), EARLY_AT)
    if levels is None:
        return None
    works = bool((chance.low[levels] > 0).all())
    below = ceiling.high[levels] < 0
    verdict = verdict_of(works and bool(below.all()), works and bool(below.any()))
    what = "SNIP at initialisation − ticket, points of test accuracy"
    return finding_at(verdict, ceiling.loc[levels[1]], what)


def magnitude_early_is_poor(table: pd.DataFrame, margin: float) -> Finding | None:
    """Tickets pruned at a step of each training, against those pruned at its end.

    From half of training on, pruning matches at each density of :data:`MOMENTS_AT`: the interval of
    the paired difference lies above minus the margin. Holds where besides every earlier step is
    worse at each of these densities, beyond noise; partly where at each of them some earlier step
    is, other than the very start, at which nothing has been learnt. Partly, too, where every
    earlier step is worse, but pruning from half of training on does not match: this was added when
    the first table had been seen, of which the rule had said *not reproduced*. None where the table
    has no step before half of training but the start, or none from there on but the end.

    The number is the difference for the last step before half of training, at the sparsest of
    these densities.
    """
    tickets = table[table.treatment.isin(["ticket", "dense"])]
    share = {name: Step.of(name).amount for name in tickets["pruned at"].unique()}
    against = {
        name: paired(tickets, name, "100%", by="pruned at").set_index("level")
        for name in sorted(share, key=share.get)
        if name != "100%"
    }
    before = [name for name in against if share[name] < HALF]
    after = [name for name in against if share[name] >= HALF]
    learnt = [name for name in before if share[name] > 0]
    if not learnt or not after:
        return None
    density = against[learnt[-1]].density.drop(0, errors="ignore")
    levels = nearest_levels(density, MOMENTS_AT)
    if levels is None:
        return None
    matches = all(bool((against[name].low[levels] > -margin).all()) for name in after)
    worse = pd.DataFrame({name: against[name].high[levels] < 0 for name in before})
    poor, partly = bool(worse.all(axis=None)), bool(worse[learnt].any(axis=1).all())
    verdict = verdict_of(matches and poor, (matches and partly) or poor)
    what = f"pruned at {learnt[-1]} of training − at its end, points of test accuracy"
    return finding_at(verdict, against[learnt[-1]].loc[levels[-1]], what)
