"""Sums over the cells of units (guides, or wells) in their batches: all that tests need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.profiles.hits.baseline import Floats, Singles

__all__ = [
    "MIN_CELLS",
    "Difference",
    "UnitSums",
    "all_of",
    "compare_sums",
    "others_of",
    "pooled_scatter",
    "scatter_of",
    "sum_units",
    "unit_profiles",
]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Cells of a unit, at least, behind a p-value: of fewer, means are far from normal.
MIN_CELLS: Final = 5
# Cells that the belief is worth that those of a unit scatter as controls do.
BELIEVED: Final = 20.0


@dataclass(frozen=True, slots=True)
class UnitSums:
    """What is needed of cells: sums and numbers of every unit in every batch.

    Parameters
    ----------
    total : (U, B, D) sums of coordinates
    square : (U, B) sums of squared lengths
    count : (U, B) cells
    """

    total: Floats
    square: Floats
    count: Floats

    def __add__(self, other: UnitSums) -> UnitSums:
        return UnitSums(
            self.total + other.total, self.square + other.square, self.count + other.count
        )

    def without(self, other: UnitSums) -> UnitSums:
        """Take the sums of cells out that are part of these."""
        return UnitSums(
            self.total - other.total, self.square - other.square, self.count - other.count
        )

    def take(self, units: Ints | Bools) -> UnitSums:
        """Choose units."""
        return UnitSums(self.total[units], self.square[units], self.count[units])

    def joined(self, group: Ints, groups: int) -> UnitSums:
        """Sums of groups of units, by the number of the group of each."""
        shape = (groups, *self.count.shape[1:])
        joined = UnitSums(np.zeros((*shape, self.total.shape[2])), np.zeros(shape), np.zeros(shape))
        for whole, part in (
            (joined.total, self.total),
            (joined.square, self.square),
            (joined.count, self.count),
        ):
            np.add.at(whole, group, part)
        return joined

    def centred(self, whole: UnitSums) -> UnitSums:
        """Lay the batches upon each other, by the middle of all cells in each.

        Parameters
        ----------
        whole : of all units, of which these are some
        """
        cells = whole.count.sum(axis=0)[:, None]
        middle = whole.total.sum(axis=0) / np.maximum(cells, 1)
        count = self.count[..., None]
        total = self.total - count * middle
        square = self.square - 2 * (self.total * middle).sum(axis=2)
        square += self.count * (middle**2).sum(axis=1)
        return UnitSums(
            total.sum(axis=1, keepdims=True),
            square.sum(axis=1, keepdims=True),
            self.count.sum(axis=1, keepdims=True),
        )


class Difference(NamedTuple):
    """How units lie against others.

    Attributes
    ----------
    shift : (U, D)
    chance : (U,) mean squared length that is due to cells; NaN where there is nothing to compare
    weight : (U, B) of the batches, by what they know of it
    """

    shift: Floats
    chance: Floats
    weight: Floats


def sum_units(points: Singles, unit: Ints, batch: Ints, shape: tuple[int, int]) -> UnitSums:
    """Sum up cells; tables that are read in parts are summed up in parts and added.

    Parameters
    ----------
    points : (N, D) coordinates
    unit, batch : (N,) numbers; those below 0 are left out
    shape : number of units, number of batches
    """
    units, batches = shape
    cell = np.where((unit >= 0) & (batch >= 0), unit * batches + batch, -1)
    order = np.argsort(cell, kind="stable")
    order = order[np.searchsorted(cell[order], 0) :]
    total = np.zeros((units * batches, points.shape[1]))
    square = np.zeros(units * batches)
    count = np.bincount(cell[order], minlength=units * batches).astype(np.float64)
    if len(order):
        chosen = points[order]
        first = np.flatnonzero(np.diff(cell[order], prepend=-1))
        length = np.einsum("nd,nd->n", chosen, chosen, dtype=np.float64)
        total[cell[order[first]]] = np.add.reduceat(chosen, first, axis=0, dtype=np.float64)
        square[cell[order[first]]] = np.add.reduceat(length, first)
    shape = (units, batches)
    return UnitSums(total.reshape(*shape, -1), square.reshape(shape), count.reshape(shape))


def compare_sums(own: UnitSums, other: UnitSums, scatter: Floats, outer: Floats) -> Difference:
    """Shift of every unit from the cells it is compared with, batch by batch.

    Parameters
    ----------
    own, other : (U, B) sums of units, and of what each is compared with
    scatter, outer : (U,) variance, over all directions, of the cells of either
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = own.total / own.count[..., None] - other.total / other.count[..., None]
        both = (own.count > 0) & (other.count > 0)
        weight = np.where(both, own.count * other.count / (own.count + other.count), 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
        shift = np.einsum("ub,ubd->ud", weight, np.nan_to_num(difference, nan=0.0))
        single = np.where(both, scatter[:, None] / own.count + outer[:, None] / other.count, 0.0)
        return Difference(shift, (weight**2 * single).sum(axis=1), weight)


def scatter_of(sums: UnitSums, belief: float = np.nan) -> Floats:
    """(U,) variance, over all directions, of cells within unit and batch; see `pooled_scatter`."""
    return pooled_scatter(sums, np.arange(len(sums.count)), len(sums.count), belief)


def pooled_scatter(sums: UnitSums, group: Ints, groups: int, belief: float = np.nan) -> Floats:
    """(G,) variance, over all directions, of the cells of each group within unit and batch.

    Parameters
    ----------
    belief : what it is thought to be, such as that of controls: a few cells tell little of it. NaN
        for taking what they tell, which is NaN where they tell nothing
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.nan_to_num((sums.total**2).sum(axis=2) / sums.count, nan=0.0)
        freedom = np.maximum(sums.count - 1, 0.0).sum(axis=1)
        inside = (sums.square - centre).sum(axis=1)
        freedom, inside = (np.bincount(group, part, minlength=groups) for part in (freedom, inside))
        if np.isfinite(belief):
            freedom, inside = freedom + BELIEVED, inside + BELIEVED * belief
        return np.where(freedom > 0, inside / freedom, np.nan)


def all_of(sums: UnitSums, control: Bools) -> UnitSums:
    """The units of controls as the batches of one unit, so that each keeps its own mean."""
    directions = sums.total.shape[2]
    return UnitSums(
        sums.total[control].reshape(1, -1, directions),
        sums.square[control].reshape(1, -1),
        sums.count[control].reshape(1, -1),
    )


def others_of(sums: UnitSums, control: Bools) -> UnitSums:
    """Sums of the controls that each unit is compared with: all but itself."""
    own = control[:, None]
    return UnitSums(
        sums.total[control].sum(axis=0) - np.where(own[..., None], sums.total, 0.0),
        sums.square[control].sum(axis=0) - np.where(own, sums.square, 0.0),
        sums.count[control].sum(axis=0) - np.where(own, sums.count, 0.0),
    )


def unit_profiles(sums: UnitSums, *, apart: bool) -> Floats:
    """(U, B, D) means of units, around the mean of all cells of the batch; NaN where there is none.

    They are not centred on the controls: if they were, all units but the controls would share the
    chance by which the controls lie where they do, and look alike.

    Parameters
    ----------
    apart : keep the batches of a unit apart; if not, B is 1
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = sums.total.sum(axis=0) / sums.count.sum(axis=0)[:, None]
        total = np.where(
            sums.count[..., None] > 0, sums.total - sums.count[..., None] * centre, 0.0
        )
        count = sums.count
        if not apart:
            total, count = total.sum(axis=1, keepdims=True), count.sum(axis=1, keepdims=True)
        profiles: Floats = total / count[..., None]
    return profiles
