"""The rules on retraining, on tables made up for each verdict."""

import pandas as pd
import pytest

from lth_utils.lottery import TABLE
from lth_utils.studies import CLAIMS
from lth_utils.studies._rules.retraining import steps

RULES = {claim.id: claim.rule for claim in CLAIMS}
DENSITY = {0: 1.0, 1: 0.51, 2: 0.33, 3: 0.13}
LEVELS = (1, 2, 3)
WEIGHTS, RATE, TUNED = "ticket @ 10%", "rate rewinding @ 10%", "fine-tune @ 10%"
UNCLEAR = [-5.0, 5.0, 6.0]
"""Greater than zero on average, and not beyond noise."""


def three(value):
    """Three replicates that differ a little, or those that are given."""
    return [value - 0.01, value, value + 0.01] if isinstance(value, int | float) else list(value)


@pytest.fixture
def table(made_up):
    """``table(accuracy, climb, density)``: by treatment, what it has at every level, or by level;
    an accuracy is given in points above 80."""

    def make(accuracy, climb=None, density=None):
        density = density or DENSITY

        def spread(given):
            each = {n: v if isinstance(v, dict) else dict.fromkeys(LEVELS, v)
                    for n, v in given.items()}  # fmt: skip
            return {(n, at): three(v) for n, by in each.items() for at, v in by.items()}

        made = {key: [80 + v for v in values] for key, values in spread(accuracy).items()}
        rows = [
            ("made up", name, level, density[level], r, "between", 100, "test", "climb", value)
            for (name, level), values in spread(climb or {}).items()
            for r, value in enumerate(values)
        ]
        parts = [made_up({("dense", 0): three(90)} | made, density=density)]
        parts += [pd.DataFrame(rows, columns=TABLE)] if rows else []
        return pd.concat(parts, ignore_index=True)

    return make


def verdict(claim, made):
    found = RULES[claim](made, 0.5)
    if found is not None:
        assert found.quantity and found.low <= found.ours <= found.high
    return found and found.verdict


# What is looked at --------------------------------------------------------------------------------


def test_budgets_are_those_that_all_three_ways_have_the_longest_first():
    """A way that trained longer than what it is compared with; 5% taken for later than 10%."""
    names = [f"{n} @ {s}" for s in ("10%", "5%", "50%") for n in ("ticket", "rate rewinding")]
    names += ["fine-tune @ 50%", "fine-tune @ 10%", "fine-tune", "ticket @ 0%", "dense", "reinit"]
    made = pd.DataFrame({"treatment": names})
    assert steps(made) == ["10%", "50%"]


@pytest.mark.parametrize("claim", ["C19", "C39"])
def test_a_table_that_is_not_sparse_or_lacks_a_way_settles_nothing(table, claim):
    climb = {WEIGHTS: 5, TUNED: 0}
    all_three = {WEIGHTS: 3, RATE: 3, TUNED: 0}
    assert verdict(claim, table(all_three, climb)) == "holds"
    dense = {0: 1.0, 1: 0.9, 2: 0.7, 3: 0.4}
    assert verdict(claim, table(all_three, climb, dense)) is None
    assert verdict(claim, table({WEIGHTS: 3, TUNED: 0}, climb)) is None
    later = {"fine-tune @ 50%": 0}
    assert verdict(claim, table({WEIGHTS: 3, RATE: 3, **later}, {WEIGHTS: 5, **later})) is None


def test_nothing_is_said_of_minima_where_no_line_was_measured(table):
    assert verdict("C39", table({WEIGHTS: 3, RATE: 3, TUNED: 0})) is None


@pytest.mark.parametrize("claim", ["C19", "C39"])
def test_the_longest_budget_decides(table, claim):
    """Fine-tuning that loses because it was short."""
    late = {name.replace("10%", "50%"): v for name, v in {WEIGHTS: 9, RATE: 9, TUNED: 0}.items()}
    accuracy = {WEIGHTS: 0, RATE: 0, TUNED: 0} | late
    climb = {WEIGHTS: 0, TUNED: 0, "ticket @ 50%": 9, "fine-tune @ 50%": 0}
    assert verdict(claim, table(accuracy, climb)) == "not reproduced"


