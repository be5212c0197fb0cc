"""Compiled loops over columns: exact medians, quantiles, means and spreads within groups of rows.

Matrices are column-major, (rows, features), so that a column is read in one go. Where the rows of
groups are is told by the three parts of a `Layout`: `places`, `bounds`, `scattered`. Values that
are not finite are left out. A kernel treats one column after the other and reads nothing else, so
a result depends neither on how columns are shared out nor on the number of threads.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel
from poolvox.shared.profiles.normalise.medians import SAMPLE, quantile, settle, weighted_median
from poolvox.shared.profiles.normalise.moments import all_finite, mean_of, variance_of

__all__ = [
    "MAD",
    "MAD_TO_SD",
    "MEAN",
    "MEDIAN",
    "QUARTILES",
    "ROBUST",
    "STANDARD",
    "apply_scales",
    "fit_scales",
    "group_centres",
    "weighted_centres",
]

Matrix = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Places = NDArray[np.int32]

STANDARD: Final = 0
QUARTILES: Final = 1
MAD: Final = 2

MEAN: Final = 0
MEDIAN: Final = 1
ROBUST: Final = 2

# The standard deviation of normal data over its median absolute deviation.
MAD_TO_SD: Final = 1.4826
# A spread within so many rounding errors of the centre is no spread.
ROUNDING: Final = 8.0
# Beyond so many median absolute deviations a value has no weight in the robust centre.
BIWEIGHT: Final = 6.0


@kernel
def _longest(bounds: Ints) -> int:
    longest = 0
    for g in range(len(bounds) - 1):
        longest = max(longest, bounds[g + 1] - bounds[g])
    return longest


def _room(values: Matrix, bounds: Ints, scattered: bool) -> Matrix:
    """Memory for the loops over groups; numpy's comes in large pages, that of loops in small ones.

    Fetching small ones anew for every few columns would take longer than many a loop.
    """
    longest = int(np.diff(bounds).max(initial=0)) + 1
    loaded = int(bounds[-1]) + 1 if scattered else longest
    return np.empty(loaded + 2 * longest + SAMPLE, values.dtype)


@kernel
def _shared_out(room: Matrix, bounds: Ints) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Parts of it: for the values of all groups, twice for those of one, and for a sample."""
    longest = _longest(bounds) + 1
    rest = len(room) - SAMPLE - longest
    return room[: rest - longest], room[rest - longest : rest], room[rest:-SAMPLE], room[-SAMPLE:]


@kernel
def _load(column: Matrix, index: Places, scattered: bool, buffer: Matrix) -> None:
    """Put a column that is scattered into the order of the groups, reading it from end to end."""
    if scattered:
        for i in range(len(index)):
            buffer[index[i]] = column[i]


@kernel
def _group(
    column: Matrix, index: Places, start: int, stop: int, scattered: bool, buffer: Matrix
) -> Matrix:
    """Values of one group, which may be changed."""
    if scattered:
        return buffer[start:stop]
    for i in range(start, stop):
        buffer[i - start] = column[index[i]]
    return buffer[: stop - start]


@kernel
def _deviations(values: Matrix, n: int, centre: float) -> None:
    for i in range(n):
        values[i] = abs(values[i] - centre)


@kernel
def _biweight(values: Matrix, n: int, scratch: Matrix, sample: Matrix, other: Matrix) -> float:
    """One step of Tukey's biweight from the median (doi:10.1086/115487)."""
    other[:n] = values[:n]
    median = quantile(other, n, 0.5, scratch, sample)
    _deviations(other, n, median)
    reach = BIWEIGHT * quantile(other, n, 0.5, scratch, sample)
    if not reach > 0:
        return median
    total, weights = 0.0, 0.0
    for i in range(n):
        u = (values[i] - median) / reach
        if abs(u) < 1:
            w = (1 - u * u) ** 2
            total += w * (values[i] - median)
            weights += w
    return median + total / weights


