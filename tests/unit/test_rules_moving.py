"""Rules of *Moving masks*, on tables made up for each verdict."""

import pandas as pd
import pytest

from lth_utils.studies import CLAIMS, STUDIES
from lth_utils.studies._rules.moving import MOVING, STAYING, moving_is_close

MARGIN = 0.3
DENSE = [98.0, 98.2, 97.9, 98.1, 98.3]
NOISE = [0.02, -0.01, 0.0, 0.01, -0.02]
DENSITY = {0: 1.0, 1: 0.107, 2: 0.087, 3: 0.055, 4: 0.019}


def shifted(by, noise):
    return [value + by + noise * n for value, n in zip(DENSE, NOISE, strict=True)]


@pytest.fixture
def table(made_up):
    """``table(RigL=…, static=…)``: each arm's difference to dense on both splits, one number or
    one a level; a pair of these where the splits differ, validation first."""

    def table(density=None, noise=1.0, **arms):
        density = density or DENSITY
        parts = []
        for split in ("val", "test"):
            accuracy = {("dense", 0): DENSE}
            for number, (name, gaps) in enumerate(arms.items(), 1):
                gaps = gaps["val test".split().index(split)] if isinstance(gaps, tuple) else gaps
                gaps = gaps if isinstance(gaps, dict) else dict.fromkeys(density, gaps)
                name = name.replace("_er", ", erdos-renyi")
                # Each arm has noise of its own, else differences would have none.
                accuracy |= {
                    (name, level): shifted(gaps[level], noise * (number + 0.5 * (-1) ** number))
                    for level in density
                    if level
                }
            parts.append(made_up(accuracy, density=density).assign(split=split))
        return pd.concat(parts, ignore_index=True)

    return table


def at(level, value, otherwise):
    return dict.fromkeys(DENSITY, otherwise) | {level: value}


def test_c20_holds_where_a_moving_mask_matches_dense_and_beats_one_that_stays(table):
    found = moving_is_close(table(RigL=-0.1, static=-1), MARGIN)
    assert found.verdict == "holds" and found.ours == pytest.approx(-0.1, abs=0.01)
    assert found.low < found.ours < found.high and "1.9%" in found.quantity


@pytest.mark.parametrize("level", [2, 3, 4])
def test_c20_holds_where_that_is_so_at_one_density(table, level):
    found = moving_is_close(table(SET=at(level, -0.1, -2), static=-3), MARGIN)
    assert found.verdict == "holds" and f"{DENSITY[level]:.1%}" in found.quantity


def test_c20_speaks_of_a_tenth_and_less(table):
    found = moving_is_close(table(RigL=at(1, 0, -5), static=-6), MARGIN)
    assert found.verdict == "not reproduced"
    assert moving_is_close(table({0: 1.0, 1: 0.2, 2: 0.11}, RigL=0, static=-1), MARGIN) is None


def test_c20_holds_partly_where_it_is_near_or_staying_does_as_well(table):
    near = moving_is_close(table(RigL=-0.7, static=-2), MARGIN)
    assert near.verdict == "partly" and near.ours == pytest.approx(-0.7, abs=0.01)
    assert moving_is_close(table(RigL=-0.1, static=-0.1), MARGIN).verdict == "partly"
    # Matches at one density, beats the static mask at another.
    gaps = {1: 0, 2: -0.1, 3: -2, 4: -3}
    static = {1: 0, 2: 0.2, 3: -4, 4: -6}
    assert moving_is_close(table(RigL=gaps, static=static), MARGIN).verdict == "partly"


@pytest.mark.parametrize("gaps", [{"RigL": -1.5, "static": -4}, {"RigL": -0.7, "static": -0.6}])
def test_c20_is_not_reproduced_where_it_is_far_or_near_and_no_better(table, gaps):
    assert moving_is_close(table(**gaps), MARGIN).verdict == "not reproduced"


def test_c20_is_not_settled_by_noise(table):
    assert moving_is_close(table(RigL=-0.1, static=-1, noise=60.0), MARGIN).verdict != "holds"


def test_the_arm_is_chosen_by_validation_and_not_by_test(table):
    """The best of several arms on the test set is better than it should be."""
    arms = {"RigL": (-0.1, -2.0), "SET_er": (-0.5, 0.0), "static": -3.0}
    assert moving_is_close(table(**arms), MARGIN).ours == pytest.approx(-2.0, abs=0.05)
    stays = {"RigL": -0.1, "static": (-1.0, 0.5), "static_er": (-2.0, -2.0)}
    assert moving_is_close(table(**stays), MARGIN).verdict == "partly"


def test_longer_training_is_not_taken_for_the_same(table):
    long = table(RigL=-2, static=-3)
    more = long[long.treatment == "RigL"].assign(treatment="RigL, 3x as long")
    more["value"] += 2
    assert moving_is_close(pd.concat([long, more]), MARGIN).verdict == "not reproduced"


def test_without_arms_that_move_or_stay_nothing_is_settled(table):
    assert moving_is_close(table(RigL=0.0), MARGIN) is None
    assert moving_is_close(table(ticket=0.0, static=0.0), MARGIN) is None


def test_the_study_has_what_the_rule_asks_for():
    claim = next(claim for claim in CLAIMS if claim.id == "C20")
    study = STUDIES[claim.study]
    assert {*MOVING, *STAYING} <= {*study.options["treatments"]}
    assert {"val", "test"} <= {*study.splits}
    task = study.prepared()
    assert task.replicates >= 5
    kept = [1.0]
    for level in range(1, task.levels + 1):
        kept.append(kept[-1] * (1 - task.fractions_at(level)["fc1.weight"]))
    assert sum(kept[level] <= 0.095 for level in task.control_levels) >= 3
