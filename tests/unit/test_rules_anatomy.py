"""The rules of *What a ticket looks like*."""

import numpy as np
import pandas as pd
import pytest

from lth_utils.lottery import TABLE
from lth_utils.studies import CLAIMS
from lth_utils.studies._rules.anatomy import EVEN

RULES = {claim.id: claim.rule for claim in CLAIMS}
MARGIN = 0.3
WOBBLE = np.array([0.01, -0.01, 0.02, -0.02, 0.0])
DENSITY = {0: 1.0, 1: 0.5, 2: 0.15, 3: 0.08, 4: 0.03, 5: 0.005}


def rows(values, moment, split, metric, **columns):
    """``values``: {(treatment, level): mean}, or with one value a replicate."""
    found = [
        ("study", treatment, level, DENSITY[level], seed, moment, 0, split, metric, value)
        for (treatment, level), mean in values.items()
        for seed, value in enumerate(mean + WOBBLE)
    ]
    return pd.DataFrame(found, columns=TABLE).assign(**columns)


def joined(*tables):
    return pd.concat(tables, ignore_index=True)


# C09: evenly sparse -------------------------------------------------------------------------------


def spreads(fc1, fc2):
    """Variance ratios of the ticket at levels 3, 4 and 5, and far off where no rule may look."""
    tables = []
    for layer, values in (("fc1, lit", fc1), ("fc2", fc2), ("fc1", [9] * 3), ("output", [9] * 3)):
        given = {("ticket", level): v for level, v in zip((3, 4, 5), values, strict=True)}
        control = {("random mask", level): 9.0 for level in (3, 4, 5)}
        elsewhere = {("ticket", 1): 9.0}
        metric = f"in-degree spread, {layer}"
        tables.append(rows(given | control | elsewhere, "mask", "none", metric))
    return joined(*tables)


@pytest.mark.parametrize(
    ("fc1", "fc2", "verdict"),
    [
        ([1.5, 1.9, 9], [0.5, 1, 9], "holds"),
        ([1.5, 2.1, 9], [1, 1, 9], "partly"),
        ([1, 1, 9], [2.1, 1, 9], "partly"),
        ([1.5, 2.1, 9], [2.1, 1, 9], "not reproduced"),
    ],
)
def test_evenly_sparse_asks_both_hidden_layers_at_every_density(fc1, fc2, verdict):
    finding = RULES["C09"](spreads(fc1, fc2), MARGIN)
    assert finding.verdict == verdict
    assert finding.ours == pytest.approx(max(*fc1[:2], *fc2[:2]))


def test_an_interval_that_reaches_over_twice_a_random_mask_is_not_even():
    assert RULES["C09"](spreads([EVEN - 0.005, 1, 1], [1, 1, 1]), MARGIN).verdict == "partly"
    assert RULES["C09"](spreads([EVEN - 0.05, 1, 1], [1, 1, 1]), MARGIN).verdict == "holds"


def test_evenly_sparse_is_not_judged_on_masks_that_are_not_sparse():
    table = spreads([1, 1, 1], [1, 1, 1])
    assert RULES["C09"](table[table.level == 1], MARGIN) is None


# C28: inductive bias ------------------------------------------------------------------------------


