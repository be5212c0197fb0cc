"""Labels that people give to cells: kept in a file, found again after a new segmentation.

A label file is a CSV with one row per labelled cell: the keys of its field, its number, its
position, and its class. Numbers change when images are segmented anew; positions hardly do, so a
label belongs to the nearest object of its field, within a distance.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.tables import columns
from poolvox.shared.profiles.tables.annotation import written
from poolvox.shared.profiles.tables.columns import LABEL, ORGANOID, number_column

__all__ = ["LABEL", "Matched", "match_labels", "number_objects", "read_labels", "write_labels"]

CLASS: Final = "Class"
# What names a field or a stack, in the order in which files list it.
FIELD: Final = (*columns.FIELD, ORGANOID)
# Positions by preference: micrometres hold when images are stored at another size.
POSITIONS: Final = (
    ("Metadata_Z_um", "Metadata_Y_um", "Metadata_X_um"),
    ("Metadata_Y_um", "Metadata_X_um"),
)


@dataclass(frozen=True, slots=True)
class Matched:
    """Labels that found their object.

    Attributes
    ----------
    classes : the class of every row of the objects, empty where there is none; with their index
    report : one row per label of the file, in its order: its keys and class, `Label_Status`
        (`same`, `moved`: another number at its place, `duplicate`: said twice, `conflict`: two
        classes for one object, none of which counts, `lost`: no object near, `no field`: its field
        is not in the table), `Label_Object` (number now, 0 for none) and `Label_Distance_um`
    """

    classes: pd.Series[Any]
    report: pd.DataFrame

    @property
    def counts(self) -> dict[str, int]:
        """How many labels have each status."""
        return {str(k): int(n) for k, n in self.report["Label_Status"].value_counts().items()}


def read_labels(path: Path | str, *, column: str = CLASS) -> pd.DataFrame:
    """Read a label file; keys are text, so that a well or a tile called 01 stays so.

    Rows without a class are those that nobody has looked at yet, and are left out.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"label file {source} is not there: correct its path")
    try:
        table = pd.read_csv(source, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"label file {source} is no CSV table: {error}") from error
    absent = [name for name in (LABEL, column) if name not in table]
    if absent:
        raise InputError(
            f"label file {source} has no column {absent[0]}; it has {', '.join(map(str, table))}: "
            f"a row needs a cell's keys, such as {', '.join(FIELD[:3])}, {LABEL}, and its {column}"
        )
    table[column] = table[column].str.strip()
    table = table[table[column] != ""].rename(columns={column: CLASS}).reset_index(drop=True)
    numbers = [name for name in table if name == LABEL or name in POSITIONS[0]]
    for name in numbers:
        values = pd.to_numeric(table[name].replace("", "nan"), errors="coerce")
        if name == LABEL and values.isna().any():
            row = int(np.flatnonzero(values.isna())[0])
            raise InputError(
                f"label file {source}, row {row + 2}: {LABEL} is {table[name][row]!r}, not a number"
            )
        table[name] = values.astype(np.int64) if name == LABEL else values
    return table


def write_labels(cells: pd.DataFrame, path: Path | str, *, extra: Sequence[str] = ()) -> Path:
    """Write cells with their classes, or with an empty class to fill in, as a label file.

    Parameters
    ----------
    cells : keys, positions and `Class`; other columns are left out
    extra : columns to write beside, such as why a cell is asked for
    """
    wanted = [*FIELD, LABEL, *POSITIONS[0], CLASS, *extra]
    table = cells.assign(**({} if CLASS in cells else {CLASS: ""}))
    table = table[[name for name in wanted if name in table]]
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        table.to_csv(partial, index=False, lineterminator="\n", encoding="utf-8")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def number_objects(objects: pd.DataFrame) -> pd.DataFrame:
    """Give objects the number that labels name them by: that of CellProfiler, if ours is not there.

    Raises
    ------
    InputError
        where nothing numbers the objects
    """
    if LABEL in objects:
        return objects
    number = number_column(objects)
    if number is None:
        raise InputError(
            f"labels name objects by {LABEL}, which the table lacks: add the number of each object "
            "in its field"
        )
    return objects.assign(**{LABEL: objects[number]})


