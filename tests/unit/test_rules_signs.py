"""Rules of *Signs, zeros and criteria*, on tables made up for each verdict."""

import pandas as pd
import pytest

from lth_utils.studies import STUDIES
from lth_utils.studies._rules.signs import increase_as_good, signs_matter

MARGIN = 0.3
DENSE = [98.0, 98.2, 97.9, 98.1, 98.3]
NOISE = [0.02, -0.01, 0.0, 0.01, -0.02]
DENSITY = {0: 1.0, 1: 0.51, 2: 0.26, 3: 0.14, 4: 0.07, 5: 0.037, 6: 0.02}
CONTROLS = STUDIES["lenet-mnist-signs"].changes["control_levels"]
CRITERIA = list(STUDIES["lenet-mnist-criteria"].variants)


def shifted(by, noise=1.0):
    return [value + by + noise * n for value, n in zip(DENSE, NOISE, strict=True)]


# C23: the sign matters, not the value -------------------------------------------------------------


@pytest.fixture
def signs(made_up):
    """``signs(same, fresh)``: by how much fresh weights with the ticket's signs, and with fresh
    ones, differ from the ticket; a number, or numbers by level."""

    def signs(same, fresh, density=None, noise=1.0):
        density = density or DENSITY
        accuracy = {("dense", 0): DENSE}
        accuracy |= {("ticket", level): shifted(0) for level in density if level}
        due = [level for level in CONTROLS if level in density]
        for name, gaps, sign in (("reinit, same signs", same, -1), ("reinit", fresh, -2)):
            by = gaps if isinstance(gaps, dict) else dict.fromkeys(due, gaps)
            # Each arm has noise of its own, else differences would have none.
            accuracy |= {(name, level): shifted(by[level], sign * noise) for level in due}
        return made_up(accuracy, density=density)

    return signs


def at(level, value, otherwise):
    return dict.fromkeys(CONTROLS, otherwise) | {level: value}


def test_c23_holds_where_signs_alone_match_and_fresh_ones_do_not(signs):
    found = signs_matter(signs(same=-0.1, fresh=-1), MARGIN)
    assert found.verdict == "holds" and found.ours == pytest.approx(-0.1, abs=0.01)
    assert found.low < found.ours < found.high and "2.0%" in found.quantity


@pytest.mark.parametrize("level", [4, 5, 6])
def test_c23_holds_partly_where_signs_help_and_do_not_match_at_one_density(signs, level):
    assert signs_matter(signs(at(level, -0.6, -0.1), -1), MARGIN).verdict == "partly"


@pytest.mark.parametrize("level", [4, 5, 6])
def test_c23_is_not_reproduced_where_signs_do_not_help_at_one_density(signs, level):
    """To match the ticket is nothing if fresh signs do so as well as anything."""
    table = signs(at(level, -0.2, -0.1), at(level, -0.2, -1))
    assert signs_matter(table, MARGIN).verdict == "not reproduced"


@pytest.mark.parametrize(("same", "verdict"), [(-0.24, "holds"), (-0.36, "partly")])
def test_c23_it_is_the_interval_that_must_lie_above_the_margin(signs, same, verdict):
    assert signs_matter(signs(same, fresh=-1), MARGIN).verdict == verdict


def test_c23_a_gain_that_may_be_noise_is_none(signs):
    # Only the arm with the ticket's signs is noisy: fresh weights stay worse beyond doubt.
    table = signs(same=-0.1, fresh=-1)
    noisy = table.treatment == "reinit, same signs"
    wild = table.value + table.replicate.map(dict(enumerate([3, -3, 2, -2, 0])))
    table = table.assign(value=table.value.where(~noisy, wild))
    assert signs_matter(table, MARGIN).verdict == "not reproduced"


def test_c23_speaks_only_of_densities_where_fresh_weights_are_worse(signs):
    # Where fresh weights are as good, signs have nothing to explain, and need not help.
    found = signs_matter(signs(-0.1, {2: 0, 4: 0, 5: -1, 6: -1}), MARGIN)
    assert found.verdict == "holds"
    assert signs_matter(signs(same=-0.1, fresh=0), MARGIN) is None


