"""A reader's own network and data go wherever a name goes, and what cannot work is one sentence."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lth_utils import costs, datasets, lottery, models, pruning, stability, tasks
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.lottery._imp import _Design
from lth_utils.lottery._units import Bench
from lth_utils.recipes import SGD, Adam, Recipe
from lth_utils.store import Store, portrait
from lth_utils.training import _captured

SHAPE = (2, 6, 6)


@pytest.fixture(scope="module")
def data(make_dataset):
    return make_dataset(60, 20, 30, shape=SHAPE)


@pytest.fixture
def study(data):
    """``study(network, **changes)``: a task with a network of one's own."""

    def make(network, **changes):
        return replace(
            tasks.Task(
                name="own",
                title="My network",
                network=network,
                dataset=data,
                recipe=Recipe("8it", 10, Adam(0.01), every="4it"),
                prune={"conv": 0.3, "linear": 0.3, "output": 0.1},
                levels=2,
                replicates=2,
            ),
            **changes,
        )

    return make


# Five kinds of network ----------------------------------------------------------------------------


class Residual(nn.Module):
    """Batch norm, a branch that is added, and a layer that is used twice."""

    def __init__(self, inputs, classes, width=1.0):
        super().__init__()
        channels = round(4 * width)
        self.stem = nn.Conv2d(inputs[0], channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.twice = nn.Conv2d(channels, channels, 3, padding=1)
        self.output = nn.Linear(channels, classes)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + torch.relu(self.twice(torch.relu(self.twice(x))))
        return self.output(x.mean((2, 3)))


class Mixer(nn.Module):
    """Layer norms, a gain, a parametric slope, dropout, and an index that is a buffer."""

    def __init__(self, inputs, classes, hidden=6, gain=0.5):
        super().__init__()
        rows, self.gain = inputs[1], nn.Parameter(torch.full((hidden,), gain))
        self.embed = nn.Linear(inputs[0] * inputs[2], hidden)
        self.norm, self.slope, self.drop = nn.LayerNorm(hidden), nn.PReLU(), nn.Dropout(0.2)
        self.mix = nn.Linear(rows, rows)
        self.register_buffer("index", torch.arange(rows).flip(0))
        self.register_buffer("shift", torch.linspace(-1, 1, rows)[:, None])
        self.output = nn.Linear(hidden, classes)

    def forward(self, x):
        x = self.embed(x.transpose(1, 2).flatten(2))[:, self.index] + self.shift
        x = x + self.drop(self.slope(self.mix(self.norm(x).mT).mT)) * self.gain
        return self.output(x.mean(1))


class Attends(nn.Module):
    """PyTorch's own attention, whose matrices are a bare parameter; a token, drawn places."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.embed = nn.Linear(inputs[0] * inputs[2], 8)
        self.place = nn.Parameter(torch.randn(1, inputs[1] + 1, 8))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.block = nn.MultiheadAttention(8, 2, batch_first=True)
        self.output = nn.Linear(8, classes)

    def forward(self, x):
        x = self.embed(x.transpose(1, 2).flatten(2))
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        return self.output(self.block(x, x, x, need_weights=False)[0][:, 0])


class Odd(nn.Module):
    """A forward that makes tensors of its own, branches on numbers and hands layers around."""

    def __init__(self, classes, inputs):
        super().__init__()
        self.layers = nn.ModuleDict({"a.b".replace(".", "_"): nn.LazyLinear(5)})
        self.out = nn.ModuleList([nn.Linear(6, classes, bias=False)])

    def forward(self, x, scale=1.0, *, twice=False):
        x = self.layers["a_b"](x.flatten(1)).tanh()
        ones = torch.ones(len(x), 1) if x.abs().sum() >= 0 else torch.zeros(len(x), 1)
        for layer in self.out:
            x = layer(torch.cat([x, ones], 1)) * scale
        return x


def sequence(inputs, classes):
    """No class at all; depth-wise convolutions, which have groups."""
    return nn.Sequential(
        nn.Conv2d(inputs[0], 2 * inputs[0], 3, groups=inputs[0]),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * inputs[0], classes),
    )


NETWORKS = {
    "residual": Residual,
    "mixer": Mixer,
    "attention": Attends,
    "odd": Odd,
    "function": sequence,
    "module": sequence(SHAPE, 4),
    "partial": partial(Residual, width=0.5),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_any_module_is_pruned_and_its_pruned_weights_stay_zero(study, network, tmp_path):
    task = study(network)
    found = imp(task, rewind="50%", treatments=("ticket", "reinit"), store=Store(tmp_path))
    assert np.isfinite(found.table.value).all()
    masks = [ticket.mask for ticket in found.tickets]
    assert set(masks[0]) == set(models.prunable(task.model))
    assert (masks[1] & ~masks[0]).density.max() == 0 and masks[1].density.max() < 0.8
    run = task.train(found.tickets[1].start, masks[1], task.seeds, "50%")
    assert all((run.weights[n][~kept] == 0).all() for n, kept in masks[1].items())


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_replicate_alone_equals_the_same_among_others(study, network):
    """Or noise is drawn that no seed decides, or members share a state."""
    task = study(network)
    together = task.train(task.init((0, 1)), task.dense_mask((0, 1)), (0, 1)).weights
    torch.manual_seed(123)
    alone = task.train(task.init((1,)), task.dense_mask((1,)), (1,)).weights
    for name in alone:
        torch.testing.assert_close(alone[name][0], together[name][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_any_module_is_counted_and_predicted(study, network):
    task = study(network)
    assert costs.activity(task.model, SHAPE)[0] > 0
    assert costs.operations(task.model, SHAPE, task.dense_mask((0,))) > 0
    assert lottery.predict(task, store=Store()) >= 0
    assert task.describe() == "My network on Toy,\n8 iterations"


@pytest.mark.parametrize("criterion", ["gradient", "activation", "snip"])
def test_criteria_that_look_at_data_take_ones_own_network(study, criterion):
    if criterion not in pruning.CRITERIA:
        pytest.skip("no such criterion here")
    imp(study(Residual, levels=1), criterion=criterion, treatments=("ticket",))


def test_copies_under_other_noise_are_compared(study):
    found = stability.instability(study(Residual, levels=1), steps=("0%",))
    assert (found.table.metric == "error barrier").any()


def test_networks_of_torchvision_are_networks(study):
    from lth_utils._torchvision import torchvision

    def small(classes):
        return torchvision().models.squeezenet1_1(num_classes=classes)

    task = study(small, dataset=datasets.make("toy", *pictures(12, 3, 32, 32)))
    mask = task.dense_mask((0,))
    assert mask.size > 700_000 and "dropout" in repr(task.model).lower()
    task.train(task.init((0,)), mask, (0,), end="1it")


# Where weights begin ------------------------------------------------------------------------------


def test_what_is_no_weight_begins_as_the_module_has_it(study):
    weights = study(partial(Mixer, gain=0.25)).init((0, 1))
    assert (weights["gain"] == 0.25).all() and (weights["slope.weight"] == 0.25).all()
    assert (weights["norm.weight"] == 1).all() and (weights["norm.bias"] == 0).all()
    assert torch.equal(weights["shift"][1, :, 0], torch.linspace(-1, 1, SHAPE[1]))
    assert "index" not in weights
    assert not torch.equal(*weights["embed.weight"]) and (weights["embed.bias"] == 0).all()


def test_places_are_drawn_for_every_seed_and_a_token_is_not(study):
    weights = study(Attends).init((0, 1))
    assert not torch.equal(*weights["place"]) and (weights["token"] == 0).all()


def test_weights_do_not_depend_on_how_the_module_was_made(study):
    torch.manual_seed(1)
    one = study(sequence(SHAPE, 4))
    torch.manual_seed(2)
    other = study(sequence(SHAPE, 4))
    for name, w in one.init((0,)).items():
        assert torch.equal(w, other.init((0,))[name]), name


def test_a_module_that_is_given_is_never_changed(study):
    module = Mixer(SHAPE, 4)
    before = copy.deepcopy(module.state_dict())
    imp(study(module, levels=1), treatments=("ticket",))
    assert all(torch.equal(t, before[n]) for n, t in module.state_dict().items())
    assert type(module.drop) is nn.Dropout


@pytest.mark.parametrize(("network", "is_known"), [(Residual, False), (sequence, True)])
def test_no_recording_holds_what_ones_own_code_may_choose(study, network, is_known, monkeypatch):
    monkeypatch.delenv("LTH_COMPILE", raising=False)
    on_gpu = SimpleNamespace(moves=None, model=study(network).model, device=torch.device("cuda"))
    assert _captured.takes(on_gpu) == is_known


def test_the_global_generator_is_left_alone(study):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    study(Attends).init((0,))
    assert torch.equal(torch.get_rng_state(), before)


# Keys ---------------------------------------------------------------------------------------------


def keys(task, tmp_path):
    design = _Design.of(task, None, None, "0it", ("ticket",), "magnitude", None, None)
    bench = Bench(task, design.seeds, design.settings, Store(tmp_path), None, None)
    return set(bench.keys(design.plan, design.kept).values())


def test_the_same_network_is_found_again(study, tmp_path):
    for network in (Residual, Mixer, Attends, sequence):
        again = tasks.Task(**{**vars(study(network))})
        assert keys(study(network), tmp_path) == keys(again, tmp_path)
    torch.manual_seed(1)
    one = keys(study(sequence(SHAPE, 4)), tmp_path)
    assert one == keys(study(sequence(SHAPE, 4)), tmp_path)


class Doubled(Residual):
    def forward(self, x):
        return 2 * super().forward(x)


def test_another_network_is_never_taken_for_it(study, tmp_path):
    class Settled(Residual):
        slope = 0.5

        def __init__(self, inputs, classes, power=2):
            super().__init__(inputs, classes)
            self.power = power

        def forward(self, x):
            return super().forward(x) ** self.power

    gains = [partial(Mixer, gain=gain) for gain in (0.5, 0.6)]
    powers = [partial(Settled, power=power) for power in (2, 4)]
    heads = [lambda inputs, classes, n=n: nn.Sequential(nn.Flatten(), Heads(n)) for n in (1, 2)]
    lenets = [
        lambda inputs, classes, w=width: models.LeNet(inputs, classes, w) for width in (0.1, 0.2)
    ]
    networks = [Residual, Doubled, *gains, *powers, *heads, *lenets, "lenet-300-100"]
    sets = [keys(study(network), tmp_path) for network in networks]
    assert len(set.union(*sets)) == sum(map(len, sets))


class Heads(nn.Module):
    """PyTorch's attention does not print its number of heads."""

    def __init__(self, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(72, heads, batch_first=True)
        self.output = nn.Linear(72, 4)

    def forward(self, x):
        x = x[:, None]
        return self.output(self.attention(x, x, x)[0][:, 0])


def test_an_edited_forward_is_another_network():
    source = "class Net(nn.Module):\n def forward(self, x):\n  return x + {}\n"
    made = []
    for number in (1, 2, 1):
        space = {"nn": nn, "__name__": "mine"}
        exec(source.format(number), space)
        made.append(portrait(space["Net"]()))
    assert made[0] == made[2] != made[1]


def test_other_data_of_the_same_name_is_other_data(study, tmp_path):
    images, labels = pictures(30, *SHAPE)
    changed = images.clone()
    changed[-1, 0, 0, 0] ^= 1
    made = [
        datasets.make("mine", images, labels),
        datasets.make("mine", changed, labels),
        datasets.make("mine", images, labels.roll(1)),
        datasets.make("mine", images, labels, split_seed=1),
        datasets.make("mine", images, labels, val=0.2, test=0.1),
    ]
    first, *others = (keys(study(Residual, dataset=each), tmp_path) for each in made)
    assert first == keys(study(Residual, dataset=datasets.make("mine", images, labels)), tmp_path)
    for other in others:
        assert not first & other


# Data ---------------------------------------------------------------------------------------------


def pictures(n, *shape, classes=4):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (n, *shape)).astype(np.uint8))
    return images, torch.arange(n) % classes


