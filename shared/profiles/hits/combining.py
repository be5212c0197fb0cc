"""One p-value of several: of the guides of a gene, or the wells of a treatment."""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["rank_aggregation", "stouffer"]

Array = NDArray[np.float64]


def stouffer(scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Standard normal score of several: `sum(w z) / sqrt(sum(w^2))`; NaN takes no part.

    References
    ----------
    Stouffer et al. 1949; weights after Liptak 1958

    Examples
    --------
    >>> stouffer([2.0, 2.0, 2.0, 2.0])
    4.0
    """
    z = np.asarray(scores, dtype=np.float64)
    w = np.ones_like(z) if weights is None else np.asarray(weights, dtype=np.float64)
    known = np.isfinite(z) & (w > 0)
    if not known.any():
        return float("nan")
    return float((w[known] * z[known]).sum() / np.sqrt((w[known] ** 2).sum()))


def rank_aggregation(ranks: ArrayLike) -> float:
    """p-value of robust rank aggregation: are some members nearer the top than by chance?

    For every k it asks how likely k of the members would rank as high; the smallest of these is
    compared with its exact distribution. A gene stands out if some of its guides do, even where
    others do not work.

    Parameters
    ----------
    ranks : ranks of the members among all, divided by their number: in (0, 1], best near 0; NaN
        takes no part

    References
    ----------
    Kolde et al. 2012, doi:10.1093/bioinformatics/btr709

    Examples
    --------
    >>> rank_aggregation([0.01])
    0.01
    """
    from scipy.stats import beta

    r = np.asarray(ranks, dtype=np.float64).ravel()
    r = np.sort(r[np.isfinite(r)])
    if not len(r):
        return float("nan")
    if r[0] <= 0 or r[-1] > 1:
        raise ValueError(f"ranks are given as parts of their number, in (0, 1]; got {r[0]:g}")
    place = np.arange(1, len(r) + 1)
    smallest = beta.cdf(r, place, len(r) - place + 1).min()
    return _crossing(beta.ppf(smallest, place, len(r) - place + 1))


def _crossing(limits: Array) -> float:
    """Chance that one of n uniform order statistics lies at or below its limit.

    Sums over the last one that does: exactly j values lie below its limit, and the others keep
    above theirs.
    """
    n = len(limits)
    keep = np.ones(n + 1)  # keep[k]: the last n - k values keep above their limits
    for k in range(n - 1, 0, -1):
        keep[k] = 1 - _last_crossed(limits, keep, k)
    return min(_last_crossed(limits, keep, 0), 1.0)


def _last_crossed(limits: Array, keep: Array, k: int) -> float:
    left = len(limits) - k
    terms = (comb(left, j) * limits[k + j - 1] ** j * keep[k + j] for j in range(1, left + 1))
    return float(sum(terms))
