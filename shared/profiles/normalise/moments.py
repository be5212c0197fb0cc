"""Compiled loops over whole columns: how many values, their mean, variance and extremes.

Matrices are column-major, (rows, features); values that are not finite are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel
from poolvox.shared.profiles.normalise.medians import settle

__all__ = [
    "all_finite",
    "count_infinite",
    "count_runs",
    "describe_columns",
    "mean_of",
    "variance_of",
]

Matrix = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel
def mean_of(values: Matrix, n: int) -> float:
    """Sum in four parts, which do not wait for each other."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = n - n % 4
    for i in range(0, whole, 4):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
    for i in range(whole, n):
        a += values[i]
    return (a + b + c + d) / n


@kernel
def variance_of(values: Matrix, n: int, mean: float) -> float:
    """Of the population."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = n - n % 4
    for i in range(0, whole, 4):
        a += (values[i] - mean) ** 2
        b += (values[i + 1] - mean) ** 2
        c += (values[i + 2] - mean) ** 2
        d += (values[i + 3] - mean) ** 2
    for i in range(whole, n):
        a += (values[i] - mean) ** 2
    return (a + b + c + d) / n


@kernel
def _largest(values: Matrix, n: int) -> float:
    """Of the absolute values."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = n - n % 4
    for i in range(0, whole, 4):
        a = max(a, abs(values[i]))
        b = max(b, abs(values[i + 1]))
        c = max(c, abs(values[i + 2]))
        d = max(d, abs(values[i + 3]))
    for i in range(whole, n):
        a = max(a, abs(values[i]))
    return max(max(a, b), max(c, d))


@kernel
def all_finite(values: Matrix) -> bool:
    """Tell whether no value is missing or infinite; no branch, so many are looked at at once."""
    odd = 0
    for i in range(len(values)):
        odd += not np.isfinite(values[i])
    return odd == 0


@kernel
def count_infinite(values: Matrix) -> Ints:
    """How many values of every column are infinite, (F,)."""
    found = np.zeros(values.shape[1], np.int64)
    for f in range(values.shape[1]):
        column, count = values[:, f], 0
        for i in range(len(column)):
            count += abs(column[i]) == np.inf
        found[f] = count
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
    count, found = np.zeros(features, np.int64), np.empty((features, 3))
    buffer = np.empty(len(rows), values.dtype)
    first = rows[0] if _follow(rows) else -1
    for f in range(features):
        column = values[:, f]
        if first >= 0:
            # Where one value is missing or infinite, the mean of them all is too.
            found[f] = _describe(column[first : first + len(rows)], len(rows))
            if np.isfinite(found[f, 0]):
                count[f] = len(rows)
                continue
        for i in range(len(rows)):
            buffer[i] = column[rows[i]]
        count[f] = settle(buffer)
        found[f] = _describe(buffer, count[f])
    return count, found[:, 0], found[:, 1], found[:, 2]


@kernel
def _describe(values: Matrix, n: int) -> tuple[float, float, float]:
    """Mean, variance and largest absolute value of the first `n`."""
    if n == 0:
        return np.nan, np.nan, np.nan
    mean = mean_of(values, n)
    return mean, variance_of(values, n, mean), np.float64(_largest(values, n))


@kernel
def _follow(rows: Ints) -> bool:
    """Tell whether rows follow each other, so that they need not be gathered."""
    for i in range(1, len(rows)):
        if rows[i] != rows[i - 1] + 1:
            return False
    return len(rows) > 0
