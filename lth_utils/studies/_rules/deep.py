"""Rules for Part 3: when tickets stop winning, late rewinding, instability.

Accuracies are those at the end of training, as in the papers on deep networks: their rates fall
towards the end, and copies, too, are compared there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from lth_utils import anatomy
from lth_utils.controls import step_of
from lth_utils.recipes import Step
from lth_utils.stability import STABLE
from lth_utils.studies._intervals import interval, measure, paired
from lth_utils.studies._rules._common import Finding, finding_at, verdict_of

MOMENT = "end"

SPARSE = 0.25
"""Claims about tickets of deep networks speak of densities up to this share."""

EARLY = 25.0
"""A dense network is stable early if it is from this share of training on, in percent."""


# Steps --------------------------------------------------------------------------------------------


def rewound(table: pd.DataFrame) -> list[str]:
    """Tickets that name the step they are rewound to, earliest first; steps are in percent."""
    names = {n for n in table.treatment.unique() if n.startswith("ticket @ ") and ", " not in n}
    return sorted(names, key=lambda name: Step.of(step_of(name)).amount)


def _sparse(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the dense network, and of tickets and controls that are sparse enough."""
    return table[(table.level == 0) | (table.density <= SPARSE)]


def _reaches(table: pd.DataFrame) -> bool:
    """Whether any ticket is sparse enough to be spoken of."""
    return bool(((table.level > 0) & (table.density <= SPARSE)).any())


