"""The rule of *Transfer*: better than random masks, as good as the task's own, both ways."""

import pandas as pd
import pytest

from lth_utils.studies import CLAIMS

RULE = next(claim.rule for claim in CLAIMS if claim.id == "C27")
MARGIN = 0.3
SHARES = {0: 1.0, 1: 0.3, 2: 0.1, 3: 0.02}
WAYS = ("easy → hard", "hard → easy")
UNCLEAR = [-3.0, 3.0, 4.0]


@pytest.fixture
def moved(made_up):
    """``moved(random, native)``: by direction, what the ticket is above the two at 10% and at 2%;
    one number, or one a replicate. At 30% everything is as bad as can be."""

    def table(random, native, study="digits", ways=WAYS):
        made = []
        for way, over_random, over_native in zip(ways, random, native, strict=True):
            base = [90.0, 80.0, 70.0] if way.endswith("easy") else [60.0, 50.0, 40.0]
            accuracy = {("dense", 0): base}
            for level, (r, n) in enumerate(
                [(-9, -9), *zip(over_random, over_native, strict=True)], start=1
            ):
                accuracy["ticket", level] = base
                for name, by in (("random mask", r), ("native", n)):
                    by = by if isinstance(by, list) else [by - 0.01, by, by + 0.01]
                    accuracy[name, level] = [b - x for b, x in zip(base, by, strict=True)]
            made.append(made_up(accuracy, density=SHARES).assign(transfer=way, study=study))
        return pd.concat(made, ignore_index=True)

    return table


EQUAL = [(0.0, 0.0), (0.0, 0.0)]


@pytest.mark.parametrize(
    ("random", "native", "verdict"),
    [
        ([(1, 2), (1, 2)], EQUAL, "holds"),
        ([(1, 2), (1, 2)], [(-0.2, -0.2), (0, 5)], "holds"),
        ([(1, 2), (1, 2)], [(0, -1), (0, 0)], "partly"),  # below the task's own
        ([(1, 2), (1, UNCLEAR)], EQUAL, "partly"),
        ([(UNCLEAR, 2), (1, UNCLEAR)], EQUAL, "not reproduced"),  # at no density both ways
        ([(1, 2), (-1, -2)], EQUAL, "not reproduced"),  # one way alone
        ([(0, 0), (0, 0)], EQUAL, "not reproduced"),
    ],
)
def test_the_verdict_asks_for_both_directions_and_every_sparse_density(
    moved, random, native, verdict
):
    found = RULE(moved(random, native), MARGIN)
    assert found.verdict == verdict and found.low <= found.ours <= found.high
    least = min(
        (pair[1] for pair in random), key=lambda x: sum(x) / 3 if isinstance(x, list) else x
    )
    assert found.ours == pytest.approx(sum(least) / 3 if isinstance(least, list) else least)


def test_two_studies_must_agree(moved):
    good = moved([(1, 2), (1, 2)], EQUAL)
    bad = moved([(0, 0), (0, 0)], EQUAL, study="halves", ways=("a → hard", "b → easy"))
    assert RULE(good, MARGIN).verdict == "holds"
    assert RULE(pd.concat([good, bad]), MARGIN).verdict == "partly"


@pytest.mark.parametrize(("native", "told"), [([(0, -2), (0, -1)], 1), ([(0, -1), (0, -2)], 0)])
def test_the_better_direction_is_told_and_decides_nothing(moved, native, told):
    found = RULE(moved([(1, 2), (1, 2)], native), MARGIN)
    assert f"in {told} of 1 studies" in found.quantity and found.verdict == "partly"


def test_one_direction_or_dense_masks_settle_nothing(moved):
    table = moved([(1, 2), (1, 2)], EQUAL)
    assert RULE(table[table.transfer == WAYS[0]], MARGIN) is None
    assert RULE(table[table.level < 2], MARGIN) is None
