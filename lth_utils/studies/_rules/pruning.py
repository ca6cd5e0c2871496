"""Rules for *Pruning a trained network*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import paired
from lth_utils.studies._rules._common import Finding, finding_at, sparsest_unbroken, verdict_of


def pruned_matches(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where the pruned and retrained network matches the dense one at 10% or less; partly
    where it does at 20% or less."""
    difference = paired(table, "fine-tune", "dense")
    sparse = difference[difference.density <= 0.10]
    if sparse.empty:
        return None
    matches = difference.low > -margin
    at_a_fifth = bool(matches[difference.density <= 0.20].any())
    verdict = verdict_of(bool(matches[sparse.index].any()), at_a_fifth)
    shown = sparsest_unbroken(sparse, matches[sparse.index])
    return finding_at(verdict, shown, "pruned and trained on − dense, points of test accuracy")
