"""Training: what must hold for every network, recipe and seed."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lth_utils import models
from lth_utils.datasets import Split
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.randomness import stream
from lth_utils.recipes import SGD, Adam, Augment, Recipe, Schedule
from lth_utils.training import Run, _dense, evaluate, train
from lth_utils.training._batches import Order, augmentation, augmented

ADAM, PLAIN = Adam(0.01), SGD(0.1)
HEAVY = SGD(0.1, momentum=0.9, decay=0.01)


def recipe(duration=20, batch=10, optimiser=ADAM, every="5it", **more):
    return Recipe(f"{duration}it", batch, optimiser, every=every, **more)


def doubles(weights):
    return {n: w.double() for n, w in weights.items()}


def only(weights, member):
    return {n: w[member : member + 1] for n, w in weights.items()}


@pytest.fixture
def start(net):
    """Three members in double precision, with biases that are not zero."""
    weights = doubles(models.initialise(net, [0, 1, 2]))
    return {n: w + 0.01 if n.endswith("bias") else w for n, w in weights.items()}


@pytest.fixture
def mask(net, some_mask):
    return some_mask(models.dense_mask(net).shapes, members=3)


def same(a, b, **tolerance):
    assert set(a) == set(b)
    for name in a:
        torch.testing.assert_close(a[name], b[name], **(tolerance or {"rtol": 0, "atol": 0}))


def batches(data, recipe, seeds, copies=None, first=0, last=None):
    last = recipe.iterations(len(data.train)) if last is None else last
    copies = copies or [0] * len(seeds)
    orders = [Order(seed, copy, len(data.train)) for seed, copy in zip(seeds, copies, strict=True)]
    index = np.stack([order.batches(first, last, recipe.batch) for order in orders], axis=1)
    for i, iteration in enumerate(range(first, last)):
        pictures, labels = data.train.images[index[i]], data.train.labels[index[i]]
        if recipe.augment:
            pictures = shaken(pictures, recipe.augment, seeds, copies, iteration)
        yield pictures, labels


def shaken(images, augment, seeds, copies, iteration):
    draws = augmentation(seeds, copies, iteration, iteration + 1, images.shape[1])
    return augmented(images, augment, torch.from_numpy(draws[0]))


# Pruned stays pruned ------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", [ADAM, HEAVY], ids=["adam", "momentum and decay"])
def test_mistake_3_weights_revived_by_momentum_or_weight_decay(net, start, mask, toy, optimiser):
    run = train(net, start, mask, toy, recipe(optimiser=optimiser), [0, 1, 2], keep=range(21))
    assert list(run.snapshots) == list(range(21))
    for step, weights in run.snapshots.items():
        for name, kept in mask.items():
            assert (weights[name][~kept] == 0).all(), (step, name)
    alive = [run.snapshots[20][n][k] != run.snapshots[0][n][k] for n, k in mask.items()]
    assert torch.cat(alive).double().mean() > 0.9  # and the rest did train


def test_mistake_3_masks_lost_in_retraining(net, start, mask, toy):
    first = train(net, start, mask, toy, recipe(), [0, 1, 2])
    dense = models.dense_mask(net, 3)
    again = train(net, mask.apply(start), dense, toy, recipe(), [0, 1, 2])
    # Without the mask the zeros train away: a retraining that gives the same has lost its mask.
    assert (again.weights["fc1.weight"][~mask["fc1.weight"]] != 0).any()
    assert not torch.equal(first.weights["fc1.weight"], again.weights["fc1.weight"])


def test_training_changes_nothing_that_it_was_given(net, start, mask, toy):
    given = {n: w.clone() for n, w in start.items()}
    kept = {n: k.clone() for n, k in mask.items()}
    module = {n: t.clone() for n, t in net.state_dict().items()}
    pixels = toy.train.images.clone()
    run = train(net, start, mask, toy, recipe(), [0, 1, 2], keep=("0it",))
    for weights in (run.weights, run.at["0it"]):
        for w in weights.values():
            w.fill_(5)
    same(start, given)
    same(dict(mask), kept)
    same(net.state_dict(), module)
    assert torch.equal(toy.train.images, pixels)
    assert not any(w.requires_grad for w in start.values())


def test_the_mode_of_a_module_is_left_as_it_was(make_dataset):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    assert model.training
    data = make_dataset(30, 10, 10)
    train(model, models.initialise(model, [0]), models.dense_mask(model), data, recipe(4), [0])
    assert model.training


def test_trained_weights_carry_no_graph(net, start, mask, toy):
    run = train(net, start, mask, toy, recipe(2), [0, 1, 2], keep=("1it",))
    for w in itertools.chain(run.weights.values(), run.at["1it"].values()):
        assert not w.requires_grad and w.is_contiguous()


# One by one, in parts, again ----------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", [ADAM, HEAVY], ids=["adam", "momentum and decay"])
def test_a_replicate_in_a_population_trains_as_it_does_alone(net, start, mask, toy, optimiser):
    how = recipe(optimiser=optimiser, augment=Augment(flip=True, crop=1))
    together = train(net, start, mask, toy, how, [4, 5, 6])
    for r in range(3):
        alone = train(net, only(start, r), mask.member(r), toy, how, [4 + r])
        same(only(together.weights, r), alone.weights, rtol=1e-9, atol=1e-12)
        mine = together.member(r).history.value.to_numpy()
        np.testing.assert_allclose(mine, alone.history.value.to_numpy(), rtol=1e-9)


def test_stacked_and_one_by_one_train_the_same(net, start, mask, toy, monkeypatch):
    stacked = train(net, start, mask, toy, recipe(), [0, 1, 2])
    monkeypatch.setattr(models, "is_stackable", lambda model: False)
    plain = train(net, start, mask, toy, recipe(), [0, 1, 2])
    same(stacked.weights, plain.weights, rtol=1e-9, atol=1e-12)


def test_single_precision_and_its_layout_differ_by_rounding_alone(net, start, mask, toy):
    how = recipe(optimiser=PLAIN)
    single = train(net, {n: w.float() for n, w in start.items()}, mask, toy, how, [0, 1, 2])
    double = train(net, start, mask, toy, how, [0, 1, 2])
    assert all(w.dtype == torch.float32 for w in single.weights.values())
    same(doubles(single.weights), double.weights, rtol=1e-3, atol=1e-5)


def test_equal_settings_give_equal_bits(net, mask, toy):
    single = models.initialise(net, [0, 1, 2])
    one, two = (train(net, single, mask, toy, recipe(), [0, 1, 2]) for _ in range(2))
    same(one.weights, two.weights)
    assert one.history.equals(two.history)


@pytest.mark.parametrize("half", ["7it", "1ep", "50%"])
def test_a_run_in_two_parts_equals_the_straight_run(net, start, mask, toy, half):
    how = recipe(
        24, optimiser=PLAIN, augment=Augment(True, 1), schedule=Schedule(("50%",), warmup="4it")
    )
    straight = train(net, start, mask, toy, how, [0, 1, 2], keep=(half,))
    first = train(net, start, mask, toy, how, [0, 1, 2], end=half)
    same(first.weights, straight.at[half], rtol=1e-12, atol=0)
    second = train(net, first.weights, mask, toy, how, [0, 1, 2], begin=half)
    same(second.weights, straight.weights, rtol=1e-12, atol=1e-15)


def test_mistake_4_a_reset_that_keeps_the_state_of_the_optimiser(net, start, mask, toy):
    for optimiser in (ADAM, HEAVY):
        how = recipe(optimiser=optimiser)
        alone = train(net, start, mask, toy, how, [0, 1, 2])
        train(net, start, mask, toy, how, [0, 1, 2])  # whatever this leaves behind
        after = train(net, start, mask, toy, how, [0, 1, 2])
        same(after.weights, alone.weights)
    # Momentum starts at zero, so two halves with momentum are not the straight run.
    first = train(net, start, mask, toy, how, [0, 1, 2], end="50%")
    second = train(net, first.weights, mask, toy, how, [0, 1, 2], begin="50%")
    assert not torch.allclose(second.weights["fc1.weight"], alone.weights["fc1.weight"])


@pytest.mark.parametrize(
    ("optimiser", "schedule"),
    [(ADAM, Schedule()), (HEAVY, Schedule(("60%",), warmup="5it"))],
    ids=["adam", "momentum, decay, schedule"],
)
def test_a_plain_pytorch_loop_trains_to_the_same_weights(
    net, start, mask, toy, optimiser, schedule
):
    how = recipe(30, 16, optimiser, schedule=schedule)
    run = train(net, start, mask, toy, how, [8, 9, 10])
    for r, seed in enumerate([8, 9, 10]):
        order = np.concatenate([stream(seed, "order", e).permutation(97) for e in range(5)])
        module = models.LeNet((1, 4, 4), 4, 0.05).double()
        module.load_state_dict({n: w[r] for n, w in start.items()})
        kept = {n: k[r] for n, k in mask.items()}
        parameters = dict(module.named_parameters())
        with torch.no_grad():
            for name, k in kept.items():
                parameters[name] *= k
        if optimiser is ADAM:
            steps = torch.optim.Adam(module.parameters(), lr=0.01)
        else:
            steps = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for i in range(30):
            if optimiser is HEAVY:
                steps.param_groups[0]["lr"] = 0.1 * (0.1 if i >= 18 else min(1, (i + 1) / 5))
            index = order[16 * i : 16 * (i + 1)]
            images = (toy.train.images[index].double() / 255 - 0.5) / 0.25
            steps.zero_grad()
            F.cross_entropy(module(images), toy.train.labels[index]).backward()
            steps.step()
            with torch.no_grad():
                for name, k in kept.items():
                    parameters[name] *= k
        same(
            {n: p.detach() for n, p in parameters.items()},
            {n: w[r] for n, w in run.weights.items()},
            rtol=1e-9,
            atol=1e-12,
        )


def test_training_learns(net, toy):
    run = train(net, models.initialise(net, [0]), models.dense_mask(net), toy, recipe(60), [0])
    losses = run.history[run.history.metric == "loss"].set_index(["moment", "step"]).value
    assert losses["end", 60].min() < losses["during", 0].min()


# The history --------------------------------------------------------------------------------------


def test_the_validation_set_is_looked_at_at_the_cadence_and_at_the_end(net, start, mask, toy):
    how = recipe(23, every="5it")
    run = train(net, start, mask, toy, how, [0, 1, 2])
    during = run.history[run.history.moment == "during"]
    assert sorted(during.step.unique()) == [0, 5, 10, 15, 20, 23]
    assert set(during.split) == {"val"}
    later = train(net, start, mask, toy, how, [0, 1, 2], begin="7it", end="12it").history
    assert sorted(later[later.moment == "during"].step.unique()) == [10, 12]
    assert set(later[later.moment == "end"].step) == {12}
    assert not run.history.duplicated(["member", "moment", "step", "split", "metric"]).any()


def test_the_early_stop_is_the_step_of_least_validation_loss(net, start, mask, toy):
    how = recipe(40, optimiser=SGD(1.0), every="3it")  # a rate at which the loss goes up and down
    run = train(net, start, mask, toy, how, [0, 1, 2], keep=range(0, 40, 3))
    h = run.history
    loss = h[(h.moment == "during") & (h.metric == "loss")]
    least = loss.loc[loss.groupby("member").value.idxmin()].step.tolist()
    assert run.early_stop == least
    assert len({*least, 40}) > 1
    for member, step in enumerate(least):
        weights = run.snapshots[step] if step < 40 else run.weights
        expected, accuracy = evaluate(net, only(weights, member), toy, toy.test)
        rows = h[(h.member == member) & (h.moment == "early stop") & (h.split == "test")]
        found = rows.set_index("metric")
        assert set(found.step) == {step}
        assert found.value["loss"] == pytest.approx(expected.item(), rel=1e-12)
        assert found.value["accuracy"] == accuracy.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_equal_validation_losses_the_first_is_the_early_stop(net, toy, dtype):
    seeds = range(8)
    frozen = {n: w.to(dtype) for n, w in models.initialise(net, seeds).items()}
    how = recipe(6, optimiser=SGD(0.0), every="1it")
    run = train(net, frozen, models.dense_mask(net, 8), toy, how, seeds)
    assert run.early_stop == [0] * 8


def test_a_training_that_diverges_stops_no_earlier_than_it_began(net, start, mask, toy):
    broken = {n: w * torch.nan for n, w in start.items()}
    run = train(net, broken, models.dense_mask(net, 3), toy, recipe(), [0, 1, 2], begin="7it")
    assert min(run.early_stop) >= 7


def test_mistake_2_choosing_the_best_step_on_the_test_set(net, start, mask, toy, monkeypatch):
    seen, done = [], [0]

    def watched(model, weights, data, split, **options):
        seen.append(("test" if split is toy.test else "val", done[0]))
        return evaluate(model, weights, data, split, **options)

    def count(iterations):
        done[0] += iterations

    monkeypatch.setattr(_dense, "evaluate", watched)
    run = train(net, start, mask, toy, recipe(), [0, 1, 2], progress=count, threads=2)
    assert done == [60]
    # Three members, each at its early stop and at its end.
    assert [step for split, step in seen if split == "test"] == [60] * 6
    moments = run.history[run.history.split == "test"].moment.unique().tolist()
    assert moments == ["early stop", "end"]


def test_other_test_labels_change_neither_the_weights_nor_the_early_stop(net, start, mask, toy):
    other = replace(toy, test=Split(toy.test.images, (toy.test.labels + 1) % 4))
    a, b = (train(net, start, mask, d, recipe(), [0, 1, 2]) for d in (toy, other))
    same(a.weights, b.weights)
    assert a.early_stop == b.early_stop
    assert (a.accuracy() != b.accuracy()).any()


@pytest.mark.parametrize("chunk", [1, 10, 52, 53, 1000])
def test_mistake_2_accuracy_over_a_test_set_whose_last_batch_was_dropped(net, start, toy, chunk):
    loss, accuracy = evaluate(net, start, toy, toy.test, chunk=chunk)
    for r in range(3):
        module = models.LeNet((1, 4, 4), 4, 0.05).double()
        module.load_state_dict({n: w[r] for n, w in start.items()})
        losses, right = [], 0
        with torch.no_grad():
            for image, label in zip(toy.test.images, toy.test.labels, strict=True):
                scores = module(((image.double() / 255 - 0.5) / 0.25)[None])[0]
                losses.append(scores.logsumexp(0).item() - scores[label].item())
                right += int(scores.argmax() == label)
        assert loss[r].item() == pytest.approx(np.mean(losses), rel=1e-12)
        assert accuracy[r].item() == pytest.approx(100 * right / 53, rel=1e-15)


def test_report_says_which_splits_are_looked_at(net, start, mask, toy):
    run = train(net, start, mask, toy, recipe(5), [0, 1, 2], report=("train", "test"))
    ends = run.history[run.history.moment == "end"]
    assert ends.split.unique().tolist() == ["val", "train", "test"]
    assert "test" not in set(
        train(net, start, mask, toy, recipe(5), [0, 1, 2], report=()).history.split
    )


def test_progress_counts_the_iterations_of_all_members(net, start, mask, toy):
    done = []
    train(net, start, mask, toy, recipe(), [0, 1, 2], begin="5it", progress=done.append)
    assert sum(done) == 3 * 15
    assert 0 not in done


# Snapshots and runs -------------------------------------------------------------------------------


def test_a_snapshot_is_of_the_step_that_it_is_called_by(net, start, mask, toy):
    run = train(net, start, mask, toy, recipe(), [0, 1, 2], keep=("0it", "50%", "1ep", "100%"))
    same(run.at["0it"], mask.apply(start))
    same(run.at[20], run.weights)
    same(run.at["50%"], run.at["1ep"])  # ten iterations either way
    for step in ("50%", 10):
        stopped = train(net, start, mask, toy, recipe(), [0, 1, 2], end=step)
        same(run.at[step], stopped.weights)


def test_a_snapshot_that_was_not_kept_says_how_to_keep_it(net, start, mask, toy):
    run = train(net, start, mask, toy, recipe(), [0, 1, 2], keep=("5it",))
    with pytest.raises(InputError, match=r"kept: 5.*keep=\('1%',\)"):
        run.at["1%"]


def test_members_taken_apart_and_put_together_are_the_run(net, start, mask, toy):
    run = train(net, start, mask, toy, recipe(), [4, 5, 6], keep=("5it",))
    again = Run.cat([run.member(i) for i in range(3)])
    same(again.weights, run.weights)
    same(again.at["5it"], run.at["5it"])
    assert again.early_stop == run.early_stop
    assert (again.accuracy() == run.accuracy()).all()
    by = ["member", "moment", "step", "split", "metric"]
    sort = [r.history.sort_values(by).reset_index(drop=True) for r in (run, again)]
    assert sort[0].equals(sort[1])


def test_runs_of_several_members_keep_them_apart_when_put_together(net, start, mask, toy):
    run = train(net, start, mask, toy, recipe(), [4, 5, 6])
    pair = train(
        net, {n: w[:2] for n, w in start.items()}, mask.member(0, 1), toy, recipe(), [4, 5]
    )
    again = Run.cat([pair, run.member(2)])
    assert len(again.early_stop) == 3
    assert set(again.history.member) == {0, 1, 2}


@pytest.mark.parametrize("index", [3, -4])
def test_a_member_that_a_run_does_not_have_is_refused(net, start, mask, toy, index):
    run = train(net, start, mask, toy, recipe(2), [0, 1, 2])
    with pytest.raises((InputError, IndexError)):
        run.member(index)


# The order of the data ----------------------------------------------------------------------------


@pytest.fixture
def numbered(make_dataset):
    """97 training images, each with its number as its label."""
    data = make_dataset(97, 5, 5)
    return replace(data, train=Split(data.train.images, torch.arange(97)))


def labels(*args, **options):
    return torch.cat([batch for _, batch in batches(*args, **options)], dim=1)


@pytest.mark.parametrize("batch", [10, 97, 120])
def test_each_epoch_shows_each_image_exactly_once(numbered, batch):
    seen = labels(numbered, recipe(40, batch), [0, 1])
    for member in seen:
        for epoch in range(len(member) // 97):
            part = member[97 * epoch : 97 * (epoch + 1)]
            assert sorted(part.tolist()) == list(range(97))
    assert not torch.equal(seen[0][:97], seen[0][97:194])


def test_pictures_keep_their_labels(numbered):
    for pictures, numbers in batches(numbered, recipe(15), [0, 1]):
        assert torch.equal(pictures, numbered.train.images[numbers])


def test_mistake_6_replicates_that_share_a_data_order_by_accident(numbered):
    seen = labels(numbered, recipe(10), [0, 1, 2, 0])
    assert torch.equal(seen[0], seen[3])  # the same seed sees the same order,
    for a, b in itertools.combinations(seen[:3], 2):  # every other another
        assert not torch.equal(a, b)


def test_the_order_does_not_depend_on_the_population_or_on_where_it_begins(numbered):
    how = recipe(50)
    together = labels(numbered, how, [3, 4, 5])
    assert torch.equal(labels(numbered, how, [4]), together[1:2])
    for first in (1, 9, 10, 33):
        assert torch.equal(labels(numbered, how, [3, 4, 5], first=first), together[:, 10 * first :])


def test_an_order_taken_in_stretches_skips_and_repeats_nothing(numbered):
    how = recipe(25)
    whole = labels(numbered, how, [0])
    order = Order(0, 0, len(numbered.train))
    cuts = itertools.pairwise([0, 7, 8, 20, 25])
    pieces = [numbered.train.labels[order.batches(a, b, how.batch).ravel()] for a, b in cuts]
    assert torch.equal(torch.cat(pieces), whole[0])


def test_copies_differ_in_their_order_and_copy_0_is_the_default(numbered):
    default = labels(numbered, recipe(10), [0])
    seen = labels(numbered, recipe(10), [0] * 3, [0, 1, 2])
    assert torch.equal(seen[:1], default)
    for a, b in itertools.combinations(seen, 2):
        assert not torch.equal(a, b)
        assert sorted(a[:97].tolist()) == sorted(b[:97].tolist())


def test_copies_of_one_seed_end_apart(net, start, toy):
    twins = {n: w[[0, 0, 0]] for n, w in start.items()}
    dense = models.dense_mask(net, 3)
    run = train(net, twins, dense, toy, recipe(), [0, 0, 0], copies=[0, 0, 1])
    w = run.weights["fc1.weight"]
    torch.testing.assert_close(w[0], w[1], rtol=1e-12, atol=0)
    assert not torch.allclose(w[0], w[2])


# Augmentation -------------------------------------------------------------------------------------


def changed(image, mirrored, down, right):
    """Mirrored, then shifted by whole pixels, with black where nothing was: a plain loop."""
    c, height, width = image.shape
    out = np.zeros_like(image)
    for k, i, j in itertools.product(range(c), range(height), range(width)):
        y, x = i - down, j - right
        if 0 <= y < height and 0 <= x < width:
            out[k, i, j] = image[k, y, width - 1 - x if mirrored else x]
    return out


def which_change(image, found, flip, crop):
    shifts = range(-crop, crop + 1)
    for change in itertools.product((False, True) if flip else (False,), shifts, shifts):
        if np.array_equal(changed(image, *change), found):
            return change
    return None


@pytest.mark.parametrize(("flip", "crop"), [(True, 0), (False, 1), (True, 2)])
def test_augmentation_only_mirrors_and_shifts_and_keeps_labels(make_dataset, flip, crop):
    data = make_dataset(60, 5, 5, shape=(2, 5, 4))
    plain = list(batches(data, recipe(12), [0, 1]))
    seen = set()
    for (before, label), (after, label_after) in zip(
        plain, batches(data, recipe(12, augment=Augment(flip, crop)), [0, 1]), strict=True
    ):
        assert torch.equal(label, label_after)
        assert after.dtype == torch.uint8 and after.shape == before.shape
        for image, found in zip(before.flatten(0, 1), after.flatten(0, 1), strict=True):
            change = which_change(image.numpy(), found.numpy(), flip, crop)
            assert change is not None
            seen.add(change)
    assert {c[0] for c in seen} == ({False, True} if flip else {False})
    shifts = range(-crop, crop + 1)
    assert {c[1:] for c in seen} == set(itertools.product(shifts, shifts))  # each way by itself


def test_no_flip_and_no_crop_is_the_identity(make_dataset):
    images = make_dataset(6, 5, 5, shape=(2, 5, 4)).train.images.view(2, 3, 2, 5, 4)
    assert torch.equal(shaken(images, Augment(), [0, 1], [0, 0], 3), images)


def test_each_member_copy_and_iteration_has_its_own_augmentation(make_dataset):
    images = make_dataset(40, 5, 5, shape=(1, 6, 6)).train.images.expand(4, 40, 1, 6, 6)
    one = shaken(images, Augment(True, 2), [0, 0, 1, 0], [0, 0, 0, 1], 3)
    assert torch.equal(one[0], one[1])
    assert not torch.equal(one[0], one[2]) and not torch.equal(one[0], one[3])
    alone = shaken(images[:1], Augment(True, 2), [1], [0], 3)
    assert torch.equal(alone[0], one[2])
    later = shaken(images[:1], Augment(True, 2), [1], [0], 4)
    assert not torch.equal(later, alone)


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 1]}, "3 members where 2 are expected"),
        ({"seeds": [0, 1, 2, 3]}, "3 members where 4 are expected"),
        ({"begin": "10it", "end": "5it"}, "begin at iteration 10, after its end at 5"),
        ({"begin": "21it"}, "beyond the recipe's 20"),
        ({"end": "200%"}, "beyond the recipe's 20"),
        ({"keep": ("3it",), "begin": "5it"}, "Iteration 3 cannot be kept: training is 5 to 20"),
        ({"keep": ("15it",), "end": "10it"}, "Iteration 15 cannot be kept"),
        ({"copies": [0]}, "1 copy numbers for 3 seeds"),
        ({"begin": "soon"}, "is not a step"),
        ({"report": ("tset",)}, "tset"),
    ],
    ids=lambda v: None if isinstance(v, str) else "-".join(v),
)
def test_what_does_not_fit_is_said_before_training_begins(net, start, mask, toy, changes, message):
    done = []
    arguments = {"seeds": [0, 1, 2], "progress": done.append} | changes
    with pytest.raises(InputError, match=message):
        train(net, start, mask, toy, recipe(), **arguments)
    assert not done


def test_weights_and_masks_of_another_shape_are_refused(net, start, mask, toy):
    other = Mask({n: k.mT if n == "fc2.weight" else k for n, k in mask.items()})
    with pytest.raises(InputError, match="does not fit at fc2.weight"):
        train(net, start, other, toy, recipe(), [0, 1, 2])
    half = Mask({"fc1.weight": mask["fc1.weight"]})
    with pytest.raises(InputError, match="does not fit at"):
        train(net, start, half, toy, recipe(), [0, 1, 2])
    with pytest.raises(InputError, match="lack fc1.bias"):
        train(
            net, {n: w for n, w in start.items() if n != "fc1.bias"}, mask, toy, recipe(), [0, 1, 2]
        )
    with pytest.raises(InputError, match="3 seeds for 1 sets"):
        train(net, only(start, 0), mask, toy, recipe(), [0, 1, 2])


def test_training_of_no_length_gives_back_the_start(net, start, mask, toy):
    run = train(net, start, mask, toy, recipe(), [0, 1, 2], begin="100%")
    same(run.weights, mask.apply(start))
    assert run.early_stop == [20] * 3
