"""The store: nothing finished is lost, and nothing damaged is used."""

import errno
import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lth_utils import store
from lth_utils.errors import InputError
from lth_utils.store import Store, Unit, key
from lth_utils.training import HISTORY

NAME = key({"seed": 0})


@pytest.fixture
def unit():
    rows = [(0, 3, "during", 5 * i, "val", "loss", 1 / (3 + i)) for i in range(4)]
    rows += [(0, 3, "end", 20, "test", "accuracy", np.float64(100) / 7)]
    weights = {
        "end": {"fc.weight": torch.randn(1, 3, 5), "fc.bias": torch.zeros(1, 3)},
        "5": {"fc.weight": torch.randn(1, 5, 3).mT, "fc.bias": torch.ones(1, 3)},
    }
    settings = {"network": ["lenet", 1], "treatment": "ticket", "digest": "0" * 64}
    return Unit(pd.DataFrame(rows, columns=HISTORY), weights, 1.25, settings, {"threads": 1})


@pytest.fixture
def runs(tmp_path):
    return Store(tmp_path / "store")


def files(runs):
    """Every file but the locks, which may stay."""
    locks = runs.root / "locks"
    return sorted(p for p in runs.root.rglob("*") if p.is_file() and p.parent != locks)


def same(a, b):
    assert a.history.equals(b.history)
    assert a.weights.keys() == b.weights.keys()
    for name, tensors in a.weights.items():
        assert tensors.keys() == b.weights[name].keys()
        assert all(torch.equal(t, b.weights[name][n]) for n, t in tensors.items())
    assert (a.settings, a.provenance) == (b.settings, b.provenance)


# Writing and reading ------------------------------------------------------------------------------


