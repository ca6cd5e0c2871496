"""The rule of *Convolutions*: kinds of layers that prune differently."""

import pandas as pd
import pytest

from lth_utils.studies import CLAIMS
from lth_utils.studies._rules.convolutions import share_of_kind

RULE = next(claim.rule for claim in CLAIMS if claim.id == "C12")
MARGIN = 0.5
SHARES = (0.4, 0.16, 0.07, 0.03)
CONVOLUTIONS = 0.3  # share of the network's weights


@pytest.fixture
def kinds(made_up):
    """``kinds(differences, shares)``: convolutions − fully connected at levels 1, 2, …, three
    replicates; each difference one number, or one a replicate."""

    def table(differences, shares=SHARES):
        rest = 1 - CONVOLUTIONS
        made = []
        for kind, size in (("convolutions", CONVOLUTIONS), ("fully connected", rest)):
            accuracy, density = {("dense", 0): [60.0, 61.0, 59.0]}, {0: 1.0}
            for level, (share, by) in enumerate(zip(shares, differences, strict=True), start=1):
                by = by if isinstance(by, list) else [by - 0.01, by, by + 0.01]
                added = by if kind == "convolutions" else [0, 0, 0]
                accuracy["ticket", level] = [50 + 10 * r + a for r, a in enumerate(added)]
                density[level] = 1 - size * (1 - share)
            # As far from the ticket as can be, in the direction that would mislead.
            accuracy["reinit", 4] = [0.0 if kind == "convolutions" else 99.0] * 3
            made.append(made_up(accuracy, density=density).assign(pruned=kind))
        return pd.concat(made, ignore_index=True)

    return table


UNCLEAR = [-5.0, 5.0, 6.0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "differences, verdict",
    [
        ([0.0, 0.0, 3.0, 5.0], "holds"),
        ([-9.0, -9.0, 3.0, 5.0], "holds"),  # the densest two are not asked
        ([0.0, 0.0, UNCLEAR, 5.0], "partly"),
        ([0.0, 0.0, 3.0, UNCLEAR], "partly"),
        ([0.0, 0.0, -3.0, 5.0], "partly"),  # different, but on different sides
        ([9.0, 9.0, UNCLEAR, UNCLEAR], "not reproduced"),
    ],
)
def test_the_verdict_looks_at_the_two_sparsest_and_takes_no_side(kinds, differences, verdict, sign):
    turned = [[sign * x for x in d] if isinstance(d, list) else sign * d for d in differences]
    found = RULE(kinds(turned), MARGIN)
    assert found.verdict == verdict
    last = turned[-1]
    expected = sum(last) / 3 if isinstance(last, list) else last
    assert found.ours == pytest.approx(expected)
    assert found.low <= found.ours <= found.high


def test_the_share_named_is_that_of_the_pruned_kind_not_of_the_network(kinds):
    table = kinds([0.0, 0.0, 3.0, 5.0])
    assert "at 3.0% of the pruned kind" in RULE(table, MARGIN).quantity
    shares = share_of_kind(table[table.treatment == "ticket"])
    assert shares.tolist() == pytest.approx(SHARES)


def test_two_dense_levels_settle_nothing(kinds):
    assert RULE(kinds([5.0, 5.0], shares=(0.4, 0.05)), MARGIN) is None
    assert RULE(kinds([5.0], shares=(0.05,)), MARGIN) is None
    assert RULE(kinds([5.0, 5.0], shares=(0.099, 0.05)), MARGIN) is not None


def test_seeds_are_paired(kinds):
    """Replicates that differ by ten points hide nothing: what is compared has the same seed."""
    found = RULE(kinds([0.0, 0.0, 0.5, 0.5]), MARGIN)
    assert found.verdict == "holds" and found.high - found.low < 0.1
