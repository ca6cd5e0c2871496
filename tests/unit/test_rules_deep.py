"""The rules of Part 3, on tables made up for each verdict; and what the scorecard makes of claims
that read two studies, or for which one replicate will do."""

import json

import pandas as pd
import pytest

from lth_utils import studies
from lth_utils.lottery import TABLE
from lth_utils.studies import CLAIMS
from lth_utils.studies._rules.deep import SPARSE, rewound

RULES = {claim.id: claim.rule for claim in CLAIMS}
MARGIN = 0.5
DENSITY = {0: 1.0, 1: 0.21, 2: 0.107}
UNCLEAR = [-5.0, 5.0, 6.0]
"""Greater than zero on average, and not beyond noise."""

T0, T1, T6, T25 = (f"ticket @ {step}%" for step in (0, 1, 6, 25))
D0, D1, D25 = (f"dense @ {step}%" for step in (0, 1, 25))


def three(value):
    """Three replicates about a number that differ alike, or the values that are given."""
    return [value - 0.01, value, value + 0.01] if isinstance(value, int | float) else value


def plus(base, added):
    """``base`` and what is added, a number or one for each replicate."""
    added = added if isinstance(added, list) else [added] * 3
    return [b + a for b, a in zip(three(base), added, strict=True)]


@pytest.fixture
def table(made_up):
    """``table(accuracy, between, density, study, val)``: accuracies by treatment and level, and
    what lies between copies by metric, treatment and level; a level of 1 stands for both."""

    def make(accuracy, between=None, density=None, study="made up", val=None):
        density = density or DENSITY
        levels = sorted(set(density) - {0})

        def spread(given):
            found = {}
            for (*what, name, level), value in given.items():
                every = levels if level == "all" else [level]
                found |= {(*what, name, at): three(value) for at in every}
            return found

        made = made_up({("dense", 0): three(90.0)} | spread(accuracy), density=density)
        seen = made if val is None else made_up(spread(val), density=density)
        made = pd.concat([made, seen.assign(split="val")])
        rows = [
            ("made up", name, level, density[level], r, "between", 100, "test", metric, value)
            for (metric, name, level), values in spread(between or {}).items()
            for r, value in enumerate(values)
        ]
        both = pd.concat([made, pd.DataFrame(rows, columns=TABLE)], ignore_index=True)
        return both.assign(study=study)

    return make


def verdict(claim, made):
    found = RULES[claim](made, MARGIN)
    if found is not None:
        assert found.quantity and (found.low != found.low or found.low <= found.ours <= found.high)
    return found and found.verdict


# Moments, steps and densities ---------------------------------------------------------------------


@pytest.mark.parametrize("claim", ["C13", "C15"])
def test_accuracies_are_those_at_the_end(table, claim):
    """A network as it was at its early stop, before its rate fell."""
    accuracy = {("reinit", "all"): 80, (T0, "all"): 80, (T1, "all"): 90}
    made = table(accuracy)
    assert verdict(claim, made) == "holds"
    early, last = (made.moment == moment for moment in ("early stop", "end"))
    assert verdict(claim, made.assign(value=made.value.where(last, 50.0))) == "holds"
    assert verdict(claim, made.assign(value=made.value.where(early, 50.0))) == "not reproduced"


def test_steps_are_in_the_order_of_training_and_not_of_the_alphabet(table):
    """The ticket from 10% taken for an earlier one than that from 2%; a copy for a ticket."""
    names = ["ticket @ 10%", "ticket @ 2%", "ticket @ 0%", "ticket @ 1.5%"]
    more = ["ticket", "random mask @ 0%", "ticket @ 0%, copy", "dense @ 0%, copy"]
    made = table({(name, "all"): 90 for name in (*names, *more)})
    assert rewound(made) == ["ticket @ 0%", "ticket @ 1.5%", "ticket @ 2%", "ticket @ 10%"]


ALL_DENSE = {0: 1.0, 1: 0.5, 2: SPARSE + 0.001}


