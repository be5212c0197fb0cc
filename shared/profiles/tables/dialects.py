"""How a text table is written: what parts its columns, and its decimals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from poolvox.shared.errors import InputError

__all__ = ["Dialect", "read_dialect", "read_text", "wrong_letters"]

# Between columns; the first of equally frequent ones is taken.
DELIMITERS: Final = (",", ";", "\t")
# Bytes of a file that tell.
BEGINNING: Final = 2**16


@dataclass(frozen=True, slots=True)
class Dialect:
    """What parts columns, and whole numbers from decimals."""

    delimiter: str
    decimal: str


def read_dialect(path: Path) -> Dialect:
    """Tell by the first lines, whatever the file is called: spreadsheets write as the country does.

    Where columns are not parted by commas, numbers such as `1,5` have decimals.
    """
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            text = stream.read(BEGINNING).decode("utf-8-sig", errors="replace")
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is not a readable table: {error}") from error
    # A comma in quotes parts nothing.
    header, *lines = re.sub(r'"[^"]*"', "", text).split("\n")
    delimiter = max(DELIMITERS, key=header.count)
    commas = re.compile(rf"(?:^|{delimiter})\s*[-+]?\d+,\d+(?:[eE][-+]?\d+)?\s*(?:{delimiter}|$)")
    decimals = delimiter != "," and any(commas.search(line) for line in lines)
    return Dialect(delimiter, "," if decimals else ".")


def wrong_letters(path: Path, error: Exception) -> InputError:
    """What to say of a text table in other letters than those of UTF-8."""
    return InputError(f"{path} is not written in UTF-8: save it so ({error})")


def read_text(path: Path, **options: Any) -> pd.DataFrame:
    """Read a text table that fits into memory, with options of `pandas.read_csv`."""
    dialect = read_dialect(path)
    try:
        table: pd.DataFrame = pd.read_csv(
            path, sep=dialect.delimiter, decimal=dialect.decimal, **options
        )
    except UnicodeDecodeError as error:
        raise wrong_letters(path, error) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path} is not a readable table: {error}") from error
    return table
