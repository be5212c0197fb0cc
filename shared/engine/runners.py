"""Runners: where units are performed. Each takes tasks and gives their outcomes, in any order."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

from poolvox.shared.engine.resources import release_openblas, thread_variables
from poolvox.shared.engine.work import Outcome, Task, perform
from poolvox.shared.errors import EngineError

__all__ = ["Processes", "Runner", "Threads", "can_spawn"]

_STOP_SECONDS = 5.0
# What a process says before its first task.
READY = "ready"


class Runner(Protocol):
    """Performs tasks; the caller never gives it more than `slots` at a time."""

    def slots(self) -> int:
        """How many tasks can run side by side now."""

    def start(self, task: Task) -> None:
        """Begin a task; returns at once."""

    def outcomes(self, seconds: float) -> list[Outcome]:
        """Outcomes that came in; waits for the first at most so long."""

    def close(self) -> None:
        """Stop, without waiting for what still runs."""


class Threads:
    """Threads of this process: no copies of data, for work that releases the GIL."""

    def __init__(self, workers: int) -> None:
        """Start the threads."""
        self._workers = workers
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._limits = _loaded_limits()
        for number in range(workers):
            # Daemons, so that a second interrupt ends the process without waiting for them.
            name = f"poolvox-unit-{number}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def slots(self) -> int:
        """One per thread."""
        return self._workers

    def start(self, task: Task) -> None:
        """Hand a task to the next free thread."""
        self._tasks.put(task)

    def outcomes(self, seconds: float) -> list[Outcome]:
        """Take what is there."""
        found: list[Outcome] = []
        try:
            found.append(self._done.get(timeout=seconds))
            while True:
                found.append(self._done.get_nowait())
        except queue.Empty:
            return found

    def close(self) -> None:
        """Let the threads end, and give the libraries back the threads they had."""
        for _ in range(self._workers):
            self._tasks.put(None)
        self._limits()

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._done.put(perform(task))


class Processes:
    """Processes of this machine, each with one pipe: when one dies, its unit is known."""

    def __init__(self, workers: int, threads: int) -> None:
        """Start nothing yet: processes come with the first units."""
        # Never fork: other threads may hold locks that no child could open again.
        self._context = multiprocessing.get_context("spawn")
        self._threads = threads
        self._workers = workers
        self._idle: list[_Process] = []
        self._busy: dict[_Process, str] = {}
        self._unsent: list[Outcome] = []

    def slots(self) -> int:
        """One per process."""
        return self._workers

    def start(self, task: Task) -> None:
        """Hand a task to a free process, or to a new one."""
        worker = self._idle.pop() if self._idle else _Process(self._context, self._threads)
        try:
            worker.pipe.send(task)
        except OSError:  # it died while idle
            worker.stop()
            self._unsent.append(Outcome(task.key, reason="its process was gone", lost=True))
        except Exception as error:
            self._idle.append(worker)
            reason = f"{type(error).__name__}: cannot be sent to another process: {error}"
            self._unsent.append(Outcome(task.key, reason=reason))
        else:
            self._busy[worker] = task.key

    def outcomes(self, seconds: float) -> list[Outcome]:
        """Take what has come, and name the units of the processes that died."""
        found, self._unsent = self._unsent, []
        watched = {worker.pipe: worker for worker in self._busy}
        for pipe in wait(list(watched), 0 if found else seconds):
            worker = watched[pipe]  # type: ignore[index]  # pipes are all we wait for
            try:
                received = worker.pipe.recv()
            except (EOFError, OSError):
                if not worker.ready:
                    raise self._give_up(worker) from None
                found.append(_lost(self._busy.pop(worker), worker))
                continue
            if received == READY:
                worker.ready = True
                continue
            found.append(replace(received, key=self._busy.pop(worker)))
            self._idle.append(worker)
        return found

    def _give_up(self, worker: _Process) -> EngineError:
        """Stop them all: where one process cannot begin, none can."""
        worker.stop()
        self.close()
        self._unsent = [Outcome(key, reason="stopped", lost=True) for key in self._busy.values()]
        self._busy, self._idle = {}, []
        return EngineError(
            f"a worker process ended before it was ready (exit code {worker.process.exitcode}); "
            'a script that uses processes must run behind `if __name__ == "__main__":`'
        )

    def close(self) -> None:
        """Stop all processes; those with a unit are killed."""
        for worker in self._idle:
            worker.pipe.close()
        for worker in self._busy:
            worker.process.kill()
        for worker in (*self._idle, *self._busy):
            worker.stop()


def can_spawn() -> bool:
    """Tell whether processes can begin without a thought: each imports the main module anew.

    A script of the user's must be behind `if __name__ == "__main__":` for that, which nobody knows;
    the command is, and in a notebook there is nothing to import.
    """
    main = sys.modules["__main__"]
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name).split(".")[0] == "poolvox"
    return path is None or Path(path).stem == "poolvox"


class _Process:
    """A process that performs tasks until its pipe is closed."""

    def __init__(self, context: multiprocessing.context.SpawnContext, threads: int) -> None:
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, thread_variables(threads))
        self.process = context.Process(target=_serve, args=arguments, daemon=False)
        self.process.start()
        theirs.close()
        self.ready = False

    def stop(self) -> None:
        self.pipe.close()
        self.process.join(_STOP_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection, variables: dict[str, str]) -> None:
    os.environ.update(variables)
    # Ctrl-C goes to every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.join,), daemon=True).start()
    pipe.send(READY)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        except Exception as error:  # a task that cannot be unpickled has no name here
            pipe.send(Outcome("", reason=f"{type(error).__name__}: {error}"))
            continue
        pipe.send(perform(task))


def _end_with(join: Callable[[], None]) -> None:
    """End when the parent does: nobody may write to a folder whose lock is gone."""
    join()
    os._exit(1)


def _lost(key: str, worker: _Process) -> Outcome:
    worker.stop()
    code = worker.process.exitcode or 0
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return Outcome(key, reason=f"its process was ended {how}{hint}", lost=True)


def _loaded_limits() -> Callable[[], None]:
    """Remember the thread numbers of the libraries, to be restored by the call of the result."""
    from threadpoolctl import threadpool_limits

    limits = threadpool_limits(limits=None)

    def restore() -> None:
        limits.restore_original_limits()
        release_openblas()

    return restore