def localities(ordered, permuted):
    """Localities of the ticket at level 3; other levels say the contrary."""
    return joined(
        *(
            rows(
                {("ticket", 2): 3 - value, ("ticket", 3): value, ("ticket", 4): 3 - value}
                | {("random mask", level): 1.0 for level in (2, 3, 4)},
                "mask", "none", "locality", inputs=inputs,
            )
            for inputs, value in (("in order", ordered), ("permuted", permuted))
        ),
        *(rows({("ticket", 3): 7.0, ("random mask", 3): 1.0}, "mask", "none", other, inputs=inputs)
          for other in ("plain locality", "original locality")
          for inputs in ("in order", "permuted")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ordered", "permuted", "verdict"),
    [
        (1.5, 1 + 0 * WOBBLE, "holds"),
        (1.5, 0.9, "holds"),
        (1.5, 1.2, "partly"),
        (1.2, 1.5, "not reproduced"),
        (1.0, 0.9, "not reproduced"),
        (0.9, 1.2, "not reproduced"),
    ],
)
def test_inductive_bias_is_locality_that_goes_when_inputs_are_permuted(ordered, permuted, verdict):
    noise = 5 * WOBBLE[::-1]
    finding = RULES["C28"](localities(ordered + noise, permuted + noise), MARGIN)
    assert finding.verdict == verdict
    assert finding.ours == pytest.approx(ordered - 1)


def test_inductive_bias_is_not_judged_on_masks_that_are_not_sparse():
    table = localities(1.5, 1.0)
    assert RULES["C28"](table[table.level == 2], MARGIN) is None


# C37: less capacity to overfit --------------------------------------------------------------------


def noisy(dense, ticket):
    """Each {label noise: (training, test accuracy)} at the end; the ticket at level 2."""
    tables = []
    for noise in dense:
        for split, one, other in zip(("train", "test"), dense[noise], ticket[noise], strict=True):
            given = {("dense", 0): one, ("ticket", 1): 50.0, ("ticket", 2): other,
                     ("reinit", 2): 50.0}  # fmt: skip
            tables.append(rows(given, "end", split, "accuracy", **{"label noise": noise}))
            early = {k: 10.0 for k in given}
            tables.append(rows(early, "early stop", split, "accuracy", **{"label noise": noise}))
            tables.append(rows(early, "end", split, "loss", **{"label noise": noise}))
    return joined(*tables)


DENSE = {0.0: (100, 97), 0.3: (90, 80)}


@pytest.mark.parametrize(
    ("ticket", "verdict"),
    [
        ({0.0: (100, 98), 0.3: (85, 85)}, "holds"),
        ({0.0: (100, 98), 0.3: (85, 81)}, "partly"),  # gaps shrink, the gain is the same
        ({0.0: (100, 97), 0.3: (85, 85)}, "partly"),  # no gap shrinks with true labels
        ({0.0: (100, 97), 0.3: (90, 80)}, "not reproduced"),
        ({0.0: (100, 98), 0.3: (91, 80)}, "not reproduced"),  # the gain is with true labels
    ],
)
def test_overfitting_asks_for_smaller_gaps_and_for_more_gain_with_noise(ticket, verdict):
    finding = RULES["C37"](noisy(DENSE, ticket), MARGIN)
    assert finding.verdict == verdict
    gains = {noise: ticket[noise][1] - DENSE[noise][1] for noise in DENSE}
    assert finding.ours == pytest.approx(gains[0.3] - gains[0.0])


def test_overfitting_reads_label_noise_from_text_as_from_numbers():
    table = noisy(DENSE, {0.0: (100, 98), 0.3: (85, 85)})
    text = table.assign(**{"label noise": table["label noise"].map({0.0: "0", 0.3: "0.3"})})
    assert RULES["C37"](text, MARGIN) == RULES["C37"](table, MARGIN)


def test_overfitting_is_judged_seed_by_seed():
    spread = 1000 * WOBBLE  # replicates differ by far more than treatments do
    dense = {noise: tuple(v + s for v, s in zip(pair, (0, spread), strict=True))
             for noise, pair in DENSE.items()}  # fmt: skip
    ticket = {0.0: (100, 98 + spread), 0.3: (85, 85 + spread)}
    assert RULES["C37"](noisy(dense, ticket), MARGIN).verdict == "holds"


def test_overfitting_is_not_judged_on_networks_that_are_not_sparse():
    table = noisy(DENSE, DENSE)
    assert RULES["C37"](table[table.level < 2], MARGIN) is None


# C07: pruning is not dropout ----------------------------------------------------------------------


def dropped(dense, ticket, random=90.0, random_sparsest=90.0):
    """``dense`` and ``ticket`` each (without, with dropout); the ticket at levels 3 and 4."""
    tables = []
    for rate, one, other in zip((0.0, 0.5), dense, ticket, strict=True):
        given = {("dense", 0): one, ("ticket", 1): 99.0, ("ticket", 3): other, ("ticket", 4): other,
                 ("random mask", 3): random, ("random mask", 4): random_sparsest}  # fmt: skip
        if rate == 0.0:  # without dropout nothing is asked of the random mask
            given |= {("random mask", 3): 99.0, ("random mask", 4): 99.0}
        tables.append(rows(given, "early stop", "test", "accuracy", dropout=rate))
    return joined(*tables)


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        (dropped((97, 98), (97, 95)), "holds"),
        (dropped((97, 95), (97, 98)), "holds"),
        (dropped((97, 98), (97, 95), random=96), "partly"),
        (dropped((97, 98), (97, 95), random_sparsest=96), "partly"),
        (dropped((97, 98), (97, 98 + 5 * WOBBLE)), "partly"),
        (dropped((97, 98), (97, 98 + 5 * WOBBLE), random=98), "not reproduced"),
    ],
)
def test_not_dropout_asks_for_choice_and_for_another_effect(table, verdict):
    finding = RULES["C07"](table, MARGIN)
    assert finding.verdict == verdict
    assert finding.quantity.endswith("3.0% of weights")


def test_not_dropout_says_how_much_less_a_ticket_gains_from_it():
    assert RULES["C07"](dropped((97, 98), (97, 95)), MARGIN).ours == pytest.approx(-3)


def test_not_dropout_is_not_judged_on_networks_that_are_not_sparse():
    table = dropped((97, 98), (97, 95))
    table = joined(table, rows({("random mask", 1): 90.0}, "early stop", "test", "accuracy",
                               dropout=0.5))  # fmt: skip
    assert RULES["C07"](table[table.level < 3], MARGIN) is None
