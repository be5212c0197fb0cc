"""Reads of two barcodes: which of them join barcodes that belong to different guides.

When template molecules switch, a cell carries the first barcode of one guide and the second of
another. Each half of such a read is in the library, but the pair is not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import ReadCalls, decode_reads
from poolvox.ops.library import Library
from poolvox.ops.mistakes import ErrorModel
from poolvox.ops.words import WordIndex, encode, pack
from poolvox.shared.errors import InputError

__all__ = ["find_recombined"]


def find_recombined(
    loglik: NDArray[np.float32], library: Library, calls: ReadCalls, model: ErrorModel
) -> pd.DataFrame:
    """Tell recombined reads from others.

    Parameters
    ----------
    loglik : (read, cycle, 4), from which `calls` were made
    library : with two barcodes per guide

    Returns
    -------
    One row per read: `Read_First` and `Read_Second`, the barcodes of the two halves (empty unless
    each is more likely than all else), and `Read_Recombined`, whether both are known, belong to no
    common guide, and the read was not called as a pair.

    Examples
    --------
    >>> frame = pd.DataFrame({"one": ["ACGTA", "TTGCC"], "two": ["GGATC", "CATAG"]})
    >>> from poolvox.ops.library import LibrarySpec, make_library
    >>> five = (1, 2, 3, 4, 5)
    >>> spec = LibrarySpec(file="l.csv", barcode=("one", "two"), cycles=(five, five))
    >>> library = make_library(frame, spec, 10)
    >>> shown = np.where(np.eye(4)[encode(["ACGTACATAG"])] > 0, 9, 0).astype(np.float32)
    >>> model = ErrorModel(np.full(10, 0.01))
    >>> calls = decode_reads(shown, Codebook.make(library), model)
    >>> find_recombined(shown, library, calls, model)["Read_Recombined"].tolist()
    [True]
    """
    if len(library.parts) != 2:
        raise InputError(
            f"the library has {len(library.parts)} barcode per guide, recombination is told from "
            "two: name both columns in `library.barcode`"
        )
    halves = [_half(loglik, library, k, model) for k in range(2)]
    known = (halves[0] != "") & (halves[1] != "")
    joined = np.where(known, halves[0] + halves[1], "A" * library.cycles)
    listed = WordIndex(pack(library.codes), library.cycles).find(pack(encode(joined.tolist()))) >= 0
    return pd.DataFrame(
        {
            "Read_First": halves[0],
            "Read_Second": halves[1],
            "Read_Recombined": known & ~listed & ~calls.called,
        }
    )


def _half(
    loglik: NDArray[np.float32], library: Library, part: int, model: ErrorModel
) -> NDArray[np.object_]:
    """Barcode of one half of every read, empty where it is not sure."""
    cycles = library.parts[part]
    book = Codebook.of(library.part(part))
    rates = ErrorModel(model.substitution[cycles], mapped=model.mapped)
    calls = decode_reads(np.ascontiguousarray(loglik[:, cycles]), book, rates)
    return np.where(calls.called, np.append(book.words, "")[calls.candidates[:, 0]], "")
