"""Stability: distance, the line between two networks, batch norm on it, and the bent path."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lth_utils import models, stability
from lth_utils.controls import random_mask
from lth_utils.errors import InputError
from lth_utils.pruning import magnitude
from lth_utils.recipes import SGD, Adam
from lth_utils.stability import Between, Line, bend, cosine, distance, interpolate, path, reestimate
from lth_utils.training import chunk_of, evaluate

SEEDS = (0, 1)


class Normed(nn.Sequential):
    """Two convolutions with batch norm, small enough for a test."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Flatten(), nn.Linear(16, 4),
        )  # fmt: skip


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def some(model, seed=0, members=2):
    """Weights in which nothing is zero or neutral, batch norm's neither."""
    rng = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(members, *s, generator=rng) for n, s in models.shapes(model).items()}
    return {n: w.abs() + 0.5 if n.endswith("running_var") else w for n, w in drawn.items()}


@pytest.fixture
def normed_task(toy_task):
    """The toy task with a network that has batch norm."""
    task = replace(toy_task, prune={"conv": 0.5, "output": 0.5})
    task.__dict__["model"] = Normed()
    return task


# Distance and angle -------------------------------------------------------------------------------


def test_distance_is_that_of_all_trainable_weights_and_of_nothing_else():
    """Batch-norm statistics, which follow from the weights and are far larger, counted as well."""
    model = Normed()
    one, other = some(model, 0), some(model, 1)
    names = [n for n in one if "running" not in n]
    found = distance(model, one, other)
    assert found.dtype == torch.float64 and found.shape == (2,)
    for r in range(2):
        flat = [torch.cat([w[n][r].flatten() for n in names]) for w in (one, other)]
        assert found[r].item() == pytest.approx(torch.dist(*flat).item(), rel=1e-6)
    moved = {n: w + 100 if "running" in n else w for n, w in other.items()}
    assert torch.equal(distance(model, one, moved), found)
    assert distance(model, one, one).tolist() == [0, 0]
    assert torch.equal(distance(model, other, one), found)


def test_the_cosine_is_that_of_all_trainable_weights_from_where_one_stands():
    model = Normed()
    one, other, start = (some(model, i) for i in range(3))
    names = [n for n in one if "running" not in n]

    def flat(weights, r):
        return torch.cat([weights[n][r].flatten() for n in names]).double()

    found, seen = cosine(model, one, other), cosine(model, one, other, start)
    for r in range(2):
        a, b, c = (flat(w, r) for w in (one, other, start))
        assert found[r] == pytest.approx((a @ b / a.norm() / b.norm()).item())
        a, b = a - c, b - c
        assert seen[r] == pytest.approx((a @ b / a.norm() / b.norm()).item())
    assert cosine(model, one, {n: 3 * w for n, w in one.items()}).tolist() == pytest.approx([1, 1])
    moved = {n: w * 100 if "running" in n else w for n, w in other.items()}
    assert torch.equal(cosine(model, one, moved), found)


def test_networks_that_do_not_pair_are_one_sentence(net):
    one, three = some(net, members=1), some(net, members=3)
    for measure in (distance, cosine):
        with pytest.raises(InputError, match="pair one by one; got 1 and 3"):
            measure(net, one, three)
    with pytest.raises(InputError, match="lack"):
        distance(net, one, {n: w for n, w in one.items() if n != "fc1.bias"})


# On the line --------------------------------------------------------------------------------------


def test_at_both_ends_the_networks_are_as_they_were(net):
    """a + 1 × (b − a), which is not b."""
    one, other = some(net, 0), some(net, 1)
    one["fc1.bias"][0, 0] = torch.inf  # which would make it NaN
    assert equal(interpolate(one, other, 0), one) and equal(interpolate(one, other, 1), other)
    assert equal(interpolate(one, other, 0.0), one) and equal(interpolate(one, other, 1.0), other)


def test_between_the_ends_it_is_the_weighted_mean_of_all_tensors():
    """The line walked from the wrong end, or batch norm left where it was."""
    one, other = some(Normed(), 0), some(Normed(), 1)
    for position in (0.25, 0.5):
        for name, w in interpolate(one, other, position).items():
            expected = (1 - position) * one[name] + position * other[name]
            torch.testing.assert_close(w, expected)


def test_a_network_and_itself_are_joined_by_a_flat_line(toy_task):
    """A barrier that comes of the arithmetic."""
    weights = some(toy_task.model)
    line = path(toy_task, weights, weights, points=5)
    assert line.accuracy.shape == line.loss.shape == (2, 5)
    assert np.array_equal(line.accuracy, line.accuracy[:, :1].repeat(5, 1))
    assert line.error_barrier.tolist() == [0, 0]
    assert line.loss_barrier == pytest.approx([0, 0], abs=1e-6)
    assert line.midpoint_gain.tolist() == [0, 0]


