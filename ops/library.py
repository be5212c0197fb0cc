"""The library: which barcode stands for which guide, cut to the cycles that were read.

Barcodes that cannot be told apart in those cycles share one word; the word stays in the library,
so that its reads are not taken for errors of another, but it names no single guide.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.columns import SHORT_WORD, read_library, stands_apart
from poolvox.ops.findings import DATE, LibraryReport, gather, note, note_words
from poolvox.ops.words import BASES, encode, nearest_distance, pack
from poolvox.shared.config import ConfigPath, Model
from poolvox.shared.errors import InputError

__all__ = [
    "Library",
    "LibraryReport",
    "LibrarySpec",
    "load_library",
    "make_library",
    "read_library",
]

# The bases of a barcode fit into one 64-bit word.
MAX_LENGTH = 32

Codes = NDArray[np.uint8]


class LibrarySpec(Model):
    """The `library` block of a configuration.

    `barcode` names one column, or two when each guide carries two barcodes. `cycles` lists the
    positions of the barcode (from 1) that were imaged, in order, one list per barcode column;
    without it the first cycles are taken. `controls` is looked for in the names of guides and
    genes, whatever their case, dashes and spaces; with `*` or `?` it stands for whole names, and up
    to four letters, as in `NT`, stand apart from other letters. There may be several.
    """

    file: ConfigPath
    barcode: str | tuple[str, str] = "barcode"
    guide: str | None = None
    gene: str | None = None
    controls: str | tuple[str, ...] = "nontargeting"
    cycles: tuple[int, ...] | tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the barcode columns, one or two."""
        return (self.barcode,) if isinstance(self.barcode, str) else self.barcode


@dataclass(frozen=True)
class Library:
    """Words to look for, and what they stand for. All arrays have one entry per word.

    Parameters
    ----------
    codes : (word, cycle) uint8, 0 to 3 for A, C, G, T
    next_base : (word,) int8, the base behind the last cycle, -1 where it is unknown; a read that
        lost a base ends with it
    words, guides, genes : (word,) strings; guide and gene are empty where a word stands for several
    ambiguous : (word,) whether several guides share the word
    controls : (word,) whether guide or gene is a control
    entries : the rows of the file in use: row, barcode, guide, gene, word (index)
    parts : cycles of each barcode, as slices of the word; two for a library of pairs
    contiguous : whether the cycles follow each other without a gap
    """

    codes: Codes
    next_base: NDArray[np.int8]
    words: NDArray[np.object_]
    guides: NDArray[np.object_]
    genes: NDArray[np.object_]
    ambiguous: NDArray[np.bool_]
    controls: NDArray[np.bool_]
    entries: pd.DataFrame
    report: LibraryReport
    parts: tuple[slice, ...] = (slice(None),)
    contiguous: bool = True

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def cycles(self) -> int:
        """Number of cycles of a word."""
        return int(self.codes.shape[1])

    @property
    def paired(self) -> bool:
        """Whether each guide has two barcodes."""
        return len(self.parts) == 2

    def part(self, index: int) -> Codes:
        """Different words of one of the two barcodes of a library of pairs, (word, cycle)."""
        codes: Codes = np.unique(self.codes[:, self.parts[index]], axis=0)
        return codes


def load_library(spec: LibrarySpec, cycles: int, *, root: Path | None = None) -> Library:
    """Read a CSV or TSV library and cut its barcodes to `cycles` cycles.

    Parameters
    ----------
    root : folder that a relative `spec.file` is relative to
    """
    path = spec.file if root is None else root / spec.file
    return make_library(read_library(path), spec, cycles)


def make_library(frame: pd.DataFrame, spec: LibrarySpec, cycles: int) -> Library:
    """Make a library from a table.

    Parameters
    ----------
    frame : one row per guide, with the columns that `spec` names
    cycles : number of imaged cycles

    Examples
    --------
    >>> table = pd.DataFrame({"barcode": ["ACGT", "ACGA", "TTTT"]})
    >>> library = make_library(table, LibrarySpec(file="library.csv"), 3)
    >>> library.words.tolist(), library.ambiguous.tolist()
    (['ACG', 'TTT'], [True, False])
    """
    _require_columns(frame, spec)
    positions = _positions(spec, cycles)
    table, problems = _clean(frame, spec, positions)
    codes = np.hstack([encode(table[f"cut_{i}"].tolist()) for i in range(len(positions))])
    return _assemble(table, codes, problems, positions, spec)


