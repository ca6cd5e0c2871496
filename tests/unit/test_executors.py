"""Executors: elsewhere gives what here gives; a mishap is one sentence, and costs little."""

import logging
import os
import pickle
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from dataclasses import replace

import cloudpickle
import pandas as pd
import pytest
import torch
from torch import nn

from lth_utils import datasets, executors, models, tasks
from lth_utils.errors import DataError, InputError
from lth_utils.lottery import _imp, _units, imp
from lth_utils.store import NUMERICS, Store


class Inline(Executor):
    """Computes at once; ``at`` says what happens instead, by number of the call from 1."""

    def __init__(self, at=None):
        self.calls, self.at = 0, at or {}

    def submit(self, function, /, *args):
        self.calls += 1
        future = Future()
        if self.calls not in self.at:
            future.set_result(function(*args))
        elif isinstance(error := self.at[self.calls], type):
            raise error
        else:
            future.set_exception(error)
        return future


@pytest.fixture
def trained(monkeypatch):
    """How often each (seed, member's weights and mask) was trained through an executor."""
    counts = Counter()
    train_one = _units.train_one

    def counted(parcel, work):
        counts[work] += 1
        return train_one(parcel, work)

    monkeypatch.setattr(_units, "train_one", counted)
    return counts


def assert_same(one, other):
    """Two studies and their stores are the same to the bit."""
    (a, store_a), (b, store_b) = one, other
    for name in ("table", "curves"):
        pd.testing.assert_frame_equal(getattr(a, name), getattr(b, name), check_exact=True)
    for x, y in zip(a.tickets, b.tickets, strict=True):
        assert x.mask == y.mask and all(torch.equal(x.start[n], y.start[n]) for n in x.start)
    assert a.paths == b.paths
    assert files(store_a) == files(store_b) != {}


def files(store):
    return {
        path.relative_to(store.root): path.read_bytes()
        for path in store.root.glob("??/*/*")
        if path.name != "unit.json"  # which says when it was trained
    }


def count(store):
    return sum(1 for _ in store.units())


# Elsewhere is like here ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_a_study_does_not_depend_on_where_it_is_trained(toy_task, tmp_path, workers):
    options = {
        "treatments": ("ticket", "reinit", "random mask", "fine-tune", "rate rewinding"),
        "rewind": "50%",
    }
    here = Store(tmp_path / "here")
    there = Store(tmp_path / "there")
    found = imp(toy_task, store=here, **options)
    with ThreadPoolExecutor(workers) as executor:
        again = imp(toy_task, store=there, executor=executor, **options)
    assert_same((found, here), (again, there))


def test_what_was_trained_here_is_not_trained_elsewhere(toy_task):
    imp(toy_task)
    executor = Inline()
    imp(toy_task, executor=executor)
    assert executor.calls == 0
    imp(toy_task, levels=3, executor=executor)
    assert executor.calls == 2 * 3


def test_numbers_too_small_are_zero_in_a_thread_that_did_not_import_pytorch(toy_task):
    def is_flushed():
        return (torch.tensor(2e-38) * 0.1).item() == 0

    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot")
    with ThreadPoolExecutor(1, initializer=torch.set_flush_denormal, initargs=(False,)) as executor:
        assert not executor.submit(is_flushed).result()
        imp(toy_task, levels=0, executor=executor)
        assert executor.submit(is_flushed).result()


def test_provenance_says_where_a_unit_was_trained(toy_task, tmp_path, monkeypatch):
    monkeypatch.setattr(_units.os, "getpid", lambda: 12345)
    store = Store(tmp_path)
    imp(toy_task, levels=0, store=store, executor=Inline())
    provenance = [store.load(unit.key).provenance for unit in store.units()]
    assert {p["process"] for p in provenance} == {12345}
    assert {p["device"] for p in provenance} == {"cpu"}


def test_the_bar_advances_by_every_unit(toy_task, monkeypatch):
    steps = []

    class Bar(_imp.tqdm):
        def update(self, n=1):
            steps.append(n)

    monkeypatch.setattr(_imp, "tqdm", Bar)
    imp(toy_task, executor=Inline())
    assert steps == [20] * 14