@pytest.mark.parametrize("claim", ["C13", "C15", "C16", "C17", "C18"])
def test_tables_that_are_not_sparse_settle_nothing(table, claim):
    """An error in place of a scorecard, or a verdict about tickets that keep half."""

    def make(density, study):
        accuracy = {(T0, "all"): 80, (T1, "all"): 90, ("reinit", "all"): 85}
        between = {(metric, name, "all"): value for metric in ("error barrier", "distance")
                   for name, value in ((T0, 30), (T1, 1))}  # fmt: skip
        between |= {("error barrier", D0, 0): 30, ("error barrier", D1, 0): 1}
        return table(accuracy, between, density, study)

    names = ("deep", "small") if claim == "C18" else ("deep",)
    found = {where: verdict(claim, pd.concat([make(density, name) for name in names]))
             for where, density in (("dense", ALL_DENSE), ("sparse", DENSITY))}  # fmt: skip
    assert found["dense"] is None and found["sparse"] is not None


# C13: reset to initialisation is no better than random --------------------------------------------


@pytest.mark.parametrize(
    ("zero", "later", "expected"),
    [
        ({1: 0, 2: -1}, {1: 2, 2: 2}, "holds"),
        ({1: UNCLEAR, 2: UNCLEAR}, {1: 2, 2: 2}, "holds"),
        ({1: 1, 2: 0}, {1: 2, 2: 2}, "partly"),
        ({1: 0, 2: 0}, {1: UNCLEAR, 2: 2}, "partly"),  # where nothing wins nothing is shown
        ({1: 0, 2: 0}, {1: UNCLEAR, 2: 0}, "not reproduced"),
        ({1: 1, 2: 1}, {1: 2, 2: 2}, "not reproduced"),
    ],
)
def test_c13_needs_a_failure_and_a_rewound_ticket_that_could_have_shown_one(
    table, zero, later, expected
):
    accuracy = {("reinit", "all"): 80}
    for level in (1, 2):
        accuracy[T0, level] = plus(80, zero[level])
        accuracy[T1, level] = 79  # one that wins is enough
        accuracy[T6, level] = plus(80, later[level])
    assert verdict("C13", table(accuracy)) == expected


def test_c13_without_a_rewound_ticket_settles_nothing(table):
    assert verdict("C13", table({(T0, "all"): 80, ("reinit", "all"): 80})) is None


def test_c13_does_not_look_at_dense_tickets(table):
    density = {0: 1.0, 1: 0.5, 2: 0.2}
    accuracy = {("reinit", "all"): 80, (T0, 1): 85, (T0, 2): 80, (T1, "all"): 85}
    assert verdict("C13", table(accuracy, density=density)) == "holds"


# C15: late rewinding ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "six", "expected"),
    [
        ({1: 90, 2: 89.6}, {1: 80, 2: 80}, "holds"),
        ({1: 90, 2: 89.4}, {1: 80, 2: 80}, "partly"),  # below the margin at one density
        ({1: 80, 2: 80}, {1: 80, 2: 90}, "partly"),  # only from a later step
        ({1: 85, 2: 85}, {1: 85, 2: 85}, "not reproduced"),  # better than step 0, not as dense
        ({1: 80, 2: 80}, {1: 80, 2: 80}, "not reproduced"),
    ],
)
def test_c15_needs_the_accuracy_of_the_dense_network_by_one_percent(table, one, six, expected):
    accuracy = {(T0, "all"): 80}
    for level in (1, 2):
        accuracy |= {(T1, level): one[level], (T6, level): six[level]}
    assert verdict("C15", table(accuracy)) == expected


def test_c15_is_not_about_tickets_that_win_from_the_start(table):
    """A ticket that matches, where the one from step 0 does so too: nothing was restored."""
    assert verdict("C15", table({(T0, "all"): 90, (T1, "all"): 90})) == "not reproduced"


def test_c15_without_an_early_step_settles_nothing(table):
    assert verdict("C15", table({(T0, "all"): 80, (T6, "all"): 90})) is None


# C16 and C17: instability -------------------------------------------------------------------------


