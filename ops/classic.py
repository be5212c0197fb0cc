"""The published chain of optical pooled screens, for comparison and parity.

Laplacian of Gaussian, standard deviation over cycles, local maxima; crosstalk from medians; the
brightest channel is the base; only exact matches count; a cell has its most frequent barcode
(Feldman et al. 2019, doi:10.1016/j.cell.2019.09.016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.ops.chemistry import Chemistry
from poolvox.ops.library import Library
from poolvox.ops.words import decode_words
from poolvox.shared.errors import InputError

__all__ = [
    "ClassicCorrection",
    "classic_cells",
    "classic_peaks",
    "classic_reads",
    "classic_spots",
    "estimate_classic",
]

LOG_SIGMA = 1.0
MAXIMUM_WIDTH = 3
PEAK_WINDOW = 5
# Images of the published chain are 16-bit integers.
LARGEST = 65535

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassicCorrection:
    """What the chain divides by and unmixes with.

    Parameters
    ----------
    gain : (4,) median of each channel, in the order A, C, G, T; ones for none
    crosstalk : (4, 4) light in each channel (rows) of each base (columns), columns of sum 1
    """

    gain: Floats
    crosstalk: Floats


def classic_spots(
    images: NDArray[np.integer],
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Filter aligned images as the chain does.

    Parameters
    ----------
    images : (cycle, channel, Y, X) base channels, aligned

    Returns
    -------
    light : (cycle, channel, Y, X) Laplacian of Gaussian, cut to 16 bits, maximum of 3 x 3 pixels
    spread : (Y, X) sd over cycles before the maximum, mean of channels
    """
    sharp = np.empty(images.shape, np.uint16)
    light = np.empty(images.shape, np.uint16)
    for index in np.ndindex(*images.shape[:2]):
        plane = -ndimage.gaussian_laplace(images[index].astype(float), LOG_SIGMA)
        sharp[index] = np.clip(plane, 0, LARGEST)
        light[index] = ndimage.maximum_filter(sharp[index], MAXIMUM_WIDTH)
    return light, sharp.std(axis=0).mean(axis=0)


def classic_peaks(spread: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """Pixels that are the largest of their 5 x 5 window, and stand out by more than `threshold`.

    Returns
    -------
    (peak, 2) rows and columns; the outermost 5 pixels have none
    """
    high = ndimage.maximum_filter(spread, PEAK_WINDOW)
    low = ndimage.minimum_filter(spread, PEAK_WINDOW)
    peak = np.where(spread == high, high - low, 0.0)
    edge = np.zeros(spread.shape, bool)
    edge[PEAK_WINDOW:-PEAK_WINDOW, PEAK_WINDOW:-PEAK_WINDOW] = True
    return np.argwhere(edge & (peak > threshold))


def estimate_classic(bases: NDArray[np.floating], chemistry: Chemistry) -> ClassicCorrection:
    """Medians of the channels, and crosstalk from the medians of the brightest channel's reads.

    Parameters
    ----------
    bases : (read, cycle, channel) of the reads that count, usually those in cells
    """
    light = _ordered(bases, chemistry).reshape(-1, 4)
    gain = np.maximum(np.median(light, axis=0), 1e-9)
    scaled = light / gain
    brightest = scaled.argmax(axis=1)
    columns = []
    for base in range(4):
        rows = scaled[brightest == base]
        # A channel that is never the brightest keeps its own light, as without crosstalk.
        columns.append(np.median(rows, axis=0) if len(rows) else np.eye(4)[base])
    crosstalk = np.stack(columns, axis=1)
    return ClassicCorrection(gain, crosstalk / crosstalk.sum(axis=0))


def classic_reads(
    bases: NDArray[np.floating],
    chemistry: Chemistry,
    correction: ClassicCorrection,
    library: Library | None = None,
) -> pd.DataFrame:
    """Call the brightest channel of every cycle.

    Parameters
    ----------
    bases : (read, cycle, channel)

    Returns
    -------
    `Read_Sequence`, `Read_Barcode` (the sequence where the library has it, or empty) and
    `Read_Quality_1` … between 0 and 1, from the ratio of the logarithms of the two brightest
    """
    light = _ordered(bases, chemistry) / correction.gain
    unmixed = np.trunc(light @ np.linalg.inv(correction.crosstalk).T)
    called = unmixed.argmax(axis=2).astype(np.uint8)
    ordered = np.abs(np.sort(unmixed, axis=2))
    ratio = np.log(2 + ordered[..., -2]) / np.log(2 + ordered[..., -1])
    quality = np.clip(2 * (1 - ratio), 0, 1)
    sequence = decode_words(called)
    barcode = (
        sequence if library is None else np.where(np.isin(sequence, library.words), sequence, "")
    )
    columns = {f"Read_Quality_{t + 1}": quality[:, t] for t in range(quality.shape[1])}
    return pd.DataFrame({"Read_Sequence": sequence, "Read_Barcode": barcode, **columns})


def classic_cells(
    reads: pd.DataFrame, labels: NDArray[np.integer], library: Library
) -> pd.DataFrame:
    """The most frequent barcode of each cell, those of the library before others.

    Parameters
    ----------
    reads : from `classic_reads`
    labels : (read,) cell of each read, 0 outside

    Returns
    -------
    One row per cell that has a read, with the columns of `cells.parquet` that the chain knows. Of
    barcodes with equal counts the alphabetically first comes first, as published; `Call_Tied`
    marks these.
    """
    table = pd.DataFrame({"cell": labels, "word": reads["Read_Sequence"].to_numpy(object)})
    table = table[table["cell"] > 0]
    counts = table.groupby(["cell", "word"], sort=True).size().rename("count").reset_index()
    counts["mapped"] = counts["word"].isin(library.words)
    counts = counts.sort_values(
        ["cell", "mapped", "count", "word"], ascending=[True, False, False, True], kind="stable"
    )
    rank = counts.groupby("cell").cumcount()
    first = counts[rank == 0].set_index("cell")
    second = counts[rank == 1].set_index("cell").reindex(first.index)
    place = pd.Series(np.arange(len(library)), index=library.words)
    word = first["word"].map(place).fillna(-1).astype(int).to_numpy()
    tied = (second["count"] == first["count"]) & (second["mapped"] == first["mapped"])
    return pd.DataFrame(
        {
            "Metadata_Label": first.index.to_numpy(),
            "Metadata_Barcode": np.where(first["mapped"], first["word"], ""),
            "Metadata_Guide": np.append(library.guides, "")[word],
            "Metadata_Gene": np.append(library.genes, "")[word],
            "Call_Barcode": first["word"].to_numpy(object),
            "Call_Reads": first["count"].to_numpy(),
            "Call_ReadsTotal": counts.groupby("cell")["count"].sum().to_numpy(),
            "Call_SecondBarcode": second["word"].fillna("").to_numpy(object),
            "Call_SecondReads": second["count"].fillna(0).astype(int).to_numpy(),
            "Call_Tied": tied.to_numpy(bool),
        }
    )


def _ordered(bases: NDArray[np.floating], chemistry: Chemistry) -> Floats:
    """Channels in the order A, C, G, T."""
    code = chemistry.code
    if code.shape != (4, 4) or not np.array_equal(np.sort(code.argmax(axis=1)), np.arange(4)):
        raise InputError(
            "the classic chain knows four colours only: use `decode: {method: poolvox}` for "
            f"chemistries with {code.shape[1]} channels"
        )
    return np.asarray(bases, float)[..., code.argmax(axis=1)]
