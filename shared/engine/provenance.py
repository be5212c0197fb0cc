"""`run.json`: what a result was made of, with what and on what kind of machine.

It may be published: no host name, no user name, no path into somebody's home.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from poolvox import __version__
from poolvox.shared.engine.inputs import Names
from poolvox.shared.engine.journal import Journal, write_whole
from poolvox.shared.engine.layout import Layout
from poolvox.shared.engine.options import Options, RunSummary
from poolvox.shared.engine.resources import cores

__all__ = ["History", "versions", "without_persons"]

NAME = "run.json"

# Packages whose version can change a number or a file.
_PACKAGES = (
    "dask",
    "imagecodecs",
    "networkx",
    "numba",
    "numcodecs",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "stardist",
    "tensorflow",
    "tifffile",
    "xarray",
    "zarr",
    "zarrs",
)


class History:
    """The file `run.json`: facts of the last run, and the list of all runs."""

    def __init__(
        self,
        output: Path,
        options: Options,
        extra: Mapping[str, Any],
        layout: Layout,
        journal: Journal,
    ) -> None:
        """Read the list of earlier runs."""
        self._path = output / NAME
        self._output, self._extra = output, extra
        self._layout, self._journal = layout, journal
        self._runs = _earlier(self._path)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self._run: dict[str, Any] = {
            "run": journal.run,
            "started": started,
            "finished": None,
            "poolvox": __version__,
            "options": _options(options),
            "host": host(),
        }

    def begin(self) -> None:
        """Note that a run began, so that a killed one can be seen."""
        self._write({})

    def end(self, summary: RunSummary) -> None:
        """Note how the run ended, and the hashes of its inputs."""
        self._run |= {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(summary.seconds, 1),
            "units": {
                "done": len(summary.done),
                "reused": len(summary.reused),
                "failed": len(summary.failed),
                "skipped": len(summary.skipped),
            },
        }
        self._write(dict(sorted(self._inputs())))

    def _write(self, inputs: Mapping[str, str]) -> None:
        extra = without_persons(dict(self._extra), self._output)
        facts = {
            "poolvox": __version__,
            "versions": dict(versions()),
            **extra,
            "steps": self._layout.steps,
            "inputs": inputs,
            "runs": [*self._runs, self._run],
        }
        write_whole(
            self._path, [json.dumps(facts, indent=1, default=str, ensure_ascii=False), "\n"]
        )

    def _inputs(self) -> Iterator[tuple[str, str]]:
        """Name and hash of each input, named from the folder in which the run's folder lies."""
        name, beside = Names(self._output), os.fspath(self._output.parent) + os.sep
        paths = {os.fspath(p) for unit in self._layout.units.values() for p in unit.inputs}
        for path in paths:
            digest = self._journal.digests.get(name(path))
            if digest is None:
                continue
            if path.startswith(beside):  # the usual case, for 100,000 files
                yield path[len(beside) :].replace(os.sep, "/"), digest.hash
            else:
                yield str(without_persons(path, self._output)), digest.hash


@cache
def versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that matter, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def host() -> dict[str, Any]:
    """What kind of machine this is, not which."""
    import psutil

    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "implementation": sys.implementation.name,
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
    }


def without_persons(value: Any, output: Path) -> Any:
    """Take persons out of paths, anywhere in nested lists and dicts.

    Paths beside the run's folder become relative to the folder it lies in, those in the home
    begin with `~`, and a part that is the user's name becomes `user`.
    """
    if isinstance(value, Mapping):
        return {str(key): without_persons(item, output) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [without_persons(item, output) for item in value]
    if isinstance(value, Path) or (isinstance(value, str) and os.path.isabs(value)):
        return _shared_path(Path(value), output.parent)
    return value


def _shared_path(path: Path, start: Path) -> str:
    for folder, sign in ((start, ""), (_home(), "~/")):
        if folder is not None and len(folder.parts) > 1 and path.is_relative_to(folder):
            return sign + path.relative_to(folder).as_posix()
    name = _user()
    parts = ["user" if part == name else part for part in path.parts]
    return Path(*parts).as_posix()


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a user
        return ""


def _options(options: Options) -> dict[str, Any]:
    """Options of a run; the address of a scheduler is nobody's business."""
    named = {"auto", "threads", "processes", "local"}
    return {
        "workers": options.workers,
        "memory": options.memory,
        "scheduler": options.scheduler if options.scheduler in named else "cluster",
        "steps": list(options.steps),
        "only": list(options.only),
        "exclude": list(options.exclude),
        "force": options.force,
    }


def _earlier(path: Path) -> list[Any]:
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return runs if isinstance(runs, list) else []