def copies(table, metric, zero, six, t0=(80, 80), val=None, reinit=82):
    """Tickets from step 0 at ``t0``, from 6% at 90, and what lies between their copies."""
    accuracy = {("reinit", "all"): reinit, (T6, "all"): 90}
    between = {}
    for level in (1, 2):
        accuracy[T0, level] = t0[level - 1]
        between |= {(metric, T0, level): zero[level - 1], (metric, T6, level): six[level - 1]}
    return table(accuracy, between, val=val)


@pytest.mark.parametrize(
    ("zero", "six", "expected"),
    [
        ((30, 30), (10, 10), "holds"),
        ((30, 10), (10, 30), "partly"),
        ((plus(10, UNCLEAR), 30), (10, 10), "partly"),
        ((10, 10), (30, 30), "not reproduced"),
        ((plus(10, UNCLEAR), 10), (10, 10), "not reproduced"),
    ],
)
def test_c16_copies_of_failing_tickets_end_farther_apart(table, zero, six, expected):
    assert verdict("C16", copies(table, "distance", zero, six)) == expected


def test_c16_looks_only_where_the_ticket_from_step_0_fails(table):
    """Distances where nothing fails, counted against the claim."""
    made = copies(table, "distance", (5, 30), (10, 10), t0=(95, 80))
    assert verdict("C16", made) == "holds"
    assert verdict("C16", copies(table, "distance", (5, 5), (10, 10), t0=(95, 95))) is None
    unclear = [85.0, 95.0, 96.0]  # below the other's on average only by noise
    made = copies(table, "distance", (5, 5), (10, 10), t0=(unclear, unclear))
    assert verdict("C16", made) is None


def test_c16_the_best_step_is_chosen_by_images_that_decide_nothing_else(table):
    """A step that is chosen by the test accuracy that it is then praised for."""
    val = {("reinit", "all"): 0, (T0, "all"): 99, (T6, "all"): 50}
    assert verdict("C16", copies(table, "distance", (30, 30), (10, 10), val=val)) is None


@pytest.mark.parametrize(
    ("zero", "six", "t0", "expected"),
    [
        ((30, 30), (1.9, 1.9), (80, 80), "holds"),
        ((30, 30), (2.0, 2.0), (80, 80), "partly"),  # wins with a barrier, which is lower
        ((1, 1), (1, 1), (95, 95), "holds"),  # both win, both flat
        ((1, 1), (1, 1), (80, 95), "partly"),  # three of four agree
        ((1, 1), (30, 30), (80, 80), "not reproduced"),
        ((5, 5), (9, 9), (80, 80), "not reproduced"),  # half of them agree
    ],
)
def test_c17_flat_exactly_where_the_ticket_wins(table, zero, six, t0, expected):
    assert verdict("C17", copies(table, "error barrier", zero, six, t0)) == expected


def test_c17_reports_the_difference_where_a_ticket_fails_and_a_barrier_where_none_does(table):
    found = RULES["C17"](copies(table, "error barrier", (30, 30), (1, 1)), MARGIN)
    assert found.ours == pytest.approx(29) and T0 in found.quantity and T6 in found.quantity
    found = RULES["C17"](copies(table, "error barrier", (1, 1), (1, 1), t0=(95, 95)), MARGIN)
    assert (
        found.ours == pytest.approx(1) and found.low != found.low
    )  # of which there is no interval


def test_c17_without_copies_settles_nothing(table):
    made = copies(table, "error barrier", (1, 1), (1, 1))
    bare = made[(made.moment != "between") | (made.level == 0)]
    dense = table({}, {("error barrier", D0, 0): 30})
    bare = pd.concat([bare, dense[dense.moment == "between"]])
    assert verdict("C17", bare) is None


# C18: dense networks become stable ----------------------------------------------------------------


def early(table, zero, one, late, small):
    accuracy = {(T0, "all"): 80, (T1, "all"): 80, ("reinit", "all"): 80}
    deep = table(
        accuracy,
        {("error barrier", D0, 0): zero, ("error barrier", D1, 0): one,
         ("error barrier", D25, 0): late, ("error barrier", "dense @ 50%", 0): 0,
         ("error barrier", T0, "all"): 60},
        study="deep",
    )  # fmt: skip
    lenet = table(
        accuracy,
        {("error barrier", T0, 1): small, ("error barrier", T0, 2): 0.1,
         ("error barrier", T1, "all"): 60, ("error barrier", D0, 0): 60},
        study="a small one",
    )  # fmt: skip
    return pd.concat([deep, lenet], ignore_index=True)


