"""Rules for retraining: rewind, fine-tune or rewind the rate, on equal budgets.

Budgets are equal where treatments name the same step: at 10%, each trains for nine tenths of the
recipe. Rules look at the longest budget that all three have, and at the end of training.
"""

from __future__ import annotations

import pandas as pd

from lth_utils.controls import at_step, step_of
from lth_utils.recipes import Step
from lth_utils.stability import STABLE
from lth_utils.studies._intervals import interval, measure, paired
from lth_utils.studies._rules._common import Finding, finding_at, verdict_of

MOMENT = "end"

SPARSE = 0.35
"""Claims about retraining speak of densities up to about a third: 0.8⁵ of what is pruned."""

WEIGHTS, RATE, FINE_TUNE = "ticket", "rate rewinding", "fine-tune"
"""What is rewound: the weights, the rate or nothing."""


def steps(table: pd.DataFrame) -> list[str]:
    """The steps at which all three ways were trained, the longest budget first."""
    names = set(table.treatment)
    found = {step_of(name) for name in names} - {None}
    common = [s for s in found if all(at_step(n, s) in names for n in (WEIGHTS, RATE, FINE_TUNE))]
    return sorted(common, key=lambda step: Step.of(step).amount)


def pruned(table: pd.DataFrame) -> pd.DataFrame:
    """The dense network, and what was pruned to about a third or less; not the dense network that
    is trained on, where a study has that too."""
    if "pruned" in table:
        table = table[table.pruned != "not at all"].drop(columns="pruned")
    return table[(table.level == 0) | (table.density <= SPARSE)]


def _longest(table: pd.DataFrame) -> tuple[pd.DataFrame, str, str, str] | None:
    """The rows that count, and the names of the three ways on the longest budget."""
    table = pruned(table)
    if not steps(table) or not (table.level > 0).any():
        return None
    longest = steps(table)[0]
    return table, *(at_step(name, longest) for name in (WEIGHTS, RATE, FINE_TUNE))


def rewinding_beats(table: pd.DataFrame, margin: float) -> Finding | None:
    """Looks at densities up to about a third and the longest budget. Holds where rewinding weights
    is better beyond noise than fine-tuning at every density. Partly where it is at some, or where
    rewinding the rate is at every density."""
    found = _longest(table)
    if found is None:
        return None
    table, weights, rate, tuned = found
    gain, of_rate = (paired(table, one, tuned, moment=MOMENT) for one in (weights, rate))
    better = gain.low > 0
    return finding_at(
        verdict_of(bool(better.all()), bool(better.any() or (of_rate.low > 0).all())),
        gain.iloc[-1],
        f"{weights} − {tuned}, points of test accuracy",
    )


def fine_tuned_stay(table: pd.DataFrame, margin: float) -> Finding | None:
    """On the straight line to the dense network that was pruned, how far the error climbs above
    that of the worse end: below 2 points a network has stayed in its minimum. Looks at densities up
    to about a third and the longest budget. Holds where at every density fine-tuned networks stay,
    and rewound ones climb 2 points or more beyond noise. Partly where that is so at some density,
    or rewound ones climb more than fine-tuned ones beyond noise at every density."""
    found = _longest(table)
    if found is None or not (table.metric == "climb").any():
        return None
    table, weights, _, tuned = found
    climbs = measure(table, "climb", moment="between")
    stay, leave = {}, {}
    for level, rows in climbs.groupby("level"):
        of = {name: interval(part.value) for name, part in rows.groupby("treatment")}
        stay[level] = of[tuned].mean < STABLE
        leave[level] = of[weights].low >= STABLE
    both = pd.Series(stay) & pd.Series(leave)
    between = table[table.moment == "between"]
    more = paired(between, weights, tuned, "climb", moment="between")
    return finding_at(
        verdict_of(bool(both.all()), bool(both.any() or (more.low > 0).all())),
        more.iloc[-1],
        f"climb to dense, points of test error, {weights} − {tuned},",
    )