def test_c23_denser_levels_decide_nothing(signs):
    assert signs_matter(signs(at(2, -5, -0.1), -1), MARGIN).verdict == "holds"


def test_c23_a_table_that_is_not_sparse_enough_settles_nothing(signs):
    assert signs_matter(signs(-0.1, -1, density={0: 1.0, 2: 0.26, 4: 0.07}), MARGIN) is None


# C24: magnitude increase is as good, small weights are bad ----------------------------------------


@pytest.fixture
def kept_by(made_up):
    """``kept_by(gaps)``: magnitude loses nothing, random 2 points, smallest 20, the others 1,
    except where ``gaps[criterion, level]`` says otherwise. Untrained masks, which the rule has no
    business with, are at chance."""

    def kept_by(gaps=None, density=None, noise=1.0):
        gaps, density, tables = gaps or {}, density or DENSITY, []
        usual = {"magnitude": 0, "magnitude increase": -0.1, "random": -2, "smallest": -20}
        for i, criterion in enumerate(CRITERIA):
            accuracy = {("dense", 0): DENSE}
            for level in density:
                if level:
                    by = gaps.get((criterion, level), usual.get(criterion, -1))
                    accuracy["ticket", level] = shifted(by, noise * i)
                    accuracy["ticket, untrained", level] = [10.0] * 5
            tables.append(made_up(accuracy, density=density).assign(criterion=criterion))
        return pd.concat(tables, ignore_index=True)

    return kept_by


def test_c24_holds_where_increase_matches_and_small_weights_are_worse_than_any(kept_by):
    found = increase_as_good(kept_by(), MARGIN)
    assert found.verdict == "holds" and found.ours == pytest.approx(-0.1, abs=0.01)
    assert found.low < found.ours < found.high


@pytest.mark.parametrize("level", [2, 4, 6])
def test_c24_holds_partly_where_one_half_fails_at_one_density(kept_by, level):
    found = increase_as_good(kept_by({("magnitude increase", level): -1}), MARGIN)
    assert found.verdict == "partly" and found.ours == pytest.approx(-1, abs=0.1)
    assert f"{DENSITY[level]:.1%}" in found.quantity
    small = kept_by({("smallest", level): -2})  # no worse than at random
    assert increase_as_good(small, MARGIN).verdict == "partly"


def test_c24_is_not_reproduced_where_both_halves_fail(kept_by):
    both = kept_by({("magnitude increase", 6): -1, ("smallest", 2): 0})
    assert increase_as_good(both, MARGIN).verdict == "not reproduced"


def test_c24_looks_at_the_three_densities_nearest_to_those_announced(kept_by):
    elsewhere = {("magnitude increase", level): -3 for level in (1, 3, 5)}
    elsewhere |= {("smallest", level): 0 for level in (1, 3, 5)}
    assert increase_as_good(kept_by(elsewhere), MARGIN).verdict == "holds"


@pytest.mark.parametrize(("gap", "verdict"), [(-0.1, "holds"), (-0.299, "partly")])
def test_c24_it_is_the_interval_that_must_lie_above_the_margin(kept_by, gap, verdict):
    assert increase_as_good(kept_by({("magnitude increase", 4): gap}), MARGIN).verdict == verdict


def test_c24_small_weights_that_may_be_as_good_are_not_bad(kept_by):
    # Two points behind random, with replicates that differ by more than that.
    wild = kept_by({("smallest", level): -4 for level in DENSITY})
    small = wild.criterion == "smallest"
    values = wild.value + wild.replicate.map(dict(enumerate([6, -6, 4, -4, 0])))
    noisy = wild.assign(value=wild.value.where(~small, values))
    assert increase_as_good(wild, MARGIN).verdict == "holds"
    assert increase_as_good(noisy, MARGIN).verdict == "partly"


def test_c24_a_table_that_is_not_sparse_enough_settles_nothing(kept_by):
    short = {0: 1.0, 1: 0.51, 2: 0.26, 3: 0.14, 4: 0.07}
    assert increase_as_good(kept_by(density=short), MARGIN) is None
