"""From reads to cells: which barcode a cell carries, whether it carries two, and how sure that is.

Reads lie round their cells in a density that falls with the distance from the label. All cells
are weighed together: a read that a neighbour explains counts little for a cell. Density, share of
cells without a barcode and with two, and reads that belong to no cell are found from the tile by
expectation and maximisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.callers import (
    cell_evidence,
    local_barcodes,
    nearest_labels,
    read_totals,
)
from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import ReadCalls, q_values
from poolvox.ops.library import Library
from poolvox.ops.mistakes import ErrorModel
from poolvox.shared.errors import InputError

__all__ = ["CellModel", "Neighbours", "call_cells", "near_cells", "set_calls"]

# The best barcode must be more likely than the second by this factor.
TIE = 1.5
# Pixels from a label within which a read may belong to it, and cells a read may belong to.
REACH = 8.0
MOST = 4
# Every this many pixels the distance to the cells is looked at, to know how much room there is.
PROBE_STEP = 8
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
# Reads that hold the density in each pixel of distance to that nearer to the cell.
PRIOR_READS = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Neighbours:
    """Cells near each read, nearest first.

    Parameters
    ----------
    cells : (read, 4) labels, 0 for none
    distance : (read, 4) pixels to the nearest pixel of the label, 0 inside, inf for none
    labels : (cell,) all labels of the tile, rising
    room : (cell, bin) square pixels at 0, 0 to 1, 1 to 2, … pixels from each cell
    area : square pixels of the tile
    """

    cells: NDArray[np.int32]
    distance: NDArray[np.float32]
    labels: NDArray[np.int32]
    room: Floats
    area: float


@dataclass(frozen=True)
class CellModel:
    """How reads lie round cells, found from them.

    Parameters
    ----------
    density : (bin,) reads per square pixel of a cell with a barcode, by distance
    untransduced, doublets : shares of cells
    stray, ambient : reads per square pixel of any sequence, and of any library word, that belong
        to no cell
    """

    density: Floats
    untransduced: float
    doublets: float
    stray: float
    ambient: float


def near_cells(
    labels: NDArray[np.integer], y: NDArray[np.floating], x: NDArray[np.floating]
) -> Neighbours:
    """Find the cells that each read may belong to.

    Parameters
    ----------
    labels : (Y, X) cells, 0 outside
    y, x : (read,) positions in pixels
    """
    if labels.ndim != 2:
        raise InputError(f"cell labels must be an image of (y, x), got shape {labels.shape}")
    image = np.ascontiguousarray(labels, np.int32)
    cells, distance = nearest_labels(image, np.asarray(y, float), np.asarray(x, float), REACH, MOST)
    present = np.unique(image)
    present = present[present > 0]
    offset = PROBE_STEP // 2
    rows, columns = np.mgrid[
        offset : labels.shape[0] : PROBE_STEP, offset : labels.shape[1] : PROBE_STEP
    ]
    at, far = nearest_labels(
        image, rows.ravel().astype(float), columns.ravel().astype(float), REACH, MOST
    )
    room = np.zeros((len(present), _bins()))
    valid = at > 0
    np.add.at(room, (np.searchsorted(present, at[valid]), _bin(far[valid])), PROBE_STEP**2)
    return Neighbours(cells, distance, present, room, float(labels.size))


def _bins() -> int:
    return int(np.ceil(REACH)) + 1


def _bin(distance: NDArray[np.floating]) -> NDArray[np.int64]:
    """0 inside, then one per pixel of distance."""
    return np.asarray(np.minimum(np.ceil(distance), _bins() - 1), np.int64)


@dataclass(frozen=True)
class _Table:
    """Reads by cell: entries of cell i are start[i] to start[i + 1]."""

    start: NDArray[np.int64]
    read: NDArray[np.int64]
    bin: NDArray[np.int64]
    words: NDArray[np.int32]
    ratios: Floats


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
        `Call_Gene` (best guess), `Call_Posterior`, `Call_QValue`, `Call_Doublet`, `Call_Reads`,
        `Call_ReadsTotal`, `Call_SecondBarcode`, `Call_SecondReads`, `Call_Decoy`, `Call_Tied`
    model : what was found on the way

    Notes
    -----
    The posterior is that the cell carries the barcode, alone or with another: of a cell with two,
    either is right. A cell without a barcode that is called is wrong.
    """
    table = _entries(calls, neighbours, codebook, model)
    found = _start(table, neighbours, calls)
    barcode, rate = local_barcodes(
        table.start, table.read, _falling(table.bin), table.words, calls.odds.astype(float)
    )
    rate = rate / max(float(rate.sum()) / max(len(rate), 1), 1e-9)
    for round_ in range(ROUNDS):
        density = found.density[table.bin]
        total, own = read_totals(
            table.start,
            table.read,
            density,
            table.words,
            table.ratios,
            barcode,
            rate,
            found.stray,
            found.ambient,
        )
        words = max(len(codebook), 2)
        single, pair, rate = cell_evidence(
            table.start,
            table.read,
            density,
            table.words,
            table.ratios,
            barcode,
            total,
            own,
            AMOUNTS,
            neighbours.room @ found.density,
            np.log(found.untransduced),
            np.log((1 - found.untransduced) * (1 - found.doublets) / words),
            np.log((1 - found.untransduced) * found.doublets * 2 / (words * (words - 1))),
        )
        if round_ < ROUNDS - 1:
            found = _update(table, neighbours, found, total, own, single, pair, len(codebook))
    frame = _frame(table, neighbours, barcode, single, pair, total, own, codebook)
    return set_calls(frame, library, fdr=fdr, ratio=codebook.ratio), found


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
    start = np.searchsorted(cell[order], np.arange(len(neighbours.labels) + 1))
    prior = model.mapped / (1 - model.mapped) / max(len(codebook), 1)
    return _Table(
        start=start,
        read=read[order],
        bin=_bin(neighbours.distance[read, slot][order]),
        words=calls.candidates,
        ratios=calls.odds.astype(float) / prior,
    )