@pytest.mark.parametrize(
    ("zero", "one", "late", "small", "expected"),
    [
        (30, 10, 1.9, 1.9, "holds"),
        (30, 10, 1.9, 2.0, "partly"),  # the small one is not
        (30, 10, 9, 1.9, "partly"),  # the deep one is not
        (30, 10, 9, 2.0, "partly"),  # neither, but its barrier falls
        (
            9,
            1,
            plus(5, UNCLEAR),
            2.0,
            "not reproduced",
        ),  # stable at 1% alone, and not from there on
        (1, 1, 1.5, 2.0, "not reproduced"),  # stable from the start, and never unstable
    ],
)
def test_c18_the_deep_from_some_step_on_and_the_small_from_the_start(
    table, zero, one, late, small, expected
):
    assert verdict("C18", early(table, zero, one, late, small)) == expected


def test_c18_needs_both_networks_and_a_step_to_compare_with(table):
    made = early(table, 30, 10, 1, 1)
    assert verdict("C18", made[made.study == "deep"]) is None
    for gone in ([D0], [D1, D25]):
        assert verdict("C18", made[~made.treatment.isin(gone) | (made.study != "deep")]) is None


# C38: middles and bent paths ----------------------------------------------------------------------


def bends(table, bent, gain, zero=30, late=1):
    between = {("error barrier", D0, 0): zero, ("error barrier", D25, 0): late,
               ("midpoint gain", D0, 0): -20, ("midpoint gain", D25, 0): gain}  # fmt: skip
    if bent is not None:
        between["bent barrier", D0, 0] = bent
    # What tickets do is another matter.
    between |= {("error barrier", T0, "all"): 9, ("midpoint gain", T0, "all"): 9}
    return table({(T0, "all"): 80}, between)


@pytest.mark.parametrize(
    ("bent", "gain", "expected"),
    [
        (1.9, 0.5, "holds"),
        (2.0, 0.5, "partly"),
        (1.9, 0.0, "partly"),
        (1.9, UNCLEAR, "partly"),
        (2.0, UNCLEAR, "not reproduced"),
        (2.0, -0.5, "not reproduced"),
    ],
)
def test_c38_needs_a_better_middle_and_a_bent_path(table, bent, gain, expected):
    assert verdict("C38", bends(table, bent, gain)) == expected


def test_c38_a_gain_counts_only_between_stable_copies_and_a_bend_only_between_others(table):
    assert verdict("C38", bends(table, 1, 5, late=3)) == "partly"
    assert verdict("C38", bends(table, 1, 5, zero=1.5)) == "partly"
    assert verdict("C38", bends(table, None, 5)) is None


# C31: the smallest system -------------------------------------------------------------------------


def small(table, zero=80, six=90, reinit=82, barriers=(30, 5), val=None):
    accuracy = {(T0, "all"): zero, (T6, "all"): six, ("reinit", "all"): reinit}
    between = {("error barrier", T0, "all"): barriers[0], ("error barrier", T6, "all"): barriers[1]}
    return table(accuracy, between, val=val)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "holds"),
        ({"zero": 82}, "holds"),
        ({"zero": 83}, "partly"),  # the ticket from step 0 wins as well
        ({"barriers": (30, 30)}, "partly"),
        ({"barriers": (plus(5, UNCLEAR), 5)}, "partly"),
        ({"barriers": (1.9, 0)}, "partly"),  # lower, and stable anyway
        ({"six": plus(82, UNCLEAR), "zero": 70}, "not reproduced"),
        ({"reinit": 91}, "not reproduced"),
    ],
)
def test_c31_the_small_system_shows_all_three(table, changes, expected):
    assert verdict("C31", small(table, **changes)) == expected


