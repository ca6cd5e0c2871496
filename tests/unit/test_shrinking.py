"""Shrinking is exact: the smaller network is the full one, in outputs, gradients and training."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

import lth_utils as lth
from lth_utils import models
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.shrinking import live, shrink

CLASSES = 3


def normed() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(32), nn.Linear(32, 9, bias=False), nn.BatchNorm1d(9),
        nn.Sigmoid(), nn.Linear(9, 7), nn.GELU(), nn.Linear(7, CLASSES),
    )  # fmt: skip


def normed_pictures() -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(32, 5), nn.ReLU(),
        nn.Linear(5, CLASSES),
    )  # fmt: skip


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, stride=1, padding=1, bias=False), nn.Flatten(), nn.ReLU(),
        nn.BatchNorm1d(20), nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, CLASSES),
    )  # fmt: skip


def all_convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.LeakyReLU(), nn.Conv2d(4, 6, 1, dilation=2), nn.ReLU(),
        nn.Conv2d(6, CLASSES, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


NETWORKS = {
    "lenet": lambda: models.LeNet((2, 4, 4), CLASSES, 0.05),
    "normed": normed,
    "normed pictures": normed_pictures,
    "no flatten": lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, CLASSES)),
    "one layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, CLASSES)),
    "convolutions": convolutions,
    "all convolutions": all_convolutions,
    "conv-4": lambda: models.build("conv-4", (2, 4, 4), CLASSES, 0.05),
}


@pytest.fixture(params=NETWORKS)
def model(request):
    return NETWORKS[request.param]()


def drawn(model, seed=0):
    """One member, in double precision, with nothing left at zero or one."""
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(rng.normal(size=(1, *shape)))
        if "running_var" not in name
        else torch.from_numpy(rng.uniform(0.5, 2, (1, *shape)))
        for name, shape in models.shapes(model).items()
    }


def holed(model, seed, density=None):
    """A random mask: layers of very different densities, with empty rows and columns."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in models.dense_mask(model).shapes.items():
        kept = rng.random(shape) < (density or rng.choice([0.05, 0.2, 0.6, 1.0]))
        kept[rng.random(shape[0]) < rng.choice([0, 0.4])] = False
        kept[:, rng.random(shape[1]) < rng.choice([0, 0.4])] = False
        tensors[name] = torch.from_numpy(kept)[None]
    return Mask(tensors)


def emptied(model, layer):
    """The dense mask without one whole layer."""
    mask = models.dense_mask(model)
    name = list(mask)[layer]
    return Mask({n: torch.zeros_like(k) if n == name else k for n, k in mask.items()})


def masks_of(model):
    yield models.dense_mask(model)
    yield ~models.dense_mask(model)
    yield emptied(model, 0)
    yield emptied(model, -1)
    yield from (holed(model, seed) for seed in range(12))


def pictures(model, batch=5, seed=0):
    last = 4 if isinstance(model[0], nn.Linear) else (2, 4, 4)
    shape = (batch, *last) if isinstance(last, tuple) else (batch, last)
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


# The same function --------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_smaller_network_computes_the_same_outputs(model, training):
    images = pictures(model)
    for mask in masks_of(model):
        full = mask.apply(drawn(model))
        small = shrink(model, full, mask)
        expected = models.forward(model, full, images, training)
        close(models.forward(small.model, small.weights, images, training), expected)
        models.check_weights(small.model, small.weights)
        small.mask.check(models.dense_mask(small.model).shapes, 1)
        assert list(small.model._modules) == list(model._modules)


def test_the_smaller_network_runs_as_a_module_and_takes_images_of_its_own(model):
    images = pictures(model)
    small = shrink(model, drawn(model), holed(model, 3))
    module = models.to_module(small.model.double(), small.weights).eval()
    expected = models.forward(small.model, small.weights, images)[0]
    with torch.no_grad():
        close(module(images), expected)
    if images.dim() == 4:
        close(models.forward(small.model, small.weights, images[None])[0], expected)
    assert models.is_stackable(small.model) == models.is_stackable(model)


