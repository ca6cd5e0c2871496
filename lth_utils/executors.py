"""Executors: where a study is trained, when that is not here.

A study runs on any executor of :mod:`concurrent.futures`; this room makes two kinds. Both train
one unit a call, each on as many threads as it would have had here, so that results do not depend
on where they were computed. Only the calling process touches the store::

    with lth.executors.local(4) as executor:
        found = lth.imp(task, executor=executor)
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

from lth_utils.errors import InputError


@contextmanager
def local(workers: int) -> Iterator[Executor]:
    """Processes on this machine.

    Seldom faster than the threads that train without an executor; of use where a network's own
    code holds Python's lock.

    Args:
        workers: how many processes.

    Raises:
        InputError: the number is not positive.
    """
    if workers < 1:
        raise InputError(f"The number of workers is 1 or more; got {workers}.")
    # Spawned, not forked: a fork in the middle of PyTorch's threads may never wake up.
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_quiet
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _quiet() -> None:
    """Ctrl-C reaches every process of a terminal; the calling one alone answers it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def cluster(address: str = "local", workers: int | None = None) -> Iterator[Executor]:
    """A Dask cluster, on this machine or any other.

    A worker that dies takes its unit with it, and that one is trained again by another. Workers
    need this package and the same data; with ``LTH_DATA`` set alike they find it.

    Args:
        address: of a running scheduler, such as ``"tcp://10.0.0.1:8786"``, or ``"local"`` to start
            one here.
        workers: how many processes a local cluster has; by default one a core.

    Raises:
        InputError: Dask is not installed, or nobody answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError(
            "A cluster needs Dask: pip install 'lth_utils[scale]', or 'dask[distributed]'."
        ) from None
    if address == "local":
        count = workers or os.cpu_count()
        owner = LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0")
    else:
        owner = None
    try:
        client = Client(owner or address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"No Dask scheduler answers at {address}; start one with `dask scheduler`, or use "
            "'local'."
        ) from error
    try:
        print(f"Dask's dashboard: {client.dashboard_link}", flush=True)
        yield client.get_executor(pure=False)
    finally:
        client.close()
        if owner:
            owner.close()