# Mishaps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [BrokenExecutor, BrokenExecutor("gone")], ids=["now", "later"])
def test_a_worker_that_dies_costs_its_own_unit_alone(toy_task, tmp_path, trained, error):
    store = Store(tmp_path)
    with pytest.raises(InputError, match="worker process has died.*finished is stored"):
        imp(toy_task, store=store, executor=Inline({6: error, 7: BrokenExecutor("gone")}))
    assert count(store) == sum(trained.values()) >= 5
    imp(toy_task, store=store, executor=Inline())
    assert set(trained.values()) == {1}, "something was trained twice"


def test_ctrl_c_keeps_what_is_finished_and_lets_the_locks_go(toy_task, tmp_path, trained):
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt) as stop:
        imp(toy_task, store=store, executor=Inline({6: KeyboardInterrupt}))
    assert count(store) == 5
    assert stop.value.__notes__[0].startswith("Stopped: 5 of 14 trainings are finished and stored")
    imp(toy_task, store=store, executor=Inline())  # would wait forever for a lock that is held
    assert set(trained.values()) == {1}


def test_a_unit_that_raises_costs_no_other(toy_task, tmp_path, trained):
    store = Store(tmp_path)
    with pytest.raises(ZeroDivisionError):
        imp(toy_task, store=store, executor=Inline({4: ZeroDivisionError()}))
    assert count(store) == 7  # all of the two levels but the one
    imp(toy_task, store=store, executor=Inline())
    assert set(trained.values()) == {1}


def test_two_studies_at_once_share_the_work(toy_task, tmp_path, trained):
    toy_task.data  # noqa: B018  (loaded once, before there are threads)
    with ThreadPoolExecutor(2) as callers, ThreadPoolExecutor(2) as workers:
        studies = [
            callers.submit(imp, toy_task, store=Store(tmp_path), executor=workers) for _ in range(2)
        ]
        one, other = [study.result() for study in studies]
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    assert len(trained) == 14 and set(trained.values()) == {1}


def test_other_data_at_a_worker_is_an_error(toy_task, toy, monkeypatch):
    task = replace(toy_task, name="with other data")
    assert task.data is toy
    monkeypatch.setattr(datasets, "load", lambda *a, **o: replace(toy, fingerprint="1" * 64))
    with pytest.raises(DataError, match="worker found other data .*LTH_DATA alike for both"):
        imp(task, executor=Inline())


def test_another_version_at_a_worker_is_an_error(toy_task):
    parcel = cloudpickle.dumps((NUMERICS - 1, toy_task, toy_task.data.fingerprint))
    with pytest.raises(InputError, match="another version of lth_utils .* install the same"):
        _units.train_one(parcel, b"")


def test_code_that_a_worker_lacks_is_an_error():
    with pytest.raises(InputError, match="lacks code .*No module named 'nowhere'"):
        _units.train_one(b"cnowhere\nthing\n.", b"")


def test_errors_travel(toy_task):
    for error in (InputError("one sentence"), DataError("another")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error)


# Asked for wrongly --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: executors.local(0), "workers is 1 or more; got 0"),
        (lambda: executors.cluster("local", -1), "workers is 1 or more; got -1"),
        (lambda: executors.cluster("tcp://10.0.0.1:8786", 2), "has its own workers"),
        (lambda: executors.cluster("10.0.0.1"), "'10.0.0.1' is no address of a Dask scheduler"),
        (lambda: executors.cluster("tcp://10.0.0.1:http"), "is no address of a Dask scheduler"),
        (lambda: executors.cluster(""), "'' is no address of a Dask scheduler"),
        (lambda: executors.cluster("carrier://pigeon:1"), "No Dask scheduler answers at carrier"),
    ],
)
def test_a_wrong_request_is_one_sentence(make, message, capfd):
    with pytest.raises(InputError, match=message), make():
        pass
    assert capfd.readouterr() == ("", "")


def test_without_dask_a_cluster_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"needs Dask: pip install"), executors.cluster():
        pass


@pytest.mark.parametrize("stranger", ["nobody", "silent", "talkative"])
def test_where_no_scheduler_answers_is_said_soon_and_without_noise(stranger, monkeypatch, capfd):
    monkeypatch.setattr(executors, "PATIENCE", 1.0)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        if stranger != "nobody":
            place.listen()
        if stranger == "talkative":
            threading.Thread(target=talk, args=[place], daemon=True).start()
        address = f"tcp://127.0.0.1:{place.getsockname()[1]}"
        began = time.monotonic()
        sentence = f"No Dask scheduler answers at {address}; start one"
        with pytest.raises(InputError, match=sentence), executors.cluster(address):
            pass
        assert time.monotonic() - began < 8
    assert capfd.readouterr() == ("", "")


