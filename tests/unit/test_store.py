"""The store: nothing finished is lost, and nothing damaged is used."""

import json
import os
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
from lth_utils.pruning import magnitude
from lth_utils.recipes import Adam, Recipe
from lth_utils.store import Store, Unit, identity, key
from lth_utils.training import HISTORY

SETTINGS = {
    "recipe": Recipe("100it", 10, Adam(0.01)),
    "seed": 3,
    "fractions": {"b": 0.1, "a": 0.2},
    "parent": None,
    "keep": ("1%",),
}
PINNED = "1579e2d42e5956fefed938e8f9b5dd507db4fe10ec3fb930c9a71a004b93affd"
NAME = key({"seed": 0})


@pytest.fixture
def unit():
    rows = [(0, 3, "during", 5 * i, "val", "loss", 1 / (3 + i)) for i in range(4)]
    rows += [(0, 3, "end", 20, "test", "accuracy", np.float64(100) / 7)]
    weights = {
        "end": {"fc.weight": torch.randn(1, 3, 5), "fc.bias": torch.zeros(1, 3)},
        "5": {"fc.weight": torch.randn(1, 5, 3).mT, "fc.bias": torch.ones(1, 3)},
    }
    return Unit(pd.DataFrame(rows, columns=HISTORY), weights, 1.25)


@pytest.fixture
def runs(tmp_path):
    return Store(tmp_path / "store")


def files(runs):
    return sorted(path for path in runs.root.rglob("*") if path.is_file())


def same(a, b):
    assert a.history.equals(b.history)
    assert a.weights.keys() == b.weights.keys()
    for name, tensors in a.weights.items():
        assert tensors.keys() == b.weights[name].keys()
        assert all(torch.equal(t, b.weights[name][n]) for n, t in tensors.items())


# Keys ---------------------------------------------------------------------------------------------


def test_a_refactoring_changes_no_key():
    # A key that changes loses every finished run: where that is meant, raise NUMERICS.
    assert store.NUMERICS == 1
    assert key(SETTINGS) == PINNED


def test_a_key_is_the_same_in_every_process():
    code = (
        "from lth_utils.recipes import *; from lth_utils.store import key; "
        "print(key({'keep': ['1%'], 'parent': None, 'fractions': {'a': 0.2, 'b': 0.1}, 'seed': 3, "
        "'recipe': Recipe('100it', 10, Adam(0.01))}))"
    )
    for hash_seed in "1":
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        printed = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert printed.stdout.strip() == PINNED


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"seed": "3"},
        {"parent": "0"},
        {"keep": ()},
        {"fractions": {"a": 0.1, "b": 0.2}},
        {"recipe": replace(SETTINGS["recipe"], optimiser=Adam(0.01, eps=1e-7))},
        {"more": 1},
    ],
    ids=lambda c: f"{c}"[:30],
)
def test_other_settings_have_another_key(changes):
    assert key(SETTINGS | changes) != key(SETTINGS)


def test_another_version_of_the_numerics_finds_nothing_of_the_old(monkeypatch):
    old = key(SETTINGS)
    monkeypatch.setattr(store, "NUMERICS", 2)
    assert key(SETTINGS) != old


def test_what_has_no_canonical_text_cannot_be_part_of_a_key():
    with pytest.raises(TypeError, match="cannot be part of a key"):
        key({"function": print})


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
    assert len(list(runs.root.iterdir())) == 1  # and the second left nothing behind


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


@pytest.mark.parametrize("damage", [flip, truncate, empty, os.remove])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_unit_is_noticed_removed_and_saved_again(runs, unit, file, damage):
    runs.save(NAME, unit)
    [path] = [p for p in files(runs) if p.name == file]
    damage(path)
    with pytest.warns(UserWarning, match="damaged and is computed again"):
        assert runs.load(NAME) is None
    assert files(runs) == []
    runs.save(NAME, unit)
    same(runs.load(NAME), unit)


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"digests": null, "seconds": 1}', "\udc80"])
def test_a_note_that_is_not_a_note_is_damage_too(runs, unit, text):
    runs.save(NAME, unit)
    [note] = [p for p in files(runs) if p.name == "unit.json"]
    note.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.warns(UserWarning, match="computed again"):
        assert runs.load(NAME) is None


def test_no_flipped_bit_of_the_note_changes_the_numbers(runs, unit):
    unit = replace(unit, weights={})
    runs.save(NAME, unit)
    [note] = [p for p in files(runs) if p.name == "unit.json"]
    whole = note.read_bytes()
    noticed = 0
    for i in range(len(whole)):
        runs.save(NAME, unit)
        note.write_bytes(whole[:i] + bytes([whole[i] ^ (1 << i % 8)]) + whole[i + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            back = runs.load(NAME)
        noticed += back is None
        if back is not None:
            same(back, unit)
    assert noticed > len(whole) / 2


# Interruption -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("at", ["save_file", "_digest", "os.replace"])
def test_an_interrupted_save_leaves_nothing_behind(runs, unit, monkeypatch, at, error):
    def stop(*args, **options):
        raise error("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(f"lth_utils.store.{at}", stop)
        with pytest.raises(error):
            runs.save(NAME, unit)
    assert files(runs) == []
    assert runs.load(NAME) is None
    runs.save(NAME, unit)
    same(runs.load(NAME), unit)


def test_what_a_killed_process_left_is_no_finished_unit(runs, unit):
    code = (
        "import os, pandas as pd\n"
        "from lth_utils import store\n"
        f"runs = store.Store({str(runs.root)!r})\n"
        "store._digest = lambda path: os._exit(9)\n"
        f"runs.save({NAME!r}, store.Unit(pd.DataFrame([[0]]), {{}}, 1.0))\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert runs.load(NAME) is None
    runs.save(NAME, unit)
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


def test_an_edited_criterion_is_not_given_the_results_of_the_old_one():
    def power(k, default=2):
        def score(layer, default=default):
            return [w**k for w in layer]

        return score

    assert identity(power(1)) == identity(power(1))
    assert len({identity(power(1)), identity(power(-1)), identity(power(1, default=3))}) == 3
    assert identity(magnitude.scores) == "magnitude"  # the package's own go by name


def test_a_criterion_with_a_comprehension_is_the_same_in_the_next_session():
    source = "def score(layer):\n    return [abs(w) for w in layer]"
    first, second = {"__name__": "notebook"}, {"__name__": "notebook"}
    exec(source, first)
    exec(source, second)
    assert identity(first["score"]) == identity(second["score"])
