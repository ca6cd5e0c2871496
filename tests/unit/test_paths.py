"""The fast paths: each must give what the plain path gives."""

import threading
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn

from lth_utils import models
from lth_utils.masks import Mask
from lth_utils.recipes import SGD, Adam, Augment, Recipe, Schedule
from lth_utils.training import _sparse, _train, train

OPTIMISERS = {
    "adam": Adam(0.01),
    "sgd": SGD(0.1),
    "momentum and decay": SGD(0.05, momentum=0.9, decay=0.01),
    "nesterov": SGD(0.05, momentum=0.9, nesterov=True),
}
SEEDS = [0, 1, 2]


def recipe(optimiser="adam", iterations=50, **more):
    return Recipe(f"{iterations}it", 10, OPTIMISERS[optimiser], every="7it", **more)


def tanh_net():
    layers = OrderedDict(
        flatten=nn.Flatten(),
        fc1=nn.Linear(16, 12, bias=False),
        tanh=nn.Tanh(),
        rest=nn.Identity(),
        fc2=nn.Linear(12, 7),
        relu=nn.ReLU(),
        output=nn.Linear(7, 4),
    )
    return nn.Sequential(layers)


def weights_of(net, dtype=torch.float64):
    """Biases are not zero, so that a unit without inputs is alive."""
    start = models.initialise(net, SEEDS)
    return {
        n: (w + 0.05 if n.endswith("bias") else w).to(dtype) for n, w in start.items()
    }  # fmt: skip