@pytest.mark.parametrize("statistics", stability.STATISTICS)
def test_the_same_with_batch_norm_whatever_becomes_of_its_statistics(normed_task, statistics):
    weights = some(normed_task.model)
    line = path(normed_task, weights, weights, points=3, statistics=statistics)
    assert line.error_barrier.tolist() == [0, 0]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_ends_of_a_line_are_the_networks_as_they_are(normed_task, split):
    one, other = some(normed_task.model, 0), some(normed_task.model, 1)
    line = path(normed_task, one, other, 4, split, statistics="interpolated")
    assert line.positions.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    for i, weights in ((0, one), (-1, other)):
        part = getattr(normed_task.data, split)
        loss, accuracy = evaluate(normed_task.model, weights, normed_task.data, part)
        assert line.loss[:, i].tolist() == loss.tolist()
        assert line.accuracy[:, i].tolist() == accuracy.tolist()


def test_re_estimated_statistics_are_those_of_every_point(normed_task):
    """The ends left as they were, so that the line leaps beside them."""
    model, data = normed_task.model, normed_task.data
    one, other = some(model, 0), some(model, 1)
    line = path(normed_task, one, other, 3)
    for i, position in enumerate((0, 0.5, 1)):
        weights = reestimate(model, interpolate(one, other, position), data)
        loss, _ = evaluate(model, weights, data, data.test)
        assert line.loss[:, i].tolist() == loss.tolist()


def test_members_are_measured_as_if_each_were_alone(normed_task):
    one, other = some(normed_task.model, 0), some(normed_task.model, 1)
    both = path(normed_task, one, other, 3)
    for r in range(2):
        own = ({n: w[r : r + 1] for n, w in weights.items()} for weights in (one, other))
        alone = path(normed_task, *own, points=3)
        assert alone.loss[0] == pytest.approx(both.loss[r], rel=1e-5)


def test_a_line_can_look_at_fewer_images(toy_task, toy):
    one, other = some(toy_task.model, 0), some(toy_task.model, 1)
    few = path(toy_task, one, other, 3, images=20)
    loss, _ = evaluate(toy_task.model, one, toy, toy.test.first(20))
    assert few.loss[:, 0].tolist() == loss.tolist()
    many = path(toy_task, one, other, 3, images=10_000)
    assert many.loss.tolist() == path(toy_task, one, other, 3).loss.tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"points": 2}, "at least 3 points, two of them its ends; got 2"),
        ({"split": "tset"}, "split"),
        ({"statistics": "averaged"}, "re-estimated"),
    ],
)
def test_a_line_that_cannot_be_is_one_sentence(toy_task, wrong, message):
    weights = some(toy_task.model)
    with pytest.raises(InputError, match=message):
        path(toy_task, weights, weights, **wrong)


def test_all_three_networks_of_a_bent_path_must_fit(toy_task):
    """An error of PyTorch's about tensors that nobody has heard of."""
    weights = some(toy_task.model)
    with pytest.raises(InputError, match="lack"):
        path(toy_task, weights, weights, 3, via={"fc1.weight": weights["fc1.weight"]})
    with pytest.raises(InputError, match="pair one by one"):
        path(toy_task, weights, weights, 3, via=some(toy_task.model, members=1))


# What a line says ---------------------------------------------------------------------------------


def line(accuracy, loss=None):
    accuracy = np.array(accuracy, dtype=float)
    loss = accuracy / 10 if loss is None else np.array(loss, dtype=float)
    return Line(np.linspace(0, 1, accuracy.shape[1]), loss, accuracy)


def test_a_barrier_is_the_worst_error_over_the_mean_of_the_ends():
    """Over the better end, or over the first; the mean instead of the worst."""
    made = line([[90, 40, 60, 80], [90, 95, 95, 80]], [[0.1, 2.0, 1.0, 0.3], [0.1, 0.0, 0.0, 0.3]])
    assert made.error_barrier.tolist() == [60 - 15, 20 - 15]
    assert made.loss_barrier == pytest.approx([2.0 - 0.2, 0.3 - 0.2])
    assert made.climb.tolist() == [60 - 20, 0]


def test_a_slope_is_a_barrier_and_no_climb():
    """A sparse network that is worse than the dense one, taken for one behind a wall."""
    made = line([[90, 80, 60, 40], [40, 70, 85, 90], [90, 40, 30, 60]])
    assert made.error_barrier.tolist() == [25, 25, 45] and made.climb.tolist() == [0, 0, 30]


def test_the_middle_of_an_even_number_of_points_is_between_two():
    assert line([[90, 92, 94, 80]]).midpoint_gain.tolist() == [93 - 85]
    assert line([[90, 92, 94, 96, 80]]).midpoint_gain.tolist() == [94 - 85]
    assert line([[90, 10, 50, 10, 90], [0, 1, 9, 1, 2]]).midpoint_gain.tolist() == [-40, 8]


