"""Many processes: what dies is replaced or said, results stay the same, and no process is left."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from harness import Study

from lth_utils import executors, tasks
from lth_utils.lottery import imp
from lth_utils.store import Store

ELSEWHERE = {"processes": ["--workers", "2"], "dask": ["--cluster", "local", "--workers", "2"]}


class Cluster:
    """A Dask scheduler and two workers, each a process without a nanny to start it again."""

    def __init__(self, folder):
        self.folder, self.note = folder, folder / "scheduler.json"
        self.environment = os.environ | {"LTH_DATA": "embedded"}
        scheduler = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._start("scheduler", *scheduler)
        self.workers = [self._start("worker", "--nthreads", "1", "--no-nanny") for _ in range(2)]
        while not self.note.exists():
            assert self.scheduler.poll() is None, "it has not started"
            time.sleep(0.05)
        self.address = json.loads(self.note.read_text())["address"]

    def _start(self, what, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}"]
        with open(self.folder / f"{what}.txt", "a") as file:
            return subprocess.Popen(
                [*command, "--scheduler-file", self.note, *options],
                stdout=file,
                stderr=file,
                cwd=self.folder,
                env=self.environment,
            )

    def wait_for_workers(self):
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)

    def end(self):
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait(30)


@pytest.fixture
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.wait_for_workers()
        yield cluster
    finally:
        cluster.end()


def wait_for_silence(folder, seconds=1.0):
    """Wait until no unit has been finished for a while."""
    count, since = -1, time.monotonic()
    while time.monotonic() - since < seconds:
        if (now := sum(1 for _ in folder.glob("??/*"))) != count:
            count, since = now, time.monotonic()
        time.sleep(0.02)


def descendants(process):
    return psutil.Process(process.pid).children(recursive=True)


def assert_gone(processes):
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive


def test_a_worker_that_is_killed_in_mid_study_is_not_missed(tmp_path, undisturbed, cluster):
    study = Study(tmp_path, options=["--cluster", cluster.address])
    process = study.start()
    study.wait_for_units(1, process)
    # Held where it is, it keeps the study from ending, so that it dies with a unit in hand.
    os.kill(cluster.workers[0].pid, signal.SIGSTOP)
    wait_for_silence(study.runs)
    assert process.is_alive() and len(study.keys) < len(undisturbed.keys)
    cluster.workers[0].kill()
    text = study.end(process)
    assert "Dask's dashboard: http://127.0.0.1:" in text and "distributed." not in text
    study.assert_whole(undisturbed)


@pytest.mark.faults
def test_a_notebook_on_a_cluster_whose_worker_is_killed(tmp_path, undisturbed, cluster):
    task, store = tasks.LENET_MNIST.at("smoke"), Store(tmp_path / "runs")
    save, saved = store.save, []

    def then_kill(key, unit):
        save(key, unit)
        saved.append(key)
        cluster.workers[1].kill()

    store.save = then_kill
    with executors.cluster(cluster.address) as executor:
        found = imp(task, store=store, executor=executor)
    found.save(tmp_path / "out")
    for name, data in undisturbed.results.items():
        assert (tmp_path / "out" / name).read_bytes() == data
    assert sorted(saved) == sorted(undisturbed.keys)


@pytest.mark.faults
def test_a_scheduler_that_goes_away_is_one_sentence(tmp_path, undisturbed, cluster):
    study = Study(tmp_path, options=["--cluster", cluster.address])
    process = study.start()
    study.wait_for_units(1, process)
    cluster.scheduler.kill()
    text = study.end(process, status=2)
    assert f"lth: The Dask scheduler at {cluster.address} has gone away" in text
    assert "Traceback" not in text
    study.assert_clean()
    resumed = Study(tmp_path)
    resumed.finish()
    resumed.assert_whole(undisturbed)


@pytest.mark.faults
def test_a_killed_process_is_one_sentence_and_costs_what_it_was_at(tmp_path, undisturbed):
    study = Study(tmp_path, options=ELSEWHERE["processes"])
    process = study.start()
    study.wait_for_units(1, process)
    family = descendants(process)
    workers = [p for p in family if "spawn_main" in " ".join(p.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    text = study.end(process, status=2)
    [line] = [line for line in text.splitlines() if line.startswith("lth: ")]
    assert "A worker process has died" in line and "Traceback" not in text
    assert_gone(family)
    study.assert_clean()
    study.finish()
    study.assert_whole(undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize("where", ELSEWHERE)
def test_ctrl_c_leaves_a_store_to_go_on_from_and_no_process(tmp_path, undisturbed, where):
    study = Study(tmp_path, options=ELSEWHERE[where])
    process = study.start()
    study.wait_for_units(1, process)
    family = descendants(process)
    for member in [*family, process]:  # as a terminal does
        os.kill(member.pid, signal.SIGINT)
    text = study.end(process, status=130)
    [line] = [line for line in text.splitlines() if line.startswith("lth: ")]
    assert "The same again goes on from there." in line and "Traceback" not in text
    assert "distributed." not in text
    assert_gone(family)
    study.assert_clean()
    study.finish()
    study.assert_whole(undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize("where", ELSEWHERE)
def test_kill_9_of_the_caller_leaves_no_process(tmp_path, undisturbed, where):
    study = Study(tmp_path, options=ELSEWHERE[where])
    process = study.start()
    study.wait_for_units(1, process)
    family = descendants(process)
    assert len(family) >= 2
    process.kill()
    process.join(30)
    assert_gone(family)
    resumed = Study(tmp_path)
    resumed.finish()
    resumed.assert_whole(undisturbed)
