"""What was begun, done and failed: one line of JSON per event, outside the stores.

A line counts once it ends; the last one of a run that was killed may be torn and is dropped. Only
the holder of the run's lock writes, anybody may read at any time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poolvox.shared.engine.inputs import Digest

__all__ = [
    "JOURNAL_NAME",
    "Journal",
    "Past",
    "Record",
    "read_digests",
    "read_lines",
    "read_records",
    "write_whole",
]

JOURNAL_NAME = "journal"
UNITS_NAME = "units.jsonl"
INPUTS_NAME = "inputs.jsonl"
PLAN_NAME = "plan.jsonl"

# A power cut may cost the lines of this many seconds, so the work of that time; a kill costs none.
_SYNC_SECONDS = 2.0
# Rewritten when this many lines, and more than a third of all, are out of date.
_MIN_DEAD_LINES = 1000

# (size, hash) of a file, None of a folder, by name below the run's folder.
Outputs = Mapping[str, tuple[int, str] | None]


@dataclass(frozen=True, slots=True)
class Record:
    """The last that the journal says of a unit.

    Parameters
    ----------
    state : `begun`, `done`, `failed` or `skipped`
    run : number of the run, from 1
    outputs : what it owns; with sizes and hashes once it is done
    result : what the unit handed back
    reason, log : why it failed, and the file with the traceback
    seconds, memory : time it took, and bytes at its peak where they are known
    """

    unit: str
    state: str
    run: int
    step: str = ""
    token: str = ""
    outputs: Outputs = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    log: str = ""
    seconds: float = 0.0
    memory: int | None = None

    def to_line(self) -> str:
        """One line of JSON, without what is not set."""
        facts = {name: value for name in self.__slots__ if (value := getattr(self, name))}
        return json.dumps(facts, separators=(",", ":"), ensure_ascii=False)


class Past:
    """What earlier runs noted in a folder; nothing is written."""

    def __init__(self, folder: Path) -> None:
        """Read what is there."""
        self.records = read_records(folder)
        self.digests = read_digests(folder)

    def remember(self, digests: Mapping[str, Digest]) -> None:
        """Keep the hashes of inputs (by their names, see `Names`)."""
        self.digests.update(digests)


class Journal(Past):
    """The journal of a run that is going on; give it back with `close`."""

    def __init__(self, folder: Path) -> None:
        """Read what is there, and drop a torn last line."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        super().__init__(folder)
        self._units = _Lines(folder / UNITS_NAME)
        self._inputs = _Lines(folder / INPUTS_NAME)
        self._orphans: dict[str, list[str]] = {}
        header = next(read_lines(folder / PLAN_NAME), {"run": 0})
        runs = (record.run for record in self.records.values())
        self.run = 1 + max(header["run"], *runs, 0)

    def expect(self, planned: Container[str]) -> None:
        """Say which units the plan has; those of older plans lose files to these, see `begin`."""
        self._orphans = _by_place(self.records, planned)

    def begin(self, record: Record) -> None:
        """Note that a unit begins; one of an older plan that wrote in its place is forgotten."""
        self.add(record)
        for orphan in {key for name in record.outputs for key in self._orphans.pop(name, ())}:
            self.drop(orphan)

    def add(self, record: Record) -> None:
        """Note what happened to a unit; it counts when this returns."""
        self._units.append(record.to_line())
        self.records[record.unit] = record

    def drop(self, key: str) -> None:
        """Forget a unit whose files were removed, or are another's now; it may be forgotten."""
        if self.records.pop(key, None) is not None:
            self._units.append(Record(key, "dropped", self.run).to_line())

    def remember(self, digests: Mapping[str, Digest]) -> None:
        """Write the hashes that are new."""
        fresh = {name: d for name, d in digests.items() if self.digests.get(name) != d}
        self._inputs.append(*(_digest_line(name, digest) for name, digest in fresh.items()))
        super().remember(fresh)

    def close(self) -> None:
        """Write everything through to the disk, and shorten what has become long."""
        records = self.records.values()
        self._units.compact(len(records), (record.to_line() for record in records))
        lines = (_digest_line(name, digest) for name, digest in self.digests.items())
        self._inputs.compact(len(self.digests), lines)


class _Lines:
    """A file to which whole lines are added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (closed by compact)
        self._end = _whole_lines(self._file)
        self._file.truncate(self._end)
        self._file.seek(0)
        self._count = sum(block.count(b"\n") for block in iter(lambda: self._file.read(2**20), b""))
        self._synced = time.monotonic()

    def append(self, *lines: str) -> None:
        if not lines:
            return
        data = ("\n".join(lines) + "\n").encode()
        try:
            written = self._file.write(data)
            if written < len(data):  # a disk that just became full; the rest raises
                self._file.write(data[written:])
        except BaseException:
            self._file.truncate(self._end)
            raise
        self._end += len(data)
        self._count += len(lines)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def compact(self, live: int, lines: Iterable[str]) -> None:
        try:
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
        if self._count - live > max(_MIN_DEAD_LINES, live // 2):
            write_whole(self._path, (line + "\n" for line in lines))


def _by_place(records: Mapping[str, Record], planned: Container[str]) -> dict[str, list[str]]:
    """Units that are not planned, by what they wrote and by each folder that it lies in."""
    places: dict[str, list[str]] = {}
    for key in (key for key in records if key not in planned):
        for name in records[key].outputs:
            parts = name.split("/")
            for depth in range(1, len(parts) + 1):
                places.setdefault("/".join(parts[:depth]), []).append(key)
    return places


def read_records(folder: Path) -> dict[str, Record]:
    """Last record of each unit, in the order in which the units were first begun."""
    last: dict[str, dict[str, Any]] = {}
    names = frozenset(Record.__slots__)
    for facts in read_lines(folder / UNITS_NAME):
        if names.issuperset(facts) and {"unit", "state", "run"} <= facts.keys():
            last[facts["unit"]] = facts
    return {key: Record(**facts) for key, facts in last.items() if facts["state"] != "dropped"}


def read_digests(folder: Path) -> dict[str, Digest]:
    """Known hashes of inputs."""
    digests = {}
    for facts in read_lines(folder / INPUTS_NAME):
        match facts:
            case {"path": str(path), "stamp": [int(size), int(time_ns)], "hash": str(text)}:
                digests[path] = Digest((size, time_ns), text)
    return digests


def read_lines(path: Path, damaged: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """Read whole lines; the numbers of those that are not JSON go to `damaged`."""
    try:
        file = open(path, encoding="utf-8", errors="replace", newline="\n")  # noqa: SIM115
    except FileNotFoundError:
        return
    decode = json.JSONDecoder().raw_decode
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return  # being written, or torn by a kill
            try:
                facts, end = decode(line)
            except ValueError:
                facts, end = None, 0
            if isinstance(facts, dict) and end == len(line) - 1:
                yield facts
            elif damaged is not None:
                damaged.append(number)


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Write a text file that is there as a whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _digest_line(name: str, digest: Digest) -> str:
    facts = {"path": name, "stamp": digest.stamp, "hash": digest.hash}
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=False)


def _whole_lines(file: Any) -> int:
    """Where the last whole line ends."""
    end = int(file.seek(0, os.SEEK_END))
    while end:
        start = max(0, end - 2**16)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + int(found) + 1
        end = start
    return 0
