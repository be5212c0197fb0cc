"""The cells near each read, and what their places say of whose it is.

A read inside a cell, well away from all others, is as good as that cell's; one at a border that two
cells share may be either's, and the more so where cells are nuclei that were grown. How much more,
the reads of the tile tell: places are sorted by where they lie, see `place_bins`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poolvox.ops.callers import nearest_labels
from poolvox.shared.errors import InputError

__all__ = ["BINS", "CHAINS", "INSIDE", "Neighbours", "first_falling", "near_cells", "place_bins"]

# Pixels from a label within which a read may belong to it, and cells a read may belong to.
REACH = 8.0
MOST = 4
# Every this many pixels the distance to the cells is looked at, to know how much room there is.
PROBE_STEP = 8
# Inside a cell: how near, in pixels, another one is.
CLOSE = np.array([1.5, 2.5, 4.0])
# Bins inside a cell, outside of all, inside another; and all of them.
INSIDE, STEPS = len(CLOSE) + 1, int(np.ceil(REACH))
BINS = INSIDE + 2 * STEPS
# Bins in the order in which a cell's reads thin out: from its middle into the open, and from its
# middle into the cell next door.
CHAINS = (
    (0, *range(INSIDE, INSIDE + STEPS)),
    (*range(INSIDE), *range(INSIDE + STEPS, BINS)),
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Neighbours:
    """Cells near each read, nearest first.

    Parameters
    ----------
    cells : (read, 4) labels, 0 for none
    distance : (read, 4) pixels to the nearest pixel of the label, 0 inside, inf for none
    places : (read, 2) y, x in pixels
    labels : (cell,) all labels of the tile, rising
    sizes : (cell,) square pixels of the nucleus, or of the cell where nuclei are not known
    room : (cell, bin) square pixels, by `place_bins`, in and round each cell
    area : square pixels of the tile
    """

    cells: NDArray[np.int32]
    distance: NDArray[np.float32]
    places: Floats
    labels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    room: Floats
    area: float


def near_cells(
    labels: NDArray[np.integer],
    y: NDArray[np.floating],
    x: NDArray[np.floating],
    *,
    nuclei: NDArray[np.integer] | None = None,
) -> Neighbours:
    """Find the cells that each read may belong to.

    Parameters
    ----------
    labels : (Y, X) cells, 0 outside
    y, x : (read,) positions in pixels
    nuclei : (Y, X) by the labels of the cells; their size tells better than that of cells which
        of them are two that were found as one
    """
    if labels.ndim != 2:
        raise InputError(f"cell labels must be an image of (y, x), got shape {labels.shape}")
    image = np.ascontiguousarray(labels, np.int32)
    places = np.column_stack([y, x]).astype(float)
    cells, distance = nearest_labels(image, *places.T, REACH, MOST)
    pixels = np.bincount(image.ravel(), minlength=1)
    present = np.flatnonzero(pixels[1:]).astype(np.int32) + 1
    offset = PROBE_STEP // 2
    rows, columns = np.mgrid[
        offset : labels.shape[0] : PROBE_STEP, offset : labels.shape[1] : PROBE_STEP
    ]
    probes = rows.ravel().astype(float), columns.ravel().astype(float)
    at, far = nearest_labels(image, *probes, REACH, MOST)
    room = np.zeros((len(present), BINS))
    valid = at > 0
    bins = place_bins(far)[valid]
    np.add.at(room, (np.searchsorted(present, at[valid]), bins), PROBE_STEP**2)
    if nuclei is not None:
        pixels = np.bincount(nuclei.ravel(), minlength=len(pixels))
    sizes = pixels[present]
    return Neighbours(cells, distance, places, present, sizes, room, float(labels.size))


def place_bins(distance: NDArray[np.floating]) -> NDArray[np.int64]:
    """Sort places by where they lie, seen from each of the cells near them.

    Parameters
    ----------
    distance : (place, slot) pixels to the nearest cells, nearest first, 0 inside, inf for none

    Returns
    -------
    (place, slot) bins: first those inside the cell, the middle before its border with another;
    then outside of all cells, 0.5 to 1.5 pixels away, 1.5 to 2.5, …; then those in another cell
    """
    nearest, second = distance[:, :1], distance[:, 1:2]
    near = INSIDE - 1 - np.searchsorted(CLOSE, second)
    steps = np.ceil(np.minimum(distance, REACH) - 0.5)
    away = INSIDE - 1 + np.clip(steps, 1, STEPS) + np.where(nearest == 0, STEPS, 0)
    return np.where(distance == 0, near, away).astype(np.int64)


def first_falling() -> Floats:
    """(bin,) what a place earns before anything is known: half with every pixel outside."""
    steps = 0.5 ** np.arange(1.0, STEPS + 1)
    return np.concatenate([np.ones(INSIDE), steps, steps])
