"""Rules for *Supermasks* and *What hides in a random network*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import interval, measure, paired, summary
from lth_utils.studies._rules._common import Finding, verdict_of

SAID = 80.0
"""Percent that masks alone reach on MNIST, as the podcast remembers it."""
CHANCE = 10.0
NEAR = 5.0
"""Points within which C26 calls a subnetwork nearly as good."""


def masks_alone(table: pd.DataFrame, margin: float) -> Finding | None:
    """Test accuracy of drawn masks over constants, rescaled, at the end of training the masks.

    Holds where its interval lies above what the podcast remembers, :data:`SAID`, and every way of
    masking is above chance; partly where it lies above twice chance.
    """
    drawn = {
        way: interval(measure(rows, "sampled accuracy", moment="end").value)
        for way, rows in table.groupby("masked", sort=False)
    }
    ours = drawn["constants, rescaled"]
    above = all(each.low > CHANCE for each in drawn.values())
    verdict = verdict_of(ours.low > SAID and above, ours.low > 2 * CHANCE)
    what = "test accuracy of drawn masks over constants, rescaled"
    return Finding(verdict, ours.mean, ours.low, ours.high, what)


def wide_hides_trained(table: pd.DataFrame, margin: float) -> Finding | None:
    """The best subnetwork of the widest random network, against the narrowest network trained.

    The share kept is chosen by validation accuracy, for each width. Holds where the widest
    matches the trained network of the narrowest width (the interval of the seed-paired difference
    lies above minus the margin); partly where it comes within :data:`NEAR` points and is better
    than the best of the narrowest random network beyond noise.
    """
    widths = sorted(table.width.unique())
    if len(widths) < 2:
        return None
    trained = table[(table.width == widths[0]) & (table.treatment == "dense")]
    best = {}
    for width in widths:
        rows = table[(table.width == width) & (table.treatment == "supermask")]
        chosen = summary(rows, split="val").set_index("level")["mean"].idxmax()
        best[width] = rows[rows.level == chosen]

    def against(width: float, other: pd.DataFrame, name: str) -> pd.Series:
        both = pd.concat([best[width], other.assign(treatment=name)])
        return paired(both.assign(level=1).drop(columns="width"), "supermask", name).iloc[0]

    gap = against(widths[-1], trained, "trained")
    wider = against(widths[-1], best[widths[0]], "narrow")
    near = gap.low > -NEAR and wider.low > 0
    kept = best[widths[-1]].density.mean()
    what = (
        f"subnetwork with {kept:.0%} of the weights of a random network of width {widths[-1]:g} − "
        f"trained network of width {widths[0]:g}, points of test accuracy"
    )
    return Finding(verdict_of(gap.low > -margin, near), gap["mean"], gap.low, gap.high, what)
