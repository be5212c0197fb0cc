"""Energy distance: how far two clouds of cells are apart in every respect, not only their means.

It is `2 E|X - Y| - E|X - X'| - E|Y - Y'|`, zero only where the distributions are the same. Székely
and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["EnergyReference", "EnergyTest", "energy_distance", "energy_test"]

Array = NDArray[np.floating]

# Memory of one block of distances, in bytes.
BLOCK_BYTES: Final = 2**25
# Permutations that are tried together, and exceedances after which more would tell nothing
# (Besag and Clifford 1991, doi:10.1093/biomet/78.2.301).
TOGETHER: Final = 100
EXCEEDING: Final = 10


@dataclass(frozen=True, slots=True)
class EnergyTest:
    """An energy distance, the chance of as large a one, and how many cells took part."""

    distance: float
    p_value: float
    first: int
    second: int


def energy_distance(first: Array, second: Array) -> float:
    """Distance of (N, F) from (M, F) points, without the bias that few points have.

    A point is not compared with itself, so the mean is 0 where both are alike and the distance may
    be below it. NaN where one of the sets has fewer than two points, or there is no feature.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2 or not first.shape[1]:
        return float("nan")
    between = _sum_distances(first, second) / (n * m)
    within = _sum_distances(first, first) / (n * (n - 1)), _sum_distances(second, second)
    return 2 * between - within[0] - within[1] / (m * (m - 1))


def energy_test(
    first: Array,
    second: Array,
    rng: np.random.Generator,
    *,
    most: int | None = None,
    permutations: int = 999,
) -> EnergyTest:
    """Energy distance with the share of random divisions of the points that are as far apart.

    Parameters
    ----------
    first, second : (N, F) and (M, F) points, without missing values
    most : points of each set that take part, drawn at random; all if None. The time goes with the
        square of their number
    permutations : divisions that are tried; fewer where the answer is clear before

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = energy_test(rng.standard_normal((40, 2)), rng.standard_normal((50, 2)) + 2, rng)
    >>> found.p_value
    0.001
    """
    x, y = (_sample(points, most, rng) for points in (first, second))
    return EnergyReference.of(y).test(x, rng, permutations=permutations)


@dataclass(frozen=True, slots=True)
class EnergyReference:
    """Points that many sets are compared with, and what need be measured of them only once.

    Attributes
    ----------
    points : (M, F) array
    within : (M, M) distances between them
    """

    points: Array
    within: NDArray[np.float64]

    @classmethod
    def of(cls, points: Array) -> EnergyReference:
        """Measure the points against each other."""
        return cls(points, _distances(points, points))

    def test(
        self, points: Array, rng: np.random.Generator, *, permutations: int = 999
    ) -> EnergyTest:
        """Compare (N, F) points with these; see `energy_test`."""
        n, m = len(points), len(self.points)
        if min(n, m) < 2 or not points.shape[1]:
            return EnergyTest(float("nan"), float("nan"), n, m)
        distances = self._pooled(points)
        whole = float(distances.sum())
        member = np.zeros((n + m, 1))
        member[:n] = 1
        seen = float(_divided(distances, member, whole)[0])
        tried, above = 0, 0
        while tried < permutations and above < EXCEEDING:
            count = min(TOGETHER, permutations - tried)
            drawn = rng.permuted(np.repeat(member, count, axis=1), axis=0)
            above += int((_divided(distances, drawn, whole) >= seen - 1e-9 * abs(seen)).sum())
            tried += count
        return EnergyTest(seen, (above + 1) / (tried + 1), n, m)

    def _pooled(self, points: Array) -> NDArray[np.float64]:
        """(N + M, N + M) distances of the points and then of the reference."""
        n = len(points)
        distances = np.empty((n + len(self.points),) * 2)
        distances[:n, :n] = _distances(points, points)
        distances[:n, n:] = _distances(points, self.points)
        distances[n:, :n] = distances[:n, n:].T
        distances[n:, n:] = self.within
        return distances


def _divided(distances: Array, member: Array, whole: float) -> NDArray[np.float64]:
    """Energy distance of each division, a column of ones (first set) and zeros."""
    n = member[:, 0].sum()
    m = len(member) - n
    reach = distances @ member
    inside = np.einsum("ik,ik->k", member, reach)
    between = reach.sum(axis=0) - inside
    outside = whole - inside - 2 * between
    result: NDArray[np.float64] = (
        2 * between / (n * m) - inside / (n * (n - 1)) - outside / (m * (m - 1))
    )
    return result


def _sample(points: Array, most: int | None, rng: np.random.Generator) -> Array:
    if most is None or len(points) <= most:
        return points
    return points[np.sort(rng.choice(len(points), most, replace=False))]


def _sum_distances(first: Array, second: Array) -> float:
    size = max(1, BLOCK_BYTES // (8 * max(len(second), 1)))
    starts = range(0, len(first), size)
    return float(sum(_distances(first[k : k + size], second).sum() for k in starts))


def _distances(first: Array, second: Array) -> NDArray[np.float64]:
    from scipy.spatial.distance import cdist

    found: NDArray[np.float64] = cdist(first, second)
    return found