def random_mask(net, density, seed=0):
    """Each member other than the others, with rows and columns that are empty."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for name, shape in models.dense_mask(net).shapes.items():
        k = torch.rand(len(SEEDS), *shape, generator=generator) < density
        k[0, shape[0] // 2] = False  # a unit that reads nothing
        k[1, :, shape[1] // 2] = False  # a unit, or a pixel, that nobody reads
        k[2, :, : shape[1] // 2] = False
        kept[name] = k
    return Mask(kept)


def on(path, monkeypatch, *arguments, **options):
    """The run on a named path, and a check that it was taken."""
    with monkeypatch.context() as patch:
        patch.setenv("LTH_SPARSE", "1" if path == "sparse" else "0")
        patch.setenv("LTH_DENSE", "1" if path == "dense" else "0")
        patch.setattr(_sparse, "BELOW", 2.0)
        run = train(*arguments, **options)
    assert run.paths == (path,) * len(run.paths)
    return run


def close(a, b, rtol, atol=0.0):
    assert set(a) == set(b)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=rtol, atol=atol, msg=name)


# Equal to the plain path --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["dense", "sparse"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("make", [lambda: models.LeNet((1, 4, 4), 4, 0.05), tanh_net])
def test_fifty_steps_in_double_precision(path, optimiser, make, toy, monkeypatch):
    net = make()
    what = (net, weights_of(net), random_mask(net, 0.4), toy, recipe(optimiser), SEEDS)
    plain = on("plain", monkeypatch, *what, keep=(0, 13, 50))
    fast = on(path, monkeypatch, *what, keep=(0, 13, 50))
    for step in (0, 13, 50):
        close(fast.at[step], plain.at[step], rtol=1e-9, atol=1e-14)
    columns = ["member", "seed", "moment", "step", "split", "metric"]
    assert fast.history[columns].equals(plain.history[columns])
    close(
        {"value": torch.tensor(fast.history.value.to_numpy())},
        {"value": torch.tensor(plain.history.value.to_numpy())},
        rtol=1e-9,
    )


@pytest.mark.parametrize("seed", range(12))
def test_many_masks_on_the_sparse_path(seed, toy, net, monkeypatch):
    density = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0][seed % 6]
    what = (net, weights_of(net), random_mask(net, density, seed), toy, recipe(), SEEDS)
    plain, fast = (on(path, monkeypatch, *what) for path in ("plain", "sparse"))
    close(fast.weights, plain.weights, rtol=1e-9, atol=1e-14)


def test_a_network_of_which_nothing_is_left(toy, net, monkeypatch):
    nothing = Mask({n: torch.zeros(3, *s, dtype=torch.bool) for n, s in random_shapes(net)})
    what = (net, weights_of(net), nothing, toy, recipe(), SEEDS)
    plain, fast = (on(path, monkeypatch, *what) for path in ("plain", "sparse"))
    close(fast.weights, plain.weights, rtol=1e-9, atol=1e-14)


def random_shapes(net):
    return models.dense_mask(net).shapes.items()


@pytest.mark.parametrize("path", ["dense", "sparse"])
def test_ten_steps_in_single_precision(path, toy, net, monkeypatch):
    how = recipe("momentum and decay", 10)  # Adam divides by numbers that are mostly rounding
    what = (net, weights_of(net, torch.float32), random_mask(net, 0.4), toy, how, SEEDS)
    plain, fast = (on(p, monkeypatch, *what) for p in ("plain", path))
    assert fast.weights["fc1.weight"].dtype == torch.float32
    close(fast.weights, plain.weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("path", ["dense", "sparse"])
def test_ends_of_training_agree_in_distribution(path, toy, net, monkeypatch):
    """In single precision two paths part after some hundred steps; their results must not."""
    seeds = range(24)
    start = models.initialise(net, seeds)
    mask = Mask.cat([random_mask(net, 0.4, seed).member(0) for seed in seeds])
    what = (net, start, mask, toy, recipe(iterations=120), list(seeds))
    plain, fast = (on(p, monkeypatch, *what).accuracy() for p in ("plain", path))
    gap = fast - plain  # paired by seed
    assert abs(gap.mean()) <= 3 * max(gap.std(), 1.0) / len(gap) ** 0.5
    assert plain.mean() > 50


@pytest.mark.parametrize("path", ["dense", "sparse"])
def test_a_schedule_and_a_late_beginning(path, toy, net, monkeypatch):
    how = replace(recipe(), schedule=Schedule(milestones=("50%",), warmup="10it"))
    what = (net, weights_of(net), random_mask(net, 0.4), toy, how, SEEDS)
    plain, fast = (on(p, monkeypatch, *what, begin="4it", end=44) for p in ("plain", path))
    close(fast.weights, plain.weights, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.faults)])
def test_the_captured_step_is_the_plain_step(backend, toy, net, monkeypatch):
    how = replace(recipe(), augment=Augment(True, 1), schedule=Schedule(warmup="20it"))
    for optimiser in ("adam", "nesterov"):
        this = replace(how, optimiser=OPTIMISERS[optimiser])
        what = (net, weights_of(net), random_mask(net, 0.4), toy, this, SEEDS)
        plain = on("plain", monkeypatch, *what)
        monkeypatch.setenv("LTH_COMPILE", backend)
        captured = on("captured", monkeypatch, *what)
        monkeypatch.delenv("LTH_COMPILE")
        close(captured.weights, plain.weights, rtol=1e-9, atol=1e-14)


# Which path is taken ------------------------------------------------------------------------------


def test_the_choice_is_a_rule_of_density_and_kind(toy, net):
    start, how = weights_of(net), recipe(iterations=1)
    paths = {
        density: train(net, start, random_mask(net, density), toy, how, SEEDS).paths
        for density in (0.15, 1.0)
    }
    assert paths[0.15] == ("sparse",) * 3
    assert set(paths[1.0]) == {"dense"}
    shaken = replace(how, augment=Augment(flip=True))
    assert set(train(net, start, random_mask(net, 0.1), toy, shaken, SEEDS).paths) == {"plain"}
    rounded = replace(how, precision="bfloat16")
    assert set(train(net, start, random_mask(net, 0.1), toy, rounded, SEEDS).paths) == {"plain"}


def test_each_fast_path_can_be_turned_off(toy, net, monkeypatch):
    what = (net, weights_of(net), random_mask(net, 0.1), toy, recipe(iterations=1), SEEDS)
    monkeypatch.setenv("LTH_SPARSE", "0")
    assert set(train(*what).paths) == {"dense"}
    monkeypatch.setenv("LTH_DENSE", "0")
    assert set(train(*what).paths) == {"plain"}


# Alone, together, and taken up again --------------------------------------------------------------


@pytest.mark.parametrize("path", ["plain", "dense", "sparse"])
def test_a_member_alone_is_the_same_member_in_a_population(path, toy, net, monkeypatch):
    start, mask = weights_of(net, torch.float32), random_mask(net, 0.4)
    together = on(path, monkeypatch, net, start, mask, toy, recipe(), SEEDS, threads=1)
    for i, seed in enumerate(SEEDS):
        mine = {n: w[i : i + 1] for n, w in start.items()}
        alone = on(path, monkeypatch, net, mine, mask.member(i), toy, recipe(), [seed], threads=1)
        close(alone.weights, together.member(i).weights, rtol=0)
        assert alone.history.value.equals(together.member(i).history.value.reset_index(drop=True))


class Place:
    """A checkpoint in memory, which counts."""

    def __init__(self):
        self.held, self.saves, self.loads = None, 0, 0

    def save(self, tensors, note):
        self.held, self.saves = ({n: t.clone() for n, t in tensors.items()}, note), self.saves + 1

    def load(self):
        self.loads += self.held is not None
        return self.held


def interrupted(when, *arguments, **options):
    """Training that is stopped after ``when`` calls of its progress."""
    calls = iter(range(when))

    def progress(_):
        if next(calls, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*arguments, progress=progress, **options)


@pytest.mark.parametrize("path", ["plain", "dense", "sparse"])
@pytest.mark.parametrize("optimiser", ["adam", "nesterov"])
def test_resumed_equals_straight_to_the_bit(path, optimiser, toy, net, monkeypatch):
    what = (net, weights_of(net, torch.float32), random_mask(net, 0.4), toy, recipe(optimiser))
    straight = on(path, monkeypatch, *what, SEEDS, keep=(10, 30))
    monkeypatch.setattr(_sparse, "BELOW", 2.0)
    monkeypatch.setenv("LTH_SPARSE", "1" if path == "sparse" else "0")
    monkeypatch.setenv("LTH_DENSE", "0" if path == "plain" else "1")
    places = [Place() for _ in SEEDS]
    for when in (1, 7, 4, 2):  # several interruptions of one training
        interrupted(when, *what, SEEDS, keep=(10, 30), checkpoints=places)
    assert all(place.saves and place.loads for place in places)
    resumed = train(*what, SEEDS, keep=(10, 30), checkpoints=places)
    close(resumed.weights, straight.weights, rtol=0)
    for step in (10, 30):
        close(resumed.at[step], straight.at[step], rtol=0)
    assert resumed.history.equals(straight.history)


def test_batch_norm_statistics_are_taken_up_again(make_dataset):
    net = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 3, 3),
            bn=nn.BatchNorm2d(3),
            relu=nn.ReLU(),
            flatten=nn.Flatten(),
            output=nn.Linear(12, 4),
        )
    )
    data = make_dataset(97, 41, 53)
    what = (net, models.initialise(net, SEEDS), models.dense_mask(net, 3), data, recipe())
    straight = train(*what, SEEDS)
    places = [Place() for _ in SEEDS]
    interrupted(9, *what, SEEDS, checkpoints=places)
    resumed = train(*what, SEEDS, checkpoints=places)
    assert all(place.loads for place in places)
    close(resumed.weights, straight.weights, rtol=0)
    assert resumed.history.equals(straight.history)


def test_a_checkpoint_of_another_path_is_not_mixed_in(toy, net, monkeypatch):
    what = (net, weights_of(net), random_mask(net, 0.1), toy, recipe(), SEEDS)
    places = [Place() for _ in SEEDS]
    interrupted(9, *what, checkpoints=places)
    monkeypatch.setenv("LTH_SPARSE", "0")
    run = train(*what, checkpoints=places)
    assert set(run.paths) == {"dense"}
    close(run.weights, train(*what).weights, rtol=0)


def test_an_error_in_one_member_stops_the_others_and_is_told(toy, net, monkeypatch):
    before = threading.active_count()
    looks = _train.Watch.validate

    def fails(self, step):
        if self.seeds == (1,) and step > 20:
            raise RuntimeError("member 1 cannot go on")
        looks(self, step)

    monkeypatch.setattr(_train.Watch, "validate", fails)
    with pytest.raises(RuntimeError, match="member 1 cannot go on"):
        train(net, weights_of(net), random_mask(net, 0.5), toy, recipe(), SEEDS)
    assert threading.active_count() == before  # nobody is left training


def test_pytorch_has_its_threads_back_afterwards(toy, net):
    threads = torch.get_num_threads()
    train(net, weights_of(net), random_mask(net, 0.5), toy, recipe(), SEEDS, threads=1)
    assert torch.get_num_threads() == threads
