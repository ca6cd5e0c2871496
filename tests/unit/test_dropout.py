"""Dropout: what is left out, by whose draw, and where nothing is."""

from dataclasses import replace

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

from lth_utils import models, shrinking
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.models import Dropout, add_dropout, build
from lth_utils.randomness import stream
from lth_utils.recipes import SGD, Adam, Recipe
from lth_utils.store import Store
from lth_utils.training import _captured, _plain, _train, train
from lth_utils.training._batches import noise

SEEDS = [0, 1, 2]
RATE = 0.4
RECIPE = Recipe("30it", 10, Adam(0.01), every="7it")


@pytest.fixture
def net():
    return build("lenet-300-100", (1, 4, 4), 4, 0.05, dropout=RATE)


@pytest.fixture
def what(net, toy, some_mask):
    """All that :func:`train` needs but the seeds."""
    mask = some_mask(models.dense_mask(net).shapes, members=3)
    return net, models.initialise(net, SEEDS), mask, toy, RECIPE


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def layer(rate=RATE, *names):
    """A layer that draws from the streams of these names."""
    dropped = Dropout(rate)
    dropped.streams = [stream(0, "dropout", name) for name in names]
    return dropped


# What is left out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_share_of_the_units_is_left_out_and_the_others_are_scaled_up(rate):
    """A rate taken for the share that stays, and a mean that dropout moves."""
    y = layer(rate, "a")(torch.ones(200, 500))
    n = y.numel()
    spread = 5 * np.sqrt(rate * (1 - rate) / n)
    assert abs((y == 0).double().mean() - rate) < spread
    assert torch.equal(y[y != 0], torch.ones(()).div(1 - rate).expand(int((y != 0).sum())))
    assert abs(y.double().mean() - 1) < spread / (1 - rate)
    for axis in (0, 1):  # no unit and no image is favoured
        shares = (y == 0).double().mean(axis)
        assert (shares - rate).abs().max() < 6 * np.sqrt(rate * (1 - rate) / y.shape[axis])


def test_what_is_left_out_gets_no_gradient_and_the_rest_gets_more():
    x = torch.randn(20, 30, requires_grad=True)
    y = layer(RATE, "a")(x)
    y.sum().backward()
    assert torch.equal(x.grad == 0, y == 0)
    torch.testing.assert_close(x.grad[y != 0], torch.full_like(x.grad[y != 0], 1 / (1 - RATE)))


def test_it_does_in_distribution_what_pytorch_does():
    """The same scale; PyTorch's own layer is the oracle."""
    x = torch.rand(300, 400) + 1
    ours, theirs = layer(RATE, "a")(x), nn.Dropout(RATE)(x)
    kept = torch.stack([ours != 0, theirs != 0]).double().mean((1, 2))
    assert (kept - (1 - RATE)).abs().max() < 5 * np.sqrt(RATE * (1 - RATE) / x.numel())
    both = (ours != 0) & (theirs != 0)
    torch.testing.assert_close(ours[both], theirs[both])


def test_each_draw_serves_one_member_once():
    """One draw for all members, or a draw that the next step uses again."""
    dropped, x = layer(RATE, "a", "b"), torch.ones(10, 10)
    first, second = dropped(x), dropped(x)
    assert not torch.equal(first, second)
    assert torch.equal(second, layer(RATE, "b")(x)) and dropped.streams == []


def test_the_members_of_a_population_leave_out_what_each_would_alone(net):
    weights, images = models.initialise(net, SEEDS), torch.randn(9, 1, 4, 4)
    dropouts = {n: m for n, m in net.named_modules() if isinstance(m, Dropout)}

    def outputs(members):
        for name, dropped in dropouts.items():
            dropped.streams = noise(members, [0] * len(members), "dropout", 7, name)
        mine = {n: w[members] for n, w in weights.items()}
        return models.forward(net, mine, images, training=True)

    together = outputs(SEEDS)
    for seed in SEEDS:
        torch.testing.assert_close(outputs([seed])[0], together[seed], rtol=0, atol=0)


# Where nothing is ---------------------------------------------------------------------------------


