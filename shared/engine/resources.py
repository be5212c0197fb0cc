"""What this machine gives to a run: cores, memory, and threads inside libraries."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolvox.shared.errors import EngineError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

__all__ = [
    "available_memory",
    "cap_threads",
    "cores",
    "parse_memory",
    "release_openblas",
    "thread_variables",
    "total_memory",
]

# Part of the free memory that a run takes unless told otherwise.
MEMORY_SHARE = 0.8

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]I?)?B?\s*", re.IGNORECASE)

# Read by the libraries when they are loaded; TensorFlow has two pools of its own.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BLOSC_NTHREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Count the cores this process may use, by affinity and control group."""
    from dask.system import cpu_count

    return max(1, int(cpu_count()))


def available_memory() -> int:
    """Measure the bytes that are free for this process, by machine and control group."""
    import psutil

    free = int(psutil.virtual_memory().available)
    return min([free, *_cgroup_free()])


def default_budget() -> int:
    """Bytes that a run may use when nobody says how many."""
    return int(MEMORY_SHARE * available_memory())


def total_memory() -> int:
    """Measure the bytes that this process may ever have, by machine and control group."""
    import psutil

    return min([int(psutil.virtual_memory().total), *_cgroup_limits()])


def parse_memory(text: str) -> int:
    """Read a size such as `8GB`, `512 MiB` or `1.5G` as bytes.

    Examples
    --------
    >>> parse_memory("8GB"), parse_memory("1.5 KiB")
    (8000000000, 1536)
    """
    match = _SIZE.fullmatch(text)
    if not match or not float(match[1]):
        raise EngineError(f"memory is {text!r}; give a size above 0, such as 8GB or 512MiB")
    suffix = (match[2] or "").upper()
    return int(float(match[1]) * (_UNITS | _BINARY)[suffix])


def thread_variables(count: int) -> dict[str, str]:
    """Environment of a worker process whose libraries shall use `count` threads each."""
    return dict.fromkeys(_THREAD_VARIABLES, str(count))


def cap_threads(count: int) -> None:
    """Cap the libraries that are loaded by now to `count` threads.

    Called before every unit in the thread that runs it: OpenMP and numba keep the number per
    thread, and a library may have been loaded by the unit before. Nothing is put back here; with
    units side by side the first to end would lift the cap of the others.
    """
    numba = sys.modules.get("numba")
    if numba is not None and hasattr(numba, "set_num_threads"):
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    # After numba, which loads an OpenMP of its own when it is asked.
    _libraries(len(sys.modules)).limit(limits=count)
    release_openblas()


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """Libraries with threads; looked for anew when modules were loaded, which takes a while."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def release_openblas() -> None:
    """Let other threads set the number of OpenBLAS's threads.

    From threadpoolctl 3.8 on, the first thread that sets it keeps the right to as long as it lives.
    """
    import threadpoolctl

    controller: Any = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(controller, "clear_controlling_thread"):
        controller.clear_controlling_thread()


def _cgroup_free() -> list[int]:
    """Free bytes of each control group that has a limit, up to the root."""
    free = (_group_free(group, *names) for group, names in _cgroups())
    return [bytes_ for bytes_ in free if bytes_]


def _cgroup_limits() -> list[int]:
    """Bytes that each control group with a limit may have, up to the root."""
    limits = []
    for group, (limit, _, _) in _cgroups():
        with contextlib.suppress(OSError, ValueError):  # no such group, or the limit is "max"
            limits.append(int((group / limit).read_text()))
    return limits


def _cgroups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Own control groups for memory, and their files: limit, usage, and unused cache."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            names, base = ("memory.max", "memory.current", "inactive_file"), _CGROUP
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            base = _CGROUP / "memory"
        else:
            continue
        for group in _upwards(base / path.strip("/"), base):
            yield group, names


def _upwards(group: Path, base: Path) -> list[Path]:
    # Inside a container the own group is often mounted as the base itself.
    return [g for g in (group, *group.parents) if g == base or base in g.parents]


def _group_free(group: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        most, used = int((group / limit).read_text()), int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or the limit is "max"
        return None
    # Pages of files that nobody uses are given back before anything is killed.
    return max(most - used + int(stat.get(cache, 0)), 1)
