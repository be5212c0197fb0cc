"""What is odd about a library, row by row: what is left out, and what is used with doubts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.words import BASES

__all__ = ["LibraryReport", "gather", "note", "note_words"]

# A run of one base longer than this is reported: it is read with more errors than others.
MAX_HOMOPOLYMER = 4
# Barcodes closer than this turn into each other with a single wrong base.
MIN_DISTANCE = 2
# Rows that the text of a report names for each kind of problem.
NAMED_ROWS = 5
# What is said of the rows of each kind, the gravest first.
KINDS = {
    "empty": "left out: no barcode",
    "letters": "left out: letters other than A, C, G, T",
    "length": "left out: fewer bases than cycles",
    "ambiguous": "several guides share the bases that were read: their cells get no guide",
    "duplicate": "the same guide twice",
    "low distance": "one wrong base makes another barcode of the library",
    "lengths differ": "not as long as most barcodes",
    "homopolymer": f"a run of more than {MAX_HOMOPOLYMER} of one base, which is read badly",
    "dates": "a name like a date: Excel may have changed it",
    "spaces": "spaces and dashes in the barcode were taken out",
    "lower case": "read as upper case",
    "U": "U was read as T",
}
DATE = r"\d{1,2}-(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"


@dataclass(frozen=True)
class LibraryReport:
    """What is odd about a library: one row per finding, and the same as text.

    `problems` has the columns row (of the file, from 1), barcode, kind, detail. Rows of kind
    `letters`, `empty` and `length` are not used; the others are.
    """

    rows: int
    words: int
    min_distance: int
    problems: pd.DataFrame

    def count(self, kind: str) -> int:
        """How many rows have a problem of this kind."""
        return int((self.problems["kind"] == kind).sum())

    def summary(self) -> pd.DataFrame:
        """One row per kind of finding: how many rows of the library, which, and what it means."""
        counts = self.problems["kind"].value_counts()
        kinds = [kind for kind in KINDS if kind in counts]
        rows = {kind: self.problems.loc[self.problems["kind"] == kind, "row"] for kind in kinds}
        return pd.DataFrame(
            {
                "rows": [int(counts[kind]) for kind in kinds],
                "what": [KINDS[kind] for kind in kinds],
                "which": [_shown(rows[kind].tolist()) for kind in kinds],
            }
        )

    def __str__(self) -> str:
        head = f"{self.rows} rows, {self.words} different words, least distance {self.min_distance}"
        lines = [head]
        for kind, group in self.problems.groupby("kind", sort=True):
            shown = ", ".join(
                f"row {r.row} ({r.detail})" for r in group.head(NAMED_ROWS).itertuples()
            )
            more = f" and {len(group) - NAMED_ROWS} more" if len(group) > NAMED_ROWS else ""
            lines.append(f"{kind}: {len(group)} - {shown}{more}")
        return "\n".join(lines)


def _shown(rows: list[int]) -> str:
    more = ["…"] if len(rows) > NAMED_ROWS else []
    return ", ".join([*map(str, rows[:NAMED_ROWS]), *more])


def note(
    problems: list[pd.DataFrame],
    table: pd.DataFrame,
    barcodes: pd.Series[str],
    where: pd.Series[bool],
    kind: str,
    detail: str | pd.Series[str],
) -> None:
    """Add the rows `where` something of this kind was found."""
    if where.any():
        found = pd.DataFrame(
            {"row": table["row"], "barcode": barcodes, "kind": kind, "detail": detail}
        )
        problems.append(found[where])


def note_words(
    problems: list[pd.DataFrame],
    table: pd.DataFrame,
    words: pd.Series[str],
    distance: NDArray[np.int64],
    shared: NDArray[np.bool_],
    repeated: pd.Series[bool],
) -> None:
    """Words that several rows share, that are close to another, or that repeat one base."""
    where = pd.Series(shared, index=table.index)
    note(problems, table, words, where, "ambiguous", "several guides share word " + words)
    note(problems, table, words, repeated & ~where, "duplicate", "the same guide twice, " + words)
    near = distance[table["word"].to_numpy()]
    close = pd.Series(near < MIN_DISTANCE, index=table.index)
    note(problems, table, words, close, "low distance", "one base from another word, " + words)
    runs = words.str.contains("|".join(base * (MAX_HOMOPOLYMER + 1) for base in BASES))
    note(problems, table, words, runs, "homopolymer", "a run of one base, " + words)


def gather(problems: list[pd.DataFrame]) -> pd.DataFrame:
    """All findings as one table, by kind and row."""
    if not problems:
        return pd.DataFrame({"row": [], "barcode": [], "kind": [], "detail": []})
    return pd.concat(problems).sort_values(["kind", "row"], kind="stable").reset_index(drop=True)
