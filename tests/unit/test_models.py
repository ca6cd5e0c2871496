"""Networks as functions: the stacked forward pass against nn.Module, one by one."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn
from torch.func import functional_call

from lth_utils import models, training
from lth_utils.errors import InputError
from lth_utils.recipes import SGD, Recipe


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)
    )


def drawn(model, seeds=(0, 1, 2), dtype=torch.float64):
    """Weights with nothing left at zero or one, so that a forgotten bias is noticed."""
    generator = torch.Generator().manual_seed(len(seeds))
    return {
        name: (torch.rand(len(seeds), *shape, generator=generator, dtype=torch.float64) + 0.1).to(
            dtype
        )
        - (0 if name.endswith("running_var") else 0.5)
        for name, shape in models.shapes(model).items()
    }


def pictures(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


# The papers' networks -----------------------------------------------------------------------------


def test_lenet_has_exactly_the_weights_of_the_paper():
    lenet = models.build("lenet-300-100", (1, 28, 28), 10)
    assert sum(p.numel() for p in lenet.parameters()) == 266_610
    assert models.dense_mask(lenet).size == 266_200
    assert models.prunable(lenet) == {
        "fc1.weight": "linear",
        "fc2.weight": "linear",
        "output.weight": "output",
    }


def test_width_multiplies_the_hidden_layers_and_nothing_else():
    lenet = models.build("lenet-300-100", (3, 5, 5), 7, width=0.1)
    assert models.dense_mask(lenet).shapes == {
        "fc1.weight": (30, 75),
        "fc2.weight": (10, 30),
        "output.weight": (7, 10),
    }
    assert models.LeNet(width=1e-6).fc1.out_features == 1


@pytest.mark.parametrize("width", [0, -1])
def test_a_network_of_no_width_is_refused(width):
    with pytest.raises(InputError, match="positive"):
        models.LeNet(width=width)


def test_an_unknown_network_lists_the_known_ones():
    with pytest.raises(InputError, match="Unknown network 'lenet'. Known: .*lenet-300-100"):
        models.build("lenet", (1, 28, 28), 10)


# What can be pruned -------------------------------------------------------------------------------


def test_biases_and_batch_norm_are_never_prunable():
    model = conv_net()
    assert models.prunable(model) == {"0.weight": "conv", "4.weight": "output"}
    assert set(models.trainable(model)) == {n for n, _ in model.named_parameters()}
    assert "1.running_mean" not in models.trainable(model)


def test_the_count_of_batches_seen_is_no_weight():
    names = models.shapes(conv_net())
    assert {"1.running_mean", "1.running_var"} <= set(names)
    assert not [n for n in names if "num_batches_tracked" in n]


def test_only_the_last_linear_layer_is_the_output():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Conv1d(1, 1, 1))
    assert models.prunable(model) == {
        "0.weight": "linear",
        "1.weight": "output",
        "2.weight": "conv",
    }
    assert models.prunable(nn.Linear(2, 3)) == {"weight": "output"}


# Initial weights ----------------------------------------------------------------------------------


def test_initial_weights_have_the_deviation_of_glorot():
    weights = models.initialise(models.LeNet(width=0.5), [0, 1])
    for name, (out, into) in (("fc1", (150, 784)), ("fc2", (50, 150))):
        w = weights[f"{name}.weight"].flatten().double().numpy()
        expected = np.sqrt(2 / (into + out))
        assert kstest(w / expected, "norm").pvalue > 1e-3
        # The deviation of n draws deviates by 1 / sqrt(2n) of itself.
        assert abs(w.std() / expected - 1) < 5 / np.sqrt(2 * len(w))


def test_convolutions_count_their_area_into_fan_in_and_fan_out():
    weight = torch.empty(8, 4, 3, 3)
    fans = nn.init._calculate_fan_in_and_fan_out(weight)
    assert models.glorot_normal(weight.shape) == pytest.approx(np.sqrt(2 / sum(fans)))


def test_biases_start_at_zero_and_batch_norm_neutral():
    weights = models.initialise(conv_net(), [0, 1])
    for name, value in {"0.bias": 0, "4.bias": 0, "1.bias": 0, "1.weight": 1,
                        "1.running_mean": 0, "1.running_var": 1}.items():  # fmt: skip
        assert (weights[name] == value).all(), name
    assert weights["0.weight"].std() > 0


def test_a_layer_that_changes_its_size_changes_no_other():
    narrow = models.initialise(models.LeNet((1, 4, 4), 4, 0.05), [3])
    other = models.initialise(models.LeNet((1, 4, 4), 7, 0.05), [3])
    assert torch.equal(narrow["fc1.weight"], other["fc1.weight"])
    assert torch.equal(narrow["fc2.weight"], other["fc2.weight"])


def test_a_replicate_alone_starts_as_it_does_in_a_population(net):
    together, alone = models.initialise(net, [5, 6, 7]), models.initialise(net, [6])
    for name in together:
        assert torch.equal(together[name][1:2], alone[name])
    assert not torch.equal(together["fc1.weight"][0], together["fc1.weight"][1])


def test_initial_weights_do_not_depend_on_the_weights_of_the_module(net):
    other = models.LeNet((1, 4, 4), 4, 0.05)
    with torch.no_grad():
        for p in other.parameters():
            p.fill_(7)
    a, b = models.initialise(net, [0]), models.initialise(other, [0])
    assert all(torch.equal(a[n], b[n]) for n in a)


# The function -------------------------------------------------------------------------------------


def one_by_one(model, weights, images):
    """What nn.Module gives for each member, by load_state_dict, with no code of ours."""
    module, outputs = copy.deepcopy(model).double().eval(), []
    for r in range(len(next(iter(weights.values())))):
        module.load_state_dict({n: w[r] for n, w in weights.items()}, strict=False)
        outputs.append(module(images[r] if images.dim() == 5 else images))
    return torch.stack(outputs)


@pytest.mark.parametrize("shape", [(6, 1, 4, 4), (3, 6, 1, 4, 4)], ids=["shared", "per member"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: models.LeNet((1, 4, 4), 4, 0.05),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 5, bias=False), nn.Tanh(),
                              nn.Identity(), nn.Linear(5, 4)),
        conv_net,
    ],
    ids=["lenet", "without bias", "convolution"],
)  # fmt: skip
def test_a_population_computes_what_each_member_computes_alone(make, shape):
    model, images = make(), pictures(*shape)
    weights = drawn(model)
    with torch.no_grad():
        found = models.forward(model, weights, images)
        expected = one_by_one(model, weights, images)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_single_precision_differs_by_rounding_alone(net):
    images, weights = pictures(6, 1, 4, 4), drawn(net)
    single = models.forward(net, {n: w.float() for n, w in weights.items()}, images.float())
    torch.testing.assert_close(
        single.double(), models.forward(net, weights, images), rtol=1e-4, atol=1e-4
    )


def test_an_activation_that_is_used_twice_is_applied_twice():
    relu = nn.ReLU()
    hidden, output = nn.Linear(8, 8), nn.Linear(8, 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), relu, hidden, relu, output)
    weights, images = drawn(model), pictures(6, 1, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(
            models.forward(model, weights, images), one_by_one(model, weights, images)
        )


def test_a_layer_that_is_used_twice_shares_its_weights():
    layer = nn.Linear(16, 16)
    model = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)
    weights, images = drawn(model), pictures(6, 1, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(
            models.forward(model, weights, images), one_by_one(model, weights, images)
        )


def test_gradients_of_the_stacked_products_are_those_of_one_by_one(net):
    images, weights = pictures(3, 6, 1, 4, 4), drawn(net)
    found = {n: w.clone().requires_grad_() for n, w in weights.items()}
    models.forward(net, found, images).sin().sum().backward()
    for r in range(3):
        alone = {n: w[r].clone().requires_grad_() for n, w in weights.items()}
        functional_call(net, alone, (images[r],)).sin().sum().backward()
        for name in alone:
            torch.testing.assert_close(found[name].grad[r], alone[name].grad)


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_sequence_with_a_forward_of_its_own_is_not_run_without_it():
    model, images = Doubled(nn.Flatten(), nn.Linear(16, 4)), pictures(6, 1, 4, 4)
    weights = drawn(model)
    with torch.no_grad():
        torch.testing.assert_close(
            models.forward(model, weights, images), one_by_one(model, weights, images)
        )


def test_only_a_plain_sequence_of_known_layers_is_stacked():
    assert models.is_stackable(models.LeNet())
    assert not models.is_stackable(conv_net())
    assert not models.is_stackable(nn.Linear(2, 2))


# Batch norm ---------------------------------------------------------------------------------------


def test_statistics_are_updated_member_by_member_in_training_and_never_in_evaluation():
    model, images = conv_net(), pictures(2, 6, 1, 4, 4)
    weights = drawn(model, (0, 1))
    before = {n: w.clone() for n, w in weights.items()}
    models.forward(model, weights, images)
    assert all(torch.equal(w, before[n]) for n, w in weights.items())

    models.forward(model, weights, images, training=True)
    for r in range(2):
        module = models.to_module(model.double(), before, r).train()
        module(images[r])
        for statistic in ("running_mean", "running_var"):
            torch.testing.assert_close(
                weights[f"1.{statistic}"][r], getattr(module[1], statistic), rtol=1e-12, atol=0
            )
    assert all(torch.equal(w, before[n]) for n, w in weights.items() if "running" not in n)


def test_the_function_is_not_changed_by_being_called():
    model = conv_net()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    models.forward(model, drawn(model, dtype=torch.float32), pictures(6, 1, 4, 4).float(), True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_cumulative_batch_norm_counts_the_batches_of_each_member_alone(make_dataset):
    data = make_dataset(40, 8, 8)
    model = conv_net()
    model[1].momentum = None  # a plain mean over all batches so far, by their count
    start = models.initialise(model, [0, 1])
    recipe = Recipe("6it", 8, SGD(0.05))
    together = training.train(model, start, models.dense_mask(model, 2), data, recipe, [0, 1])
    alone = training.train(
        model, {n: w[1:] for n, w in start.items()}, models.dense_mask(model), data, recipe, [1]
    )
    torch.testing.assert_close(
        together.weights["1.running_mean"][1:], alone.weights["1.running_mean"]
    )


def test_a_network_with_convolutions_and_batch_norm_trains_through_the_same_function(make_dataset):
    data, model = make_dataset(60, 20, 20), conv_net()
    start = models.initialise(model, [0, 1])
    recipe = Recipe("40it", 20, SGD(0.05, momentum=0.9), every="5it")
    run = training.train(model, start, models.dense_mask(model, 2), data, recipe, [0, 1])
    assert set(run.weights) == set(start)
    assert "1.num_batches_tracked" not in run.weights
    for statistic in ("1.running_mean", "1.running_var"):
        moved = run.weights[statistic] != start[statistic]
        assert moved.all()
        assert not torch.equal(run.weights[statistic][0], run.weights[statistic][1])
    losses = run.history[run.history.metric == "loss"].set_index(["moment", "step"]).value
    assert losses["end", 40].max() < losses["during", 0].min()


def test_mistake_4_a_reset_that_keeps_the_statistics_of_the_trained_network(make_dataset):
    data, model = make_dataset(60, 20, 20), conv_net()
    start, mask = models.initialise(model, [0]), models.dense_mask(model)
    recipe = Recipe("10it", 20, SGD(0.05, momentum=0.9))
    first = training.train(model, start, mask, data, recipe, [0])
    again = training.train(model, start, mask, data, recipe, [0])
    for name in first.weights:
        assert torch.equal(first.weights[name], again.weights[name]), name


# To and from nn.Module ----------------------------------------------------------------------------


def test_a_module_comes_back_from_values_as_it_was():
    model = conv_net()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    model(pictures(6, 1, 4, 4).float())
    back = models.to_module(conv_net(), models.from_module(model))
    for name, tensor in model.state_dict().items():
        if "num_batches_tracked" not in name:
            assert torch.equal(back.state_dict()[name], tensor), name


def test_values_come_back_from_a_module_as_they_were():
    model = conv_net()
    weights = models.initialise(model, [0, 1, 2])
    for r in (0, 2, -1):
        back = models.from_module(models.to_module(model, weights, r))
        assert set(back) == set(weights)
        assert all(torch.equal(back[n][0], weights[n][r]) for n in weights)


def test_values_and_modules_share_no_memory(net):
    weights = models.from_module(net)
    module = models.to_module(net, weights)
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(9)
    assert all((w != 9).all() for w in weights.values())
    assert all((p != 9).all() for p in net.parameters())


def test_mistake_3_a_saved_ticket_that_lost_its_mask(net, some_mask):
    weights = models.initialise(net, [0, 1])
    mask = some_mask(models.dense_mask(net).shapes)
    module = models.to_module(net, weights, 1, mask)
    for name, kept in mask.items():
        expected = torch.where(kept[1], weights[name][1], 0)
        assert torch.equal(module.get_parameter(name), expected)


@pytest.mark.parametrize("member", [2, -3])
def test_a_member_that_does_not_exist_is_refused(net, member):
    with pytest.raises(InputError, match=f"no member {member}; the weights have 2"):
        models.to_module(net, models.initialise(net, [0, 1]), member)


def test_weights_that_do_not_fit_are_refused_with_the_reason(net):
    good = models.initialise(net, [0, 1])
    cases = {
        "lack fc1.bias": {n: w for n, w in good.items() if n != "fc1.bias"},
        "no tensor called fc9": good | {"fc9": torch.zeros(2)},
        r"fc1.bias has shape \(15,\)": good | {"fc1.bias": torch.zeros(15)},
        r"fc2.weight has shape \(2, 15, 5\)": good | {"fc2.weight": good["fc2.weight"].mT},
        "fc1.bias has shape": good | {"fc1.bias": torch.tensor(0.0)},
        "same number of members": good | {"fc1.bias": torch.zeros(3, 15)},
    }
    models.check_weights(net, good)
    for message, weights in cases.items():
        with pytest.raises(InputError, match=message):
            models.check_weights(net, weights)
