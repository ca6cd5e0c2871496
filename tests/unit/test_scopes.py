"""Scopes: what is removed is the same total, divided in different ways; layers that are left out;
strides of each level its own; and what is recorded of layers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lth_utils import anatomy, models, pruning
from lth_utils.datasets import Split
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.lottery._imp import _Design
from lth_utils.masks import Mask
from lth_utils.pruning import SCOPES, magnitude, rescaled_magnitude
from lth_utils.pruning._scopes import Choice, _to_keep

SEEDS = (0, 1)
FRACTIONS = {"fc1.weight": 0.3, "fc2.weight": 0.3, "output.weight": 0.1}
LATER = [name for name in SCOPES if name != "layer"]


def drawn(seed=0, members=2):
    """Masks that keep other shares of every layer, for each member its own, and weights of them."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {"fc1.weight": (15, 16), "fc2.weight": (5, 15), "output.weight": (4, 5)}
    share = torch.rand(members, 3, generator=rng) * 0.7 + 0.3
    mask = Mask({
        name: torch.rand(members, *shape, generator=rng) < share[:, i].view(-1, 1, 1)
        for i, (name, shape) in enumerate(shapes.items())
    })  # fmt: skip
    weights = {n: torch.randn(members, *s, generator=rng) for n, s in shapes.items()}
    weights |= {n.replace("weight", "bias"): torch.zeros(members, s[0]) for n, s in shapes.items()}
    return mask.apply(weights), mask


def by_layer(mask):
    return {name: kept.flatten(1).sum(1).tolist() for name, kept in mask.items()}


# What all scopes have in common -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scope", LATER)
def test_every_scope_removes_exactly_what_the_layers_would(scope, seed, toy_task):
    """Tickets of another density, compared as if they had the same."""
    weights, mask = drawn(seed)
    layers = magnitude(weights, mask, FRACTIONS, "layer")
    found = magnitude(weights, mask, FRACTIONS, scope, task=toy_task)
    assert found.kept.tolist() == layers.kept.tolist()
    assert found <= mask
    expected = {n: [k - round(FRACTIONS[n] * k) for k in c] for n, c in by_layer(mask).items()}
    assert by_layer(layers) == expected
    assert by_layer(found) != expected  # or it is the other scope under another name


@pytest.mark.parametrize("scope", SCOPES)
def test_within_a_layer_the_lowest_scores_go_in_every_scope(scope, toy_task):
    """A scope that divides well and then removes the wrong ones."""
    weights, mask = drawn(4)
    found = magnitude(weights, mask, FRACTIONS, scope, task=toy_task)
    for name, kept in found.items():
        for member in range(2):
            gone = weights[name][member][mask[name][member] & ~kept[member]].abs()
            stay = weights[name][member][kept[member]].abs()
            if len(gone) and len(stay):
                assert gone.max() < stay.min()


@pytest.mark.parametrize("scope", SCOPES)
def test_a_member_is_pruned_as_if_it_were_alone(scope, toy_task):
    """One threshold, or one count, for all replicates."""
    weights, mask = drawn(2)
    both = magnitude(weights, mask, FRACTIONS, scope, task=toy_task)
    for member in range(2):
        own = {n: w[member : member + 1] for n, w in weights.items()}
        alone = magnitude(own, mask.member(member), FRACTIONS, scope, task=toy_task)
        assert alone == both.member(member)


@pytest.mark.parametrize("left_out", [["fc2.weight"], ["fc1.weight", "output.weight"]])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_layer_with_fraction_zero_is_untouched_in_every_scope(scope, left_out, toy_task):
    """A global threshold that reaches into the layers that a paper does not prune."""
    weights, mask = drawn(1)
    weights |= {name: weights[name] / 1000 for name in left_out}  # they would go first
    fractions = FRACTIONS | dict.fromkeys(left_out, 0.0)
    found = magnitude(weights, mask, fractions, scope, task=toy_task)
    for name in left_out:
        assert torch.equal(found[name], mask[name])
    gone = {n: [round(fractions[n] * k) for k in counts] for n, counts in by_layer(mask).items()}
    assert (mask.kept - found.kept).tolist() == [sum(g) for g in zip(*gone.values(), strict=True)]
    assert (mask.kept - found.kept).min() > 0


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_nothing_and_everything_can_be_removed(scope, fraction, toy_task):
    weights, mask = drawn()
    found = magnitude(weights, mask, fraction, scope, task=toy_task)
    assert found == mask if fraction == 0 else not found.kept.any()


def test_an_unknown_scope_is_one_sentence_that_names_those_known():
    weights, mask = drawn()
    with pytest.raises(InputError, match="scope") as error:
        magnitude(weights, mask, 0.5, "everywhere")
    assert all(name in str(error.value) for name in SCOPES)