def test_weights_that_the_mask_prunes_count_as_zero_even_if_they_are_not():
    model = NETWORKS["lenet"]()
    weights, mask, images = drawn(model), holed(model, 1), pictures(model)
    small = shrink(model, weights, mask)
    close(
        models.forward(small.model, small.weights, images),
        models.forward(model, mask.apply(weights), images),
    )


# The same gradients, the same training ------------------------------------------------------------


def gradients(model, weights, images):
    values = {n: w.clone() for n, w in weights.items()}
    for name in models.trainable(model):
        values[name].requires_grad_()
    models.forward(model, values, images, training=True).sin().sum().backward()
    return {name: values[name].grad for name in models.trainable(model)}


def test_what_is_left_has_the_same_gradient_and_what_went_has_none(model):
    images = pictures(model)
    for mask in masks_of(model):
        full = mask.apply(drawn(model))
        small = shrink(model, full, mask)
        found = gradients(small.model, small.weights, images)
        expected = gradients(model, full, images)
        ones = {n: torch.ones_like(w) for n, w in small.weights.items()}
        bare = shrink(model, {n: torch.zeros_like(w) for n, w in full.items()}, mask)
        stays = {n: w == 1 for n, w in bare.restore(ones).items()}
        for name, grad in expected.items():
            kept = mask[name] if name in mask else torch.ones_like(stays[name])
            left = small.mask[name] if name in mask else torch.ones_like(found[name]) > 0
            close(found[name][left], grad[stays[name] & kept])
            assert (grad[~stays[name] & kept] == 0).all(), name


def trained(model, weights, mask, optimiser, steps=20):
    """A plain loop: a step, then the mask, as in a textbook."""
    values = {n: w.clone() for n, w in weights.items()}
    tensors = [values[n].requires_grad_() for n in models.trainable(model)]
    optimiser = optimiser(tensors)
    for step in range(steps):
        images = pictures(model, 8, step) if isinstance(model[0], nn.Linear) else noise(step)
        outputs = models.forward(model, values, images, training=True)[0].flatten(0, -2)
        labels = torch.arange(len(outputs)) % CLASSES
        optimiser.zero_grad()
        nn.functional.cross_entropy(outputs, labels).backward()
        optimiser.step()
        with torch.no_grad():
            for name, kept in mask.items():
                values[name].mul_(kept)
    return {n: w.detach() for n, w in values.items()}


def noise(seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(8, 2, 4, 4)))


# Adam divides a gradient that is zero but for rounding by its eps of 1e-8.
OPTIMISERS = {
    "adam": (lambda tensors: torch.optim.Adam(tensors, lr=0.01), 1e-8),
    "momentum": (lambda tensors: torch.optim.SGD(tensors, lr=0.05, momentum=0.9), 1e-13),
}


@pytest.mark.parametrize("optimiser, atol", OPTIMISERS.values(), ids=OPTIMISERS)
def test_trained_small_and_restored_it_is_the_full_network_trained(model, optimiser, atol):
    for mask in list(masks_of(model))[1:8]:
        start = mask.apply(drawn(model))
        small = shrink(model, start, mask)
        found = small.restore(trained(small.model, small.weights, small.mask, optimiser))
        expected = trained(model, start, mask, optimiser)
        for name in expected:
            if "running" in name:
                continue  # nobody reads those of dead channels
            torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=atol)


def test_the_statistics_of_what_is_left_are_those_of_the_full_network():
    model = convolutions()
    mask = holed(model, 5)
    start = mask.apply(drawn(model))
    small, (_, alive) = shrink(model, start, mask), live(model, mask)["0.weight"]
    assert 0 < alive.sum() < 6, "a mask that tests nothing"

    def sgd(tensors):
        return torch.optim.SGD(tensors, lr=0.05)

    found = small.restore(trained(small.model, small.weights, small.mask, sgd))
    expected = trained(model, start, mask, sgd)
    for statistic in ("1.running_mean", "1.running_var"):
        close(found[statistic][:, alive], expected[statistic][:, alive])
        assert torch.equal(found[statistic][:, ~alive], start[statistic][:, ~alive])


