"""Compiled order statistics: exact, of values in any order, in about three nanoseconds a value.

A few values taken at even steps tell between which two the wanted one lies; counting, which the
processor does for many values at once, brings the two closer; only what is left between them is
sorted out one by one (after Floyd and Rivest, doi:10.1145/360680.360691).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel

__all__ = ["SAMPLE", "quantile", "settle", "weighted_median"]

Matrix = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]

# Shorter arrays are partitioned outright.
_SHORT: Final = 96
# Values of a sample: one in so many, at least and at most so many.
_STEP: Final = 32
_LEAST: Final = 32
SAMPLE: Final = 8_192
# Standard deviations, of the rank in the sample, within which the wanted value is expected. Chance
# leads astray in 3 of 1,000 cases, in which everything is partitioned.
_REACH: Final = 3.0
# How often the two limits are brought closer by counting.
_ROUNDS: Final = 3
# The same weights summed in another order differ by rounding.
_SLACK: Final = 1e-12


@kernel
def settle(values: Matrix) -> int:
    """Bring the finite values to the front, in their order; return how many there are."""
    odd = 0
    for i in range(len(values)):
        odd += not np.isfinite(values[i])
    if odd == 0:
        return len(values)
    n = 0
    for i in range(len(values)):
        value = values[i]
        values[n] = value
        n += np.isfinite(value)
    return n


@kernel
def quantile(values: Matrix, n: int, share: float, scratch: Matrix, sample: Matrix) -> float:
    """Quantile of the first `n` values with linear interpolation between neighbours.

    Parameters
    ----------
    values : finite, and left as they are
    scratch : room for `n + 1` values
    sample : room for `SAMPLE` values
    """
    place = share * (n - 1)
    k = int(place)
    first, second = _ranked(values, n, k, scratch, sample)
    return first + (second - first) * (place - k)


@kernel
def _ranked(values: Matrix, n: int, k: int, scratch: Matrix, sample: Matrix) -> tuple[float, float]:
    """Find the k-th and (k + 1)-th smallest of the first `n`."""
    if n >= _SHORT:
        low, high = _limits(values, n, k, sample)
        below, inside = 0, 0
        for i in range(n):
            value = values[i]
            below += value < low
            scratch[inside] = value
            inside += (value >= low) & (value <= high)
        if below <= k and k + 1 < below + inside:
            if low == high:
                return np.float64(low), np.float64(low)
            return _two_in_order(scratch, inside, k - below)
    scratch[:n] = values[:n]
    return _two_in_order(scratch, n, k)


@kernel
def _limits(values: Matrix, n: int, k: int, sample: Matrix) -> tuple[float, float]:
    """Two values between which, both included, the k-th and (k + 1)-th smallest should be."""
    size = min(max(_LEAST, n // _STEP), len(sample))
    step = n // size
    for i in range(size):
        sample[i] = values[i * step]
    sample[:size].sort()
    place, margin = int(k * (size / n)), int(_REACH * 0.5 * np.sqrt(size)) + 1
    low = sample[max(place - margin, 0)]
    high = sample[min(place + margin, size - 1)]
    for _ in range(_ROUNDS):
        # In the precision of the values: both limits are compared with them.
        sample[0] = 0.5 * (low + high)
        middle = sample[0]
        if not low < middle < high:
            break
        below = 0
        for i in range(n):
            below += values[i] < middle
        if below <= k:
            low = middle
        elif below > k + 1:
            high = middle
        else:
            break
    return low, high


@kernel
def _two_in_order(values: Matrix, n: int, k: int) -> tuple[float, float]:
    """Return the k-th and (k + 1)-th smallest; the last stands in for what comes after it."""
    first = _partition(values, n, k)
    if k + 1 >= n:
        return first, first
    second = np.float64(values[k + 1])
    for i in range(k + 2, n):
        second = min(second, np.float64(values[i]))
    return first, second


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
    return np.float64(values[k])


@kernel
def weighted_median(
    values: Matrix, weights: Floats, n: int, total: float, scratch: Matrix, room: Floats
) -> float:
    """Find the value below which half of the weight lies.

    Where half is reached exactly between two values it is their middle, so that equal weights give
    the plain median.

    Parameters
    ----------
    values : finite, and left as they are
    weights : above 0, summing to `total`
    scratch, room : room for `n + 1` values, and as many weights
    """
    if n >= _SHORT:
        low, high = _weighted_limits(values, weights, n, total)
        before, within, inside = 0.0, 0.0, 0
        for i in range(n):
            value, weight = values[i], weights[i]
            before += weight if value < low else 0.0
            scratch[inside], room[inside] = value, weight
            chosen = (value >= low) & (value <= high)
            within += weight if chosen else 0.0
            inside += chosen
        slack = 2 * _SLACK * total
        if before < 0.5 * total - slack and before + within > 0.5 * total + slack:
            if low == high:
                return np.float64(low)
            return _split(scratch, room, inside, total, before)
    scratch[:n] = values[:n]
    room[:n] = weights[:n]
    return _split(scratch, room, n, total, 0.0)


@kernel
def _weighted_limits(values: Matrix, weights: Floats, n: int, total: float) -> tuple[float, float]:
    """Two values between which, both included, half of the weight should be reached."""
    size = min(max(_LEAST, n // _STEP), SAMPLE)
    step = n // size
    sample, weight = np.empty(size, values.dtype), np.empty(size)
    for i in range(size):
        sample[i], weight[i] = values[i * step], weights[i * step]
    order = np.argsort(sample)
    half, reached, place = 0.5 * weight.sum(), 0.0, 0
    while place + 1 < size and reached + weight[order[place]] < half:
        reached += weight[order[place]]
        place += 1
    margin = int(_REACH * 0.5 * np.sqrt(size)) + 1
    low = sample[order[max(place - margin, 0)]]
    high = sample[order[min(place + margin, size - 1)]]
    for _ in range(_ROUNDS):
        sample[0] = 0.5 * (low + high)
        middle = sample[0]
        if not low < middle < high:
            break
        below = _weight_below(values, weights, n, middle)
        # Only where it is clear: sums in another order differ by rounding.
        if below < 0.5 * total * (1 - 1e-9):
            low = middle
        elif below > 0.5 * total * (1 + 1e-9):
            high = middle
        else:
            break
    return low, high


@kernel
def _weight_below(values: Matrix, weights: Floats, n: int, limit: float) -> float:
    """Sum in two parts, which do not wait for each other; products, since branches do."""
    a, b = 0.0, 0.0
    for i in range(n // 2):
        a += weights[2 * i] * (values[2 * i] < limit)
        b += weights[2 * i + 1] * (values[2 * i + 1] < limit)
    if n % 2:
        a += weights[n - 1] * (values[n - 1] < limit)
    return a + b


@kernel
def _split(values: Matrix, weights: Floats, n: int, total: float, before: float) -> float:
    """Find where half of the weight lies below, by partitions; values and weights are reordered.

    Parameters
    ----------
    before : weight of all that is smaller than these values
    """
    low, high = 0, n - 1
    half, slack = 0.5 * total, _SLACK * total
    while low < high:
        pivot, i, j = values[(low + high) >> 1], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                weights[i], weights[j] = weights[j], weights[i]
                i += 1
                j -= 1
        # Up to j all are at most the pivot, from i on at least; one equal to it may be between.
        left = before
        for k in range(low, j + 1):
            left += weights[k]
        middle = left + (weights[j + 1] if j + 1 < i else 0.0)
        if left > half + slack:
            high = j
        elif left >= half - slack:
            return 0.5 * (_largest(values, low, j) + _smallest(values, j + 1, high))
        elif middle > half + slack:
            return np.float64(values[j + 1])
        elif middle >= half - slack and i <= high:
            return 0.5 * (np.float64(values[i - 1]) + _smallest(values, i, high))
        else:
            low, before = i, middle
    return np.float64(values[min(low, n - 1)])


@kernel
def _largest(values: Matrix, start: int, stop: int) -> float:
    found = -np.inf
    for k in range(start, stop + 1):
        found = max(found, values[k])
    return found


@kernel
def _smallest(values: Matrix, start: int, stop: int) -> float:
    found = np.inf
    for k in range(start, stop + 1):
        found = min(found, values[k])
    return found