def _falling(bins: NDArray[np.int64]) -> Floats:
    """What distance earns before anything is known: half with every pixel."""
    return np.asarray(0.5 ** bins.astype(float))


def _start(table: _Table, neighbours: Neighbours, calls: ReadCalls) -> CellModel:
    room = neighbours.room.mean(axis=0) if len(neighbours.room) else np.ones(_bins())
    falling = _falling(np.arange(_bins()))
    reads = len(calls) / max(len(neighbours.labels) * (1 - START_NONE), 1.0)
    density = falling * reads / max(float(falling @ room), 1e-9)
    stray = START_STRAY * len(calls) / neighbours.area
    return CellModel(
        np.maximum(density, LEAST_DENSITY),
        START_NONE,
        START_TWO,
        max(stray, LEAST_DENSITY),
        max(stray, LEAST_DENSITY) / 2 * 1e-3,
    )


def _update(
    table: _Table,
    neighbours: Neighbours,
    found: CellModel,
    total: Floats,
    own: Floats,
    single: Floats,
    pair: Floats,
    words: int,
) -> CellModel:
    """Rates from the shares of reads and cells."""
    share = own / total[table.read]
    carrying = single.sum(axis=1) + pair.sum(axis=(1, 2))
    mean_room = (neighbours.room * carrying[:, None]).sum(axis=0)
    reads = np.bincount(table.bin, weights=share, minlength=_bins())
    density = np.empty(_bins())
    before = reads[0] / max(mean_room[0], 1.0)
    for k in range(_bins()):
        # Reads thin out with distance; the few far ones must not make a bump.
        raw = (reads[k] + PRIOR_READS * 0.5) / (mean_room[k] + PRIOR_READS / max(before, 1e-9))
        density[k] = before = min(raw, before) if k else before
    ambient_share = found.ambient * table.ratios.sum(axis=1) / total
    stray_share = found.stray / total
    cells = len(single)
    none = (cells - carrying.sum() + PRIOR_CELLS * START_NONE) / (cells + PRIOR_CELLS)
    two = (pair.sum() + PRIOR_CELLS * START_TWO) / (carrying.sum() + PRIOR_CELLS)
    return replace(
        found,
        density=np.maximum(density, LEAST_DENSITY),
        untransduced=float(none),
        doublets=float(two),
        stray=float(max(stray_share.sum() / neighbours.area, LEAST_DENSITY)),
        ambient=float(max(ambient_share.sum() + 1.0, 1.0) / neighbours.area / max(words, 1)),
    )


