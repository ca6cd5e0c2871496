"""The rules of *Supermasks* and *What hides in a random network*, on tables made up for each
verdict."""

import pandas as pd
import pytest

from lth_utils.studies import CLAIMS, STUDIES, interval, measure
from lth_utils.studies._rules.supermasks import CHANCE, NEAR, SAID

RULES = {claim.id: claim.rule for claim in CLAIMS}
MARGIN = 0.3
NOISE = [0.02, -0.01, 0.0, 0.01, -0.02]
WAYS = list(STUDIES["lenet-supermask"].variants)


def around(mean, noise=1.0):
    return [mean + noise * each for each in NOISE]


# C25: masks alone ---------------------------------------------------------------------------------


@pytest.fixture
def ways(made_up):
    """``ways({way: drawn}, probable, noise)``: accuracy of drawn masks for each way of masking, 90
    where none is given; the most probable masks reach ``probable``."""

    def table(drawn=None, probable=50.0, noise=1.0):
        tables = []
        for way in WAYS:
            rows = made_up({
                ("dense", 0): around(98), ("supermask", 1): around(probable),
                ("random mask", 1): around(CHANCE),
            })  # fmt: skip
            one = rows[(rows.treatment == "supermask") & (rows.moment == "end")]
            one = one[one.metric == "accuracy"].assign(metric="sampled accuracy")
            one["value"] = around((drawn or {}).get(way, 90.0), noise)
            tables.append(pd.concat([rows, one]).assign(masked=way))
        return pd.concat(tables, ignore_index=True)

    return table


def test_c25_holds_where_drawn_masks_do_better_than_was_said(ways):
    finding = RULES["C25"](ways({"constants, rescaled": 97}), MARGIN)
    assert finding.verdict == "holds" and finding.ours == pytest.approx(97)
    assert finding.low < finding.ours < finding.high
    assert "drawn" in finding.quantity


@pytest.mark.parametrize(
    ("reached", "verdict"),
    [
        (SAID + 0.1, "holds"),
        (SAID, "partly"),  # what was said lies within the interval
        (2 * CHANCE + 0.1, "partly"),
        (2 * CHANCE, "not reproduced"),
        (CHANCE, "not reproduced"),
    ],
)
def test_c25_verdicts_at_their_edges(ways, reached, verdict):
    assert RULES["C25"](ways({"constants, rescaled": reached}), MARGIN).verdict == verdict


def test_c25_does_not_take_the_end_of_an_interval_for_its_mean(ways):
    reached = {"constants, rescaled": SAID + 1}
    assert RULES["C25"](ways(reached), MARGIN).verdict == "holds"
    assert RULES["C25"](ways(reached, noise=100), MARGIN).verdict == "partly"
    reached = {"constants, rescaled": 2 * CHANCE + 1}
    assert RULES["C25"](ways(reached, noise=100), MARGIN).verdict == "not reproduced"


@pytest.mark.parametrize("way", [way for way in WAYS if way != "constants, rescaled"])
def test_c25_holds_only_where_every_way_of_masking_is_above_chance(ways, way):
    assert RULES["C25"](ways({way: CHANCE + 0.1}), MARGIN).verdict == "holds"
    assert RULES["C25"](ways({way: CHANCE}), MARGIN).verdict == "partly"


def test_c25_looks_at_drawn_masks_and_not_at_the_most_probable(ways):
    """The paper reports drawn masks; the most probable one can be far worse, or better."""
    good, bad = ways({w: 97 for w in WAYS}, probable=10), ways({w: 10 for w in WAYS}, probable=97)
    assert RULES["C25"](good, MARGIN).verdict == "holds"
    assert RULES["C25"](bad, MARGIN).verdict == "not reproduced"


# C26: what hides in a wide network ----------------------------------------------------------------

WIDTHS = [0.125, 0.25, 0.5]
DENSITY = {0: 1.0, 1: 0.7, 2: 0.5, 3: 0.3}


