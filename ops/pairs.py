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

__all__ = ["find_recombined", "flag_recombined"]

# A cell joins two guides when more than this share of its reads of known pairs do.
MOST = 0.5


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
    One row per read: `Read_BarcodeA` and `Read_BarcodeB`, the barcodes of the two halves (empty
    unless each is more likely than all else), and `Read_Recombined`, whether both are known,
    belong to no common guide, and the read was not called as a pair.

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
    if not library.paired:
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
            "Read_BarcodeA": halves[0],
            "Read_BarcodeB": halves[1],
            "Read_Recombined": known & ~listed & ~calls.called,
        }
    )


def flag_recombined(
    cells: pd.DataFrame, reads: pd.DataFrame, labels: NDArray[np.integer]
) -> pd.DataFrame:
    """Tell which cells joined the barcodes of two guides.

    Parameters
    ----------
    cells : from `call_cells`
    reads : with `Read_Barcode`, and `Read_Recombined` from `find_recombined`
    labels : (read,) cell that each read lies in, 0 outside

    Returns
    -------
    `cells` with `Call_RecombinedReads`, and `Call_Recombined` where these are more than half of
    the reads that show a pair, of one guide or of two.
    """
    label = cells["Metadata_Label"].to_numpy()
    size = int(max(label.max(initial=0), labels.max(initial=0))) + 1
    joined = reads["Read_Recombined"].to_numpy(bool)
    known = joined | (reads["Read_Barcode"] != "").to_numpy(bool)
    number, total = (np.bincount(labels[of], minlength=size)[label] for of in (joined, known))
    return cells.assign(Call_RecombinedReads=number, Call_Recombined=number > MOST * total)


def _half(
    loglik: NDArray[np.float32], library: Library, part: int, model: ErrorModel
) -> NDArray[np.object_]:
    """Barcode of one half of every read, empty where it is not sure."""
    cycles = library.parts[part]
    book = Codebook.of(library.part(part))
    rates = ErrorModel(model.substitution[cycles], mapped=model.mapped)
    calls = decode_reads(np.ascontiguousarray(loglik[:, cycles]), book, rates)
    return np.where(calls.called, np.append(book.words, "")[calls.candidates[:, 0]], "")