def test_c31_settles_nothing_where_no_step_is_better_than_the_first(table):
    assert verdict("C31", small(table, zero=91)) is None
    val = {(T0, "all"): 99, (T6, "all"): 50}
    assert verdict("C31", small(table, val=val)) is None


# C14 and C32: rates -------------------------------------------------------------------------------

STANDARD, LOW, WARM = "0.1", "0.01", "0.1 after a warm-up"


@pytest.fixture
def rates(table):
    """``rates({rate: (ticket − reinit, dense)})``, and the dense network's validation accuracy."""

    def make(given, val=None, density=None):
        parts = []
        for rate, (gain, dense) in given.items():
            accuracy = {("dense", 0): dense, ("reinit", "all"): 80,
                        ("ticket", 1): 80, ("ticket", 2): plus(80, gain)}  # fmt: skip
            seen = None if val is None else {("dense", 0): val[rate], ("ticket", "all"): 0}
            parts.append(table(accuracy, density=density, val=seen).assign(rate=rate))
        return pd.concat(parts, ignore_index=True)

    return make


@pytest.mark.parametrize(
    ("standard", "low", "warm", "expected"),
    [
        ((0, 90), (2, 85), (0, 90), "holds"),
        ((0, 90), (0, 85), (2, 89), "holds"),  # a warm-up does it, at the same cost
        ((0, 90), (2, 90), (0, 80), "partly"),  # no cost where it is restored
        ((0, 90), (2, plus(88, UNCLEAR)), (0, 90), "partly"),
        ((2, 90), (2, 85), (2, 85), "not reproduced"),  # it was there already
        ((0, 90), (UNCLEAR, 85), (0, 90), "not reproduced"),
    ],
)
def test_c14_a_lower_rate_or_a_warm_up_restores_at_a_cost(rates, standard, low, warm, expected):
    assert verdict("C14", rates({STANDARD: standard, LOW: low, WARM: warm})) == expected


@pytest.mark.parametrize(
    ("gains", "best", "expected"),
    [
        ((0, 2), STANDARD, "holds"),
        ((UNCLEAR, 2), STANDARD, "holds"),
        ((0, 2), LOW, "not reproduced"),
        ((0, 0), STANDARD, "partly"),
        ((2, 2), STANDARD, "not reproduced"),
    ],
)
def test_c32_at_the_best_rate_a_ticket_may_not_win(rates, gains, best, expected):
    """The best rate by test accuracy, which here would be the other one."""
    val = {rate: 95 if rate == best else 90 for rate in (STANDARD, LOW)}
    dense = {rate: 80 if rate == best else 90 for rate in (STANDARD, LOW)}
    made = rates({r: (g, dense[r]) for r, g in zip((STANDARD, LOW), gains, strict=True)}, val)
    assert verdict("C32", made) == expected


@pytest.mark.parametrize("claim", ["C14", "C32"])
def test_one_rate_or_dense_tickets_settle_nothing(rates, claim):
    both = {STANDARD: (0, 90), LOW: (2, 85)}
    assert verdict(claim, rates(both)) == "holds"
    assert verdict(claim, rates({STANDARD: (0, 90)})) is None
    assert verdict(claim, rates(both, density=ALL_DENSE)) is None


def test_c14_needs_the_standard_rate(rates):
    assert verdict("C14", rates({LOW: (2, 85), WARM: (2, 90)})) is None


# C10, C33 and C34: scopes -------------------------------------------------------------------------


