"""A small learnable dataset and a network to match, so that a test of training takes no time."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from lth_utils import cli, datasets, lottery, models, tasks
from lth_utils.datasets import Dataset, Split
from lth_utils.masks import Mask
from lth_utils.recipes import Adam, Recipe


@pytest.fixture(scope="session")
def make_dataset():
    """``make(train, val, test)``: noisy pictures of four patterns, of lengths that divide badly."""

    def make(*lengths, shape=(1, 4, 4), classes=4, seed=0):
        rng = np.random.default_rng(seed)
        patterns = rng.integers(0, 256, (classes, *shape))
        parts = []
        for n in lengths:
            labels = rng.integers(0, classes, n)
            pixels = patterns[labels] * 0.6 + rng.integers(0, 100, (n, *shape))
            parts.append(Split(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels)))
        return Dataset(
            name="toy",
            plain_title="Toy",
            source="drawn here",
            fingerprint="0" * 64,
            mean=(0.5,) * shape[0],
            std=(0.25,) * shape[0],
            classes=tuple("abcdefghij"[:classes]),
            split_seed=0,
            whole=lengths,
            train=parts[0],
            val=parts[1],
            test=parts[2],
        )

    return make


@pytest.fixture(scope="session")
def toy(make_dataset):
    return make_dataset(97, 41, 53)


@pytest.fixture(scope="session")
def little_text():
    """A few windows of the manual, whatever this Python's manual says."""
    return datasets.load("python-docs").subset(40, 10, 12)


@pytest.fixture(scope="session")
def net():
    """LeNet of 15 and 5 hidden units on the toy pictures: 335 prunable weights."""
    return models.LeNet((1, 4, 4), 4, 0.05)


@pytest.fixture
def toy_task(toy, monkeypatch):
    """A task on the toy dataset; 20 iterations, 2 levels, 2 replicates."""
    load = datasets.load

    def load_toy(name, *args, **options):
        return toy if name == "toy" else load(name, *args, **options)

    monkeypatch.setattr(datasets, "load", load_toy)
    return tasks.Task(
        name="toy-task",
        title="Little LeNet",
        network="lenet-300-100",
        dataset="toy",
        recipe=Recipe("20it", 10, Adam(0.01), every="5it"),
        prune={"linear": 0.3, "output": 0.1},
        levels=2,
        replicates=2,
        width=0.05,
    )


@pytest.fixture
def lth(monkeypatch, capsys):
    """Run a command through ``main``; gives exit status, output and error output."""

    def lth(*arguments):
        monkeypatch.setattr(sys, "argv", ["lth", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code or 0
        output = capsys.readouterr()
        return status, output.out, output.err

    return lth


@pytest.fixture(scope="session")
def some_mask():
    """``some(shapes, members, seed)``: a random mask, about half of it kept."""

    def some(shapes, members=2, seed=0):
        rng = np.random.default_rng(seed)
        return Mask(
            {n: torch.from_numpy(rng.random((members, *s)) < 0.5) for n, s in shapes.items()}
        )

    return some


@pytest.fixture(scope="session")
def made_up():
    """``made_up(accuracy, step, density)``: a study's table from lists of one value a replicate.

    ``accuracy`` and ``step`` go by (treatment, level); a step that is not given is 100.
    """

    def table(accuracy, step=None, density=None):
        rows = []
        for (treatment, level), values in accuracy.items():
            share = (density or {}).get(level, 0.8**level)
            steps = (step or {}).get((treatment, level), [100] * len(values))
            for replicate, (value, at) in enumerate(zip(values, steps, strict=True)):
                for moment in ("early stop", "end"):
                    for metric, v in (("accuracy", value), ("loss", 1 - value / 100)):
                        rows.append(
                            ("made up", treatment, level, share, replicate, moment, at, "test",
                             metric, v)
                        )  # fmt: skip
        return pd.DataFrame(rows, columns=lottery.TABLE)

    return table
