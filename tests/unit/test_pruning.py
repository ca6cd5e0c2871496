"""Pruning: exact counts, and PyTorch's own pruning as an independent oracle."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from lth_utils import models, pruning
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.pruning import CRITERIA, criterion, magnitude, prune

ALONE = [name for name in pruning.SCOPES if name != "sensitivity"]
"""Scopes that need nothing but scores; the other one tries the weights on images."""

SHAPES = {"0.weight": (7, 9), "1.weight": (5, 7), "2.weight": (4, 5)}


def drawn(seed=0, members=2):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(members, *s, generator=generator) for n, s in SHAPES.items()}


def values(*numbers):
    return {"w": torch.tensor([numbers], dtype=torch.float32)}


def kept(mask):
    return mask["w"][0].nonzero().flatten().tolist()


ONE = Mask.dense({"w": (6,)})


# Which weights go ---------------------------------------------------------------------------------


def test_mistake_1_comparing_without_the_absolute_value():
    weights = values(-3.0, 0.1, -0.2, 2.0, -0.05, 1.0)
    assert kept(magnitude(weights, ONE, 0.5)) == [0, 3, 5]


def test_mistake_1_the_signs_of_the_weights_do_not_matter():
    weights, dense = drawn(), Mask.dense(SHAPES, 2)
    positive = {n: w.abs() for n, w in weights.items()}
    for scope in ("layer", "global"):
        found = magnitude(weights, dense, 0.3, scope)
        assert found == magnitude(positive, dense, 0.3, scope)
        assert all((w[~found[n]] < 0).any() and (w[found[n]] < 0).any() for n, w in weights.items())


def as_module(weights, member, mask=None):
    layers = [nn.Linear(s[1], s[0]) for s in SHAPES.values()]
    for layer, name in zip(layers, SHAPES, strict=True):
        with torch.no_grad():
            layer.weight.copy_(weights[name][member])
        if mask is not None:
            torch_prune.custom_from_mask(layer, "weight", mask[name][member])
    return layers


@pytest.mark.parametrize("seed", range(5))
def test_pruning_layer_by_layer_is_what_pytorch_does_level_after_level(seed):
    dense = Mask.dense(SHAPES, 2)
    mask = dense
    for level, fraction in enumerate((0.2, 0.35, 0.5)):
        weights = drawn(100 * seed + level)
        before, mask = mask, magnitude(weights, mask, fraction)
        for member in range(2):
            for name, layer in zip(SHAPES, as_module(weights, member, before), strict=True):
                # A count, as PyTorch takes a share of what was there before any pruning.
                count = round(fraction * int(before[name][member].sum()))
                torch_prune.l1_unstructured(layer, "weight", amount=count)
                assert torch.equal(layer.weight_mask.bool(), mask[name][member])


@pytest.mark.parametrize("seed", range(5))
def test_global_pruning_is_what_pytorch_does_level_after_level(seed):
    mask = Mask.dense(SHAPES, 2)
    for level, fraction in enumerate((0.2, 0.35, 0.5)):
        weights = drawn(100 * seed + level)
        before, mask = mask, magnitude(weights, mask, fraction, scope="global")
        for member in range(2):
            layers = as_module(weights, member, before)
            count = sum(round(fraction * int(before[n][member].sum())) for n in SHAPES)
            torch_prune.global_unstructured(
                [(layer, "weight") for layer in layers], torch_prune.L1Unstructured, amount=count
            )
            for name, layer in zip(SHAPES, layers, strict=True):
                assert torch.equal(layer.weight_mask.bool(), mask[name][member])


def test_every_weight_that_goes_is_smaller_than_every_weight_that_stays():
    weights, mask = drawn(), Mask.dense(SHAPES, 2)
    found = magnitude(weights, mask, 0.4)
    for name, w in weights.items():
        for member in range(2):
            stays = found[name][member]
            assert w[member][~stays].abs().max() < w[member][stays].abs().min()
    found = magnitude(weights, mask, 0.4, "global")
    for member in range(2):
        gone = torch.cat([w[member][~found[n][member]] for n, w in weights.items()]).abs()
        stays = torch.cat([w[member][found[n][member]] for n, w in weights.items()]).abs()
        assert gone.max() < stays.min()


# How many go --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ALONE)
def test_mistake_5_one_weight_too_many_per_level(scope):
    fractions = {"0.weight": 0.2, "1.weight": 0.2, "2.weight": 0.1}
    mask = Mask.dense(SHAPES, 2)
    counts = {n: int(np.prod(s)) for n, s in SHAPES.items()}
    total = sum(counts.values())
    for level in range(15):
        before = mask
        mask = magnitude(drawn(level), mask, fractions, scope)
        assert mask <= before and mask != before
        if scope == "layer":
            counts = {n: c - round(fractions[n] * c) for n, c in counts.items()}
            for name, count in counts.items():
                assert mask[name].flatten(1).sum(1).tolist() == [count, count]
        else:
            for member in range(2):
                share = {n: int(before[n][member].sum()) for n in SHAPES}
                gone = sum(round(fractions[n] * c) for n, c in share.items())
                assert mask.kept[member] == sum(share.values()) - gone
    assert mask.kept.max() < 0.1 * total


def test_mistake_5_lenet_keeps_exactly_as_many_as_the_rule_says():
    mask = models.dense_mask(models.LeNet())
    fractions = {"fc1.weight": 0.2, "fc2.weight": 0.2, "output.weight": 0.1}
    generator = torch.Generator().manual_seed(0)
    expected = []
    counts = [235_200, 30_000, 1_000]
    for _ in range(3):
        weights = {n: torch.randn(1, *s, generator=generator) for n, s in mask.shapes.items()}
        mask = magnitude(weights, mask, fractions)
        counts = [c - round(f * c) for c, f in zip(counts, fractions.values(), strict=True)]
        expected.append(mask.counts().kept.tolist() == counts)
    assert expected == [True] * 3 and counts == [120_422, 15_360, 729]


def test_mistake_5_ties_settled_by_chance_or_all_at_once():
    for scope in ("layer", "global"):
        assert kept(magnitude(values(1, 1, 1, 1, 1, 1), ONE, 0.5, scope)) == [3, 4, 5]
        assert kept(magnitude(values(2, -1, 1, -1, 1, 2), ONE, 1 / 3, scope)) == [0, 3, 4, 5]
    assert kept(magnitude(values(0.0, -0.0, 0.0, -0.0, 0, 1), ONE, 1 / 3)) == [2, 3, 4, 5]


def test_ties_in_global_pruning_are_settled_in_the_order_of_the_layers():
    ones = {n: torch.ones(1, *s) for n, s in SHAPES.items()}
    mask = magnitude(ones, Mask.dense(SHAPES), 0.3, "global")
    gone = sum(round(0.3 * int(np.prod(s))) for s in SHAPES.values())
    flat = torch.cat([mask[n].flatten() for n in SHAPES])
    assert not flat[:gone].any() and flat[gone:].all()


def test_mistake_7_a_fraction_is_of_the_remaining_weights_not_of_all():
    mask = Mask.dense({"w": (100,)})
    weights = {"w": torch.arange(1.0, 101)[None]}
    densities = []
    for _ in range(3):
        mask = magnitude(weights, mask, 0.2)
        densities.append(round(mask.density.item(), 2))
    assert densities == [0.8, 0.64, 0.51]


@pytest.mark.parametrize("scope", ALONE)
@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_pruned_weights_never_return_and_are_never_counted(toy_task, name, scope):
    seeds = [0, 1]
    mask, start = toy_task.dense_mask(seeds), toy_task.init(seeds)
    for level in range(3):
        # Pruned weights hold large values here: nobody may look at them.
        weights = toy_task.init(seeds, "reinit", level)
        after = CRITERIA[name](
            weights, mask, 0.3, scope, start=start, seeds=seeds, level=level, task=toy_task
        )
        assert after <= mask
        gone = sum(torch.tensor([round(0.3 * n) for n in mask[m].flatten(1).sum(1).tolist()])
                   for m in mask)  # fmt: skip
        assert (after.kept == mask.kept - gone).all()
        mask = after


def test_what_pruned_weights_hold_does_not_matter():
    mask = magnitude(drawn(), Mask.dense(SHAPES, 2), 0.5)
    a = drawn(1)
    b = {n: torch.where(mask[n], w, torch.tensor(torch.nan)) for n, w in a.items()}
    for scope in ALONE:
        assert magnitude(a, mask, 0.3, scope) == magnitude(b, mask, 0.3, scope)


@pytest.mark.parametrize("scope", ALONE)
def test_members_are_pruned_apart(scope):
    weights, dense = drawn(members=3), Mask.dense(SHAPES, 3)
    weights = {n: w * torch.tensor([1.0, 100.0, 0.01]).view(3, 1, 1) for n, w in weights.items()}
    together = magnitude(weights, dense, 0.3, scope)
    alone = [
        magnitude({n: w[r : r + 1] for n, w in weights.items()}, dense.member(r), 0.3, scope)
        for r in range(3)
    ]
    assert Mask.cat(alone) == together


def test_each_layer_has_its_own_fraction():
    mask = magnitude(
        drawn(), Mask.dense(SHAPES, 2), {"0.weight": 0, "1.weight": 1, "2.weight": 0.5}
    )
    assert mask.counts().kept.tolist() == [63, 63, 0, 0, 10, 10]


def test_global_pruning_takes_from_the_layer_with_the_small_weights():
    weights = drawn()
    weights["2.weight"] = weights["2.weight"] + 100
    mask = magnitude(weights, Mask.dense(SHAPES, 2), 0.3, "global")
    assert mask["2.weight"].all()
    assert mask.kept.tolist() == [118 - (19 + 10 + 6)] * 2  # rounded: 18.9, 10.5 to even, 6


def test_weights_are_not_changed_by_pruning():
    weights = drawn()
    before = {n: w.clone() for n, w in weights.items()}
    dense = Mask.dense(SHAPES, 2)
    magnitude(weights, dense, 0.5)
    assert all(torch.equal(w, before[n]) for n, w in weights.items())
    assert dense == Mask.dense(SHAPES, 2)


# Criteria -----------------------------------------------------------------------------------------

ENDED = values(0.1, -0.5, 2.0, -1.0, 0.3, 0.6)
BEGAN = values(0.1, 1.5, 2.1, -0.2, -0.3, 0.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("magnitude", [2, 3, 5]),
        ("smallest", [0, 1, 4]),
        ("movement", [1, 3, 4, 5]),  # moved 0, 2, 0.1, 0.8, 0.6, 0.6
        ("magnitude increase", [3, 4, 5]),  # grew 0, -1, -0.1, 0.8, 0, 0.6; of the zeros the last
    ],
)
def test_each_criterion_keeps_what_it_says(name, expected):
    fraction = (6 - len(expected)) / 6
    assert kept(pruning.by_name(name)(ENDED, ONE, fraction, start=BEGAN)) == expected


def test_the_random_criterion_looks_at_no_weight_and_differs_by_seed_level_and_layer():
    def random(weights, seeds, level):
        mask = Mask.dense({"a": (8, 8), "b": (8, 8)}, len(seeds))
        return pruning.random(weights, mask, 0.5, seeds=seeds, level=level)

    ones = {n: torch.ones(2, 8, 8) for n in "ab"}
    other = {n: torch.randn(2, 8, 8) for n in "ab"}
    first = random(ones, [0, 1], 1)
    assert first == random(other, [0, 1], 1)
    assert not torch.equal(first["a"][0], first["a"][1])
    assert not torch.equal(first["a"][0], first["b"][0])
    assert first.member(0) != random(ones, [0, 1], 2).member(0)
    assert random(ones, [1, 0], 1) == first.member(1, 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [("movement", "pass start"), ("magnitude increase", "pass start"), ("random", "pass seeds")],
)
def test_a_criterion_says_what_it_needs(name, message):
    with pytest.raises(InputError, match=message):
        CRITERIA[name](ENDED, ONE, 0.5)


def test_a_new_criterion_is_five_lines_and_has_a_name(monkeypatch):
    monkeypatch.setattr(pruning._criteria, "CRITERIA", dict(CRITERIA))

    @criterion
    def most_negative(layer):
        """Keep the weights that ended most negative."""
        return -layer.weights

    assert pruning.by_name("most negative") is most_negative
    assert most_negative.__doc__.startswith("Keep")
    assert kept(most_negative(ENDED, ONE, 0.5)) == [0, 1, 3]
    assert "most negative" not in CRITERIA


def test_an_unknown_criterion_lists_the_known_ones():
    with pytest.raises(InputError, match="Unknown criterion 'magnitud'. Known: magnitude"):
        pruning.by_name("magnitud")


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [1.5, -0.1, float("nan"), float("inf")])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(InputError, match="share of the remaining weights to remove, from 0 to 1"):
        magnitude(ENDED, ONE, fraction)


def test_an_unknown_scope_lists_the_known_ones():
    with pytest.raises(InputError, match="Unknown scope 'local'. Known: .*layer"):
        magnitude(ENDED, ONE, 0.5, scope="local")


def test_a_layer_without_a_fraction_is_named():
    with pytest.raises(InputError, match="No fraction is given for 1.weight"):
        magnitude(drawn(), Mask.dense(SHAPES, 2), {"0.weight": 0.2, "2.weight": 0.1})


def test_a_training_that_diverged_is_not_pruned():
    with pytest.raises(InputError, match="w is not a number: training has diverged"):
        magnitude(values(1, 2, torch.nan, 4, 5, 6), ONE, 0.5)


def test_weights_and_scores_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="does not fit at w"):
        magnitude(values(1, 2, 3), ONE, 0.5)
    with pytest.raises(InputError, match="does not fit at w"):
        magnitude({}, ONE, 0.5)
    with pytest.raises(InputError, match="does not fit at w"):
        prune({"w": torch.ones(2, 6)}, ONE, 0.5)


def test_all_or_nothing_can_go():
    assert kept(magnitude(ENDED, ONE, 0)) == list(range(6))
    assert kept(magnitude(ENDED, ONE, 1.0)) == []
    assert kept(magnitude(ENDED, ~ONE, 0.5)) == []


# Zhou et al.'s criteria ---------------------------------------------------------------------------

ZHOU = {
    "magnitude": lambda i, f: f.abs(),
    "smallest": lambda i, f: -f.abs(),
    "large init": lambda i, f: i.abs(),
    "small init": lambda i, f: -i.abs(),
    "magnitude increase": lambda i, f: f.abs() - i.abs(),
    "movement": lambda i, f: (f - i).abs(),
}
SIGNED = {
    "magnitude same sign": lambda i, f: f.abs(),
    "movement same sign": lambda i, f: (f - i).abs(),
    "magnitude increase same sign": lambda i, f: f.abs() - i.abs(),
}
EVERY = Mask.dense(SHAPES, 2)


def kept_of(name, fraction=0.6, mask=EVERY):
    initial, final = drawn(1), drawn(2)
    return initial, final, CRITERIA[name](final, mask, fraction, start=initial, seeds=[0, 1])


@pytest.mark.parametrize("name", ZHOU)
def test_zhous_criteria_are_what_the_paper_defines(name):
    initial, final, found = kept_of(name)
    assert found == prune({n: ZHOU[name](initial[n], final[n]) for n in SHAPES}, EVERY, 0.6)


@pytest.mark.parametrize("name", [*SIGNED, "random same sign"])
def test_a_weight_that_changed_its_sign_outlives_none_that_kept_it(name):
    initial, final, found = kept_of(name, 0.7)
    for layer in SHAPES:
        same = initial[layer].sign() == final[layer].sign()
        assert 0.3 < same.double().mean() < 0.7
        if name != "magnitude increase same sign":  # there, one that shrank a lot goes first
            assert not (found[layer] & ~same).any()
        if name in SIGNED:  # among those that kept it, the ranking is that without the sign
            score = SIGNED[name](initial[layer], final[layer])
            for member in range(2):
                s = same[member]
                stays, goes = (score[member][s & k] for k in (found[layer][member],
                                                              ~found[layer][member]))  # fmt: skip
                assert stays.min() > goes.max()


def test_a_weight_that_changed_its_sign_lost_more_than_it_had():
    """Magnitude increase along the initial sign: from 1 to -3 is no growth."""
    start, end = values(1.0, -1.0, 1.0, 2.0, -2.0, 0.1), values(-3.0, 3.0, 2.0, 1.9, -2.5, -0.1)
    found = CRITERIA["magnitude increase same sign"](end, ONE, 0.5, start=start)
    assert kept(found) == [2, 3, 4]


def test_the_control_keeps_those_that_changed_their_sign():
    initial, final, found = kept_of("magnitude changed sign", 0.7)
    assert all((initial[n].sign() != final[n].sign())[found[n]].all() for n in SHAPES)
    assert all((a != b).any() for a, b in zip(
        kept_of("magnitude same sign", 0.7)[2].values(), found.values(), strict=True))  # fmt: skip


@pytest.mark.parametrize("large", [True, False])
def test_began_and_ended_large_whatever_the_scale_of_training(large):
    name = "large init large final" if large else "small init small final"
    initial, final, found = kept_of(name)
    for layer in SHAPES:
        i, f = initial[layer].abs(), final[layer].abs()
        i, f = (w / w.flatten(1).mean(1).view(2, 1, 1) for w in (i, f))
        score = torch.minimum(i, f) if large else -torch.maximum(i, f)
        for member in range(2):
            k = found[layer][member]
            assert score[member][k].min() > score[member][~k].max()
    longer = {n: 7 * w for n, w in final.items()}
    assert CRITERIA[name](longer, EVERY, 0.6, start=initial) == found


def test_the_scale_is_of_the_weights_that_are_still_kept_of_each_member():
    """What was pruned before must not weigh in, nor another member."""
    name = "large init large final"
    initial, final, found = kept_of(name)
    again = CRITERIA[name](final, found, 0.5, start=initial)
    other = {n: torch.where(found[n], w, 100 * w) for n, w in final.items()}
    assert CRITERIA[name](other, found, 0.5, start=initial) == again
    alone = CRITERIA[name]({n: w[1:] for n, w in final.items()}, found.member(1), 0.5,
                           start={n: w[1:] for n, w in initial.items()})  # fmt: skip
    assert alone == again.member(1)


def test_a_layer_that_is_all_zero_is_no_divergence():
    zero = {n: torch.zeros_like(w) for n, w in drawn().items()}
    for name in ("large init large final", "small init small final"):
        found = CRITERIA[name](zero, EVERY, 0.5, start=drawn())
        assert (found.density < 0.55).all()
