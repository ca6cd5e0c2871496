"""What criteria learn from data: gradients against automatic differentiation, inputs by hand."""

import inspect
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lth_utils import models, pruning
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.pruning import CRITERIA, Probe, criterion
from lth_utils.randomness import stream
from lth_utils.store import Store

SEEDS = [0, 1, 2]
LOOKING = ("gradient", "activation", "sensitivity", "momentum")
"""The criteria that look at data."""


@pytest.fixture
def make_task(toy_task):
    """``make(network, **changes)``: the toy task with another network, weights a bit trained."""

    def make(network="lenet-300-100", **changes):
        kinds = {"conv": 0.2, "shortcut": 0.1}
        task = replace(toy_task, network=network, prune=toy_task.prune | kinds, **changes)
        weights = task.init(SEEDS)
        generator = torch.Generator().manual_seed(0)
        for name, w in weights.items():  # biases and statistics that are not neutral
            if w.dim() == 2:
                weights[name] = w + 0.1 * torch.rand(w.shape, generator=generator)
        return task, weights

    return make


def batches(task, seed, level=0):
    """The images and labels that a probe looks at."""
    data = task.data
    order = stream(seed, "probe", level).permutation(len(data.train))
    while len(order) < 20 * task.recipe.batch:  # from the beginning once more
        order = np.concatenate([order, order])
    for index in order[: 20 * task.recipe.batch].reshape(20, -1):
        yield data.normalise(data.train.images[index]), data.train.labels[index]


def modules(task, weights):
    """Each member as a module of its own, as it is used."""
    return [models.to_module(task.model, weights, r).eval() for r in range(len(SEEDS))]


def close(a, b, **tolerance):
    torch.testing.assert_close(a, b, **({"rtol": 1e-4, "atol": 1e-6} | tolerance))


# Gradients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["lenet-300-100", "conv-2"])
def test_the_gradient_is_that_of_the_mean_loss_over_the_same_images(make_task, network):
    """A sum taken for a mean, another split, or biases among the weights."""
    task, weights = make_task(network)
    probe = Probe.of(task, weights, SEEDS, level=2)
    assert set(probe.gradient) == set(models.prunable(task.model))
    for r, (seed, net) in enumerate(zip(SEEDS, modules(task, weights), strict=True)):
        images, labels = (torch.cat(part) for part in zip(*batches(task, seed, 2), strict=True))
        F.cross_entropy(net(images), labels).backward()
        for name, gradient in probe.gradient.items():
            close(gradient[r], net.get_parameter(name).grad)


@pytest.mark.parametrize("network", ["lenet-300-100", "conv-2"])
def test_the_size_is_the_mean_of_absolute_values_never_below_that_of_the_mean(make_task, network):
    task, weights = make_task(network)
    probe = Probe.of(task, weights, SEEDS)
    for name, size in probe.size.items():
        assert (size >= probe.gradient[name].abs() - 1e-6).all()
        assert (size > 1.5 * probe.gradient[name].abs()).any()  # batches do disagree
    [net, *_] = modules(task, weights)
    sizes = {name: 0 for name in probe.size}
    for images, labels in batches(task, SEEDS[0]):
        net.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        sizes = {n: s + net.get_parameter(n).grad.abs() / 20 for n, s in sizes.items()}
    for name, size in sizes.items():
        close(probe.size[name][0], size)


def test_the_momentum_is_a_tenth_of_what_sgd_holds(make_task):
    """PyTorch's own optimiser is the oracle; the order of the batches counts."""
    task, weights = make_task()
    probe = Probe.of(task, weights, SEEDS)
    for r, (seed, net) in enumerate(zip(SEEDS, modules(task, weights), strict=True)):
        optimiser = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9)
        for images, labels in batches(task, seed):
            optimiser.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimiser.step()
        for name, momentum in probe.momentum.items():
            held = optimiser.state[net.get_parameter(name)]["momentum_buffer"]
            close(momentum[r], held / 10)


