"""What is compared with what: cells of guides, genes or treatments with those of controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.hits.baseline import Floats, Singles, fingerprints, fit_baseline
from poolvox.shared.profiles.tables.columns import chosen_features, feature_matrix, match
from poolvox.shared.profiles.tables.groups import group_rows, names_of

__all__ = ["Cells", "Centred", "Comparison", "gather_cells"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# What tells wells apart, where a table has it.
WELL: Final = ("Metadata_Plate", "Metadata_Well")
ROLE: Final = "Metadata_ComparisonRole"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared with what, by columns of the object table.

    Parameters
    ----------
    by : what is a hit or not: `Metadata_Gene`, `Metadata_Guide`, `Metadata_Treatment`
    controls : cells to compare with, as a query or a mask
    guide : units of `by`, such as the guides of a gene. If None: wells, where each holds one value
        of `by` only; else each value is one unit
    batch : columns, such as the plate; cells are compared with controls of the same batch only
    dose : column of numbers, such as dose or time; units of `by` are told apart by it
    """

    by: str
    controls: Any
    guide: str | None = None
    batch: str | Sequence[str] | None = None
    dose: str | None = None

    @property
    def groups(self) -> list[str]:
        """Columns that tell apart what gets a row among the hits."""
        return [name for name in (self.by, self.dose) if name is not None]


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells that take part, in the order of their fingerprints, and what belongs together.

    Parameters
    ----------
    points : (N, D) coordinates in the space of the controls
    unit, batch : (N,) numbers
    half : (N,) 0 or 1, drawn by the fingerprints
    units : one row per unit: `group` (a number) and `control`
    groups : one row per group: the columns of the comparison
    covariance : (D, D) of the controls
    """

    points: Singles
    unit: Ints
    batch: Ints
    half: Ints
    units: pd.DataFrame
    groups: pd.DataFrame
    covariance: Floats
    seed: int

    @property
    def control(self) -> Bools:
        """(U,) units of controls."""
        return self.units["control"].to_numpy(dtype=bool)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of units, number of batches."""
        return len(self.units), int(self.batch.max(initial=0)) + 1

    def centred(self) -> Centred:
        """Centre every half of every batch on the controls in it; the points are changed in place.

        Cells of a half and batch without controls are left out.
        """
        control = self.control[self.unit]
        cell = self.half * self.shape[1] + self.batch
        count = np.bincount(cell[control], minlength=2 * self.shape[1])
        for number in np.flatnonzero(count):
            rows = np.flatnonzero(cell == number)
            chosen = rows[control[rows]]
            self.points[rows] -= self.points[chosen].mean(axis=0, dtype=np.float64)
        usable = np.flatnonzero(count[cell] > 0)
        group = self.units["group"].to_numpy()[self.unit[usable]]
        order = np.argsort(group, kind="stable")
        return Centred(
            self.points,
            self.half,
            usable[order],
            np.searchsorted(group[order], np.arange(len(self.groups) + 1)),
            usable[control[usable]],
            self.seed,
        )


@dataclass(frozen=True, slots=True)
class Centred:
    """Cells around the controls of their batch, by group; all in the order of fingerprints."""

    points: Singles
    half: Ints
    rows: Ints
    start: Ints
    controls: Ints
    seed: int

    def members(self, group: int) -> Ints:
        """Rows of the cells of a group."""
        return self.rows[self.start[group] : self.start[group + 1]]


def gather_cells(
    objects: pd.DataFrame,
    comparison: Comparison,
    *,
    features: Sequence[str] | None = None,
    seed: int = 0,
) -> Cells:
    """Choose the cells that have a value of `by`, and turn them into the space of the controls.

    Raises
    ------
    InputError
        where a column, a control, or anything to compare with controls is missing
    """
    chosen, control, used = _choose(objects, comparison)
    names = chosen_features(objects, features)
    values = feature_matrix(objects, names)
    if not used.all():
        values = values[used]
    units = _unit_columns(chosen, comparison)
    apart = [*dict.fromkeys([*units, *(name for name in WELL if name in chosen)])]
    hashes = fingerprints(values, chosen[apart].astype(str), seed)
    unit, rows = _number(chosen[units].assign(**{ROLE: control}))
    baseline = fit_baseline(values[control], unit[control], hashes[control])
    order = np.argsort(hashes, kind="stable")
    group, groups = _number(rows[[*comparison.groups, ROLE]])
    batches = group_rows(chosen, comparison.batch)
    return Cells(
        points=baseline.transform(values, order),
        unit=unit[order],
        batch=batches.codes[order],
        half=(hashes[order] & np.uint64(1)).astype(np.int64),
        units=pd.DataFrame({"group": group, "control": rows[ROLE].to_numpy(dtype=bool)}),
        groups=groups.drop(columns=ROLE),
        covariance=baseline.covariance,
        seed=seed,
    )


def _choose(objects: pd.DataFrame, comparison: Comparison) -> tuple[pd.DataFrame, Bools, Bools]:
    """Keys of the cells that can be compared, which of these are controls, and which cells those
    are.
    """
    needed = [*comparison.groups, comparison.guide, *names_of(comparison.batch)]
    columns = list(dict.fromkeys(name for name in needed if name is not None))
    missing = [name for name in columns if name not in objects]
    if missing:
        raise InputError(f"the objects have no columns {missing} to compare by")
    control = match(objects, comparison.controls)
    named = objects[[name for name in columns if name != comparison.dose]]
    used = (named.notna() & (named.astype(str) != "")).all(axis=1).to_numpy()
    if not (control & used).any():
        raise InputError("none of the cells is a control: there is nothing to compare with")
    if not (~control & used).any():
        raise InputError(f"all cells with {comparison.by} are controls: there is nothing to test")
    wells = [name for name in WELL if name in objects and name not in columns]
    chosen = objects.loc[used, [*columns, *wells]]
    if comparison.dose is not None:
        doses = _doses(chosen[comparison.dose], control[used])
        chosen = chosen.assign(**{comparison.dose: doses})
    return chosen, control[used], used


def _doses(column: pd.Series[Any], control: Bools) -> pd.Series[Any]:
    """Doses as numbers; what has none is dose 0, whatever is written for controls."""
    dose = pd.to_numeric(column.astype(object), errors="coerce")
    odd = column[dose.isna() & column.notna() & (column.astype(str).str.strip() != "") & ~control]
    if len(odd):
        raise InputError(
            f"doses and times are numbers, and {column.name} holds {odd.iloc[0]!r}: leave the unit "
            "out of it, or put the number into a column of its own"
        )
    return dose.fillna(0.0).astype(float)


def _unit_columns(objects: pd.DataFrame, comparison: Comparison) -> list[str]:
    """Columns that tell units apart."""
    columns = comparison.groups
    if comparison.guide is not None:
        return list(dict.fromkeys([*columns, comparison.guide]))
    wells = [name for name in WELL if name in objects]
    if "Metadata_Well" in wells:
        held = objects[list(dict.fromkeys([*wells, comparison.by]))].drop_duplicates()
        if not held.duplicated(wells).any():
            return list(dict.fromkeys([*columns, *wells]))
    return columns


def _number(table: pd.DataFrame) -> tuple[Ints, pd.DataFrame]:
    """Number distinct rows in the order of their values; also those distinct rows."""
    names = list(table)
    number: Ints = np.asarray(
        table.groupby(names, sort=True, observed=True).ngroup(), dtype=np.int64
    )
    _, first = np.unique(number, return_index=True)
    return number, table.iloc[first].reset_index(drop=True)
