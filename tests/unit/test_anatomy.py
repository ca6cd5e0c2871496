"""What masks look like: 1 is chance, exactly, and nothing else is."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lth_utils import datasets, models, tasks
from lth_utils.anatomy import (
    dark,
    in_degree,
    in_original_order,
    locality,
    match,
    neighbours,
    out_degree,
    overlap,
    report,
    shuffled_readers,
    spread,
)
from lth_utils.controls import random_mask
from lth_utils.datasets import Split
from lth_utils.errors import InputError
from lth_utils.lottery import TABLE
from lth_utils.masks import Mask
from lth_utils.pruning import magnitude


def every_mask(out, inputs, keep):
    """All masks of a layer with ``keep`` weights, one a member: (R, out, in)."""
    places = list(itertools.combinations(range(out * inputs), keep))
    kept = torch.zeros(len(places), out * inputs, dtype=torch.bool)
    kept[torch.arange(len(places)).unsqueeze(1), torch.tensor(places)] = True
    return kept.view(-1, out, inputs)


def drawn(members, out, inputs, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(members, out, inputs, generator=generator) < density


# Degrees ------------------------------------------------------------------------------------------


def test_in_and_out_are_not_mixed_up():
    kept = torch.tensor([[[1, 1, 1], [0, 0, 1]]]).bool()
    assert in_degree(kept).tolist() == [[3, 1]]
    assert out_degree(kept).tolist() == [[1, 1, 2]]


def test_a_weight_of_a_filter_counts_like_any_other():
    kept = torch.zeros(1, 2, 3, 3, 3, dtype=torch.bool)
    kept[0, 1, 2] = True
    assert in_degree(kept).tolist() == [[0, 9]]
    assert out_degree(kept).tolist() == [[0, 0, 9]]


def test_weights_are_not_taken_for_masks():
    with pytest.raises(InputError, match="boolean"):
        in_degree(torch.rand(1, 2, 3))
    with pytest.raises(InputError, match="boolean"):
        out_degree(torch.ones(2, 3, dtype=torch.bool))  # no members


# Spread -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("out", "inputs", "keep"), [(2, 3, 2), (3, 4, 5), (5, 2, 3)])
def test_the_spread_of_random_masks_is_one_exactly(out, inputs, keep):
    kept = every_mask(out, inputs, keep)
    assert spread(in_degree(kept), inputs).mean().item() == pytest.approx(1, abs=1e-12)
    assert spread(out_degree(kept), out).mean().item() == pytest.approx(1, abs=1e-12)


def test_even_masks_have_no_spread_and_uneven_ones_more_than_chance():
    even = torch.eye(6, dtype=torch.bool).unsqueeze(0)
    assert spread(in_degree(even), 6).item() == 0
    uneven = torch.zeros(1, 6, 6, dtype=torch.bool)
    uneven[0, 0] = True
    assert spread(in_degree(uneven), 6).item() == pytest.approx(7)  # all in one row
    assert spread(out_degree(uneven), 6).item() == 0


def test_a_spread_of_nothing_or_of_everything_is_not_a_number():
    for kept in (torch.zeros(1, 3, 4, dtype=torch.bool), torch.ones(1, 3, 4, dtype=torch.bool)):
        assert spread(in_degree(kept), 4).isnan().all()


def test_degrees_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="from 0 to 3"):
        spread(torch.tensor([[4, 1]]), 3)
    with pytest.raises(InputError, match="two units"):
        spread(torch.tensor([[2]]), 3)


# Pixels -------------------------------------------------------------------------------------------


def test_a_pixel_that_is_lit_once_in_a_thousand_is_not_dark():
    images = torch.zeros(2000, 1, 1, 4, dtype=torch.uint8)
    images[:1, ..., 1] = 255  # too rare
    images[:2, ..., 2] = 1
    images[:, ..., 3] = 9
    split = Split(images, torch.zeros(2000, dtype=torch.int64))
    assert dark(split).flatten().tolist() == [True, True, False, False]
    assert dark(split, 1e-4).flatten().tolist() == [True, False, False, False]


def test_inputs_come_back_from_where_the_task_permuted_them():
    data = datasets.load("mnist-5k")
    seen = data.permuted().val.images[:3].flatten(2)
    assert torch.equal(in_original_order(seen), data.val.images[:3].flatten(2))
    assert not torch.equal(seen, data.val.images[:3].flatten(2))


# Locality -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "pairs"),
    [((5,), 4), ((1, 1, 5), 4), ((3, 4), 3 * 3 + 2 * 4), ((2, 3, 4), 2 * 17), ((1,), 0)],
)
def test_every_pair_of_neighbours_is_counted_once_and_none_across_an_edge(shape, pairs):
    one, other = neighbours(shape)
    assert len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(one) == pairs
    places = [np.array(np.unravel_index(side.numpy(), shape)) for side in (one, other)]
    assert (np.abs(places[0] - places[1]).sum(0) == 1).all()


def test_the_locality_of_random_masks_is_one_exactly():
    # Each unit keeps two of five, so every member weighs the same.
    rows = every_mask(1, 5, 2)[:, 0]
    kept = torch.stack([torch.stack(pair) for pair in itertools.product(rows, repeat=2)])
    assert locality(kept, (5,), popularity=False).mean().item() == pytest.approx(1, abs=1e-12)


def test_random_masks_are_not_local_by_either_measure():
    kept = drawn(40, 50, 60, 0.1)
    for popularity in (True, False):
        assert locality(kept, (6, 10), popularity).mean().item() == pytest.approx(1, abs=0.05)


def test_units_that_read_runs_are_local_until_inputs_are_permuted():
    starts = torch.arange(36)
    ahead = torch.arange(40) - starts.unsqueeze(1)
    kept = ((ahead >= 0) & (ahead < 4)).unsqueeze(0)
    assert locality(kept, (40,)).item() > 8
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert locality(kept[..., order], (40,)).item() < 2


def test_a_crowd_around_a_few_inputs_is_not_locality():
    # Every unit reads inputs 10 to 19 more often, each for itself.
    often = torch.full((40,), 0.05)
    often[10:20] = 0.5
    kept = drawn(20, 300, 40, often)
    assert locality(kept, (40,), popularity=False).mean() > 2
    assert locality(kept, (40,)).mean().item() == pytest.approx(1, abs=0.03)


def test_busy_units_are_not_taken_for_local_ones():
    often = torch.linspace(0.02, 0.6, 300).unsqueeze(1)
    kept = drawn(20, 300, 40, often)
    for popularity in (True, False):
        assert locality(kept, (40,), popularity).mean().item() == pytest.approx(1, abs=0.03)


def test_rows_and_columns_of_an_image_both_have_neighbours():
    across, down = torch.zeros(1, 1, 4, 6, dtype=torch.bool), torch.zeros(1, 1, 4, 6).bool()
    across[..., 1, 2:4] = True
    down[..., 1:3, 2] = True
    values = [locality(k.flatten(2), (4, 6), popularity=False).item() for k in (across, down)]
    assert values == [pytest.approx((24 * 23 / 2) / (4 * 5 + 3 * 6))] * 2


def test_a_unit_with_one_input_says_nothing_about_neighbours():
    assert locality(torch.eye(4, dtype=torch.bool).unsqueeze(0), (4,)).isnan().all()


def test_a_wrong_shape_is_refused():
    with pytest.raises(InputError, match="does not read inputs"):
        locality(drawn(1, 3, 8, 0.5), (3, 3))


# Two masks ----------------------------------------------------------------------------------------


def test_the_overlap_of_independent_masks_is_one_exactly():
    kept = every_mask(2, 3, 2)
    one, other = (
        torch.stack(side) for side in zip(*itertools.product(kept, repeat=2), strict=True)
    )
    assert overlap(one, other).mean().item() == pytest.approx(1, abs=1e-12)


def test_the_overlap_with_itself_is_the_inverse_density():
    kept = torch.arange(20).view(1, 4, 5) < 5
    assert overlap(kept, kept).item() == pytest.approx(4)
    assert overlap(kept, ~kept).item() == 0
    with pytest.raises(InputError, match="shapes"):
        overlap(kept, kept[:, :2])


def test_the_same_layer_under_other_names_is_found_again():
    kept = drawn(3, 30, 40, 0.2)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    renamed = kept[:, order]
    assert (overlap(kept, renamed) < 2).all()
    assert torch.equal(match(kept, renamed), kept)


def test_matching_gains_with_any_two_masks_so_that_it_needs_a_control():
    one, other = drawn(2, 60, 40, 0.1, 0), drawn(2, 60, 40, 0.1, 1)
    matched = match(one, other)
    assert (overlap(one, matched) > 1.5 * overlap(one, other)).all()
    assert torch.equal(in_degree(matched).sort(1)[0], in_degree(other).sort(1)[0])


# The control that keeps readers -------------------------------------------------------------------


def test_shuffled_readers_keep_every_input_and_move_the_units():
    mask = Mask({"a": drawn(2, 30, 20, 0.3), "b": drawn(2, 10, 30, 0.2)})
    shuffled = shuffled_readers(mask, [4, 5], 1)
    for name, kept in mask.items():
        assert torch.equal(out_degree(shuffled[name]), out_degree(kept))
        assert not torch.equal(in_degree(shuffled[name]), in_degree(kept))
    # A shuffle of whole units would leave every two inputs as many readers in common.
    common = [k[0].double().T @ k[0].double() for k in (mask["a"], shuffled["a"])]
    assert not torch.equal(*common)


def test_shuffled_readers_differ_by_seed_and_level_and_by_nothing_else():
    mask = Mask({"a": drawn(1, 30, 20, 0.3).expand(2, -1, -1).clone()})
    once = shuffled_readers(mask, [0, 1], 1)
    assert not torch.equal(once["a"][0], once["a"][1])
    assert shuffled_readers(mask, [0, 1], 2) != once
    assert shuffled_readers(mask.member(1), [1], 1) == once.member(1)
    with pytest.raises(InputError, match="seeds"):
        shuffled_readers(mask, [0], 1)


# The report ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    """Masks of two levels without any training, seeds out of order."""
    task, seeds = tasks.LENET_MNIST.at("smoke"), [7, 3]
    weights, mask, tickets = task.init(seeds), task.dense_mask(seeds), []
    for level in (1, 2):
        mask = magnitude(weights, mask, 0.8)
        tickets.append(SimpleNamespace(level=level, mask=mask))
    table = pd.DataFrame([["lenet-mnist", "dense", 0, 1.0, s, "end", 9, "test", "loss", 1.0]
                          for s in seeds], columns=TABLE)  # fmt: skip
    return SimpleNamespace(task=task, table=table, tickets=tickets)


@pytest.fixture(scope="module")
def rows(found):
    return report(found)


def test_a_report_has_the_columns_of_a_table_and_one_row_a_replicate(rows):
    assert list(rows) == TABLE
    assert (rows.moment == "mask").all() and (rows.split == "none").all()
    assert not rows.duplicated(["treatment", "level", "replicate", "metric"]).any()
    assert not rows.value.isna().any()
    assert set(rows.treatment) == {"ticket", "random mask", "shuffled readers"}


def test_a_report_gives_each_value_to_the_replicate_that_it_is_of(found, rows):
    chosen = rows[(rows.metric == "in-degree spread, fc2") & (rows.treatment == "ticket")]
    chosen = chosen[chosen.level == 2].set_index("replicate").value
    expected = spread(in_degree(found.tickets[1].mask["fc2.weight"]), 300)
    assert [chosen[7], chosen[3]] == pytest.approx(expected.tolist())


def test_the_control_of_a_report_is_the_random_mask_that_was_trained(found, rows):
    mask = random_mask(found.tickets[0].mask, [7, 3], 1)
    chosen = rows[(rows.metric == "locality") & (rows.treatment == "random mask")]
    chosen = chosen[chosen.level == 1].set_index("replicate").value
    expected = locality(mask["fc1.weight"], (28, 28))
    assert [chosen[7], chosen[3]] == pytest.approx(expected.tolist())


def test_dark_pixels_are_set_apart(found, rows):
    black = dark(found.task.data.train).flatten()
    lit = found.tickets[1].mask["fc1.weight"][..., ~black]
    chosen = rows[(rows.metric == "in-degree spread, fc1, lit") & (rows.treatment == "ticket")]
    chosen = chosen[chosen.level == 2].set_index("replicate").value
    assert chosen[7] == pytest.approx(spread(in_degree(lit), lit.shape[2])[0].item())


def test_a_dead_unit_is_one_from_which_no_path_leads_out(found):
    mask = found.task.dense_mask([0])
    mask["fc2.weight"][0, :, :150] = False  # half of the first layer leads nowhere
    mask["output.weight"][0, :, 0] = False
    alone = SimpleNamespace(
        task=found.task,
        table=found.table[:1],
        tickets=[SimpleNamespace(level=1, mask=mask)],
    )
    rows = report(alone)
    dead = rows[(rows.metric == "dead units") & (rows.treatment == "ticket")].value.item()
    assert dead == pytest.approx(100 * 151 / 400)
    assert "overlap" not in set(rows.metric)  # one replicate has nobody to be compared with
    assert "in-degree spread, fc1" not in set(rows.metric)  # dense


def test_a_report_on_convolutions_is_refused(found):
    mask = models.dense_mask(models.build("conv-2", (1, 28, 28), 10, 0.03))
    stub = SimpleNamespace(
        task=found.task, table=found.table[:1], tickets=[SimpleNamespace(level=1, mask=mask)]
    )
    with pytest.raises(InputError, match="first layer"):
        report(stub)
