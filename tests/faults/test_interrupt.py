"""Ctrl-C: a sentence on how to go on, and a store from which that works."""

import os
import signal

import pytest


@pytest.mark.parametrize("units", [1, pytest.param(6, marks=pytest.mark.faults)])
def test_an_interrupted_study_says_how_to_go_on_and_does(study, undisturbed, units):
    process = study.start()
    study.wait_for_units(units, process)
    os.kill(process.pid, signal.SIGINT)
    text = study.end(process, status=130)
    [line] = [line for line in text.splitlines() if line.startswith("lth: ")]
    assert f"of {len(undisturbed.keys)} trainings are finished and stored in {study.runs}" in line
    assert "The same again goes on from there." in line and "Traceback" not in text
    assert list(study.runs.glob("scratch/*")) == []
    assert len(study.keys) >= units
    study.finish()
    study.assert_whole(undisturbed)
