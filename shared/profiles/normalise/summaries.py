"""Numbers about single columns, on which the choice of features rests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.profiles.normalise import grouped, moments
from poolvox.shared.profiles.tables.columns import Matrix
from poolvox.shared.profiles.tables.groups import Groups

__all__ = ["Summary", "count_modes", "describe", "spread_within"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """Each column's finite values: how many, mean, variance (population), largest absolute."""

    count: NDArray[np.int64]
    mean: Floats
    variance: Floats
    largest: Floats


def describe(values: Matrix, rows: NDArray[np.int64]) -> Summary:
    """Summarise columns over some rows.

    Parameters
    ----------
    values : (N, F) column-major matrix
    rows : (M,) rows that count
    """
    return Summary(*moments.describe_columns(values, rows))


def count_modes(values: Matrix, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """Count different values, and the second most frequent value by the most frequent one.

    Returns
    -------
    (F,) number of different values, and (F,) ratio, 0 where there is only one value
    """
    unique = np.zeros(values.shape[1], np.int64)
    ratio = np.zeros(values.shape[1])
    for f in range(values.shape[1]):
        column = values[rows, f]
        ordered = np.sort(column[np.isfinite(column)])
        unique[f], first, second = moments.count_runs(ordered)
        ratio[f] = second / first if first else 0.0
    return unique, ratio


def spread_within(values: Matrix, groups: Groups) -> Floats:
    """Mean over groups of the standard deviation (population) within each, (F,)."""
    spread = grouped.fit_scales(values, *groups.layout, grouped.STANDARD)[1]
    seen = np.isfinite(spread).sum(axis=0)
    total = np.nansum(spread, axis=0)
    return np.asarray(np.divide(total, seen, out=np.full(len(seen), np.nan), where=seen > 0))
