"""Units against the others of their kind: how much they differ beyond what their cells explain.

Some have few cells and some have many, so each weighs by what it says of the variance of units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from poolvox.shared.profiles.hits.baseline import Floats
from poolvox.shared.profiles.hits.sums import MIN_CELLS, Bools, Ints, UnitSums, compare_sums

__all__ = ["Kinds"]

# Rounds in which variances and weights settle.
ROUNDS: Final = 30
# Squared lengths below which there are none.
TINY: Final = 1e-100


@dataclass(frozen=True, slots=True)
class Kinds:
    """Units, such as guides, against the others of their kind: controls, or guides of one gene.

    Attributes
    ----------
    shift : (R, D) from the others
    cells, units : (R,) multiples c and t of the covariances of cells and of units in it
    kind : (R,) number, 0, 1, …
    """

    shift: Floats
    cells: Floats
    units: Floats
    kind: Ints

    @classmethod
    def of(cls, sums: UnitSums, kind: Ints, scatter: Floats, width: float) -> Kinds:
        """Compare units that have enough cells, and others of their kind that have.

        Parameters
        ----------
        kind : (U,) number of the kind of each
        scatter : (U,) variance of their cells, over all directions
        width : of the cells that covariances are told of
        """
        joint = sums.joined(kind, int(kind.max(initial=-1)) + 1)
        others = joint.take(kind).without(sums)
        found = compare_sums(sums, others, scatter, scatter)
        known = (sums.count.sum(axis=1) >= MIN_CELLS) & np.isfinite(found.chance)
        known &= np.bincount(kind[known], minlength=len(joint.count))[kind] > 1
        renumbered = np.unique(kind[known], return_inverse=True)[1].astype(np.int64)
        units = 1 + _spread_of_others(found.weight, others, sums, kind)
        return cls(found.shift[known], found.chance[known] / width, units[known], renumbered)

    @property
    def sizes(self) -> Ints:
        """(K,) units of each kind."""
        return np.bincount(self.kind)

    @property
    def degrees(self) -> float:
        """Degrees of freedom of all kinds."""
        return float((self.sizes - 1).sum())

    def scaled(self, scale: Floats) -> Kinds:
        """The same in other coordinates."""
        return replace(self, shift=self.shift * scale)

    def weights(self, covariance: Floats) -> Floats:
        """(R,) what each unit says about T, at most 1: most where cells are many."""
        weight = self.units / self._expected(covariance, self._total(covariance)) ** 2
        return np.asarray(weight / weight.max())

    def quiet(self, covariance: Floats) -> Bools:
        """(R,) units of the half of the kinds that differ least; of one kind all."""
        ratio = self._ratios(self._expected(covariance, self._total(covariance)))
        return np.asarray((ratio <= np.median(ratio))[self.kind])

    def between(self, covariance: Floats) -> Floats:
        """(D,) the diagonal of T."""
        if not len(self.shift):
            return np.zeros(len(covariance))
        rows, weight = self.quiet(covariance), self.weights(covariance)
        rest = self.shift**2 - self.cells[:, None] * np.diagonal(covariance)
        found = np.maximum((weight[:, None] * rest)[rows].sum(axis=0), 0.0)
        total = self._total(covariance)
        found = found if found.any() else np.diagonal(covariance)
        return np.asarray(found * (total / found.sum()))

    def _expected(self, covariance: Floats, total: float) -> Floats:
        """(R,) mean squared lengths, if the variances of units sum up to this."""
        expected = self.cells * np.trace(covariance) + self.units * total
        return np.asarray(np.maximum(expected, TINY))

    def _ratios(self, expected: Floats) -> Floats:
        """(K,) means over each kind of squared lengths, by what is expected of them."""
        ratio = (self.shift**2).sum(axis=1) / expected
        return np.asarray(np.bincount(self.kind, ratio) / self.sizes)

    def _total(self, covariance: Floats) -> float:
        """Sum of the variances of units.

        Of several kinds it is the median that counts: some may hold units that differ more, such
        as guides of which not all work.
        """
        if len(self.sizes) > 1:
            return self._median_total(covariance)
        rest = (self.shift**2).sum(axis=1) - self.cells * np.trace(covariance)
        total = max(float(rest.mean() / self.units.mean()), 0.0)
        for _ in range(ROUNDS):
            weight = self.units / self._expected(covariance, total) ** 2
            total = max(float((weight * rest).sum() / (weight * self.units).sum()), 0.0)
        return total

    def _median_total(self, covariance: Floats) -> float:
        # The median of a chi-square number lies below its mean.
        freedom = len(covariance) * float(np.median(self.sizes - 1))
        middle = (1 - 2 / (9 * freedom)) ** 3

        def excess(total: float) -> float:
            return float(np.median(self._ratios(self._expected(covariance, total)))) - middle

        if excess(0.0) <= 0:
            return 0.0
        low, high = 0.0, float((self.shift**2).sum(axis=1).max())
        for _ in range(ROUNDS):
            total = (low + high) / 2
            low, high = (total, high) if excess(total) > 0 else (low, total)
        return (low + high) / 2


def _spread_of_others(weight: Floats, others: UnitSums, sums: UnitSums, kind: Ints) -> Floats:
    """(U,) what the others of its kind add to the variance of a unit's shift, in units' variances.

    Parameters
    ----------
    weight : (U, B) of the batches
    others : (U, B) sums of those that each unit is compared with: its kind without itself
    """
    part = np.divide(weight, others.count, out=np.zeros_like(weight), where=others.count > 0)
    found: Floats = -((part * sums.count).sum(axis=1) ** 2)
    ends = np.cumsum(np.bincount(kind))
    for rows in np.split(np.argsort(kind, kind="stable"), ends[:-1]):
        products = sums.count[rows].T @ sums.count[rows]
        found[rows] += np.einsum("ub,ub->u", part[rows] @ products, part[rows])
    return found