def test_pixels_stay_pixels():
    images, labels = pictures(40, 3, 5, 5)
    for given in (images, images.numpy(), images.long(), images.numpy().tolist()):
        made = datasets.make("mine", given, labels)
        together = torch.cat([part.images for part in (made.train, made.val, made.test)])
        assert sorted(map(bytes, together.numpy())) == sorted(map(bytes, images.numpy()))
        assert made.input_shape == (3, 5, 5)


def test_labels_go_with_their_images():
    images, labels = pictures(40, 2, 2)
    images[:, 0, 0] = labels * 10
    made = datasets.make("mine", images, labels)
    for part in (made.train, made.val, made.test):
        assert torch.equal(part.images[:, 0, 0, 0].long(), 10 * part.labels)


def test_numbers_from_0_to_1_are_pixels_of_255():
    images, labels = pictures(40, 4, 4)
    made = datasets.make("a", images, labels), datasets.make("a", images / 255, labels)
    assert torch.equal(made[0].train.images, made[1].train.images)
    assert "256 steps" in made[1].source and made[0].source == "arrays of uint8"


def test_every_column_of_a_table_has_its_own_steps_from_training_alone():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(50, 3)) * [1, 1e-4, 1e6] + [0, 5, 0]
    far = table.copy()
    far[:, 0] += 100
    labels = np.arange(50) % 2
    made = datasets.make("mine", table, labels, test=(far, labels))
    train = made.train.images.float().flatten(1)
    assert made.input_shape == (1, 1, 3)
    assert (train.min(0).values == 0).all() and (train.max(0).values == 255).all()
    assert (made.test.images[..., 0] == 255).all()  # beyond what training has seen


