"""Centres of groups in which rows count by a weight: the probability of their call."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel
from poolvox.shared.profiles.columns import Matrix

__all__ = ["as_weights", "modz_weights", "weighted_centres"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The least weight of a replicate that agrees with no other.
MIN_WEIGHT: Final = 0.01


@kernel
def weighted_centres(
    values: Matrix, weights: Floats, order: Ints, bounds: Ints, median: bool
) -> Floats:
    """Weighted mean or median of every column in every group.

    The weighted median is the value at which half of the weight is reached; where it is reached
    exactly between two values, their middle. Equal weights give the plain median.

    Parameters
    ----------
    values : (N, F) column-major matrix; values that are not finite are left out
    weights : (N,) at least 0
    order, bounds : rows of the groups, (M,) and (G + 1,)

    Returns
    -------
    (G, F) array, NaN where there is no weight
    """
    groups, features = len(bounds) - 1, values.shape[1]
    found = np.full((groups, features), np.nan)
    longest = np.max(bounds[1:] - bounds[:-1]) if groups else 0
    own, weight = np.empty(longest, np.float64), np.empty(longest, np.float64)
    for f in range(features):
        for g in range(groups):
            n, total = 0, 0.0
            for i in range(bounds[g], bounds[g + 1]):
                row = order[i]
                value = values[row, f]
                if np.isfinite(value) and weights[row] > 0:
                    own[n], weight[n] = value, weights[row]
                    total += weight[n]
                    n += 1
            if n == 0:
                continue
            if median:
                found[g, f] = _weighted_median(own[:n], weight[:n], total)
            else:
                mean = 0.0
                for i in range(n):
                    mean += own[i] * weight[i]
                found[g, f] = mean / total
    return found


@kernel
def _weighted_median(values: Floats, weights: Floats, total: float) -> float:
    """Find where half of the weight lies below, by partitions; values and weights are reordered."""
    low, high, before = 0, len(values) - 1, 0.0
    half = 0.5 * total
    # The same weights summed in another order differ by rounding.
    slack = 1e-12 * total
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
            return float(values[j + 1])
        elif middle >= half - slack and i <= high:
            return 0.5 * (float(values[i - 1]) + _smallest(values, i, high))
        else:
            low, before = i, middle
    return float(values[min(low, len(values) - 1)])


@kernel
def _largest(values: Floats, start: int, stop: int) -> float:
    found = -np.inf
    for k in range(start, stop + 1):
        found = max(found, values[k])
    return found


@kernel
def _smallest(values: Floats, start: int, stop: int) -> float:
    found = np.inf
    for k in range(start, stop + 1):
        found = min(found, values[k])
    return found


def modz_weights(values: Matrix, *, least: float = MIN_WEIGHT) -> Floats:
    """Weight replicates by how well each agrees with the others.

    The weight is the mean of the Spearman correlations with the other replicates, of which
    negative ones are 0, at least `least`, then scaled to sum 1 (doi:10.1016/j.cell.2017.10.049).

    Parameters
    ----------
    values : (R, F) replicates of one perturbation; features that any replicate lacks are left out
        of the correlations with it

    Returns
    -------
    (R,) weights; equal ones where there are no correlations
    """
    from poolvox.shared.profiles.correlation import correlate_columns

    count = len(values)
    if count == 1:
        return np.ones(1)
    turned = np.asfortranarray(values.T.astype(float))
    agreement = correlate_columns(turned, np.arange(turned.shape[0], dtype=np.int64), rank=True)
    agreement = np.maximum(agreement, 0)
    np.fill_diagonal(agreement, np.nan)
    known = np.isfinite(agreement)
    mean = np.where(known, agreement, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    weights = np.maximum(mean, least)
    return np.asarray(weights / weights.sum())


def as_weights(values: Any) -> Floats:
    """Weights as numbers; missing ones count nothing."""
    given = np.asarray(values, float)
    return np.where(np.isfinite(given), given, 0.0)
