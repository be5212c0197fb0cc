"""Cells that have no label: their reads lie in and round others, and must not be taken for theirs.

Two nuclei that were found as one, a dim one that was not found: reads of such a cell lie together,
but not round the cell that they seem to belong to. For each barcode of a cell two explanations are
weighed: that the cell carries it, so that its reads lie in its shape, and that an unseen one does,
whose middle may be anywhere. How many unseen cells there are the tile tells: in most of a cell's
second barcodes the reads lie apart from those of the first, or among them; and a label that holds
two is larger than most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.ops.callers import BARCODES, Entries, Others, cell_gains

__all__ = ["Spread", "Unseen", "how_large", "measure_spread"]

# Share of all cells where the search for unseen ones starts, and the cells that hold it there.
START_SHARE, PRIOR_CELLS = 0.005, 20.0
# Steps of the share of unseen cells in each round.
STEPS = 30
# Reads of a barcode above which they are several.
SEVERAL = 1.5
# Degrees of freedom of the logarithms of sizes (Student's t), and their least spread.
TAILS, LEAST_WIDTH = 5, 0.1
# Reads that hold the spread of a cell's reads where it starts.
PRIOR_READS = 20.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Where the reads of each barcode of a cell lie; arrays are (cell, BARCODES).

    Parameters
    ----------
    reads : how many there are
    squares : sum of squared distances from their middle, in square pixels
    held : log-density, per square pixel, of their places if the cell carries the barcode
    """

    reads: Floats
    squares: Floats
    held: Floats


@dataclass(frozen=True)
class Unseen:
    """How many cells have no label, and how far the reads of a cell lie apart.

    Parameters
    ----------
    beside : unseen cells per square pixel
    merged : share of the labels that hold two cells
    variance : of the places of a cell's reads along an axis, in square pixels
    """

    beside: float
    merged: float
    variance: float

    @classmethod
    def start(cls, cells: int, room: float, area: float) -> Unseen:
        """A few of both; each as large as the mean cell, of `room` square pixels."""
        return cls(START_SHARE * max(cells, 1) / area, START_SHARE, max(room, 1.0) / (4 * np.pi))

    def apart(self, spread: Spread) -> Floats:
        """(cell, BARCODES) chance of the places of a barcode's reads if they lie round a middle of
        their own, which may be anywhere, over that if they lie in the shape of the cell.
        """
        reads = np.maximum(spread.reads, 1.0)
        together = -(reads - 1) * np.log(2 * np.pi * self.variance) - np.log(reads)
        together -= spread.squares / (2 * self.variance)
        # A lone read may be anybody's: those of no cell stand for it.
        several = np.clip(spread.reads - 1, 0.0, 1.0)
        return np.asarray(several * np.exp(np.clip(together - spread.held, -100, 100)))

    def beside_glow(
        self, glow: Floats, spread: Spread, inner: Floats, room: Floats, words: int
    ) -> Others:
        """Chances that the barcodes of cells are not their own.

        Parameters
        ----------
        glow : (cell, BARCODES) chance that the barcode is glow
        inner, room : (cell,) `inside`, and square pixels of the label
        words : of the codebook
        """
        apart = self.apart(spread)
        unseen = np.minimum(apart * ((inner + self.beside) / words)[:, None], 1.0)
        # Of two cells in a label either is the one that is meant, hence twice.
        return Others(glow, unseen, apart * np.sqrt(2 * inner / words / room)[:, None])

    def inside(self, large: Floats, room: Floats) -> Floats:
        """(cell,) unseen cells per square pixel within each label.

        Parameters
        ----------
        large : (cell,) see `how_large`
        room : (cell,) square pixels of the label
        """
        return np.asarray(self.merged * large / room)

    def update(
        self, spread: Spread, carried: Floats, shown: Floats, inner: Floats, area: float
    ) -> Unseen:
        """Learn from what was found.

        Parameters
        ----------
        carried, shown : (cell, BARCODES) posteriors that a barcode is the cell's, an unseen one's
        inner : (cell,) `inside`
        area : square pixels of the tile
        """
        cells = max(len(carried), 1)
        several = spread.reads > SEVERAL
        # Cells with a barcode tell how many have more reads than one.
        part = float(carried[several].sum() + PRIOR_CELLS) / float(carried.sum() + PRIOR_CELLS)
        chance = shown[several]
        in_label = np.broadcast_to((inner / (inner + self.beside))[:, None], shown.shape)[several]
        parts = np.stack([1 - in_label, in_label])
        held = np.array([self.beside * area / cells, self.merged])
        share = held
        # A step of the whole goes but a little way, as each cell tells little.
        for _ in range(STEPS):
            odds = (share / held)[:, None] * parts * chance
            found = (odds / (1 - chance + odds.sum(axis=0))).sum(axis=1) / part
            share = (found + START_SHARE * PRIOR_CELLS) / (cells + PRIOR_CELLS)
        free = np.maximum(spread.reads - 1, 0) * carried
        squares = float((spread.squares * carried)[free > 0].sum())
        variance = squares + 2 * PRIOR_READS * self.variance
        variance /= 2 * (float(free.sum()) + PRIOR_READS)
        return Unseen(float(share[0]) * cells / area, float(share[1]), variance)


