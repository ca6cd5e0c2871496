"""Controls: each changes one thing about the ticket, and really changes it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

from lth_utils import controls, models
from lth_utils.controls import MODIFIERS, TREATMENTS, Arm, Situation, random_mask, treatment
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
    # What is moved is not made here.
    modifiers = [modifier for modifier in MODIFIERS if modifier != "moved"]
    for name in [*TREATMENTS, *(f"ticket, {modifier}" for modifier in modifiers)]:
        controls.by_name(name)(now)
    assert equal(now.start, before) and now.mask == mask


def test_a_reshuffle_permutes_the_kept_values_within_each_layer_and_moves_something(now):
    arm = TREATMENTS["reshuffle"](now)
    assert arm.mask == now.mask and (arm.begin, arm.recipe, arm.frozen) == ("0it", None, None)
    for name, kept in now.mask.items():
        for member in range(2):
            before, after = now.start[name][member], arm.start[name][member]
            k = kept[member]
            assert torch.equal(after[k].sort().values, before[k].sort().values)
            assert (after[k] != before[k]).double().mean() > 0.5
            assert torch.equal(after[~k], before[~k])
    assert all(torch.equal(w, now.start[n]) for n, w in arm.start.items() if n not in now.mask)


def test_a_constant_has_one_absolute_value_a_layer_the_networks_own(now):
    arm = TREATMENTS["constant"](now)
    for name, w in arm.start.items():
        if name not in now.mask:
            assert torch.equal(w, now.start[name])
            continue
        [size] = w.abs().unique().tolist()
        assert size == pytest.approx(models.glorot_normal(w.shape[1:]))
        assert size == pytest.approx(now.start[name].std().item(), rel=0.5)
        assert 0.2 < (w > 0).double().mean() < 0.8
    other = TREATMENTS["constant"](replace(now, deviation=lambda shape: 0.5))
    assert all((other.start[name].abs() == 0.5).all() for name in now.mask)


@pytest.mark.parametrize("name", ["reshuffle", "constant", "ticket, random signs",
                                  "ticket, frozen at random"])  # fmt: skip
def test_mistake_6_a_draw_that_is_the_same_for_every_seed_level_or_layer(name, now):
    def drawn(now):
        arm = controls.by_name(name)(now)
        return arm.start if arm.frozen is None else dict(arm.frozen)

    now, _ = moved(now)
    one, later = drawn(now), drawn(replace(now, level=3))
    for layer in ("fc1.weight", "fc2.weight"):
        assert not torch.equal(one[layer], later[layer])
    second = {n: w[1:] for n, w in now.start.items()}
    parts = {part: {n: w[1:] for n, w in getattr(now, part).items()}
             for part in ("rewound", "trained")}  # fmt: skip
    alone = replace(now, mask=now.mask.member(1), start=second, seeds=SEEDS[1:], **parts)
    assert all(torch.equal(w, one[n][1:]) for n, w in drawn(alone).items())
    # Members and layers of equal weights, which only the draw can tell apart.
    like = {n: now.start["fc1.weight"][:1].expand(2, -1, -1).clone() for n in "ab"}
    mask = Mask({n: w > 0 for n, w in like.items()})
    half = {n: torch.where(w.abs() > 0.2, w * 2, w / 2) for n, w in like.items()}
    twins = drawn(replace(now, mask=mask, start=like, rewound=like, trained=half))
    assert not torch.equal(twins["a"][0], twins["a"][1])
    assert not torch.equal(twins["a"], twins["b"])


# Modifiers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", TREATMENTS)
def test_same_signs_keeps_every_sign_and_every_absolute_value(base, now):
    plain, arm = (controls.by_name(name)(now) for name in (base, f"{base}, same signs"))
    for name in now.mask:
        assert torch.equal(arm.start[name].sign(), now.rewound[name].sign())
        assert torch.equal(arm.start[name].abs(), plain.start[name].abs())
    assert (arm.begin, arm.recipe, arm.mask) == (plain.begin, plain.recipe, plain.mask)


@pytest.mark.parametrize("base", ["ticket", "reinit", "reshuffle", "constant"])
def test_random_signs_keep_half_of_them(base, now):
    plain, arm = (controls.by_name(name)(now) for name in (base, f"{base}, random signs"))
    kept = torch.cat(
        [(arm.start[n].sign() == now.rewound[n].sign()).flatten() for n in now.mask]
    ).double()
    assert abs(kept.mean() - 0.5) < 4 * 0.5 / len(kept) ** 0.5
    assert all(torch.equal(arm.start[n].abs(), plain.start[n].abs()) for n in now.mask)


def moved(now):
    """The situation in which some weights grew, some shrank and some stayed."""
    generator = torch.Generator().manual_seed(0)
    factor = {n: torch.randint(0, 3, w.shape, generator=generator) / 2 + 0.5
              for n, w in now.rewound.items()}  # fmt: skip
    return replace(now, trained={n: w * factor[n] for n, w in now.rewound.items()}), factor


def test_frozen_is_all_that_is_pruned_where_the_arm_starts(now):
    for base in ("ticket", "reinit", "random mask"):
        plain, arm = (controls.by_name(name)(now) for name in (base, f"{base}, frozen"))
        assert arm.frozen == ~plain.mask and arm.mask == plain.mask
        assert equal(arm.start, plain.start)


def test_zero_only_if_training_moved_it_toward_zero(now):
    now, factor = moved(now)
    grown = TREATMENTS["ticket"](now), controls.by_name("ticket, frozen if grown")(now)
    shrunk = controls.by_name("ticket, frozen if shrunk")(now)
    for name, kept in now.mask.items():
        assert torch.equal(grown[1].frozen[name], ~kept & (factor[name] >= 1))
        assert torch.equal(shrunk.frozen[name], ~kept & (factor[name] < 1))
    assert equal(grown[0].start, grown[1].start) and grown[0].frozen is None


def test_what_grew_is_asked_of_the_last_training_that_a_weight_had(now):
    now, _ = moved(now)
    zeroed = now.mask.apply(now.trained)  # as the trained weights of a later level are
    later = replace(now, trained=zeroed, last=now.trained)
    assert later.grown == now.grown != replace(now, trained=zeroed).grown


def test_frozen_at_random_freezes_exactly_as_many_of_each_layer_and_others(now):
    now, _ = moved(now)
    grown, drawn = (controls.by_name(f"reinit, frozen {how}")(now).frozen
                    for how in ("if grown", "at random"))  # fmt: skip
    assert drawn.counts().equals(grown.counts())
    assert not (drawn & now.mask).kept.any()
    for name in grown:
        for member in range(2):
            assert not torch.equal(drawn[name][member], grown[name][member])


def test_untrained_stops_before_it_begins(now):
    arm = controls.by_name("fine-tune, frozen, untrained")(now)
    assert arm.recipe.iterations(100) == 0 and arm.begin == "0it"
    assert equal(arm.start, now.trained) and arm.frozen == ~now.mask
    assert not controls.is_trained("fine-tune, frozen, untrained")
    assert all(map(controls.is_trained, TREATMENTS))


def test_modifiers_follow_one_another_in_the_order_of_the_name(monkeypatch, now):
    monkeypatch.setattr(controls, "MODIFIERS", dict(MODIFIERS))
    for name, change in (("plus", lambda w: w + 1), ("twice", lambda w: w * 2)):

        @controls.modifier(name)
        def changed(now, arm, change=change):
            return replace(arm, start={n: change(w) for n, w in arm.start.items()})

    one, other = (controls.by_name(f"ticket, {how}")(now).start["fc1.weight"]
                  for how in ("plus, twice", "twice, plus"))  # fmt: skip
    assert torch.equal(one, (now.rewound["fc1.weight"] + 1) * 2)
    assert torch.equal(other, now.rewound["fc1.weight"] * 2 + 1)


def test_a_member_of_an_arm_is_that_member_of_everything(now):
    arm = controls.by_name("ticket, frozen if grown")(moved(now)[0])
    one = arm.member(1)
    assert one.mask == arm.mask.member(1) and one.frozen == arm.frozen.member(1)
    assert all(torch.equal(w, arm.start[n][1:]) for n, w in one.start.items())
    assert TREATMENTS["ticket"](now).member(0).frozen is None


def test_a_new_treatment_has_a_name(monkeypatch, now):
    monkeypatch.setattr(controls, "TREATMENTS", dict(TREATMENTS))

    @treatment("ones")
    def ones(now):
        return Arm({n: torch.ones_like(w) for n, w in now.start.items()}, now.mask)

    assert controls.by_name("ones") is ones
    assert "ones" not in TREATMENTS


def test_an_unknown_treatment_lists_the_known_ones():
    with pytest.raises(InputError, match="Unknown treatment 'reinitt'. Known: reinit"):
        controls.by_name("reinitt")
    with pytest.raises(InputError, match="Unknown treatment 'tickets'. Known: ticket"):
        controls.by_name("tickets, frozen")
    with pytest.raises(InputError, match="Unknown modifier of a treatment 'froze'. Known: frozen"):
        controls.by_name("ticket, same signs, froze")
