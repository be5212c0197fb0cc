"""What the columns of a folder of profiles mean."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from poolvox.shared.document import read_document
from poolvox.shared.profiles.tables.columns import is_feature

__all__ = ["describe_tables", "known_tables", "meaning_of"]

MEANINGS: Final = Path(__file__).parent / "meanings.yaml"
FEATURE: Final = "measurement, of which the dictionary of features tells"
KEY: Final = "key, as it came"


@cache
def _known() -> Any:
    return read_document(MEANINGS).data


def known_tables() -> tuple[str, ...]:
    """Name all tables that a folder of profiles may hold."""
    return tuple(_known()["tables"])


def meaning_of(column: str) -> str | None:
    """What a column is, if it is one of ours; names come before patterns.

    Examples
    --------
    >>> meaning_of("Metadata_Well")
    'well, such as A1'
    """
    known = _known()["columns"]
    if column in known:
        return str(known[column])
    return next((str(known[p]) for p in known if "*" in p and fnmatchcase(column, p)), None)


def describe_tables(paths: Mapping[str, Path]) -> pd.DataFrame:
    """List tables and the columns that are no features.

    Parameters
    ----------
    paths : files by name; those that are none of our tables, such as exports, are left out

    Returns
    -------
    `table`, `column` (empty for the table itself), `meaning`
    """
    tables = _known()["tables"]
    rows: list[tuple[str, str, str]] = []
    for name, path in sorted(paths.items()):
        if name not in tables or not path.is_file():
            continue
        rows.append((name, "", str(tables[name])))
        features = False
        for field in pq.read_schema(path):
            meaning = meaning_of(field.name)
            if meaning is None and _measured(field):
                features = True
                continue
            rows.append((name, field.name, meaning or KEY))
        if features:
            rows.append((name, "…", FEATURE))
    return pd.DataFrame(rows, columns=["table", "column", "meaning"])


def _measured(field: pa.Field) -> bool:
    # Not by the type of pandas: text that repeats has none that Arrow would name.
    number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    return number and is_feature(field.name, np.dtype(float))
