"""A full disk: one clear sentence; what was finished is intact, and is not computed again."""

import subprocess

import pytest
from harness import Study


def assert_said(text, why):
    """One sentence, and no traceback, on what to do."""
    [line] = [line for line in text.splitlines() if line.startswith("lth: ")]
    assert "Runs cannot be stored in" in line and why in line
    assert "what was finished is intact: make room there and run again" in line
    assert "Traceback" not in text


def test_files_that_may_not_grow(study, undisturbed):
    short = Study(study.out.parent, file_size=100_000)
    assert_said(short.finish(status=2), "File too large")
    short.assert_clean()
    study.finish()
    study.assert_whole(undisturbed)


@pytest.mark.parametrize("megabytes", [3, pytest.param(6, marks=pytest.mark.faults)])
def test_a_disk_that_fills_up(study, undisturbed, megabytes):
    study.runs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", study.runs]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be mounted here")
    try:
        assert_said(study.finish(status=2), "No space left on device")
        study.assert_clean()
        subprocess.run(["mount", "-o", "remount,size=99m", study.runs], check=True)
        study.finish()
        study.assert_whole(undisturbed)
    finally:
        subprocess.run(["umount", study.runs], check=True)
