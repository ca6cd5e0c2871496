"""What every test starts from: smallest scale, embedded data, an empty store, one thread."""

import os
import tempfile

import pytest

# Set before anything imports torch or matplotlib, and for the processes that tests start.
for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[threads] = "1"
os.environ["LTH_SCALE"] = "smoke"
os.environ.setdefault("LTH_DATA", "embedded")  # tests of the real files read where those are
os.environ["LTH_PROGRESS"] = "0"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("LTH_DEVICE", "cpu")

_runs = tempfile.TemporaryDirectory(prefix="lottery-tickets-runs-")
os.environ["LTH_RUNS"] = _runs.name  # for fixtures that outlive a test


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    """No test finds what another has computed, or data that only this machine has."""
    monkeypatch.setenv("LTH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LTH_DATA", "embedded")


def pytest_collection_modifyitems(items):
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU here"))
