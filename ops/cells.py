"""From reads to cells: which barcode a cell carries, whether it carries two, and how sure that is.

Reads lie round their cells in a density that falls with the distance from the label, and at the
borders of cells that touch. All cells are weighed together: a read that a neighbour explains counts
little for a cell. Density, share of cells without a barcode and with two, reads that belong to no
cell, and cells that have no label are found from the tile by expectation and maximisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.callers import (
    Entries,
    Priors,
    cell_evidence,
    local_barcodes,
    read_totals,
)
from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import ReadCalls
from poolvox.ops.fdr import set_calls
from poolvox.ops.glow import Glow
from poolvox.ops.library import Library
from poolvox.ops.mistakes import ErrorModel
from poolvox.ops.near import BINS, CHAINS, INSIDE, Neighbours, first_falling, near_cells, place_bins
from poolvox.ops.unseen import Spread, Unseen, how_large, measure_spread
from poolvox.shared.errors import InputError

__all__ = ["CellModel", "Neighbours", "call_cells", "near_cells", "set_calls"]

# Barcodes whose chances differ by less than this factor are tied. A close second makes a call
# unlikely to be right, which its posterior tells; only with a tie would the order decide.
TIE = 1.02
# Chances that differ by less are equal as far as choosing the first of two barcodes goes.
EQUAL_DIGITS = 6
# Rounds of sharing out reads and weighing cells.
ROUNDS = 6
# Reads of a cell over the mean, as equally likely values: quantiles of a gamma distribution with
# shape 2, which is how much cells differ in their reads.
AMOUNTS = np.array([0.27, 0.55, 0.84, 1.22, 2.12])
# Where the rates start, and the counts that hold them there in small tiles.
START_NONE, START_TWO, PRIOR_CELLS = 0.3, 0.05, 20.0
# Share of reads outside of cells at the start, and the least density of reads per pixel.
START_STRAY = 0.05
LEAST_DENSITY = 1e-7
# Reads by which the strays of a cell are held to those of the tile.
PRIOR_STRAYS = 1.0
# Reads that hold the density in each pixel of distance to that nearer to the cell.
PRIOR_READS = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CellModel:
    """How reads lie round cells, found from them.

    Parameters
    ----------
    density : (bin,) reads per square pixel of a cell with a barcode, by `place_bins`
    untransduced, doublets : shares of cells
    stray, ambient : reads per square pixel of any sequence, and of any library word, that belong
        to no cell
    heaps : (cell,) reads per square pixel of any sequence inside each cell: what glows by itself
        is taken for reads, and more so in some cells
    unseen : cells that have no label
    """

    density: Floats
    untransduced: float
    doublets: float
    stray: float
    ambient: float
    heaps: Floats
    unseen: Unseen

    def priors(self, words: int) -> Priors:
        """Chances of what a cell carries, given the number of words."""
        carrying = 1 - self.untransduced
        one = carrying * (1 - self.doublets) / words
        two = carrying * self.doublets * 2 / (words * (words - 1))
        return Priors(self.untransduced, one, two)


@dataclass(frozen=True)
class _Table:
    """Reads by cell: entries of cell i are start[i] to start[i + 1].

    `home` (read,) is the cell that a read lies in, -1 outside of all; for `large` (cell,) see
    `how_large`.
    """

    start: NDArray[np.int64]
    read: NDArray[np.int64]
    bin: NDArray[np.int64]
    words: NDArray[np.int32]
    ratios: Floats
    home: NDArray[np.int64]
    large: Floats

    def strays(self, found: CellModel) -> Floats:
        """(read,) reads of any sequence per square pixel where each read lies."""
        return np.asarray(np.append(found.heaps, found.stray)[self.home], float)


@dataclass(frozen=True)
class _Shares:
    """What is known of a tile after a round.

    Parameters
    ----------
    total, own : (read,), (entry,) how much of each read all explain, and the cell of the entry
    barcode : (cell, BARCODES) words that are weighed
    single, pair, shown, strange, doubled : see `cell_evidence`
    spread : where the reads of each barcode lie
    inner : (cell,) unseen cells per square pixel of the label
    """

    total: Floats
    own: Floats
    barcode: NDArray[np.int32]
    single: Floats
    pair: Floats
    shown: Floats
    strange: Floats
    doubled: Floats
    spread: Spread
    inner: Floats

    @property
    def carried(self) -> Floats:
        """(cell, BARCODES) chance that the cell carries the barcode, alone or with another."""
        held = self.single.copy()
        held[:, : self.pair.shape[1]] += self.pair.sum(axis=2) + self.pair.sum(axis=1)
        return held

    @property
    def carrying(self) -> Floats:
        """(cell,) chance that the cell carries anything."""
        return np.asarray(self.single.sum(axis=1) + self.pair.sum(axis=(1, 2)))


def call_cells(
    calls: ReadCalls,
    neighbours: Neighbours,
    codebook: Codebook,
    library: Library,
    model: ErrorModel,
    *,
    fdr: float = 0.01,
) -> tuple[pd.DataFrame, CellModel]:
    """Call the cells of one tile.

    Parameters
    ----------
    calls : the decoded reads, in the order of `neighbours`
    fdr : share of wrong ones among the called cells that is accepted

    Returns
    -------
    table : one row per label, in rising order: `Metadata_Label`, `Metadata_Barcode`,
        `Metadata_Guide`, `Metadata_Gene` (empty unless called), `Call_Barcode`, `Call_Guide`,
        `Call_Gene` (best guess), `Call_Posterior`, `Call_QValue`, `Call_Shown`, `Call_Doublet`,
        `Call_Reads`, `Call_ReadsTotal`, `Call_SecondBarcode`, `Call_SecondReads`, `Call_Decoy`,
        `Call_Tied`
    model : what was found on the way

    Notes
    -----
    The posterior is that the cell carries the barcode, alone or with another: of a cell with two,
    either is right. A cell without a barcode that is called is wrong. `Call_Shown` is the chance
    that the barcode is there at all, be it that cell's or one's that has no label; `Call_Doublet`
    that the cell has two barcodes, or is two cells that were found as one.
    """
    table = _entries(calls, neighbours, codebook, model)
    found = _start(table, neighbours, calls)
    barcode, rate = local_barcodes(
        table.start, table.read, first_falling()[table.bin], table.words, calls.odds.astype(float)
    )
    rate = rate / max(float(rate.sum()) / max(len(rate), 1), 1e-9)
    glow = Glow.of(barcode, codebook, model)
    shares, rate = _share_out(table, neighbours, found, barcode, rate, glow, len(codebook))
    for _ in range(ROUNDS - 1):
        found = _update(table, neighbours, found, shares, len(codebook))
        glow = glow.update(shares.shown)
        shares, rate = _share_out(table, neighbours, found, barcode, rate, glow, len(codebook))
    frame = _frame(table, neighbours, shares, codebook)
    return set_calls(frame, library, fdr=fdr, ratio=codebook.ratio), found


def _share_out(
    table: _Table,
    neighbours: Neighbours,
    found: CellModel,
    barcode: NDArray[np.int32],
    rate: Floats,
    glow: Glow,
    words: int,
) -> tuple[_Shares, Floats]:
    """One round: reads to cells by what cells carry, then what cells carry by their reads."""
    tile = Entries(
        table.start, table.read, found.density[table.bin], table.words, table.ratios, barcode
    )
    total, own = read_totals(tile, rate, table.strays(found), found.ambient)
    expected = neighbours.room @ found.density
    spread = measure_spread(tile, total, own, expected, neighbours.places)
    room = np.maximum(expected / found.density[0], 1.0)
    inner = found.unseen.inside(table.large, room)
    others = found.unseen.beside_glow(glow.of_barcodes, spread, inner, room, max(words, 1))
    priors = found.priors(max(words, 2))
    single, pair, rate, shown, strange, doubled = cell_evidence(
        tile, total, own, expected, AMOUNTS, priors, others
    )
    return _Shares(total, own, barcode, single, pair, shown, strange, doubled, spread, inner), rate


def _entries(
    calls: ReadCalls, neighbours: Neighbours, codebook: Codebook, model: ErrorModel
) -> _Table:
    if len(calls) != len(neighbours.cells):
        raise InputError(
            f"{len(calls)} reads were decoded but {len(neighbours.cells)} have positions: pass the "
            "same reads"
        )
    read, slot = np.nonzero(neighbours.cells > 0)
    cell = np.searchsorted(neighbours.labels, neighbours.cells[read, slot])
    order = np.lexsort((slot, read, cell))
    inside = neighbours.distance[:, 0] == 0
    home = np.searchsorted(neighbours.labels, neighbours.cells[:, 0])
    start = np.searchsorted(cell[order], np.arange(len(neighbours.labels) + 1))
    prior = model.mapped / (1 - model.mapped) / max(len(codebook), 1)
    return _Table(
        start=start,
        read=read[order],
        bin=place_bins(neighbours.distance)[read, slot][order],
        words=calls.candidates,
        ratios=calls.odds.astype(float) / prior,
        home=np.where(inside, home, -1),
        large=how_large(neighbours.sizes),
    )


def _start(table: _Table, neighbours: Neighbours, calls: ReadCalls) -> CellModel:
    count = len(calls)
    # Reads that by themselves show no word begin as strays of the cell they lie in.
    none = 1 / (1 + calls.odds.sum(axis=1, dtype=float) + calls.rest)
    room = neighbours.room.mean(axis=0) if len(neighbours.room) else np.ones(BINS)
    falling = first_falling()
    reads = count / max(len(neighbours.labels) * (1 - START_NONE), 1.0)
    density = falling * reads / max(float(falling @ room), 1e-9)
    stray = max(START_STRAY * count / neighbours.area, LEAST_DENSITY)
    return CellModel(
        np.maximum(density, LEAST_DENSITY),
        START_NONE,
        START_TWO,
        stray,
        stray / 2 * 1e-3,
        _heaps(table, neighbours, none, stray),
        Unseen.start(len(neighbours.labels), float(falling @ room), neighbours.area),
    )


def _update(
    table: _Table, neighbours: Neighbours, found: CellModel, shares: _Shares, words: int
) -> CellModel:
    """Rates from the shares of reads and cells."""
    carrying = float(shares.carrying.sum())
    cells = len(shares.single)
    none = (cells - carrying + PRIOR_CELLS * START_NONE) / (cells + PRIOR_CELLS)
    two = (shares.pair.sum() + PRIOR_CELLS * START_TWO) / (carrying + PRIOR_CELLS)
    ambient = (found.ambient * table.ratios.sum(axis=1) / shares.total).sum() + 1.0
    strays = table.strays(found) / shares.total
    stray = max(float(strays.sum()) / neighbours.area, LEAST_DENSITY)
    return CellModel(
        density=_density(table, neighbours, shares),
        untransduced=float(none),
        doublets=float(two),
        stray=stray,
        ambient=float(ambient / neighbours.area / max(words, 1)),
        heaps=_heaps(table, neighbours, strays, stray),
        unseen=found.unseen.update(
            shares.spread, shares.carried, shares.strange, shares.inner, neighbours.area
        ),
    )


def _density(table: _Table, neighbours: Neighbours, shares: _Shares) -> Floats:
    """Reads per square pixel of a cell that carries something, by distance."""
    room = (neighbours.room * shares.carrying[:, None]).sum(axis=0)
    share = shares.own / shares.total[table.read]
    reads = np.bincount(table.bin, weights=share, minlength=BINS)
    density = np.full(BINS, reads[0] / max(room[0], 1.0))
    for chain in CHAINS:
        for last, k in pairwise(chain):
            # Reads thin out with distance; the few far ones must not make a bump.
            held = PRIOR_READS / max(density[last], 1e-9)
            thinner = 1.0 if k < INSIDE else 0.5
            raw = (reads[k] + PRIOR_READS * thinner) / (room[k] + held)
            density[k] = min(raw, density[last])
    return np.asarray(np.maximum(density, LEAST_DENSITY))


def _heaps(table: _Table, neighbours: Neighbours, strays: Floats, stray: float) -> Floats:
    """Strays per square pixel inside each cell, drawn towards those of the tile."""
    cells = len(neighbours.labels)
    count = np.bincount(table.home + 1, weights=strays, minlength=cells + 1)[1:]
    return np.asarray((count + PRIOR_STRAYS) / (neighbours.room[:, 0] + PRIOR_STRAYS / stray))


def _frame(
    table: _Table, neighbours: Neighbours, shares: _Shares, codebook: Codebook
) -> pd.DataFrame:
    """One row per cell: best and second barcode, posteriors, reads."""
    barcode, single, pair = shares.barcode, shares.single, shares.pair
    held = shares.carried
    # Of two barcodes that a cell carries the first is the one that alone explains more.
    order = np.lexsort((-single, -held.round(EQUAL_DIGITS)), axis=1)
    held = np.minimum(held, 1.0)
    rows = np.arange(len(held))
    best, second = order[:, 0], order[:, 1]
    there = np.minimum(held + shares.strange, 1.0)[rows, best]
    first_word, second_word = barcode[rows, best], barcode[rows, second]
    names = np.append(codebook.words, "")
    cell = np.repeat(rows, np.diff(table.start))
    share = shares.own / shares.total[table.read]
    mine = share > 0.5
    top = table.words[table.read, 0]
    counts = [
        np.bincount(cell[mine & (top == word[cell]) & (top >= 0)], minlength=len(rows))
        for word in (first_word, second_word)
    ]
    inside = np.bincount(cell[mine | ((table.bin < INSIDE) & (share <= 0.5))], minlength=len(rows))
    decoy = first_word >= codebook.targets
    return pd.DataFrame(
        {
            "Metadata_Label": neighbours.labels,
            "Call_Barcode": names[first_word],
            "Call_Posterior": np.where(first_word >= 0, held[rows, best], 0.0),
            "Call_Shown": np.where(first_word >= 0, there, 0.0),
            "Call_Doublet": np.minimum(shares.doubled, 1.0),
            "Call_Reads": counts[0],
            "Call_ReadsTotal": inside,
            "Call_SecondBarcode": np.where(held[rows, second] > 1e-6, names[second_word], ""),
            "Call_SecondReads": counts[1],
            "Call_Decoy": decoy,
            "Call_Tied": _tied(single, pair, held[rows, best], held[rows, second]),
        }
    )


def _tied(single: Floats, pair: Floats, first: Floats, second: Floats) -> NDArray[np.bool_]:
    """Cells whose two best barcodes are as likely as each other, unless they carry both."""
    both = pair.sum(axis=(1, 2))
    alone, other = first - np.minimum(both, first), second - np.minimum(both, second)
    return np.asarray((alone < TIE * other) & (both < 0.5))
