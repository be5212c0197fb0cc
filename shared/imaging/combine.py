"""Many planes of one field, each through its own transform, added into one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.shared.imaging.warp import Transform

__all__ = ["PlaneLevel", "noise_level", "weighted_sum"]

# Every so many rows are looked at when the level and the noise of a plane are measured.
ROW_STEP = 16
# Share of the pixels that count as the brightest.
BRIGHT_SHARE = 5e-4
# Where more of the pixels are like those two apart, a plane is blank but for specks.
ALIKE = 0.98


class PlaneLevel(NamedTuple):
    """Median of a plane, standard deviation of its pixel noise, and how bright its brightest 0.05 %
    are."""

    level: float
    noise: float
    top: float


def noise_level(plane: NDArray[np.unsignedinteger[Any]]) -> PlaneLevel:
    """Level, noise and brightness of a plane, on every 16th row.

    The noise is that of differences between pixels two apart, so that structure wider than a few
    pixels does not count. It is 0 where nearly all pixels are alike; in images of few grey levels,
    most of whose pixels are like their neighbours, it is a part of one level.
    """
    middle, difference = _histograms(plane[::ROW_STEP])
    typical = _quantile(difference, 0.5)
    if typical == 0 and difference[0] < ALIKE * difference.sum():
        typical = 0.25 * difference.sum() / difference[0]
    noise = 1.4826 * typical / np.sqrt(2)
    return PlaneLevel(_quantile(middle, 0.5), float(noise), _quantile(middle, 1 - BRIGHT_SHARE))


@njit(cache=True, nogil=True)
def _quantile(histogram, share):  # type: ignore[no-untyped-def]
    """Quantile of whole numbers from their histogram, interpolated within the bin."""
    wanted = histogram.sum() * share
    below, found = 0, 0
    while found < len(histogram) - 1 and below + histogram[found] < wanted:
        below += histogram[found]
        found += 1
    if found == 0:
        return 0.0
    return found + (wanted - below) / max(histogram[found], 1) - 0.5


def weighted_sum(
    planes: NDArray[np.unsignedinteger[Any]],
    transforms: Sequence[Transform],
    *,
    weights: NDArray[np.floating[Any]],
    ceilings: NDArray[np.floating[Any]],
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Sum of planes on the frame of the reference, linearly interpolated.

    Parameters
    ----------
    planes : (n, Y, X) array
    transforms : n maps from the reference to each plane
    weights : (n,) factors
    ceilings : (n,) values above which a pixel counts no more, so that no single one outweighs the
        rest
    out : (Y, X) array that the sum is added to, if given

    Returns
    -------
    (Y, X) array; outside of a plane its nearest pixel counts
    """
    if out is None:
        out = np.zeros(planes.shape[1:], np.float32)
    matrices = np.array([each.matrix for each in transforms], np.float64)
    shifts = np.array([each.shift for each in transforms], np.float64)
    if all(each.is_translation for each in transforms):
        _sum_shifted(planes, shifts, weights.astype(np.float32), ceilings.astype(np.float32), out)
    else:
        _sum_turned(planes, matrices, shifts, weights, ceilings, out)
    return out


@njit(cache=True, nogil=True)
def _histograms(rows):  # type: ignore[no-untyped-def]
    top = np.int64(0)
    for r in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            top = max(top, np.int64(rows[r, c]))
    # No longer than need be: most of the time goes into clearing them.
    middle, difference = np.zeros(top + 1, np.int64), np.zeros(top + 1, np.int64)
    for r in range(rows.shape[0]):
        for c in range(0, rows.shape[1] - 2, 2):
            here, there = np.int64(rows[r, c]), np.int64(rows[r, c + 2])
            middle[here] += 1
            difference[abs(here - there)] += 1
    return middle, difference


@njit(cache=True, nogil=True, fastmath=True)
def _sum_shifted(planes, shifts, weights, ceilings, out):  # type: ignore[no-untyped-def]
    count, height, width = planes.shape
    one = np.float32(1)  # a whole number would turn all of it into double precision
    for r in range(height):
        line = out[r]
        for p in range(count):
            y, x = shifts[p]
            top, left = int(np.floor(y)), int(np.floor(x))
            fy, fx = np.float32(y - top), np.float32(x - left)
            weight, ceiling = weights[p], ceilings[p]
            above = planes[p, min(max(r + top, 0), height - 1)]
            below = planes[p, min(max(r + top + 1, 0), height - 1)]
            a = weight * (one - fy) * (one - fx)
            b = weight * (one - fy) * fx
            c = weight * fy * (one - fx)
            d = weight * fy * fx
            first, last = max(0, -left), min(width, width - 1 - left)
            upper, lower = above[first + left : last + left], below[first + left : last + left]
            upper_next = above[first + left + 1 : last + left + 1]
            lower_next = below[first + left + 1 : last + left + 1]
            target = line[first:last]
            for k in range(last - first):
                target[k] += (
                    a * min(np.float32(upper[k]), ceiling)
                    + b * min(np.float32(upper_next[k]), ceiling)
                    + c * min(np.float32(lower[k]), ceiling)
                    + d * min(np.float32(lower_next[k]), ceiling)
                )
            for k in range(first):
                line[k] += (a + b) * min(np.float32(above[0]), ceiling)
                line[k] += (c + d) * min(np.float32(below[0]), ceiling)
            for k in range(last, width):
                line[k] += (a + b) * min(np.float32(above[width - 1]), ceiling)
                line[k] += (c + d) * min(np.float32(below[width - 1]), ceiling)


@njit(cache=True, nogil=True, fastmath=True)
def _sum_turned(planes, matrices, shifts, weights, ceilings, out):  # type: ignore[no-untyped-def]
    count, height, width = planes.shape
    for p in range(count):
        plane, m, s = planes[p], matrices[p], shifts[p]
        for r in range(height):
            for c in range(width):
                y = min(max(m[0, 0] * r + m[0, 1] * c + s[0], 0.0), height - 1.001)
                x = min(max(m[1, 0] * r + m[1, 1] * c + s[1], 0.0), width - 1.001)
                top, left = int(y), int(x)
                fy, fx = y - top, x - left
                above = min(plane[top, left], ceilings[p]) * (1 - fx)
                above += min(plane[top, left + 1], ceilings[p]) * fx
                below = min(plane[top + 1, left], ceilings[p]) * (1 - fx)
                below += min(plane[top + 1, left + 1], ceilings[p]) * fx
                out[r, c] += weights[p] * (above * (1 - fy) + below * fy)
