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
    whole = bool((stats.count[own] == len(rows)).all())
    sums = _Sums(len(at), whole=whole)
    for piece in pieces:
        block = source[piece][:, own]
        block = (block - mean.astype(block.dtype)) / width.astype(block.dtype)
        sums.add(block)
    found = sums.correlation()
    found[constant, :] = found[:, constant] = np.nan
    return found


class _Sums:
    """Sums of products over blocks of rows, kept in double precision."""

    def __init__(self, count: int, *, whole: bool) -> None:
        self.whole, self.rows = whole, 0
        self.products: Any = np.zeros((count, count))
        if whole:
            self.sums: Any = np.zeros(count)
        else:
            self.counts, self.sums, self.squares = (np.zeros((count, count)) for _ in range(3))

    def add(self, block: Matrix) -> None:
        self.rows += len(block)
        if self.whole:
            self.products += block.T @ block
            self.sums += block.sum(axis=0, dtype=float)
            return
        there = np.isfinite(block)
        block[~there] = 0
        mask = there.astype(block.dtype)
        self.products += block.T @ block
        self.counts += mask.T @ mask
        self.sums += block.T @ mask
        self.squares += (block * block).T @ mask

    def correlation(self) -> Floats:
        """Pearson's of each pair over the rows that have both."""
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.whole:
                covariance = self.products - np.outer(self.sums, self.sums) / self.rows
                variance = np.diag(covariance)
                product = np.outer(variance, variance)
            else:
                # sums[i, j]: of column i over the rows that column j has as well.
                covariance = self.products - self.sums * self.sums.T / self.counts
                variance = self.squares - self.sums**2 / self.counts
                product = variance * variance.T
            found: Floats = covariance / np.sqrt(np.maximum(product, 0))
        if not self.whole:
            found[self.counts < 2] = np.nan
        found[~np.isfinite(found)] = np.nan
        return np.clip(found, -1, 1)


def _ranks(values: Matrix, rows: NDArray[np.int64], columns: NDArray[Any]) -> Matrix:
    from scipy.stats import rankdata

    ranks = np.full((len(rows), len(columns)), np.nan, values.dtype, order="F")
    for place, column in enumerate(columns):
        own = values[rows, column]
        finite = np.isfinite(own)
        ranks[finite, place] = rankdata(own[finite])
    return ranks