def test_nothing_is_left_out_in_evaluation(net, toy):
    """An accuracy that is measured with half of the network away."""
    plain = build("lenet-300-100", (1, 4, 4), 4, 0.05)
    weights = models.initialise(net, SEEDS)
    images = toy.normalise(toy.test.images)
    one_by_one = torch.stack([models.to_module(plain, weights, r)(images) for r in range(3)])
    for name, dropped in net.named_modules():
        if isinstance(dropped, Dropout):
            dropped.streams = noise(SEEDS, [0] * 3, "dropout", 0, name)  # left over: not to be used
    assert torch.equal(models.forward(net, weights, images), one_by_one)
    assert all(len(m.streams) == 3 for m in net.modules() if isinstance(m, Dropout))
    loss, accuracy = _plain.evaluate(net, weights, toy, toy.test)
    again = _plain.evaluate(plain, weights, toy, toy.test)
    torch.testing.assert_close((loss, accuracy), again)


def test_the_rate_0_builds_the_same_modules_as_before():
    shapes = {"resnet-50": (3, 64, 64), "transformer-2": (1, 1, 16)}
    for name in models.NETWORKS:
        shape = shapes.get(name, (3, 16, 16))
        before = models.NETWORKS[name](shape, 5, 0.1)
        assert repr(build(name, shape, 5, 0.1, 0.0)) == repr(before)
    assert models.is_stackable(build("lenet-300-100", (1, 4, 4), 4, 0.05, 0))


@pytest.mark.parametrize("name", ["lenet-300-100", "conv-2", "conv-4", "conv-6"])
def test_it_stands_behind_each_hidden_layer_and_its_activation_and_nowhere_else(name):
    """Dropout on the outputs, on convolutions, or before the rectifier."""
    shape = (3, 8, 8)
    plain, dropped = build(name, shape, 4, 0.05), build(name, shape, 4, 0.05, dropout=0.5)
    kinds = [type(m) for m in dropped]
    assert kinds.count(Dropout) == 2
    for i, kind in enumerate(kinds):
        if kind is Dropout:
            assert kinds[i - 2 : i] == [nn.Linear, nn.ReLU]
    without = [(n, m) for n, m in dropped.named_children() if not isinstance(m, Dropout)]
    assert [(n, repr(m)) for n, m in without] == [(n, repr(m)) for n, m in plain.named_children()]
    assert models.prunable(dropped) == models.prunable(plain)
    assert list(models.prunable(dropped).values())[-1] == "output"


def test_the_same_seed_starts_from_the_same_weights_with_dropout_and_without(net):
    """So that what dropout does is paired by seed."""
    plain = build("lenet-300-100", (1, 4, 4), 4, 0.05)
    assert same(models.initialise(net, SEEDS), models.initialise(plain, SEEDS))


# Whose draw ---------------------------------------------------------------------------------------


def kept(seed, copy=0, iteration=3, where="dropout1", n=1000):
    [draws] = noise([seed], [copy], "dropout", iteration, where)
    return draws.uniform(n) >= 0.5


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"copy": 1}, {"iteration": 4}, {"where": "dropout2"}],
    ids=lambda o: next(iter(o)),
)
def test_another_seed_copy_iteration_or_layer_leaves_out_others(other):
    """One noise for all: then members that differ in name alone are no replicates."""
    one = {"seed": 0, "copy": 0, "iteration": 3, "where": "dropout1"}
    assert (kept(**one) == kept(**one)).all()
    agree = (kept(**one) == kept(**(one | other))).mean()
    assert 0.4 < agree < 0.6  # as two coins do


def test_equal_settings_give_equal_bits_and_pytorch_s_own_generator_is_not_asked(what):
    first, state = train(*what, SEEDS), torch.get_rng_state()
    again = train(*what, SEEDS)
    assert same(first.weights, again.weights) and first.history.equals(again.history)
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_changes_what_is_trained_and_copies_of_a_seed_end_apart(what):
    net, start, mask, toy, how = what
    plain = build("lenet-300-100", (1, 4, 4), 4, 0.05)
    alike = {n: w[:1].expand(3, *w.shape[1:]).clone() for n, w in start.items()}
    masks, seeds = mask.member(0, 0, 0), [0, 0, 0]
    copies = train(net, alike, masks, toy, how, seeds, copies=[0, 0, 1])
    assert torch.equal(*copies.weights["fc1.weight"][:2])
    assert not torch.equal(*copies.weights["fc1.weight"][1:])
    without = train(plain, alike, masks, toy, how, seeds)
    assert not torch.equal(without.weights["fc1.weight"], copies.weights["fc1.weight"])