def test_every_image_is_looked_at_before_one_is_looked_at_again(make_task, monkeypatch):
    """97 images and 20 batches of 10: 3 images a third time, none of the others."""
    task, weights = make_task()
    data = task.data
    seen = []
    normalise = type(data).normalise
    monkeypatch.setattr(
        type(data), "normalise", lambda self, x, *more: seen.append(x) or normalise(self, x, *more)
    )
    Probe.of(task, {n: w[:1] for n, w in weights.items()}, [0])
    images = torch.cat(seen).flatten(1)
    assert len(seen) == 20 and len(images) == 200
    of = {tuple(image.tolist()): i for i, image in enumerate(data.train.images.flatten(1))}
    counts = np.bincount([of[tuple(image.tolist())] for image in images], minlength=97)
    assert sorted(counts) == [2] * 91 + [3] * 6


def test_each_seed_and_level_looks_at_batches_of_its_own(make_task):
    task, weights = make_task()
    alike = {n: w[:1].expand(3, *w.shape[1:]).clone() for n, w in weights.items()}
    first = Probe.of(task, alike, [0, 1, 0], level=1).momentum["fc1.weight"]
    assert torch.equal(first[0], first[2]) and not torch.equal(first[0], first[1])
    second = Probe.of(task, alike, [0, 1, 0], level=2).momentum["fc1.weight"]
    assert not torch.equal(first, second)


# Inputs -------------------------------------------------------------------------------------------


def test_the_inputs_of_linear_layers_are_those_computed_by_hand(make_task):
    task, weights = make_task()
    found = Probe.of(task, weights, SEEDS).inputs
    assert {n: tuple(x.shape) for n, x in found.items()} == {
        "fc1.weight": (3, 1, 16),
        "fc2.weight": (3, 1, 15),
        "output.weight": (3, 1, 5),
    }
    for r, seed in enumerate(SEEDS):
        x = torch.cat([images for images, _ in batches(task, seed)]).flatten(1)
        for layer, behind in (("fc1", torch.relu), ("fc2", torch.relu), ("output", None)):
            close(found[f"{layer}.weight"][r], x.abs().mean(0, keepdim=True))
            x = x @ weights[f"{layer}.weight"][r].T + weights[f"{layer}.bias"][r]
            x = behind(x) if behind else x


def test_the_inputs_of_convolutions_are_means_over_the_places_of_a_channel(make_task):
    """And what comes in behind the flattening is one number a unit, not one a channel."""
    task, weights = make_task("conv-2")
    found = Probe.of(task, weights, SEEDS).inputs
    channels = weights["conv1.weight"].shape[2]
    for r, seed in enumerate(SEEDS):
        x = torch.cat([images for images, _ in batches(task, seed)])
        assert found["conv1.weight"].shape == (3, 1, channels, 1, 1)
        close(found["conv1.weight"][r, 0, :, 0, 0], x.abs().mean((0, 2, 3)))
        for layer in ("conv1", "conv2"):
            w, b = weights[f"{layer}.weight"][r], weights[f"{layer}.bias"][r]
            before, x = x, torch.relu(F.conv2d(x, w, b, padding=1))
        close(found["conv2.weight"][r, 0, :, 0, 0], before.abs().mean((0, 2, 3)))
        flat = F.max_pool2d(x, 2).flatten(1)
        assert found["fc1.weight"].shape == (3, 1, flat.shape[1])
        close(found["fc1.weight"][r, 0], flat.abs().mean(0))


