"""Statistics of the values of one object, sorted or counted; for compiled callers."""

from __future__ import annotations

import numpy as np

from poolvox.shared.features.kernels import Floats, Ints, kernel
from poolvox.shared.features.ordering import argsort_floats

__all__ = ["QUANTILES", "describe_values", "tally"]

# Percentiles that are told.
QUANTILES = (1, 5, 25, 75, 95, 99)
# Spread below this share of the largest value is rounding: the object counts as constant.
ROUNDING = 1e-12
# Whole numbers in a range no larger than this are counted.
MOST_LEVELS = 1 << 20


@kernel
def tally(values: Floats) -> tuple[Floats, Ints]:
    """Values in growing order, NaN last, and how often each occurs.

    Pixels of a camera are whole numbers of which few are different: they are counted, not sorted.
    """
    low, high, whole = np.inf, -np.inf, True
    for value in values:
        if not np.isnan(value):
            low, high = min(low, value), max(high, value)
            whole = whole and value == np.floor(value)
    if not whole or not high - low < MOST_LEVELS:
        return values[argsort_floats(values)], np.ones(len(values), np.int64)
    often = np.zeros(int(high - low) + 1, np.int64)
    for value in values:
        if not np.isnan(value):
            often[int(value - low)] += 1
    levels = np.flatnonzero(often)
    found: Floats = levels.astype(np.float64) + low
    return found, often[levels]


@kernel
def describe_values(found: Floats, often: Ints, bins: int, out: Floats) -> None:
    """Statistics of values in growing order, each of which occurs so often."""
    below: Ints = np.cumsum(often)
    n = below[-1]
    total, square = 0.0, 0.0
    for i in range(len(found)):
        total += often[i] * found[i]
        square += often[i] * found[i] * found[i]
    mean, least, greatest = total / n, found[0], found[-1]
    m2, m3, m4 = 0.0, 0.0, 0.0
    for i in range(len(found)):
        d = found[i] - mean
        m2 += often[i] * d * d
        m3 += often[i] * d * d * d
        m4 += often[i] * d * d * d * d
    m2, m3, m4 = m2 / n, m3 / n, m4 / n
    constant = greatest - least <= ROUNDING * max(abs(least), abs(greatest))
    deviation = 0.0 if constant else np.sqrt(m2)
    median = _quantile(found, below, 0.5)
    out[0], out[1], out[2] = total, mean, deviation
    if mean != 0:
        out[3] = deviation / abs(mean)
    out[4], out[5], out[6] = least, greatest, median
    out[7] = _median_deviation(found, below, median)
    for i, percent in enumerate(QUANTILES):
        out[8 + i] = _quantile(found, below, percent / 100)
    if not constant:
        out[14], out[15] = m3 / m2**1.5, m4 / (m2 * m2) - 3
    out[16] = np.sqrt(square / n)
    out[17] = 0.0 if constant else _entropy(found, often, bins)


@kernel
def _quantile(found: Floats, below: Ints, share: float) -> float:
    at = share * (below[-1] - 1)
    low = int(at)
    one = found[np.searchsorted(below, low, side="right")]
    other = found[np.searchsorted(below, min(low + 1, below[-1] - 1), side="right")]
    value: float = one + (other - one) * (at - low)
    return value


@kernel
def _median_deviation(found: Floats, below: Ints, median: float) -> float:
    """Median of |value - median|: deviations are met in order from both sides of the median."""
    n, met = below[-1], 0
    above = np.searchsorted(found, median)
    under = above - 1
    before = here = -1.0
    for _ in range(len(found)):
        down = median - found[under] if under >= 0 else np.inf
        up = found[above] - median if above < len(found) else np.inf
        at = under if down <= up else above
        here = min(down, up)
        met += below[at] - (below[at - 1] if at > 0 else 0)
        if before < 0 and met > (n - 1) // 2:
            before = here
        if met > n // 2:
            break
        under, above = (under - 1, above) if down <= up else (under, above + 1)
    return (before + here) / 2


@kernel
def _entropy(found: Floats, often: Ints, bins: int) -> float:
    counts = np.zeros(bins)
    width = (found[-1] - found[0]) / bins
    # A range that overflows has no bins.
    if not np.isfinite(width):
        return np.nan
    for i in range(len(found)):
        counts[min(int((found[i] - found[0]) / width), bins - 1)] += often[i]
    entropy, total = 0.0, counts.sum()
    for count in counts:
        if count > 0:
            entropy -= count / total * np.log2(count / total)
    return entropy