@pytest.fixture
def hidden(made_up):
    """``hidden({width: [by level]}, val, trained)``: test accuracies of subnetworks; those on the
    validation set are the same unless ``val`` gives others; networks trained reach ``trained``,
    one a width."""

    def table(test, val=None, trained=(70.0, 75.0, 80.0), noise=1.0):
        tables = []
        for (width, levels), dense in zip(test.items(), trained, strict=True):
            for split, values in (("test", levels), ("val", (val or {}).get(width, levels))):
                # Validation's network trained is far off: it must not be looked at.
                rows = {("dense", 0): around(dense if split == "test" else 99)}
                for level, value in enumerate(values, start=1):
                    rows["supermask", level] = around(value, 2 * noise)
                    rows["random mask", level] = around(99)  # nor may controls be
                made = made_up(rows, density=DENSITY)
                tables.append(made.assign(width=width, split=split))
        return pd.concat(tables, ignore_index=True)

    return table


def best(*values):
    """The best level of each width, in the middle."""
    return {width: [v - 3, v, v - 1] for width, v in zip(WIDTHS, values, strict=True)}


def test_c26_holds_where_the_widest_matches_the_narrowest_trained(hidden):
    finding = RULES["C26"](hidden(best(50, 60, 70)), MARGIN)
    assert finding.verdict == "holds" and finding.ours == pytest.approx(0)
    assert "50% of the weights" in finding.quantity
    assert "width 0.5" in finding.quantity and "width 0.125" in finding.quantity


@pytest.mark.parametrize(
    ("behind", "verdict"),
    [
        (MARGIN - 0.1, "holds"),
        (MARGIN + 0.1, "partly"),
        (NEAR - 0.1, "partly"),
        (NEAR + 0.1, "not reproduced"),
    ],
)
def test_c26_verdicts_at_their_edges(hidden, behind, verdict):
    assert RULES["C26"](hidden(best(50, 60, 70 - behind)), MARGIN).verdict == verdict


def test_c26_margin_and_nearness_ask_for_the_whole_interval(hidden):
    assert RULES["C26"](hidden(best(50, 60, 70 - MARGIN)), MARGIN).verdict == "partly"
    assert RULES["C26"](hidden(best(50, 60, 70 - NEAR)), MARGIN).verdict == "not reproduced"
    noisy = hidden(best(50, 60, 70), noise=50)
    assert RULES["C26"](noisy, MARGIN).verdict == "partly"
    noisy = hidden(best(50, 60, 71 - NEAR), noise=50)
    assert RULES["C26"](noisy, MARGIN).verdict == "not reproduced"


def test_c26_is_near_only_where_width_has_helped(hidden):
    """A narrow network that hides as good a subnetwork says nothing for the wide one."""
    assert RULES["C26"](hidden(best(67, 60, 67)), MARGIN).verdict == "not reproduced"
    table = hidden(best(66, 60, 67))
    assert RULES["C26"](table, MARGIN).verdict == "partly"
    narrow = (table.width == 0.125) & (table.treatment == "supermask")
    table.loc[narrow, "value"] += 3 * (-1.0) ** table.replicate[narrow]
    assert RULES["C26"](table, MARGIN).verdict == "not reproduced", "its gain may be noise"


def test_c26_chooses_the_share_kept_by_validation(hidden):
    """Or the best of several densities on the test set would be a lucky one."""
    test, val = best(50, 60, 70), {0.5: [60, 50, 55]}
    finding = RULES["C26"](hidden(test, val), MARGIN)
    assert finding.verdict == "partly" and finding.ours == pytest.approx(-3)
    assert "70% of the weights" in finding.quantity


def test_c26_pairs_replicates(hidden):
    """The spread between seeds must not hide a difference that all of them share."""
    table = hidden(best(50, 60, 69), noise=0.5)  # twice the noise of the trained: all of it shared
    table["value"] += 3 * table.replicate
    finding = RULES["C26"](table, MARGIN)
    assert finding.high - finding.low < 0.01 and finding.ours == pytest.approx(-1)


def test_c26_needs_two_widths(hidden):
    table = hidden(best(50, 60, 70))
    assert RULES["C26"](table[table.width == 0.5], MARGIN) is None


def test_c26_gives_the_interval_of_what_it_names(hidden):
    table = hidden(best(50, 60, 68))
    finding = RULES["C26"](table, MARGIN)
    rows = measure(table)
    ours = rows[(rows.width == 0.5) & (rows.level == 2) & (rows.treatment == "supermask")]
    theirs = rows[(rows.width == 0.125) & (rows.treatment == "dense")]
    expected = interval(ours.value.to_numpy() - theirs.value.to_numpy())
    assert (finding.ours, finding.low, finding.high) == pytest.approx(expected[:3])
