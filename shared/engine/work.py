"""What happens to a unit where it runs: in a thread, a process or a dask worker."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poolvox.shared.engine.inputs import MISSING, Digest, fingerprint, hash_file, stamp, weigh
from poolvox.shared.engine.resources import cap_threads
from poolvox.shared.errors import InputError, PoolvoxError

__all__ = ["Outcome", "Task", "is_disk_full", "perform", "remove"]

_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Task:
    """A unit on its way to a worker: small, and picklable if the call is.

    Parameters
    ----------
    digests : hashes of inputs, where they are known already
    outputs : name below the run's folder -> path
    threads : how many each library may use
    alone : nothing else runs in the same process, so the peak of memory is the unit's own
    """

    key: str
    call: Callable[[], Mapping[str, Any] | None]
    inputs: tuple[str, ...] = ()
    digests: Mapping[str, Digest] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What comes back from a worker.

    Parameters
    ----------
    reason : why it failed, in one line; empty if it did not
    trace : the traceback, for the log
    disk_full : the reason is a full disk, so that no other unit can do better
    lost : the worker died; the unit may be tried again
    """

    key: str
    result: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, tuple[int, str] | None] = field(default_factory=dict)
    digests: Mapping[str, Digest] = field(default_factory=dict)
    seconds: float = 0.0
    memory: int | None = None
    reason: str = ""
    trace: str = ""
    disk_full: bool = False
    lost: bool = False


def perform(task: Task) -> Outcome:
    """Run a unit from a clean start; after a failure nothing of it stays.

    Never raises: what goes wrong, whatever it is, concerns this unit alone.
    """
    start = time.perf_counter()
    digests: dict[str, Digest] = {}
    try:
        for path in task.outputs.values():
            remove(path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
        digests = {p: task.digests.get(p) or fingerprint(p) for p in task.inputs}
        cap_threads(task.threads)
        reset = task.alone and _reset_peak()
        result = _plain(task.call())
        memory = _peak() if reset else None
        _check_unchanged(digests)
        outputs = dict(_facts(task.outputs))
    except BaseException as error:
        return _failure(task, error, digests, time.perf_counter() - start)
    seconds = time.perf_counter() - start
    return Outcome(task.key, result, outputs, digests, seconds, memory)


def remove(path: str | Path) -> None:
    """Remove a file or folder if it is there; a link goes, not what it points to."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)


def is_disk_full(error: BaseException) -> bool:
    """Find a full disk behind an error, however libraries have wrapped it."""
    return any(isinstance(e, OSError) and e.errno in _FULL_DISK for e in _chain(error))


def _failure(
    task: Task, error: BaseException, digests: dict[str, Digest], seconds: float
) -> Outcome:
    trace = "".join(traceback.format_exception(error))
    reason = " ".join(str(error).split())
    if not isinstance(error, PoolvoxError):
        reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    try:
        for path in task.outputs.values():
            remove(path)
    except OSError as left:
        reason += f" (and its files could not be removed: {left})"
    return Outcome(
        task.key,
        digests=digests,
        seconds=seconds,
        reason=reason,
        trace=trace,
        disk_full=is_disk_full(error),
    )


def _plain(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Turn a result into what JSON gives back, so that the journal returns the same."""
    try:
        plain = json.loads(json.dumps(dict(result or {}), default=_scalar))
    except (TypeError, ValueError) as error:
        raise TypeError(f"a unit's result must be a small JSON-able mapping: {error}") from error
    return dict(plain)


def _scalar(value: Any) -> Any:
    if hasattr(value, "item"):  # numpy's numbers
        return value.item()
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} is not JSON-able")


def _facts(outputs: Mapping[str, str]) -> Iterator[tuple[str, tuple[int, str] | None]]:
    """Size and hash of the files that were written; bytes and number of files of folders."""
    for name, path in outputs.items():
        if os.path.isdir(path):
            yield name, weigh(path, without=outputs.values())
        elif os.path.exists(path):
            yield name, (os.path.getsize(path), hash_file(path))


def _check_unchanged(digests: Mapping[str, Digest]) -> None:
    for path, digest in digests.items():
        if digest.hash != MISSING and stamp(path) != digest.stamp:
            raise InputError(f"{path} changed while it was read: run again when it is complete")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        todo += [link.__cause__, link.__context__]
        if isinstance(link, BaseExceptionGroup):
            todo += link.exceptions


def _reset_peak() -> bool:
    """Let Linux measure the peak of memory anew; False where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None