def talk(place):
    while True:
        try:
            visitor, _ = place.accept()
            visitor.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        except OSError:
            return


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "workers is 1 or more; got 0"),
        (["--workers", "2", "--cluster", "tcp://10.0.0.1:8786"], "has its own workers"),
        (["--cluster", ""], "is no address of a Dask scheduler"),
    ],
)
def test_the_command_line_says_so_before_any_work(lth, tmp_path, options, message):
    began = time.monotonic()
    status, _, err = lth("imp", "lenet-mnist", "--out", tmp_path / "out", *options)
    assert status == 2 and message in err and err.count("\n") == 1
    assert time.monotonic() - began < 5
    assert count(Store()) == 0


# Real processes -----------------------------------------------------------------------------------


@pytest.fixture
def own_task(monkeypatch):
    """LeNet on MNIST with a network that no worker knows by name or could import."""

    class Own(nn.Module):
        def __init__(self, inputs, classes, width):
            super().__init__()
            self.fc = nn.Linear(28 * 28, 8)
            self.output = nn.Linear(8, classes)

        def forward(self, x):
            return self.output(torch.tanh(self.fc(x.flatten(1))))

    monkeypatch.setitem(models.NETWORKS, "own", Own)
    return replace(tasks.LENET_MNIST.at("smoke"), network="own", levels=1)


def test_processes_on_this_machine(own_task, tmp_path, capfd):
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    found = imp(own_task, store=here)
    with executors.local(2) as executor:
        again = imp(own_task, store=there, executor=executor)
    assert_same((found, here), (again, there))
    processes = {there.load(unit.key).provenance["process"] for unit in there.units()}
    assert os.getpid() not in processes and len(processes) <= 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_dask_cluster_on_this_machine(own_task, tmp_path, capfd):
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    found = imp(own_task, store=here)
    levels = [handler.level for handler in logging.getLogger("distributed").handlers]
    with executors.cluster("local", 2) as executor:
        assert len(executor.client.nthreads()) == 2
        again = imp(own_task, store=there, executor=executor)
        with pytest.raises(ValueError, match="invalid literal"):
            executor.submit(int, "no number").result()
    assert_same((found, here), (again, there))
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.startswith("Dask's dashboard: http://") and output.err.count("\n") == 1
    assert [h.level for h in logging.getLogger("distributed").handlers][: len(levels)] == levels


@pytest.mark.slow
def test_a_unit_that_brings_down_every_worker_is_one_sentence():
    sentence = "brought down worker after worker.*finished is stored"
    with pytest.raises(InputError, match=sentence), executors.cluster("local", 2) as executor:
        executor.submit(os._exit, 1).result()


class Lost:
    """A client of Dask whose scheduler dies at a moment at which Dask itself never notices."""

    def __init__(self):
        self.status, self.scheduler_comm, self.theirs = "running", object(), []

    def get_executor(self, pure):
        return self

    def submit(self, function, /, *args):
        self.theirs.append(Future())
        return self.theirs[-1]


def test_no_unit_waits_for_a_scheduler_that_is_gone():
    client = Lost()
    executor = executors._Attended(client)
    done, forgotten = executor.submit(int), executor.submit(int)
    client.theirs[0].set_result(7)
    client.status = "connecting"
    assert done.result(5) == 7
    with pytest.raises(CancelledError):
        forgotten.result(5)
    client.theirs[1].set_result(8)  # too late, and no error
    with pytest.raises(CancelledError):
        executor.submit(int)


def test_a_unit_that_is_cancelled_is_cancelled_at_the_cluster():
    client = Lost()
    assert executors._Attended(client).submit(int).cancel()
    assert client.theirs[0].cancelled()


def test_nobody_waits_for_the_rest_of_a_result_whose_process_was_killed():
    with pytest.raises(KeyboardInterrupt), executors.local(1) as executor:
        executor.submit(bytes, 400_000_000)  # which takes most of a second to send
        time.sleep(0.5)
        raise KeyboardInterrupt
