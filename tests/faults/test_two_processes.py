"""Two processes at once on one store share the work, and do each other no harm."""

import pytest
from harness import Study

DELAYS = [0.0, *(pytest.param(delay, marks=pytest.mark.faults) for delay in (0.1, 0.3, 0.6))]


@pytest.mark.parametrize("delay", DELAYS)
def test_both_succeed_and_no_unit_is_computed_twice(tmp_path, undisturbed, delay):
    studies = Study(tmp_path, "one"), Study(tmp_path, "two")
    processes = []
    for study in studies:
        processes.append(study.start())
        processes[-1].join(delay * undisturbed.seconds)
    for study, process in zip(studies, processes, strict=True):
        assert "damaged" not in study.end(process)
        study.assert_whole(undisturbed)


@pytest.mark.faults
def test_when_one_of_two_is_killed_the_other_finishes_alone(tmp_path, undisturbed):
    studies = Study(tmp_path, "one"), Study(tmp_path, "two")
    first, second = (study.start() for study in studies)
    studies[0].wait_for_units(3, first)
    first.kill()
    studies[1].end(second)
    studies[1].assert_whole(undisturbed)
    studies[0].finish()
    studies[0].assert_whole(undisturbed)
