"""Controls: each changes one thing about the ticket, and really changes it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

from lth_utils import controls, models
from lth_utils.controls import TREATMENTS, Arm, Situation, random_mask, treatment
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.pruning import magnitude
from lth_utils.recipes import SGD, Recipe, Schedule

SEEDS = [3, 5]


@pytest.fixture
def now(net, some_mask):
    """A situation at level 2 in which every set of weights is another."""

    def draw(seeds, purpose, *where):
        return models.initialise(net, seeds, purpose, *where)

    start = draw(SEEDS, "init")
    return Situation(
        mask=magnitude(start, models.dense_mask(net, 2), 0.6),
        start=start,
        rewound={n: w + 1 for n, w in start.items()},
        rewind="10%",
        trained={n: w + 2 for n, w in start.items()},
        recipe=Recipe("100it", 10, SGD(0.1), Schedule(("50%",))),
        seeds=SEEDS,
        level=2,
        draw=draw,
    )


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


# The random mask ----------------------------------------------------------------------------------


def test_a_random_mask_keeps_as_many_of_each_layer_for_each_member():
    mask = Mask({"a": torch.rand(3, 9, 7) < torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1),
                 "b": torch.rand(3, 20) < 0.3})  # fmt: skip
    shuffled = random_mask(mask, [0, 1, 2], 4)
    assert shuffled.counts().equals(mask.counts())


def test_mistake_6_a_shuffle_that_shuffles_nothing(now):
    shuffled = random_mask(now.mask, SEEDS, now.level)
    for name, kept in now.mask.items():
        for member in range(2):
            assert not torch.equal(shuffled[name][member], kept[member]), (name, member)
    # Of 40% kept, 40% is kept again by chance, and not the same rows or columns alone.
    overlap = (shuffled & now.mask).kept / now.mask.kept
    assert (overlap < 0.6).all() and (overlap > 0.2).all()


def test_mistake_6_a_mask_that_is_the_same_for_every_seed_and_level():
    mask = Mask({"a": torch.arange(200).expand(2, 200) < 60})
    one = random_mask(mask, [0, 1], 1)
    assert not torch.equal(one["a"][0], one["a"][1])
    assert random_mask(mask, [0, 1], 2) != one
    assert random_mask(mask, [0, 1], 1) == one
    assert random_mask(mask.member(1), [1], 1) == one.member(1)
    layers = random_mask(Mask({"a": mask["a"], "b": mask["a"]}), [0, 1], 1)
    assert not torch.equal(layers["a"], layers["b"])


def test_every_position_is_kept_equally_often():
    n, kept, seeds = 12, 4, 3000
    mask = Mask({"w": (torch.arange(n) < kept).expand(seeds, n).clone()})
    shuffled = random_mask(mask, range(seeds))["w"].double()
    counts, p = shuffled.sum(0).numpy(), kept / n
    # Positions compete for a fixed number of places, which takes (n - 1) / n off the variance.
    statistic = ((counts - seeds * p) ** 2).sum() / (seeds * p * (1 - p)) * (n - 1) / n
    assert chi2.sf(statistic, n - 1) > 1e-3
    # And pairs: a rotation would keep neighbours together.
    pairs = (shuffled.T @ shuffled / seeds).numpy()[~np.eye(n, dtype=bool)]
    expected = kept * (kept - 1) / (n * (n - 1))
    assert np.abs(pairs - expected).max() < 5 * np.sqrt(expected * (1 - expected) / seeds)


def test_a_random_mask_wants_one_seed_a_member():
    with pytest.raises(InputError, match="seeds"):
        random_mask(Mask.dense({"w": (4,)}, 3), [0, 1])


# Treatments ---------------------------------------------------------------------------------------


def test_mistake_3_a_ticket_that_holds_trained_weights(now):
    arm = TREATMENTS["ticket"](now)
    assert equal(arm.start, now.rewound)
    assert arm.mask == now.mask
    assert (arm.begin, arm.recipe) == ("10%", None)
    applied = arm.mask.apply(arm.start)
    for name, kept in now.mask.items():
        assert torch.equal(applied[name][kept], now.rewound[name][kept])  # bit for bit


def test_mistake_6_a_reinit_that_keeps_values(now):
    arm = TREATMENTS["reinit"](now)
    assert arm.mask == now.mask and arm.begin == "0it" and arm.recipe is None
    for name in now.mask:
        assert not (arm.start[name] == now.start[name]).any(), name
    later = TREATMENTS["reinit"](replace(now, level=3))
    for name in now.mask:
        assert not (arm.start[name] == later.start[name]).any(), name
    assert not (arm.start["fc1.weight"][0] == arm.start["fc1.weight"][1]).any()


def test_a_reinit_is_drawn_from_the_distribution_of_the_initial_weights(now, net):
    arms = [TREATMENTS["reinit"](replace(now, level=level)) for level in range(40)]
    for name, shape in models.dense_mask(net).shapes.items():
        draws = torch.cat([arm.start[name].flatten() for arm in arms]).double().numpy()
        assert kstest(draws / models.glorot_normal(shape), "norm").pvalue > 1e-3
    for name in ("fc1.bias", "fc2.bias", "output.bias"):
        assert not arms[0].start[name].any()


def test_mistake_4_a_reinit_that_keeps_the_trained_biases(now):
    moved = replace(now, start={n: w + 1 for n, w in now.start.items()})
    arm = TREATMENTS["reinit"](moved)
    assert all((w == 0).all() for n, w in arm.start.items() if n.endswith("bias"))


def test_the_random_mask_keeps_the_tickets_weights_and_changes_the_mask_alone(now):
    arm = TREATMENTS["random mask"](now)
    assert equal(arm.start, now.rewound)
    assert arm.mask != now.mask
    assert arm.mask.counts().equals(now.mask.counts())
    assert (arm.begin, arm.recipe) == (now.rewind, None)


def test_fine_tuning_starts_from_the_trained_weights_at_the_last_rate(now):
    arm = TREATMENTS["fine-tune"](now)
    assert equal(arm.start, now.trained) and arm.mask == now.mask
    assert arm.recipe == now.recipe.fine_tune()
    assert arm.recipe.rate(0, 100) == pytest.approx(now.recipe.rate(99, 100))


def test_rate_rewinding_keeps_the_trained_weights_and_rewinds_the_schedule(now):
    arm = TREATMENTS["rate rewinding"](now)
    assert equal(arm.start, now.trained) and arm.mask == now.mask
    assert (arm.begin, arm.recipe) == ("10%", None)


def test_no_treatment_changes_what_is_at_hand(now):
    before = {n: w.clone() for n, w in now.start.items()}
    mask = Mask({n: k.clone() for n, k in now.mask.items()})
    for make in TREATMENTS.values():
        make(now)
    assert equal(now.start, before) and now.mask == mask


def test_a_new_treatment_has_a_name(monkeypatch, now):
    monkeypatch.setattr(controls, "TREATMENTS", dict(TREATMENTS))

    @treatment("constant")
    def constant(now):
        return Arm({n: torch.ones_like(w) for n, w in now.start.items()}, now.mask)

    assert controls.by_name("constant") is constant
    assert "constant" not in TREATMENTS


def test_an_unknown_treatment_lists_the_known_ones():
    with pytest.raises(InputError, match="Unknown treatment 'reinitt'. Known: reinit"):
        controls.by_name("reinitt")
