"""What is known about wells, guides or barcodes, added to the tables by key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.tables.columns import KEY_PREFIXES
from poolvox.shared.profiles.tables.dialects import read_text
from poolvox.shared.profiles.tables.groups import group_rows
from poolvox.shared.profiles.tables.record import Record
from poolvox.shared.store import read_table

__all__ = ["annotate", "read_annotation", "written"]

STEP: Final = "annotate"
METADATA: Final = "Metadata_"
TEXTS: Final = (".csv", ".tsv", ".txt")
_WELL: Final = re.compile(r"^([A-Za-z]{1,2})0*([0-9]{1,3})$")


def annotate(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    *,
    on: str | Sequence[str] | Mapping[str, str],
    record: Record | None = None,
) -> pd.DataFrame:
    """Add the columns of a table, such as a library or a plate map, by key.

    Parameters
    ----------
    frame : objects or profiles
    table : one row per key; its columns get the prefix `Metadata_` where they have none, and begin
        with a capital behind it
    on : key columns that both have (with or without the prefix), or a mapping from the name in
        `frame` to the name in `table`. Wells match however they are written: A1, A01, a1
    record : takes what was added, and keys that found no row

    Returns
    -------
    all rows in their order, with the new columns after the other keys' columns; missing where the
    table has no row. Empty keys, as of objects that were not called, find none

    Raises
    ------
    InputError
        if a key stands twice in the table, or a column is there already with other values

    Examples
    --------
    >>> plate = pd.DataFrame({"well": ["A01"], "treatment": ["DMSO"]})
    >>> annotate(pd.DataFrame({"Metadata_Well": ["A1"]}), plate, on="Metadata_Well")
      Metadata_Well Metadata_Treatment
    0            A1               DMSO
    """
    pairs = _pairs(frame, table, on)
    places = _find(frame, table, pairs)
    if len(places) and not (places >= 0).any():
        own, other = next(iter(pairs.items()))
        raise InputError(
            f"no object has a row in the table: {own} holds {_some(frame[own])}, and {other} of "
            f"the table {_some(table[other])}"
        )
    result = frame.copy(deep=False)
    at = _after_keys(frame)
    for column in table.columns:
        if column in pairs.values():
            continue
        name = _prefixed(str(column))
        values = _taken(table[column], places, frame.index)
        if name in frame.columns:
            _refuse_other(frame[name], values, name, places)
            continue
        result.insert(at, name, values)
        at += 1
        if record is not None:
            record.note(STEP, "added", name, f"by {', '.join(pairs)}", (places >= 0).sum())
    if record is not None:
        _note_unfound(frame, list(pairs), places, record)
    return result


def read_annotation(path: Path | str) -> pd.DataFrame:
    """Read a table of CSV, TSV or Parquet; what looks like a name stays text."""
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source} does not exist: expected a table to annotate with")
    suffixes = [suffix.lower() for suffix in source.suffixes]
    kind = suffixes[-2] if suffixes and suffixes[-1] == ".gz" and len(suffixes) > 1 else ""
    kind = kind or (suffixes[-1] if suffixes else "")
    if kind == ".parquet":
        return read_table(source)
    if kind not in TEXTS:
        raise InputError(f"{source.name}: tables to annotate with are CSV, TSV or Parquet")
    # "NA" and "none" are names of genes and treatments; only nothing is missing.
    return read_text(source, keep_default_na=False, na_values=[""])


def _pairs(frame: pd.DataFrame, table: pd.DataFrame, on: Any) -> dict[str, str]:
    """Key columns: name in the frame, and in the table."""
    names = [on] if isinstance(on, str) else list(on)
    wanted = dict(on) if isinstance(on, Mapping) else dict(zip(names, names))
    found: dict[str, str] = {}
    for left, right in wanted.items():
        own = _one_of(frame, left, "the objects")
        found[own] = _one_of(table, right, "the table")
    if not found:
        raise InputError("annotate needs the columns by which rows are found")
    return found


def _one_of(frame: pd.DataFrame, name: str, what: str) -> str:
    """The column of that name, whatever its prefix and capitals."""
    bare = name.removeprefix(METADATA).lower()
    exact = [c for c in frame.columns if c == name]
    alike = [c for c in frame.columns if str(c).removeprefix(METADATA).lower() == bare]
    found = exact or alike
    if len(found) != 1:
        there = ", ".join(map(str, frame.columns[:20]))
        number = "no column" if not found else "several columns"
        raise InputError(f"{number} {name!r} in {what}, which has {there}")
    return str(found[0])


def _find(frame: pd.DataFrame, table: pd.DataFrame, pairs: Mapping[str, str]) -> NDArray[np.int64]:
    """Row of the table for each row of the frame, -1 where there is none."""
    wells = {left: "well" in f"{left} {right}".lower() for left, right in pairs.items()}
    wanted = pd.DataFrame({left: _keyed(frame[left], wells[left]) for left in pairs})
    given = pd.DataFrame({left: _keyed(table[name], wells[left]) for left, name in pairs.items()})
    doubled = given[given.duplicated() & given.notna().all(axis=1)]
    if len(doubled):
        key = " ".join(map(str, doubled.iloc[0]))
        raise InputError(
            f"{len(doubled)} keys stand twice in the table, first {key}: one row for each"
        )
    # Numbers of the different keys, so that any number of columns and rows is one lookup.
    both = pd.concat([given, wanted], ignore_index=True)
    codes = both.groupby(list(pairs), sort=False, dropna=False).ngroup().to_numpy()
    unnamed = both.isna().any(axis=1).to_numpy()
    rows = np.full(codes.max(initial=-1) + 1, -1, np.int64)
    mine = np.flatnonzero(~unnamed[: len(given)])
    rows[codes[mine]] = mine
    places = rows[codes[len(given) :]]
    places[unnamed[len(given) :]] = -1
    return np.asarray(places, np.int64)


def _keyed(column: pd.Series[Any], wells: bool) -> pd.Series[Any]:
    """Values as they are compared: text without blanks around it, wells without zeros."""
    codes, uniques = pd.factorize(column)
    texts = np.array([*(written(value, well=wells) for value in uniques), None], object)
    return pd.Series(texts[codes], dtype=object)


def written(value: Any, *, well: bool = False) -> str | None:
    """A key as it is compared; None where there is none.

    Examples
    --------
    >>> written(7.0), written(" DMSO"), written("a01", well=True)
    ('7', 'DMSO', 'A1')
    """
    text = str(value).strip()
    if isinstance(value, float) and value.is_integer():
        text = str(int(value))
    if well and (match := _WELL.match(text)):
        return f"{match[1].upper()}{match[2]}"
    return text or None


def _taken(column: pd.Series[Any], places: NDArray[np.int64], index: pd.Index[Any]) -> Any:
    taken = column.reset_index(drop=True).reindex(places)
    taken.index = index
    return taken


def _refuse_other(own: pd.Series[Any], new: Any, name: str, places: NDArray[np.int64]) -> None:
    found = places >= 0
    left, right = own.to_numpy(object)[found], new.to_numpy(object)[found]
    same = (left == right) | (pd.isna(left) & pd.isna(right))
    if not same.all():
        count = int((~same).sum())
        raise InputError(
            f"column {name} is there already, and differs in {count} rows: rename it in the table"
        )


def _note_unfound(
    frame: pd.DataFrame, names: Sequence[str], places: NDArray[np.int64], record: Record
) -> None:
    groups = group_rows(frame[places < 0], list(names))
    for label, count in zip(groups.labels, groups.sizes):
        record.note(STEP, "skipped", label or "(empty)", "no row in the table", count)


def _prefixed(name: str) -> str:
    # As a short name in the configuration is read: `gene: treatment` is `Metadata_Treatment`.
    return name if name.startswith(KEY_PREFIXES) else METADATA + name[:1].upper() + name[1:]


def _some(column: pd.Series[Any]) -> str:
    shown = [str(value) for value in column.dropna().unique()[:3]]
    return ", ".join(shown) or "nothing"


def _after_keys(frame: pd.DataFrame) -> int:
    """Where new keys go: after the last column with the prefix."""
    places = [i for i, name in enumerate(frame.columns) if str(name).startswith(METADATA)]
    return places[-1] + 1 if places else 0
