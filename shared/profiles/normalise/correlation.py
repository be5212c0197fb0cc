"""Correlations of all pairs of columns, with missing values left out pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.profiles.normalise.summaries import describe
from poolvox.shared.profiles.tables.columns import Matrix

__all__ = ["correlate_columns"]

# Rows that are multiplied at once. Blocks begin at multiples of it, whatever the partitions, and
# are added up in double precision.
BLOCK: Final = 8_192

Floats = NDArray[np.float64]


def correlate_columns(
    values: Matrix,
    rows: NDArray[np.int64],
    columns: Sequence[int] | None = None,
    *,
    rank: bool = False,
) -> Floats:
    """Correlate columns with each other.

    Parameters
    ----------
    values : (N, F) matrix
    rows : (M,) rows that count
    columns : (K,) places of the columns; all if None
    rank : Spearman's instead of Pearson's

    Returns
    -------
    (K, K) array; NaN where fewer than two rows have both values, or one of them is constant. In
    single precision it is right to about 1e-6.
    """
    at = np.arange(values.shape[1]) if columns is None else np.asarray(columns)
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    ranks = _ranks(values, rows, at) if rank else None
    source = values if ranks is None else ranks
    own = at if ranks is None else np.arange(len(at))
    pieces = (
        blocks if ranks is None else np.split(np.arange(len(rows)), range(BLOCK, len(rows), BLOCK))
    )
    stats = describe(source, rows if ranks is None else np.arange(len(rows), dtype=np.int64))
    mean = stats.mean[own]
    width = np.sqrt(stats.variance[own])
    constant = ~(width > 0)
    width[constant] = 1.0
    sums = _Sums(len(at), np.flatnonzero(stats.count[own] < len(rows)))
    for piece in pieces:
        block = _taken(source, piece, own)
        block -= mean.astype(block.dtype)
        block /= width.astype(block.dtype)
        sums.add(block)
    found = sums.correlation()
    found[constant, :] = found[:, constant] = np.nan
    return found


class _Sums:
    """Sums of products over blocks of rows, kept in double precision.

    Most columns have all values, and only with the others the rows of a pair must be told apart.
    """

    def __init__(self, count: int, holed: NDArray[np.int64]) -> None:
        """Begin with no rows; `holed` are the columns that lack some values."""
        self.holed = holed
        self.products: Any = np.zeros((count, count))
        # Of each column: number of values, sum and sum of squares.
        self.total: Any = np.zeros((3, count))
        # The same of column i over the rows that the j-th holed column has.
        self.shared: Any = np.zeros((3, count, len(holed)))

    def add(self, block: Matrix) -> None:
        there = np.isfinite(block[:, self.holed])
        block[:, self.holed] = np.where(there, block[:, self.holed], 0)
        self.products += block.T @ block
        self.total[0] += len(block)
        self.total[1] += block.sum(axis=0, dtype=float)
        if not len(self.holed):
            return
        present = np.ones_like(block)
        present[:, self.holed] = there
        squares, mask = block * block, present[:, self.holed]
        self.total[0] -= len(block) - present.sum(axis=0, dtype=float)
        self.total[2] += squares.sum(axis=0, dtype=float)
        for place, values in enumerate((present, block, squares)):
            self.shared[place] += values.T @ mask

    def correlation(self) -> Floats:
        """Pearson's of each pair over the rows that have both."""
        # Of column i over the rows that column j has as well, (K, K).
        counts, sums, squares = (self._over(place) for place in range(3))
        with np.errstate(invalid="ignore", divide="ignore"):
            covariance = self.products - sums * sums.T / counts
            if len(self.holed):
                variance = squares - sums**2 / counts
                product = variance * variance.T
            else:
                variance = np.diag(covariance)
                product = np.outer(variance, variance)
            found: Floats = covariance / np.sqrt(np.maximum(product, 0))
        found[counts < 2] = np.nan
        found[~np.isfinite(found)] = np.nan
        return np.clip(found, -1, 1)

    def _over(self, place: int) -> Floats:
        own = self.total[place]
        over = np.repeat(own[:, None], len(own), axis=1)
        over[:, self.holed] = self.shared[place]
        return over


def _taken(values: Matrix, rows: NDArray[np.int64], columns: NDArray[Any]) -> Matrix:
    """Copy some rows and columns, column-major; rows that follow each other are read in one go."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows) and (np.diff(rows) == 1).all():
        return np.asarray(values[first : last + 1].T[columns]).T
    return np.asarray(values.T[np.ix_(columns, rows)]).T


def _ranks(values: Matrix, rows: NDArray[np.int64], columns: NDArray[Any]) -> Matrix:
    from scipy.stats import rankdata

    ranks = np.full((len(rows), len(columns)), np.nan, values.dtype, order="F")
    for place, column in enumerate(columns):
        own = values[rows, column]
        finite = np.isfinite(own)
        ranks[finite, place] = rankdata(own[finite])
    return ranks