def test_training_asks_once_for_each_member_copy_iteration_and_layer(what, monkeypatch):
    """A draw that forgets the copy, or that begins again with every stretch."""
    asked = []

    def counted(seeds, copies, purpose, iteration, layer):
        asked.extend((s, c, iteration, layer) for s, c in zip(seeds, copies, strict=True))
        return noise(seeds, copies, purpose, iteration, layer)

    monkeypatch.setattr(_plain, "noise", counted)
    train(*what, SEEDS, begin="9it", copies=[0, 5, 2])
    layers = ("dropout1", "dropout2")
    members = zip(SEEDS, (0, 5, 2), strict=True)
    assert sorted(asked) == [(*m, i, n) for m in members for i in range(9, 30) for n in layers]


def test_a_member_alone_is_the_member_in_the_population(what):
    net, start, mask, toy, how = what
    together = train(*what, SEEDS)
    for i, seed in enumerate(SEEDS):
        mine = {n: w[i : i + 1] for n, w in start.items()}
        alone = train(net, mine, mask.member(i), toy, how, [seed])
        assert same(alone.weights, together.member(i).weights)


def test_members_trained_as_one_job_are_those_trained_apart(what):
    """As on a GPU, where all members take each step together."""
    net, start, mask, toy, how = what
    apart = train(*what, SEEDS)
    job = _train.Job(
        net, start, mask, toy, how, tuple(SEEDS), (0, 0, 0), 0, 30, (), ("test",),
        lambda step: how.iteration(step, len(toy.train)),
    )  # fmt: skip
    engine = _plain.Plain(job)
    for first in range(0, 30, 10):
        engine.advance(first, first + 10)
    for name, w in engine.weights.items():
        torch.testing.assert_close(w, apart.weights[name], rtol=1e-5, atol=1e-7)


def test_a_run_in_two_parts_leaves_out_what_the_straight_run_does(what):
    net, start, mask, toy, _ = what
    how = replace(RECIPE, optimiser=SGD(0.05))  # which remembers nothing
    straight = train(net, start, mask, toy, how, SEEDS)
    half = train(net, start, mask, toy, how, SEEDS, end="11it")
    rest = train(net, half.weights, mask, toy, how, SEEDS, begin="11it")
    assert same(rest.weights, straight.weights)


class Place:
    """A checkpoint in memory."""

    held = None

    def save(self, tensors, note):
        self.held = ({n: t.clone() for n, t in tensors.items()}, note)

    def load(self):
        return self.held


def test_resumed_equals_straight_to_the_bit(what):
    straight, places = train(*what, SEEDS), [Place() for _ in SEEDS]
    calls = iter(range(7))

    def progress(_):
        if next(calls, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*what, SEEDS, progress=progress, checkpoints=places)
    assert any(place.held and 0 < place.held[1]["at"] < 30 for place in places)
    resumed = train(*what, SEEDS, checkpoints=places)
    assert same(resumed.weights, straight.weights)
    assert resumed.history.equals(straight.history)


# The way that is taken ----------------------------------------------------------------------------


def test_a_lenet_with_dropout_goes_the_plain_way(what):
    """The compiled kernels know no dropout, and nobody would notice."""
    _, start, mask, toy, how = what
    assert train(*what, SEEDS).paths == ("plain",) * 3
    plain = build("lenet-300-100", (1, 4, 4), 4, 0.05)
    assert "plain" not in train(plain, start, mask, toy, how, SEEDS).paths


def test_what_draws_at_every_step_is_not_captured(what, monkeypatch):
    """A recorded step would leave out the same units for ever."""
    net, start, mask, toy, how = what
    monkeypatch.setenv("LTH_COMPILE", "eager")

    def job(model):
        return _train.Job(
            model, start, mask, toy, how, tuple(SEEDS), (0, 0, 0), 0, 30, (), (), lambda _: 0
        )

    assert _captured.takes(job(build("lenet-300-100", (1, 4, 4), 4, 0.05)))
    assert not _captured.takes(job(net))
    assert train(*what, SEEDS).paths == ("plain",) * 3


def test_pruned_weights_stay_zero_under_dropout(what):
    mask = what[2]
    weights = train(*what, SEEDS).weights
    assert all((weights[n][~kept] == 0).all() for n, kept in mask.items())


