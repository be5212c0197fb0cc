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

from poolvox.shared.profiles.contrast import Floats, Singles

__all__ = ["ShiftTest", "UnitSums", "measure_shifts", "part_shifts", "sum_units"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Cells of a unit, at least, behind a p-value: of fewer, means are far from normal.
MIN_CELLS: Final = 5
# Units of controls, at least, for telling how much units differ.
MIN_UNITS: Final = 4
# Units of controls, at least, for telling how their differences scatter.
MIN_SCATTER: Final = 8


@dataclass(frozen=True, slots=True)
class UnitSums:
    """What is needed of cells: sums and numbers of every unit in every batch.

    Parameters
    ----------
    total : (U, B, D) sums of coordinates
    count : (U, B) cells
    """

    total: Floats
    count: Floats

    def __add__(self, other: UnitSums) -> UnitSums:
        return UnitSums(self.total + other.total, self.count + other.count)


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
    """

    shift: Floats
    effect: Floats
    p: Floats
    between: float
    freedom: float


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
    count = np.bincount(cell[order], minlength=units * batches).astype(np.float64)
    if len(order):
        first = np.flatnonzero(np.diff(cell[order], prepend=-1))
        total[cell[order[first]]] = np.add.reduceat(points[order], first, axis=0, dtype=np.float64)
    return UnitSums(total.reshape(units, batches, -1), count.reshape(units, batches))


def measure_shifts(sums: UnitSums, control: Bools, covariance: Floats) -> ShiftTest:
    """Test every unit against the controls of the same batches.

    A unit of controls is compared with the other controls. By chance the squared length of a shift
    is a multiple of a chi-square number (Box 1954, doi:10.1214/aoms/1177728786), by the covariance
    of the controls' cells; what units of controls differ beyond that is added.

    Parameters
    ----------
    control : (U,) units of controls
    covariance : (D, D) of the controls' cells
    """
    from scipy.stats import chi2

    shift, variance = _shifts(sums, control)
    width = float(np.trace(covariance))
    freedom = width**2 / float((covariance**2).sum())
    squared = (shift**2).sum(axis=1)
    tested = (sums.count.sum(axis=1) >= MIN_CELLS) & np.isfinite(variance)
    known = np.flatnonzero(control & tested)
    between = 0.0
    if len(known) >= MIN_UNITS:
        between = max(0.0, float((squared[known] / width - variance[known]).mean()))
    relative = squared / (width * (variance + between))
    if len(known) >= MIN_SCATTER:
        freedom = min(freedom, _freedom(shift[known] / np.sqrt(variance[known] + between)[:, None]))
    p = np.where(tested, chi2.sf(relative * freedom, freedom), np.nan)
    effect = np.sqrt(np.maximum(squared - width * variance, 0.0))
    return ShiftTest(shift, effect, p, between, freedom)


def _freedom(shifts: Floats) -> float:
    """How many directions units differ in: the trace of their covariance, squared, over that of its
    square, which the products of different units tell.
    """
    products = shifts @ shifts.T
    others = ~np.eye(len(shifts), dtype=bool)
    return float(np.diagonal(products).mean() ** 2 / (products[others] ** 2).mean())


def _shifts(sums: UnitSums, control: Bools) -> tuple[Floats, Floats]:
    """Shift of every unit, and its variance per direction for cells of variance 1.

    Batches weigh by what they know of the difference.
    """
    own, other = sums.count, _others(sums.count, control)
    difference = part_shifts(sums, control)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where((own > 0) & (other > 0), own * other / (own + other), 0.0)
        whole = weight.sum(axis=1)
        shift = np.einsum("ub,ubd->ud", weight, np.nan_to_num(difference, nan=0.0))
        # The sum of the weights is one over the variance, since these weights are the best.
        return shift / whole[:, None], np.where(whole > 0, 1 / whole, np.nan)


def part_shifts(sums: UnitSums, control: Bools) -> Floats:
    """(U, B, D) shift of every unit in every batch; NaN where it, or controls, are not there."""
    other, count = _others(sums.total, control), _others(sums.count, control)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift: Floats = sums.total / sums.count[..., None] - other / count[..., None]
    return shift


def _others(sums: Floats, control: Bools) -> Floats:
    """Sums of the controls that each unit is compared with: all but itself."""
    own = control.reshape(-1, *[1] * (sums.ndim - 1))
    others: Floats = sums[control].sum(axis=0) - np.where(own, sums, 0.0)
    return others
