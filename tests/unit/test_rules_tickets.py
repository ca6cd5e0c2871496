"""The rules of *Winning tickets* for small nets, large nets and ordinary pruning."""

import numpy as np
import pandas as pd
import pytest

from lth_utils.studies import CLAIMS, measure
from lth_utils.studies._rules.tickets import smallest_matching

RULES = {claim.id: claim.rule for claim in CLAIMS}
MARGIN = 0.3
WOBBLE = np.array([0.01, -0.01, 0.02, -0.02, 0.0])
DENSITY = {0: 1.0, 1: 0.5, 2: 0.25, 3: 0.125}


@pytest.fixture
def network(made_up):
    """``network(differences, dense, noise, treatment)``: ``differences`` from dense at levels
    1, 2, … (one number, or one a replicate), five replicates."""

    def table(differences, dense=97.0, noise=1.0, treatment="ticket"):
        accuracy = {("dense", 0): dense + WOBBLE}
        for level, by in enumerate(differences, start=1):
            accuracy[treatment, level] = dense + np.array(by) + (1 + noise) * WOBBLE
        return made_up({k: list(v) for k, v in accuracy.items()}, density=DENSITY)

    return table


@pytest.fixture
def widths(network):
    """``widths({width: differences}, **options)``: the tables of several widths as one."""

    def table(differences, **options):
        tables = [network(by, **options).assign(width=w) for w, by in differences.items()]
        return pd.concat(tables, ignore_index=True)

    return table


def ways(network, rewound, trained_on):
    return pd.concat(
        [
            network(rewound).assign(way="rewound"),
            network(rewound[::-1]).assign(way="rewound, one-shot"),  # must not be looked at
            network(trained_on, treatment="fine-tune").assign(way="trained on"),
        ],
        ignore_index=True,
    )


# The smallest network that matches ----------------------------------------------------------------


def test_a_lucky_level_behind_a_bad_one_does_not_make_a_ticket_smaller(network):
    rows = measure(network([0, -1, 0]))
    assert smallest_matching(rows, "ticket", MARGIN).tolist() == [0.5] * 5


def test_each_replicate_is_held_against_its_own_dense_network(network):
    alone = [[0.0, 0.0, 0.0, 0.0, -1.0], [0.0, 0.0, 0.0, -1.0, 0.0], -1]
    rows = measure(network(alone))
    assert smallest_matching(rows, "ticket", MARGIN).tolist() == [0.25, 0.25, 0.25, 0.5, 1.0]


def test_the_margin_itself_is_no_match(made_up):
    table = made_up({("dense", 0): [97.0], ("ticket", 1): [96.5]}, density=DENSITY)
    assert smallest_matching(measure(table), "ticket", 0.5).tolist() == [1.0]
    assert smallest_matching(measure(table), "ticket", 0.51).tolist() == [0.5]


# C08: a network as small as it can be holds no ticket ---------------------------------------------


@pytest.mark.parametrize(
    ("small", "full", "verdict"),
    [
        ([-1, -2, -3], [0, 0, -1], "holds"),
        ([-1, -2, -0.1], [0, 0, -1], "not reproduced"),  # a ticket, though behind bad levels
        ([-0.1, -2, -3], [0, 0, -1], "not reproduced"),
        ([-1, -2, -3], [-1, -1, -1], "not reproduced"),  # then size is not what matters
    ],
)
def test_c08_holds_where_a_small_net_has_no_ticket_and_the_full_one_has(
    widths, small, full, verdict
):
    table = widths({0.1: small, 1.0: full, 3.0: full})
    assert RULES["C08"](table, MARGIN).verdict == verdict


def test_c08_holds_but_partly_where_noise_leaves_open_whether_all_are_worse(widths, network):
    small = network([-1, -2, -3], noise=100).assign(width=0.1)
    table = pd.concat([small, network([0, 0, -1]).assign(width=1.0)], ignore_index=True)
    assert RULES["C08"](table, MARGIN).verdict == "partly"


def test_c08_takes_noise_alone_for_no_evidence(network):
    small = network([0, 0, 0], noise=100).assign(width=0.1)  # no interval above the margin
    table = pd.concat([small, network([0, 0, -1]).assign(width=1.0)], ignore_index=True)
    assert RULES["C08"](table, MARGIN).verdict == "not reproduced"


