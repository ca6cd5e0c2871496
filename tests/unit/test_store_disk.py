"""A full disk and a foreign folder: one clear sentence, and what was finished is intact."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch

from lth_utils.errors import InputError
from lth_utils.store import Store, Unit, key
from lth_utils.training import HISTORY

resource = pytest.importorskip("resource")

FIRST, SECOND = key({"seed": 0}), key({"seed": 1})
HISTORY_ROWS = [(0, 3, "end", 20, "test", "loss", 0.5)]


def unit(numbers):
    history = pd.DataFrame(HISTORY_ROWS, columns=HISTORY)
    return Unit(history, {"end": {"w": torch.zeros(1, numbers)}}, 1.0)


@contextmanager
def largest_file(size):
    """No file may grow beyond ``size`` bytes; Python ignores the signal and gets an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_full(runs, message):
    """What does not fit is refused whole, and what did fit is as it was."""
    checkpoint = runs.checkpoint(SECOND)
    for save in (
        lambda: runs.save(SECOND, unit(100_000)),
        lambda: checkpoint.save({"w": torch.zeros(100_000)}, {"step": 2}),
    ):
        with pytest.raises(InputError, match=message) as error:
            save()
        assert str(runs.root) in str(error.value) and "\n" not in str(error.value)
        assert "what was finished is intact: make room there and run again" in str(error.value)
    assert list(runs.root.glob("scratch/*")) == []
    assert [p.name for p in runs.root.glob("checkpoints/*")] == [f"{SECOND}.safetensors"]
    assert checkpoint.load()[1] == {"step": 1}
    assert runs.load(FIRST) and runs.load(SECOND) is None


def test_a_file_that_grows_too_large(tmp_path):
    runs = Store(tmp_path / "store")
    runs.save(FIRST, unit(10))
    runs.checkpoint(SECOND).save({}, {"step": 1})
    with largest_file(50_000):
        assert_full(runs, "File too large")
    runs.save(SECOND, unit(100_000))
    assert runs.load(SECOND)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk):
    runs = Store(small_disk / "store")
    runs.save(FIRST, unit(10))
    runs.checkpoint(SECOND).save({}, {"step": 1})
    assert_full(runs, "No space left on device")
    # To the last byte: even then it can be read, cleared and swept.
    with open(small_disk / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(bytes(4096))
    assert runs.load(FIRST)
    runs.checkpoint(SECOND).clear()
    assert [piece.key for piece in runs.gc(0)] == [FIRST]
    (small_disk / "filler").unlink()
    runs.save(SECOND, unit(10_000))
    assert runs.load(SECOND)


FOREIGN = """
import os, sys
import pandas as pd
from lth_utils.errors import InputError
from lth_utils.store import Store, Unit, key
from lth_utils.training import HISTORY

root, mode = sys.argv[1:]
runs = Store(root)
unit = Unit(pd.DataFrame([range(7)], columns=HISTORY), {}, 1.0)
runs.save(key({}), unit)
os.chmod(root, int(mode, 8))
os.setgroups([]); os.setgid(65534); os.setuid(65534)

def said(use):
    try:
        use()
    except InputError as error:
        print(error)

said(lambda: Store(root))
said(lambda: runs.save(key({"seed": 1}), unit))
said(lambda: runs.checkpoint(key({})).save({}, {}))
if mode == "755":  # it can be read, and nothing of it removed
    assert runs.load(key({})).seconds == 1
    said(lambda: runs.gc(0))
else:
    said(lambda: runs.load(key({})))
"""


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become another")
@pytest.mark.parametrize("mode", ["700", "755"])
def test_a_store_of_another_user_is_one_clear_sentence(mode):
    # Not in tmp_path, which nobody else may even enter.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        root = Path(folder) / "store"
        done = subprocess.run(
            [sys.executable, "-c", FOREIGN, str(root), mode], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout.splitlines()
        assert len(said) == 4
        assert all(f"{root}" in line and "(Permission denied)" in line for line in said)
        assert all("LTH_RUNS or --runs" in line for line in said)
        assert list(Store(root).units()) and not list(root.glob("scratch/*"))
