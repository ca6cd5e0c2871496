"""Housekeeping: what the store holds, and that making room takes nothing that is needed."""

import os
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch

from lth_utils.errors import InputError
from lth_utils.store import Store, Unit, byte_count, key
from lth_utils.training import HISTORY

KEYS = [key({"seed": seed}) for seed in range(4)]
A, B, C, D = KEYS


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.delenv("LTH_RUNS_LIMIT", raising=False)
    return Store(tmp_path / "store")


def unit(seed):
    history = pd.DataFrame([(0, seed, "end", 20, "test", "loss", 0.5)], columns=HISTORY)
    return Unit(history, {"end": {"w": torch.zeros(1, 1000)}}, seed + 0.5, {"seed": seed})


@pytest.fixture
def four(runs):
    """Four units of about 4 kB, last used in the order B, D, A, C."""
    for seed, name in enumerate(KEYS):
        runs.save(name, unit(seed))
    for when, name in enumerate((B, D, A, C)):
        touch(runs.root / name[:2] / name / "unit.json", when)
    return runs


def touch(path, when):
    os.utime(path, (1e9 + when, 1e9 + when))


def stays(runs):
    return {piece.key for piece in runs.units()}


def removed(pieces):
    return [(piece.kind, piece.key) for piece in pieces]


def size_on_disk(runs):
    return sum(path.stat().st_size for path in runs.root.rglob("*") if path.is_file())


# Looking ------------------------------------------------------------------------------------------


def test_units_are_listed_without_reading_their_tensors(four, monkeypatch):
    monkeypatch.setattr("safetensors.torch.load", None)
    listed = {piece.key: piece for piece in four.units()}
    assert set(listed) == set(KEYS)
    for seed, name in enumerate(KEYS):
        piece = listed[name]
        assert (piece.settings, piece.seconds, piece.damaged) == ({"seed": seed}, seed + 0.5, False)
        assert piece.path.is_dir() and piece.bytes > 4000
    assert sum(piece.bytes for piece in listed.values()) == four.size == size_on_disk(four)
    assert listed[D].used.timestamp() == 1e9 + 1


def test_what_is_loaded_counts_as_used(four):
    assert four.load(B).seconds == 1.5
    assert max(four.units(), key=lambda piece: piece.used).key == B
    assert four.load(B).seconds == 1.5  # and the new date does no damage


def test_damage_to_a_note_shows_in_the_list(four):
    (four.root / A[:2] / A / "unit.json").write_text("{}")
    (four.root / B[:2] / B / "history.csv").unlink()
    assert {piece.key for piece in four.units() if piece.damaged} == {A, B}
    assert len(list(four.units())) == 4  # looking changes nothing


def test_an_empty_store_holds_nothing(runs):
    assert (list(runs.units()), runs.size, runs.gc(0)) == ([], 0, [])


def test_a_key_is_found_by_its_beginning(four):
    for name in KEYS:
        assert four.find(name[:10]) == four.find(name) == name
    with pytest.raises(InputError, match="No run has a key that begins with 'xyz'; see `lth runs"):
        four.find("xyz")
    with pytest.raises(InputError, match=f"4 runs have keys that begin with '', such as {A[:2]}?"):
        four.find("")


# Leftovers ----------------------------------------------------------------------------------------


@pytest.fixture
def littered(four):
    """Everything that processes leave behind which are killed."""
    shutil.copytree(four.root / A[:2] / A, four.root / "scratch" / f"{A}-0123abcd")
    four.checkpoint(B).save({"w": torch.ones(9)}, {})  # finished, and not yet cleared
    half = four.checkpoint(C).path
    half.with_name(f"{half.name}.0123abcd").write_bytes(b"half")
    four.checkpoint(key({})).save({}, {})  # of a unit that is not finished
    (four.root / D[:2] / D / "unit.json").write_text('{"seconds": 1, "digests": {}}')  # version 1
    return four


def test_leftovers_go_and_everything_else_stays(littered):
    names = ("notes.txt", "scratch/mine", f"checkpoints/{B} copy.safetensors", f"{A[:2]}/{A} copy")
    mine = [littered.root / name for name in names]
    for path in mine:
        path.write_text("the reader's own")
    went = littered.gc()
    assert sorted(removed(went)) == sorted(
        [("scratch", A), ("checkpoint", B), ("scratch", C), ("unit", D)]
    )
    assert stays(littered) == {A, B, C}
    assert all(littered.load(name) for name in (A, B, C))
    assert littered.checkpoint(key({})).load() == ({}, {})
    assert all(path.exists() for path in mine)
    assert removed(littered.gc()) == []


def test_a_dry_run_says_the_same_and_removes_nothing(littered):
    def everything():
        return sorted(path for path in littered.root.rglob("*") if "locks" not in path.parts)

    before = everything()
    would = littered.gc(0, dry=True)
    assert everything() == before
    assert removed(littered.gc(0)) == removed(would)
    assert littered.size == 0


def test_leftovers_of_a_unit_that_is_being_computed_are_none(littered):
    with littered.claim([*KEYS, key({})]):
        assert littered.gc(0) == []
    assert len(littered.gc(0)) == 8


# Making room --------------------------------------------------------------------------------------


def test_what_was_not_used_for_longest_goes_first(four):
    each = four.size // 4
    assert removed(four.gc(4 * each + 9)) == []
    assert removed(four.gc(3 * each - 9)) == [("unit", B), ("unit", D)]
    assert four.load(A)
    assert removed(four.gc(each + 100)) == [("unit", C)]
    assert stays(four) == {A}
    assert removed(four.gc(0)) == [("unit", A)]
    assert four.size == 0


def test_leftovers_go_before_any_unit(littered):
    went = littered.gc(littered.size - 1)
    assert len(went) == 4 and stays(littered) == {A, B, C}


def test_a_claimed_unit_stays_and_the_next_goes(four):
    with four.claim([B]):
        assert removed(four.gc(3 * four.size // 4 + 9)) == [("unit", D)]
    assert four.load(B)


def test_the_limit_is_that_of_the_environment(four, monkeypatch):
    assert four.gc() == []
    monkeypatch.setenv("LTH_RUNS_LIMIT", "10 kB")
    assert removed(four.gc()) == [("unit", B), ("unit", D)]
    assert four.gc(10**9) == []
    monkeypatch.setenv("LTH_RUNS_LIMIT", "twenty")
    with pytest.raises(InputError, match="'twenty' is not a size; write one such as 500MB or 20GB"):
        four.gc()


def test_a_unit_that_cannot_be_removed_is_one_clear_sentence(four, monkeypatch):
    def denied(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", denied)
    with pytest.raises(InputError, match="Permission denied.*what was finished is intact"):
        four.gc(0)
    assert stays(four) == set(KEYS)


def test_a_unit_that_was_removed_is_computed_again_and_kept(four):
    four.gc(0)
    four.save(A, replace(unit(0), seconds=9.0))
    assert four.load(A).seconds == 9


# Sizes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0), ("17", 17), ("17B", 17), ("2k", 2000), ("500MB", 500_000_000),
        ("1.5 gb", 1_500_000_000), (" 20GB ", 20_000_000_000), ("1TB", 10**12),
    ],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text, count):
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "5 apples", "1,5GB", "5GBB", "5 G B"])
def test_what_is_no_size_is_one_clear_sentence(text):
    with pytest.raises(InputError, match="is not a size; write one such as"):
        byte_count(text)