def how_large(sizes: NDArray[np.integer]) -> Floats:
    """(cell,) chance of each size if a label holds two cells, over that if it holds one.

    Sizes of single ones are spread as most labels are, those of two as sums of two of them.
    """
    logs = np.log(np.maximum(sizes, 1) / max(float(np.median(sizes)) if len(sizes) else 1.0, 1.0))
    width = max(1.4826 * float(np.median(np.abs(logs))) if len(logs) else 0.0, LEAST_WIDTH)
    narrow = width / np.sqrt(2)
    one, two = logs / width, np.minimum(logs - np.log(2), 0) / narrow
    # Of densities of Student's t, whose constants cancel.
    ratio = ((1 + one**2 / TAILS) / (1 + two**2 / TAILS)) ** ((TAILS + 1) / 2)
    return np.asarray(ratio * width / narrow)


@njit(cache=True, nogil=True)
def _measure(tile, total, own, expected, places):  # type: ignore[no-untyped-def]
    n = len(tile.start) - 1
    reads = np.zeros((n, BARCODES))
    squares, held = np.zeros((n, BARCODES)), np.zeros((n, BARCODES))
    for c in range(n):
        if tile.barcode[c, 0] < 0 or expected[c] <= 0:
            continue
        gain = cell_gains(c, tile, total, own)
        for g in range(BARCODES):
            y, x, count = 0.0, 0.0, 0.0
            for i in range(gain.shape[1]):
                r, weight = tile.read[tile.start[c] + i], gain[g, i] / (1 + gain[g, i])
                y += weight * places[r, 0]
                x += weight * places[r, 1]
                count += weight
            if count < 1e-6:
                continue
            y, x = y / count, x / count
            # Less than a read is a whole one that may be another's.
            scale = max(1.0 / count, 1.0)
            reads[c, g] = count * scale
            for i in range(gain.shape[1]):
                e = tile.start[c] + i
                r, weight = tile.read[e], scale * gain[g, i] / (1 + gain[g, i])
                squares[c, g] += weight * ((places[r, 0] - y) ** 2 + (places[r, 1] - x) ** 2)
                held[c, g] += weight * np.log(tile.density[e] / expected[c])
    return reads, squares, held


def measure_spread(
    tile: Entries, total: Floats, own: Floats, expected: Floats, places: Floats
) -> Spread:
    """See where the reads of every barcode lie.

    Parameters
    ----------
    tile, total, own : see `read_totals`
    expected : (cell,) reads that a cell with an amount of 1 shows on the tile
    places : (read, 2) in pixels
    """
    return Spread(*_measure(tile, total, own, expected, places))
