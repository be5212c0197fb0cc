"""Tables as Parquet: equal tables are equal files, and a reader sees all of one or nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from poolvox.shared.errors import InputError, StoreError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["join_tables", "read_table", "write_table"]

METADATA_PREFIX: Final = "Metadata_"

# Rows that are compressed together: a reader may stream a table in such pieces.
ROW_GROUP: Final = 2**17


def write_table(frame: pd.DataFrame | pa.Table, path: Path | str) -> Path:
    """Write a table: `Metadata_` columns first, the others in their order, without the index.

    Missing numbers stay NaN, empty strings stay empty strings; a table of Arrow stays as it is. The
    file holds no time and no path, so equal tables are equal files.

    Examples
    --------
    >>> write_table(cells, "tables/cells.parquet")    # doctest: +SKIP
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from poolvox import __version__

    target = Path(path)
    table = frame if isinstance(frame, pa.Table) else _arrow_table(frame, target)
    names = table.column_names
    table = table.select(sorted(names, key=lambda name: not name.startswith(METADATA_PREFIX)))
    table = table.replace_schema_metadata({"poolvox": __version__})
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        # Measurements hardly ever repeat: a dictionary of them is larger than they are.
        repeated = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
        pq.write_table(
            table,
            partial,
            compression="zstd",
            use_dictionary=repeated,
            row_group_size=ROW_GROUP,
        )
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return target


def read_table(path: Path | str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table, or only some of its columns, in the order asked for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source} does not exist: expected a Parquet table")
    try:
        file = pq.ParquetFile(source)
    except pa.ArrowInvalid as error:
        raise InputError(f"{source} is not a readable Parquet table: {error}") from error
    with file:
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            there = ", ".join(file.schema_arrow.names)
            raise InputError(f"{source} has no columns {missing}; it has: {there}")
        table = file.read(columns=None if columns is None else list(columns))
    if columns is not None:
        table = table.select(list(columns))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def join_tables(paths: Sequence[Path]) -> pa.Table:
    """Join the rows of tables with the same columns, as Arrow has them.

    Those without rows say nothing of their columns, and are left out unless all are.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(path) for path in paths]
    full = [table for table in tables if table.num_rows]
    return pa.concat_tables(full or tables[:1]).combine_chunks()


def _arrow_table(frame: pd.DataFrame, target: Path) -> pa.Table:
    import pyarrow as pa

    columns = [str(column) for column in frame.columns]
    doubled = sorted({column for column in columns if columns.count(column) > 1})
    if doubled:
        raise StoreError(f"{target.name}: columns {doubled} occur twice; give each its own name")
    series = {column: frame.iloc[:, place] for place, column in enumerate(columns)}
    return pa.table({column: _column(values, target) for column, values in series.items()})


def _column(series: pd.Series[Any], target: Path) -> Any:
    """An Arrow column; NaN in a column of numbers stays a value and does not become a null."""
    import pandas as pd
    import pyarrow as pa

    values = series.array
    try:
        if isinstance(series.dtype, pd.CategoricalDtype):
            return _dictionary(series)
        if series.dtype.kind == "f" and not pd.api.types.is_extension_array_dtype(series.dtype):
            return pa.array(series.to_numpy(), from_pandas=False)
        found = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise StoreError(
            f"{target.name}: column {series.name!r} cannot be stored: {error}"
        ) from error
    # pandas 2 and 3 keep text under different types; one type on disk for both.
    if pa.types.is_large_string(found.type) or pa.types.is_null(found.type):
        return found.cast(pa.string())
    return found


def _dictionary(series: pd.Series[Any]) -> Any:
    import pyarrow as pa

    found = pa.array(series.array, from_pandas=True)
    return found.cast(pa.dictionary(pa.int32(), found.type.value_type))