def test_a_network_sees_mean_0_and_deviation_1():
    images, labels = pictures(200, 3, 4, 4)
    images[:, 2] = 7  # a channel that never changes
    made = datasets.make("mine", images, labels)
    seen = made.normalise(made.train.images, torch.float64)
    assert seen.mean((0, 2, 3)).abs().max() < 1e-9
    torch.testing.assert_close(seen[:, :2].std((0, 2, 3), correction=0), torch.ones(2).double())


def test_every_part_holds_the_classes_in_proportion():
    labels = np.repeat([0, 1], [180, 20])
    made = datasets.make("mine", np.random.default_rng(0).random((200, 5)), labels)
    counts = [part.labels.bincount().tolist() for part in (made.train, made.val, made.test)]
    assert counts == [[126, 14], [18, 2], [36, 4]]
    assert made.subset(50).train.labels.sum() == 5


def test_parts_that_are_given_are_kept_and_shuffled():
    images, labels = pictures(40, 4, 4)
    order = labels.argsort()
    made = datasets.make("mine", images[order], labels[order], val=(images[:12], labels[:12]))
    assert [len(made.train), len(made.val), len(made.test)] == [32, 12, 8]
    assert len(set(made.train.labels[:4].tolist())) == 4  # sorted arrays are no fair beginning


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (["cat", "dog"], None, ("cat", "dog")),
        ([True, False], None, ("False", "True")),
        ([3, 7], None, ("3", "7")),
        ([1.0, 2.0], None, ("1", "2")),
        ([1, 0], ("no", "yes", "perhaps"), ("no", "yes", "perhaps")),
        (["yes", "no"], ("yes", "no"), ("yes", "no")),
    ],
    ids=str,
)
def test_labels_are_numbers_or_names(labels, names, classes):
    images = np.random.default_rng(0).random((40, 3))
    made = datasets.make("mine", images, labels * 20, classes=names)
    assert made.classes == classes
    named = [classes[i] for i in made.train.labels.tolist()]
    given = [str(each) for each in labels] if names is None or "yes" in labels else ["yes", "no"]
    assert set(named) == {each.removesuffix(".0") for each in given}