def test_c08_shows_the_best_ticket_of_the_largest_net_without_one(widths):
    table = widths({0.01: [-5, -6, -7], 0.1: [-2, -1, -3], 0.3: [0, 0, -1], 1.0: [0, 0, 0]})
    finding = RULES["C08"](table, MARGIN)
    assert finding.ours == pytest.approx(-1)
    assert "width 0.1" in finding.quantity and "25.0%" in finding.quantity


def test_c08_needs_the_full_net_and_a_smaller_one(widths):
    assert RULES["C08"](widths({1.0: [0, 0, 0], 3.0: [0, 0, 0]}), MARGIN) is None
    assert RULES["C08"](widths({0.1: [0, 0, 0], 0.3: [0, 0, 0]}), MARGIN) is None


# C35: the bigger the start, the smaller the ticket's share ----------------------------------------


def test_c35_gives_the_factor_for_twice_the_width(widths):
    table = widths({0.5: [0, -1, -1], 1.0: [0, 0, -1], 2.0: [0, 0, 0]})
    finding = RULES["C35"](table, MARGIN)
    assert finding.verdict == "holds"
    assert (finding.low, finding.ours, finding.high) == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("wide", "verdict"),
    [
        ([[0] * 5, [0] * 5, [0] * 5], "holds"),
        ([[0, 0, 0, 0, -1], [0, 0, 0, -1, -1], [0, -1, -1, -1, -1]], "partly"),
        ([[0] * 5, [-1] * 5, [-1] * 5], "not reproduced"),
        ([[-1] * 5, [-1] * 5, [-1] * 5], "not reproduced"),
    ],
)
def test_c35_holds_where_the_slope_is_below_zero_beyond_the_noise(widths, wide, verdict):
    table = widths({0.5: [0, -1, -1], 1.0: wide})
    assert RULES["C35"](table, MARGIN).verdict == verdict


def test_c35_counts_no_net_that_has_learned_little(widths, network):
    """A net near chance is matched by anything: it would have the smallest ticket of all."""
    learned = widths({0.5: [0, -1, -1], 1.0: [0, 0, -1]})
    chance = network([0, 0, 0], dense=11.0).assign(width=0.01)
    both = pd.concat([chance, learned], ignore_index=True)
    assert RULES["C35"](both, MARGIN) == RULES["C35"](learned, MARGIN)
    assert RULES["C35"](both[both.width < 1], MARGIN) is None


def test_widths_read_as_text_are_numbers_all_the_same(widths):
    table = widths({0.5: [-1, -1, -1], 1.0: [0, 0, -1], 10.0: [0, 0, 0]})
    text = table.assign(width=table.width.map("{:g}".format))
    for claim in ("C08", "C35"):
        assert RULES[claim](text, MARGIN) == RULES[claim](table, MARGIN)


# C36: about as sparse as ordinary pruning ---------------------------------------------------------


@pytest.mark.parametrize(
    ("rewound", "trained_on", "ratio", "verdict"),
    [
        ([0, 0, -1], [0, 0, -1], 1, "holds"),
        ([0, [0, 0, 0, 0, -1], -1], [0, 0, -1], 2**0.2, "holds"),
        ([0, [0, 0, 0, -1, -1], -1], [0, 0, -1], 2**0.4, "partly"),
        ([0, [0, -1, -1, -1, -1], -1], [0, [0, 0, 0, -1, -1], -1], 2**0.4, "partly"),
        ([0, -1, -1], [0, 0, -1], 2, "not reproduced"),
        ([-1, -1, -1], [0, 0, -1], 4, "not reproduced"),
        ([0, 0, -1], [-1, -1, -1], 1 / 4, "not reproduced"),
    ],
)
def test_c36_holds_within_a_factor_of_two(network, rewound, trained_on, ratio, verdict):
    finding = RULES["C36"](ways(network, rewound, trained_on), MARGIN)
    assert finding.ours == pytest.approx(ratio)
    assert finding.verdict == verdict


@pytest.mark.parametrize("rewound", [[0, 0, 0], [0, 0, [0, 0, 0, -1, -1]]])
def test_c36_is_open_where_the_study_ends_before_the_tickets_do(network, rewound):
    assert RULES["C36"](ways(network, rewound, [0, 0, -1]), MARGIN) is None
    assert RULES["C36"](ways(network, [0, 0, -1], rewound), MARGIN) is None
