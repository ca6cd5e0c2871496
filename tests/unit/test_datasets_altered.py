"""Noisy labels, permuted and pooled pixels: what changes, what does not; no key mixes them up."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lth_utils import models, tasks
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.lottery._imp import _Design
from lth_utils.lottery._units import Bench
from lth_utils.recipes import Recipe
from lth_utils.store import Store


@pytest.fixture(scope="module")
def data(make_dataset):
    return make_dataset(3000, 200, 300, shape=(3, 4, 5), classes=10)


def parts(data):
    return data.train, data.val, data.test


# Noisy labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_as_many_labels_are_drawn_anew_as_the_share_says(data, share):
    """A share of the labels that are wrong, instead of a share that is random."""
    many = replace(data, classes=range(10**9))  # of which none is hit by chance
    changed = many.with_label_noise(share).train.labels != data.train.labels
    assert int(changed.sum()) == round(share * 3000)


def test_which_labels_are_drawn_and_what_is_drawn_is_uniform(data):
    """Noise in the first images alone, or in some classes more than in others."""
    many = replace(data, classes=range(10**9))
    places = (many.with_label_noise(0.3).train.labels != data.train.labels).nonzero().flatten()
    assert abs(places.double().mean() - 1499.5) < 5 * 3000 / np.sqrt(12 * 900)
    labels = data.with_label_noise(1.0).train.labels
    counts = torch.bincount(labels, minlength=10)
    assert len(counts) == 10 and ((counts - 300) ** 2 / 300).sum() < 35  # chi-squared, 9 degrees
    right = (labels == data.train.labels).double().mean()
    assert abs(right - 0.1) < 5 * np.sqrt(0.09 / 3000)  # a tenth stays right by chance


def test_the_images_and_the_labels_to_validate_and_test_by_stay(data):
    """An early stop that is chosen, or an accuracy that is measured, on noise."""
    before = [(part.images.clone(), part.labels.clone()) for part in parts(data)]
    noisy = data.with_label_noise(0.5)
    for part, (images, labels) in zip(parts(noisy)[1:], before[1:], strict=True):
        assert torch.equal(part.images, images) and torch.equal(part.labels, labels)
    assert torch.equal(noisy.train.images, before[0][0])
    assert torch.equal(data.train.labels, before[0][1])  # what was given has not changed
    assert not torch.equal(noisy.train.labels, before[0][1])
    assert noisy.train.labels.dtype == torch.int64


def test_noise_is_the_same_every_time_and_each_seed_has_its_own(data):
    labels = [data.with_label_noise(0.3, seed).train.labels for seed in (0, 0, 1)]
    assert torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], labels[2])


def test_more_noise_is_other_noise_on_top(data):
    """So that shares are compared on the same images: who is drawn at 20% is drawn at 40%."""
    many = replace(data, classes=range(10**9))
    little, much = (
        many.with_label_noise(share).train.labels != data.train.labels for share in (0.2, 0.4)
    )
    assert (much | ~little).all()


@pytest.mark.parametrize("share", [-0.1, 1.1, 30, float("nan")])
def test_a_share_that_is_none_is_refused(data, share):
    with pytest.raises(InputError, match="share of the labels is a number from 0 to 1; got"):
        data.with_label_noise(share)


def test_the_title_says_what_was_done(data):
    """A stand-in that passes for the real thing."""
    assert data.with_label_noise(0.3).title == "Toy, 30% of the training labels random"
    assert data.with_label_noise(0.125).title == "Toy, 12.5% of the training labels random"
    cut = data.subset(1000).permuted().with_label_noise(0.3)
    assert cut.title == "Toy, pixels permuted, 30% of the training labels random (first 1,000)"
    assert data.title == "Toy"


# Permuted pixels ----------------------------------------------------------------------------------


def numbered(data):
    """The order, read off an image whose pixels are numbered."""
    pixels = torch.arange(20, dtype=torch.uint8).view(1, 1, 4, 5).expand(1, 3, 4, 5)
    one = replace(data.train, images=pixels.clone(), labels=data.train.labels[:1])
    return replace(data, train=one).permuted().train.images[0]


def test_one_order_for_all_images_channels_and_parts(data):
    """An order of its own for each image is noise, and one for training alone a trap."""
    order = numbered(data)
    assert (order == order[0]).all()
    order = order[0].flatten().long()
    assert order.sort().values.tolist() == list(range(20)) != order.tolist()
    permuted = data.permuted()
    for before, after in zip(parts(data), parts(permuted), strict=True):
        assert torch.equal(after.images, before.images.flatten(2)[..., order].view_as(after.images))
        assert torch.equal(after.labels, before.labels)
        assert after.images.is_contiguous() and after.images.dtype == torch.uint8
    assert permuted.input_shape == data.input_shape
    assert not torch.equal(data.permuted(1).train.images, permuted.train.images)


def test_a_fully_connected_network_cannot_tell_the_difference(data):
    """Weights that are permuted alike give the same outputs."""
    net = models.build("lenet-300-100", data.input_shape, 10, 0.05)
    weights = models.initialise(net, [0, 1])
    order = numbered(data)[0].flatten().long()
    moved = dict(weights)
    first = weights["fc1.weight"].unflatten(2, (3, 20))
    moved["fc1.weight"] = first[..., order].flatten(2)
    permuted = data.permuted()
    outputs = models.forward(net, weights, data.normalise(data.test.images))
    found = models.forward(net, moved, permuted.normalise(permuted.test.images))
    torch.testing.assert_close(found, outputs, rtol=1e-4, atol=1e-5)
    unmoved = models.forward(net, weights, permuted.normalise(permuted.test.images))
    assert (unmoved - outputs).abs().max() > 0.1


# Pooled pixels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 4])
def test_pooled_pixels_are_the_means_of_squares(data, size):
    """Every second pixel instead of a mean, means over rows alone, or channels mixed."""
    rows, columns = 4 // size, 5 // size  # what is left over is dropped
    pooled = data.pooled(size)
    assert pooled.input_shape == (3, rows, columns)
    for before, after in zip(parts(data), parts(pooled), strict=True):
        pixels = before.images.numpy().astype(float)[:, :, : rows * size, : columns * size]
        means = pixels.reshape(-1, 3, rows, size, columns, size).mean((3, 5))
        assert after.images.dtype == torch.uint8 and len(after) == len(before)
        assert np.abs(after.images.numpy() - means).max() <= 0.5 + 1e-4  # rounded, not cut off
        assert torch.equal(after.labels, before.labels)


def test_many_images_are_pooled_as_few_are(data):
    """The pieces in which it is done lose the last images, or change places."""
    images = data.val.images.repeat(30, 1, 1, 1)  # of which one piece does not hold all
    images[:, 0, 0, 0] = torch.arange(len(images)) % 256
    many = replace(
        data, train=replace(data.train, images=images, labels=data.val.labels.repeat(30))
    )
    pooled = many.pooled(2).train.images
    assert len(pooled) == 6000
    some = replace(data, train=replace(data.train, images=images[4990:5010],
                                       labels=many.train.labels[4990:5010]))  # fmt: skip
    assert torch.equal(pooled[4990:5010], some.pooled(2).train.images)


def test_pooling_by_one_changes_no_pixel_and_the_brightest_stays_bright(data):
    """A mean that passes 255 and begins at 0 again."""
    assert torch.equal(data.pooled(1).test.images, data.test.images)
    white = replace(data, test=replace(data.test, images=torch.full_like(data.test.images, 255)))
    assert (white.pooled(2).test.images == 255).all()


def test_the_title_and_the_fingerprint_say_that_it_is_pooled(data):
    """A small picture that passes for the real one, or a unit of it for that of the other."""
    assert data.pooled(2).title == "Toy at 2 × 2 pixels"
    assert data.pooled(2).subset(1000).title == "Toy at 2 × 2 pixels (first 1,000)"
    ways = [data, data.pooled(2), data.pooled(3), data.pooled(2).permuted(),
            data.permuted().pooled(2)]  # fmt: skip
    assert len({way.fingerprint for way in ways}) == len(ways)
    assert data.pooled(2).fingerprint == data.pooled(np.int64(2)).fingerprint
    assert data.title == "Toy" and data.input_shape == (3, 4, 5)


@pytest.mark.parametrize("size", [0, -1, 5])
def test_a_size_that_leaves_no_pixel_is_one_sentence(data, size):
    with pytest.raises(InputError, match="of 4 × 5 pixels cannot be averaged over") as error:
        data.pooled(size)
    assert "from 1 to 4" in str(error.value) and str(error.value).count(".") == 1


def test_a_task_pools_before_it_permutes_and_cuts(toy_task, toy):
    task = replace(toy_task, pool=2, permuted=True, images=(50, None, None))
    assert torch.equal(task.data.train.images, toy.pooled(2).permuted().subset(50).train.images)
    assert task.model.fc1.in_features == 4
    assert "at 2 × 2 pixels, pixels permuted" in task.describe()


# Fingerprints -------------------------------------------------------------------------------------


def test_whatever_is_done_to_a_dataset_changes_its_fingerprint(data):
    """A unit that was trained on other data is given back as this one."""
    cut = data.subset(1000)
    ways = [
        data,
        data.with_label_noise(0.3),
        data.with_label_noise(0.2),
        data.with_label_noise(0.3, seed=1),
        data.permuted(),
        data.permuted(1),
        data.permuted().with_label_noise(0.3),
        cut.with_label_noise(0.3),  # other labels than the first thousand of all
        data.with_label_noise(0.3).with_label_noise(0.3),
    ]
    assert len({way.fingerprint for way in ways}) == len(ways)
    assert all(len(way.fingerprint) == 64 for way in ways)
    labels = [
        way.train.labels[:1000] for way in (cut.with_label_noise(0.3), data.with_label_noise(0.3))
    ]
    assert not torch.equal(*labels)


def test_one_dataset_has_one_fingerprint(data):
    shares = (0.5, np.float64(0.5), np.float32(0.5))
    assert len({data.with_label_noise(share).fingerprint for share in shares}) == 1
    assert data.with_label_noise(1).fingerprint == data.with_label_noise(1.0).fingerprint
    seeds = (np.int64(3), 3)
    assert len({data.permuted(seed).fingerprint for seed in seeds}) == 1
    # Pinned: what is stored goes by them.
    assert data.with_label_noise(0.3).fingerprint.startswith("c9c72b51afd699b7")
    assert data.permuted().fingerprint.startswith("ba49fd5466fe4ce0")


# Tasks --------------------------------------------------------------------------------------------


def test_a_task_is_made_of_what_it_says(toy_task, toy):
    noisy = replace(toy_task, label_noise=0.3, images=(50, None, None))
    assert torch.equal(
        noisy.data.train.labels, toy.subset(50).with_label_noise(0.3).train.labels
    )  # a share of what is trained on, however little that is
    assert "30% of the training labels random" in noisy.describe()
    permuted = replace(toy_task, permuted=True)
    assert torch.equal(permuted.data.test.images, toy.permuted().test.images)
    assert "pixels permuted" in permuted.describe()
    both = replace(toy_task, permuted=True, label_noise=0.3, images=(50, None, None)).data
    assert torch.equal(both.train.images, permuted.data.train.images[:50])
    assert torch.equal(both.train.labels, noisy.data.train.labels)
    dropped = replace(toy_task, dropout=0.5)
    assert "dropout 0.5" in dropped.describe()
    assert [m.rate for m in dropped.model if isinstance(m, models.Dropout)] == [0.5, 0.5]
    assert toy_task.data is toy


@pytest.mark.parametrize(
    "changes", [{"label_noise": 1.5}, {"dropout": 1.0}], ids=lambda c: next(iter(c))
)
def test_a_task_that_cannot_be_is_refused_before_it_is_trained(toy_task, changes):
    with pytest.raises(InputError, match="to 1; got|below 1; got"):
        imp(replace(toy_task, **changes))


def test_permuted_convolutions_see_other_neighbours(toy_task, toy):
    """That a task is permuted must reach what is trained."""
    task = replace(toy_task, network="conv-2", prune=toy_task.prune | {"conv": 0.2}, levels=0)
    task = replace(task, recipe=Recipe("3it", 10, toy_task.recipe.optimiser))
    runs = [imp(each, seeds=[0]).table for each in (task, replace(task, permuted=True))]
    assert not runs[0].value.equals(runs[1].value)


def test_the_splits_to_report_on_are_the_task_s_where_it_trains_too(toy_task, toy):
    task = replace(toy_task, report=("train", "test"), levels=1)
    table = imp(task, treatments=("ticket",)).table
    assert set(table.split) == {"val", "train", "test"}
    assert set(imp(replace(toy_task, levels=0)).table.split) == {"val", "test"}
    run = task.train(task.init([0]), task.dense_mask([0]), [0])
    [value] = table.query("treatment == 'dense' and replicate == 0 and split == 'train' and "
                          "metric == 'accuracy' and moment == 'end'").value  # fmt: skip
    assert value == pytest.approx(run.accuracy(split="train").item())


# Keys ---------------------------------------------------------------------------------------------


def keys(task, store, **options):
    names = ("ticket", "reinit")
    design = _Design.of(task, 2, None, "0it", names, "magnitude", None, None, **options)
    bench = Bench(task, design.seeds, design.settings, store, None, None)
    return bench.keys(design.plan, design.kept, design.one_shot)


CHANGES = {
    "some noise": {"label_noise": 0.3},
    "more noise": {"label_noise": 0.4},
    "permuted": {"permuted": True},
    "pooled": {"pool": 2},
    "some dropout": {"dropout": 0.5},
    "less dropout": {"dropout": 0.25},
    "training accuracy": {"report": ("train", "test")},
    "training accuracy alone": {"report": ("train",)},
}


def test_every_change_of_the_task_has_keys_of_its_own(toy_task, tmp_path):
    """Or a result with dropout is read back for one without."""
    found = {"": set(keys(toy_task, Store(tmp_path)).values())}
    for name, changes in CHANGES.items():
        found[name] = set(keys(replace(toy_task, **changes), Store(tmp_path)).values())
    assert len(set.union(*found.values())) == sum(map(len, found.values()))


def test_the_defaults_leave_keys_as_they_were(toy_task, tmp_path):
    """A new attribute that orphans all that is stored; tasks that are published are pinned."""
    same = replace(toy_task, label_noise=0.0, permuted=False, dropout=0, report=("test",))
    assert keys(same, Store(tmp_path)) == keys(toy_task, Store(tmp_path))
    design = _Design.of(toy_task, 2, None, "0it", ("ticket",), "magnitude", None, None)
    bench = Bench(toy_task, (0,), design.settings, Store(tmp_path), None, None)
    settings = bench._settings("ticket", 1, 0, ())
    assert settings["network"] == ["lenet-300-100", 0.05]
    assert not {"report", "one shot", "dropout", "label noise"} & set(settings)


def test_published_tasks_have_none_of_it():
    for task in tasks.TASKS.values():
        for scale in tasks.SCALES:
            at = task.at(scale)
            assert (at.dropout, at.label_noise, at.permuted, at.report) == (0, 0, False, ("test",))