def test_what_was_removed_comes_back_as_it_was(model):
    for mask in masks_of(model):
        start = drawn(model)
        small = shrink(model, start, mask)
        back = small.restore(small.weights)
        for name, w in mask.apply(start).items():
            assert torch.equal(back[name], w), name


# What is alive ------------------------------------------------------------------------------------


def test_alive_is_what_a_path_of_kept_weights_joins_to_an_output():
    """Counted another way: products of masks count the paths."""
    model = NETWORKS["lenet"]()
    for seed in range(30):
        mask = holed(model, seed, density=0.1)
        first, second, output = (kept[0].double() for kept in mask.values())
        found = live(model, mask)
        assert torch.equal(found["fc1.weight"][0], (output @ second @ first).any(0))
        assert torch.equal(found["fc1.weight"][1], (output @ second).any(0))
        assert torch.equal(found["fc2.weight"][0], (output @ second).any(0))
        assert torch.equal(found["fc2.weight"][1], output.any(0))
        assert torch.equal(found["output.weight"][0], output.any(0))
        assert found["output.weight"][1].all()


def test_a_channel_lives_as_long_as_one_of_its_features_behind_the_flatten_does():
    """Counted another way: with positive weights, what is alive has a gradient."""
    model = nn.Sequential(
        nn.Conv2d(2, 6, 1), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(20, CLASSES),
    )  # fmt: skip
    for seed in range(20):
        mask = holed(model, seed, density=0.1)
        weights = mask.apply({n: w.abs() for n, w in drawn(model).items()})
        values = {n: w[0].requires_grad_() for n, w in weights.items()}
        images = torch.ones(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
        functional_call(model, values, (images,)).sum().backward()
        found = live(model, mask)
        assert torch.equal(found["0.weight"][0], images.grad.sum((0, 2, 3)) > 0)
        assert torch.equal(found["0.weight"][1], values["0.bias"].grad > 0)
        assert torch.equal(found["2.weight"][0], values["0.bias"].grad > 0)
        assert torch.equal(found["2.weight"][1], values["2.bias"].grad > 0)
        assert torch.equal(found["5.weight"][0], mask["5.weight"][0].any(0))


def test_a_unit_without_incoming_weights_is_a_constant_and_stays():
    model = NETWORKS["lenet"]()
    mask = models.dense_mask(model)
    mask["fc2.weight"][:, 2] = False
    _, units = live(model, mask)["fc2.weight"]
    assert units.all()
    assert shrink(model, drawn(model), mask).weights["fc2.bias"].shape == (1, 5)


def test_dead_units_go_with_all_that_hangs_on_them():
    model = NETWORKS["lenet"]()
    mask = models.dense_mask(model)
    mask["output.weight"][:, :, 3] = False  # fc2's unit 3 has no way on
    mask["fc1.weight"][:, 4:, :10] = False  # these pixels lead to units 0 to 3 alone,
    mask["fc2.weight"][:, :, :4] = False  # which have no way on either
    small = shrink(model, drawn(model), mask)
    assert small.mask.shapes == {
        "fc1.weight": (11, 22),
        "fc2.weight": (4, 11),
        "output.weight": (3, 4),
    }
    assert small.inputs.tolist() == list(range(10, 32))
    assert small.saved == pytest.approx(1 - (11 * 22 + 4 * 11 + 3 * 4) / (15 * 32 + 5 * 15 + 15))
    assert (small.model.fc1.in_features, small.model.fc1.out_features) == (22, 11)


def test_of_a_layer_that_is_dead_as_a_whole_one_unit_stays(model):
    small = shrink(model, drawn(model), ~models.dense_mask(model))
    hidden = list(small.mask.shapes.values())[:-1]
    assert all(shape[0] == 1 for shape in hidden)
    assert small.mask.kept.item() == 0


def test_a_mask_that_leaves_nothing_dead_changes_nothing(model):
    weights = drawn(model)
    small = shrink(model, weights, models.dense_mask(model))
    assert small.saved == 0
    assert [type(layer) for layer in small.model] == [type(layer) for layer in model]
    assert all(torch.equal(small.weights[n], w) for n, w in weights.items())
    assert torch.equal(small.inputs, torch.arange(len(small.inputs)))


def test_nothing_that_is_given_is_changed_and_nothing_is_drawn(model):
    weights, mask = drawn(model), holed(model, 2)
    before, module = {n: w.clone() for n, w in weights.items()}, copy.deepcopy(model)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    small = shrink(model, weights, mask)
    assert torch.equal(torch.rand(1), expected), "somebody's random numbers are used up"
    small.restore({n: w + 1 for n, w in small.weights.items()})
    assert all(torch.equal(w, before[n]) for n, w in weights.items())
    assert str(model) == str(module)
    assert all(torch.equal(a, b) for a, b in zip(
        model.state_dict().values(), module.state_dict().values(), strict=True
    ))  # fmt: skip


# What cannot be read ------------------------------------------------------------------------------


class Twice(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + super().forward(x)


def shared():
    layer = nn.Linear(32, 32)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(32, CLASSES))


def tied():
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))
    model[3].bias = model[1].bias
    return model


