"""Pieces of nuclei are put together where what they make up looks like one nucleus.

A relief with many summits cuts large nuclei apart, one with few leaves touching nuclei together. So
the cut is made too fine, and two pieces are joined by all that tells one nucleus from two: the dent
between their summits, the neck where they meet, whether both together are an ellipse, and their
size. What is too large or too crooked after that is cut again, finer. The weights are those of
logistic regressions on pairs of pieces of simulated tiles and of 25 public images (BBBC038, CC0).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.shared.imaging.basins import find_basins, find_passes
from poolvox.shared.imaging.cleanup import rename_labels

__all__ = ["cut_again", "join_pieces"]


class Weights(NamedTuple):
    """Log-odds that two pieces are one nucleus: a constant and what each measure adds."""

    constant: float
    dent: float
    neck: float
    ellipse: float
    size: float


# For pieces of all nuclei, and for those of nuclei that are cut again.
COARSE = Weights(-13.9, -3.4, 1.0, 14.7, -5.7)
FINE = Weights(-39.0, 0.0, 0.0, 43.0, -4.0)
# Pieces of nuclei that are cut again fall by this share between their summits.
FINE_DENT = 0.003
# Dent and neck of a nucleus that was cut by its texture.
USUAL_DENT, USUAL_NECK = 0.03, 1.4
# Beyond this many times the typical area size tells no more: some nuclei are large.
LARGEST = 2.5

Labels = NDArray[np.int32]


def join_pieces(
    pieces: Labels,
    relief: NDArray[np.float32],
    area: float,
    *,
    weights: Weights = COARSE,
    owner: Labels | None = None,
) -> Labels:
    """Join pieces of nuclei, the surest first, each time with a new look at what has grown.

    Parameters
    ----------
    pieces : (Y, X) labels, 0 outside of nuclei
    relief : (Y, X) array whose summits the pieces are
    area : of a typical nucleus, in pixels
    owner : for each label, what it must not leave

    Returns
    -------
    (Y, X) labels; a joined nucleus has the lowest label of its pieces
    """
    low, high, heights = find_passes(relief, pieces)
    if owner is not None:
        inside = owner[low] == owner[high]
        low, high, heights = low[inside], high[inside], heights[inside]
    if not len(low):
        return pieces
    count = int(pieces.max()) + 1
    pairs, place = np.unique(low.astype(np.int64) * count + high, return_inverse=True)
    passes = np.zeros(len(pairs), np.float32)
    np.maximum.at(passes, place, heights)
    # A border of one pixel has about two steps across it.
    widths = np.bincount(place) / 2
    sums, summits = _measure(pieces, relief, count)
    edges = np.column_stack(np.divmod(pairs, count))
    nuclei: Labels = _join(edges, passes, widths, sums, summits, area, weights)
    return rename_labels(pieces, nuclei)


def cut_again(nuclei: Labels, relief: NDArray[np.float32], area: float) -> Labels:
    """Cut nuclei whose size and shape are rather those of two; each stays within its borders.

    Parameters
    ----------
    nuclei : (Y, X) labels
    relief : (Y, X) array, less smooth than the one that they were cut by before
    area : of a typical nucleus, in pixels
    """
    sums, _ = _measure(nuclei, relief, int(nuclei.max()) + 1)
    doubtful = _doubtful(sums, area)
    if not doubtful.any():
        return nuclei
    doubted = rename_labels(nuclei, np.where(doubtful, np.arange(len(doubtful)), 0))
    pieces, owner = _within(find_basins(relief, doubted > 0, depth=FINE_DENT), doubted)
    joined = join_pieces(pieces, relief, area, weights=FINE, owner=owner)
    return np.where(joined > 0, joined + nuclei.max(), nuclei).astype(np.int32)


def _within(pieces: Labels, nuclei: Labels) -> tuple[Labels, Labels]:
    """Cut pieces at the borders of nuclei; labels from 1, and the nucleus of each."""
    count = int(nuclei.max()) + 1
    places = np.flatnonzero(nuclei)
    both = pieces.ravel()[places].astype(np.int64) * count + nuclei.ravel()[places]
    names, numbers = np.unique(both, return_inverse=True)
    cut = np.zeros(pieces.size, np.int32)
    cut[places] = numbers + 1
    return cut.reshape(pieces.shape), np.append(0, names % count).astype(np.int32)


@njit(cache=True, nogil=True)
def _measure(pieces, relief, count):  # type: ignore[no-untyped-def]
    """Area and first and second moments of each piece, and its summit."""
    sums, summits = np.zeros((count, 6)), np.zeros(count, np.float32)
    height, width = pieces.shape
    for r in range(height):
        for c in range(width):
            k = pieces[r, c]
            if k == 0:
                continue
            sums[k, 0] += 1.0
            sums[k, 1] += r
            sums[k, 2] += c
            sums[k, 3] += r * r
            sums[k, 4] += c * c
            sums[k, 5] += r * c
            summits[k] = max(summits[k], relief[r, c])
    return sums, summits


@njit(cache=True, nogil=True)
def _ellipse(sums):  # type: ignore[no-untyped-def]
    """Area over that of the ellipse with the same second moments; 1 for an ellipse."""
    area = sums[0]
    y, x = sums[1] / area, sums[2] / area
    # A pixel is a square, not a point.
    yy, xx = sums[3] / area - y * y + 1 / 12, sums[4] / area - x * x + 1 / 12
    yx = sums[5] / area - y * x
    return area / (4 * np.pi * np.sqrt(max(yy * xx - yx * yx, 1e-9)))


@njit(cache=True, nogil=True)
def _whole_odds(both, dent, neck, area, weights):  # type: ignore[no-untyped-def]
    """Log-odds that what has these moments is one nucleus."""
    size = np.log(min(both[0] / area, LARGEST))
    cut = weights.constant + weights.dent * dent + weights.neck * neck
    return cut + weights.ellipse * _ellipse(both) + weights.size * size


@njit(cache=True, nogil=True)
def _doubtful(sums, area):  # type: ignore[no-untyped-def]
    """Tell for each label whether it is rather two nuclei."""
    doubtful = np.zeros(len(sums), np.bool_)
    for k in range(1, len(sums)):
        if sums[k, 0] > 0:
            doubtful[k] = _whole_odds(sums[k], USUAL_DENT, USUAL_NECK, area, COARSE) < 0
    return doubtful


@njit(cache=True, nogil=True)
def _odds(edge, height, width, sums, summits, area, weights):  # type: ignore[no-untyped-def]
    """Log-odds that two pieces are one nucleus."""
    a, b = edge
    dent = 1.0 - height / min(summits[a], summits[b])
    smaller = 2 * np.sqrt(min(sums[a, 0], sums[b, 0]) / np.pi)
    return _whole_odds(sums[a] + sums[b], dent, width / smaller, area, weights)


@njit(cache=True, nogil=True)
def _join(edges, passes, widths, sums, summits, area, weights):  # type: ignore[no-untyped-def]
    """For each label, that of the nucleus it becomes a part of."""
    parent = np.arange(len(sums)).astype(np.int32)
    odds = np.empty(len(edges))
    for e in range(len(edges)):
        odds[e] = _odds(edges[e], passes[e], widths[e], sums, summits, area, weights)
    seen = np.full(len(sums), -1)
    while True:
        best = odds.argmax()
        if odds[best] <= 0:
            break
        keep, gone = edges[best]
        odds[best], edges[best] = -np.inf, -1
        sums[keep] += sums[gone]
        summits[keep] = max(summits[keep], summits[gone])
        parent[gone] = keep
        for e in range(len(edges)):
            for side in range(2):
                if edges[e, side] == gone:
                    edges[e, side] = keep
        # Two contacts with one neighbour have become one.
        for e in range(len(edges)):
            if edges[e, 0] != keep and edges[e, 1] != keep:
                continue
            other = edges[e].sum() - keep
            first = seen[other]
            if first < 0:
                seen[other] = e
                continue
            passes[first] = max(passes[first], passes[e])
            widths[first] += widths[e]
            odds[e], edges[e] = -np.inf, -1
        for e in range(len(edges)):
            if edges[e, 0] == keep or edges[e, 1] == keep:
                seen[edges[e].sum() - keep] = -1
                odds[e] = _odds(edges[e], passes[e], widths[e], sums, summits, area, weights)
    for k in range(len(parent)):
        root = k
        while parent[root] != root:
            root = parent[root]
        parent[k] = root
    return parent