# Erdős–Rényi --------------------------------------------------------------------------------------


def test_erdos_renyi_keeps_what_the_formula_says():
    """Another formula: for instance one whose fans count pixels of the kernel."""
    shapes = {"a": (64, 32, 3, 3), "b": (64, 64, 3, 3), "c": (64, 64, 1, 1), "d": (50, 64)}
    weights = {n: torch.randn(1, *s) for n, s in shapes.items()}
    found = magnitude(weights, Mask.dense(shapes), 0.95, "erdos-renyi")
    raw = {n: sum(s) / np.prod(s) for n, s in shapes.items()}
    total = sum(np.prod(s) - round(0.95 * np.prod(s)) for s in shapes.values())
    scale = total / sum(raw[n] * np.prod(s) for n, s in shapes.items())
    for name, [kept] in by_layer(found).items():
        density = scale * raw[name]
        assert density < 1
        assert abs(kept - density * np.prod(shapes[name])) <= 1, name
    assert raw["a"] == (64 + 32 + 3 + 3) / (64 * 32 * 3 * 3)


def test_erdos_renyi_gives_what_one_layer_cannot_hold_to_the_others():
    """A density above 1, cut off, and a network sparser than was asked for."""
    shapes = {"large": (60, 50), "middle": (40, 60), "small": (10, 4)}
    weights = {n: torch.randn(1, *s) for n, s in shapes.items()}
    found = magnitude(weights, Mask.dense(shapes), 0.5, "erdos-renyi")
    kept = {n: c[0] for n, c in by_layer(found).items()}
    assert kept["small"] == 40
    assert kept["large"] + kept["middle"] == 1500 + 1200 + 20 - 40
    share = kept["large"] / kept["middle"]
    assert share == pytest.approx((60 + 50) / (40 + 60), abs=0.002)


# By sensitivity -----------------------------------------------------------------------------------


def test_sensitivity_keeps_more_of_the_layer_whose_pruning_hurts(toy_task):
    """The wrong way round: much of what does not matter. The outputs are those of the biases before
    them, and all classes equal; whatever the last layer loses makes the loss rise, and nothing that
    the others lose does. By magnitude the last would go first."""
    weights = {n: w[:1] for n, w in drawn()[0].items()}
    rng = torch.Generator().manual_seed(0)
    last = torch.randn(1, 4, 5, generator=rng)
    weights["fc1.weight"] = torch.randn(1, 15, 16, generator=rng)
    weights["fc2.weight"] = torch.randn(1, 5, 15, generator=rng) * 1e-6
    weights["fc2.bias"] = torch.ones(1, 5)
    weights["output.weight"] = 0.1 * (last - last.mean(2, keepdim=True))
    found = magnitude(weights, toy_task.dense_mask([0]), 0.7, "sensitivity", task=toy_task)
    kept = {name: counts[0] for name, counts in by_layer(found).items()}
    assert kept["output.weight"] >= 19 and kept["fc1.weight"] < 120 and kept["fc2.weight"] < 40


@pytest.fixture
def rises(monkeypatch):
    """Give each layer its loss at every density of the grid instead of measuring it."""

    def give(values):
        curves = {n: np.array([v], dtype=float) for n, v in values.items()}
        monkeypatch.setattr(pruning._scopes, "_rises", lambda choice: curves)

    return give


def kept_by_sensitivity(shapes, fraction):
    weights = {n: torch.rand(1, *s, generator=torch.Generator().manual_seed(0)) + 0.1
               for n, s in shapes.items()}  # fmt: skip
    found = magnitude(weights, Mask.dense(shapes), fraction, "sensitivity", task=object())
    assert found.kept.item() == sum(np.prod(s) - round(fraction * np.prod(s))
                                    for s in shapes.values())  # fmt: skip
    return {name: counts[0] for name, counts in by_layer(found).items()}


def test_layers_are_pruned_until_the_loss_rises_equally(rises):
    """Grid: 1, 0.5, 0.3, 0.2, 0.1, …"""
    rises({"a": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "b": [0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 7]})
    # Where a keeps half and b 30%, both rise by 1.
    kept = kept_by_sensitivity({"a": (100, 100), "b": (100, 100)}, 0.6)
    assert kept == {"a": pytest.approx(5000, abs=2), "b": pytest.approx(3000, abs=2)}


def test_a_small_sensitive_layer_is_not_emptied_where_another_costs_nothing(rises):
    """Pruning the large layer to 10% costs nothing, and less than that is to be removed: so no
    rise of the loss is aimed at, and what is wanted leaps from 10% to everything. The same number
    of weights from either layer, down to the last of the small one, is what must not go."""
    flat = [0, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5]
    rises({"small": range(10), "large": flat})
    kept = kept_by_sensitivity({"small": (10, 10), "large": (100, 100)}, 0.5)
    assert kept["small"] == 100


