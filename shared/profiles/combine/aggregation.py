"""From objects to profiles: one row per well, guide, gene or organoid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.combine.weighting import as_weights, modz_weights
from poolvox.shared.profiles.normalise import grouped
from poolvox.shared.profiles.tables.columns import Matrix, chosen_features, feature_matrix
from poolvox.shared.profiles.tables.groups import Groups, group_rows
from poolvox.shared.profiles.tables.record import Record

__all__ = ["AGGREGATES", "aggregate", "bootstrap", "centres_of", "shared_keys"]

STEP: Final = "aggregate"
AGGREGATES: Final = {
    "median": grouped.MEDIAN,
    "mean": grouped.MEAN,
    "robust": grouped.ROBUST,
}
MODZ: Final = "modz"
COUNT: Final = "Metadata_Count"
WEIGHT: Final = "Metadata_Weight"


def aggregate(
    frame: pd.DataFrame,
    *,
    by: str | Sequence[str],
    method: str = "median",
    weights: str | None = None,
    features: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    record: Record | None = None,
) -> pd.DataFrame:
    """Make one profile of the rows of each group.

    Parameters
    ----------
    by : columns that name the groups; a missing name is a group of its own
    method : `median`; `mean`; `robust` (one step of Tukey's biweight from the median); `modz`
        (mean of replicates, each weighted by its rank correlation with the others)
    weights : column by which rows count, such as `Call_Posterior`; for `median` and `mean`
    features : columns; all measurements if None
    keep : further keys to carry along where all rows of a group agree; see `shared_keys`
    record : takes groups that have nothing but missing values

    Returns
    -------
    the keys, `Metadata_Count` (rows), `Metadata_Weight` (sum of the weights, where there are any),
    then the features, in the natural order of the keys. Missing values are left out; a feature
    that all rows lack is missing.

    Examples
    --------
    >>> frame = pd.DataFrame({"Metadata_Well": ["A1", "A1", "A2"], "Cells_Area": [1.0, 3.0, 5.0]})
    >>> aggregate(frame, by="Metadata_Well")["Cells_Area"].tolist()
    [2.0, 5.0]
    """
    names = chosen_features(frame, features)
    groups = group_rows(frame, by)
    weight = None if weights is None else _weights(frame, weights)
    ordered = None if weight is None else weight[groups.order]
    found = centres_of(feature_matrix(frame, names), groups, method, ordered)
    profiles = profile_table(groups, names, found, weight)
    profiles = _carry(profiles, frame, groups, keep)
    empty = np.flatnonzero(~np.isfinite(found).any(axis=1)) if names else ()
    if record is not None:
        for g in empty:
            record.note(STEP, "changed", groups.labels[g], "no values, so missing", 0.0)
    return profiles


def centres_of(
    values: Matrix, groups: Groups, method: str, weights: NDArray[np.float64] | None = None
) -> Matrix:
    """Aggregate columns of a matrix.

    Parameters
    ----------
    values : (N, F) column-major matrix
    weights : (M,) at least 0, in the order of the groups; for `median` and `mean` only

    Returns
    -------
    (G, F) array in the precision of `values`
    """
    if method != MODZ and method not in AGGREGATES:
        known = ", ".join([*AGGREGATES, MODZ])
        raise InputError(f"profiles are aggregated by {known}, got {method!r}")
    if weights is not None and method not in ("median", "mean"):
        raise InputError(f"{method!r} knows no weights: aggregate by median or mean, or without")
    if weights is not None:
        found = grouped.weighted_centres(values, weights, *groups.layout, method == "median")
    elif method == MODZ:
        found = _modz(values, groups)
    else:
        found = grouped.group_centres(values, *groups.layout, AGGREGATES[method])
    return np.asfortranarray(found.astype(values.dtype))


def profile_table(
    groups: Groups,
    names: Sequence[str],
    found: Matrix,
    weights: NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Put keys, counts and aggregated features together."""
    keys = groups.keys.copy()
    keys[COUNT] = groups.sizes
    if weights is not None:
        keys[WEIGHT] = np.bincount(groups.codes, weights, minlength=len(groups))
    return pd.concat([keys, pd.DataFrame(found, columns=list(names))], axis=1)


def bootstrap(
    frame: pd.DataFrame,
    *,
    by: str | Sequence[str],
    rng: np.random.Generator,
    method: str = "median",
    repeats: int = 200,
    level: float = 0.95,
    features: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Confidence intervals of profiles: percentiles over samples drawn with replacement.

    Parameters
    ----------
    rng : source of the samples; rows are drawn within each group
    repeats : how many samples
    level : share of them between the bounds

    Returns
    -------
    two rows per group, `Metadata_Bound` being `low` and `high`, and the features
    """
    if not 0 < level < 1 or repeats < 2:
        raise InputError(f"bootstrap needs 0 < level < 1 and repeats, got {level} and {repeats}")
    names = chosen_features(frame, features)
    groups = group_rows(frame, by)
    values = feature_matrix(frame, names)
    outside = (1 - level) / 2
    bounds = np.empty((len(groups), 2, len(names)), values.dtype)
    for g, rows in enumerate(np.split(groups.order, groups.bounds[1:-1])):
        drawn = rows[rng.integers(0, len(rows), (repeats, len(rows)))]
        found = _centres_of_samples(values, drawn, method)
        bounds[g] = np.nanquantile(found, [outside, 1 - outside], axis=0) if len(names) else 0
    keys = groups.keys.loc[np.repeat(np.arange(len(groups)), 2)].reset_index(drop=True)
    keys["Metadata_Bound"] = np.tile(np.array(["low", "high"], object), len(groups))
    return pd.concat([keys, pd.DataFrame(bounds.reshape(-1, len(names)), columns=names)], axis=1)


def shared_keys(frame: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Name the keys that have one value in every group: the gene of a guide, for instance."""
    groups = group_rows(frame, by)
    found = []
    for name in frame.columns:
        if not str(name).startswith("Metadata_") or name in by:
            continue
        codes = pd.factorize(frame[name])[0]
        if (codes == codes[groups.order[groups.bounds[:-1]]][groups.codes]).all():
            found.append(str(name))
    return found


def _weights(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in frame.columns:
        raise InputError(f"there is no column {name!r} to weight rows by")
    return as_weights(frame[name])


def _modz(values: Matrix, groups: Groups) -> NDArray[np.float64]:
    found = np.full((len(groups), values.shape[1]), np.nan)
    for g, rows in enumerate(np.split(groups.order, groups.bounds[1:-1])):
        own = values[rows].astype(float)
        own[~np.isfinite(own)] = np.nan
        weights = modz_weights(own)[:, None]
        there = np.isfinite(own)
        total = (there * weights).sum(axis=0)
        np.divide(np.nansum(own * weights, axis=0), total, out=found[g], where=total > 0)
    return found


def _centres_of_samples(values: Matrix, drawn: NDArray[np.int64], method: str) -> Matrix:
    """Aggregate each sample of rows, (repeats, rows), as if it were a group."""
    repeats, size = drawn.shape
    bounds = np.arange(repeats + 1, dtype=np.int64) * size
    order = drawn.reshape(-1)
    codes = np.repeat(np.arange(repeats), size)
    samples = Groups(pd.DataFrame(index=range(repeats)), codes, order, bounds, repeated=True)
    return centres_of(values, samples, method)


def _carry(
    profiles: pd.DataFrame, frame: pd.DataFrame, groups: Groups, keep: Sequence[str]
) -> pd.DataFrame:
    first = groups.order[groups.bounds[:-1]]
    place = groups.keys.shape[1]
    for name in keep:
        profiles.insert(place, name, frame[name].to_numpy()[first])
        place += 1
    return profiles
