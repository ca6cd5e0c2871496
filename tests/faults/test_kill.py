"""kill -9: whatever the moment, going on gives what an undisturbed study gives."""

import random
import time

import pytest

# The long version has 25 moments; every run of the tests has the first three.
MOMENTS = [pytest.param(i, marks=() if i < 3 else pytest.mark.faults) for i in range(25)]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_study_goes_on_as_if_nothing_had_happened(study, undisturbed, moment):
    # One of each 25th of the study, at random within it; a moment says its own seed.
    share = (moment * 8 % 25 + random.Random(moment).random()) / 25
    study.kill_after(share * undisturbed.seconds)
    text = study.finish()
    assert "damaged" not in text
    study.assert_whole(undisturbed)


def test_a_long_unit_goes_on_from_its_checkpoint(study, undisturbed):
    checkpoints = study.runs / "checkpoints"
    for _ in range(10):  # it may just have been finished
        process = study.start()
        while process.is_alive() and not list(checkpoints.glob("*.safetensors")):
            time.sleep(0.001)
        process.kill()
        process.join(30)
        if list(checkpoints.glob("*.safetensors")):
            break
    study.finish()
    assert study.resumed
    assert list(checkpoints.iterdir()) == []
    study.assert_whole(undisturbed)


@pytest.mark.faults
def test_a_study_that_is_killed_again_and_again_gets_there(study, undisturbed):
    for i in range(100):
        process = study.kill_after(undisturbed.seconds * (0.3 + i / 20))
        if process.exitcode == 0:
            break
    assert i > 0, "it was never killed"
    study.assert_whole(undisturbed)
