"""Rules for *Pruning a trained network*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import measure, paired
from lth_utils.studies._rules._common import (
    Finding,
    finding_at,
    nearest_levels,
    sparsest_unbroken,
    verdict_of,
)

RACED_AT = (0.25, 0.07, 0.02)
"""C05 speaks of the recorded densities nearest to these."""
SPARSE = 0.10
"""From here on C01 and C40 speak: an order of magnitude fewer weights."""


def pruned_matches(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where the pruned and retrained network matches the dense one at 10% or less; partly
    where it does at 20% or less."""
    difference = paired(table, "fine-tune", "dense")
    sparse = difference[difference.density <= SPARSE]
    if sparse.empty:
        return None
    matches = difference.low > -margin
    at_a_fifth = bool(matches[difference.density <= 0.20].any())
    verdict = verdict_of(bool(matches[sparse.index].any()), at_a_fifth)
    shown = sparsest_unbroken(sparse, matches[sparse.index])
    return finding_at(verdict, shown, "pruned and trained on − dense, points of test accuracy")


def magnitude_among_best(table: pd.DataFrame, margin: float) -> Finding | None:
    """Magnitude stands its ground at a density where it is better than random, and where no other
    criterion is better than it, beyond noise and by more than the margin. Holds where it does at
    all three densities of :data:`RACED_AT`; partly where it does at two of them.

    Beyond noise: the interval of the seed-paired difference excludes zero. By more than the
    margin: the mean difference does. The number is the difference to the strongest of the other
    criteria, at the density where that leads most or trails least.
    """
    rivals = [name for name in table.criterion.unique() if name not in ("magnitude", "random")]
    against = {
        name: paired(table, "magnitude", name, by="criterion").set_index("level")
        for name in [*rivals, "random"]
    }
    sparse = against["random"].density.drop(0)
    levels = nearest_levels(sparse, RACED_AT)
    if levels is None:
        return None
    stands, strongest = [], []
    for level in levels:
        at = pd.DataFrame({name: against[name].loc[level] for name in rivals}).T
        beaten = bool(((at.high < 0) & (at["mean"] < -margin)).any())
        stands.append(bool(against["random"].low[level] > 0) and not beaten)
        strongest.append(at.loc[at["mean"].idxmin()])
    shown = min(strongest, key=lambda row: row["mean"])
    verdict = verdict_of(all(stands), sum(stands) == len(stands) - 1)
    return finding_at(verdict, shown, f"magnitude − {shown.name}, points of test accuracy")


def finding_costs_more(table: pd.DataFrame, margin: float) -> Finding | None:
    """Operations that it takes to find a ticket that matches the dense network at 10% or less, the
    densest of them, relative to training the dense network once. Finding takes all trainings
    before the ticket's own.

    Holds where iterative pruning finds one for more than 1 and one-shot pruning finds none; partly
    where both do, because one-shot pruning takes the dense training and nothing more; not
    reproduced where iterative pruning finds one for no more than 1, or only one-shot pruning finds
    one. None where neither does.

    A network without convolutions does one multiply-add for each weight that it keeps, so that a
    training's operations are to the dense network's as the weights are: an exact number, the same
    for all replicates.
    """
    costs = {}
    for way in ("rewound", "rewound, one-shot"):
        rows = table[table.way == way]
        difference = paired(rows, "ticket", "dense")
        matches = difference[(difference.density <= SPARSE) & (difference.low > -margin)]
        if not matches.empty:
            first = matches.iloc[0]
            trained = measure(rows).groupby("level").density.mean()
            before = trained.index < (1 if "one-shot" in way else first.level)
            costs[way] = float(trained[before].sum()), f"at {first.density:.1%} of weights"
    if not costs:
        return None
    cost, where = next(iter(costs.values()))
    dear, one_shot = "rewound" in costs and cost > 1, costs.get("rewound, one-shot")
    what = f"dense trainings' worth of operations to find a ticket {where}"
    if one_shot and "rewound" in costs:
        what += f" (one-shot: {one_shot[0]:g}, {one_shot[1]})"
    return Finding(verdict_of(dear and not one_shot, dear), cost, cost, cost, what)