def fit_scales(
    values: Matrix, index: Places, bounds: Ints, scattered: bool, method: int
) -> tuple[Floats, Floats, Ints]:
    """Centre, spread and number of finite values of every column in every group.

    Parameters
    ----------
    values : (N, F) column-major matrix
    index, bounds, scattered : where the rows of the groups are; see `Layout`
    method : STANDARD (mean, standard deviation of the population), QUARTILES (median,
        interquartile range) or MAD (median, 1.4826 times the median absolute deviation)

    Returns
    -------
    (G, F) arrays; without values centre and spread are NaN, and a spread that is nothing but
    rounding is 0
    """
    room = _room(values, bounds, scattered)
    found: tuple[Floats, Floats, Ints] = _scales(values, index, bounds, scattered, method, room)
    return found


@kernel
def _scales(
    values: Matrix, index: Places, bounds: Ints, scattered: bool, method: int, room: Matrix
) -> tuple[Floats, Floats, Ints]:
    groups, features = len(bounds) - 1, values.shape[1]
    centre = np.full((groups, features), np.nan)
    spread = np.full((groups, features), np.nan)
    count = np.zeros((groups, features), np.int64)
    buffer, scratch, _, sample = _shared_out(room, bounds)
    rounding = ROUNDING * np.finfo(values.dtype).eps
    for f in range(features):
        column = values[:, f]
        _load(column, index, scattered, buffer)
        for g in range(groups):
            own = _group(column, index, bounds[g], bounds[g + 1], scattered, buffer)
            n = settle(own)
            count[g, f] = n
            if n == 0:
                continue
            if method == STANDARD:
                middle = mean_of(own, n)
                width = np.sqrt(variance_of(own, n, middle))
            elif method == QUARTILES:
                middle = quantile(own, n, 0.5, scratch, sample)
                upper = quantile(own, n, 0.75, scratch, sample)
                width = upper - quantile(own, n, 0.25, scratch, sample)
            else:
                middle = quantile(own, n, 0.5, scratch, sample)
                _deviations(own, n, middle)
                width = MAD_TO_SD * quantile(own, n, 0.5, scratch, sample)
            centre[g, f] = middle
            spread[g, f] = width if width > rounding * abs(middle) else 0.0
    return centre, spread, count


@kernel
def apply_scales(values: Matrix, codes: Ints, centre: Floats, spread: Floats, out: Matrix) -> None:
    """Write `(value - centre) / spread` of each row's group; missing where there is no spread.

    Parameters
    ----------
    values, out : (N, F) column-major matrices, which may be one and the same
    codes : (N,) group of each row, negative where it has none
    centre, spread : (G, F) arrays
    """
    # Rows of one group usually follow each other: a run of them is one plain loop.
    starts = _runs(codes)
    for f in range(values.shape[1]):
        for r in range(len(starts) - 1):
            start, stop, g = starts[r], starts[r + 1], codes[starts[r]]
            middle = centre[g, f] if g >= 0 else np.nan
            width = spread[g, f] if g >= 0 else np.nan
            own = out[start:stop, f]
            own[:] = values[start:stop, f]
            _scale(own, middle, width if width > 0 else np.nan)


@kernel
def _runs(codes: Ints) -> Ints:
    """Where runs of equal codes begin, and the end of the last."""
    starts, count = np.empty(len(codes) + 1, np.int64), 0
    for i in range(len(codes)):
        starts[count] = i
        count += i == 0 or codes[i] != codes[i - 1]
    starts[count] = len(codes)
    return starts[: count + 1]


@kernel
def _scale(values: Matrix, middle: float, width: float) -> None:
    """In place and without a branch, so that several values are treated at once."""
    for i in range(len(values)):
        value = values[i]
        scaled = (value - middle) / width
        values[i] = scaled if abs(value) < np.inf else np.nan


