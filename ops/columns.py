"""The table of a library file, and a guess, for `init`, which of its columns hold what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poolvox.shared.errors import InputError

__all__ = ["LibraryColumns", "guess_columns", "read_library"]

# Words in the names of columns, the most telling first.
BARCODE_NAMES = ("barcode", "code", "tag", "sgrna", "guide", "spacer", "sequence")
GUIDE_NAMES = ("sgrna", "guide", "spacer", "name", "id")
GENE_NAMES = ("gene_symbol", "genesymbol", "symbol", "gene", "target", "name")
# How controls are called in the names of genes and guides; the first is the default.
CONTROL_NAMES = ("nontargeting", "negctrl", "negative", "ntc", "control", "scramble", "intergenic")
# A column is one of barcodes when so many of its values are.
MOSTLY = 0.9
MIN_LENGTH = 3
ROWS = 10_000


@dataclass(frozen=True)
class LibraryColumns:
    """Columns by what they hold; None where none was found."""

    barcode: str | None
    guide: str | None
    gene: str | None
    controls: str


def read_library(path: Path) -> pd.DataFrame:
    """Read the table of a library, all columns text; the separator is told from the first lines."""
    if not path.is_file():
        raise InputError(f"library {path} does not exist: correct `library.file`")
    try:
        return pd.read_csv(
            path, sep=None, engine="python", dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"library {path} cannot be read as CSV or TSV: {error}") from error


def guess_columns(frame: pd.DataFrame) -> LibraryColumns:
    """Guess the columns of a library.

    Parameters
    ----------
    frame : one row per guide, all columns text

    Examples
    --------
    >>> guess_columns(pd.DataFrame({"Name": ["Actb", "Th"], "Code": ["ACGT", "TTGC"]}))
    LibraryColumns(barcode='Code', guide=None, gene='Name', controls='nontargeting')
    """
    table = frame.head(ROWS).astype(str)
    spelled = [str(name) for name in table.columns if _is_barcode(table[name])]
    others = [str(name) for name in table.columns if name not in spelled]
    barcode = _named(spelled, BARCODE_NAMES) or next(iter(spelled), None)
    gene = _named(others, GENE_NAMES)
    # What names a gene names all of its guides alike.
    guide = _named(
        [*spelled, *(n for n in others if "gene" not in n.lower() and n != gene)], GUIDE_NAMES
    )
    names = [column for column in (gene, guide) if column is not None]
    return LibraryColumns(barcode, guide, gene, _controls(frame[names]))


def _is_barcode(column: pd.Series[str]) -> bool:
    given = column[column != ""]
    spelled = given.str.fullmatch(f"[ACGTUacgtu]{{{MIN_LENGTH},}}")
    return len(given) > 0 and bool(spelled.mean() >= MOSTLY)


def _named(columns: Iterable[str], words: Iterable[str]) -> str | None:
    columns = list(columns)
    for word in words:
        for column in columns:
            if word in re.sub(r"\W", "_", column.lower()):
                return column
    return None


def _controls(names: pd.DataFrame) -> str:
    text = "\n".join({re.sub(r"[-_ ]", "", str(name).lower()) for name in names.to_numpy().ravel()})
    found = (word for word in CONTROL_NAMES if re.search(rf"(?<![a-z]){word}", text))
    return next(found, CONTROL_NAMES[0])