# Batch norm ---------------------------------------------------------------------------------------


def test_statistics_are_those_that_pytorch_would_average(normed_task):
    """A moving average that still holds what was there, or the last batch alone."""
    model, data = normed_task.model, normed_task.data
    weights = some(model)
    many = replace(data, train=type(data.train)(  # two batches, and some that fill no third
        data.train.images.repeat(12, 1, 1, 1), data.train.labels.repeat(12)
    ))  # fmt: skip
    batch = chunk_of(model)
    images = 2 * batch + batch // 3
    assert images <= len(many.train)
    found = reestimate(model, weights, many, images)
    for r in range(2):
        plain = models.to_module(model, weights, r)
        for layer in plain.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.momentum = None  # PyTorch's name for a plain average
        plain.train()
        with torch.no_grad():
            for i in range(2):
                plain(many.normalise(many.train.images[i * batch : (i + 1) * batch]))
        for name, expected in models.from_module(plain).items():
            torch.testing.assert_close(found[name][r], expected[0], rtol=1e-4, atol=1e-5)
            assert ("running" in name) or torch.equal(found[name][r], weights[name][r])


def test_whatever_statistics_were_there_play_no_part(normed_task):
    weights = some(normed_task.model)
    other = {n: w * 7 + 3 if "running" in n else w for n, w in weights.items()}
    assert equal(*(reestimate(normed_task.model, w, normed_task.data) for w in (weights, other)))