@pytest.fixture
def scopes(table):
    """``scopes({scope: {level: accuracy}})``; one that is not given stands at 80."""
    every = ("layer", "global", "erdos-renyi", "sensitivity", "global, rescaled")

    def make(given, density=None, study="made up", only=every):
        parts = []
        for scope in only:
            levels = {level: 80 for level in (1, 2)} | given.get(scope, {})
            accuracy = {("ticket", level): value for level, value in levels.items()}
            parts.append(table(accuracy, density=density, study=study).assign(scope=scope))
        return pd.concat(parts, ignore_index=True)

    return make


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({1: 81, 2: 81}, "holds"),
        ({1: 81, 2: 80}, "partly"),
        ({1: 81, 2: plus(80, UNCLEAR)}, "partly"),
        ({1: plus(80, UNCLEAR), 2: 79}, "not reproduced"),
    ],
)
def test_c10_global_against_equal_fractions(scopes, levels, expected):
    assert verdict("C10", scopes({"global": levels})) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"global": {1: 81, 2: 81}}, "holds"),
        ({"global": {1: 81, 2: 81}, "sensitivity": {2: 81}}, "partly"),
        ({"global": {1: 81, 2: 81}, "erdos-renyi": {1: 82}}, "not reproduced"),  # worse than one
        ({"global": {1: 80, 2: plus(80, UNCLEAR)}}, "not reproduced"),
    ],
)
def test_c33_global_against_three_schemes(scopes, given, expected):
    assert verdict("C33", scopes(given)) == expected


def test_c33_reports_the_closest_scheme(scopes):
    made = scopes({"global": {1: 85, 2: 85}, "sensitivity": {2: 84}, "erdos-renyi": {2: 83}})
    found = RULES["C33"](made, MARGIN)
    assert "sensitivity" in found.quantity and found.ours == pytest.approx(1)


def rescaled(scopes, normed, plain, density=None):
    made = [scopes({"global, rescaled": levels}, density, study)
            for study, levels in (("normed", normed), ("plain", plain))]  # fmt: skip
    return pd.concat(made, ignore_index=True)


@pytest.mark.parametrize(
    ("normed", "plain", "expected"),
    [
        ({2: 70}, {1: 70}, "holds"),  # at some density
        ({2: 70}, {1: 90}, "partly"),
        ({1: 90}, {2: 70}, "partly"),
        ({1: 90}, {2: [70.0, 85.0, 84.0]}, "not reproduced"),
    ],
)
def test_c34_rescaling_must_hurt_with_batch_norm_and_without(scopes, normed, plain, expected):
    assert verdict("C34", rescaled(scopes, normed, plain)) == expected


def test_c34_needs_both_networks(scopes):
    made = rescaled(scopes, {1: 70}, {1: 70})
    assert verdict("C34", made[made.study == "normed"]) is None


def test_dense_tickets_say_nothing_of_scopes(scopes):
    made = scopes({"global": {1: 90, 2: 90}}, ALL_DENSE)
    assert verdict("C10", made) is None and verdict("C33", made) is None
    assert verdict("C34", rescaled(scopes, {1: 70}, {1: 70}, ALL_DENSE)) is None


# C11: layers --------------------------------------------------------------------------------------


def layers(shares, other=(0.5, 0.5), density=None):
    """What conv2 and conv16, of 1,000 weights each, keep at every level by magnitude; and by
    another criterion, which is not asked."""
    density = density or {0: 1.0, 1: 0.3, 2: 0.08}
    rows = []
    for criterion, given in (("magnitude", shares), ("large init", {1: other, 2: other})):
        for level, kept in ({0: (1.0, 1.0)} | given).items():
            for name, share in zip(("conv2", "conv16"), kept, strict=True):
                rows.append(("made up", "ticket", level, density[level], 0, "mask", 0, "none",
                             f"kept, {name}", round(1000 * share), criterion))  # fmt: skip
    return pd.DataFrame(rows, columns=[*TABLE, "criterion"])


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({1: (0.9, 0.2), 2: (0.5, 0.009)}, "holds"),
        ({1: (0.5, 0.009), 2: (0.1, 0.001)}, "holds"),  # at any density
        ({1: (0.9, 0.2), 2: (0.7, 0.009)}, "partly"),  # more than two thirds
        ({1: (0.9, 0.2), 2: (0.5, 0.01)}, "partly"),
        ({1: (0.9, 0.05), 2: (0.3, 0.03)}, "not reproduced"),  # tenfold, but not where it is sparse
        ({1: (0.9, 0.9), 2: (0.1, 0.1)}, "not reproduced"),
    ],
)
def test_c11_an_early_layer_keeps_half_and_the_last_nothing(shares, expected):
    assert verdict("C11", layers(shares)) == expected