def _require_columns(frame: pd.DataFrame, spec: LibrarySpec) -> None:
    named = {"barcode": spec.columns, "guide": (spec.guide,), "gene": (spec.gene,)}
    for key, columns in named.items():
        for column in columns:
            if column is not None and column not in frame.columns:
                have = ", ".join(map(str, frame.columns))
                raise InputError(
                    f"the library has no column {column!r}; it has {have}: correct `library.{key}`"
                )


def _positions(spec: LibrarySpec, cycles: int) -> list[tuple[int, ...]]:
    """Positions (from 0) of each barcode column, in the order in which they were imaged."""
    given = spec.cycles
    pair = len(spec.columns) == 2
    if given is None:
        if pair:
            raise InputError(
                "a library of two barcodes needs `library.cycles`: two lists, the positions of "
                "each barcode that were read"
            )
        return [tuple(range(cycles))]
    lists = _lists(given)
    if len(lists) != len(spec.columns):
        raise InputError(
            f"`library.cycles` has {len(lists)} lists for {len(spec.columns)} barcode columns: "
            "give one list of positions for each column"
        )
    flat = [p for part in lists for p in part]
    if (
        len(flat) != cycles
        or any(p < 1 for p in flat)
        or any(list(p) != sorted(set(p)) for p in lists)
    ):
        raise InputError(
            f"`library.cycles` is {given} and the images have {cycles} cycles: it must list one "
            "position (from 1, rising) for each imaged cycle"
        )
    return [tuple(p - 1 for p in part) for part in lists]


def _lists(
    given: tuple[int, ...] | tuple[tuple[int, ...], tuple[int, ...]],
) -> list[tuple[int, ...]]:
    flat = tuple(p for p in given if isinstance(p, int))
    return [flat] if flat else [p for p in given if not isinstance(p, int)]


