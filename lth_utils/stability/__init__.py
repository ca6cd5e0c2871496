"""Stability: do two copies of a network, trained under different SGD noise, end in one valley?

Two copies start from the same weights and mask, and differ in the order of the data and in
augmentation alone. How far apart they end, and whether the error stays flat on the straight line
between them (linear mode connectivity; Frankle et al., 2020), says whether training had already
settled where the copies part. :func:`distance`, :func:`interpolate` and :func:`path` measure that
for any two networks, and :func:`instability` is the whole analysis, for dense networks and for
tickets, stored unit by unit.

Batch norm needs a decision. Its statistics belong to the activations of one network, and neither
those of the ends nor their mean are right for a network between. :func:`reestimate` measures them
again; :func:`path` does that at every point unless it is told not to.
"""

from lth_utils.stability._instability import STABLE, Between, ToDense, instability, predict
from lth_utils.stability._lines import (
    STATISTICS,
    Line,
    bend,
    cosine,
    distance,
    interpolate,
    path,
    reestimate,
)

__all__ = [
    "STABLE", "STATISTICS", "Between", "Line", "ToDense", "bend", "cosine", "distance",
    "instability", "interpolate", "path", "predict", "reestimate",
]  # fmt: skip