def _frame(
    table: _Table,
    neighbours: Neighbours,
    barcode: NDArray[np.int32],
    single: Floats,
    pair: Floats,
    total: Floats,
    own: Floats,
    codebook: Codebook,
) -> pd.DataFrame:
    """One row per cell: best and second barcode, posteriors, reads."""
    held = single.copy()
    paired = pair.shape[1]
    held[:, :paired] += pair.sum(axis=2) + pair.sum(axis=1)
    order = np.argsort(-held, axis=1, kind="stable")
    rows = np.arange(len(held))
    best, second = order[:, 0], order[:, 1]
    first_word, second_word = barcode[rows, best], barcode[rows, second]
    names = np.append(codebook.words, "")
    cell = np.repeat(rows, np.diff(table.start))
    share = own / total[table.read]
    mine = share > 0.5
    top = table.words[table.read, 0]
    counts = [
        np.bincount(cell[mine & (top == word[cell]) & (top >= 0)], minlength=len(rows))
        for word in (first_word, second_word)
    ]
    inside = np.bincount(cell[mine | ((table.bin == 0) & (share <= 0.5))], minlength=len(rows))
    two = pair.sum(axis=(1, 2))
    decoy = first_word >= codebook.targets
    return pd.DataFrame(
        {
            "Metadata_Label": neighbours.labels,
            "Call_Barcode": names[first_word],
            "Call_Posterior": np.where(first_word >= 0, held[rows, best], 0.0),
            "Call_Doublet": two,
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


def set_calls(
    frame: pd.DataFrame, library: Library, *, fdr: float, ratio: float = 1.0
) -> pd.DataFrame:
    """Give cells their q-values and names; for one tile, or for all tiles of a plate together.

    The q-value is the larger of two: the mean chance of error among cells at least as sure, and
    what the decoys that were called instead say of it.
    """
    posterior = frame["Call_Posterior"].to_numpy(float)
    decoy = frame["Call_Decoy"].to_numpy(bool)
    counted = q_values(posterior, decoy, ratio=ratio) if ratio > 0 else np.zeros(len(frame))
    q = np.where(posterior > 0, np.maximum(_expected_errors(posterior, decoy), counted), np.nan)
    place = pd.Series(np.arange(len(library)), index=library.words)
    word = frame["Call_Barcode"].map(place).fillna(-1).astype(int).to_numpy()
    guides, genes = (np.append(names, "") for names in (library.guides, library.genes))
    called = (q <= fdr) & ~decoy & (word >= 0) & ~frame["Call_Tied"].to_numpy(bool)
    out = frame.assign(
        Metadata_Barcode=np.where(called, frame["Call_Barcode"], ""),
        Metadata_Guide=np.where(called, guides[word], ""),
        Metadata_Gene=np.where(called, genes[word], ""),
        Call_Guide=guides[word],
        Call_Gene=genes[word],
        Call_QValue=q,
    )
    keys = [name for name in out.columns if name.startswith("Metadata_")]
    return out[keys + [name for name in out.columns if name not in keys]]


def _expected_errors(posterior: Floats, decoy: NDArray[np.bool_]) -> Floats:
    """Mean of one minus the posterior over all targets at least as sure."""
    levels, place = np.unique(-posterior, return_inverse=True)
    error = np.cumsum(np.bincount(place, weights=(1 - posterior) * ~decoy, minlength=len(levels)))
    number = np.cumsum(np.bincount(place, weights=~decoy, minlength=len(levels)))
    rate = error / np.maximum(number, 1)
    return np.asarray(np.minimum.accumulate(rate[::-1])[::-1][place])