UNREAD = {
    "residual": lambda: models.ResNet((2, 4, 4), CLASSES, 0.1, depth=8),
    "a forward of its own": lambda: Twice(nn.Flatten(), nn.Linear(32, 5), nn.Linear(5, CLASSES)),
    "groups": lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, CLASSES, 2)),
    "one-dimensional": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(2, 4, 3), nn.Conv1d(4, 2, 2)),
    "a layer used twice": shared,
    "a bias used twice": tied,
    "softmax": lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 5), nn.Softmax(1),
                                     nn.Linear(5, CLASSES)),
    "layer norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 5), nn.LayerNorm(5),
                                        nn.Linear(5, CLASSES)),
    "a slope to train": lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 5), nn.PReLU(5),
                                              nn.Linear(5, CLASSES)),
    "a linear layer on pictures": lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.Linear(4, CLASSES)),
    "pooling features": lambda: nn.Sequential(nn.Linear(4, 4), nn.MaxPool2d(2), nn.Linear(2, 2)),
    "half a flatten": lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.Flatten(2),
                                            nn.Linear(16, CLASSES)),
    "flat after linear": lambda: nn.Sequential(nn.Linear(4, 5), nn.Flatten(),
                                               nn.Linear(40, CLASSES)),
    "nested": lambda: nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(32, 5)),
                                    nn.Linear(5, CLASSES)),
}  # fmt: skip


@pytest.mark.parametrize("make", UNREAD.values(), ids=UNREAD)
def test_a_network_that_cannot_be_read_comes_back_as_it_is(make):
    model = make()
    weights = models.from_module(model)
    mask = Mask({n: k.clone().fill_(False) for n, k in models.dense_mask(model).items()})
    small = shrink(model, weights, mask)
    assert small.model is model and small.saved == 0 and small.mask == mask
    back = small.restore(small.weights)
    for name, w in mask.apply(weights).items():
        assert torch.equal(small.weights[name], w) and torch.equal(back[name], w)
    for inputs, outputs in live(model, mask).values():
        assert inputs.all() and outputs.all()
    assert [len(outputs) for _, outputs in live(model, mask).values()] == [
        shape[0] for shape in mask.shapes.values()
    ]


# Bad input ----------------------------------------------------------------------------------------


def test_two_members_are_refused_rather_than_cut_to_the_measure_of_one():
    model = NETWORKS["lenet"]()
    mask = models.dense_mask(model, 2)
    with pytest.raises(InputError, match="2 members where 1 are expected"):
        live(model, mask)
    with pytest.raises(InputError, match="2 members where 1 are expected"):
        shrink(model, models.initialise(model, [0, 1]), mask)
    with pytest.raises(InputError, match="1 members where 2 are expected"):
        shrink(model, models.initialise(model, [0, 1]), mask.member(0))


def test_full_weights_are_not_restored_as_if_they_were_small():
    model = NETWORKS["lenet"]()
    small = shrink(model, drawn(model), holed(model, 1))
    with pytest.raises(InputError, match="has shape"):
        small.restore(drawn(model))


def test_the_room_is_in_the_package():
    assert lth.shrinking.shrink is shrink