def test_the_inputs_of_a_residual_network_are_those_of_each_layer_shortcuts_too(make_task):
    """A shortcut reads what its block reads. The statistics, not the batch's own, normalise."""
    task, weights = make_task("resnet-20", width=0.1)
    found = Probe.of(task, weights, SEEDS).inputs
    shortcuts = [n for n, kind in models.prunable(task.model).items() if kind == "shortcut"]
    assert len(found) == 22 and len(shortcuts) == 2
    for name in shortcuts:
        first = name.replace("shortcut.conv", "conv1")
        assert torch.equal(found[name], found[first])
    heard = {}
    [net, *_] = modules(task, weights)
    for name in found:
        net.get_submodule(name.removesuffix(".weight")).register_forward_hook(
            lambda layer, x, y, name=name: heard.setdefault(name, []).append(x[0])
        )
    with torch.no_grad():
        for images, _ in batches(task, SEEDS[0]):
            net(images)
    for name, x in found.items():
        inputs = torch.cat(heard[name]).abs()
        mean = inputs.mean(0) if inputs.dim() == 2 else inputs.mean((0, 2, 3))
        close(x[0].flatten(), mean)


def test_the_features_of_a_linear_layer_are_its_last_axis(make_task):
    """Tokens, or rows, taken for features: with as many of either, nobody would notice."""

    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.output = nn.Linear(4, 6), nn.Linear(6, 4)

        def forward(self, images):  # (B, 1, 4, 4): four rows of four pixels
            return self.output(torch.relu(self.rows(images.squeeze(1))).mean(1))

    task, _ = make_task()
    task.__dict__["model"] = Rows()
    found = Probe.of(task, models.initialise(task.model, [0]), [0]).inputs["rows.weight"]
    x = torch.cat([images for images, _ in batches(task, 0)])
    assert found.shape == (1, 1, 4)
    close(found[0, 0], x.abs().mean((0, 1, 2)))


# What is asked for --------------------------------------------------------------------------------


@pytest.fixture
def probes(monkeypatch):
    """How often data were looked at."""
    calls, of = [], Probe.of.__func__

    def counted(cls, *arguments):
        calls.append(arguments)
        return of(cls, *arguments)

    monkeypatch.setattr(Probe, "of", classmethod(counted))
    return calls


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_data_are_looked_at_once_a_level_and_only_for_a_criterion_that_asks(
    make_task, probes, name
):
    """Twenty batches for every layer, or for magnitude, which asks for none."""
    task, weights = make_task()
    mask = task.dense_mask(SEEDS)
    CRITERIA[name](weights, mask, 0.2, start=task.init(SEEDS), seeds=SEEDS, task=task)
    assert len(probes) == (name in LOOKING)


@pytest.mark.parametrize("name", ["magnitude", "smallest"])
def test_what_a_criterion_does_not_look_at_need_not_be_given(make_task, name):
    task, weights = make_task()
    CRITERIA[name](weights, task.dense_mask(SEEDS), 0.2)  # no start, no seeds, no task


@pytest.mark.parametrize("name", LOOKING)
@pytest.mark.parametrize("lacks", ["task", "seeds"])
def test_a_criterion_that_looks_at_data_says_what_it_needs(make_task, name, lacks):
    task, weights = make_task()
    given = {"task": task, "seeds": SEEDS} | {lacks: None}
    with pytest.raises(InputError, match=r"looks at training images: pass task=... and seeds"):
        CRITERIA[name](weights, task.dense_mask(SEEDS), 0.2, **given)


@pytest.mark.parametrize("name", LOOKING)
def test_every_member_has_a_seed_of_its_own(make_task, name):
    """One member's inputs that serve all of them, by broadcasting."""
    task, weights = make_task()
    for seeds in ([0], [0, 1, 2, 3]):
        with pytest.raises(InputError, match=f"{len(seeds)} seeds for 3 sets of weights"):
            CRITERIA[name](weights, task.dense_mask(SEEDS), 0.2, seeds=seeds, task=task)


def test_weights_that_lack_their_biases_are_not_made_up_from_the_module_s_own(make_task):
    task, weights = make_task()
    del weights["fc1.bias"]
    with pytest.raises(InputError, match=r"lack fc1.bias"):
        pruning.gradient(weights, task.dense_mask(SEEDS), 0.2, seeds=SEEDS, task=task)


# Members, and what stays as it was ----------------------------------------------------------------