GOOD = np.zeros((20, 4, 4)) + np.arange(20)[:, None, None]


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (GOOD[:, 0, 0], [0, 1] * 10, {}, r"shape \(20,\); give \(N, H, W\)"),
        (np.zeros((20, 8, 8, 3)), [0, 1] * 10, {}, "channels last; put them second"),
        (GOOD, [0, 1] * 9, {}, r"shape \(18,\) for 20 images"),
        (GOOD, np.eye(20), {}, r"shape \(20, 20\) for 20 images"),
        (GOOD, [0.5, 1] * 10, {}, "not fractions or NaN"),
        (np.where(GOOD == 3, np.nan, GOOD), [0, 1] * 10, {}, "NaN or infinite in 16 of 320 places"),
        (np.array([["a", "b"]] * 20), [0, 1] * 10, {}, "are numbers; got an array of <U1"),
        (GOOD, [1] * 20, {}, "has 1 class"),
        (GOOD, [0, 2] * 10, {"classes": ("a", "b")}, "is 2, which is none of the 2 classes"),
        (GOOD, [-1, 1] * 10, {"classes": ("a", "b")}, "is -1, which is none"),
        (GOOD, [0, 1] * 10, {"test": (GOOD, [0, 5] * 10)}, r"\(test\) is 5, which is none"),
        (GOOD, [0, 1] * 10, {"test": (GOOD, ["a", "b"] * 10)}, "all numbers or all names"),
        (GOOD, [0, 1] * 10, {"test": (GOOD[:, :2], [0, 1] * 10)}, r"\(1, 2, 4\), those to train"),
        (GOOD, [0, 1] * 10, {"test": GOOD}, "a share such as 0.1, or a pair"),
        (GOOD[:3], [0, 1, 0], {}, "leave 0 to val"),
        (GOOD, [0, 1] * 10, {"val": 0.5, "test": 0.5}, "leave 0 to train"),
        (GOOD, [0, 1] * 10, {"val": -0.1}, "leave 0 to val"),
        (GOOD * 0, [0, 1] * 10, {}, "all alike"),
    ],
)
def test_arrays_that_make_no_dataset_are_one_sentence(images, labels, options, message):
    with pytest.raises(InputError, match=message) as error:
        datasets.make("mine", images, labels, **options)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_a_dataset_may_come_from_a_function(study, data):
    assert study(Residual, dataset=lambda: data).data.title == "Toy"
    for wrong in (lambda: 3, np.zeros(3)):
        with pytest.raises(InputError, match="for a dataset; give a name, or what lth.datasets"):
            _ = study(Residual, dataset=wrong).data


