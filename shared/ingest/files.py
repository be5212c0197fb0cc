"""Finding the files that a pattern describes, and saying why none was found."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.pattern import Pattern
from poolvox.shared.ingest.spec import RawSpec
from poolvox.shared.sorting import natural

__all__ = ["Found", "find_files", "walk"]

# How many files are looked at to explain why none matches.
NEAREST_OF = 5000


@dataclass(frozen=True, slots=True)
class Found:
    """A file and what its name says, as it is written there."""

    path: str
    values: dict[str, str]


def find_files(spec: RawSpec, root: Path) -> list[Found]:
    """Find all files of a specification, sorted naturally; `InputError` where there is none."""
    found: dict[str, Found] = {}
    for pattern in spec.patterns:
        base = root / pattern.folder
        for path in walk(base, pattern.levels):
            values = pattern.match(path)
            if values is not None and not _excluded(path, spec.exclude):
                full = os.path.join(base, path)
                found.setdefault(full, Found(full, values))
    if not found:
        raise InputError("\n".join(_explain(pattern, root) for pattern in spec.patterns))
    return sorted(found.values(), key=lambda file: natural(file.path))


def walk(base: Path, levels: tuple[re.Pattern[str] | None, ...]) -> Iterator[str]:
    """List files below `base`, entering only folders that their level's expression matches.

    An expression None matches any folders and files from there on. The folder of an OME-Zarr
    counts as one file.
    """
    stack: list[tuple[str, int]] = [("", 0)]
    while stack:
        folder, depth = stack.pop()
        level = levels[min(depth, len(levels) - 1)] if levels else None
        last = level is None or depth == len(levels) - 1
        try:
            entries = os.scandir(os.path.join(base, folder))
        except PermissionError:
            if level is not None:
                raise InputError(
                    f"no permission to look into {os.path.join(base, folder)}: change its mode"
                ) from None
            continue
        except OSError:
            continue
        with entries:
            for entry in entries:
                if level is not None and not level.match(entry.name):
                    continue
                path = f"{folder}/{entry.name}" if folder else entry.name
                if not entry.is_dir() or _is_store(entry.name, entry.path):
                    if last:
                        yield path
                elif (not last or level is None) and not _is_loop(entry):
                    stack.append((path, depth + 1 if level is not None else depth))


def _is_loop(entry: os.DirEntry[str]) -> bool:
    """Whether a link leads back to a folder that it lies in."""
    if not entry.is_symlink():
        return False
    here = os.path.realpath(os.path.dirname(entry.path))
    there = os.path.realpath(entry.path)
    return os.path.commonpath([here, there]) == there


def _is_store(name: str, path: str) -> bool:
    markers = (".zgroup", "zarr.json", ".zattrs")
    return name.lower().endswith(".zarr") or any(
        os.path.exists(os.path.join(path, marker)) for marker in markers
    )


def _excluded(path: str, exclude: tuple[str, ...]) -> bool:
    name = path.rpartition("/")[2]
    return any(fnmatch(path, pattern) or fnmatch(name, pattern) for pattern in exclude)


def _explain(pattern: Pattern, root: Path) -> str:
    """Say why a pattern matches nothing: the missing folder, or where the nearest files differ."""
    base = root / pattern.folder
    if not base.is_dir():
        return f"no file matches {pattern.text!r}: {_missing_folder(base)}"
    names: list[str] = []
    for name in walk(base, (None,)):
        names.append(name)
        if len(names) >= NEAREST_OF:
            break
    if not names:
        return f"no file matches {pattern.text!r}: the folder {base} is empty"
    reached = {name: pattern.progress(name) for name in names}
    best = sorted(names, key=lambda name: (-reached[name][0], natural(name)))[:3]
    lines = [_difference(name, *reached[name]) for name in best]
    return f"no file matches {pattern.text!r} in {base}; the nearest are\n" + "\n".join(lines)


def _difference(name: str, end: int, expected: str) -> str:
    rest = name[end:]
    if rest:
        got = f"then has {rest!r} where {expected!r} is expected"
    elif expected == "the end":
        got = "but a field that occurs twice has two values"
    else:
        got = f"then ends where {expected!r} is expected"
    return f"  {name}: agrees up to {name[:end]!r}, {got}"


def _missing_folder(base: Path) -> str:
    parent = base
    while not parent.is_dir() and parent != parent.parent:
        child, parent = parent.name, parent.parent
    try:
        names = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())
    except OSError:
        names = []
    near = difflib.get_close_matches(child, names, n=1) if base != parent else []
    hint = f"; did you mean {near[0]!r}?" if near else f", which has {names[:8] or 'no folders'}"
    return f"there is no folder {child!r} in {parent}{hint}"