def test_reestimating_changes_neither_what_was_given_nor_the_network(normed_task):
    model, weights = normed_task.model, some(normed_task.model)
    before = {n: w.clone() for n, w in weights.items()}
    state = {n: t.clone() for n, t in model.state_dict().items()}
    momenta = [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    mode = [m.training for m in model.modules()]
    found = reestimate(model, weights, normed_task.data)
    assert equal(weights, before) and not equal(found, before)
    assert equal(dict(model.state_dict()), state)
    assert momenta == [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert mode == [m.training for m in model.modules()]


def test_without_batch_norm_there_is_nothing_to_estimate(toy_task):
    weights = some(toy_task.model)
    found = reestimate(toy_task.model, weights, toy_task.data)
    assert equal(found, weights) and found is not weights


def test_only_training_images_are_looked_at_and_only_so_many(normed_task, make_dataset):
    """Statistics, and so an accuracy, that know the test images."""
    weights, data = some(normed_task.model), normed_task.data
    others = make_dataset(len(data.train), 41, 53, seed=9)
    mixed = replace(data, val=others.val, test=others.test)
    found = reestimate(normed_task.model, weights, data, 50)
    assert equal(reestimate(normed_task.model, weights, mixed, 50), found)
    cut = data.subset(50)
    assert equal(reestimate(normed_task.model, weights, cut), found)
    assert not equal(reestimate(normed_task.model, weights, data), found)


# A bent path --------------------------------------------------------------------------------------


@pytest.fixture
def parted(toy_task):
    """Two sparse networks trained from different weights under one mask, and their task."""
    task = replace(toy_task, width=0.1, recipe=replace(toy_task.recipe, duration="150it"))
    start = [task.init([seed]) for seed in (0, 7)]
    dense = task.dense_mask([0])
    mask = random_mask(magnitude(start[0], dense, 0.4), [0])
    ends = [task.train(w, mask, [0]).weights for w in start]
    return task, mask, *ends


def test_a_bent_path_goes_through_all_three(toy_task):
    one, corner, other = (some(toy_task.model, i) for i in range(3))
    bent = path(toy_task, one, other, 5, via=corner)
    for i, weights in ((0, one), (2, corner), (4, other)):
        loss, _ = evaluate(toy_task.model, weights, toy_task.data, toy_task.data.test)
        assert bent.loss[:, i].tolist() == loss.tolist()
    halves = [path(toy_task, a, b, 3) for a, b in ((one, corner), (corner, other))]
    assert bent.loss[:, 1].tolist() == halves[0].loss[:, 1].tolist()
    assert bent.loss[:, 3].tolist() == halves[1].loss[:, 1].tolist()


def test_a_corner_lowers_the_barrier_and_leaves_pruned_weights_at_zero(parted):
    task, mask, one, other = parted
    straight = path(task, one, other, 9)
    before = [{n: w.clone() for n, w in each.items()} for each in (one, other)]
    corner = bend(task, one, other, [0], 300, rate=0.01)
    bent = path(task, one, other, 9, via=corner)
    assert straight.loss_barrier > 0.1  # or there is nothing to lower
    assert bent.loss_barrier < 0.5 * straight.loss_barrier
    for name, kept in mask.items():
        assert not corner[name][~kept].any()
        assert corner[name][kept].all()
    assert equal(one, before[0]) and equal(other, before[1])
    assert not any(w.requires_grad for w in corner.values())


def test_no_training_leaves_the_corner_in_the_middle(normed_task):
    one, other = some(normed_task.model, 0), some(normed_task.model, 1)
    middle = reestimate(normed_task.model, interpolate(one, other, 0.5), normed_task.data)
    assert equal(bend(normed_task, one, other, SEEDS, 0), middle)


@pytest.mark.parametrize("optimiser", [Adam(0.01), SGD(0.1, momentum=0.9, decay=1e-3)])
def test_a_corner_is_drawn_by_its_seed_and_not_by_its_neighbours(normed_task, optimiser):
    task = normed_task.changed(recipe={"optimiser": optimiser})
    task.__dict__["model"] = normed_task.model
    one, other = some(task.model, 0), some(task.model, 1)
    corner = bend(task, one, other, SEEDS, 3)
    torch.manual_seed(99)
    assert equal(bend(task, one, other, SEEDS, 3), corner)
    for r, seed in enumerate(SEEDS):
        own = ({n: w[r : r + 1] for n, w in weights.items()} for weights in (one, other))
        alone = bend(task, *own, [seed], 3)
        for name, w in alone.items():
            torch.testing.assert_close(w[0], corner[name][r], rtol=1e-3, atol=1e-4)
    changed = bend(task, one, other, (5, 6), 3)
    assert not torch.equal(changed["0.weight"], corner["0.weight"])


def test_dropout_too_is_drawn_by_the_seed(toy_task):
    """A draw of PyTorch's own, other in every process."""
    task = replace(toy_task, dropout=0.5)
    one, other = some(task.model, 0), some(task.model, 1)
    corners = []
    for chance in (0, 1):
        torch.manual_seed(chance)
        corners.append(bend(task, one, other, SEEDS, 2))
    assert equal(*corners)
    assert not equal(corners[0], bend(replace(task, dropout=0.0), one, other, SEEDS, 2))


# What is measured of a pair -----------------------------------------------------------------------


def pair(task):
    return ({n: w[:1] for n, w in some(task.model, i).items()} for i in range(2))


def test_between_two_networks_everything_is_measured_once(toy_task):
    one, other = pair(toy_task)
    rows = Between(points=6)(toy_task, one, other, 3)
    straight = path(toy_task, one, other, 6)
    found = rows[rows.moment == "between"].set_index("metric").value
    assert found.to_dict() == {
        "distance": distance(toy_task.model, one, other).item(),
        "cosine": cosine(toy_task.model, one, other).item(),
        "error barrier": straight.error_barrier[0],
        "loss barrier": straight.loss_barrier[0],
        "midpoint gain": straight.midpoint_gain[0],
    }
    assert set(rows.seed) == {3} and set(rows.split) == {"test"}
    assert set(rows[rows.moment == "between"].step) == {20}
    for metric in ("accuracy", "loss"):
        along = rows[(rows.moment == "line") & (rows.metric == metric)]
        assert along.step.tolist() == list(range(6))
        assert along.value.tolist() == getattr(straight, metric)[0].tolist()


def test_the_split_the_images_and_the_statistics_are_those_asked_for(normed_task):
    one, other = pair(normed_task)
    rows = Between(3, "val", 20, "interpolated")(normed_task, one, other, 0)
    straight = path(normed_task, one, other, 3, "val", "interpolated", 20)
    found = rows[(rows.moment == "line") & (rows.metric == "loss")].value.tolist()
    assert found == straight.loss[0].tolist() and set(rows.split) == {"val"}


def test_a_corner_is_trained_only_where_there_is_a_barrier(toy_task, parted):
    one, _ = pair(toy_task)
    flat = Between(3, bend="50%")(toy_task, one, one, 0)
    assert "bent barrier" not in set(flat.metric)
    task, _, one, other = parted
    rows = Between(5, bend="4%")(task, one, other, 0).set_index("metric").value
    if rows["error barrier"] > stability.STABLE:
        corner = bend(task, one, other, [0], 6)
        expected = path(task, one, other, 5, via=corner).error_barrier[0]
        assert rows["bent barrier"] == expected
    assert rows["error barrier"] > stability.STABLE  # or nothing was tested
    assert "bent barrier" not in set(Between(5)(task, one, other, 0).metric)


def test_images_are_counted_for_the_estimate_of_time(toy_task, normed_task):
    assert Between(4).images(toy_task) == 4 * 53
    assert Between(4, limit=20).images(toy_task) == 4 * 20
    assert Between(4, "train").images(toy_task) == 4 * 97
    assert Between(4, statistics="interpolated").images(normed_task) == 4 * 53
    assert Between(4).images(normed_task) > 4 * 53
