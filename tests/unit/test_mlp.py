"""The MLP and its task, the smallest system of the book: layers, sizes, and the fast ways of
training that a network of this kind has."""

import pytest
import torch
from torch import nn

from lth_utils import models, tasks
from lth_utils.errors import InputError
from lth_utils.models import MLP
from lth_utils.recipes import Adam, Recipe
from lth_utils.training import train


def test_it_has_the_layers_it_says():
    """One hidden layer too many or too few, counted with the output or without."""
    model = models.build("mlp-3", (1, 1, 40), 10)
    assert isinstance(model, MLP)
    shapes = {name: tuple(model.get_parameter(name).shape) for name in models.prunable(model)}
    assert shapes == {
        "fc1.weight": (200, 40), "fc2.weight": (200, 200), "fc3.weight": (200, 200),
        "output.weight": (10, 200),
    }  # fmt: skip
    assert models.dense_mask(model).size == 90_000  # as its description says
    assert list(models.prunable(model).values()) == ["linear"] * 3 + ["output"]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_depth_counts_hidden_layers_and_width_multiplies_them(depth):
    model = MLP((1, 4, 4), 4, 0.1, depth)
    sizes = [tuple(model.get_parameter(n).shape) for n in models.prunable(model)]
    assert sizes == [(20, 16), *[(20, 20)] * (depth - 1), (4, 20)]
    kinds = [type(layer) for layer in model]
    assert kinds == [nn.Flatten, *[nn.Linear, nn.ReLU] * depth, nn.Linear]


@pytest.mark.parametrize("depth", [0, -1])
def test_without_a_hidden_layer_it_is_refused(depth):
    with pytest.raises(InputError, match=f"at least one hidden layer; got {depth}"):
        MLP(depth=depth)


def test_it_takes_the_fast_paths(make_dataset):
    """A network that is a plain sequence, and trains like one that is not."""
    model, data = MLP((1, 4, 4), 4, 0.1), make_dataset(60, 20, 20)
    assert models.is_stackable(model)
    start, mask = models.initialise(model, [0]), models.dense_mask(model)
    recipe = Recipe("4it", 10, Adam(0.01), every="4it")
    assert train(model, start, mask, data, recipe, [0]).paths == ("dense",)
    sparse = type(mask)({n: torch.arange(k.numel()).view(k.shape) % 20 == 0
                         for n, k in mask.items()})  # fmt: skip
    run = train(model, start, sparse, data, recipe, [0])
    assert run.paths == ("sparse",)
    assert all(not run.weights[n][~kept].any() for n, kept in sparse.items())


@pytest.mark.parametrize("scale", tasks.SCALES)
def test_its_task_reaches_the_density_it_says(scale):
    """5.5% of the weights, thirteen of the papers' levels, at every scale."""
    task = tasks.MLP_MNIST1D.at(scale)
    density = 1.0
    for level in range(1, task.levels + 1):
        [share] = set(task.fractions_at(level).values())
        density *= 1 - share
    assert density == pytest.approx(0.8**13) == pytest.approx(0.055, abs=5e-4)
    assert task.model.fc1.in_features == 40 and len(models.prunable(task.model)) == 4
