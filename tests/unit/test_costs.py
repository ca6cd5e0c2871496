"""Costs: predicted before, and no surprise after."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lth_utils import costs, lottery, models, tasks
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.store import Store

PEAK = """
import ctypes, gc, sys
import torch
from dataclasses import replace
from lth_utils import costs, tasks
from lth_utils.recipes import Adam, Recipe

def memory(field):  # in bytes
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))

network, width, batch, members = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
base = tasks.LENET_MNIST.at("smoke")
how = Recipe("3it", batch, Adam(0.001), every="2it")
def task(width):
    return replace(base, dataset="mnist-5k", network=network, width=width, recipe=how,
                   prune={"conv": 0.1, "linear": 0.1, "output": 0.1})
def run(task, members):
    seeds = list(range(members))
    task.train(task.init(seeds), task.dense_mask(seeds), seeds, keep=("1it",))
run(task(0.05), 1)  # all libraries have what they want by now
big = task(width)
shared, each = costs.needed(big, 1)
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = memory("VmRSS")
run(big, members)
print(shared + members * each, memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(
    ("network", "width", "batch", "members"),
    [("lenet-300-100", 4, 60, 3), ("conv-2", 0.5, 60, 2), ("conv-4", 1, 200, 1)],
)
def test_the_peak_of_memory_is_foreseen(network, width, batch, members):
    """Never much too low, or a machine is brought to its knees; never so high that it idles."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, network, str(width), str(batch), str(members)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    predicted, measured = map(int, done.stdout.split())
    assert 0.8 * measured < predicted < 4 * measured


def test_a_population_that_would_not_fit_is_split(toy_task, tmp_path, monkeypatch):
    whole = lottery.imp(toy_task, store=Store(tmp_path / "a"))
    shared, each = costs.needed(toy_task, 1)
    monkeypatch.setattr(costs, "available", lambda device: (shared + 1.2 * each) / costs.SHARE)
    sizes = []
    train = tasks.Task.train

    def counted(self, start, mask, seeds, *arguments, **options):
        sizes.append(len(seeds))
        return train(self, start, mask, seeds, *arguments, **options)

    monkeypatch.setattr(tasks.Task, "train", counted)
    split = lottery.imp(toy_task, store=Store(tmp_path / "c"))
    assert set(sizes) == {1}
    assert split.table.equals(whole.table)


def test_what_cannot_fit_is_said_before_it_starts(toy_task, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "available", lambda device: 1000)
    with pytest.raises(InputError, match="predicted to need .* at its peak"):
        lottery.imp(toy_task, store=Store(tmp_path))


def test_a_container_is_believed_before_the_machine(monkeypatch, tmp_path):
    free = costs.available(torch.device("cpu"))
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    monkeypatch.setattr(costs, "CONTAINER", tmp_path)
    assert costs.available(torch.device("cpu")) == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert costs.available(torch.device("cpu")) > free / 2


def test_activity_counts_what_every_layer_puts_out(net):
    assert costs.activity(net, (1, 4, 4)) == (16 + 15 + 15 + 5 + 5 + 4, 16)
    assert next(net.parameters()).device.type == "cpu"


def test_pace_is_a_time_and_changes_nothing(toy_task):
    iteration, look = costs.pace(toy_task, 0.2, members=2)
    assert 0 <= iteration < 1 and 0 < look < 1
    longer = replace(toy_task, recipe=replace(toy_task.recipe, duration="1000it"))
    assert costs.pace(longer)[0] > 0


@pytest.mark.parametrize("network", ["conv-2", "vgg-11", "resnet-20"])
def test_every_kind_of_network_has_an_activity(network):
    model = models.build(network, (3, 32, 32), 10, 0.1)
    assert costs.activity(model, (3, 32, 32))[0] > 10_000


# Operations ---------------------------------------------------------------------------------------


def by_hand(image, layers, kept):
    """Outputs of a convolution (stride 2, padding 1) and a fully connected layer for one image,
    one kept weight after another, and how many multiply-adds that took."""
    conv, linear = (layer.detach().double().numpy() for layer in layers)
    padded = np.pad(image.double().numpy(), ((0, 0), (1, 1), (1, 1)))
    between, out, count = np.zeros((3, 3, 3)), np.zeros(len(linear)), 0
    for (o, i, dy, dx), row, column in (
        (w, row, column) for w in np.argwhere(kept[0]) for row in range(3) for column in range(3)
    ):
        between[o, row, column] += conv[o, i, dy, dx] * padded[i, 2 * row + dy, 2 * column + dx]
        count += 1
    for o, i in np.argwhere(kept[1]):
        out[o] += linear[o, i] * between.ravel()[i]
        count += 1
    return out, count


def test_operations_are_those_that_compute_the_outputs(some_mask):
    conv, linear = nn.Conv2d(2, 3, 3, 2, padding=1, bias=False), nn.Linear(27, 4, bias=False)
    model = nn.Sequential(conv, nn.Flatten(), linear)
    mask = some_mask(models.dense_mask(model).shapes, members=3)
    image = torch.rand(2, 5, 5)
    found = costs.operations(model, (2, 5, 5), mask)
    for member in range(3):
        kept = [tensor[member].numpy() for tensor in mask.values()]
        out, count = by_hand(image, (conv.weight, linear.weight), kept)
        weights = mask.member(member).apply(models.from_module(model))
        expected = models.forward(model, weights, image.unsqueeze(0))[0, 0]
        np.testing.assert_allclose(out, expected.detach(), atol=1e-5)
        assert found[member] == count


@pytest.mark.parametrize("network", ["lenet-300-100", "conv-2", "vgg-11", "resnet-20"])
def test_dense_operations_are_what_pytorch_counts(network):
    model = models.build(network, (3, 32, 32), 10, 0.25).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 32, 32))
    mask = models.dense_mask(model, members=2)
    assert costs.operations(model, (3, 32, 32), mask).tolist() == [
        counter.get_total_flops() // 2
    ] * 2  # fmt: skip


def test_in_a_network_without_convolutions_operations_are_the_weights_kept(net, some_mask):
    mask = some_mask(models.dense_mask(net).shapes, members=4)
    assert torch.equal(costs.operations(net, (1, 4, 4), mask), mask.kept)


def test_a_layer_used_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x))

    model = Twice()
    assert costs.operations(model, (3,), models.dense_mask(model)).tolist() == [18]


def test_counting_leaves_the_network_as_it_was(net):
    before = models.from_module(net)
    costs.operations(net, (1, 4, 4), models.dense_mask(net))
    assert all(torch.equal(w, before[n]) for n, w in models.from_module(net).items())
    assert not any(module._forward_hooks for module in net.modules())


def test_a_mask_of_another_network_is_refused(net):
    with pytest.raises(InputError, match="does not fit"):
        costs.operations(net, (1, 4, 4), Mask.dense({"other.weight": (3, 3)}))
