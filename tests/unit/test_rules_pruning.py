"""Rules of *Pruning a trained network*, on tables made up for each verdict."""

import pandas as pd
import pytest

from lth_utils.studies import STUDIES
from lth_utils.studies._rules.pruning import finding_costs_more, magnitude_among_best

MARGIN = 0.3
DENSE = [98.0, 98.2, 97.9, 98.1, 98.3]
NOISE = [0.02, -0.01, 0.0, 0.01, -0.02]
RACED = {0: 1.0, 1: 0.51, 2: 0.26, 3: 0.14, 4: 0.07, 5: 0.037, 6: 0.02}
CRITERIA = list(STUDIES["lenet-mnist-race"].variants)


def shifted(by, noise=1.0):
    return [value + by + noise * n for value, n in zip(DENSE, NOISE, strict=True)]


# C05: magnitude is among the best -----------------------------------------------------------------


@pytest.fixture
def race(made_up):
    """``race(leads)``: magnitude loses nothing, random 5 points, the others 1, except where
    ``leads[criterion, level]`` says by how much a criterion leads magnitude."""

    def race(leads=None, density=None, noise=1.0):
        leads, density, tables = leads or {}, density or RACED, []
        for criterion in CRITERIA:
            behind = {"magnitude": 0, "random": -5}.get(criterion, -1)
            accuracy = {("dense", 0): DENSE} | {
                ("fine-tune", level): shifted(
                    leads.get((criterion, level), behind), noise * CRITERIA.index(criterion)
                )
                for level in density
                if level
            }
            tables.append(made_up(accuracy, density=density).assign(criterion=criterion))
        return pd.concat(tables, ignore_index=True)

    return race


def test_c05_holds_where_none_is_better_and_random_is_worse(race):
    found = magnitude_among_best(race(), MARGIN)
    assert found.verdict == "holds" and found.ours == pytest.approx(1, abs=0.01)
    assert found.low <= found.ours <= found.high


def test_c05_looks_at_the_three_densities_nearest_to_those_announced(race):
    elsewhere = {("movement", level): 2 for level in (1, 3, 5)}
    assert magnitude_among_best(race(elsewhere), MARGIN).verdict == "holds"
    for level in (2, 4, 6):
        found = magnitude_among_best(race({("movement", level): 2}), MARGIN)
        assert found.verdict == "partly" and found.ours == pytest.approx(-2, abs=0.01)
        assert "movement" in found.quantity and f"{RACED[level]:.1%}" in found.quantity


def test_c05_is_not_reproduced_where_it_is_beaten_twice(race):
    twice = {("movement", 4): 2, ("gradient", 6): 2}
    assert magnitude_among_best(race(twice), MARGIN).verdict == "not reproduced"


@pytest.mark.parametrize(("lead", "verdict"), [(MARGIN - 0.01, "holds"), (0.31, "partly")])
def test_c05_a_rival_within_the_margin_is_no_better(race, lead, verdict):
    assert magnitude_among_best(race({("activation", 6): lead}), MARGIN).verdict == verdict


def test_c05_a_lead_that_may_be_noise_beats_nobody(race):
    noisy = race({("activation", 6): 1}, noise=60)
    assert magnitude_among_best(noisy, MARGIN).ours < -MARGIN
    # The control is noisy as well: keep it away, so that the rivals decide alone.
    control = noisy.value.where(noisy.criterion != "random", noisy.value - 40)
    assert magnitude_among_best(noisy.assign(value=control), MARGIN).verdict == "holds"


def test_c05_what_is_no_better_than_random_is_not_among_the_best(race):
    assert magnitude_among_best(race({("random", 2): 0}), MARGIN).verdict == "partly"
    everywhere = {("random", level): 0 for level in (2, 4, 6)}
    assert magnitude_among_best(race(everywhere), MARGIN).verdict == "not reproduced"


def test_c05_a_race_that_is_not_sparse_enough_settles_nothing(race):
    assert magnitude_among_best(race(density={0: 1.0, 1: 0.5, 2: 0.25, 3: 0.07}), MARGIN) is None
    assert magnitude_among_best(race(density={0: 1.0, 1: 0.14, 2: 0.02}), MARGIN) is None


# C40: finding costs more than training ------------------------------------------------------------


@pytest.fixture
def ways(made_up):
    """``ways(iterative, one_shot)``: how far tickets are from dense, by level."""

    def ways(iterative, one_shot, density=None):
        tables = []
        for way, gaps in (("rewound", iterative), ("rewound, one-shot", one_shot)):
            accuracy = {("ticket", level): shifted(gap) for level, gap in gaps.items()}
            table = made_up({("dense", 0): DENSE} | accuracy, density=density)
            tables.append(table.assign(way=way))
        # What the rule has no business with.
        tables.append(tables[0].replace({"treatment": {"ticket": "fine-tune"}, "way":
                                         {"rewound": "trained on"}}))  # fmt: skip
        return pd.concat(tables, ignore_index=True)

    return ways


LEVELS = range(1, 16)
GOOD, BAD = dict.fromkeys(LEVELS, 0.0), dict.fromkeys(LEVELS, -1.0)


def test_c40_counts_every_training_before_the_tickets_own(ways):
    found = finding_costs_more(ways(GOOD, BAD), MARGIN)
    # 0.8 to the eleventh is the first density of a tenth or less.
    assert found.ours == pytest.approx(sum(0.8**level for level in range(11)))
    assert found.low == found.ours == found.high and "8.6%" in found.quantity


def test_c40_holds_only_where_one_shot_finds_none(ways):
    assert finding_costs_more(ways(GOOD, BAD), MARGIN).verdict == "holds"
    found = finding_costs_more(ways(GOOD, GOOD), MARGIN)
    assert found.verdict == "partly" and "one-shot: 1, at 8.6%" in found.quantity


def test_c40_is_not_reproduced_where_only_one_shot_finds_one(ways):
    found = finding_costs_more(ways(BAD, GOOD), MARGIN)
    assert found.verdict == "not reproduced" and found.ours == 1


def test_c40_a_ticket_found_at_the_first_cut_costs_one_dense_training(ways):
    found = finding_costs_more(ways({1: 0.0}, {1: -1.0}, density={0: 1.0, 1: 0.05}), MARGIN)
    assert found.verdict == "not reproduced" and found.ours == 1


def test_c40_the_first_that_matches_counts_not_the_first_sparse_one(ways):
    later = GOOD | {11: -1.0, 12: -1.0}
    found = finding_costs_more(ways(later, BAD), MARGIN)
    assert found.ours == pytest.approx(sum(0.8**level for level in range(13)))


@pytest.mark.parametrize(("gap", "settled"), [(-0.25, True), (-0.31, False)])
def test_c40_matching_is_within_the_margin(ways, gap, settled):
    found = finding_costs_more(ways(dict.fromkeys(LEVELS, gap), BAD), MARGIN)
    assert (found is not None) == settled


def test_c40_tickets_denser_than_a_tenth_settle_nothing(ways):
    dense_only = dict.fromkeys(range(1, 10), 0.0)
    assert finding_costs_more(ways(dense_only, dense_only), MARGIN) is None
