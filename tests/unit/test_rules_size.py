"""The rule of *Another size*: the moved ticket against masks nobody has chosen."""

import pandas as pd
import pytest

from lth_utils.studies import CLAIMS

RULE = next(claim.rule for claim in CLAIMS if claim.id == "C29")
MARGIN = 0.3
SHARES = {0: 1.0, 1: 0.3, 2: 0.1, 3: 0.02}
UNCLEAR = [-3.0, 3.0, 4.0]


@pytest.fixture
def grown(made_up):
    """``grown({size: ((drawn, moved) at 10%, (drawn, moved) at 2%)})``: what the ticket is above
    each rival; at 30% it is far below both."""

    def table(sizes, study="digits", density=SHARES):
        made = []
        for size, gains in sizes.items():
            base = [90.0, 80.0, 70.0]
            accuracy = {("dense", 0): base}
            for level, pair in enumerate([(-9, -9), *gains], start=1):
                accuracy["ticket", level] = base
                for name, by in zip(("random ticket", "random mask, moved"), pair, strict=True):
                    by = by if isinstance(by, list) else [by - 0.01, by, by + 0.01]
                    accuracy[name, level] = [b - x for b, x in zip(base, by, strict=True)]
            made.append(made_up(accuracy, density=density).assign(size=size, study=study))
        return pd.concat(made, ignore_index=True)

    return table


GOOD = ((1, 1), (2, 3))


@pytest.mark.parametrize(
    ("sizes", "verdict"),
    [
        ({"wider": GOOD, "deeper": GOOD}, "holds"),
        ({"wider": GOOD, "deeper": ((1, 1), (2, UNCLEAR))}, "partly"),
        ({"wider": ((0, 1), (0, 1)), "deeper": ((1, 0), (1, 0))}, "not reproduced"),
        ({"wider": ((0, 0), (0, 0))}, "not reproduced"),
        ({"wider": ((-1, -1), (1, 1))}, "partly"),
    ],
)
def test_the_ticket_has_to_beat_both_rivals_at_one_density(grown, sizes, verdict):
    """A gain over fresh masks alone may be the way of moving and not the ticket."""
    found = RULE(grown(sizes), MARGIN)
    assert found.verdict == verdict and found.low <= found.ours <= found.high


def test_what_is_named_is_the_smallest_gain(grown):
    found = RULE(grown({"wider": GOOD, "deeper": ((1, 1), (2, 1.5))}), MARGIN)
    assert found.ours == pytest.approx(1.5)
    assert "random mask, moved, deeper" in found.quantity and "2.0% of weights" in found.quantity


def test_equal_names_in_two_studies_are_two_networks(grown):
    good, bad = grown({"wider": GOOD}), grown({"wider": ((-1, -1), (-1, -1))}, study="signals")
    assert RULE(pd.concat([good, bad]), MARGIN).verdict == "partly"


def test_a_network_that_stays_dense_is_left_out(grown):
    core = grown(
        {"core": ((-1, -1), (-1, -1))}, study="core", density={0: 1, 1: 0.9, 2: 0.8, 3: 0.7}
    )
    assert RULE(core, MARGIN) is None
    assert RULE(pd.concat([core, grown({"wider": GOOD})]), MARGIN).verdict == "holds"
