"""Normalisation: measurements as distances from a reference, in units of its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.normalise import grouped, moments
from poolvox.shared.profiles.tables.columns import (
    Matrix,
    chosen_features,
    feature_columns,
    feature_matrix,
    match,
    with_features,
)
from poolvox.shared.profiles.tables.groups import Groups, Layout, group_rows
from poolvox.shared.profiles.tables.record import Record

__all__ = ["METHODS", "Scales", "inverse_normal", "normalize", "normalize_local"]

METHODS: Final = {
    "standardize": grouped.STANDARD,
    "robustize": grouped.QUARTILES,
    "mad_robustize": grouped.MAD,
}
STEP: Final = "normalize"

# Blom's constant: expected normal scores are Phi^-1((rank - 3/8) / (n + 1/4)).
BLOM: Final = 0.375


@dataclass(frozen=True, slots=True)
class Scales:
    """Centre and spread of every feature in every group, as measured on the reference rows.

    Attributes
    ----------
    features : names, (F,)
    groups : what the groups are called, (G,)
    centre, spread : (G, F) arrays; a spread of 0 or NaN gives missing values
    count : (G, F) finite values they were measured on
    """

    features: tuple[str, ...]
    groups: tuple[str, ...]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    count: NDArray[np.int64]

    @classmethod
    def fit(cls, values: Matrix, features: Sequence[str], groups: Groups, *, method: str) -> Scales:
        """Measure centre and spread on the rows that the groups hold.

        Parameters
        ----------
        values : (N, F) column-major matrix
        groups : of the reference rows; see `Groups.only`
        """
        code = _method(method)
        found = grouped.fit_scales(values, *groups.layout, code)
        return cls(tuple(features), tuple(groups.labels), *found)

    def apply(self, values: Matrix, codes: NDArray[np.int64], out: Matrix | None = None) -> Matrix:
        """Scale rows by the group each belongs to; `out` may be `values` itself."""
        result = np.empty_like(values, order="F") if out is None else out
        grouped.apply_scales(values, codes, self.centre, self.spread, result)
        return result

    def take(self, features: Sequence[str]) -> Scales:
        """Keep some features."""
        places = {name: i for i, name in enumerate(self.features)}
        at = [places[name] for name in features]
        return Scales(
            tuple(features),
            self.groups,
            np.ascontiguousarray(self.centre[:, at]),
            np.ascontiguousarray(self.spread[:, at]),
            np.ascontiguousarray(self.count[:, at]),
        )

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Features without spread in any group: nothing can be said in their units, (F,)."""
        return np.asarray(~(self.spread > 0).any(axis=0))

    def report(self, record: Record | None) -> None:
        """Note what has no spread, everywhere or in some groups."""
        if record is None:
            return
        lost = self.lost
        for place, name in enumerate(self.features):
            if lost[place]:
                seen = self.count[:, place].any()
                reason = "zero spread in every group" if seen else "no values in the reference"
                record.note(STEP, "dropped", name, reason, 0.0)
                continue
            without = np.flatnonzero(~(self.spread[:, place] > 0))
            if without.size:
                named = ", ".join(self.groups[g] for g in without[:5])
                more = f" and {without.size - 5} more" if without.size > 5 else ""
                reason = f"zero spread, so missing, in {named}{more}"
                record.note(STEP, "changed", name, reason, without.size)


def normalize(
    frame: pd.DataFrame,
    *,
    method: str = "mad_robustize",
    by: str | Sequence[str] | None = None,
    samples: Any = None,
    features: Sequence[str] | None = None,
    rank: bool = False,
    record: Record | None = None,
) -> pd.DataFrame:
    """Express measurements as distances from a reference, in units of its spread.

    Parameters
    ----------
    frame : object or profile table
    method : `standardize` (mean, standard deviation of the population), `robustize` (median,
        interquartile range), or `mad_robustize` (median, 1.4826 x median absolute deviation)
    by : columns whose groups are treated apart, such as `Metadata_Plate`; None for all at once
    samples : the reference rows, a query or a mask, such as the controls; None for all
    features : columns; all measurements if None
    rank : replace values by the normal scores of their ranks in the group first
    record : takes what was dropped or lost

    Returns
    -------
    the keys, then the features in float32 or float64 as they came. Where the reference of a group
    has no spread (nothing but rounding), the feature is missing in that group; a feature with no
    spread in any group is dropped. Infinite values become missing. Both are recorded.

    Raises
    ------
    InputError
        if a group has no reference rows at all

    Examples
    --------
    >>> frame = pd.DataFrame({"Metadata_Plate": ["a"] * 3, "Cells_Area": [1.0, 2.0, 4.0]})
    >>> normalize(frame, method="standardize", by="Metadata_Plate")["Cells_Area"].round(2).tolist()
    [-1.07, -0.27, 1.34]
    """
    names = chosen_features(frame, features)
    values = feature_matrix(frame, names)
    note_infinite(moments.count_infinite(values), names, record)
    groups = group_rows(frame, by)
    reference = reference_groups(groups, match(frame, samples), samples)
    if rank:
        inverse_normal(values, groups, out=values)
    scales = Scales.fit(values, names, reference, method=method)
    scales.report(record)
    scales.apply(values, groups.codes, out=values)
    kept = [name for name, gone in zip(names, scales.lost) if not gone]
    lost = [name for name, gone in zip(names, scales.lost) if gone]
    if lost:
        values = np.asfortranarray(values[:, ~scales.lost])
    return with_features(frame, kept, values, drop=lost)


