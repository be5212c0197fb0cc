"""CellProfiler's spreadsheets: one table of images, one per kind of object, joined to one of cells.

`Parent_Nuclei` in the table of cytoplasms is the number of its nucleus in the same image; columns
get the name of their table in front, as in CellProfiler's databases and in CytoTable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.tables.dialects import read_text
from poolvox.shared.store import write_table

__all__ = ["are_spreadsheets", "join_spreadsheets"]

IMAGE: Final = "ImageNumber"
OBJECT: Final = "ObjectNumber"
PARENT: Final = "Parent_"
METADATA: Final = "Metadata_"


def are_spreadsheets(paths: Sequence[Path]) -> bool:
    """Tell whether text tables are such as CellProfiler writes."""
    return any({IMAGE, OBJECT} <= set(_names(path)) for path in paths)


def join_spreadsheets(paths: Sequence[Path], target: Path) -> Path:
    """Join tables by image and parent, one row per object of the table that knows its parents.

    Tables without images, such as that of the experiment, are left out.
    """
    names = {path: _names(path) for path in paths}
    begin = _beginning([path.name for path in paths if IMAGE in names[path]])
    objects = {_stem(path)[begin:]: path for path in paths if {IMAGE, OBJECT} <= set(names[path])}
    images = [path for path in paths if IMAGE in names[path] and OBJECT not in names[path]]
    if len(paths) == 1:
        # A name such as MyExpt_Cells: what the experiment is called is told by no other table.
        objects = {_stem(path).rpartition("_")[2]: path for path in paths}
    parents = {
        name: [other for other in objects if PARENT + other in names[path]]
        for name, path in objects.items()
    }
    base = max(objects, key=lambda name: len(parents[name]))
    lost = sorted(set(objects) - {base, *parents[base]})
    if lost:
        raise InputError(
            f"tables {lost} are no parents of {base}: give those that belong together, or join "
            "them with CytoTable"
        )
    joined = _objects(base, objects[base])
    for name in parents[base]:
        joined = _with_parent(joined, base, name, _objects(name, objects[name]))
    for path in images:
        joined = _with_image(joined, path)
    return write_table(joined, target)


def _objects(name: str, path: Path) -> pd.DataFrame:
    """One kind of objects; keys as `Metadata_`, measurements with the name of the table."""
    frame = read_text(path)
    keys = {IMAGE: METADATA + IMAGE, OBJECT: f"{METADATA}{name}_{OBJECT}"}
    columns = {
        column: keys.get(column, column if column.startswith(METADATA) else f"{name}_{column}")
        for column in frame.columns
    }
    return frame.rename(columns=columns)


def _with_parent(joined: pd.DataFrame, base: str, name: str, parent: pd.DataFrame) -> pd.DataFrame:
    names = [str(name) for name in parent]
    known = [n for n in names if n.startswith(METADATA) and n in joined and n != METADATA + IMAGE]
    return joined.merge(
        parent.drop(columns=known),
        left_on=[METADATA + IMAGE, f"{base}_{PARENT}{name}"],
        right_on=[METADATA + IMAGE, f"{METADATA}{name}_{OBJECT}"],
        how="left",
        validate="many_to_one",
    )


def _with_image(joined: pd.DataFrame, path: Path) -> pd.DataFrame:
    frame = read_text(path)
    columns = {
        column: column if column.startswith(METADATA) else f"Image_{column}"
        for column in frame.columns
    }
    frame = frame.rename(columns=columns | {IMAGE: METADATA + IMAGE})
    known = [c for c in frame if c in joined and c != METADATA + IMAGE]
    return joined.merge(
        frame.drop(columns=known), on=METADATA + IMAGE, how="left", validate="many_to_one"
    )


def _beginning(names: Sequence[str]) -> int:
    """Length of what all names begin with, up to an underscore: `MyExpt_`."""
    shared = names[0] if len(names) > 1 else ""
    while not all(name.startswith(shared) for name in names):
        shared = shared[:-1]
    return shared.rfind("_") + 1


def _names(path: Path) -> list[str]:
    return [str(name) for name in read_text(path, nrows=0).columns]


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]
