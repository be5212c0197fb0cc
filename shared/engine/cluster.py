"""A dask cluster as runner: on this machine, or wherever its scheduler listens."""

from __future__ import annotations

import itertools
import queue
import re
import uuid
from contextlib import ExitStack
from typing import Any

from poolvox.shared.engine.resources import thread_variables
from poolvox.shared.engine.work import Outcome, Task, perform
from poolvox.shared.errors import EngineError

__all__ = ["Cluster"]

_CONNECT_SECONDS = 15
_ADDRESS = re.compile(r"inproc://.+|([a-z]+://)?[^/]*[^/:]:\d+/?")
# A unit that took so many workers with it fails; dask's default is three as well.
MAX_DEATHS = 3


class Cluster:
    """Units on dask.distributed.

    Parameters
    ----------
    address : of a scheduler; None starts a cluster of `workers` processes here
    workers : processes to start, or the most units at a time on the cluster of others
    threads : how many each library may use, in the processes that are started here
    """

    def __init__(self, address: str | None, *, workers: int | None, threads: int) -> None:
        """Connect, or start the cluster first."""
        from distributed import Client

        # A client that never connected blocks for half a minute when it is thrown away.
        if address is not None and not _ADDRESS.fullmatch(address):
            raise EngineError(
                f"the scheduler is {address!r}: expected auto, threads, processes, local, or the "
                "address of a dask scheduler, such as tcp://host:8786"
            )
        if address is not None:
            _check_protocol(address)
        self._close = ExitStack()
        self._limit = workers
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._futures: dict[str, Any] = {}
        # Names of an earlier run must not be taken for those of this one.
        self._run, self._number = uuid.uuid4().hex[:8], itertools.count()
        if address is None:
            address = self._close.enter_context(_local(workers or 1, threads))
        try:
            self._client = self._close.enter_context(
                Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
            )
        except (OSError, TimeoutError, ValueError) as error:
            self._close.close()
            message = f"no dask scheduler answers at {address!r} ({error})"
            raise EngineError(
                f"{message}: start one, or use threads, processes or local"
            ) from error

    def slots(self) -> int:
        """One per thread of the workers that are there now."""
        threads = sum(self._client.nthreads().values())
        return min(threads or 1, self._limit or threads or 1)

    def memory(self) -> int | None:
        """Bytes that the workers may use together; None if one has no limit."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [int(worker["memory_limit"] or 0) for worker in workers]
        return sum(limits) if limits and all(limits) else None

    def start(self, task: Task) -> None:
        """Send a task; dask itself repeats it when a worker dies."""
        name = f"poolvox-{self._run}-{next(self._number)}-{task.key}"
        try:
            future = self._client.submit(perform, task, key=name, pure=False)
        except Exception as error:
            reason = f"{type(error).__name__}: cannot be sent to a worker: {error}"
            self._done.put(Outcome(task.key, reason=reason))
            return
        self._futures[task.key] = future
        future.add_done_callback(lambda done, key=task.key: self._done.put((key, done)))

    def outcomes(self, seconds: float) -> list[Outcome]:
        """Take what has come."""
        found: list[Outcome] = []
        wait = seconds
        while True:
            try:
                item = self._done.get(timeout=wait) if wait else self._done.get_nowait()
            except queue.Empty:
                self._check_connection()
                return found
            found.append(item if isinstance(item, Outcome) else self._outcome(*item))
            wait = 0.0

    def close(self) -> None:
        """Give back what still runs, then the cluster if it is ours."""
        if self._futures:
            self._client.cancel(list(self._futures.values()))
        self._close.close()

    def _outcome(self, key: str, future: Any) -> Outcome:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        self._futures.pop(key, None)
        try:
            outcome: Outcome = future.result()
        except KilledWorker:
            return Outcome(key, reason=f"{MAX_DEATHS} workers died with it (out of memory?)")
        except FutureCancelledError as error:
            return Outcome(key, reason=f"the cluster gave it up: {error}", lost=True)
        except Exception as error:  # it could not be unpickled there, or its outcome not here
            return Outcome(key, reason=f"{type(error).__name__}: {error}")
        finally:
            future.release()
        return outcome

    def _check_connection(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise EngineError(
                "the dask scheduler is gone; what is done is kept: run again to go on"
            )


def _check_protocol(address: str) -> None:
    """Refuse what dask would fail at with a traceback of its own, from a thread of its own."""
    from distributed import Security
    from distributed.comm.registry import get_backend

    protocol, _, rest = address.rpartition("://")
    try:
        get_backend(protocol or "tcp")
    except ValueError:
        raise EngineError(
            f"the scheduler is {address!r}, but dask has no protocol {protocol!r} here: use "
            f"tcp://{rest}, or install what {protocol} needs"
        ) from None
    encrypted = protocol in ("tls", "wss")
    if encrypted and not Security().get_connection_args("client").get("ssl_context"):
        raise EngineError(
            f"the scheduler is {address!r}, but dask has no certificates: name them in its "
            "configuration, under distributed.comm.tls"
        )


def _local(workers: int, threads: int) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",  # any free port: two runs may share a machine
        # The budget of the run decides; a worker that dask pauses would only stand still.
        memory_limit=0,
        silence_logs=50,
        env=thread_variables(threads),
    )
