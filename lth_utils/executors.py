"""Executors: where a study is trained, when that is not here.

A study runs on any executor of ``concurrent.futures``; this room makes two kinds. Both train
one unit a call, each on as many threads as it would have had here, so that results do not depend
on where they were computed. Only the calling process touches the store, and it stores every unit
as it comes::

    if __name__ == "__main__":  # in a script; a notebook needs no such line
        with lth.executors.local(4) as executor:
            found = lth.imp(task, executor=executor)
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

from lth_utils.errors import InputError

PATIENCE = 8.0  # seconds that Dask may take to answer, or to close

_SETTINGS = {
    # A unit brings the weights that it begins with, which Dask takes for a mistake.
    "distributed.admin.large-graph-warning-threshold": "1TB",
    "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
}

_NO_START = (
    "Worker processes do not start; a script asks for them under `if __name__ == '__main__':`, "
    "because each of them imports it."
)


@contextmanager
def local(workers: int) -> Iterator[Executor]:
    """Processes on this machine.

    Seldom faster than the threads that train without an executor; of use where a network's own
    code holds Python's lock.

    Args:
        workers: how many processes.

    Raises:
        InputError: the number is not positive, or no process can be started.
    """
    _check(workers)
    # Spawned, not forked: a fork in the middle of PyTorch's threads may never wake up.
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_attend
    )
    try:
        try:
            pool.submit(int).result()
        except BrokenExecutor as error:
            raise InputError(_NO_START) from error
        yield pool
    except BaseException:
        # What they are at is lost, and nobody wants to wait for it. Python 3.14 is the first
        # with a public way.
        for process in list((pool._processes or {}).values()):
            process.kill()
        # One that was just sending leaves half a result behind, and whoever reads it waits for the
        # rest for as long as anybody could still write.
        pool._result_queue._writer.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _attend() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the caller; end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def cluster(address: str = "local", workers: int | None = None) -> Iterator[Executor]:
    """A Dask cluster, on this machine or any other.

    A worker that dies takes its unit with it, and that one is trained again by another. Workers
    need this package and the same data; with ``LTH_DATA`` set alike they find it. After Ctrl-C
    the workers of a running cluster finish what they are at, for nobody; those of a local one
    end.

    Args:
        address: of a running scheduler, such as ``"tcp://10.0.0.1:8786"``, or ``"local"`` to start
            one here.
        workers: how many processes a local cluster has; by default one a core.

    Raises:
        InputError: Dask is not installed; the address is none, or no scheduler answers there; the
            number of workers is not positive, or is given for a cluster that has its own; while
            it is in use, the scheduler goes away or one unit brings down worker after worker.
    """
    if workers is not None:
        _check(workers)
        if address != "local":
            raise InputError(
                f"The cluster at {address} has its own workers; a number of them goes with 'local'."
            )
    try:
        import dask
        from distributed import Client
        from distributed.client import ClosedClientError
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise InputError(
            "A cluster needs Dask: pip install 'lth_utils[scale]', or 'dask[distributed]'."
        ) from None
    with ExitStack() as stack:
        stack.enter_context(_silence())
        stack.enter_context(dask.config.set(_SETTINGS))
        where = _start(workers or os.cpu_count(), stack) if address == "local" else _found(address)
        client = stack.enter_context(Client(where, timeout=PATIENCE, set_as_default=False))
        if client.dashboard_link:
            print(f"Dask's dashboard: {client.dashboard_link}", file=sys.stderr, flush=True)
        _check_code(client)
        if not client.nthreads():
            print(f"No worker has come to {address} yet; waiting.", file=sys.stderr, flush=True)
        try:
            yield _Attended(client)
        except KilledWorker as error:
            raise InputError(
                "One training has brought down worker after worker, for want of memory perhaps; "
                "what was finished is stored, and the same again goes on from there."
            ) from error
        except (CancelledError, ClosedClientError) as error:
            raise InputError(
                f"The Dask scheduler at {address} has gone away; what was finished is stored, and "
                "the same again goes on from there."
            ) from error


class _Attended(Executor):
    """Dask's executor, whose futures also end when the scheduler goes away.

    Dask cancels what is under way when it loses the connection; but a unit that is being sent or
    fetched at that moment it may leave waiting forever.
    """

    def __init__(self, client):
        self.client, self.comm = client, client.scheduler_comm
        self.executor = client.get_executor(pure=False)
        self.unfinished: set[Future] = set()
        self.lock = threading.Lock()
        threading.Thread(target=self._attend, daemon=True).start()

    def submit(self, function, /, *args, **kwargs) -> Future:
        future = Future()
        with self.lock:
            if not self._is_there():
                raise CancelledError
            self.unfinished.add(future)
        theirs = self.executor.submit(function, *args, **kwargs)
        theirs.add_done_callback(lambda theirs: self._settle(future, theirs))
        future.add_done_callback(lambda ours: self._withdraw(ours, theirs))
        return future

    def _is_there(self) -> bool:
        return self.client.status == "running" and self.client.scheduler_comm is self.comm

    def _attend(self) -> None:
        while self._is_there():
            time.sleep(0.2)
        with self.lock:  # from now on nothing is submitted
            lost = list(self.unfinished)
        for future in lost:
            with suppress(InvalidStateError):
                future.set_exception(CancelledError())

    def _settle(self, ours: Future, theirs: Future) -> None:
        with suppress(InvalidStateError):  # cancelled, or lost
            if theirs.cancelled():
                ours.set_exception(CancelledError())
            elif error := theirs.exception():
                ours.set_exception(error)
            else:
                ours.set_result(theirs.result())

    def _withdraw(self, ours: Future, theirs: Future) -> None:
        with self.lock:
            self.unfinished.discard(ours)
        # Without a scheduler there is nobody to tell, and Dask would wait for an answer.
        if ours.cancelled() and self._is_there():
            theirs.cancel()


def _check(workers: int) -> None:
    if workers < 1:
        raise InputError(f"The number of workers is 1 or more; got {workers}.")


def _check_code(client) -> None:
    """Without this package a worker dies of its first unit, and a study would wait forever."""

    def trial() -> str | None:  # local, so that it is sent as code and not as a name
        try:
            from lth_utils import lottery  # noqa: F401
        except Exception as error:
            return str(error)

    for worker, error in client.run(trial, on_error="ignore").items():
        if error:
            raise InputError(
                f"The worker at {worker} cannot import lth_utils ({error}); install it there, too."
            )


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Dask logs to itself: all that matters comes as an exception."""
    handlers = logging.getLogger("distributed").handlers
    before = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in zip(handlers, before, strict=True):
            handler.setLevel(level)


