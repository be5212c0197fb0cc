"""One run at a time in an output folder."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from poolvox.shared.engine.work import is_disk_full
from poolvox.shared.errors import EngineError

__all__ = ["hold", "holder"]

LOCK_NAME = "lock"

_TRIES = 5
_PAUSE_SECONDS = 0.04


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of a run; the system gives it back when the process dies, however it does.

    Raises
    ------
    EngineError
        if another run holds it; says which
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_disk_full(error):
            raise
        reason = error.strerror or error
        raise EngineError(f"{folder.parent} cannot be the folder of a run: {reason}") from error
    with open(folder / LOCK_NAME, "a+", encoding="utf-8") as file:
        if not _take_soon(file):
            raise EngineError(
                f"{folder.parent} is in use by another run ({_owner(file)}): wait for it or stop it"
            )
        since = datetime.now(UTC).isoformat(timespec="seconds")
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
        file.truncate(0)
        file.write(json.dumps(owner))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
            file.flush()


def holder(folder: Path) -> str:
    """Say who holds the lock of a run; empty if nobody does."""
    try:
        with open(folder / LOCK_NAME, "a+", encoding="utf-8") as file:
            return "" if _take(file, shared=True) else _owner(file)
    except FileNotFoundError:
        return ""
    except OSError:  # a folder one may only read: nothing can be said
        return ""


def _take_soon(file: IO[str]) -> bool:
    # Whoever asks for the holder has the lock for an instant.
    for _ in range(_TRIES):
        if _take(file):
            return True
        time.sleep(_PAUSE_SECONDS)
    return False


def _owner(file: IO[str]) -> str:
    file.seek(0)
    try:
        facts = json.loads(file.read())
        return f"host {facts['host']}, process {facts['pid']}, since {facts['since']}"
    except (ValueError, KeyError, TypeError):
        return "its owner has not signed yet"


if sys.platform == "win32":
    import msvcrt

    # Locked bytes cannot be read by others on Windows: lock one far behind the text.
    _LOCK_AT = 2**20

    def _take(file: IO[str], *, shared: bool = False) -> bool:
        file.seek(_LOCK_AT)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            if shared:
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(file: IO[str], *, shared: bool = False) -> bool:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