@pytest.mark.parametrize("network", ["lenet-300-100", "conv-2"])
def test_a_member_alone_is_the_member_in_the_population(make_task, network):
    task, weights = make_task(network)
    together = Probe.of(task, weights, SEEDS, 1)
    for r, seed in enumerate(SEEDS):
        alone = Probe.of(task, {n: w[r : r + 1] for n, w in weights.items()}, [seed], 1)
        for part in ("gradient", "size", "momentum", "inputs"):
            for name, x in getattr(together, part).items():
                assert torch.equal(getattr(alone, part)[name][0], x[r])


def test_the_model_its_modes_its_statistics_and_the_weights_stay_as_they_were(make_task):
    """A look that teaches batch norm, or that leaves a network in evaluation."""
    task, weights = make_task("resnet-20", width=0.1)
    model = task.model.train()
    model.bn.eval()
    modes = [m.training for m in model.modules()]
    values = {n: v.clone() for n, v in model.state_dict().items()}
    given = {n: w.clone() for n, w in weights.items()}
    Probe.of(task, weights, SEEDS)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, values[n]) for n, v in model.state_dict().items())
    assert all(torch.equal(w, given[n]) and not w.requires_grad for n, w in weights.items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_a_look_that_fails_leaves_no_hook_and_no_mode_behind(make_task, monkeypatch):
    task, weights = make_task("resnet-20", width=0.1)
    task.model.train()

    def fails(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.autograd, "grad", fails)
    with pytest.raises(KeyboardInterrupt):
        Probe.of(task, weights, SEEDS)
    assert all(m.training for m in task.model.modules())
    assert not any(m._forward_hooks for m in task.model.modules())


def test_nothing_is_left_out_while_a_network_is_looked_at(make_task):
    """Dropout would make the gradients of one network those of another."""
    task, weights = make_task()
    dropped = replace(task, dropout=0.5)
    for part in ("gradient", "inputs"):
        one, other = (getattr(Probe.of(t, weights, SEEDS), part) for t in (task, dropped))
        assert all(torch.equal(one[n], other[n]) for n in one)


# Dead and pruned weights --------------------------------------------------------------------------


def test_pruned_weights_are_zero_for_whoever_looks(make_task):
    """Gradients of a network that is not the one that was trained."""
    task, weights = make_task()
    mask = pruning.magnitude(weights, task.dense_mask(SEEDS), 0.5)
    filled = {n: torch.where(mask[n], w, 1e6) if n in mask else w for n, w in weights.items()}
    for name in LOOKING:
        prune = CRITERIA[name]
        found = prune(mask.apply(weights), mask, 0.3, seeds=SEEDS, task=task)
        assert found == prune(filled, mask, 0.3, seeds=SEEDS, task=task)
        assert found <= mask and found != mask


@pytest.mark.parametrize("name", LOOKING)
def test_weights_of_a_dead_unit_score_nothing_and_go_first(make_task, name):
    """A unit that no image switches on passes nothing on, and no gradient comes back."""
    task, weights = make_task()
    weights["fc1.bias"][:, 4] = -1e6
    probe = Probe.of(task, weights, SEEDS)
    assert (probe.inputs["fc2.weight"][:, 0, 4] == 0).all()
    for part in (probe.gradient, probe.size, probe.momentum):
        assert (part["fc1.weight"][:, 4] == 0).all() and (part["fc2.weight"][:, :, 4] == 0).all()
        assert (part["fc1.weight"] != 0).any()
    mask = CRITERIA[name](weights, task.dense_mask(SEEDS), 0.2, seeds=SEEDS, task=task)
    assert not mask["fc2.weight"][:, :, 4].any()


# Criteria -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_a_criterion_is_at_most_five_lines(name):
    """If it takes more, the mechanism is wrong."""
    source = inspect.getsource(CRITERIA[name].scores)
    assert len(source.strip().splitlines()) <= 5


def test_each_criterion_keeps_what_it_says(make_task):
    task, weights = make_task()
    probe, dense = Probe.of(task, weights, SEEDS), task.dense_mask(SEEDS)
    w = weights["fc2.weight"].abs()
    scores = {
        "gradient": probe.size["fc2.weight"],
        "activation": w * probe.inputs["fc2.weight"],
        "sensitivity": w * probe.size["fc2.weight"],
        "momentum": probe.momentum["fc2.weight"].abs(),
    }
    assert set(scores) == set(LOOKING)
    found = {}
    for name, score in scores.items():
        mask = CRITERIA[name](weights, dense, 0.4, seeds=SEEDS, task=task)["fc2.weight"]
        for r in range(3):
            assert score[r][~mask[r]].max() <= score[r][mask[r]].min()
        found[name] = mask
    assert len({str(mask.tolist()) for mask in found.values()}) == 4


@pytest.mark.parametrize("name", LOOKING)
@pytest.mark.parametrize("scope", pruning.SCOPES)
def test_it_works_on_convolutions_in_either_scope(make_task, name, scope):
    task, weights = make_task("conv-2")
    mask = task.dense_mask(SEEDS)
    for level in (1, 2):
        before = mask
        mask = CRITERIA[name](
            weights, mask, task.fractions, scope, seeds=SEEDS, level=level, task=task
        )
        gone = {n: [round(task.fractions[n] * k) for k in before[n].flatten(1).sum(1).tolist()]
                for n in before}  # fmt: skip
        assert mask <= before
        assert (before.kept - mask.kept).tolist() == [
            sum(counts) for counts in zip(*gone.values(), strict=True)
        ]
        if scope == "layer":
            for n, counts in gone.items():
                assert (before[n] & ~mask[n]).flatten(1).sum(1).tolist() == counts


@pytest.mark.parametrize("name", LOOKING)
def test_it_works_in_the_whole_procedure_and_again_from_the_store(toy_task, tmp_path, name):
    """What is read back is pruned as what was trained: the draws go by seed and level."""
    found, again = (
        imp(toy_task, criterion=name, treatments=("ticket",), store=Store(tmp_path))
        for _ in range(2)
    )
    assert all(a.mask == b.mask for a, b in zip(found.tickets, again.tickets, strict=True))
    assert again.table.equals(found.table)
    alone = imp(
        toy_task, seeds=[1], criterion=name, treatments=("ticket",), store=Store(tmp_path / "b")
    )
    assert all(
        a.mask == b.mask.member(1) for a, b in zip(alone.tickets, found.tickets, strict=True)
    )


def test_a_reader_s_own_criterion_may_look_at_all_of_it(make_task, probes, monkeypatch):
    monkeypatch.setattr(pruning, "CRITERIA", dict(CRITERIA))

    @criterion
    def everything(layer):
        """Taylor's first two orders, roughly, plus a little of all else."""
        moved = layer.weights - layer.start
        seen = layer.gradient.abs() + layer.gradient_size + layer.momentum.abs()
        return (moved.abs() + seen) * layer.activations + layer.uniform()

    task, weights = make_task("conv-2")
    mask = everything(
        weights, task.dense_mask(SEEDS), 0.5, "global", start=task.init(SEEDS), seeds=SEEDS,
        task=task,
    )  # fmt: skip
    assert mask.kept.tolist() == [mask.size - sum(round(0.5 * w[0].numel())
                                  for w in mask.values())] * 3  # fmt: skip
    assert len(probes) == 1


def test_a_probe_is_the_same_on_a_chain_with_no_names(make_task):
    """A network that is one layer is called by the empty name."""
    task, _ = make_task()

    class Alone(nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(1))

    named = nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=nn.Linear(16, 4)))
    weights = models.initialise(named, [0])
    task.__dict__["model"] = named
    expected = Probe.of(task, weights, [0]).gradient["output.weight"]
    task.__dict__["model"] = Alone(16, 4)
    renamed = {n.removeprefix("output."): w for n, w in weights.items()}
    found = Probe.of(task, renamed, [0]).gradient["weight"]
    torch.testing.assert_close(found, expected)
