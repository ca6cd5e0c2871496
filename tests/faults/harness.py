"""Studies in processes of their own, to be killed, interrupted and starved."""

import faulthandler
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

from lth_utils.store import Checkpoint, Store

# Real processes that need not import torch each, so that a death at any moment costs one second.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["lth_utils.cli", "lth_utils.studies", "torch._refs", "scipy.stats", "harness"]
)

FILES = ("table.csv", "curves.csv", "masks.safetensors")


class Study:
    """``lth imp`` at the smallest scale, with a store and a folder for the results.

    Args:
        folder: where both are.
        out: the results' folder; two processes on one store each need their own.
        options: of the command line, more than those that make it small.
        file_size: bytes beyond which no file may grow.
    """

    def __init__(self, folder, out="out", options=(), file_size=None):
        self.runs = Path(folder) / "runs"
        self.said = Path(folder) / f"{out}.txt"
        self.out = Path(folder) / out
        self.log = Path(folder) / "log.txt"
        self.options, self.file_size = options, file_size

    def start(self):
        """The study in a new process."""
        arguments = [
            "imp", "lenet-mnist", "--scale", "smoke", "--yes", "--runs", self.runs,
            "--out", self.out, *self.options,
        ]  # fmt: skip
        process = PROCESSES.Process(
            target=_lth, args=(list(map(str, arguments)), self.said, self.log, self.file_size)
        )
        process.start()
        return process

    def finish(self, status=0):
        """Run it to its end, and what it said."""
        return self.end(self.start(), status)

    def end(self, process, status=0):
        """Wait for a process that ends by itself, and what it said."""
        process.join(120)
        process.kill()
        text = self.said.read_text()
        assert process.exitcode == status, text
        return text

    def kill_after(self, seconds):
        """Start it and kill it after a while, if it still runs by then."""
        process = self.start()
        process.join(seconds)
        process.kill()
        process.join(30)
        return process

    def wait_for_units(self, count, process):
        """Wait until so many units are finished."""
        while sum(1 for _ in self.runs.glob("??/*")) < count:
            assert process.is_alive(), self.said.read_text()
            time.sleep(0.005)

    @property
    def results(self):
        """The files of the results, byte for byte."""
        return {name: (self.out / name).read_bytes() for name in FILES}

    @property
    def saved(self):
        """The key of every unit that was saved, in order, as often as it was."""
        return self._logged("saved")

    @property
    def resumed(self):
        """The key of every unit that went on from a checkpoint."""
        return self._logged("resumed")

    def _logged(self, what):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split()[1] for line in lines if line.startswith(what)]

    @property
    def keys(self):
        """The keys of the units in the store."""
        return {unit.key for unit in Store(self.runs).units()}

    def assert_whole(self, undisturbed):
        """All is as in a study that ran in peace, and no unit was finished twice on the way."""
        assert self.results == undisturbed.results
        assert self.keys == undisturbed.keys
        assert len(set(self.saved)) == len(self.saved)
        self.assert_clean()

    def assert_clean(self):
        """Every unit is whole, and what else lies about is known for a leftover."""
        store, keys = Store(self.runs), self.keys
        assert all(store.load(key) for key in keys)
        store.gc()
        assert self.keys == keys
        assert not [*self.runs.glob("scratch/*"), *self.runs.glob("locks/*")]


def _lth(arguments, said, log, file_size):
    from lth_utils import cli
    from lth_utils.training import _train

    # So that short units write checkpoints as often as they can.
    _train.CHECKPOINT_SECONDS = 0.0
    save, load = Store.save, Checkpoint.load

    def logged_save(self, key, unit):
        save(self, key, unit)
        note("saved", key)

    def logged_load(self):
        if state := load(self):
            note("resumed", self.path.stem)
        return state

    def note(*words):
        with open(log, "a") as file:  # one short write, so that two processes can share it
            file.write(" ".join(words) + "\n")

    Store.save, Checkpoint.load = logged_save, logged_load
    with open(said, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    faulthandler.dump_traceback_later(100)  # so that one that hangs says where
    sys.argv = ["lth", *arguments]
    cli.main()
