"""Identity of input files: by content, remembered by size and time of change.

Copied or touched files keep their content, so their units are not done again; a file is read for
its hash only when its size or time is new.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import xxhash

__all__ = [
    "MISSING",
    "Digest",
    "Names",
    "fingerprint",
    "fingerprints",
    "hash_file",
    "identity",
    "stamp",
    "weigh",
]

# Stands in the place of the hash of a file that is not there or cannot be read.
MISSING = "missing"

# Stays in the cache between being read and being hashed.
_BLOCK_BYTES = 2**20

Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Digest:
    """Hash of a file's content, and the size and time (ns) it was taken at."""

    stamp: Stamp
    hash: str


class Names:
    """Paths as seen from the run's folder, so that both may move together."""

    def __init__(self, start: str | Path) -> None:
        """Name paths as seen from `start`."""
        self._start = os.fspath(start)
        self._folders: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        """Name a path; each folder is worked out once."""
        head, tail = os.path.split(path)
        folder = self._folders.get(head)
        if folder is None:
            folder = self._folders[head] = self._relative(head)
        return f"{folder}/{tail}"

    def _relative(self, folder: str) -> str:
        try:
            return os.path.relpath(folder, self._start).replace(os.sep, "/")
        except ValueError:  # another drive on Windows
            return folder


def stamp(path: str | Path) -> Stamp | None:
    """Size and time of change of a file; for a folder (a store) those of all its files."""
    try:
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            return found.st_size, found.st_mtime_ns
        facts = [(os.path.relpath(f, path), *_facts(f)) for f in _files(path)]
    except OSError:
        return None
    # Not the sum of sizes: a file that moves inside the folder has to show.
    key = hashlib.blake2b(repr(facts).encode(), digest_size=7).digest()
    return int.from_bytes(key, "big"), max((fact[2] for fact in facts), default=0)


def fingerprint(path: str | Path) -> Digest:
    """Hash a file, or a folder with the names and contents of its files."""
    at = stamp(path)
    if at is None:
        return Digest((-1, -1), MISSING)
    try:
        return Digest(at, _hash_folder(path) if os.path.isdir(path) else hash_file(path))
    except OSError:
        return Digest((-1, -1), MISSING)


def fingerprints(paths: Iterable[str], *, threads: int) -> dict[str, Digest]:
    """Hash many files; reading, which takes most of the time, lets other threads run."""
    names = list(paths)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        return dict(zip(names, pool.map(fingerprint, names)))


def hash_file(path: str | Path) -> str:
    """XXH3 of a file's bytes, 32 hexadecimal digits: it finds changes, not forgers."""
    state = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as file:
        room = memoryview(bytearray(min(_BLOCK_BYTES, max(os.fstat(file.fileno()).st_size, 1))))
        while count := file.readinto(room):
            state.update(room[:count])
    return state.hexdigest()


def identity(paths: tuple[Path, ...], hashes: Mapping[str, str]) -> str:
    """One text for all inputs of a unit: their content, and names as seen from each other.

    Where the files lie as a whole does not enter, so a moved raw folder changes nothing.
    """
    if not paths:
        return ""
    names = [os.fspath(path) for path in paths]
    folders = {os.path.dirname(name) for name in names}
    try:
        root = folders.pop() if len(folders) == 1 else os.path.commonpath(folders)
    except ValueError:  # several drives on Windows
        root = ""
    return "\n".join(f"{name[len(root) :]}\t{hashes[name]}" for name in names)


def _hash_folder(path: str | Path) -> str:
    state = xxhash.xxh3_128()
    for file in _files(path):
        state.update(f"{os.path.relpath(file, path)}\t{hash_file(file)}\n".encode())
    return state.hexdigest()


def _files(folder: str | Path) -> list[str]:
    found = [os.path.join(top, name) for top, _, names in os.walk(folder) for name in names]
    return sorted(found)


def _facts(path: str) -> Stamp:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def weigh(folder: str | Path, *, without: Container[str] = ()) -> tuple[int, str]:
    """Bytes and number of the files in a folder, of which those in `without` do not count.

    Nor do metadata (JSON and hidden files), which grow when others add to a store.
    """
    total, count = 0, 0
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if os.path.join(place, name) not in without]
        for name in names:
            path = os.path.join(place, name)
            if not name.startswith(".") and not name.endswith(".json") and path not in without:
                total += os.path.getsize(path)
                count += 1
    return total, f"{count} files"