def group_centres(
    values: Matrix, index: Places, bounds: Ints, scattered: bool, method: int
) -> Floats:
    """MEAN, MEDIAN or ROBUST centre (Tukey's biweight) of every column in every group, (G, F)."""
    room = _room(values, bounds, scattered)
    found: Floats = _centres(values, index, bounds, scattered, method, room)
    return found


@kernel
def _centres(
    values: Matrix, index: Places, bounds: Ints, scattered: bool, method: int, room: Matrix
) -> Floats:
    groups, features = len(bounds) - 1, values.shape[1]
    found = np.full((groups, features), np.nan)
    buffer, scratch, other, sample = _shared_out(room, bounds)
    for f in range(features):
        column = values[:, f]
        _load(column, index, scattered, buffer)
        for g in range(groups):
            own = _group(column, index, bounds[g], bounds[g + 1], scattered, buffer)
            n = settle(own)
            if n == 0:
                continue
            if method == MEAN:
                found[g, f] = mean_of(own, n)
            elif method == MEDIAN:
                found[g, f] = quantile(own, n, 0.5, scratch, sample)
            else:
                found[g, f] = _biweight(own, n, scratch, sample, other)
    return found


def weighted_centres(
    values: Matrix, weights: Floats, index: Places, bounds: Ints, scattered: bool, median: bool
) -> Floats:
    """Weighted mean or median of every column in every group.

    The weighted median is the value at which half of the weight is reached; where it is reached
    exactly between two values, their middle. Equal weights give the plain median.

    Parameters
    ----------
    weights : (M,) at least 0, in the order of the groups

    Returns
    -------
    (G, F) array, NaN where there is no weight
    """
    room = _room(values, bounds, scattered)
    found: Floats = _weighted(values, weights, index, bounds, scattered, median, room)
    return found


@kernel
def _weighted(
    values: Matrix,
    weights: Floats,
    index: Places,
    bounds: Ints,
    scattered: bool,
    median: bool,
    room: Matrix,
) -> Floats:
    groups, features = len(bounds) - 1, values.shape[1]
    found = np.full((groups, features), np.nan)
    buffer, scratch, _, sample = _shared_out(room, bounds)
    heavy, kept = np.empty(len(scratch)), np.empty(len(scratch))
    totals = _totals(weights, bounds)
    for f in range(features):
        column = values[:, f]
        _load(column, index, scattered, buffer)
        for g in range(groups):
            own = _group(column, index, bounds[g], bounds[g + 1], scattered, buffer)
            given = weights[bounds[g] : bounds[g + 1]]
            n, total = len(own), totals[g]
            # Usually all count, and nothing need be moved.
            if not (total > 0 and all_finite(own)):
                n, total = _settle_pairs(own, given, kept)
                given = kept
            if n == 0:
                continue
            if median:
                found[g, f] = weighted_median(own, given, n, total, scratch, heavy, sample)
            else:
                found[g, f] = _weighted_sum(own, given, n) / total
    return found


@kernel
def _totals(weights: Floats, bounds: Ints) -> Floats:
    """Weight of each group; NaN where some rows have none."""
    found = np.zeros(len(bounds) - 1)
    for g in range(len(found)):
        for i in range(bounds[g], bounds[g + 1]):
            found[g] += weights[i] if weights[i] > 0 else np.nan
    return found


@kernel
def _weighted_sum(values: Matrix, weights: Floats, n: int) -> float:
    found = 0.0
    for i in range(n):
        found += values[i] * weights[i]
    return found


@kernel
def _settle_pairs(values: Matrix, weights: Floats, kept: Floats) -> tuple[int, float]:
    """Bring values that count to the front, copy their weights; return number and sum."""
    n, total = 0, 0.0
    for i in range(len(values)):
        value, weight = values[i], weights[i]
        counts = np.isfinite(value) & (weight > 0)
        values[n], kept[n] = value, weight
        n += counts
        total += weight if counts else 0.0
    return n, total
