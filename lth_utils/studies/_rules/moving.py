"""Rules for *Moving masks*."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lth_utils.studies._intervals import paired, summary
from lth_utils.studies._rules._common import Finding, finding_at, sparsest_unbroken, verdict_of

SPARSE = 0.10
"""From here on C20 speaks."""
NEAR = 3.0
"""How many margins below the dense network is close to it."""
MOVING = ("SET", "RigL", "SET, erdos-renyi", "RigL, erdos-renyi")
STAYING = ("static", "static, erdos-renyi")


def moving_is_close(table: pd.DataFrame, margin: float) -> Finding | None:
    """A mask that moves against the dense network, trained equally long, and against a random mask
    that stays.

    At each density up to 10% the best of :data:`MOVING` and the best of :data:`STAYING` are chosen
    by validation accuracy. Holds where, at one and the same density, the moving mask matches the
    dense network (the interval of the paired difference lies above minus the margin) and is better
    than the one that stays, beyond noise; partly where at one density only one of the two is so,
    and its interval against dense lies above minus :data:`NEAR` margins.

    The number is the difference to dense at the sparsest density down to which that is so.
    """
    sparse = table[(table.level == 0) | (table.density <= SPARSE)]
    moving, staying = _best(sparse, MOVING, "moving"), _best(sparse, STAYING, "staying")
    if moving.empty or staying.empty:
        return None
    both = pd.concat([moving, staying, sparse[sparse.treatment == "dense"]])
    to_dense = paired(both, "moving", "dense").set_index("level")
    better = paired(both, "moving", "staying").set_index("level").low > 0
    matches, near = to_dense.low > -margin, to_dense.low > -NEAR * margin
    whole, part = matches & better, near & (matches | better)
    shown = sparsest_unbroken(to_dense, whole if whole.any() else part)
    what = "best mask that moves − dense, points of test accuracy"
    return finding_at(verdict_of(bool(whole.any()), bool(part.any())), shown, what)


def _best(table: pd.DataFrame, names: Sequence[str], called: str) -> pd.DataFrame:
    """At each level, the rows of the treatment with the best mean validation accuracy."""
    rows = table[table.treatment.isin(names)]
    if rows.empty:
        return rows
    means = summary(rows, split="val")
    best = means.loc[means.groupby("level")["mean"].idxmax()]
    return rows.merge(best[["treatment", "level"]]).assign(treatment=called)