def test_a_leap_of_one_layer_takes_nothing_from_another(rises):
    """A plateau in the middle of a curve, as a maximum over densities makes them."""
    rises({"a": [0, 1, 1, 1, 1, 1, 1, 2, 3, 4], "b": [0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 7]})
    # At a rise of 1 the first keeps anything from 50% to 2%, the other 30%.
    for fraction in (0.65, 0.75, 0.8):
        kept = kept_by_sensitivity({"a": (100, 100), "b": (100, 100)}, fraction)
        assert kept["b"] == pytest.approx(3000, abs=2)
        assert 200 <= kept["a"] <= 5000


def test_sensitivity_without_images_is_one_sentence(toy_task):
    weights, mask = drawn()
    with pytest.raises(InputError, match=r"pass task=\.\.\. and weights=") as error:
        magnitude(weights, mask, 0.5, "sensitivity")
    assert len(str(error.value)) < 200
    scores = {n: weights[n].abs() for n in mask}
    with pytest.raises(InputError, match="This scope tries pruned networks"):
        pruning.prune(scores, mask, 0.5, "sensitivity", task=toy_task)


def test_sensitivity_asks_the_validation_images_and_no_others(toy_task, toy):
    """A scope tuned on what the ticket is then tested by."""
    weights, mask = drawn()
    found = magnitude(weights, mask, 0.6, "sensitivity", task=toy_task)

    def with_(**parts):
        changed = replace(toy_task)
        changed.__dict__["data"] = replace(toy, **parts)
        return magnitude(weights, mask, 0.6, "sensitivity", task=changed)

    train, val, test = (
        Split(part.images.flip(-1), part.labels.flip(0)) for part in (toy.train, toy.val, toy.test)
    )
    assert with_(train=train, test=test) == found
    assert with_(val=val) != found


def test_a_scope_of_a_readers_own_needs_five_lines():
    weights, mask = drawn()

    @pruning.scope("by number")
    def by_number(choice: Choice):
        sizes = {n: 1.0 + i for i, n in enumerate(choice.mask)}
        return _to_keep(choice, lambda scale, _: {n: scale * size for n, size in sizes.items()})

    try:
        found = magnitude(weights, mask, 0.5, "by number")
        assert found.kept.tolist() == magnitude(weights, mask, 0.5).kept.tolist()
    finally:
        del SCOPES["by number"]


# Rescaled magnitudes ------------------------------------------------------------------------------


def test_rescaled_magnitudes_rank_alike_within_layers_and_not_between_them():
    """A factor that differs within a layer is another criterion, and one that does not differ
    between layers none at all."""
    weights, mask = drawn(members=1)
    one, other = ({n: mask[n] & c(weights, mask, 0.5, seeds=[0])[n] for n in mask}
                  for c in (magnitude, rescaled_magnitude))  # fmt: skip
    assert all(torch.equal(one[n], other[n]) for n in mask)
    for scope in ("erdos-renyi", "layer"):
        assert magnitude(weights, mask, 0.5, scope) == rescaled_magnitude(
            weights, mask, 0.5, scope, seeds=[0]
        )
    assert magnitude(weights, mask, 0.5, "global") != rescaled_magnitude(
        weights, mask, 0.5, "global", seeds=[0]
    )


