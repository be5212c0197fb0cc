"""Object tables as they come: Parquet, text, CellProfiler's spreadsheets, frames of any kind.

Everything that is not Parquet is written as Parquet first, next to the profiles and for as long as
they are made, since columns of text files cannot be read one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.tables.annotation import written
from poolvox.shared.profiles.tables.columns import is_feature
from poolvox.shared.profiles.tables.datasets import PACKED
from poolvox.shared.profiles.tables.dialects import read_dialect, wrong_letters
from poolvox.shared.profiles.tables.spreadsheets import are_spreadsheets, join_spreadsheets
from poolvox.shared.sorting import natural

__all__ = ["Tables", "gather_tables"]

# What object tables may be given as; frames of dask, datasets of pyarrow, and frames that Arrow can
# read, such as those of polars, are told by what they can do, so that none is loaded here.
Tables = "Sequence[Path | str] | Path | str | pd.DataFrame | Any"

TEXTS: Final = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
# Bytes of text that tell what a column holds, and that are converted at once.
BLOCK: Final = 2**24


def gather_tables(given: Any, folder: Path) -> tuple[Path, ...]:
    """List Parquet files of the tables that are given; `folder` takes those that must be made.

    Parameters
    ----------
    given : files or folders of them; a frame of pandas, dask, polars or pyarrow; a dataset of
        pyarrow
    """
    if isinstance(given, pd.DataFrame) or hasattr(given, "__arrow_c_stream__"):
        table = _frame_table(given) if isinstance(given, pd.DataFrame) else pa.table(given)
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / "frame.parquet", compression=PACKED)
        return (folder / "frame.parquet",)
    if hasattr(given, "npartitions") and hasattr(given, "to_parquet"):
        given.to_parquet(str(folder), write_index=False, compression="zstd")
        return _inside(folder, (".parquet",))
    if hasattr(given, "files"):
        given = list(given.files)
    places = [given] if isinstance(given, (str, Path)) else list(given)
    found = [path for place in map(Path, places) for path in _files(place)]
    if not found:
        raise InputError("no object tables were given")
    texts = [path for path in found if path.name.lower().endswith(TEXTS)]
    if texts and are_spreadsheets(texts):
        found = [path for path in found if path not in texts]
        return (*found, join_spreadsheets(texts, folder / "joined.parquet"))
    # Called as they are, for messages; two folders may hold tables of one name.
    made = {
        path: folder / str(number) / f"{path.name}.parquet" for number, path in enumerate(texts)
    }
    for path, target in made.items():
        convert_text(path, target)
    return tuple(made.get(path, path) for path in found)


def _frame_table(frame: pd.DataFrame) -> pa.Table:
    """A frame of pandas as its Parquet file would be, but for an index without a name.

    Columns of numbers and words are words, as they would be in a text file.
    """
    names = frame.columns.map(str)
    if not names.is_unique:
        doubled = sorted(set(names[names.duplicated()]))
        raise InputError(f"columns {doubled} of the frame occur twice: give each its own name")
    plain = frame.set_axis(names, axis=1)
    for name in names[[kind.kind == "O" for kind in frame.dtypes]]:
        try:
            pa.array(plain[name], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            plain = plain.assign(**{name: plain[name].map(written, na_action="ignore")})
    index = {str(name) for name in frame.index.names if name is not None}
    return pa.Table.from_pandas(plain, preserve_index=bool(index) and not index & set(names))


def convert_text(path: Path, target: Path) -> None:
    """Write a text table as Parquet, block by block; measurements are numbers in every block."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        kinds = {field.name: _kind(field) for field in _reader(path, None).schema}
        reader = _reader(path, kinds)
        with pq.ParquetWriter(target, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        if "UTF8" in str(error):
            raise wrong_letters(path, error) from error
        raise InputError(
            f"{path} cannot be read as a table: {error}; expected a line of column names, then one "
            "line per object"
        ) from error


def _reader(path: Path, kinds: dict[str, Any] | None) -> Any:
    dialect = read_dialect(path)
    return csv.open_csv(
        pa.input_stream(path, compression="detect"),
        read_options=csv.ReadOptions(block_size=BLOCK),
        parse_options=csv.ParseOptions(delimiter=dialect.delimiter),
        convert_options=csv.ConvertOptions(column_types=kinds, decimal_point=dialect.decimal),
    )


def _kind(field: Any) -> Any:
    """Numbers of measurements may have a point further down; keys without numbers are text."""
    kind = field.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
    if numeric and is_feature(field.name, float, image=True):
        return pa.float64()
    whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind)
    return kind if whole else pa.string()


def _files(place: Path) -> tuple[Path, ...]:
    if place.is_dir():
        found = _inside(place, (".parquet",)) or _inside(place, TEXTS)
        if not found:
            raise InputError(f"there are no Parquet tables in {place}, nor CSV")
        return found
    if not place.is_file():
        raise InputError(f"{place} does not exist: give a table, Parquet or CSV, or a folder")
    return (place,)


def _inside(folder: Path, endings: Sequence[str]) -> tuple[Path, ...]:
    found = [path for path in folder.iterdir() if path.name.lower().endswith(tuple(endings))]
    shown = [path for path in found if not path.name.startswith(".")]
    return tuple(sorted(shown, key=lambda path: natural(path.name)))
