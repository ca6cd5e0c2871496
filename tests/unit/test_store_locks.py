"""Locks: no unit is computed twice at once, and nothing that died or waits is in anybody's way."""

import pickle
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

from lth_utils.errors import InputError
from lth_utils.store import Store, Unit, key
from lth_utils.training import HISTORY

A, B, C = (key({"seed": seed}) for seed in range(3))

CHILD = """
import sys
from lth_utils.store import Store
runs = Store(sys.argv[1])
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Process:
    """Another process with the same store, which does what it is told."""

    def __init__(self, root):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begin(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def do(self, line):
        self.begin(line)
        assert self.process.stdout.readline() == "done\n"

    def hold(self, *keys):
        self.do(f"claim = runs.claim({keys!r}); got = claim.__enter__().keys")

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def runs(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def other(runs):
    process = Process(runs.root)
    yield process
    process.end()


@pytest.fixture
def unit():
    return Unit(pd.DataFrame([(0, 3, "end", 20, "test", "loss", 0.5)], columns=HISTORY), {}, 1.0)


def test_what_another_process_has_claimed_is_not_ours(runs, other, unit):
    other.hold(A, B)
    with runs.claim([A, C, B]) as claim:
        assert claim.keys == (C,)
        other.do(f"with runs.claim([{C!r}]) as more: assert more.keys == ()")
    other.do(f"with runs.claim([{C!r}]) as more: assert more.keys == ({C!r},)")
    # Whoever does not care about claims can still save, and nothing is damaged.
    runs.save(A, unit)
    other.do(f"assert runs.load({A!r}).seconds == 1")
    other.do("claim.__exit__(None, None, None)")
    with runs.claim([A, B]) as claim:
        assert claim.keys == (A, B)


def test_locks_die_with_their_process_and_who_waits_goes_on(runs, other):
    other.hold(A)
    threading.Timer(0.3, other.process.kill).start()
    began = time.monotonic()
    runs.wait(A)
    assert 0.2 < time.monotonic() - began < 5
    with runs.claim([A]) as claim:
        assert claim.keys == (A,)


def test_a_wait_can_be_interrupted_and_costs_the_holder_nothing(runs, other):
    with runs.claim([A]) as claim:
        assert claim.keys == (A,)
        other.do("pass")
        other.begin(f"runs.wait({A!r})")
        time.sleep(0.3)
        assert other.process.poll() is None
        other.process.send_signal(signal.SIGINT)
        _, err = other.process.communicate(timeout=10)
        assert "KeyboardInterrupt" in err
        with runs.claim([A]) as more:
            assert more.keys == ()


def test_what_nobody_holds_is_not_waited_for(runs):
    began = time.monotonic()
    runs.wait(A)
    assert time.monotonic() - began < 1


def test_a_claim_is_let_go_when_its_block_fails(runs):
    with pytest.raises(ZeroDivisionError), runs.claim([A, B]):
        _ = 1 / 0
    with runs.claim([A, B]) as claim:
        assert claim.keys == (A, B)


def test_threads_of_one_process_exclude_one_another(runs):
    got = []

    def claim():
        with runs.claim([A]) as claim:
            got.append(claim.keys)
            time.sleep(0.1)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [(), (), (), (A,)]


def test_a_failure_inside_a_claim_is_not_taken_for_one_of_the_store(runs):
    with pytest.raises(FileNotFoundError), runs.claim([A]):
        open(runs.root / "nothing")


def test_a_store_whose_locks_cannot_be_written_is_one_clear_sentence(runs):
    (runs.root / "locks").touch()
    with pytest.raises(InputError, match=f"cannot be stored in {runs.root} .*LTH_RUNS"):
        with runs.claim([A]):
            pass


def test_a_saving_process_is_not_swept_away_under_its_hands(runs, unit, monkeypatch):
    # The same for one that holds a claim, and one that just saves.
    kinds = []

    def sweep(path, data):
        kinds.extend(piece.kind for piece in Store(runs.root).gc(0))

    monkeypatch.setattr("lth_utils.store.write", sweep)
    monkeypatch.setattr("lth_utils.store.os.replace", lambda a, b: None)
    runs.save(A, unit)
    with runs.claim([A]):
        runs.save(A, unit)
    assert kinds == []


def test_gc_removes_the_locks_that_nobody_holds(runs, other):
    other.hold(A)
    with runs.claim([B, C]):
        assert {path.stem for path in runs.root.glob("locks/*")} == {A, B, C}
    with runs.claim([C]):
        runs.gc()
        assert {path.stem for path in runs.root.glob("locks/*")} == {A, C}
        with runs.claim([A, C]) as claim:
            assert claim.keys == ()


def test_a_lock_whose_file_has_been_removed_is_no_lock(runs, monkeypatch):
    # gc removes the file just when another process has opened it, and has not locked it yet.
    import fcntl

    flock = fcntl.flock

    def late(*args):
        monkeypatch.setattr(fcntl, "flock", flock)
        runs.gc()
        return flock(*args)

    with runs.claim([A]):
        pass
    monkeypatch.setattr(fcntl, "flock", late)
    with runs.claim([A]) as claim, runs.claim([A]) as more:
        assert len(claim.keys) + len(more.keys) == 1


def test_a_store_can_be_sent_to_a_worker(runs):
    assert pickle.loads(pickle.dumps(runs)).root == runs.root
