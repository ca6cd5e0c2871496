"""A task from one's own file runs from the command line, and doubts about a result are said."""

import os
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lth_utils import studies, tasks
from lth_utils.datasets import Split
from lth_utils.errors import InputError
from lth_utils.lottery import Lottery, Ticket, imp
from lth_utils.masks import Mask
from lth_utils.store import Store

SMALL = """
import numpy as np
from torch import nn
import lth_utils as lth
from lth_utils.recipes import Adam, Recipe
from beside import HIDDEN

class Net(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.fc, self.output = nn.Linear(inputs[-1], HIDDEN), nn.Linear(HIDDEN, classes)

    def forward(self, x):
        return self.output(self.fc(x.flatten(1)).relu())

points = np.random.default_rng(0).random((60, 2))
task = lth.Task(
    name="points", title="Net", network=Net,
    dataset=lth.datasets.make("points", points, points[:, 0] > points[:, 1]),
    recipe=Recipe("6it", 10, Adam(0.01), every="3it"), prune={"linear": 0.3, "output": 0.1},
    levels=1, replicates=2,
)
wide = task.changed(name="wide")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a reader's file, and one beside it that it imports."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(SMALL)
    (tmp_path / "beside.py").write_text("HIDDEN = 7\n")
    yield tmp_path
    for name in ("beside", "small", "own task small"):
        sys.modules.pop(name, None)


# Where a task is ----------------------------------------------------------------------------------


def test_a_task_is_found_by_name_in_a_file_and_in_a_module(here):
    assert tasks.find("lenet-mnist") is tasks.LENET_MNIST
    assert tasks.find("small.py").name == "points"
    assert tasks.find("small.py:wide").name == "wide"
    assert tasks.find(f"{here}/small.py:task").name == "points"
    assert tasks.find("small:wide").name == "wide"
    assert tasks.find("lth_utils.tasks:CONV2_CIFAR10") is tasks.CONV2_CIFAR10


def test_the_only_task_of_a_file_needs_no_name(here):
    (here / "one.py").write_text(
        SMALL.replace("task =", "mine =").replace("wide = task", "x = mine")
    )
    with pytest.raises(InputError, match="Unknown task in one.py 'task'. Known: mine, x"):
        tasks.find("one.py")
    (here / "one.py").write_text(SMALL.replace("task =", "mine =").split("wide =")[0])
    assert tasks.find("one.py").name == "points"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nowhere.py", "no file nowhere.py; `lth new nowhere.py` writes one"),
        ("small.py:narrow", "Unknown task in small.py 'narrow'. Known: "),
        ("small.py:Net", "Unknown task in small.py 'Net'"),
        ("beside.py", "beside.py defines no lth.Task; `lth new FILE`"),
        ("broken.py", "broken.py fails in line 2: ZeroDivisionError: division by zero"),
        ("typo.py", "typo.py fails in line 1: SyntaxError"),
        ("no.such:task", "no.such fails: ModuleNotFoundError"),
        ("lenet", "Unknown task 'lenet'. Known: lenet-mnist, "),
    ],
)
def test_where_there_is_no_task_it_is_one_sentence(here, lth, where, message):
    (here / "broken.py").write_text("x = 1\ny = x / 0\n")
    (here / "typo.py").write_text("x = = 1\n")
    status, _, err = lth("imp", where)
    assert status == 2 and err.startswith("lth: ") and err.count("\n") == 1
    assert message in err


# The command line ---------------------------------------------------------------------------------


def test_a_file_runs_and_is_named_after_its_task(here, lth):
    status, out, err = lth("imp", "small.py", "--check")
    assert (status, err) == (0, "")
    assert out.startswith("Net on points, 6 iterations")
    assert (here / "runs" / "points-smoke" / "table.csv").exists()
    assert "What speaks against believing it:\n  There are 2 replicates" in out


def test_processes_need_no_file_of_the_readers(here, lth):
    """What a file defines travels by value: a worker on another machine has no such file."""
    status, _, err = lth("imp", "small.py", "--replicates", "1", "--workers", "1")
    assert status == 0, err
    processes = {Store().load(unit.key).provenance["process"] for unit in Store().units()}
    assert len(processes) == 1 and os.getpid() not in processes


@pytest.mark.slow
def test_a_cluster_needs_no_file_of_the_readers_either(here, lth):
    options = ("--replicates", "1", "--cluster", "local", "--workers", "1")
    status, _, err = lth("imp", "small.py", *options)
    assert status == 0, err
    processes = {Store().load(unit.key).provenance["process"] for unit in Store().units()}
    assert len(processes) == 1 and os.getpid() not in processes


def test_a_new_file_runs_as_it_is(here, lth):
    assert lth("new", "mine.py")[0] == 0
    status, out, err = lth("imp", "mine.py", "--scale", "smoke")
    assert (status, err) == (0, "")
    assert "A small residual network on my digits (first 500" in out
    assert len((here / "mine.py").read_text().splitlines()) < 70


def test_a_new_file_never_replaces_another(here, lth):
    before = (here / "small.py").read_text()
    for name, message in (("small.py", "is there already"), ("mine", "call the file mine.py"),
                          ("no/where.py", "cannot be written")):  # fmt: skip
        status, _, err = lth("new", name)
        assert status == 2 and message in err
    assert (here / "small.py").read_text() == before


# What speaks against a result ---------------------------------------------------------------------


@pytest.fixture
def found(toy_task, make_dataset, made_up):
    """``found(**changes)``: a made-up result against which nothing speaks."""

    def make(
        accuracy=None, step=None, data=None, replicates=6, empty=False, density=0.05, **changes
    ):
        rng = np.random.default_rng(0)
        each = {("dense", 0): 95.0, ("ticket", 1): 95.5, ("reinit", 1): 92.0,
                ("random mask", 1): 90.0}  # fmt: skip
        each |= accuracy or {}
        noise = {
            k: np.minimum(100, v + 0.2 * rng.normal(size=replicates))
            for k, v in each.items()
            if v is not None
        }
        table = made_up(noise, step=step, density={0: 1.0, 1: density})
        task = replace(toy_task, **changes)
        task.__dict__["data"] = data or make_dataset(200, 50, 600)
        kept = torch.rand(replicates, 50, 40, generator=torch.Generator().manual_seed(0)) < density
        mask = Mask(
            {"fc1.weight": kept, "output.weight": torch.full((replicates, 4, 5), not empty)}
        )
        return Lottery(task, table, table[:0], [Ticket(1, {}, mask, "0it")], {}, 0.0)

    return make


def test_nothing_is_said_against_a_good_result(found):
    assert studies.check(found(step={("dense", 0): [10] * 6})) == []


FLAWS = {
    "one replicate": ({"replicates": 1}, "one replicate, so nothing is known about noise"),
    "few replicates": ({"replicates": 3}, "3 replicates: an interval reaches 2.5 standard"),
    "no fresh weights": ({"accuracy": {("reinit", 1): None}}, "No control has fresh weights"),
    "no random mask": ({"accuracy": {("random mask", 1): None}}, "No control has as many weights"),
    "chance": ({"accuracy": {("dense", 0): 25.0}}, "better than always naming the commonest class"),
    "no errors": ({"accuracy": {("dense", 0): 200.0}}, "The dense network makes no error"),
    "too short": ({"step": {("dense", 0): [20] * 6}}, "In 6 of 6 replicates .* last tenth"),
    "dense enough": ({"density": 0.5}, "keeps 50% of its weights; claims about tickets begin at"),
    "layer collapse": ({"empty": True}, r"level 1 a layer has lost all .* \(output.weight\)"),
    "noise": (
        {"accuracy": {("reinit", 1): 95.5}},
        "'ticket' and 'reinit' is within noise at 5.0%",
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_speaks_against_a_result_is_said(found, flaw):
    changes, message = FLAWS[flaw]
    changes = {"step": {("dense", 0): [10] * changes.get("replicates", 6)}} | changes
    said = studies.check(found(**changes))
    assert any(re.search(message, sentence) for sentence in said), said
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in said)


def test_images_that_test_what_they_trained_are_counted(found, make_dataset):
    data = make_dataset(200, 50, 600)
    images = data.test.images.clone()
    images[:3] = data.train.images[5]
    leaky = replace(data, test=Split(images, data.test.labels))
    step = {("dense", 0): [10] * 6}
    [said] = studies.check(found(step=step, data=leaky))
    assert "3 of the 600 images to report are also in the training set" in said


def test_a_small_test_set_says_how_little_it_knows(found, make_dataset):
    step = {("dense", 0): [10] * 6}
    [said] = studies.check(found(step=step, data=make_dataset(200, 50, 100)))
    assert "100 labels, so an accuracy has a standard error of 2.2 points" in said


def test_a_real_result_is_looked_at(toy_task):
    result = imp(toy_task, levels=1, treatments=("ticket",))
    assert any("2 replicates" in sentence for sentence in studies.check(result))
    dense = replace(result, table=result.table[result.table.level == 0], tickets=[])
    assert studies.check(dense, moment="end")[1].startswith("Nothing was pruned")