def test_what_is_read_is_what_was_written(runs, unit):
    runs.save(NAME, unit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = Store(runs.root).load(NAME)
    same(back, unit)
    assert back.seconds == 1.25


def test_a_unit_without_weights_comes_back_without_weights(runs, unit):
    runs.save(NAME, replace(unit, weights={}))
    same(runs.load(NAME), replace(unit, weights={}))


def test_settings_are_kept_as_their_key_has_them(runs, unit):
    runs.save(NAME, replace(unit, settings={"b": (1.0, None), "a": {"é": True}}))
    assert runs.load(NAME).settings == {"b": [1, None], "a": {"é": True}}


def test_a_unit_says_nothing_of_itself_unless_it_is_told(runs, unit):
    runs.save(NAME, Unit(unit.history, unit.weights, 2.0))
    assert runs.load(NAME).settings == runs.load(NAME).provenance == {}


def test_weights_that_are_views_of_one_piece_of_memory_are_kept(runs, unit):
    flat = torch.arange(12.0)
    views = {"a": flat[:6].view(1, 2, 3), "b": flat[6:].view(1, 6), "c": flat.view(1, 12)}
    views["d"] = torch.ones(1, 1).expand(1, 4)
    runs.save(NAME, replace(unit, weights={"end": views}))
    same(runs.load(NAME), replace(unit, weights={"end": views}))


def test_a_loss_that_is_not_a_number_comes_back_as_it_was(runs, unit):
    history = unit.history.assign(value=[np.nan, np.inf, 0.1, 1e-300, 5.0])
    runs.save(NAME, replace(unit, history=history))
    same(runs.load(NAME), replace(unit, history=history))


def test_a_unit_that_was_never_saved_is_none(runs):
    assert runs.load(NAME) is None


def test_the_store_holds_no_pickle(runs, unit):
    runs.save(NAME, unit)
    assert {path.suffix for path in files(runs)} == {".csv", ".json", ".safetensors"}


def test_whoever_finishes_first_is_kept(runs, unit):
    runs.save(NAME, unit)
    runs.save(NAME, replace(unit, seconds=9.0, weights={}))
    same(runs.load(NAME), unit)
    assert {path.parent.name for path in files(runs)} == {NAME}  # the second left nothing behind


def test_runs_are_kept_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LTH_RUNS", str(tmp_path / "mine"))
    assert Store().root == tmp_path / "mine"
    monkeypatch.setenv("LTH_RUNS", "")
    assert store.default_root().parts[-2:] == ("lth_utils", "runs")


# Damage -------------------------------------------------------------------------------------------

FILES = ["unit.json", "history.csv", "end.safetensors", "5.safetensors"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def saved(runs, unit):
    runs.save(NAME, unit)
    return runs.root / NAME[:2] / NAME


def is_noticed(runs):
    with pytest.warns(UserWarning, match="damaged and is computed again"):
        return runs.load(NAME) is None


@pytest.mark.parametrize("damage", [flip, truncate, empty, os.remove])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_unit_is_noticed_removed_and_saved_again(runs, unit, file, damage):
    damage(saved(runs, unit) / file)
    assert is_noticed(runs)
    assert files(runs) == []
    runs.save(NAME, unit)
    same(runs.load(NAME), unit)


@pytest.mark.parametrize("file", FILES)
def test_every_flipped_bit_and_every_truncation_is_noticed(runs, unit, file, monkeypatch):
    monkeypatch.setattr(Store, "_remove", lambda *args: None)  # else a thousand copies are needed
    path = saved(runs, unit) / file
    data = path.read_bytes()
    places = range(0, len(data), 1 if file == "unit.json" else 1 + len(data) // 200)
    damages = [data[:i] for i in places]
    damages += [data[:i] + bytes([data[i] ^ (1 << i % 8)]) + data[i + 1 :] for i in places]
    damages += [data + b"\n", data + b"\0", data * 2]
    for damaged in damages:
        path.write_bytes(damaged)
        assert is_noticed(runs)
    path.write_bytes(data)
    same(runs.load(NAME), unit)


def test_no_other_text_with_the_same_meaning_passes_for_the_note(runs, unit):
    path = saved(runs, unit) / "unit.json"
    note = json.loads(path.read_text())
    path.write_text(json.dumps(note))
    assert is_noticed(runs)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"digests": null, "seconds": 1}', "\udc80"]
)
def test_a_note_that_is_not_a_note_is_damage_too(runs, unit, text):
    (saved(runs, unit) / "unit.json").write_bytes(text.encode(errors="surrogateescape"))
    assert is_noticed(runs)


def test_a_file_of_another_unit_is_noticed(runs, unit):
    other = key({"seed": 1})
    runs.save(other, replace(unit, seconds=2.0, history=unit.history[:2]))
    theirs = runs.root / other[:2] / other
    for file in ("history.csv", "unit.json"):
        shutil.copy(theirs / file, saved(runs, unit) / file)
        assert is_noticed(runs)
    shutil.copytree(theirs, runs.root / NAME[:2] / NAME)
    assert is_noticed(runs)


def test_an_empty_folder_a_file_too_many_and_a_file_in_its_place_are_damage(runs, unit):
    (runs.root / NAME[:2] / NAME).mkdir(parents=True)
    assert is_noticed(runs)
    (saved(runs, unit) / "more.safetensors").touch()
    assert is_noticed(runs)
    (saved(runs, unit) / "more").mkdir()
    assert is_noticed(runs)
    shutil.rmtree(saved(runs, unit))
    (runs.root / NAME[:2] / NAME).touch()
    assert is_noticed(runs)
    same_place = saved(runs, unit) / "end.safetensors"
    same_place.unlink()
    same_place.mkdir()
    assert is_noticed(runs)
    assert files(runs) == []


def test_looking_at_the_folder_in_a_file_browser_costs_no_results(runs, unit):
    (saved(runs, unit) / ".DS_Store").write_bytes(b"icons")
    same(runs.load(NAME), unit)


def test_what_cannot_be_read_just_now_is_not_thrown_away(runs, unit, monkeypatch):
    saved(runs, unit)

    def fails(*args, **options):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", fails)
        with pytest.raises(InputError, match="cannot be read from .*Too many open files"):
            runs.load(NAME)
    same(runs.load(NAME), unit)


def test_a_unit_that_another_process_removes_meanwhile_is_no_damage(runs, unit, monkeypatch):
    folder = saved(runs, unit)
    monkeypatch.setattr(store, "_read", lambda f: (shutil.rmtree(f), open(f))[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runs.load(NAME) is None
    assert not folder.exists()


# Interruption -------------------------------------------------------------------------------------

STEPS = ["store.write", "store.digest", "store.pack", "store.sync", "store.os.replace"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (OSError(errno.ENOSPC, "No space left"), InputError, "No space left.*intact: make room"),
        (OSError(errno.EDQUOT, "Quota exceeded"), InputError, "Quota .*intact: make room"),
        (OSError(errno.EACCES, "Denied"), InputError, "Denied.*intact: make it writable"),
        (OSError(errno.EROFS, "Read-only"), InputError, "Read-only.*LTH_RUNS or --runs"),
    ],
    ids=["interrupt", "full", "quota", "denied", "read-only"],
)
def test_an_interrupted_save_leaves_nothing_behind(
    runs, unit, monkeypatch, step, error, expected, message
):
    def stop(*args, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"lth_utils.{step}", stop)
        with pytest.raises(expected, match=message):
            runs.save(NAME, unit)
    assert files(runs) == [] and list(runs.root.glob("scratch/*")) == []
    assert runs.load(NAME) is None
    runs.save(NAME, unit)
    same(runs.load(NAME), unit)


def test_what_a_killed_process_left_is_no_finished_unit(runs, unit):
    code = (
        "import os, pandas as pd\n"
        "from lth_utils import store\n"
        f"runs = store.Store({str(runs.root)!r})\n"
        "store.digest = lambda path: os._exit(9)\n"
        f"runs.save({NAME!r}, store.Unit(pd.DataFrame([[0]]), {{}}, 1.0))\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert runs.load(NAME) is None
    runs.save(NAME, unit)
    same(runs.load(NAME), unit)
    [left] = runs.gc()
    assert left.kind == "scratch"
    same(runs.load(NAME), unit)


def test_a_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for root in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(InputError, match="Runs cannot be stored in .*LTH_RUNS or --runs"):
            Store(root)


def test_the_note_says_how_long_it_took_outside_the_history(runs, unit):
    runs.save(NAME, unit)
    [note] = [p for p in files(runs) if p.name == "unit.json"]
    assert json.loads(note.read_text())["seconds"] == 1.25
    assert "seconds" not in unit.history
