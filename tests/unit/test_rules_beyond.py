"""Rules of *Beyond vision*, on tables made up for each verdict."""

import pandas as pd
import pytest

from lth_utils.studies import STUDIES
from lth_utils.studies._rules.beyond import tickets_in_text

MARGIN = 0.5
DENSE = [57.0, 57.3, 56.8]
NOISE = [0.05, -0.05, 0.0]
LEVELS = {0: 1.0, 1: 0.512, 2: 0.21, 3: 0.107, 4: 0.055}
MAGNITUDE, LOSS = "heads by magnitude", "heads by loss"
ONE_HEAD = {0: 1.0, 1: 0.96, 2: 0.92}


def shifted(by):
    return [value + by + noise for value, noise in zip(DENSE, NOISE, strict=True)]


@pytest.fixture
def table(made_up):
    """``table(ticket, others, heads, levels)``: what the ticket loses at each level, how far the
    controls are behind it, and what the first head costs by each way to choose it."""

    def table(ticket=(0, 0, -2, -4), others=-3.0, heads=None, levels=LEVELS, fresh=None):
        accuracy = {("dense", 0): DENSE}
        for level, loss in zip(range(1, len(levels)), ticket, strict=False):
            accuracy["ticket", level] = shifted(loss)
            accuracy["reinit", level] = shifted(loss + (others if fresh is None else fresh))
            accuracy["random mask", level] = shifted(loss + others)
        tables = [made_up(accuracy, density=levels)]
        for how, cost in ({MAGNITUDE: 0.0, LOSS: 0.0} | (heads or {})).items():
            rows = {("dense", 0): DENSE, ("ticket", 1): shifted(cost), ("ticket", 2): shifted(-5)}
            tables.append(made_up(rows, density=ONE_HEAD).assign(removed=how))
        return pd.concat(tables, ignore_index=True)

    return table


def test_c30_holds_where_tickets_win_and_a_head_can_go(table):
    found = tickets_in_text(table(), MARGIN)
    assert found.verdict == "holds" and found.ours == pytest.approx(0, abs=0.05)
    assert "21.0% of weights" in found.quantity and found.low <= found.ours <= found.high


def test_c30_asks_for_tickets_as_sparse_as_it_says(table):
    """A ticket that matches at half of the weights alone."""
    found = tickets_in_text(table(ticket=(0, -2, -3, -4)), MARGIN)
    assert found.verdict == "partly" and found.ours == pytest.approx(-2, abs=0.05)


@pytest.mark.parametrize("beaten", [{"others": 0.0}, {"fresh": 0.0}])
def test_c30_needs_both_controls_beaten(table, beaten):
    """One control alone may be behind for its mask, or for its values."""
    assert tickets_in_text(table(**beaten), MARGIN).verdict == "partly"


def test_c30_one_way_to_choose_a_head_will_do(table):
    assert tickets_in_text(table(heads={MAGNITUDE: -2}), MARGIN).verdict == "holds"
    both = {MAGNITUDE: -2, LOSS: -2}
    assert tickets_in_text(table(heads=both), MARGIN).verdict == "partly"


def test_c30_a_random_head_or_single_weights_settle_nothing_about_heads(table):
    rows = table(heads={MAGNITUDE: -2, LOSS: -2, "heads at random": 0.0, "single weights": 0.0})
    assert tickets_in_text(rows, MARGIN).verdict == "partly"


def test_c30_is_not_reproduced_where_neither_is_so(table):
    found = tickets_in_text(table(ticket=(0, -2, -3, -4), heads={MAGNITUDE: -2, LOSS: -2}), MARGIN)
    assert found.verdict == "not reproduced"


def test_c30_settles_nothing_without_both_tables_or_sparse_tickets(table):
    whole = table()
    assert tickets_in_text(whole[whole.removed.isna()], MARGIN) is None
    assert tickets_in_text(whole[whole.removed.notna()], MARGIN) is None
    assert tickets_in_text(whole.drop(columns="removed"), MARGIN) is None
    assert tickets_in_text(table(levels={0: 1.0, 1: 0.512}), MARGIN) is None


def test_c30_reads_the_ways_that_the_study_has():
    assert {MAGNITUDE, LOSS} <= set(STUDIES["text-heads"].variants)
    assert STUDIES["text-heads"].axis == "removed" and not STUDIES["text-tickets"].axis
