"""Are the files of a run still what the journal says was written?"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from poolvox.shared.engine.inputs import hash_file, weigh
from poolvox.shared.engine.journal import INPUTS_NAME, UNITS_NAME, Record, read_lines, read_records
from poolvox.shared.engine.resources import cores
from poolvox.shared.errors import EngineError

__all__ = ["verify_run"]


def verify_run(output: Path) -> list[str]:
    """List what is wrong with the files of a run; empty if nothing is.

    Files are compared by size and content, folders (parts of stores) by the number of their files
    and their bytes; lines of the journal that cannot be read are named. Nothing is changed.
    """
    output = Path(output)
    folder = output / "journal"
    if not (folder / UNITS_NAME).exists():
        raise EngineError(f"{output} is not the folder of a run: it has no journal/{UNITS_NAME}")
    problems = [p for name in (UNITS_NAME, INPUTS_NAME) for p in _damage(folder, name)]
    done = [record for record in read_records(folder).values() if record.state == "done"]
    owned = {os.path.join(output, name) for record in done for name in record.outputs}
    with ThreadPoolExecutor(cores()) as pool:
        for found in pool.map(partial(_check, output, owned), done):
            problems += found
    return problems


def _damage(folder: Path, name: str) -> list[str]:
    damaged: list[int] = []
    for _ in read_lines(folder / name, damaged):
        pass
    return [
        f"journal/{name}, line {number}, cannot be read: its unit will be done again"
        for number in damaged
    ]


def _check(output: Path, owned: set[str], record: Record) -> list[str]:
    found = []
    for name, facts in record.outputs.items():
        path = output / name
        if not path.exists():
            found.append(f"{name} of {record.unit} is missing: the next run makes it again")
        elif facts is not None and (wrong := _difference(path, *facts, owned)):
            found.append(f"{name} of {record.unit} was changed: {wrong}; remove it and run again")
    return found


def _difference(path: Path, size: int, text: str, owned: set[str]) -> str:
    try:
        if path.is_dir():
            # What other units keep in it has records of its own.
            now, count = weigh(path, without=owned)
            same = (now, count) == (size, text)
            return "" if same else f"{count} of {now} bytes instead of {text} of {size}"
        now = os.path.getsize(path)
        if now != size:
            return f"{now} bytes instead of {size}"
        return "" if hash_file(path) == text else "other content of the same size"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
