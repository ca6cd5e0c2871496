"""The rule of *Structures and real speed*."""

import numpy as np
import pandas as pd
import pytest

from lth_utils.lottery import TABLE
from lth_utils.studies import CLAIMS
from lth_utils.studies._rules.speed import faster

RULE = {claim.id: claim.rule for claim in CLAIMS}["C06"]
DENSITY = {0: 1.0, 1: 0.5, 2: 0.107, 3: 0.01}
# A stopwatch's errors: mostly none, sometimes a lot.
LATE = np.array([0, 0.01, 0, 0.02, 5, 0, 0.01, 0, 0, 0.01, 0, 9])


def table(masked=1.0, small=0.2, kernel=0.4, elsewhere=0.2, repeats=12, densities=DENSITY):
    """Times of every form in two networks and two uses; the second network's other use has a
    time of its own for fewer units. At other levels than 10.7% everything speaks against."""
    rows = []
    for network in ("LeNet", "VGG"):
        for moment in ("batch 1", "training"):
            unlucky = (network, moment) == ("VGG", "training")
            for level, density in densities.items():
                there = density < 0.2 and density > 0.05
                times = {
                    "masked": masked,
                    "structured": (elsewhere if unlucky else small) if there else 3.0,
                    "CSR": kernel if there else 0.01,
                    "shrunk": 0.9,
                }
                for name, value in times.items() if level else [("dense", 1.0)]:
                    late = np.roll(LATE, len(rows) % 7)[:repeats]
                    rows += [
                        (name, level, density, k, moment, value * (1 + more), network)
                        for k, more in enumerate(late)
                    ]
    columns = ["treatment", "level", "density", "replicate", "moment", "value", "network"]
    found = pd.DataFrame(rows, columns=columns)
    found = found.assign(study="speed", step=0, split="none", metric="milliseconds")
    noise = found.iloc[:1].assign(metric="operations", value=7.0)
    return pd.concat([found, noise])[[*TABLE, "network"]]


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        ({}, "holds"),
        ({"masked": 2.0}, "holds"),
        ({"masked": 0.95}, "holds"),
        ({"masked": 0.5}, "partly"),  # zeros alone make it fast, though not as fast
        ({"masked": 0.5, "elsewhere": 0.6}, "not reproduced"),  # or faster
        ({"kernel": 0.1}, "partly"),  # a sparse kernel is faster everywhere
        ({"elsewhere": 0.6}, "partly"),  # or in one case
        ({"elsewhere": 1.5}, "not reproduced"),  # fewer units are slower than a mask
        ({"small": 1.5, "elsewhere": 1.5}, "not reproduced"),
    ],
)
def test_structures_have_to_be_faster_than_any_other_form_in_every_case(times, verdict):
    assert RULE(table(**times), 0.3).verdict == verdict


def test_the_number_is_the_least_favourable_case():
    finding = RULE(table(elsewhere=0.25), 0.3)
    assert finding.low <= finding.ours <= finding.high
    assert finding.ours == pytest.approx(0.4 / 0.25, rel=0.05)
    assert "10.7%" in finding.quantity and "of 4 cases" in finding.quantity


def test_a_lead_within_the_noise_is_none():
    assert RULE(table(elsewhere=0.4), 0.3).verdict == "partly"


def test_too_few_repeats_or_no_sparse_network_settle_nothing():
    assert RULE(table(repeats=5), 0.3) is None
    assert RULE(table(densities={0: 1.0, 1: 0.5}), 0.3) is None


def test_the_interval_of_a_median_holds_its_share_of_medians():
    """Quartiles, say, called a 95% interval."""
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        slow = pd.Series(3 + generator.standard_cauchy(21))
        middle, low, high, _ = faster(slow, pd.Series(np.ones(21)))
        assert low <= middle <= high
        inside += low <= 3 <= high
    assert 0.93 < inside / 400 < 0.995