def match_labels(
    labels: pd.DataFrame, objects: pd.DataFrame, *, distance_um: float = 3.0
) -> Matched:
    """Find the object of every label.

    Where positions are known a label goes to the nearest object of its field, no farther than
    `distance_um`; where they are not, to the object of its number. Two labels of one class for one
    object count once; two of different classes count not at all.

    Parameters
    ----------
    labels : as `read_labels` gives them
    objects : keys and positions, one row per object
    """
    fields = [name for name in FIELD if name in labels and name in objects]
    lacking = [n for n in FIELD if n in objects and n not in labels and objects[n].nunique() > 1]
    if lacking and objects.duplicated([*fields, LABEL]).any():
        raise InputError(
            f"labels do not tell which {lacking[0]} they mean, and the objects have several: add "
            "the column to the label file"
        )
    axes = next((a for a in POSITIONS if all(n in labels and n in objects for n in a)), ())
    report = labels[[name for name in (*FIELD, LABEL, CLASS) if name in labels]].copy()
    report["Label_Status"], report["Label_Object"] = "no field", 0
    report["Label_Distance_um"] = np.nan
    places = np.full(len(labels), -1)
    theirs = _members(objects, fields)
    for key, rows in _members(labels, fields).items():
        if key not in theirs:
            continue
        near = _nearest(labels.iloc[rows], objects.iloc[theirs[key]], axes, distance_um)
        found = near[0] >= 0
        places[rows[found]] = theirs[key][near[0][found]]
        report.loc[report.index[rows], "Label_Status"] = np.where(found, "same", "lost")
        report.loc[report.index[rows], "Label_Distance_um"] = near[1]
    return _settle(report, places, objects)


def _members(frame: pd.DataFrame, fields: Sequence[str]) -> dict[tuple[str, ...], Any]:
    """Places of the rows of every field."""
    # A column that is always there: groups of one column come without tuples from some versions.
    texts = pd.DataFrame({"all": "", "fields": ""}, index=range(len(frame)))
    for name in fields:
        codes, values = pd.factorize(frame[name])
        named = [written(value, well="Well" in name) or "" for value in values]
        texts[name] = np.array([*named, ""], object)[codes]
    grouped = texts.groupby(list(texts), sort=False)
    indices: dict[Any, Any] = grouped.indices
    return {tuple(map(str, key)): np.asarray(rows) for key, rows in indices.items()}


def _nearest(
    labels: pd.DataFrame, objects: pd.DataFrame, axes: Sequence[str], reach: float
) -> tuple[Any, Any]:
    """Place of the object of each label in its field, -1 for none, and how far it lies, um."""
    from scipy.spatial import cKDTree

    numbers = pd.Series(np.arange(len(objects)), index=objects[LABEL])
    numbers = numbers[~numbers.index.duplicated()]
    places = np.array(numbers.reindex(labels[LABEL]).fillna(-1), dtype=np.int64)
    far = np.full(len(labels), np.nan)
    if not axes:
        return places, far
    known = labels[list(axes)].notna().all(axis=1).to_numpy()
    there = np.flatnonzero(objects[list(axes)].notna().all(axis=1))
    if known.any() and len(there):
        tree = cKDTree(objects[list(axes)].to_numpy(float)[there])
        steps, hits = tree.query(labels.loc[known, list(axes)].to_numpy(float))
        places[known] = np.where(steps <= reach, there[hits], -1)
        far[known] = steps
    return places, far


def _settle(report: pd.DataFrame, places: Any, objects: pd.DataFrame) -> Matched:
    """Tell labels that moved, doubles and conflicts, and give the objects their classes."""
    found = places >= 0
    numbers = objects[LABEL].to_numpy()
    report["Label_Object"] = np.where(found, numbers[places], 0) if len(numbers) else 0
    moved = found & (report["Label_Object"] != report[LABEL]).to_numpy()
    report.loc[moved, "Label_Status"] = "moved"
    claims = pd.DataFrame({"place": places, "name": report[CLASS].to_numpy()})[found]
    kinds = claims.groupby("place")["name"].transform("nunique")
    doubled = claims.duplicated("place")
    at = report.index[found]
    report.loc[at[(doubled & (kinds == 1)).to_numpy()], "Label_Status"] = "duplicate"
    report.loc[at[(kinds > 1).to_numpy()], "Label_Status"] = "conflict"
    classes = np.full(len(objects), "", dtype=object)
    sure = claims[kinds == 1]
    classes[sure["place"].to_numpy()] = sure["name"].to_numpy()
    return Matched(pd.Series(classes, index=objects.index, name=CLASS), report)
