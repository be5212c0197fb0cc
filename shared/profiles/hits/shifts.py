"""Are the cells of a guide, of a well, or of all those of a gene, shifted against the controls?

Units (guides, or wells) are summed up per batch; from the sums alone comes the shift of each
against the controls of its batches, and its chance. How much units that do the same differ, more
than their cells explain, is part of that chance: cells are no replicates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poolvox.shared.profiles.hits.baseline import Floats
from poolvox.shared.profiles.hits.noise import Noise
from poolvox.shared.profiles.hits.sums import (
    MIN_CELLS,
    Bools,
    Difference,
    Ints,
    UnitSums,
    all_of,
    compare_sums,
    others_of,
    pooled_scatter,
    scatter_of,
)

__all__ = ["ShiftTest", "measure_groups", "measure_shifts"]


@dataclass(frozen=True, slots=True)
class ShiftTest:
    """Shifts of units, or of groups of them, against controls.

    Parameters
    ----------
    shift : (U, D) in standard deviations of the controls' cells
    effect : (U,) length of the shift, without what chance adds to it; 0 where there is no more
    p : (U,) chance of as long a shift; NaN with too few cells or no control in their batches
    """

    shift: Floats
    effect: Floats
    p: Floats


def measure_shifts(sums: UnitSums, control: Bools, noise: Noise) -> ShiftTest:
    """Test every unit against the controls of the same batches.

    A unit of controls is compared with the other controls.

    Parameters
    ----------
    control : (U,) units of controls
    noise : what `fit_noise` found
    """
    others = others_of(sums, control)
    found = compare_sums(sums, others, *_scatter(sums, control))
    apart = _control_part(found.weight, others, sums, control)
    # What a control adds to the others' mean does not count where it is itself compared with them.
    apart -= np.where(control, _own_part(found.weight, others, sums), 0.0)
    return _tested(found, sums.count, 1.0 + apart, noise)


def measure_groups(
    sums: UnitSums, control: Bools, noise: Noise, group: Ints, groups: int
) -> ShiftTest:
    """Test the units of each group together, by their mean, against the controls.

    Units count by how well they are known: what they differ by is the same however many cells they
    have, so a unit of a thousand cells does not outvote ten of a hundred.

    Parameters
    ----------
    group : (U,) number of the group of each unit; controls may be in one of their own
    """
    whole = sums.take(control)
    others = UnitSums(
        *(part.sum(axis=0)[None] for part in (whole.total, whole.square, whole.count))
    )
    outer = scatter_of(all_of(sums, control)).item()
    scatter = pooled_scatter(sums, group, groups, outer)[group]
    found = compare_sums(sums, others, scatter, np.full(len(group), outer))
    weight = np.nan_to_num(found.weight, nan=0.0)
    cells = scatter * _ratio(weight**2, sums.count).sum(axis=1)
    share = _shares(cells, noise, group, groups)
    weight = _summed(share[:, None] * weight, group, groups)
    units = np.bincount(group, share**2, minlength=groups)
    chance = np.bincount(group, share**2 * cells, minlength=groups)
    chance += outer * _ratio(weight**2, others.count).sum(axis=1)
    joint = Difference(
        _summed(share[:, None] * np.nan_to_num(found.shift, nan=0.0), group, groups),
        np.where(units > 0, chance, np.nan),
        weight,
    )
    count = _summed(sums.count, group, groups)
    return _tested(joint, count, units + _control_part(weight, others, sums, control), noise)


def _shares(cells: Floats, noise: Noise, group: Ints, groups: int) -> Floats:
    """(U,) what part of its group each unit is; 0 where there is nothing to compare it with.

    Parameters
    ----------
    cells : (U,) mean squared length of its shift that is due to its own cells
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.where(cells > 0, 1 / noise.chance(cells, np.ones(len(cells))).mean, 0.0)
        share = known / np.bincount(group, known, minlength=groups)[group]
    return np.nan_to_num(share, nan=0.0)


def _summed(values: Floats, group: Ints, groups: int) -> Floats:
    """(G, …) sums over the rows of each group."""
    found = np.zeros((groups, values.shape[1]))
    np.add.at(found, group, values)
    return found


def _tested(found: Difference, count: Floats, units: Floats, noise: Noise) -> ShiftTest:
    """Compare squared lengths with what cells, and what units differ by, make them.

    Parameters
    ----------
    count : (U, B) cells
    units : (U,) variance of the shift in variances of one unit
    """
    squared = ((found.shift * noise.scale) ** 2).sum(axis=1)
    p = noise.chance(found.chance, units).beyond(squared)
    tested = (count.sum(axis=1) >= MIN_CELLS) & np.isfinite(found.chance)
    effect = np.sqrt(np.maximum((found.shift**2).sum(axis=1) - found.chance, 0.0))
    return ShiftTest(found.shift, effect, np.where(tested, p, np.nan))


def _scatter(sums: UnitSums, control: Bools) -> tuple[Floats, Floats]:
    """(U,) scatter of cells, and of the controls'."""
    outer = scatter_of(all_of(sums, control)).item()
    return scatter_of(sums, outer), np.full(len(sums.count), outer)


def _control_part(weight: Floats, others: UnitSums, sums: UnitSums, control: Bools) -> Floats:
    """(U,) what units of controls add to the variance of a shift, in variances of one unit."""
    count = sums.count[control]
    part = _ratio(weight, others.count)
    found: Floats = np.einsum("ub,bc,uc->u", part, count.T @ count, part)
    return found


def _own_part(weight: Floats, others: UnitSums, sums: UnitSums) -> Floats:
    own: Floats = (_ratio(weight, others.count) * sums.count).sum(axis=1) ** 2
    return own


def _ratio(values: Floats, count: Floats) -> Floats:
    """(U, B) values by numbers of cells, such as weights: how much each cell counts; 0 without."""
    count = np.broadcast_to(count, values.shape)
    return np.divide(values, count, out=np.zeros_like(values), where=count > 0)
