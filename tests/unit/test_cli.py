"""The command line: every mistake is one sentence on the error output, and exit status 2."""

import os
import struct
import subprocess
import sys

import numpy as np
import pandas as pd
import platformdirs
import pytest

from lth_utils import datasets, lottery, studies, tasks

MNIST = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte",
         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder and an empty user cache."""
    monkeypatch.setattr(tasks, "_chosen", None)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def fails(lth):
    """A command that must fail with one sentence, before any level is trained."""

    def fails(*arguments):
        status, _, err = lth(*arguments)
        assert status == 2, err
        assert err.startswith("lth: ") and err.endswith(".\n") and err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return fails


def idx(shape) -> bytes:
    array = np.zeros(shape, np.uint8)
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *shape) + array.tobytes()


SMOKE = ("imp", "lenet-mnist", "--scale", "smoke", "--levels", "1", "--replicates", "1")


# What works ---------------------------------------------------------------------------------------


def test_a_small_run_prints_a_table_and_writes_its_results(lth, here):
    status, out, err = lth(*SMOKE, "--out", here / "out")
    assert (status, err) == (0, "")
    assert "MNIST-5k" in out  # the stand-in is named
    head, dense, level1 = out[out.index("level") :].splitlines()[:3]
    assert head.split() == ["level", "weights", "dense", "ticket", "reinit", "random", "mask"]
    assert dense.split()[:2] == ["0", "100.0%"] and level1.split()[:2] == ["1", "21.1%"]
    assert len(level1.split()) == 5
    table = pd.read_csv(here / "out" / "table.csv")
    means = studies.summary(table).set_index(["treatment", "level"])["mean"]
    assert [f"{means[n, 1]:.2f}" for n in ("ticket", "reinit", "random mask")] == (
        level1.split()[2:]
    )
    assert {p.name for p in (here / "out").iterdir()} == {
        "table.csv", "curves.csv", "masks.safetensors",
    }  # fmt: skip


def test_several_replicates_print_intervals_and_options_are_passed_on(lth, here):
    status, out, _ = lth(
        "imp", "lenet-mnist", "--scale", "smoke", "--levels", 1, "--replicates", 2, "--fraction",
        0.5, "--scope", "global", "--criterion", "movement", "--rewind", "50%", "--treatment",
        "fine-tune", "--runs", here / "store",
    )  # fmt: skip
    assert status == 0
    assert "50.0%" in out and "fine-tune" in out and "reinit" not in out
    assert "(" in out[out.index("50.0%") :].splitlines()[0]
    assert (here / "here" / "runs" / "lenet-mnist-smoke" / "table.csv").exists()
    assert list((here / "store").iterdir())


def test_masks_are_trained_by_a_command(lth, here):
    status, out, _ = lth(
        "supermask", "lenet-edge-popup", "--scale", "smoke", "--density", 0.5, "--density", 0.1,
        "--replicates", 1, "--runs", here / "store", "--out", here / "out",
    )  # fmt: skip
    assert status == 0
    head, dense, half, tenth = out.splitlines()[3:7]
    assert head.split() == ["level", "weights", "dense", "supermask", "random", "mask"]
    assert [line.split()[1] for line in (dense, half, tenth)] == ["100.0%", "50.0%", "10.0%"]
    table = pd.read_csv(here / "out" / "table.csv")
    means = studies.summary(table).set_index(["treatment", "level"])["mean"]
    assert half.split()[2:] == [f"{means[n, 1]:.2f}" for n in ("supermask", "random mask")]
    assert (here / "out" / "masks.safetensors").exists()


def test_the_lists_name_everything(lth):
    assert all(name in lth("tasks")[1] for name in tasks.TASKS)
    assert all(name in lth("data")[1] for name in datasets.KNOWN)
    assert all(name in lth("results", "ls")[1] for name in studies.STUDIES)


@pytest.mark.parametrize(
    "command",
    ["", "tasks", "imp", "supermask", "data", "data fetch", "results", "results ls", "results run"],
)
def test_every_command_explains_itself(lth, command):
    status, out, err = lth(*command.split(), "--help")
    assert (status, err) == (0, "")
    assert out.startswith("Usage: ") and "--help" in out


def test_a_study_can_be_run_and_its_scorecard_built(lth, here):
    folder = here / "results"
    status, out, err = lth("results", "--folder", folder, "run", "lenet-mnist", "--scale", "smoke")
    assert status == 0, err
    assert (folder / "lenet-mnist.csv").exists()
    status, out, err = lth("results", "--folder", folder)
    assert status == 0, err
    card = pd.read_csv(folder / "scorecard.csv")
    assert len(card) == 40
    assert f"{(card.verdict == 'open').sum()} of 40 claims are open" in out


def test_help_does_not_wait_for_what_only_figures_need():
    code = "import sys, lth_utils.cli as c\ntry: c.app(['--help'])\nexcept SystemExit: pass\n"
    code += "assert 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Bad input ----------------------------------------------------------------------------------------


def test_an_unknown_task_lists_the_known_ones(fails):
    err = fails("imp", "lenet")
    assert err.startswith("lth: Unknown task 'lenet'. Known: lenet-mnist, ")
    assert set(tasks.TASKS) == set(err.removesuffix(".\n").split("Known: ")[1].split(", "))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--levels", "-1"), "levels is 0 or more; got -1"),
        (("--replicates", "0"), "replicates is 1 or more; got 0"),
        (("--replicates", "-2"), "replicates is 1 or more; got -2"),
        (("--fraction", "1.5"), "from 0 to 1; got 1.5"),
        (("--fraction", "-0.2"), "from 0 to 1; got -0.2"),
        (("--scale", "huge"), "Unknown scale 'huge'. Known:"),
        (("--scope", "layers"), "Unknown scope 'layers'. Known: layer, erdos-renyi, global"),
        (("--criterion", "size"), "Unknown criterion 'size'. Known:"),
        (("--treatment", "tickets"), "Unknown treatment 'tickets'. Known: ticket"),
        (("--rewind", "later"), "'later' is not a step"),
        (("--rewind", "200%"), "beyond the recipe's 20"),
    ],
    ids=lambda v: "".join(v) if isinstance(v, tuple) else None,
)
def test_an_impossible_option_is_one_sentence(fails, options, message):
    command = [*SMOKE[:2], *(() if "--scale" in options else SMOKE[2:4]), *options]
    assert message in fails(*command)


def test_what_is_wrong_is_said_before_anything_is_trained(fails, here):
    for option in (("--levels", "-1"), ("--fraction", "1.5"), ("--treatment", "tickets")):
        fails(*SMOKE[:4], *option)
    assert not [p for p in here.rglob("*") if p.suffix == ".csv"]


def test_data_that_is_pointed_to_nothing(fails, monkeypatch, here):
    monkeypatch.setenv("LTH_DATA", str(here / "nowhere"))
    for command in (SMOKE, ("data",)):
        err = fails(*command)
        assert str(here / "nowhere") in err and "LTH_DATA" in err


def test_a_truncated_file_of_the_dataset(fails, monkeypatch, here):
    raw = here / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, shape in zip(MNIST, ((9, 28, 28), (9,), (5, 28, 28), (5,)), strict=True):
        (raw / name).write_bytes(idx(shape))
    (raw / MNIST[0]).write_bytes(idx((9, 28, 28))[:-100])
    monkeypatch.setenv("LTH_DATA", str(here / "data"))
    err = fails(*SMOKE)
    assert str(raw / MNIST[0]) in err and "truncated" in err
    assert "MNIST-5k" not in err


def test_a_folder_that_cannot_be_written(fails, here):
    (here / "file").write_text("in the way")
    err = fails(*SMOKE, "--out", here / "file" / "out")
    assert str(here / "file") in err and "--out" in err
    assert "--runs" in fails(*SMOKE, "--runs", here / "file" / "store")
    assert str(here / "file") in fails(
        "results", "--folder", here / "file", "run", "lenet-mnist", "--scale", "smoke"
    )


def test_an_unknown_dataset_lists_the_known_ones(fails):
    assert "Unknown dataset 'minst'. Known: mnist" in fails("data", "fetch", "minst")


def test_a_dataset_that_has_no_address_cannot_be_fetched(fails):
    assert "has no download address" in fails("data", "fetch", "cifar10-jpeg")


def test_a_dataset_that_is_not_here(fails, here):
    err = fails("imp", "lenet-fashion", "--scale", "smoke")
    assert "Fashion-MNIST" in err


def test_an_unknown_study_and_results_that_are_not_there(fails, here):
    err = fails("results", "--folder", here, "run", "lenet", "--scale", "smoke")
    assert "Unknown study 'lenet'. Known: lenet-mnist" in err
    assert "Unknown scale 'huge'" in fails(
        "results", "--folder", here, "run", "lenet-mnist", "--scale", "huge"
    )


def test_an_unknown_command_or_option_is_no_traceback(lth):
    for arguments in (("pmi",), ("imp",), (*SMOKE, "--levles", "1"), ("imp", "x", "--levels", "y")):
        status, _, err = lth(*arguments)
        assert status == 2 and "Traceback" not in err and "Error" in err


def test_a_long_run_is_not_started_without_being_asked(fails, monkeypatch):
    monkeypatch.setattr(lottery, "predict", lambda *a, **k: 3600.0)
    assert "--yes" in fails(*SMOKE)


@pytest.mark.parametrize(
    ("notes", "said"), [(["Stopped: 3 of 4."], "Stopped: 3 of 4."), ([], "Stopped before any")]
)
def test_ctrl_c_says_how_to_go_on_and_has_the_status_of_an_interrupt(lth, monkeypatch, notes, said):
    def stopped(*args, **options):
        stop = KeyboardInterrupt()
        for note in notes:
            stop.add_note(note)
        raise stop

    monkeypatch.setattr("lth_utils.lottery.imp", stopped)
    status, _, err = lth(*SMOKE)
    assert status == 130
    assert err.startswith(f"\nlth: {said}") and "Traceback" not in err


def test_a_mistake_in_a_real_process_has_the_status_of_a_mistake(here):
    done = subprocess.run(
        [sys.executable, "-m", "lth_utils.cli", *SMOKE[:4], "--fraction", "1.5"],
        capture_output=True, text=True, env=os.environ | {"LTH_RUNS": str(here / "runs")},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("lth: A fraction is") and done.stderr.count("\n") == 1
