"""Compiled loops over columns: exact medians, quantiles, means and spreads within groups of rows.

Matrices are column-major, (rows, features), so that a column is read in one go. Rows of a group
are given by `order` and `bounds`: those of group g are `order[bounds[g]:bounds[g + 1]]`. Values
that are not finite are left out. A kernel treats one column after the other and reads nothing
else, so a result depends neither on how columns are shared out nor on the number of threads.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel

__all__ = [
    "MAD",
    "MEAN",
    "MEDIAN",
    "QUARTILES",
    "ROBUST",
    "STANDARD",
    "apply_scales",
    "count_runs",
    "describe_columns",
    "fit_scales",
    "group_centres",
]

Matrix = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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

# Shorter arrays are partitioned outright; longer ones are first cut down by a sample.
_LONG: Final = 20_000
_SAMPLE: Final = 1_024
# How far, in places of the sorted sample, the wanted value may lie from where it is expected.
_MARGIN: Final = 64


@kernel
def _partition(values: Matrix, n: int, k: int) -> float:
    """Put the k-th smallest of the first `n` values in its place and return it."""
    low, high = 0, n - 1
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < values[low]:
            values[low], values[middle] = values[middle], values[low]
        if values[high] < values[low]:
            values[low], values[high] = values[high], values[low]
        if values[high] < values[middle]:
            values[middle], values[high] = values[high], values[middle]
        pivot, i, j = values[middle], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return float(values[k])


@kernel
def _two_in_order(values: Matrix, n: int, k: int) -> tuple[float, float]:
    """Return the k-th and (k + 1)-th smallest; the last stands in for what comes after it."""
    first = _partition(values, n, k)
    if k + 1 >= n:
        return first, first
    second = float(values[k + 1])
    for i in range(k + 2, n):
        second = min(second, float(values[i]))
    return first, second


@kernel
def _ranked(values: Matrix, n: int, k: int, scratch: Matrix) -> tuple[float, float]:
    """Find the k-th and (k + 1)-th smallest of the first `n`; `values` may be reordered.

    Of long arrays only what lies between two values of a sample is partitioned (Floyd and Rivest,
    doi:10.1145/360680.360691); if the sample was misleading, everything is.
    """
    if n < _LONG:
        return _two_in_order(values, n, k)
    step = n // _SAMPLE
    sample = np.empty(_SAMPLE, values.dtype)
    for i in range(_SAMPLE):
        sample[i] = values[i * step]
    sample.sort()
    place = int(k * (_SAMPLE / n))
    low = sample[max(place - _MARGIN, 0)]
    high = sample[min(place + _MARGIN, _SAMPLE - 1)]
    below, inside = 0, 0
    for i in range(n):
        value = values[i]
        below += value < low
        scratch[inside] = value
        inside += (value >= low) & (value <= high)
    if below <= k and k + 1 < below + inside:
        return _two_in_order(scratch, inside, k - below)
    return _two_in_order(values, n, k)


@kernel
def _quantile(values: Matrix, n: int, share: float, scratch: Matrix) -> float:
    """Quantile with linear interpolation between neighbours."""
    place = share * (n - 1)
    k = int(place)
    first, second = _ranked(values, n, k, scratch)
    return first + (second - first) * (place - k)


@kernel
def _gather(column: Matrix, order: Ints, start: int, stop: int, buffer: Matrix) -> int:
    """Copy the finite values of the rows into `buffer`; return how many there are."""
    n = 0
    for i in range(start, stop):
        value = column[order[i]]
        buffer[n] = value
        n += np.isfinite(value)
    return n


@kernel
def _deviations(values: Matrix, n: int, centre: float) -> None:
    for i in range(n):
        values[i] = abs(values[i] - centre)


@kernel
def _mean(values: Matrix, n: int) -> float:
    total = 0.0
    for i in range(n):
        total += values[i]
    return total / n


@kernel
def _standard_deviation(values: Matrix, n: int, mean: float) -> float:
    total = 0.0
    for i in range(n):
        total += (values[i] - mean) ** 2
    return float(np.sqrt(total / n))


@kernel
def _biweight(values: Matrix, n: int, scratch: Matrix, other: Matrix) -> float:
    """One step of Tukey's biweight from the median (doi:10.1086/115487)."""
    other[:n] = values[:n]
    median = _quantile(other, n, 0.5, scratch)
    _deviations(other, n, median)
    reach = BIWEIGHT * _quantile(other, n, 0.5, scratch)
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


