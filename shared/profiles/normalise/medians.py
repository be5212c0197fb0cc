"""Compiled order statistics: exact, of values in any order, in about three nanoseconds a value.

A few values taken at even steps tell between which two the wanted one should lie; counting, which
the processor does for many values at once, makes sure of it and brings the two closer; only what is
left between them is sorted out one by one (after Floyd and Rivest, doi:10.1145/360680.360691).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel, sum_kernel

__all__ = ["SAMPLE", "quantile", "settle", "weighted_median"]

Matrix = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]

# Shorter arrays are partitioned outright.
_SHORT: Final = 32
# Values of a sample: one in so many, at least and at most so many.
_STEP: Final = 128
_LEAST: Final = 8
SAMPLE: Final = 8_192
# Standard deviations, of the rank in the sample, within which the wanted value is expected.
_REACH: Final = 2.0
# The limits are brought closer by counting until so few values are left between them, or so often.
_LEFT: Final = 16
_ROUNDS: Final = 10
# The same weights summed in another order differ by rounding, at most so much for each of them.
_ROUNDING: Final = 2.0**-52


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
    if n < _SHORT:
        scratch[:n] = values[:n]
        return _two_in_order(scratch, n, k)
    low, high, below = _limits(values, n, k, sample)
    if low == high:
        return np.float64(low), np.float64(low)
    inside = 0
    for i in range(n):
        value = values[i]
        scratch[inside] = value
        inside += (value >= low) & (value <= high)
    return _two_in_order(scratch, inside, k - below)


@kernel
def _limits(values: Matrix, n: int, k: int, sample: Matrix) -> tuple[Any, Any, int]:
    """Two values between which, both included, the k-th and (k + 1)-th smallest are.

    Returned are the two, in the precision of the values, and how many values are below the first.
    """
    low, high = _guess(values, n, k / n, sample)
    below, upto = _count_below(values, n, low), _count_upto(values, n, high)
    if below > k:
        low, below = _smallest(values, 0, n - 1), 0
    if upto < k + 2:
        high, upto = _largest(values, 0, n - 1), n
    for _ in range(_ROUNDS):
        # In the precision of the values, which both limits are compared with.
        sample[0] = 0.5 * (low + high)
        middle = sample[0]
        if upto - below <= _LEFT or not low < middle < high:
            break
        under = _count_below(values, n, middle)
        if under <= k:
            low, below = middle, under
        elif under > k + 1:
            high, upto = middle, under
        else:
            break
    return low, high, below


@kernel
def _guess(values: Matrix, n: int, share: float, sample: Matrix) -> tuple[Any, Any]:
    """Two values between which, going by a sample, that share of the values is reached."""
    size = min(max(_LEAST, n // _STEP), len(sample))
    step = n // size
    for i in range(size):
        sample[i] = values[i * step]
    if size <= _LEFT:
        _insert(sample, size)
    else:
        sample[:size].sort()
    place, margin = int(share * size), int(_REACH * 0.5 * np.sqrt(size)) + 1
    return sample[max(place - margin, 0)], sample[min(place + margin, size - 1)]


@kernel
def _insert(values: Matrix, n: int) -> None:
    """Sort a few values in place."""
    for i in range(1, n):
        value, place = values[i], i
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@kernel
def _count_below(values: Matrix, n: int, limit: Any) -> int:
    count = 0
    for i in range(n):
        count += values[i] < limit
    return count


@kernel
def _count_upto(values: Matrix, n: int, limit: Any) -> int:
    count = 0
    for i in range(n):
        count += values[i] <= limit
    return count


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
    values: Matrix,
    weights: Floats,
    n: int,
    total: float,
    scratch: Matrix,
    room: Floats,
    sample: Matrix,
) -> float:
    """Find the value below which half of the weight lies.

    Where half is reached exactly between two values it is their middle, so that equal weights give
    the plain median.

    Parameters
    ----------
    values : finite, and left as they are
    weights : above 0, summing to `total`
    scratch, room : room for `n + 1` values, and as many weights
    sample : room for `SAMPLE` values
    """
    slack = _ROUNDING * n * total
    if n < _SHORT:
        scratch[:n], room[:n] = values[:n], weights[:n]
        return _split(scratch, room, n, 0.5 * total, slack, 0.0)
    low, high, before = _weighted_limits(values, weights, n, total, sample)
    if low == high:
        return np.float64(low)
    inside = 0
    for i in range(n):
        value = values[i]
        scratch[inside], room[inside] = value, weights[i]
        inside += (value >= low) & (value <= high)
    return _split(scratch, room, inside, 0.5 * total, slack, before)


@kernel
def _weighted_limits(
    values: Matrix, weights: Floats, n: int, total: float, sample: Matrix
) -> tuple[Any, Any, float]:
    """Two values between which, both included, half of the weight is reached.

    Returned are the two, in the precision of the values, and the weight below the first.
    """
    # Only what is clear decides: sums in another order differ by rounding.
    half, slack = 0.5 * total, 2 * _ROUNDING * n * total
    low, high = _guess(values, n, 0.5, sample)
    before, upto = _weight_below(values, weights, n, low), _weight_upto(values, weights, n, high)
    if before > half - slack:
        low, before = _smallest(values, 0, n - 1), 0.0
    if upto < half + slack:
        high, upto = _largest(values, 0, n - 1), total
    for _ in range(_ROUNDS):
        sample[0] = 0.5 * (low + high)
        middle = sample[0]
        if n * (upto - before) <= _LEFT * total or not low < middle < high:
            break
        under = _weight_below(values, weights, n, middle)
        if under < half - slack:
            low, before = middle, under
        elif under > half + slack:
            high, upto = middle, under
        else:
            break
    return low, high, before


@sum_kernel
def _weight_below(values: Matrix, weights: Floats, n: int, limit: Any) -> float:
    found = 0.0
    for i in range(n):
        found += weights[i] if values[i] < limit else 0.0
    return found


@sum_kernel
def _weight_upto(values: Matrix, weights: Floats, n: int, limit: Any) -> float:
    found = 0.0
    for i in range(n):
        found += weights[i] if values[i] <= limit else 0.0
    return found


@kernel
def _split(
    values: Matrix, weights: Floats, n: int, half: float, slack: float, before: float
) -> float:
    """Find where half of the weight lies below, by partitions; values and weights are reordered.

    Parameters
    ----------
    half : of the weight, of these and all other values
    slack : within which weights are equal
    before : weight of all that is smaller than these values
    """
    low, high = 0, n - 1
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
            return _middle(_largest(values, low, j), _smallest(values, j + 1, high))
        elif middle > half + slack:
            return np.float64(values[j + 1])
        elif middle >= half - slack and i <= high:
            return _middle(values[i - 1], _smallest(values, i, high))
        else:
            low, before = i, middle
    return np.float64(values[min(low, n - 1)])


@kernel
def _middle(one: Any, other: Any) -> float:
    middle: float = 0.5 * (np.float64(one) + np.float64(other))
    return middle


@kernel
def _largest(values: Matrix, start: int, stop: int) -> Any:
    found = values[start]
    for k in range(start, stop + 1):
        found = max(found, values[k])
    return found


@kernel
def _smallest(values: Matrix, start: int, stop: int) -> Any:
    found = values[start]
    for k in range(start, stop + 1):
        found = min(found, values[k])
    return found
