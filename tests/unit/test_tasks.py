"""Tasks: the papers' settings, and what a scale may change."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lth_utils import datasets, models, tasks
from lth_utils.errors import DataError, InputError
from lth_utils.recipes import Adam, Augment, Recipe, Schedule
from lth_utils.tasks import LENET_FASHION, LENET_MNIST, TASKS


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    monkeypatch.setattr(tasks, "_chosen", None)
    monkeypatch.delenv("LTH_SCALE", raising=False)


# The papers' settings -----------------------------------------------------------------------------


def test_lenet_on_mnist_has_the_settings_of_the_paper():
    task = LENET_MNIST.at("paper")
    assert task == LENET_MNIST
    assert task.recipe == Recipe("50000it", 60, Adam(1.2e-3), Schedule(), Augment(), every="100it")
    assert task.recipe.optimiser.betas == (0.9, 0.999) and task.recipe.optimiser.eps == 1e-8
    assert dict(task.prune) == {"linear": 0.20, "output": 0.10}
    assert (task.width, task.stride, task.scope) == (1.0, 1, "layer")
    assert task.images == (None, None, None) and task.control_levels is None
    assert task.replicates >= 5
    model = models.build(task.network, (1, 28, 28), 10, task.width)
    assert models.dense_mask(model).size == 266_200


def test_the_paper_levels_reach_the_papers_densities():
    density = {0: 1.0}
    counts = {"linear": 265_200, "output": 1_000}
    for level in range(1, LENET_MNIST.levels + 1):
        counts = {k: c - round(LENET_MNIST.prune[k] * c) for k, c in counts.items()}
        density[level] = sum(counts.values()) / 266_200
    assert [round(100 * density[n], 1) for n in (3, 7, 15)] == [51.3, 21.1, 3.6]
    assert density[LENET_MNIST.levels] < 0.01


def test_the_output_layer_is_pruned_at_its_own_rate():
    assert LENET_MNIST.at("live").fractions["output.weight"] < 0.3
    model = replace(LENET_MNIST, dataset="mnist-5k").fractions
    assert model == {"fc1.weight": 0.2, "fc2.weight": 0.2, "output.weight": 0.1}


def test_every_task_is_known_by_its_name_and_runs_a_known_network_on_a_known_dataset():
    for name, task in TASKS.items():
        assert task.name == name and tasks.by_name(name) is task
        assert task.network in models.NETWORKS and task.dataset in datasets.KNOWN
        assert set(task.scales) <= set(tasks.SCALES)
    with pytest.raises(InputError, match="Unknown task 'lenet'. Known: lenet-mnist"):
        tasks.by_name("lenet")


# Scales -------------------------------------------------------------------------------------------


def test_the_scale_is_the_function_s_then_the_environment_s_then_live(monkeypatch):
    assert tasks.scale() == "live"
    monkeypatch.setenv("LTH_SCALE", "smoke")
    assert tasks.scale() == "smoke" and LENET_MNIST.at().scale == "smoke"
    assert tasks.scale("paper") == "paper"
    assert tasks.scale() == "paper" and LENET_MNIST.at().scale == "paper"
    assert LENET_MNIST.at("live").scale == "live"


def test_an_unknown_scale_lists_the_known_ones_and_chooses_nothing(monkeypatch):
    with pytest.raises(InputError, match="Unknown scale 'big'. Known: .*paper"):
        tasks.scale("big")
    assert tasks.scale() == "live"
    with pytest.raises(InputError, match="Unknown scale 'big'"):
        LENET_MNIST.at("big")
    monkeypatch.setenv("LTH_SCALE", "papre")
    with pytest.raises(InputError, match="Unknown scale 'papre'. Known: paper"):
        tasks.scale()


@pytest.mark.parametrize("name", list(TASKS))
@pytest.mark.parametrize("scale", ["smoke", "live"])
def test_a_scale_changes_numbers_and_never_what_is_done(name, scale):
    paper, small = TASKS[name], TASKS[name].at(scale)
    for same in ("name", "title", "network", "dataset", "embedded", "prune", "scope"):
        assert getattr(small, same) == getattr(paper, same)
    assert type(small.recipe.optimiser) is type(paper.recipe.optimiser)
    assert small.replicates <= paper.replicates and small.levels <= paper.levels
    assert TASKS[name] == paper  # and the constant stays as it was


def test_live_levels_reach_densities_that_the_paper_reaches():
    def densities(task):
        counts = np.array([265_200, 1_000])
        fractions = np.array([1 - (1 - f) ** task.stride for f in task.prune.values()])
        for _ in range(task.levels):
            counts = counts - np.round(fractions * counts)
            yield counts.sum() / 266_200

    paper, live = (np.array(list(densities(LENET_MNIST.at(s)))) for s in ("paper", "live"))
    np.testing.assert_allclose(live, paper[2::3][: len(live)], rtol=1e-3)
    assert live[-1] == pytest.approx(0.036, abs=5e-4)  # about five levels to 3.6%
    assert LENET_MNIST.at("live").replicates >= 3


def test_the_fractions_of_a_scale_remove_several_of_the_papers_levels_at_once():
    fractions = LENET_MNIST.at("live").fractions
    assert fractions["fc1.weight"] == pytest.approx(1 - 0.8**3)
    assert fractions["output.weight"] == pytest.approx(1 - 0.9**3)


@pytest.mark.parametrize("first", ["smoke", "live"])
@pytest.mark.parametrize("second", tasks.SCALES)
def test_a_task_never_claims_a_scale_that_it_is_not_at(first, second):
    try:
        again = LENET_MNIST.at(first).at(second)
    except InputError:
        return  # to refuse is fine; to mix two scales is not
    assert again == LENET_MNIST.at(second)


# The parts ----------------------------------------------------------------------------------------


def test_a_stand_in_is_used_only_where_the_dataset_is_nowhere_and_is_named(monkeypatch, toy):
    task = LENET_MNIST.at("smoke")
    assert task.data.name == "mnist-5k"
    assert "MNIST-5k" in task.describe() and "first 1,000" in task.describe()

    asked = []
    monkeypatch.setattr(datasets, "find", lambda name: "here")
    monkeypatch.setattr(datasets, "load", lambda name, **options: asked.append(name) or toy)
    assert replace(task).data.name == "toy" and asked == ["mnist"]


def test_a_task_without_a_stand_in_says_how_to_come_by_its_dataset():
    with pytest.raises(DataError, match="Fashion-MNIST"):
        _ = LENET_FASHION.at("smoke").data


def test_a_narrowed_task_says_so():
    task = replace(LENET_MNIST.at("smoke"), width=0.5)
    assert task.describe().startswith("LeNet-300-100 (0.5 × the width) on MNIST-5k (first 1,000")
    assert task.describe().endswith("20 iterations")


def test_images_are_limited_to_what_there_is():
    task = replace(LENET_MNIST.at("smoke"), images=(10**6, 50, None))
    assert [len(s) for s in (task.data.train, task.data.val, task.data.test)] == [3500, 50, 1000]


def test_the_parts_fit_each_other(toy_task):
    seeds = toy_task.seeds
    run = toy_task.train(toy_task.init(seeds), toy_task.dense_mask(seeds), seeds)
    assert run.weights["fc1.weight"].shape == (2, 15, 16)
    assert toy_task.iterations == 20 and seeds == (0, 1)


def test_another_recipe_takes_the_place_of_the_task_s(toy_task):
    start, mask = toy_task.init([0]), toy_task.dense_mask([0])
    run = toy_task.train(start, mask, [0], recipe=replace(toy_task.recipe, duration="3it"))
    assert run.history.step.max() == 3


def test_a_kind_of_layer_without_a_fraction_is_named(toy_task):
    with pytest.raises(InputError, match="toy-task has no fraction for layers of kind output"):
        _ = replace(toy_task, prune={"linear": 0.2}).fractions


def test_controls_are_due_at_their_levels_and_at_the_last(toy_task):
    names = ["ticket", "reinit"]
    some = replace(toy_task, control_levels=(1,))
    assert [some.arms_at(level, 3, names) for level in (1, 2, 3)] == [names, names[:1], names]
    assert toy_task.arms_at(2, 3, names) == names


def test_networks_are_trained_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("LTH_DEVICE", "meta")
    assert tasks.device() == torch.device("meta")
    monkeypatch.setenv("LTH_DEVICE", "gpu")
    with pytest.raises(InputError, match="LTH_DEVICE"):
        tasks.device()