@kernel
def fit_scales(
    values: Matrix, order: Ints, bounds: Ints, method: int
) -> tuple[Floats, Floats, Ints]:
    """Centre, spread and number of finite values of every column in every group.

    Parameters
    ----------
    values : (N, F) column-major matrix
    order, bounds : rows of the groups, (M,) and (G + 1,)
    method : STANDARD (mean, standard deviation of the population), QUARTILES (median,
        interquartile range) or MAD (median, 1.4826 times the median absolute deviation)

    Returns
    -------
    (G, F) arrays; without values centre and spread are NaN, and a spread that is nothing but
    rounding is 0
    """
    groups, features = len(bounds) - 1, values.shape[1]
    centre = np.full((groups, features), np.nan)
    spread = np.full((groups, features), np.nan)
    count = np.zeros((groups, features), np.int64)
    longest = np.max(bounds[1:] - bounds[:-1]) if groups else 0
    buffer, scratch = np.empty(longest + 1, values.dtype), np.empty(longest + 1, values.dtype)
    rounding = ROUNDING * np.finfo(values.dtype).eps
    for f in range(features):
        column = values[:, f]
        for g in range(groups):
            n = _gather(column, order, bounds[g], bounds[g + 1], buffer)
            count[g, f] = n
            if n == 0:
                continue
            if method == STANDARD:
                middle = _mean(buffer, n)
                width = _standard_deviation(buffer, n, middle)
            elif method == QUARTILES:
                middle = _quantile(buffer, n, 0.5, scratch)
                upper = _quantile(buffer, n, 0.75, scratch)
                width = upper - _quantile(buffer, n, 0.25, scratch)
            else:
                middle = _quantile(buffer, n, 0.5, scratch)
                _deviations(buffer, n, middle)
                width = MAD_TO_SD * _quantile(buffer, n, 0.5, scratch)
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
    for f in range(values.shape[1]):
        for i in range(values.shape[0]):
            g = codes[i]
            width = spread[g, f] if g >= 0 else np.nan
            value = values[i, f]
            if np.isfinite(value) and width > 0:
                out[i, f] = (value - centre[g, f]) / width
            else:
                out[i, f] = np.nan


@kernel
def group_centres(values: Matrix, order: Ints, bounds: Ints, method: int) -> Floats:
    """MEAN, MEDIAN or ROBUST centre (Tukey's biweight) of every column in every group, (G, F)."""
    groups, features = len(bounds) - 1, values.shape[1]
    found = np.full((groups, features), np.nan)
    longest = np.max(bounds[1:] - bounds[:-1]) if groups else 0
    buffer, scratch = np.empty(longest + 1, values.dtype), np.empty(longest + 1, values.dtype)
    other = np.empty(longest + 1, values.dtype)
    for f in range(features):
        column = values[:, f]
        for g in range(groups):
            n = _gather(column, order, bounds[g], bounds[g + 1], buffer)
            if n == 0:
                continue
            if method == MEAN:
                found[g, f] = _mean(buffer, n)
            elif method == MEDIAN:
                found[g, f] = _quantile(buffer, n, 0.5, scratch)
            else:
                found[g, f] = _biweight(buffer, n, scratch, other)
    return found


@kernel
def count_runs(ordered: Matrix) -> tuple[int, int, int]:
    """Number of different values of a sorted array, and of the two longest runs of equal ones."""
    unique, first, second, run = 0, 0, 0, 0
    for i in range(len(ordered)):
        run += 1
        if i + 1 == len(ordered) or ordered[i + 1] != ordered[i]:
            unique += 1
            if run > first:
                first, second = run, first
            elif run > second:
                second = run
            run = 0
    return unique, first, second


@kernel
def describe_columns(values: Matrix, rows: Ints) -> tuple[Ints, Floats, Floats, Floats]:
    """Number of finite values, mean, variance (of the population) and largest absolute value.

    Parameters
    ----------
    values : (N, F) column-major matrix
    rows : (M,) the rows that count
    """
    features = values.shape[1]
    count = np.zeros(features, np.int64)
    mean, variance = np.full(features, np.nan), np.full(features, np.nan)
    largest = np.full(features, np.nan)
    buffer = np.empty(len(rows) + 1, values.dtype)
    for f in range(features):
        n = _gather(values[:, f], rows, 0, len(rows), buffer)
        count[f] = n
        if n == 0:
            continue
        middle, squares, most = _mean(buffer, n), 0.0, 0.0
        for i in range(n):
            squares += (buffer[i] - middle) ** 2
            most = max(most, abs(buffer[i]))
        mean[f], variance[f], largest[f] = middle, squares / n, most
    return count, mean, variance, largest