def test_rescaled_magnitudes_are_magnitudes_of_the_rescaled_network(net):
    """What is claimed of them: the same function, and other magnitudes."""
    weights = models.initialise(net, [3])
    factors = []

    @pruning.criterion
    def shown(layer):
        factors.append(layer.factor().item())
        return layer.weights.abs()

    del pruning.CRITERIA["shown"]
    mask = models.dense_mask(net)
    shown(weights, mask, 0.5, seeds=[3])
    scaled = dict(weights)
    for name, factor in zip(mask, factors, strict=True):
        scaled[name] = weights[name] * factor
    images = torch.randn(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    outputs = [models.forward(net, w, images) for w in (weights, scaled)]  # biases are zero
    torch.testing.assert_close(outputs[1], outputs[0] * np.prod(factors), rtol=1e-4, atol=1e-6)
    found = rescaled_magnitude(weights, mask, 0.7, "global", seeds=[3])
    assert found == magnitude(scaled, mask, 0.7, "global")
    assert len(set(factors)) == 3 and min(factors) > 0


def test_factors_are_of_the_seed_and_the_layer_and_the_same_at_every_level():
    weights, mask = drawn()
    twins = {n: w[:1].expand_as(w) for n, w in weights.items()}
    dense = Mask.dense(mask.shapes, 2)
    found = rescaled_magnitude(twins, dense, 0.5, "global", seeds=[0, 1])
    assert found.member(0) != found.member(1)
    assert found == rescaled_magnitude(twins, dense, 0.5, "global", seeds=[0, 1], level=3)
    with pytest.raises(InputError, match="pass seeds="):
        rescaled_magnitude(twins, dense, 0.5, "global")


# Strides ------------------------------------------------------------------------------------------


def strided(task, *stride, **changes):
    return replace(task, stride=stride, levels=len(stride), **changes)


@pytest.mark.parametrize("one_shot", [False, True])
def test_counts_are_exact_where_every_level_has_a_stride_of_its_own(toy_task, one_shot):
    """A second level that prunes as the first did."""
    found = imp(strided(toy_task, 3, 1, 2), treatments=("ticket",), one_shot=one_shot)
    kept = {"fc1.weight": 240, "fc2.weight": 75, "output.weight": 20}
    for ticket, stride in zip(found.tickets, (3, 1, 2), strict=True):
        for name in kept:
            share = 1 - (1 - (0.1 if name == "output.weight" else 0.3)) ** stride
            kept[name] -= round(round(share, 12) * kept[name])
        assert by_layer(ticket.mask) == {name: [n, n] for name, n in kept.items()}
        rows = found.table[found.table.level == ticket.level]
        assert set(rows.density) == {sum(kept.values()) / 335}


def test_equal_strides_are_one_stride(toy_task):
    one, other = (
        imp(task, treatments=("ticket",), seeds=[0])
        for task in (replace(toy_task, stride=2), strided(toy_task, 2, 2))
    )
    assert [t.mask for t in one.tickets] == [t.mask for t in other.tickets]
    assert one.table.equals(other.table)


def test_the_expected_density_is_that_of_the_masks(toy_task):
    """What predict goes by."""
    task = strided(toy_task, 3, 1)
    design = _Design.of(task, None, None, "0it", ("ticket",), "magnitude", None, None)
    found = imp(task, treatments=("ticket",))
    for ticket in found.tickets:
        assert ticket.mask.density.tolist() == [design.density(ticket.level)] * 2
    assert design.density(0) == 1


@pytest.mark.parametrize("ask", [lambda t: imp(t, levels=3), lambda t: t.fractions_at(3)])
def test_strides_for_too_few_levels_are_one_sentence(toy_task, ask):
    with pytest.raises(InputError, match="has strides for 2 levels, not for 3; give") as error:
        ask(strided(toy_task, 2, 1))
    assert str(error.value).count(".") == 1


def test_fractions_that_are_given_replace_all_strides(toy_task):
    found = imp(strided(toy_task, 7, 3), levels=3, fractions=0.5, treatments=("ticket",))
    assert by_layer(found.tickets[-1].mask)["fc1.weight"] == [30, 30]


# What is recorded of layers -----------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_layer_counts_are_those_of_the_masks(toy_task, scope):
    """A study's table that says something else of a layer than its tickets."""
    found = imp(toy_task, scope=scope, treatments=("ticket",), seeds=[5, 3])
    counts = anatomy.layer_counts(anatomy.layers(found))
    assert list(counts) == [
        "level", "density", "layer", "replicate", "kept", "size", "layer_density",
    ]  # fmt: skip
    masks = {0: toy_task.dense_mask((5, 3))} | {t.level: t.mask for t in found.tickets}
    assert len(counts) == 3 * 3 * 2
    for level, mask in masks.items():
        for row in mask.counts().itertuples():
            [ours] = counts[
                (counts.level == level)
                & (counts.layer == row.layer.removesuffix(".weight"))
                & (counts.replicate == (5, 3)[row.member])
            ].itertuples()
            assert (ours.kept, ours.size) == (row.kept, row.size)
            assert ours.layer_density == pytest.approx(row.density)
            assert ours.density == mask.density[row.member].item()
    assert counts.layer.tolist()[:3] == ["fc1", "fc2", "output"]  # in the network's order


def test_layers_join_a_table_and_are_read_back_from_it(toy_task):
    found = imp(toy_task, treatments=("ticket",))
    rows = anatomy.layers(found)
    assert list(rows) == list(found.table)
    both = pd.concat([found.table, rows], ignore_index=True)
    assert anatomy.layer_counts(both).equals(anatomy.layer_counts(rows))
    with pytest.raises(InputError, match="record it with layers"):
        anatomy.layer_counts(found.table)
    with pytest.raises(InputError, match="choose one of them"):
        anatomy.layer_counts(pd.concat([rows, rows]))  # two variants' layers, one after the other