def test_what_a_task_does_to_its_data_it_does_to_ones_own(study):
    task = study(Residual, pool=2, permuted=True, images=(20, 5, 5), label_noise=0.5)
    assert task.data.input_shape == (2, 3, 3) and len(task.data.train) == 20
    assert "pixels permuted" in task.data.title and "first 20" in task.data.title


# What cannot work ---------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.one, self.other = nn.Linear(72, 72), nn.Linear(72, 72)
        self.other.weight = self.one.weight
        self.output = nn.Linear(72, classes)

    def forward(self, x):
        return self.output(self.other(self.one(x.flatten(1))))


class Frozen(Residual):
    def __init__(self, inputs, classes):
        super().__init__(inputs, classes)
        self.stem.weight.requires_grad_(False)


class Random(Residual):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.1, self.training))


class Two(Residual):
    def forward(self, x):
        return super().forward(x), x


CANNOT = {
    "nothing to prune": (lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(72), Cut()),
                         "nothing to prune: no nn.Linear"),
    "shared": (Tied, "one tensor in two places, and other.weight"),
    "frozen": (Frozen, "stem.weight of Frozen is frozen"),
    "noise": (Random, "Random draws random numbers of its own"),
    "outputs": (lambda inputs: sequence(inputs, 7), r"gives \(2, 7\) for 2 images; it should give "
                r"\(2, 4\)"),
    "two outputs": (Two, "Two gives tuple for 2 images"),
    "inputs": (lambda classes: nn.Linear(5, classes), r"fails on images of shape \(2, 6, 6\)"),
    "arguments": (lambda channels, classes: None, "needs channels; a network is made from"),
    "no module": (lambda: 3, "makes no nn.Module, but int"),
    "no network": (3, "a name, an nn.Module, or a class or function that makes one; got 3"),
}  # fmt: skip


class Cut(nn.Module):
    def forward(self, x):
        return x[:, :4]


@pytest.mark.parametrize("case", CANNOT)
def test_a_network_that_cannot_work_is_one_sentence_before_any_training(study, case):
    network, message = CANNOT[case]
    with pytest.raises(InputError, match=message) as error:
        imp(study(network))
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_only_what_names_a_width_has_one(study):
    assert study(Residual, width=2.0).model.stem.out_channels == 8
    for network in (Mixer, Residual(SHAPE, 4)):
        with pytest.raises(InputError, match="width cannot be 2"):
            _ = study(network, width=2.0).model


def test_dropout_by_a_task_needs_a_sequence_of_layers(study):
    with pytest.raises(InputError, match="no plain sequence of layers.*put nn.Dropout"):
        _ = study(Residual, dropout=0.5).model


# Elsewhere ----------------------------------------------------------------------------------------


def test_a_network_and_data_that_workers_cannot_import(study, tmp_path):
    class Here(Residual):
        pass

    task = study(Here, levels=1, recipe=Recipe("4it", 10, SGD(0.1)))
    here = imp(task, store=Store(tmp_path / "here"))
    with ThreadPoolExecutor(1) as executor:  # to which all goes as bytes, as to a process
        there = imp(task, store=Store(tmp_path / "there"), executor=executor)
    assert there.table.equals(here.table)