def _start(workers: int, stack: ExitStack):
    """A cluster on this machine, closed at the stack's end."""
    from distributed import LocalCluster

    try:
        owner = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # Dask would pause a worker near the limit, and silently
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL + 1,
            # Ctrl-C in a terminal reaches them too; the caller answers it.
            preload=["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
        )
    except RuntimeError as error:
        raise InputError(_NO_START) from error

    def close() -> None:
        # A worker that is just being started again may make it wait forever, or fail in other ways.
        with suppress(Exception):
            owner.close(timeout=PATIENCE)

    stack.callback(close)
    return owner


def _found(address: str) -> str:
    """The address, once a scheduler has answered there."""
    from distributed import rpc

    url = address if "://" in address else f"tcp://{address}"
    try:
        is_whole = urlsplit(url).hostname and urlsplit(url).port
    except ValueError:
        is_whole = False
    if not is_whole:
        raise InputError(
            f"{address!r} is no address of a Dask scheduler; write one such as "
            "tcp://10.0.0.1:8786, or 'local'."
        )

    async def kind() -> str:
        async with rpc(url, timeout=PATIENCE / 2) as peer:
            return (await peer.identity())["type"]

    # A client of its own would wait forever for a stranger that accepts the connection and says
    # nothing. In a thread, because a notebook has an event loop already.
    with ThreadPoolExecutor(1) as thread:
        try:
            found = thread.submit(asyncio.run, asyncio.wait_for(kind(), PATIENCE)).result()
        except Exception as error:  # strangers answer in all sorts of ways
            raise InputError(
                f"No Dask scheduler answers at {address}; start one with `dask scheduler`, or use "
                "'local'."
            ) from error
    if found != "Scheduler":
        raise InputError(f"At {address} is a Dask {found.lower()}; name the scheduler instead.")
    return url
