"""The undisturbed study that every disturbed one must equal, byte for byte."""

import time

import pytest
from harness import Study


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A study that ran to its end in peace, and the seconds that it took."""
    Study(tmp_path_factory.mktemp("warm")).finish()  # starts what all processes come from
    study = Study(tmp_path_factory.mktemp("undisturbed"))
    began = time.monotonic()
    study.finish()
    study.seconds = time.monotonic() - began
    return study


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)
