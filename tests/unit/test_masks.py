"""Masks: counting, set algebra, use and packing."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lth_utils import models
from lth_utils.errors import InputError
from lth_utils.masks import Mask

SHAPES = {"conv.weight": (3, 2, 3, 3), "fc.weight": (5, 7)}


@pytest.fixture(params=range(3))
def trio(request, some_mask):
    """Three random masks."""
    return [some_mask(SHAPES, members=2, seed=3 * request.param + i) for i in range(3)]


# Counting -----------------------------------------------------------------------------------------


def test_mistake_5_density_over_another_set_of_tensors_than_the_one_pruned():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    mask = models.dense_mask(model)
    assert list(mask) == ["0.weight", "3.weight"]
    assert mask.size == 2 * 9 + 8 * 3  # no bias, nothing of batch norm
    half = Mask({"0.weight": mask["0.weight"], "3.weight": ~mask["3.weight"]})
    assert half.density.tolist() == [18 / 42]


def test_mistake_7_density_is_the_share_kept_not_the_share_removed():
    mask = Mask({"w": torch.tensor([[True, False, False, False]])})
    assert mask.density.item() == 0.25
    assert mask.kept.tolist() == [1]
    assert mask.counts().density.tolist() == [0.25]


def test_counts_are_those_of_a_plain_loop(some_mask):
    mask = some_mask(SHAPES, members=3)
    expected = [
        (member, name, int(np.count_nonzero(kept[member])), math.prod(SHAPES[name]))
        for name, kept in ((name, kept.numpy()) for name, kept in mask.items())
        for member in range(3)
    ]
    found = mask.counts()
    assert list(found[["member", "layer", "kept", "size"]].itertuples(index=False, name=None)) == (
        expected
    )
    totals = found.groupby("member").kept.sum().tolist()
    assert mask.kept.tolist() == totals
    assert mask.density.tolist() == [t / mask.size for t in totals]
    assert isinstance(found, pd.DataFrame)


def test_a_dense_mask_keeps_everything_of_every_member():
    mask = Mask.dense(SHAPES, 3)
    assert mask.members == 3 and mask.shapes == SHAPES
    assert mask.density.tolist() == [1.0] * 3


def test_the_text_of_a_mask_says_how_much_is_kept():
    mask = Mask({"w": torch.tensor([[True, False], [True, True]])})
    assert repr(mask) == "Mask(2 members, 2 prunable weights each, 50.00% to 100.00% kept)"


# Set algebra --------------------------------------------------------------------------------------


def test_masks_obey_the_laws_of_sets(trio):
    a, b, c = trio
    everything, nothing = a | ~a, a & ~a
    assert a & b == b & a and a | b == b | a and a ^ b == b ^ a
    assert (a & b) & c == a & (b & c) and (a | b) | c == a | (b | c)
    assert a & (b | c) == (a & b) | (a & c)
    assert a | (b & c) == (a | b) & (a | c)
    assert ~(a & b) == ~a | ~b and ~(a | b) == ~a & ~b
    assert a ^ b == (a | b) & ~(a & b)
    assert ~~a == a and a ^ a == nothing and a & everything == a and a | nothing == a
    assert everything == Mask.dense(SHAPES, 2)
    assert a != b
    assert ((a | b).kept + (a & b).kept == a.kept + b.kept).all()


def test_less_or_equal_is_subset_not_a_comparison_of_counts(trio):
    a, b, _ = trio
    assert a & b <= a <= a | b and a <= a
    assert not a <= b and not b <= a
    assert a >= a & b


def test_equality_tells_names_shapes_and_members_apart():
    mask = Mask.dense({"a": (2, 3)})
    assert mask == Mask.dense({"a": (2, 3)})
    for other in (
        Mask.dense({"b": (2, 3)}),
        Mask.dense({"a": (3, 2)}),
        Mask.dense({"a": (2, 3)}, 2),
    ):
        assert mask != other
    assert mask != {"a": torch.ones(1, 2, 3, dtype=torch.bool)}


# Members ------------------------------------------------------------------------------------------


def test_cat_undoes_member(some_mask):
    mask = some_mask(SHAPES, members=3)
    alone = [mask.member(i) for i in range(3)]
    assert all(m.members == 1 for m in alone)
    assert Mask.cat(alone) == mask
    assert Mask.cat(m for m in alone) == mask


def test_members_come_in_the_order_asked_for(some_mask):
    mask = some_mask(SHAPES, members=3)
    swapped = mask.member(2, 0)
    assert swapped.members == 2
    assert torch.equal(swapped["fc.weight"][0], mask["fc.weight"][2])
    assert torch.equal(swapped["fc.weight"][1], mask["fc.weight"][0])


# Use ----------------------------------------------------------------------------------------------


def test_pruned_weights_become_plus_zero_even_from_negative_infinite_or_undefined_ones():
    mask = Mask({"w": torch.tensor([[False, False, False, True]])})
    given = {"w": torch.tensor([[-1.0, torch.inf, torch.nan, -2.0]]), "b": torch.tensor([[3.0]])}
    pruned = mask.apply(given)
    assert pruned["w"].tolist() == [[0.0, 0.0, 0.0, -2.0]]
    assert not torch.signbit(pruned["w"][0, :3]).any()
    assert pruned["b"].tolist() == [[3.0]]


def test_apply_changes_nothing_that_it_was_given():
    mask = Mask({"w": torch.tensor([[False, True]])})
    given = {"w": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[3.0]])}
    for pruned in mask.apply(given).values():
        pruned.fill_(9)
    assert given["w"].tolist() == [[1.0, 2.0]] and given["b"].tolist() == [[3.0]]


def test_apply_refuses_weights_of_another_number_of_members():
    mask = Mask.dense({"w": (2,)}, members=2)
    for members in (1, 3):
        with pytest.raises(InputError, match="2 members"):
            mask.apply({"w": torch.ones(members, 2)})


@pytest.mark.parametrize(
    "weights",
    [{"w": torch.ones(1, 3)}, {"v": torch.ones(1, 2)}, {"w": torch.ones(1, 1, 2)}],
    ids=["size", "name", "rank"],
)
def test_apply_refuses_weights_that_it_does_not_fit(weights):
    with pytest.raises(InputError, match="does not fit at w"):
        Mask.dense({"w": (2,)}).apply(weights)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "at least one prunable tensor"),
        ({"w": torch.ones(1, 2)}, "boolean; w is torch.float32"),
        ({"w": torch.ones(1, 2, dtype=torch.uint8)}, "boolean"),
        ({"a": torch.ones(1, 2) > 0, "b": torch.ones(2, 2) > 0}, "the same members"),
    ],
    ids=["empty", "float", "uint8", "members"],
)
def test_what_is_no_mask_is_refused(tensors, message):
    with pytest.raises(InputError, match=message):
        Mask(tensors)


def test_masks_of_different_networks_are_not_combined():
    for other in (Mask.dense({"a": (3,)}), Mask.dense({"b": (2,)}), Mask.dense({"a": (2,)}, 2)):
        for combine in (Mask.__and__, Mask.__or__, Mask.__xor__, Mask.__le__):
            with pytest.raises(InputError):
                combine(Mask.dense({"a": (2,)}), other)


# Packing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 17])
def test_packing_loses_nothing_at_sizes_that_eight_does_not_divide(size, some_mask):
    shapes = {"a": (size,), "b": (3, size)}
    mask = some_mask(shapes, members=3, seed=size)
    packed = mask.pack()
    assert {n: (p.dtype, tuple(p.shape)) for n, p in packed.items()} == {
        "a": (torch.uint8, (3, math.ceil(size / 8))),
        "b": (torch.uint8, (3, math.ceil(3 * size / 8))),
    }
    assert Mask.unpack(packed, shapes) == mask


def test_a_packed_mask_of_another_network_is_refused():
    packed = Mask.dense({"a": (20,)}).pack()
    for shapes in ({"a": (30,)}, {"b": (20,)}):
        with pytest.raises(InputError, match="does not fit"):
            Mask.unpack(packed, shapes)