def normalize_local(
    frame: pd.DataFrame,
    *,
    neighbours: int = 100,
    method: str = "mad_robustize",
    by: str | Sequence[str] | None = None,
    samples: Any = None,
    positions: Sequence[str] = ("Metadata_Y_um", "Metadata_X_um"),
    record: Record | None = None,
) -> pd.DataFrame:
    """Express each object by its nearest neighbours in space, so that gradients go.

    Parameters
    ----------
    neighbours : how many of the reference objects nearest to an object make its reference; the
        object itself is not among them
    by : groups that share a frame of positions, such as plate, well and tile
    samples : objects that may be neighbours, a query or a mask; None for all
    positions : columns of coordinates, in one unit

    Returns
    -------
    as `normalize`; objects without a position, or in groups with fewer than three reference
    objects, are missing, which is recorded
    """
    code = _method(method)
    names = feature_columns(frame)
    absent = [name for name in positions if name not in frame.columns]
    if absent:
        raise InputError(f"neighbours in space need the columns {absent}: normalise by plate")
    places = frame[list(positions)].to_numpy(float)
    values = feature_matrix(frame, names)
    groups = group_rows(frame, by)
    chosen = match(frame, samples) & np.isfinite(places).all(axis=1)
    out = np.full_like(values, np.nan, order="F")
    for label, rows in _rows_of(groups):
        given = rows[chosen[rows]]
        asked = rows[np.isfinite(places[rows]).all(axis=1)]
        if len(given) < 3:
            if record is not None:
                record.note(STEP, "changed", label, "too few neighbours, so missing", len(given))
            continue
        near = _nearest(places, asked, given, neighbours)
        centre, spread, _ = grouped.fit_scales(values, *near, code)
        own = np.asfortranarray(values[asked])
        grouped.apply_scales(own, np.arange(len(asked)), centre, spread, own)
        out[asked] = own
    return _without_empty(frame, names, out, record)


def inverse_normal(values: Matrix, groups: Groups, *, out: Matrix | None = None) -> Matrix:
    """Replace values by the normal scores of their ranks within the group.

    Ties share their mean rank; with n values the score of rank r is the normal quantile of
    (r - 3/8) / (n + 1/4). Missing stays missing.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    result = np.empty_like(values, order="F") if out is None else out
    for _, rows in _rows_of(groups):
        for f in range(values.shape[1]):
            column = values[rows, f].astype(float)
            finite = np.isfinite(column)
            share = (rankdata(column[finite]) - BLOM) / (finite.sum() + 1 - 2 * BLOM)
            column[finite], column[~finite] = ndtri(share), np.nan
            result[rows, f] = column
    return result


def note_infinite(infinite: NDArray[np.int64], names: Sequence[str], record: Record | None) -> None:
    """Record where infinite values are treated as missing, by their number in each column."""
    if record is None:
        return
    for place in np.flatnonzero(infinite).tolist():
        reason = "infinite values are missing"
        record.note(STEP, "changed", names[place], reason, int(infinite[place]))


def reference_groups(groups: Groups, chosen: NDArray[np.bool_], samples: Any) -> Groups:
    """Keep the reference rows; every group must have some."""
    reference = groups.only(chosen)
    empty = [groups.labels[g] for g in np.flatnonzero(reference.sizes == 0)]
    if empty:
        named = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        what = f"match {samples!r}" if isinstance(samples, str) else "were chosen as reference"
        raise InputError(
            f"no rows of {named} {what}: normalise by larger groups, by all rows, or leave "
            "those groups out"
        )
    return reference


def _method(name: str) -> int:
    if name not in METHODS:
        raise InputError(f"normalisation is one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def _rows_of(groups: Groups) -> list[tuple[str, NDArray[np.int64]]]:
    return list(zip(groups.labels, np.split(groups.order, groups.bounds[1:-1])))


def _nearest(
    places: NDArray[np.float64],
    asked: NDArray[np.int64],
    given: NDArray[np.int64],
    neighbours: int,
) -> Layout:
    """Rows of the nearest given objects of each asked one."""
    from scipy.spatial import cKDTree

    count = min(neighbours + 1, len(given))
    near = cKDTree(places[given]).query(places[asked], k=count)[1].reshape(len(asked), count)
    rows = given[near]
    # The object itself is usually the first; where it is not a reference, the farthest goes.
    own = rows == asked[:, None]
    own[~own.any(axis=1), -1] = True
    if count > 1:
        rows = rows[~own].reshape(len(asked), count - 1)
    bounds = np.arange(len(asked) + 1, dtype=np.int64) * rows.shape[1]
    return Layout(rows.reshape(-1).astype(np.int32), bounds, False)


def _without_empty(
    frame: pd.DataFrame, names: Sequence[str], values: Matrix, record: Record | None
) -> pd.DataFrame:
    lost: NDArray[np.bool_] = np.zeros(len(names), bool)
    if len(values):
        lost = np.asarray(~np.isfinite(values).any(axis=0))
    gone = [name for name, empty in zip(names, lost) if empty]
    if record is not None:
        record.note_all(STEP, "dropped", gone, "zero spread everywhere", [0.0] * len(gone))
    kept = [name for name, empty in zip(names, lost) if not empty]
    return with_features(frame, kept, np.asfortranarray(values[:, ~lost]), drop=gone)
