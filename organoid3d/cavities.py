"""What tells a lumen from the cytoplasm of large cells and from gaps between nuclei.

Where membranes are stained, a lumen is what nuclei cannot reach without crossing one. It may be
dark, or filled with what the stain binds to as well: then it is bright, and thicker than any
membrane. Of nuclei alone no more is known than the gaps between them: a lumen is far wider than
those that are found all over its organoid.

All arrays are (Z, Y, X) of one shape, on voxels of about a micrometre.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from poolvox.shared.imaging.distance import distance_to

__all__ = ["closed_off", "filled_bodies", "wider_than_gaps"]

Mask = NDArray[np.bool_]
Stack = NDArray[np.float32]
CORNERS = np.ones((3, 3, 3), bool)

# Membranes begin at this part of the way from the level of cytoplasm to that which parts dark and
# bright. A cavity of whose wall more than that part lies below is cytoplasm: of planted lumens 0.06
# does, of cytoplasm 0.11 and more.
WALL, LEAK = 0.65, 0.1
# Places are one if more than this part of the wall between them is no membrane.
ONE = 0.5
# Depth of the middle of a small cavity, in its greatest depth.
MIDDLE = 0.7
# Half of the membrane that lines a bright lumen, with its blur, micrometres.
LINING = 1.0
# A lumen is wider than the sixth of the gaps of its organoid by this factor: of planted solid
# organoids the widest gap reaches 1.35. Where nuclei lie far apart, gaps differ more.
RANK, STANDS_OUT, SPARSE = 5, 1.45, 2.0
# A gap whose centre lies within this many radii of a wider one is part of it.
SAME_GAP = 1.3


def closed_off(
    cavities: Mask,
    membranes: Stack,
    nuclei: Mask,
    tissue: Mask,
    *,
    spacing: Sequence[float],
    opening: float,
) -> Mask:
    """Cavities, or the parts of them, that membranes close off from all nuclei.

    Parameters
    ----------
    cavities : dark places without nuclei, parts narrower than twice `opening` removed
    membranes : their stain, smoothed
    tissue : organoids
    spacing, opening : micrometres
    """
    if not cavities.any() or not nuclei.any():
        return cavities
    dark = float(np.median(membranes[nuclei]))
    clear = membranes < dark + WALL * (float(threshold_otsu(membranes[tissue])) - dark)
    # Every wide place is judged alone: cytoplasm beside a lumen leaks, the lumen does not.
    cores, count = ndimage.label(_middles(cavities & clear, spacing, opening), CORNERS)
    markers = np.where(nuclei, 1, np.where(cores > 0, cores + 1, 0)).astype(np.int32)
    basins = watershed(membranes, markers, mask=tissue)
    is_closed = ~_open_basins(basins, clear, count + 2)
    is_closed[0] = False
    closed: Mask = cavities & is_closed[basins]
    return closed


def filled_bodies(
    membranes: Stack, nuclei: Mask, tissue: Mask, *, spacing: Sequence[float], opening: float
) -> Mask:
    """Bodies as bright as membranes, but more than twice `opening` thick, without their lining.

    Parameters as in `closed_off`.
    """
    between = tissue & ~nuclei
    if not between.any():
        return between
    bright = between & (membranes > threshold_otsu(membranes[between]))
    thin = bright & ~_opened(bright, opening, opening, spacing)
    if not thin.any():
        return np.zeros_like(between)
    bright &= membranes > np.median(membranes[thin])
    return _opened(bright, opening, max(opening - LINING, 0.0), spacing)


def wider_than_gaps(
    cavities: Mask,
    width: Stack,
    organoids: NDArray[np.integer],
    *,
    spacing: Sequence[float],
    least: float,
    certain: float,
) -> Mask:
    """Cavities that are wider than most gaps of the same organoid.

    Parameters
    ----------
    width : micrometres to the next nucleus, to whatever is bright, and to the outside
    organoids : labels
    least, certain : no lumen is narrower from its middle on, everything wider is one; micrometres
    """
    labels, count = ndimage.label(cavities)
    if not count:
        return cavities
    widest, owner = (_largest_in(labels, values, count) for values in (width, organoids))
    boxes = ndimage.find_objects(organoids)
    usual = np.zeros(count + 1)
    for name in np.unique(owner[1:]).astype(int).tolist():
        box = boxes[name - 1]
        usual[owner == name] = _usual_gap(width[box] * (organoids[box] == name), spacing)
    factor = np.where(usual < least, STANDS_OUT, SPARSE)
    is_lumen = (widest > certain) | (widest > np.maximum(factor * usual, least))
    is_lumen[0] = False
    lumens: Mask = is_lumen[labels]
    return lumens


def _middles(mask: Mask, spacing: Sequence[float], radius: float) -> Mask:
    """Places deeper than `radius` micrometres, and the deepest of parts that have none."""
    labels, count = ndimage.label(mask)
    depth = distance_to(~mask, spacing=spacing)
    deepest = _largest_in(labels, depth, count)
    middles: Mask = mask & (depth > np.minimum(radius, MIDDLE * deepest)[labels])
    return middles


def _largest_in(labels: NDArray[np.int32], values: NDArray[Any], count: int) -> NDArray[np.float64]:
    """The largest value in each of the labels 1 to `count`; 0 for the background."""
    largest = np.zeros(count + 1)
    inside = labels > 0
    np.maximum.at(largest, labels[inside], values[inside])
    return largest


def _usual_gap(width: Stack, spacing: Sequence[float]) -> float:
    """Width of the sixth of the gaps that lie apart; 0 where there are fewer."""
    peaks = np.argwhere((width == ndimage.maximum_filter(width, size=3)) & (width > 0))
    widths = width[tuple(peaks.T)]
    order = np.argsort(-widths, kind="stable")
    places, widths = peaks[order] * np.asarray(spacing), widths[order]
    for _ in range(RANK):
        if not len(widths):
            return 0.0
        apart = np.linalg.norm(places - places[0], axis=1) > SAME_GAP * widths[0]
        places, widths = places[apart], widths[apart]
    return float(widths[0]) if len(widths) else 0.0


def _open_basins(basins: NDArray[np.int32], clear: Mask, count: int) -> NDArray[np.bool_]:
    """Tell which basins leak into that of the nuclei, 1, or are one with a basin that does.

    `clear` is where no membrane is.
    """
    first, second, is_clear = _walls(basins, clear)
    is_open = np.zeros(count, bool)
    is_open[1] = True
    found, least = is_open.copy(), LEAK
    while found.any():
        outward = found[first] & ~is_open[second]
        wall = np.bincount(second[outward], minlength=count)
        leak = np.bincount(second[outward], is_clear[outward], minlength=count)
        found, least = leak > least * wall, ONE
        is_open |= found
    return is_open


def _walls(
    basins: NDArray[np.int32], dark: Mask
) -> tuple[NDArray[np.int32], NDArray[np.int32], Mask]:
    """Faces at which two basins meet, in both directions: the two, and whether both are dark."""
    sides = []
    for axis in range(3):
        low, high = np.moveaxis(basins, axis, 0)[:-1], np.moveaxis(basins, axis, 0)[1:]
        both = np.moveaxis(dark, axis, 0)[:-1] & np.moveaxis(dark, axis, 0)[1:]
        face = (low != high) & (low > 0) & (high > 0)
        sides += [(low[face], high[face], both[face]), (high[face], low[face], both[face])]
    first, second, is_dark = (np.concatenate(part) for part in zip(*sides, strict=True))
    return first, second, is_dark


def _opened(mask: Mask, inward: float, outward: float, spacing: Sequence[float]) -> Mask:
    """Shrink a mask, and let what is left grow within it; micrometres."""
    inner = distance_to(~mask, spacing=spacing) > inward
    if not inner.any():
        return inner
    grown: Mask = (distance_to(inner, spacing=spacing) <= outward) & mask
    return grown
