"""Are the cells of a guide, or of a well, shifted against the controls?

Units (guides, or wells) are summed up per batch; from the sums alone comes the shift of each unit
against the controls of its batches, and its chance. How much units of controls differ from each
other, more than their cells explain, is part of that chance: cells are no replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.profiles.hits.contrast import Floats, Singles

__all__ = [
    "FEW_CONTROLS",
    "MIN_UNITS",
    "ShiftTest",
    "UnitSums",
    "measure_shifts",
    "sum_units",
    "unit_profiles",
]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Cells of a unit, at least, behind a p-value: of fewer, means are far from normal.
MIN_CELLS: Final = 5
# Units of controls, at least, for telling how much units differ.
MIN_UNITS: Final = 4
# Units of controls, at least, for telling how their differences scatter.
MIN_SCATTER: Final = 8
# Units of controls below which that is told too roughly to be relied on.
FEW_CONTROLS: Final = 10


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


@dataclass(frozen=True, slots=True)
class ShiftTest:
    """Shifts of units against controls.

    Parameters
    ----------
    shift : (U, D) in standard deviations of the controls' cells
    effect : (U,) length of the shift, without what chance adds to it; 0 where there is no more
    p : (U,) chance of as long a shift; NaN with too few cells or no control in their batches
    between : variance, per direction, between units that do the same, beyond that of their cells
    freedom : degrees of freedom of squared lengths by chance
    controls : units of controls that told how much units differ
    """

    shift: Floats
    effect: Floats
    p: Floats
    between: float
    freedom: float
    controls: int

    @property
    def replicated(self) -> bool:
        """Whether there are enough units of controls to tell how much units differ."""
        return self.controls >= MIN_UNITS


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


def measure_shifts(sums: UnitSums, control: Bools, covariance: Floats) -> ShiftTest:
    """Test every unit against the controls of the same batches.

    A unit of controls is compared with the other controls. By chance the squared length of a shift
    is a multiple of a chi-square number (Box 1954, doi:10.1214/aoms/1177728786). Its mean follows
    from how cells scatter within units, its shape from the covariance of the controls' cells; what
    units of controls differ beyond that is added.

    Parameters
    ----------
    control : (U,) units of controls
    covariance : (D, D) of the controls' cells
    """
    from scipy.stats import chi2

    shift, chance = _shifts(sums, control)
    directions = shift.shape[1]
    freedom = float(np.trace(covariance)) ** 2 / float((covariance**2).sum())
    squared = (shift**2).sum(axis=1)
    tested = (sums.count.sum(axis=1) >= MIN_CELLS) & np.isfinite(chance)
    known = np.flatnonzero(control & tested)
    between = 0.0
    if len(known) >= MIN_UNITS:
        between = max(0.0, float((squared[known] - chance[known]).mean()) / directions)
    expected = chance + directions * between
    if len(known) >= MIN_SCATTER:
        freedom = min(freedom, _freedom(shift[known] / np.sqrt(expected[known])[:, None]))
    with np.errstate(invalid="ignore"):
        p = np.where(tested, chi2.sf(squared / expected * freedom, freedom), np.nan)
    effect = np.sqrt(np.maximum(squared - chance, 0.0))
    return ShiftTest(shift, effect, p, between, freedom, len(known))


def _freedom(shifts: Floats) -> float:
    """How many directions units differ in: the trace of their covariance, squared, over that of its
    square, which the products of different units tell.
    """
    products = shifts @ shifts.T
    others = ~np.eye(len(shifts), dtype=bool)
    return float(np.diagonal(products).mean() ** 2 / (products[others] ** 2).mean())


def _shifts(sums: UnitSums, control: Bools) -> tuple[Floats, Floats]:
    """Shift of every unit, and the mean of its squared length by chance.

    Batches weigh by what they know of the difference.
    """
    own, other = sums.count, _others(sums.count, control)
    difference = _part_shifts(sums, control)
    scatter = _scatter(sums)
    outer = np.full(len(own), _scatter(_all_of(sums, control)).item())
    # Units of so few cells that they show no scatter have that of the controls.
    scatter = np.where(np.isfinite(scatter), scatter, outer)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        both = (own > 0) & (other > 0)
        weight = np.where(both, own * other / (own + other), 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
        shift = np.einsum("ub,ubd->ud", weight, np.nan_to_num(difference, nan=0.0))
        single = np.where(both, scatter / own + outer[:, None] / other, 0.0)
        return shift, (weight**2 * single).sum(axis=1)


def _scatter(sums: UnitSums) -> Floats:
    """(U,) variance, over all directions, of cells within unit and batch; NaN with too few."""
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.nan_to_num((sums.total**2).sum(axis=2) / sums.count, nan=0.0)
        freedom = np.maximum(sums.count - 1, 0.0).sum(axis=1)
        scatter: Floats = (sums.square - centre).sum(axis=1) / freedom
    return np.where(freedom > 0, scatter, np.nan)


def _all_of(sums: UnitSums, control: Bools) -> UnitSums:
    """The units of controls as the batches of one unit, so that each keeps its own mean."""
    directions = sums.total.shape[2]
    return UnitSums(
        sums.total[control].reshape(1, -1, directions),
        sums.square[control].reshape(1, -1),
        sums.count[control].reshape(1, -1),
    )


def _part_shifts(sums: UnitSums, control: Bools) -> Floats:
    """(U, B, D) shift of every unit in every batch; NaN where it, or controls, are not there."""
    other, count = _others(sums.total, control), _others(sums.count, control)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift: Floats = sums.total / sums.count[..., None] - other / count[..., None]
    return shift


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


def _others(sums: Floats, control: Bools) -> Floats:
    """Sums of the controls that each unit is compared with: all but itself."""
    own = control.reshape(-1, *[1] * (sums.ndim - 1))
    others: Floats = sums[control].sum(axis=0) - np.where(own, sums, 0.0)
    return others
