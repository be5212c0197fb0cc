"""Object tables too large for memory: several Parquet files read as one, by column or by row.

A measurement is looked at as a whole column, some columns at a time, so medians are exact and the
arithmetic is that of the functions on tables. Rows are written in blocks of one size. So neither
the files, nor their row groups, nor the memory that may be used change a result.
"""

from __future__ import annotations

import os
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.tables.columns import Matrix, is_feature
from poolvox.shared.store.tables import METADATA_PREFIX, ROW_GROUP

__all__ = ["ObjectTables", "TableWriter", "is_text", "run_side_by_side"]

# Rows that are decoded at once.
_DECODED: Final = 2**15
# Measurements are noise in their last digits. Of 446 of 21,000 simulated cells lz4 leaves 96 % and
# is read at 1.7 GB per CPU second; zstd 1 leaves 83 % (0.3), zstd -1 95 % (0.2), snappy 96 % (0.5).
PACKED: Final = "lz4"


@dataclass(frozen=True)
class ObjectTables:
    """Parquet files with the same columns, one after the other.

    Attributes
    ----------
    paths : the files; their order is that of the rows
    image : measurements of whole images are features too
    threads : that decode side by side
    """

    paths: tuple[Path, ...]
    image: bool = False
    threads: int = 1

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Type of each column, which holds what all files have in it."""
        found: dict[str, Any] = {}
        for path, footer in zip(self.paths, self._footers):
            own = {field.name: field.type for field in footer.schema.to_arrow_schema()}
            if found and set(own) != set(found):
                odd = sorted(set(own) ^ set(found))
                raise InputError(
                    f"{path} and {self.paths[0]} differ in the columns {odd[:10]}: give tables of "
                    "the same measurements"
                )
            found = {name: _common(found.get(name), kind) for name, kind in own.items()}
        return found

    @cached_property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(footer.num_rows for footer in self._footers)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Measurements, in the order of the first file."""
        return tuple(name for name in self._order if self._measured(name))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """All other columns, in the order of the first file."""
        return tuple(name for name in self._order if not self._measured(name))

    @cached_property
    def _footers(self) -> tuple[Any, ...]:
        """What each file says about itself: with many row groups it takes long to read."""
        return tuple(_footer(path) for path in self.paths)

    @cached_property
    def _index(self) -> frozenset[str]:
        """Columns that were the index of a frame of pandas: they name rows, whatever they hold."""
        schemas = [footer.schema.to_arrow_schema() for footer in self._footers]
        told = [(schema.pandas_metadata or {}).get("index_columns", ()) for schema in schemas]
        # What is no name stands for row numbers, which are not stored.
        return frozenset(name for names in told for name in names if isinstance(name, str))

    @cached_property
    def _order(self) -> list[str]:
        return list(self._footers[0].schema.to_arrow_schema().names)

    def dtype(self, features: Sequence[str]) -> np.dtype[Any]:
        """float32 where it holds all of these, else float64; as `feature_matrix` has it."""
        small = (pa.float16(), pa.float32(), pa.int8(), pa.int16(), pa.uint8(), pa.uint16())
        single = all(self.schema[name] in small or _empty(self.schema[name]) for name in features)
        return np.dtype(np.float32 if single else np.float64)

    def frame(self, columns: Sequence[str]) -> pd.DataFrame:
        """Some columns of all rows; text as categories, which take little memory."""
        found: pd.DataFrame = self.table(columns).to_pandas(strings_to_categorical=True)
        return found

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all rows, as Arrow has them."""
        wanted = list(columns)
        kinds = pa.schema([pa.field(name, _plain(self.schema[name])) for name in wanted])
        parts = []
        for path, footer in zip(self.paths, self._footers):
            with pq.ParquetFile(path, metadata=footer) as file:
                parts.append(file.read(columns=wanted).select(wanted).cast(kinds))
        return pa.concat_tables(parts)

    def matrix(self, features: Sequence[str], out: Matrix | None = None) -> Matrix:
        """Some measurements of all rows as a column-major (N, F) matrix."""
        values = out
        if values is None:
            values = np.empty((self.rows, len(features)), self.dtype(features), order="F")

        def read(share: int) -> None:
            """Read every so many-th row group, with files of its own."""
            number, start = 0, 0
            for path, footer in zip(self.paths, self._footers):
                with pq.ParquetFile(path, metadata=footer, pre_buffer=False) as file:
                    for group in range(file.num_row_groups):
                        if number % self.threads == share:
                            part = file.read_row_group(
                                group, columns=list(features), use_threads=False
                            )
                            _fill(values, start, part, features)
                        number += 1
                        start += footer.row_group(group).num_rows

        run_side_by_side(read, self.threads)
        return values

    def column_batches(
        self, features: Sequence[str], memory: int
    ) -> Iterator[tuple[tuple[str, ...], Matrix]]:
        """Read measurements some columns at a time, in order.

        With several threads the next are read while these are worked on.

        Parameters
        ----------
        memory : bytes that batches may take

        Yields
        ------
        names, and a column-major matrix that is overwritten once the next one is asked for
        """
        kind, rooms = self.dtype(features), 1 if self.threads == 1 else 2
        width = max(1, memory // rooms // max(1, self.rows * kind.itemsize))
        parts = [tuple(features[at : at + width]) for at in range(0, len(features), width)]
        shape = (self.rows, min(width, len(features)))
        space = [np.empty(shape, kind, order="F") for _ in range(min(rooms, len(parts)))]

        def read(number: int) -> Matrix:
            names = parts[number]
            return self.matrix(names, space[number % len(space)][:, : len(names)])

        for number, values in _ahead(read, len(parts), rooms - 1):
            yield parts[number], values

    def rows_of(self, rows: NDArray[np.int64], features: Sequence[str], memory: int) -> Matrix:
        """Measurements of some rows, (M, F), read some columns at a time."""
        found = np.empty((len(rows), len(features)), self.dtype(features), order="F")
        at = 0
        for names, values in self.column_batches(features, memory):
            found[:, at : at + len(names)] = values[rows]
            at += len(names)
        return found

    def row_blocks(
        self, features: Sequence[str], size: int = ROW_GROUP, *, ahead: bool = False
    ) -> Iterator[tuple[int, Matrix]]:
        """Read measurements in blocks of rows of one size, wherever files and row groups end.

        Parameters
        ----------
        ahead : read the next block while this one is worked on

        Yields
        ------
        the first row, and a column-major matrix that the next block but one overwrites
        """
        blocks = self._blocks(features, size, 3 if ahead else 2)
        if not ahead:
            yield from blocks
            return
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(next, blocks, None)
            while (block := coming.result()) is not None:
                coming = pool.submit(next, blocks, None)
                yield block

    def _blocks(
        self, features: Sequence[str], size: int, rooms: int
    ) -> Iterator[tuple[int, Matrix]]:
        """Blocks of rows, in so many places by turns."""
        kind, start, fill = self.dtype(features), 0, 0
        shape = (min(size, self.rows), len(features))
        space = deque(np.empty(shape, kind, order="F") for _ in range(rooms))
        for part in self._parts(features):
            taken = 0
            while taken < part.num_rows:
                block = space[0]
                count = min(part.num_rows - taken, len(block) - fill)
                _fill(block, fill, part.slice(taken, count), features)
                taken, fill = taken + count, fill + count
                if fill == len(block):
                    yield start, block
                    start, fill = start + len(block), 0
                    space.rotate(-1)
                    if self.rows - start < len(block):
                        space[0] = np.empty((self.rows - start, len(features)), kind, order="F")

    def _parts(self, features: Sequence[str]) -> Iterator[Any]:
        for path, footer in zip(self.paths, self._footers):
            # Read ahead, all of the file would be in memory at once.
            with pq.ParquetFile(path, metadata=footer, pre_buffer=False) as file:
                yield from file.iter_batches(
                    batch_size=_DECODED, columns=list(features), use_threads=self.threads > 1
                )

    def _measured(self, name: str) -> bool:
        kind = self.schema[name]
        if name in self._index:
            return False
        if _empty(kind):
            return is_feature(name, np.dtype(float), image=self.image)
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        return numeric and is_feature(name, np.dtype(float), image=self.image)


class TableWriter:
    """Writes a table block by block under a temporary name, which it takes off at the end.

    Key columns come first, those of `Metadata_` before the others; text is stored once per block.
    """

    def __init__(self, path: Path | str, keys: pa.Table, features: Sequence[str]) -> None:
        """Begin a table with these keys of all rows, and measurements to come."""
        self.path = Path(path)
        names = sorted(keys.column_names, key=lambda n: not n.startswith(METADATA_PREFIX))
        self._keys = keys.select(names)
        self._features, self._row = list(features), 0
        self._partial = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.partial")
        self._writer: Any = None

    def __enter__(self) -> TableWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        if kind is None and self._writer is not None:
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)

    def write(self, values: Matrix) -> None:
        """Write the next rows."""
        from poolvox import __version__

        keys = self._keys.slice(self._row, len(values))
        columns = {name: _text(keys[name]) for name in keys.column_names}
        columns |= {
            name: pa.array(values[:, f], from_pandas=False) for f, name in enumerate(self._features)
        }
        # A measurement that is missing is NaN: no marks of missing ones need be kept beside.
        fields = [
            pa.field(name, column.type, nullable=name in self._keys.column_names)
            for name, column in columns.items()
        ]
        schema = pa.schema(fields, metadata={"poolvox": __version__})
        table = pa.table(list(columns.values()), schema=schema)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._partial,
                table.schema,
                compression=dict.fromkeys(table.column_names, "zstd")
                | dict.fromkeys(self._features, PACKED),
                # Measurements hardly ever repeat: looking for it costs more than all the rest.
                use_dictionary=self._keys.column_names,
                write_statistics=self._keys.column_names,
            )
        self._writer.write_table(table, row_group_size=max(1, len(values)))
        self._row += len(values)


def run_side_by_side(work: Callable[[int], None], threads: int) -> None:
    """Call with 0, 1, … in threads of their own; what goes wrong in one is raised."""
    if threads == 1:
        work(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def _ahead(read: Callable[[int], Matrix], count: int, ahead: int) -> Iterator[tuple[int, Matrix]]:
    """Call with 0, 1, …, as far ahead of what is used as may be."""
    if not ahead:
        yield from ((number, read(number)) for number in range(count))
        return
    with ThreadPoolExecutor(1) as pool:
        coming = [pool.submit(read, number) for number in range(min(ahead, count))]
        for number in range(count):
            values = coming.pop(0).result()
            if number + ahead < count:
                coming.append(pool.submit(read, number + ahead))
            yield number, values


def _footer(path: Path) -> Any:
    try:
        with pq.ParquetFile(path) as file:
            return file.metadata
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{path} is not a readable Parquet table: {error}") from error


def _empty(kind: Any) -> bool:
    return bool(pa.types.is_null(kind))


def _common(one: Any, other: Any) -> Any:
    """Smallest type that holds both: a column of nothing takes that of the other file."""
    if one is None or one == other or _empty(one):
        return other
    if _empty(other):
        return one
    numbers = [
        kind for kind in (one, other) if pa.types.is_integer(kind) or pa.types.is_floating(kind)
    ]
    if len(numbers) == 2:
        joint = np.promote_types(one.to_pandas_dtype(), other.to_pandas_dtype())
        return pa.from_numpy_dtype(joint)
    return _plain(one)


def _plain(kind: Any) -> Any:
    """Text of any encoding is text."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or _empty(kind):
        return pa.string()
    return kind


def is_text(kind: Any) -> bool:
    """Whether a column of that type holds text."""
    return bool(pa.types.is_string(_plain(kind)))


def _text(column: Any) -> Any:
    kind = column.type
    return column.cast(_plain(kind)) if _plain(kind) != kind else column


def _fill(values: Matrix, start: int, part: Any, features: Sequence[str]) -> None:
    """Copy columns of an Arrow table or batch; what is null becomes NaN."""
    whole = isinstance(part, pa.Table)
    for place, name in enumerate(features):
        column = part.column(name)
        at = start
        # Chunk by chunk: a column of several would be joined in memory first.
        for chunk in column.chunks if whole else (column,):
            values[at : at + len(chunk), place] = chunk.to_numpy(zero_copy_only=False)
            at += len(chunk)