@pytest.mark.parametrize("claim", ["C19", "C39"])
def test_the_dense_network_that_was_trained_on_is_no_pruned_one(table, claim):
    """A control at density 1, and its own replicates, among what is compared."""
    made = table({WEIGHTS: 3, RATE: 3, TUNED: 0}, {WEIGHTS: 5, TUNED: 0})
    control = made[made.level.isin([0, 1]) & made.treatment.isin(["dense", RATE])]
    control = control.assign(density=1.0, pruned="not at all")
    both = pd.concat([made.assign(pruned="one-shot"), control], ignore_index=True)
    assert verdict(claim, both) == verdict(claim, made) == "holds"


def test_accuracies_are_those_at_the_end(table):
    made = table({WEIGHTS: 3, RATE: 3, TUNED: 0})
    early = made.moment == "early stop"
    assert verdict("C19", made.assign(value=made.value.where(~early, 50.0))) == "holds"
    assert verdict("C19", made.assign(value=made.value.where(early, 50.0))) == "not reproduced"


# C19: rewinding beats fine-tuning -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "rate", "expected"),
    [
        ({2: 1, 3: 2}, 0, "holds"),
        ({2: 1, 3: 2}, -5, "holds"),  # the claim is about the weights
        ({2: UNCLEAR, 3: 2}, 0, "partly"),
        ({2: -1, 3: 2}, 0, "partly"),
        ({2: UNCLEAR, 3: -1}, 1, "partly"),
        ({2: UNCLEAR, 3: -1}, {1: 0, 2: 1, 3: UNCLEAR}, "not reproduced"),
        ({2: -1, 3: UNCLEAR}, -1, "not reproduced"),
        (0, 0, "not reproduced"),
    ],
)
def test_rewinding_beats_fine_tuning(table, weights, rate, expected):
    """A gain within noise, or at the half that is left of the weights, taken for one."""
    weights = {1: 9} | weights if isinstance(weights, dict) else weights
    made = table({WEIGHTS: weights, RATE: rate, TUNED: 0})
    assert verdict("C19", made) == expected


def test_the_number_is_the_gain_at_the_sparsest_density(table):
    found = RULES["C19"](table({WEIGHTS: {2: 1, 3: 2}, RATE: 0, TUNED: 0}), 0.5)
    assert found.ours == pytest.approx(2) and found.quantity.startswith(f"{WEIGHTS} − {TUNED}")
    assert "13.0%" in found.quantity


# C39: fine-tuned networks stay, rewound ones leave ------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "tuned", "expected"),
    [
        (5, 0.5, "holds"),
        (5, {2: 0.5, 3: 2.5}, "partly"),  # one of two stays
        ({2: 1.0, 3: 5}, 0.5, "partly"),
        (1.5, 0.5, "partly"),  # more than fine-tuned, and below 2
        (2.0, 0.5, "partly"),  # 2 points or more, but not beyond noise
        ({2: UNCLEAR, 3: UNCLEAR}, 0.5, "not reproduced"),
        (9, 5, "partly"),
        (0, 0, "not reproduced"),
        (0, 5, "not reproduced"),
    ],
)
def test_fine_tuned_stay_and_rewound_leave(table, weights, tuned, expected):
    """Two networks of one minimum taken for two, or a noisy climb for a wall."""
    accuracy = {WEIGHTS: 0, RATE: 0, TUNED: 0}
    made = table(accuracy, {name: {1: 0} | (v if isinstance(v, dict) else {2: v, 3: v})
                            for name, v in ((WEIGHTS, weights), (TUNED, tuned))})  # fmt: skip
    assert verdict("C39", made) == expected
