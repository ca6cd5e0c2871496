"""Rules for *What a ticket looks like*."""

from __future__ import annotations

import pandas as pd

from lth_utils.studies._intervals import interval, measure, paired
from lth_utils.studies._rules._common import Finding, finding_at, verdict_of

EVEN = 2.0
"""*About the same number* of inputs: the variance is at most twice that of a random mask."""
MASK = {"moment": "mask", "split": "none"}


def evenly_sparse(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at every density from 10% to 1%, the in-degrees of both hidden layers, those of
    the first counted over pixels that are not dark, vary at most :data:`EVEN` times as much as
    under a random mask (the interval of the variance ratio lies below); partly where they do so
    in one of the two."""
    layers = ["in-degree spread, fc1, lit", "in-degree spread, fc2"]
    ratios = {
        layer: (rows := _ratios(table, layer))[rows.density.between(0.01, 0.10)] for layer in layers
    }
    if any(rows.empty for rows in ratios.values()):
        return None
    even = [bool((rows.high <= EVEN).all()) for rows in ratios.values()]
    worst = pd.concat(ratios.values()).sort_values("mean").iloc[-1]
    return finding_at(
        verdict_of(all(even), any(even)),
        worst,
        f"largest variance of the in-degree, 1 for a random mask, ticket, in {worst.layer}",
    )


def _ratios(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = measure(table, metric, **MASK)
    rows = rows[rows.treatment == "ticket"]
    found = [
        (level, group.density.mean(), *interval(group.value), metric.split(", ")[1])
        for level, group in rows.groupby("level")
    ]
    return pd.DataFrame(found, columns=["level", "density", "mean", "low", "high", "n", "layer"])


def local(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at the first density of 10% or less, the first layer of a ticket is more local
    than a random mask when inputs are in order, and not when they are permuted, in the order that
    the network sees; partly where it is so for permuted inputs as well, but less."""
    rows = measure(table, "locality", **MASK)
    level = _first_level(rows, 0.10)
    if level is None:
        return None
    excess = {
        inputs: paired(table[table.inputs == inputs], "ticket", "random mask", "locality", **MASK)
        .set_index("level")
        .loc[level]
        for inputs in ("in order", "permuted")
    }
    less = paired(
        table[table.treatment == "ticket"], "in order", "permuted", "locality", by="inputs", **MASK
    ).set_index("level")
    ordered, permuted = excess["in order"].low > 0, excess["permuted"].low > 0
    return finding_at(
        verdict_of(
            bool(ordered and not permuted),
            bool(ordered and permuted and less.loc[level].low > 0),
        ),
        excess["in order"],
        "locality of the first layer, ticket − random mask",
    )


def less_overfitting(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at the first density of 20% or less and at the end of training, (a) the gap
    between training and test accuracy is smaller for the ticket than for the dense network, with
    true and with noisy labels, and (b) pruning gains more test accuracy, ticket − dense, with noisy
    labels than with true ones; partly where one of the two is so."""
    level = _first_level(table[table.treatment == "ticket"], 0.20)
    if level is None:
        return None
    at_end = table[(table.moment == "end") & (table.metric == "accuracy")]
    shares = at_end["label noise"].astype(float)
    true, noisy = (at_end[shares == share] for share in (shares.min(), shares.max()))
    shrinks = all(interval(_gain(_gap(rows), level)).high < 0 for rows in (true, noisy))
    gains = [_gain(rows[rows.split == "test"], level) for rows in (true, noisy)]
    more = interval(gains[1] - gains[0])
    density = table[table.level == level].density.mean()
    row = pd.Series({**more._asdict(), "density": density})
    return finding_at(
        verdict_of(shrinks and more.low > 0, shrinks or more.low > 0),
        row,
        "gain from pruning, noisy − true labels, points of test accuracy at the end",
    )


def _gap(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in training − in test, one row for each training."""
    keys = ["treatment", "level", "density", "replicate"]
    wide = rows.pivot_table(index=keys, columns="split", values="value")
    return (wide["train"] - wide["test"]).rename("value").reset_index()


def _gain(rows: pd.DataFrame, level: int) -> pd.Series:
    """Ticket at a level − dense, by replicate."""
    values = rows.set_index("replicate").value
    is_ticket = ((rows.treatment == "ticket") & (rows.level == level)).to_numpy()
    return values[is_ticket] - values[(rows.treatment == "dense").to_numpy()]


def not_dropout(table: pd.DataFrame, margin: float) -> Finding | None:
    """That masks over time differ is so by construction; the rule asks whether what the two do
    differs. Holds where (a) with dropout, too, the ticket beats the random mask at every density
    from 10% to 1%: dropping at random does not stand in for choosing; and (b) at the sparsest of
    these dropout does something else to a ticket than to the dense network: the interval of the
    difference of the two effects excludes zero. Partly where one of the two is so."""
    rate = table["dropout"].astype(float)
    dropped, plain = table[rate == rate.max()], table[rate == rate.min()]
    beats = paired(dropped, "ticket", "random mask")
    beats = beats[beats.density.between(0.01, 0.10)]
    if beats.empty:
        return None
    level = beats.level.iloc[-1]
    effect = interval(_gain(measure(dropped), level) - _gain(measure(plain), level))
    differs = effect.low > 0 or effect.high < 0
    chosen = bool((beats.low > 0).all())
    row = pd.Series({**effect._asdict(), "density": beats.density.iloc[-1]})
    return finding_at(
        verdict_of(chosen and differs, chosen or differs),
        row,
        "what dropout does to a ticket − what it does to dense, points of test accuracy",
    )


def _first_level(rows: pd.DataFrame, density: float) -> int | None:
    """The densest level at or below a density, if any."""
    sparse = rows[rows.density <= density]
    return None if sparse.empty else int(sparse.level.min())
