"""Rules of *Pruning early*, on tables made up for each verdict."""

import pandas as pd
import pytest

from lth_utils.studies import STUDIES
from lth_utils.studies._rules.early import magnitude_early_is_poor, snip_below_ticket

MARGIN = 0.3
DENSE = [98.0, 98.2, 97.9, 98.1, 98.3]
NOISE = [0.02, -0.01, 0.0, 0.01, -0.02]
CRITERIA = list(STUDIES["lenet-mnist-early"].variants)
MOMENTS = list(STUDIES["lenet-mnist-moments"].variants)
EARLY_DENSITY = {0: 1.0, 1: 0.41, 2: 0.21, 3: 0.108, 4: 0.056, 5: 0.023, 6: 0.0096}
DENSITY = {0: 1.0, 1: 0.51, 2: 0.26, 3: 0.14, 4: 0.07, 5: 0.037, 6: 0.02}
LEVELS = (4, 5, 6)


def shifted(by, noise=1.0):
    return [value + by + noise * n for value, n in zip(DENSE, NOISE, strict=True)]


@pytest.fixture
def tabled(made_up):
    """``tabled(axis, usual, gaps, density)``: each variant loses its usual points against the
    dense network at every level, except where ``gaps[variant, level]`` says otherwise. Controls,
    which the rules have no business with, are at chance."""

    def tabled(axis, usual, gaps, density, noise=1.0):
        tables = []
        for i, (name, by) in enumerate(usual.items()):
            accuracy = {("dense", 0): DENSE}
            for level in density:
                if level:
                    own = gaps.get((name, level), by)
                    # Each variant has noise of its own, else differences would have none.
                    accuracy["ticket", level] = shifted(own, noise * i)
                    accuracy["random mask", level] = [10.0] * 5
            tables.append(made_up(accuracy, density=density).assign(**{axis: name}))
        return pd.concat(tables, ignore_index=True)

    return tabled


# C21: SNIP works, below the ticket's ceiling ------------------------------------------------------


@pytest.fixture
def early(tabled):
    def early(gaps=None, density=None, noise=1.0):
        usual = dict.fromkeys(CRITERIA, -5) | {"magnitude": -0.1, "snip": -1, "random": -3}
        return tabled("criterion", usual, gaps or {}, density or EARLY_DENSITY, noise)

    return early


def test_c21_holds_where_snip_is_between_chance_and_the_ticket(early):
    found = snip_below_ticket(early(), MARGIN)
    assert found.verdict == "holds" and found.ours == pytest.approx(-0.9, abs=0.01)
    assert found.low < found.ours < found.high and "2.3%" in found.quantity


@pytest.mark.parametrize("level", LEVELS)
def test_c21_holds_partly_where_snip_reaches_the_ticket_somewhere(early, level):
    assert snip_below_ticket(early({("snip", level): -0.1}), MARGIN).verdict == "partly"


def test_c21_is_not_reproduced_where_snip_reaches_the_ticket_everywhere(early):
    """Then there is no ceiling to be below."""
    gaps = {("snip", level): -0.1 for level in LEVELS}
    assert snip_below_ticket(early(gaps), MARGIN).verdict == "not reproduced"


@pytest.mark.parametrize("level", LEVELS)
def test_c21_is_not_reproduced_where_snip_is_no_better_than_chance_somewhere(early, level):
    table = early({("snip", level): -3})
    assert snip_below_ticket(table, MARGIN).verdict == "not reproduced"


def test_c21_what_may_be_noise_is_no_difference(early):
    table = early(noise=150)
    assert snip_below_ticket(table, MARGIN).verdict == "not reproduced"


def test_c21_speaks_of_the_criterion_and_of_sparse_networks_alone(early):
    """Other criteria, denser levels and controls decide nothing."""
    gaps = {("snip", level): -9 for level in (1, 2, 3)} | {("grasp", 4): 1, ("synflow", 5): 1}
    found = snip_below_ticket(early(gaps), MARGIN)
    assert found == snip_below_ticket(early(), MARGIN)


def test_c21_a_table_that_is_not_sparse_enough_settles_nothing(early):
    dense = {level: d for level, d in EARLY_DENSITY.items() if level < 5}
    assert snip_below_ticket(early(density=dense), MARGIN) is None


# C22: magnitude before half of training is a poor guide -------------------------------------------


@pytest.fixture
def moments(tabled):
    def moments(gaps=None, density=None, steps=MOMENTS, noise=1.0):
        losses = dict(zip(MOMENTS, (-3, -2, -1.5, -1, -0.15, -0.1, -0.1), strict=True))
        usual = {step: losses[step] for step in steps}
        return tabled("pruned at", usual, gaps or {}, density or DENSITY, noise)

    return moments


def test_c22_holds_where_every_early_step_is_worse_and_every_late_one_matches(moments):
    found = magnitude_early_is_poor(moments(), MARGIN)
    assert found.verdict == "holds" and found.ours == pytest.approx(-0.9, abs=0.01)
    assert "25%" in found.quantity and "2.0%" in found.quantity


@pytest.mark.parametrize("step", ["0%", "5%", "25%"])
@pytest.mark.parametrize("level", LEVELS)
def test_c22_holds_partly_where_some_early_step_is_as_good(moments, step, level):
    assert magnitude_early_is_poor(moments({(step, level): -0.1}), MARGIN).verdict == "partly"


@pytest.mark.parametrize("level", LEVELS)
def test_c22_is_not_reproduced_where_no_step_but_the_start_is_worse(moments, level):
    """At the very start nothing has been learnt: that is another claim."""
    gaps = {(step, level): -0.1 for step in ("5%", "10%", "25%")}
    table = moments(gaps)
    assert magnitude_early_is_poor(table, MARGIN).verdict == "not reproduced"


@pytest.mark.parametrize("step", ["50%", "75%"])
@pytest.mark.parametrize("level", LEVELS)
def test_c22_holds_partly_where_a_late_step_is_worse_too(moments, step, level):
    table = moments({(step, level): -1})
    assert magnitude_early_is_poor(table, MARGIN).verdict == "partly"
    table = moments({(step, level): -1, ("25%", level): -0.1})  # and an early one is not
    assert magnitude_early_is_poor(table, MARGIN).verdict == "not reproduced"


def test_c22_it_is_the_interval_that_must_lie_above_the_margin(moments):
    for by, verdict in ((-0.3, "holds"), (-0.45, "partly")):
        table = moments({("75%", 6): by})
        assert magnitude_early_is_poor(table, MARGIN).verdict == verdict


def test_c22_denser_levels_decide_nothing(moments):
    gaps = {("25%", 1): 0, ("75%", 2): -9}
    assert magnitude_early_is_poor(moments(gaps), MARGIN).verdict == "holds"


def test_c22_no_verdict_without_both_halves_of_training_or_sparse_networks(moments):
    for steps in (["0%", "50%", "100%"], ["0%", "25%", "100%"], ["50%", "75%", "100%"]):
        assert magnitude_early_is_poor(moments(steps=steps), MARGIN) is None
    assert magnitude_early_is_poor(moments(density={0: 1, 2: 0.26, 4: 0.07}), MARGIN) is None
    assert magnitude_early_is_poor(moments(steps=["10%", "50%", "100%"]), MARGIN) is not None
