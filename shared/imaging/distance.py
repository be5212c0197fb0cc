"""Exact Euclidean distance to the nearest marked pixel of a plane, and which pixel that is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["distance_to", "expand_within"]

Labels = NDArray[np.integer[Any]]


def distance_to(marked: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of every pixel to the nearest marked one, in pixels; infinite if none is marked.

    By the lower envelope of parabolas, row by row (Felzenszwalb and Huttenlocher 2012,
    doi:10.4086/toc.2012.v008a019).
    """
    square, _ = _nearest(np.ascontiguousarray(marked))
    distance: NDArray[np.float32] = np.sqrt(square).astype(np.float32)
    return distance


def expand_within(labels: Labels, distance: float) -> Labels:
    """Let every label grow by up to `distance` pixels; each pixel goes to the nearest label.

    Parameters
    ----------
    labels : (Y, X) array, 0 where there is nothing
    """
    square, column = _nearest(labels > 0)
    out = labels.copy()
    _fill(labels, square, column, np.float64(distance) ** 2, out)
    return out


@njit(cache=True, nogil=True)
def _vertical(marked):  # type: ignore[no-untyped-def]
    """Distance to the nearest marked pixel of the same column."""
    height, width = marked.shape
    far = np.float32(1e9)
    gap = np.empty((height, width), np.float32)
    for c in range(width):
        gap[0, c] = np.float32(0) if marked[0, c] else far
    for r in range(1, height):
        for c in range(width):
            gap[r, c] = np.float32(0) if marked[r, c] else gap[r - 1, c] + 1
    for r in range(height - 2, -1, -1):
        for c in range(width):
            gap[r, c] = min(gap[r, c], gap[r + 1, c] + 1)
    return gap


@njit(cache=True, nogil=True)
def _nearest(marked):  # type: ignore[no-untyped-def]
    """Squared distance to the nearest marked pixel, and the column that it lies in."""
    height, width = marked.shape
    gap = _vertical(marked)
    square = np.empty((height, width), np.float64)
    column = np.empty((height, width), np.int32)
    place, border = np.empty(width, np.int64), np.empty(width + 1)
    for r in range(height):
        n = 0
        for c in range(width):
            if gap[r, c] >= 1e8:
                continue
            rise = np.float64(gap[r, c]) ** 2
            start = -np.inf
            while n > 0:
                k = place[n - 1]
                start = ((rise + c * c) - (np.float64(gap[r, k]) ** 2 + k * k)) / (2.0 * (c - k))
                if start > border[n - 1]:
                    break
                n -= 1
            if n == 0:
                start = -np.inf
            place[n], border[n] = c, start
            n += 1
        if n == 0:
            square[r], column[r] = np.inf, -1
            continue
        border[n] = np.inf
        k = 0
        for c in range(width):
            while border[k + 1] < c:
                k += 1
            p = place[k]
            square[r, c] = (c - p) ** 2 + np.float64(gap[r, p]) ** 2
            column[r, c] = p
    return square, column


@njit(cache=True, nogil=True)
def _fill(labels, square, column, limit, out):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    for r in range(height):
        for c in range(width):
            if labels[r, c] != 0 or square[r, c] > limit:
                continue
            p = column[r, c]
            rise = int(np.round(np.sqrt(max(square[r, c] - (c - p) ** 2, 0.0))))
            above = r - rise >= 0 and labels[r - rise, p] != 0
            out[r, c] = labels[r - rise, p] if above else labels[r + rise, p]
