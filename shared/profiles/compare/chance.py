"""What average precision is by chance: its mean, its exact distribution, draws from it.

Chance means that the positives of a query lie anywhere among its ranking with equal probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolvox.shared.kernels import kernel

__all__ = ["NullPrecision", "expected_precision", "next_subset", "upper_tail"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Rankings that are enumerated instead of drawn.
ENUMERATED: Final = 20_000
# Two sums of the same fractions in another order are the same.
SAME: Final = 1e-9


def expected_precision(positives: ArrayLike, total: ArrayLike) -> Array:
    """Mean average precision of random rankings of `total` with `positives` right ones.

    It is `((M - 1) / (L - 1) * (L - H) + H) / L` with the L-th harmonic number H. NaN where there
    is no positive; 1 where there is nothing else.
    """
    from scipy.special import digamma

    m, n = np.broadcast_arrays(np.asarray(positives, float), np.asarray(total, float))
    if ((m < 0) | (m > n)).any():
        raise ValueError("there cannot be fewer than no positives, nor more than the whole ranking")
    harmonic = digamma(np.maximum(n, 1) + 1) + np.euler_gamma
    ratio = np.where(n > 1, (m - 1) / np.maximum(n - 1, 1), 1.0)
    mean = (ratio * (n - harmonic) + harmonic) / np.maximum(n, 1)
    expected: Array = np.where(m == 0, np.nan, np.where(m == n, 1.0, mean))
    return expected


def upper_tail(null: Array, observed: ArrayLike, *, exact: bool) -> Array:
    """p-values: the share of sorted null values that are at least as large.

    Of drawn null values the observed one counts as a further draw, (k + 1) / (N + 1); an exact null
    holds it already.
    """
    seen = np.asarray(observed, dtype=np.float64)
    above = len(null) - np.searchsorted(null, seen - SAME)
    share: Array = above / len(null) if exact else (above + 1) / (len(null) + 1)
    return np.where(np.isnan(seen), np.nan, share)


@dataclass(frozen=True, slots=True)
class NullPrecision:
    """Distributions of average precision by chance, one per (positives, total), made when needed.

    A distribution depends on the seed and on these two numbers alone, so it is the same whatever
    was asked for before.

    Parameters
    ----------
    draws : rankings that are drawn where there are more than can be enumerated
    """

    draws: int
    seed: int

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"a null needs at least one draw, got {self.draws}")

    def p_values(self, precision: Array, positives: Ints, total: Ints) -> Array:
        """One-sided p-values; NaN where the precision is."""
        p = np.full(len(precision), np.nan)
        designs, design = np.unique(
            np.column_stack([positives, total]), axis=0, return_inverse=True
        )
        known = np.isfinite(precision)
        for k, (m, n) in enumerate(designs):
            rows = np.flatnonzero((design.ravel() == k) & known)
            if len(rows):
                null, exact = self.null(int(m), int(n))
                p[rows] = upper_tail(null, precision[rows], exact=exact)
        return p

    def null(self, positives: int, total: int) -> tuple[Array, bool]:
        """Sorted null values, and whether they are all rankings there are."""
        rankings = math.comb(total, positives)
        if rankings <= max(ENUMERATED, self.draws):
            return np.sort(_enumerate(positives, total, rankings)), True
        rng = np.random.default_rng([self.seed, positives, total])
        return np.sort(_draw(positives, total, self.draws, rng)), False


@kernel
def _precision(ranks: Ints) -> float:
    """Average precision of positives at these ranks, from 0, ascending."""
    total = 0.0
    for k in range(len(ranks)):
        total += (k + 1) / (ranks[k] + 1)
    return total / len(ranks)


@kernel
def _enumerate(positives: int, total: int, rankings: int) -> Array:
    """Go through all subsets of ranks in lexicographic order."""
    values = np.empty(rankings)
    ranks = np.arange(positives)
    for which in range(rankings):
        values[which] = _precision(ranks)
        next_subset(ranks, total)
    return values


@kernel
def next_subset(chosen: Ints, total: int) -> None:
    """Turn ascending numbers below `total` into those that follow in order; the last ones stay."""
    size = len(chosen)
    k = size - 1
    while k >= 0 and chosen[k] == total - size + k:
        k -= 1
    if k >= 0:
        chosen[k] += 1
        for after in range(k + 1, size):
            chosen[after] = chosen[after - 1] + 1


@kernel
def _draw(positives: int, total: int, draws: int, rng: np.random.Generator) -> Array:
    """Random subsets by the first steps of a shuffle; what it leaves is shuffled, and serves on."""
    values = np.empty(draws)
    deck = np.arange(total)
    for which in range(draws):
        for k in range(positives):
            other = rng.integers(k, total)
            deck[k], deck[other] = deck[other], deck[k]
        values[which] = _precision(np.sort(deck[:positives]))
    return values
