"""The table of a library file, and a guess, for `init`, which of its columns hold what."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poolvox.shared.errors import InputError

__all__ = ["LibraryColumns", "guess_columns", "read_library", "stands_apart"]

# Words in the names of columns, the most telling first.
BARCODE_NAMES = ("barcode", "ibar", "bc", "code", "tag", "sgrna", "guide", "spacer", "sequence")
GUIDE_NAMES = ("sgrna", "guide", "spacer", "name", "id")
GENE_NAMES = ("gene_symbol", "genesymbol", "symbol", "gene", "target", "name")
# How controls are called in the names of genes and guides; the first is the default.
CONTROL_NAMES = (
    *("nontargeting", "negctrl", "negcontrol", "negativecontrol", "ntc", "scramble"),
    *("intergenic", "safeharbor", "safetargeting"),
)
# Words that are taken only where there are none of those: what is in no genome, and at last what
# may mean positive controls, too.
SHORT_NAMES = ("nt", "luc", "egfp", "gfp", "lacz")
VAGUE_NAMES = ("negative", "control")
# Words of so many letters are parts of many names, so they have to stand apart from other letters.
SHORT_WORD = 4
# A column is one of barcodes when so many of its values are.
MOSTLY = 0.9
MIN_LENGTH = 3
ROWS = 10_000

# What may stand between the cells of a row; where several fit as well, the first is taken.
SEPARATORS = "\t;,| "
# Lines by which the separator is told, and the letters that a barcode in place of a name has.
LOOKED_AT = 50
SPELLED = r"[ACGTUacgtu]{6,}"
# Marks at the start of files, with the encoding that they stand for.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@dataclass(frozen=True)
class LibraryColumns:
    """Columns by what they hold; None where none was found."""

    barcode: str | None
    guide: str | None
    gene: str | None
    controls: tuple[str, ...]


def read_library(path: Path) -> pd.DataFrame:
    """Read the table of a library, as spreadsheets and scripts write them; all cells are text.

    Separator and encoding are told from the file; lines before the names of the columns that begin
    with #, empty rows at the end and empty columns are left out, and so are spaces round a cell.
    """
    if not path.is_file():
        raise InputError(f"library {path} does not exist: correct `library.file`")
    lines = _decoded(path).splitlines()
    start = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
    rows = _rows(lines[start:])
    if not rows:
        raise InputError(f"library {path} is empty: correct `library.file`")
    _refuse_ragged(path, rows)
    names = _headings(path, rows)
    frame = pd.DataFrame([row + [""] * (len(names) - len(row)) for row in rows[1:]], columns=names)
    unnamed = [name for name, given in zip(names, rows[0]) if not given and not any(frame[name])]
    return frame.astype(str).drop(columns=unnamed)


def _decoded(path: Path) -> str:
    """The text of a file in UTF-8, in UTF-16 with its mark, or in what Excel writes on Windows."""
    try:
        data = gzip.decompress(raw) if (raw := path.read_bytes())[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"library {path} cannot be read: {error}") from error
    if data.startswith(WORKBOOKS):
        raise InputError(f"library {path} is a workbook of Excel: save it as CSV there")
    marked = next((name for mark, name in MARKS if data.startswith(mark)), None)
    for encoding in (marked,) if marked else ("utf-8", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InputError(f"library {path} is no text: give a CSV or TSV file as `library.file`")


def _rows(lines: list[str]) -> list[list[str]]:
    """Rows of cells; those at the end that hold nothing are left out."""
    separator = max(SEPARATORS, key=lambda mark: _columns_by(mark, lines[:LOOKED_AT]))
    rows = [
        [cell.strip() for cell in row]
        for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=separator)
    ]
    while rows and not any(rows[-1]):
        rows.pop()
    return rows


def _columns_by(separator: str, lines: list[str]) -> tuple[bool, int]:
    """Whether all lines have one number of cells with this separator, and that of the first."""
    counts = [len(row) for row in csv.reader(lines, delimiter=separator) if any(row)]
    first = counts[0] if counts else 1
    return first > 1 and len(set(counts)) == 1, first if separator != " " else 0


def _headings(path: Path, rows: list[list[str]]) -> list[str]:
    """Names of the columns, each once; refuses a file that begins with a barcode."""
    for k, name in enumerate(rows[0]):
        below = [row[k] for row in rows[1:LOOKED_AT] if len(row) > k]
        if re.fullmatch(SPELLED, name) and all(re.fullmatch(SPELLED, cell) for cell in below):
            raise InputError(
                f"library {path} begins with a barcode, {name}: write a first line that names the "
                "columns, such as sgRNA,gene_symbol,barcode"
            )
    names: list[str] = []
    seen: Counter[str] = Counter()
    for k, given in enumerate(rows[0]):
        name = given or f"column {k + 1}"
        names.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def _refuse_ragged(path: Path, rows: list[list[str]]) -> None:
    width = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if any(row[width:]):
            raise InputError(
                f"library {path} cannot be read: row {number} has {len(row)} cells, the names of "
                f"the columns are {width} ({', '.join(rows[0])}): quote cells that hold separators"
            )
        del row[width:]


def guess_columns(frame: pd.DataFrame) -> LibraryColumns:
    """Guess the columns of a library.

    Parameters
    ----------
    frame : one row per guide, all columns text

    Examples
    --------
    >>> guess_columns(pd.DataFrame({"Name": ["Actb", "Th"], "Code": ["ACGT", "TTGC"]}))
    LibraryColumns(barcode='Code', guide=None, gene='Name', controls=('nontargeting',))
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
    spelled = given.str.fullmatch(f"[ACGTUNacgtun]{{{MIN_LENGTH},}}")
    return len(given) > 0 and bool(spelled.mean() >= MOSTLY)


def _named(columns: Iterable[str], words: Iterable[str]) -> str | None:
    columns = list(columns)
    for word in words:
        for column in columns:
            if word in re.sub(r"\W", "_", column.lower()):
                return column
    return None


def stands_apart(word: str) -> str:
    """Expression for a word of lower-case letters with no other letter beside it."""
    return rf"(?<![a-z]){re.escape(word)}(?![a-z])"


def _controls(names: pd.DataFrame) -> tuple[str, ...]:
    """Words that name controls: all the clear ones, else what can be meant."""
    told = {str(name).lower() for name in names.to_numpy().ravel()}
    left = {re.sub(r"[-_ ]", "", name) for name in told}
    found: list[str] = []
    for word in CONTROL_NAMES:
        named = {name for name in left if re.search(rf"(?<![a-z]){word}", name)}
        if named:
            found.append(word)
            left -= named
    if not found:
        short = [re.compile(stands_apart(word)) for word in SHORT_NAMES]
        found = [w for w, sought in zip(SHORT_NAMES, short) if any(map(sought.search, told))]
    if not found:
        vague = (w for w in VAGUE_NAMES if any(re.search(rf"(?<![a-z]){w}", n) for n in left))
        found = list(vague)[:1]
    return tuple(found) or CONTROL_NAMES[:1]