@pytest.mark.parametrize("name", ["lenet-300-100", "conv-2"])
def test_the_whole_procedure_runs_and_keeps_its_units_apart(toy_task, tmp_path, name):
    task = replace(toy_task, network=name, prune=toy_task.prune | {"conv": 0.2}, levels=1)
    task = replace(task, recipe=replace(task.recipe, duration="5it"))
    plain = imp(task, treatments=("ticket",), store=Store(tmp_path))
    dropped = replace(task, dropout=0.5)
    found = imp(dropped, treatments=("ticket",), store=Store(tmp_path))
    assert found.paths == {"plain": 4} and "(0.05 × the width, dropout 0.5)" in dropped.describe()
    assert not found.table.value.equals(plain.table.value)  # nothing was taken for the other
    again = imp(dropped, treatments=("ticket",), store=Store(tmp_path / "b"))
    assert again.table.equals(found.table)


def test_a_worker_leaves_out_the_same(toy_task, toy, tmp_path):
    """What is sent carries the layer, its rate and its name."""
    task = replace(toy_task, dropout=0.5, levels=1)
    here = imp(task, treatments=("ticket",), store=Store(tmp_path / "a"))
    net = cloudpickle.loads(cloudpickle.dumps(task.model))
    assert [m.rate for m in net.modules() if isinstance(m, Dropout)] == [0.5, 0.5]
    run = train(net, task.init([0]), task.dense_mask([0]), toy, task.recipe, [0])
    assert run.accuracy().item() == pytest.approx(
        here.table.query("treatment == 'dense' and replicate == 0 and split == 'test' and "
                         "metric == 'accuracy' and moment == 'end'").value.item()
    )  # fmt: skip


# In PyTorch code of a reader's own ----------------------------------------------------------------


def test_a_copy_made_for_pytorch_drops_by_pytorch_s_own_draws(what):
    net, start, *_ = what
    train(*what, SEEDS)
    module, images = models.to_module(net, start, 1), torch.randn(50, 1, 4, 4)
    module.train()
    torch.manual_seed(3)
    first, second = module(images), module(images)
    torch.manual_seed(3)
    assert torch.equal(module(images), first) and not torch.equal(first, second)
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    first.sum().backward()
    optimiser.step()
    module.eval()
    assert torch.equal(module(images), module(images))
    plain = build("lenet-300-100", (1, 4, 4), 4, 0.05)
    plain.load_state_dict(module.state_dict())  # the names are those of the plain network
    assert torch.equal(plain(images), module(images))


def test_dead_units_are_found_behind_dropout(net, some_mask):
    """A network that cannot be read counts as alive throughout, and nobody is told."""
    plain = build("lenet-300-100", (1, 4, 4), 4, 0.05)
    mask = some_mask(models.dense_mask(net).shapes, members=1)
    mask["output.weight"][0, :, :2] = False
    found, expected = shrinking.live(net, mask), shrinking.live(plain, mask)
    assert found["fc2.weight"][1].tolist() == [False, False, True, True, True]
    assert all(torch.equal(a, b) for n in mask for a, b in zip(found[n], expected[n], strict=True))
    small = shrinking.shrink(net, models.initialise(net, [0]), mask)
    images = torch.randn(6, 1, 4, 4)
    full = models.forward(net, mask.apply(models.initialise(net, [0])), images)
    torch.testing.assert_close(models.forward(small.model, small.weights, images), full)


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, float("nan")])
def test_a_rate_that_is_none_is_refused(rate):
    message = "dropout rate is at least 0 and below 1; got"
    with pytest.raises(InputError, match=message):
        Dropout(rate)
    with pytest.raises(InputError, match=message):
        build("lenet-300-100", (1, 4, 4), 4, 0.05, dropout=rate)


@pytest.mark.parametrize("name", ["resnet-20", "vgg-11"])
def test_a_network_without_a_hidden_layer_to_drop_from_says_so(name):
    """Dropout that a study asks for and that is not there."""
    with pytest.raises(InputError, match="hidden layers that are fully connected; none is"):
        build(name, (3, 16, 16), 4, 0.1, dropout=0.5)


def test_a_network_that_is_refused_stays_as_it_was():
    net = build("lenet-300-100", (1, 4, 4), 4, 0.05)
    before = repr(net)
    with pytest.raises(InputError):
        add_dropout(net, 2)
    assert repr(net) == before