def _clean(
    frame: pd.DataFrame, spec: LibrarySpec, positions: list[tuple[int, ...]]
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Rows that can be used, with barcodes cut, and what was found."""
    table = pd.DataFrame({"row": np.arange(1, len(frame) + 1)})
    problems: list[pd.DataFrame] = []
    usable = pd.Series(True, index=table.index)
    for i, (column, part) in enumerate(zip(spec.columns, positions, strict=True)):
        raw = frame[column].fillna("").astype(str).reset_index(drop=True)
        text = raw.str.replace(r"[\s\-]", "", regex=True)
        note(problems, table, raw, text != raw, "spaces", "spaces or dashes were removed")
        note(problems, table, raw, text.str.upper() != text, "lower case", "read as upper case")
        text = text.str.upper()
        note(problems, table, raw, text.str.contains("U"), "U", "read as T")
        text = text.str.replace("U", "T")
        empty = text == ""
        illegal = ~empty & ~text.str.fullmatch("[ACGT]*")
        short = ~empty & ~illegal & (text.str.len() <= max(part))
        note(problems, table, raw, empty, "empty", "no barcode")
        note(problems, table, raw, illegal, "letters", "letters other than A, C, G, T")
        note(problems, table, raw, short, "length", f"shorter than {max(part) + 1} cycles")
        usable &= ~(empty | illegal | short)
        table[f"text_{i}"] = text
        table[f"cut_{i}"] = [
            "".join(t[p] for p in part) if ok else "" for t, ok in zip(text, usable)
        ]
    lengths = table.loc[usable, "text_0"].str.len()
    odd = usable & (table["text_0"].str.len() != (lengths.mode().iloc[0] if len(lengths) else 0))
    note(problems, table, table["text_0"], odd, "lengths differ", "not as long as the others")
    for name in ("guide", "gene"):
        source = getattr(spec, name)
        values = table["text_0"] if source is None else frame[source].reset_index(drop=True)
        table[name] = "" if source is None and name == "gene" else values.fillna("").astype(str)
        dated = table[name].str.fullmatch(DATE, case=False)
        note(problems, table, table["text_0"], dated, "dates", f"the {name} looks like a date")
    _refuse_unusable(table, usable, problems, positions)
    return table[usable].reset_index(drop=True), problems


def _refuse_unusable(
    table: pd.DataFrame,
    usable: pd.Series[bool],
    problems: list[pd.DataFrame],
    positions: list[tuple[int, ...]],
) -> None:
    """A library of which most rows are too short or no barcodes is the wrong file or column."""
    if usable.sum() * 2 > len(table):
        return
    kinds = pd.concat(problems)["kind"].value_counts() if problems else pd.Series({"rows": 0})
    worst = kinds[kinds.index.isin(["empty", "letters", "length"])]
    reason = str(worst.index[0]) if len(worst) else "empty"
    cycles = sum(map(len, positions))
    advice = {
        "length": (
            f"barcodes are shorter than the {cycles} cycles: give `library.cycles`, or take fewer "
            "with `cycles` beside the `files` of the images"
        ),
        "letters": (
            "barcodes have letters other than A, C, G, T: is `library.barcode` the right column?"
        ),
        "empty": "there are no barcodes: is `library.barcode` the right column?",
    }[reason]
    raise InputError(
        f"only {usable.sum()} of {len(table)} rows of the library can be used; {advice}"
    )


def _assemble(
    table: pd.DataFrame,
    codes: Codes,
    problems: list[pd.DataFrame],
    positions: list[tuple[int, ...]],
    spec: LibrarySpec,
) -> Library:
    if codes.shape[1] > MAX_LENGTH:
        raise InputError(f"{codes.shape[1]} cycles were given, at most {MAX_LENGTH} can be decoded")
    _, first, word = np.unique(pack(codes), return_index=True, return_inverse=True)
    # Words keep the order of the file, not that of their letters.
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    word, first = rank[word], first[order]
    table = table.assign(word=word)
    groups = table.groupby("word", sort=True)
    shared = (groups["guide"].nunique() > 1).to_numpy()
    guides = np.where(shared, "", groups["guide"].first().to_numpy(object))
    one_gene = (groups["gene"].nunique() == 1).to_numpy()
    genes = np.where(one_gene, groups["gene"].first().to_numpy(object), "")
    unique = codes[first]
    words = _joined(table, len(positions))
    distance = nearest_distance(unique)
    note_words(problems, table, words, distance, shared[word], groups["row"].transform("size") > 1)
    control = _is_control(table["guide"], spec) | _is_control(table["gene"], spec)
    ends = np.cumsum([0, *map(len, positions)])
    report = LibraryReport(
        len(table), len(unique), int(distance.min()) if len(unique) > 1 else 0, gather(problems)
    )
    return Library(
        codes=unique,
        next_base=_next_base(table, first, positions),
        words=words.to_numpy(object)[first],
        guides=guides,
        genes=genes,
        ambiguous=shared,
        controls=control.groupby(table["word"]).all().to_numpy(bool),
        entries=table[["row", "text_0", "guide", "gene", "word"]].rename(
            columns={"text_0": "barcode"}
        ),
        report=report,
        parts=tuple(slice(int(a), int(b)) for a, b in pairwise(ends)),
        contiguous=len(positions) == 1
        and positions[0] == tuple(range(positions[0][0], positions[0][0] + len(positions[0]))),
    )


def _is_control(names: pd.Series[str], spec: LibrarySpec) -> pd.Series[bool]:
    asked = (spec.controls,) if isinstance(spec.controls, str) else spec.controls
    flat = names.map(_plain)
    found = pd.Series(False, names.index)
    for text in filter(None, map(_plain, asked)):
        # A pattern stands for the whole name, a word for any part of it.
        if set(text) & set("*?"):
            found |= flat.str.fullmatch(fnmatch.translate(text))
        elif len(text) <= SHORT_WORD:
            found |= names.str.lower().str.contains(stands_apart(text), regex=True)
        else:
            found |= flat.str.contains(text, regex=False)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def _joined(table: pd.DataFrame, parts: int) -> pd.Series[str]:
    words = table["cut_0"]
    for i in range(1, parts):
        words = words + table[f"cut_{i}"]
    return words


def _next_base(
    table: pd.DataFrame, first: NDArray[np.intp], positions: Sequence[tuple[int, ...]]
) -> NDArray[np.int8]:
    last = len(positions) - 1
    place = positions[last][-1] + 1
    texts = table[f"text_{last}"].to_numpy(object)[first]
    return np.array([BASES.index(t[place]) if len(t) > place else -1 for t in texts], np.int8)
