"""Damage on disk: noticed, said, and that unit alone computed again."""

import random
import shutil

import pytest


def flip(path, chance):
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncate(path, chance):
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def remove(path, chance):
    path.unlink()


def add(path, chance):
    shutil.copy(path, path.with_name("copy of " + path.name))


DAMAGES = [flip, *(pytest.param(d, marks=pytest.mark.faults) for d in (truncate, remove, add))]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_units_are_computed_again_and_no_others(study, undisturbed, damage):
    shutil.copytree(undisturbed.runs, study.runs)
    chance = random.Random(damage.__name__)
    # One file of each name, each in a unit of its own.
    victims = {}
    for path in chance.sample(files := sorted(study.runs.glob("??/*/*")), len(files)):
        if path.name not in victims and path.parent not in {p.parent for p in victims.values()}:
            victims[path.name] = path
    assert {"unit.json", "history.csv", "end.safetensors"} <= set(victims)
    for path in victims.values():
        damage(path, chance)
    text = study.finish()
    assert "A stored run was damaged and is computed again" in text
    assert sorted(study.saved) == sorted(path.parent.name for path in victims.values())
    study.assert_whole(undisturbed)


@pytest.mark.faults
def test_a_store_full_of_zeros_is_computed_anew(study, undisturbed):
    # What a file system may show after a power cut.
    shutil.copytree(undisturbed.runs, study.runs)
    for path in study.runs.glob("??/*/*"):
        path.write_bytes(bytes(path.stat().st_size))
    study.finish()
    assert set(study.saved) == undisturbed.keys
    study.assert_whole(undisturbed)
