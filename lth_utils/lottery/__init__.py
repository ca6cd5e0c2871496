"""Iterative magnitude pruning: how winning tickets are found (Frankle and Carbin, 2019).

:func:`imp` is the whole procedure: train, prune, rewind, repeat. At every level it also trains the
controls, on the same seeds. What it trains is kept in a store, unit by unit; it can be trained
here, by other processes or on other machines. :func:`transfer` trains what was found on one task
on another.
"""

from lth_utils.lottery._imp import CURVES, Lottery, Ticket, bar, imp, predict, stopped
from lth_utils.lottery._transfer import NATIVE, predict_transfer, transfer
from lth_utils.lottery._units import TABLE, Bench, Comparison

__all__ = [
    "CURVES", "NATIVE", "TABLE", "Bench", "Comparison", "Lottery", "Ticket", "bar", "imp",
    "predict", "predict_transfer", "stopped", "transfer",
]  # fmt: skip
