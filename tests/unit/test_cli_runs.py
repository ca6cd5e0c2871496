"""``lth runs``: what is in the store can be seen, understood and thrown away."""

import os

import pandas as pd
import pytest
import torch

from lth_utils import cli
from lth_utils.store import Store, Unit, key
from lth_utils.training import HISTORY


def history(seed):
    rows = [(0, seed, "during", 5, "val", metric, 0.25) for metric in ("loss", "accuracy")]
    for moment, step in (("early stop", 15), ("end", 20)):
        for split in ("val", "test"):
            rows += [(0, seed, moment, step, split, "loss", 0.125 * step)]
            rows += [(0, seed, moment, step, split, "accuracy", 80.0 + step)]
    return pd.DataFrame(rows, columns=HISTORY)


@pytest.fixture
def runs(tmp_path):
    """Three tickets at level 2, used in the order of their seeds; 4 kB each."""
    runs = Store(tmp_path / "store")
    for seed in range(3):
        settings = {
            "network": ["lenet-300-100", 1], "data": ["mnist-5k", "ab" * 32, 0], "level": 2,
            "treatment": "random mask", "seed": seed, "recipe": {"type": "Recipe", "batch": 60},
        }  # fmt: skip
        weights = {"end": {"w": torch.zeros(1, 1000)}}
        unit = Unit(history(seed), weights, 1.25 + seed, settings, {"path": "sparse", "threads": 1})
        runs.save(key(settings), unit)
    for unit in runs.units():
        when = 1e9 + 100 * unit.settings["seed"]
        os.utime(unit.path / "unit.json", (when, when))
    return runs


def by_seed(runs):
    return [unit.key for unit in sorted(runs.units(), key=lambda unit: unit.settings["seed"])]


def test_runs_are_listed_the_last_used_at_the_end(lth, runs):
    status, out, err = lth("runs", "ls", "--runs", runs.root)
    assert (status, err) == (0, "")
    head, *rows, total = out.splitlines()
    assert head.split() == [
        "key", "network", "dataset", "treatment", "level", "seed", "seconds", "size", "used",
    ]  # fmt: skip
    for seed, (row, name) in enumerate(zip(rows, by_seed(runs), strict=True)):
        cells = [name[:10], "lenet-300-100", "mnist-5k", "random", "mask", "2", f"{seed}"]
        assert row.split()[:8] == [*cells, f"{1.25 + seed:.1f}"]
        assert row.split()[9] == "kB" and "2001-09-09" in row
    assert len({row.index("mnist-5k") for row in rows} | {head.index("dataset")}) == 1
    size = runs.size / 1000
    assert total == f"3 runs, 7 s of training, {size:.3g} kB in {runs.root}"


def test_a_damaged_run_is_listed_as_such(lth, runs):
    first, *_ = by_seed(runs)
    (runs.root / first[:2] / first / "unit.json").write_text("{}")
    _, out, _ = lth("runs", "ls", "--runs", runs.root)
    [row] = [row for row in out.splitlines() if row.startswith(first[:10])]
    assert "damaged" in row


def test_an_empty_store_says_how_to_begin(lth, tmp_path):
    status, out, err = lth("runs", "ls", "--runs", tmp_path / "none")
    assert (status, err) == (0, "")
    assert out == f"No runs yet in {tmp_path / 'none'}. Start with: lth imp lenet-mnist\n"
    status, out, _ = lth("runs", "gc", "--runs", tmp_path / "none")
    assert (status, out) == (0, f"Freed 0 B; 0 B stay in {tmp_path / 'none'}\n")


def test_the_store_is_that_of_the_environment(lth, runs, monkeypatch):
    monkeypatch.setenv("LTH_RUNS", str(runs.root))
    assert "3 runs" in lth("runs", "ls")[1]


def test_a_run_is_shown_with_all_that_decided_it_and_what_came_out(lth, runs):
    name = by_seed(runs)[1]
    status, out, err = lth("runs", "show", name[:8], "--runs", runs.root)
    assert (status, err) == (0, "")
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == name
    for line in (
        "treatment: random mask", "level: 2", "seed: 1", "seconds: 2.25", "path: sparse",
        'recipe: {"type": "Recipe", "batch": 60}', f'data: ["mnist-5k", "{"ab" * 32}", 0]',
        "early stop at 15: val loss 1.875, val accuracy 95, test loss 1.875, test accuracy 95",
        "end at 20: val loss 2.5, val accuracy 100, test loss 2.5, test accuracy 100",
    ):  # fmt: skip
        assert line in lines


def test_a_key_that_is_none_is_one_clear_sentence(lth, runs):
    for prefix, message in (
        ("xyz", "lth: No run has a key that begins with 'xyz'; see `lth runs ls`.\n"),
        ("", "lth: 3 runs have keys that begin with '', such as"),
    ):
        status, _, err = lth("runs", "show", prefix, "--runs", runs.root)
        assert status == 2 and err.startswith(message) and err.count("\n") == 1


def test_a_damaged_run_is_not_shown(lth, runs):
    name = by_seed(runs)[0]
    (runs.root / name[:2] / name / "history.csv").write_text("")
    with pytest.warns(UserWarning, match="damaged"):
        status, _, err = lth("runs", "show", name, "--runs", runs.root)
    assert status == 2
    assert err == f"lth: Run {name[:10]} was damaged and has been removed; run its study again.\n"


def test_making_room_says_what_went_and_what_stays(lth, runs):
    first, second, third = by_seed(runs)
    each = runs.size / 3
    status, dry, err = lth("runs", "gc", "--limit", "6kB", "--dry-run", "--runs", runs.root)
    assert (status, err) == (0, "")
    freed, stay = f"{2 * each / 1000:.3g} kB", f"{each / 1000:.3g} kB"
    rows = [f"{name[:10]}  unit, {each / 1000:.3g} kB" for name in (first, second)]
    assert dry.splitlines() == [*rows, f"Would free {freed}; {stay} stay in {runs.root}"]
    assert len(list(runs.units())) == 3
    _, out, _ = lth("runs", "gc", "--limit", "6kB", "--runs", runs.root)
    assert out.splitlines() == [*rows, f"Freed {freed}; {stay} stay in {runs.root}"]
    assert by_seed(runs) == [third]
    assert "1 run, 3 s" in lth("runs", "ls", "--runs", runs.root)[1]


def test_a_limit_that_is_no_size_is_one_clear_sentence(lth, runs, monkeypatch):
    message = "is not a size; write one such as 500MB or 20GB.\n"
    status, _, err = lth("runs", "gc", "--limit", "lots", "--runs", runs.root)
    assert status == 2 and err == f"lth: 'lots' {message}"
    monkeypatch.setenv("LTH_RUNS_LIMIT", "much")
    status, _, err = lth("runs", "gc", "--runs", runs.root)
    assert status == 2 and err == f"lth: 'much' {message}"
    assert len(list(runs.units())) == 3


@pytest.mark.parametrize("command", ["runs", "runs ls", "runs show", "runs gc"])
def test_every_command_explains_itself(lth, command):
    status, out, err = lth(*command.split(), "--help")
    assert (status, err) == (0, "")
    assert out.startswith("Usage: ")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (2e12, "2 TB")],
)
def test_sizes_read_well(count, text):
    assert cli._size(count) == text