def _gain(table: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Seed-paired differences in test accuracy, by level."""
    return paired(table, one, other, moment=MOMENT).set_index("level", drop=False)


def _between(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """What was measured between copies: treatment, level, density, replicate, value."""
    return measure(table, metric, moment="between")


def best_of(names: Sequence[str], rows: pd.DataFrame, moment: str = MOMENT) -> str:
    """The treatment with the best mean validation accuracy in the rows of one level."""
    rows = measure(rows, moment=moment, split="val")
    return rows[rows.treatment.isin(names)].groupby("treatment").value.mean().idxmax()


# Reset to initialisation, and late rewinding ------------------------------------------------------


def reset_fails(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at every density up to 25%, the ticket from step 0 is not better than fresh
    weights beyond noise, while some rewound ticket is: so the comparison can show a difference.
    Partly where that is so at some of the densities."""
    table, names = _sparse(table), rewound(table)
    if not _reaches(table) or len(names) < 2:
        return None
    first = _gain(table, names[0], "reinit")
    later = [_gain(table, name, "reinit") for name in names[1:]]
    fails = first.low <= 0
    shown = pd.concat([gain.low > 0 for gain in later], axis=1).any(axis=1)
    both = fails & shown
    row = first.iloc[-1]
    return finding_at(
        verdict_of(bool(both.all()), bool(both.any())), row,
        "ticket from step 0 − reinit, points of test accuracy",
    )  # fmt: skip


def rewinding_restores(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at every density up to 25%, the ticket rewound to at most 1% of training
    matches the dense network and is better beyond noise than the ticket from step 0. Partly where
    that is so at some density, or for a later step."""
    table, names = _sparse(table), rewound(table)
    early = [name for name in names[1:] if Step.of(step_of(name)).amount <= 1]
    if not _reaches(table) or not early:
        return None

    def restored(name: str) -> pd.Series:
        beats = _gain(table, name, names[0]).low > 0
        return beats & (_gain(table, name, "dense").low > -margin)

    holds, later = restored(early[-1]), [restored(name) for name in names[1:]]
    row = _gain(table, early[-1], names[0]).iloc[-1]
    return finding_at(
        verdict_of(bool(holds.all()), any(bool(good.any()) for good in later)), row,
        f"{early[-1]} − {names[0]}, points of test accuracy",
    )  # fmt: skip


# Instability --------------------------------------------------------------------------------------


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    """For each level and step: does the ticket beat fresh weights beyond noise, and the barrier."""
    barriers = _between(table, "error barrier").groupby(["treatment", "level"]).value.mean()
    rows = []
    for name in rewound(table):
        for level, gain in _gain(table, name, "reinit").iterrows():
            if (name, level) in barriers.index:
                rows.append((name, level, gain.low > 0, barriers[name, level]))
    return pd.DataFrame(rows, columns=["treatment", "level", "wins", "barrier"])


def far_where_failing(table: pd.DataFrame, margin: float) -> Finding | None:
    """Looks at densities up to 25% where the ticket from step 0 is worse beyond noise than the
    best rewound one, chosen by validation accuracy. Holds where at all of them its copies end
    farther apart beyond noise; partly at some. None where no ticket from step 0 fails."""
    return _where_failing(table, "distance", "L2 distance of copies")


def _where_failing(table: pd.DataFrame, metric: str, what: str) -> Finding | None:
    table = _sparse(table)
    if not _reaches(table):
        return None
    first, rows = rewound(table)[0], []
    for level in sorted(set(table.level) - {0}):
        best = best_of(rewound(table), table[table.level == level])
        if best == first or _gain(table, best, first).loc[level].low <= 0:
            continue
        here = table[(table.level == level) & (table.moment == "between")]
        row = paired(here, first, best, metric, moment="between").iloc[0]
        rows.append((row, best))
    if not rows:
        return None
    greater = [row.low > 0 for row, _ in rows]
    row, best = rows[-1]
    return finding_at(verdict_of(all(greater), any(greater)), row, f"{what}, {first} − {best},")


def flat_where_winning(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, for every density up to 25% and every step, the barrier between copies is
    below 2 points exactly if the ticket beats fresh weights beyond noise. Partly where that is so
    for more than half of them, or the barrier from step 0 exceeds the best rewound ticket's beyond
    noise wherever step 0 fails."""
    pairs = _pairs(_sparse(table))
    if pairs.empty:
        return None
    agree = pairs.wins == (pairs.barrier < STABLE)
    lower = _where_failing(table, "error barrier", "barrier of copies, points of test error")
    partly = lower is not None and lower.verdict == "holds"
    verdict = verdict_of(bool(agree.all()), partly or bool(agree.mean() > 0.5))
    if lower is None:
        row = pairs.iloc[-1]
        return Finding(verdict, row.barrier, float("nan"), float("nan"),
                       f"barrier of copies of {row.treatment}, points of test error")  # fmt: skip
    return Finding(verdict, lower.ours, lower.low, lower.high, lower.quantity)


def stable_early(table: pd.DataFrame, margin: float) -> Finding | None:
    """Of the first study, a deep network: the barrier between copies of the dense network is 2
    points or more from step 0, and below 2 from a recorded step of at most 25% of training on. Of
    the second, LeNet: copies of tickets of at most 25% have barriers below 2 from step 0. Holds
    where both are so, partly where one is, or where the deep network's barrier falls beyond noise
    without coming below."""
    deep, *small = (part for _, part in table.groupby("study", sort=False))
    found = _dense_stable_early(deep)
    if found is None or not small or not _reaches(small[0]):
        return None
    tickets = small[0][(small[0].level > 0) & (small[0].density <= SPARSE)]
    barriers = _between(tickets, "error barrier")
    barriers = barriers[barriers.treatment == rewound(tickets)[0]]
    small_are = bool((barriers.groupby("level").value.mean() < STABLE).all())
    deep_is = found.verdict == "holds"
    partly = deep_is or small_are or found.verdict == "partly"
    return replace(found, verdict=verdict_of(deep_is and small_are, partly))


def _dense_stable_early(table: pd.DataFrame) -> Finding | None:
    rows = _between(table[table.level == 0], "error barrier")
    rows = rows.assign(at=[Step.of(step_of(name)).amount for name in rows.treatment])
    means = rows.groupby("at").value.mean()
    early = means[(means.index > 0) & (means.index <= EARLY)]
    if early.empty or 0 not in means.index:
        return None
    last = early.index[-1]
    names = rows.drop_duplicates("at").set_index("at").treatment
    dense = table[(table.level == 0) & (table.moment == "between")]
    drop = paired(dense, names[0], names[last], "error barrier", moment="between").iloc[0]
    holds = means[0] >= STABLE and early[last] < STABLE
    return Finding(
        verdict_of(bool(holds), bool(drop.low > 0)), drop["mean"], drop.low, drop.high,
        f"barrier of dense copies, points of test error, {names[0]} − {names[last]}",
    )  # fmt: skip


def bent_path_joins(table: pd.DataFrame, margin: float) -> Finding | None:
    """Looks at the dense network. Holds where copies from a stable step give a better network in
    their middle beyond noise, and copies from an unstable one, with a straight barrier of 2 points
    or more, are joined by a bent path whose barrier is below 2. Partly where one of the two is
    so."""
    dense = table[table.level == 0]
    straight = _between(dense, "error barrier").groupby("treatment").value.mean()
    if not (dense.metric == "bent barrier").any():
        return None
    bent = _between(dense, "bent barrier").groupby("treatment").value.mean()
    unstable = [name for name in bent.index if straight[name] >= STABLE]
    joined = bool(unstable) and all(bent[name] < STABLE for name in unstable)
    gains = _between(dense, "midpoint gain")
    better = False
    for name in straight.index[straight < STABLE]:
        better |= bool(interval(gains[gains.treatment == name].value).low > 0)
    name = unstable[0] if unstable else straight.index[0]
    ours = _between(dense, "bent barrier") if unstable else gains
    shown = interval(ours[ours.treatment == name].value)
    what = "barrier on the bent path" if unstable else "gain of the middle"
    return Finding(
        verdict_of(joined and better, joined or better),
        shown.mean,
        shown.low,
        shown.high,
        f"{what}, points of test error, {name}; {straight[name]:.1f} straight",
    )


# The smallest system ------------------------------------------------------------------------------


def smallest_shows(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where the small system shows all three: from step 0 the ticket is not better than
    fresh weights beyond noise; the best rewound ticket, chosen by validation accuracy, is better
    than both beyond noise; and the barrier between copies is 2 points or more from step 0 and
    lower beyond noise from that ticket's step. Partly where it shows the second."""
    names = rewound(table)
    level = table.level.max()
    best = best_of(names, table[table.level == level])
    if best == names[0]:
        return None
    gain = {name: _gain(table, best, name).loc[level] for name in (names[0], "reinit")}
    restores = all(row.low > 0 for row in gain.values())
    fails = _gain(table, names[0], "reinit").loc[level].low <= 0
    here = table[(table.level == level) & (table.moment == "between")]
    falls = paired(here, names[0], best, "error barrier", moment="between").iloc[0].low > 0
    barrier = measure(here[here.treatment == names[0]], "error barrier", moment="between")
    unstable = barrier.value.mean() >= STABLE
    return finding_at(
        verdict_of(bool(fails and restores and falls and unstable), restores), gain[names[0]],
        f"{best} − {names[0]}, points of test accuracy",
    )  # fmt: skip


# Rates --------------------------------------------------------------------------------------------

STANDARD = "0.1"


def _by_rate(table: pd.DataFrame) -> pd.DataFrame:
    """For each rate: ticket − reinit at the sparsest level, and the dense network's accuracies."""
    rows = []
    for rate, part in table.groupby("rate", sort=False):
        gain = paired(part, "ticket", "reinit", moment=MOMENT).iloc[-1]
        accuracy = {
            split: measure(part[part.level == 0], moment=MOMENT, split=split).value.mean()
            for split in ("val", "test")
        }
        rows.append(
            (str(rate), gain["mean"], gain.low, gain.high, gain.density, *accuracy.values())
        )
    names = ["rate", "mean", "low", "high", "density", "val", "test"]
    return pd.DataFrame(rows, columns=names).set_index("rate", drop=False)


def lower_rate_restores(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where a lower rate or a warm-up lets the ticket from step 0 beat fresh weights beyond
    noise, at the standard rate it does not, and the dense network is worse there than at the
    standard rate beyond noise: the cost. Partly where there is no such cost."""
    rates = _by_rate(table)
    if STANDARD not in rates.index or len(rates) < 2 or rates.density.max() > SPARSE:
        return None
    others = rates.drop(STANDARD)
    wins = others[others.low > 0]
    fails = bool(rates.loc[STANDARD].low <= 0)
    dense = table[table.level == 0]
    cost = {
        name: paired(
            dense.assign(rate=dense.rate.astype(str)), name, STANDARD, by="rate", moment=MOMENT
        ).iloc[0]
        for name in wins.index
    }
    paid = any(row.high < 0 for row in cost.values())
    row = (wins if len(wins) else others).sort_values("mean").iloc[-1]
    return finding_at(
        verdict_of(fails and paid, fails and len(wins) > 0), row,
        f"ticket − reinit at rate {row.rate}, points of test accuracy",
    )  # fmt: skip


def best_rate_is_no_better(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at the rate with the best dense validation accuracy, the ticket from step 0
    does not beat fresh weights beyond noise, and at some other rate it does. Partly where it
    does at none."""
    rates = _by_rate(table)
    if len(rates) < 2 or rates.density.max() > SPARSE:
        return None
    best = rates.loc[rates.val.idxmax()]
    fails, elsewhere = best.low <= 0, bool((rates.drop(best.rate).low > 0).any())
    return finding_at(
        verdict_of(bool(fails and elsewhere), bool(fails)), best,
        f"ticket − reinit at the best rate, {best.rate}, points of test accuracy",
    )  # fmt: skip


# Scopes -------------------------------------------------------------------------------------------

LAYERWISE = ("layer", "erdos-renyi", "sensitivity")
"""Three sensible ways to fix how much each layer keeps."""


def _against(table: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    tickets = table[(table.treatment == "ticket") & (table.density <= SPARSE)]
    return paired(tickets, one, other, by="scope", moment=MOMENT)


def global_beats_layerwise(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where global pruning is better beyond noise than equal fractions in every layer at
    every recorded density up to 25%; partly at some."""
    if not _reaches(table):
        return None
    gain = _against(table, "global", "layer")
    better = gain.low > 0
    return finding_at(
        verdict_of(bool(better.all()), bool(better.any())), gain.iloc[-1],
        "global − equal fractions, points of test accuracy",
    )  # fmt: skip


def global_beats_schemes(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where global pruning is better beyond noise than each of three layerwise schemes at
    every recorded density up to 25%. Partly where it is worse than none, and better than one at
    some density."""
    if not _reaches(table):
        return None
    gains = {name: _against(table, "global", name) for name in LAYERWISE}
    better = [gain.low > 0 for gain in gains.values()]
    worse = any(bool((gain.high < 0).any()) for gain in gains.values())
    closest = min(gains, key=lambda name: gains[name].iloc[-1]["mean"])
    return finding_at(
        verdict_of(
            all(bool(b.all()) for b in better),
            not worse and any(bool(b.any()) for b in better),
        ),
        gains[closest].iloc[-1],
        f"global − {closest}, the closest scheme, points of test accuracy",
    )  # fmt: skip


def scales_matter(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, with batch norm and without, global pruning by magnitudes that were rescaled
    layer by layer, which changes no function, is worse beyond noise than by magnitudes as they
    are, at some density up to 25%. Partly in one of the two."""
    parts = [part for _, part in table.groupby("study", sort=False)]
    if len(parts) < 2 or not all(map(_reaches, parts)):
        return None
    worse, shown = [], None
    for part in parts:
        loss = _against(part.dropna(axis=1, how="all"), "global, rescaled", "global")
        worse.append(bool((loss.high < 0).any()))
        shown = loss.iloc[-1] if shown is None else shown
    return finding_at(
        verdict_of(all(worse), any(worse)), shown,
        "global after rescaling − global, with batch norm, points of test accuracy",
    )  # fmt: skip


# Layers -------------------------------------------------------------------------------------------

EARLY_LAYER, LAST_LAYER = "conv2", "conv16"
"""The layers of VGG-19 whose sizes fit what is said in the podcast."""


def layers_differ(table: pd.DataFrame, margin: float) -> Finding | None:
    """Holds where, at some density, the second convolution keeps a third to two thirds of its
    weights and the last loses more than 99%. Partly where, at some density up to 10%, the second
    keeps more than ten times the last one's share."""
    counts = anatomy.layer_counts(table[table.criterion == "magnitude"])
    shares = counts.pivot_table(
        index=["level", "density"], columns="layer", values="layer_density"
    ).reset_index()
    early, last = shares[EARLY_LAYER], shares[LAST_LAYER]
    as_said = early.between(1 / 3, 2 / 3) & (last < 0.01)
    tenfold = (early > 10 * last) & (shares.density <= 0.10)
    row = shares[as_said].iloc[0] if as_said.any() else shares.iloc[-1]
    return Finding(
        verdict_of(bool(as_said.any()), bool(tenfold.any())),
        100 * row[EARLY_LAYER], float("nan"), float("nan"),
        f"% that the second convolution keeps at {row.density:.1%} of weights, "
        f"where the last keeps {100 * row[LAST_LAYER]:.2f}%",
    )  # fmt: skip