def test_c11_speaks_of_magnitudes_after_training(table):
    made = layers({1: (0.9, 0.9), 2: (0.1, 0.1)}, other=(0.5, 0.001))
    assert verdict("C11", made) == "not reproduced"
    found = RULES["C11"](layers({1: (0.9, 0.2), 2: (0.5, 0.004)}), MARGIN)
    assert found.ours == pytest.approx(50)
    assert "at 8.0% of weights" in found.quantity and "0.40%" in found.quantity


# The scorecard ------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    """Write a study's table and its provenance as it is recorded."""

    def write(name, made, replicates=3, network="VGG-11", scale="paper", dataset="cifar10-jpeg"):
        made.to_csv(tmp_path / f"{name}.csv", index=False)
        provenance = {
            "settings": {"network": network, "recipe": {"duration": "8ep"}, "scale": scale},
            "seeds": list(range(replicates)),
            "dataset": {"name": dataset, "title": "CIFAR-10 (JPEG)"},
            "code": {},
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(provenance))
        return tmp_path

    return write


def card(folder):
    return studies.scorecard(folder).set_index("claim")


def test_a_claim_that_reads_two_studies_waits_for_both(write, scopes):
    """A verdict about two networks from the table of one."""
    plain = scopes({"global, rescaled": {1: 70}}, study="vgg-11-plain-scopes")
    folder = write("vgg-11-scopes", scopes({"global, rescaled": {1: 70}}, study="vgg-11-scopes"))
    waiting = card(folder)
    assert waiting.verdict["C34"] == "open" and "beside" in waiting.quantity["C34"]
    assert waiting.verdict["C10"] == "not reproduced"  # which reads the first alone
    write("vgg-11-plain-scopes", plain)
    assert card(folder).verdict["C34"] == "holds"


@pytest.mark.parametrize(
    "doubt", [{"scale": "live"}, {"dataset": "shapes-32"}, {"replicates": 2}], ids=str
)
def test_what_stands_beside_must_settle_something_itself(write, scopes, doubt):
    """A quick run of the second study that passes for the real one."""
    made = scopes({"global, rescaled": {1: 70}}, study="vgg-11-scopes")
    folder = write("vgg-11-scopes", made)
    write("vgg-11-plain-scopes", made.assign(study="vgg-11-plain-scopes"), **doubt)
    found = card(folder)
    assert found.verdict["C34"] == "open" and "vgg-11-plain-scopes" in found.quantity["C34"]


def test_c18_reads_the_deep_network_first(write, table):
    made = early(table, 30, 10, 1.9, 1.9)
    folder = write("vgg-11-instability", made[made.study == "deep"])
    write("lenet-mnist-instability", made[made.study != "deep"], 5, "LeNet-300-100",
          dataset="mnist")  # fmt: skip
    found = card(folder)
    assert found.verdict["C18"] == "holds" and found.network["C18"] == "VGG-11"
    assert found.ours["C18"] == pytest.approx(28.1)


def test_one_replicate_is_enough_only_where_the_claim_says_so(write, scopes):
    one = layers({1: (0.9, 0.2), 2: (0.5, 0.009)})
    assert card(write("vgg-19-layers", one, 1, "VGG-19")).verdict["C11"] == "holds"
    made = scopes({"global": {1: 90, 2: 90}})
    found = card(write("vgg-11-scopes", made, 1))
    assert found.verdict["C10"] == "open" and "1 replicates where 3" in found.quantity["C10"]
    assert {claim.id for claim in CLAIMS if claim.least is not None} == {"C11"}


def test_deep_networks_need_three_replicates_and_a_lenet_five(write, scopes):
    made = scopes({"global": {1: 90, 2: 90}})
    assert card(write("vgg-11-scopes", made, 3)).verdict["C10"] == "holds"
    assert card(write("vgg-11-scopes", made, 3, "LeNet-300-100")).verdict["C10"] == "open"


def test_a_study_that_is_too_dense_leaves_its_claims_open(write, scopes):
    found = card(write("vgg-11-scopes", scopes({}, ALL_DENSE)))
    assert found.verdict["C10"] == "open" and "not sparse enough" in found.quantity["C10"]
