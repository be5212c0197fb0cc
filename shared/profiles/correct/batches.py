"""Removal of differences between batches, learnt on controls wherever there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.correct.empirical import fit_combat
from poolvox.shared.profiles.tables.columns import (
    Matrix,
    feature_columns,
    feature_matrix,
    match,
    with_features,
)
from poolvox.shared.profiles.tables.groups import Groups, group_rows
from poolvox.shared.profiles.tables.record import Record

__all__ = ["Linear", "combat", "fit_sphering", "fit_tvn", "harmony", "sphere", "tvn"]

STEP: Final = "correct"
# Added to covariances of whitened controls before their square root (EFAAR, TVN).
RIDGE: Final = 0.5
# Directions with less of the largest variance are rounding.
NEGLIGIBLE: Final = 1e-10
# Whitening by halves: of planted signal it keeps more than whitening in full, whether the signal
# lies where controls vary most or least.
WHITENING_RIDGE: Final = 2.0

Floats = NDArray[np.float64]
Shrinkage = float | Literal["auto"]


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear map of profiles, one per batch: `(x - centre[batch]) @ matrix[batch]`.

    Attributes
    ----------
    features : what it gives
    centre : (B, F) what missing values are taken for as well
    matrix : (B, F, K)
    """

    features: tuple[str, ...]
    centre: Floats
    matrix: Floats

    def apply(self, values: Matrix, codes: NDArray[np.int64]) -> Matrix:
        """Transform rows.

        Parameters
        ----------
        values : (N, F) array
        codes : (N,) batch of each row; all 0 where there is one map for all

        Returns
        -------
        (N, K) column-major array in the precision of `values`
        """
        out = np.empty((len(values), self.matrix.shape[2]), values.dtype, order="F")
        single = len(self.matrix) == 1
        for batch, (centre, matrix) in enumerate(zip(self.centre, self.matrix)):
            rows: Any = slice(None) if single else codes == batch
            centred = values[rows] - centre.astype(values.dtype)
            centred[~np.isfinite(centred)] = 0
            out[rows] = centred @ matrix.astype(values.dtype)
        return out


def sphere(
    frame: pd.DataFrame,
    *,
    samples: Any = None,
    shrinkage: Shrinkage = "auto",
    record: Record | None = None,
) -> pd.DataFrame:
    """Whiten profiles by their controls: what varies among controls counts less.

    The features keep their names: they are turned as little as possible (ZCA of the correlations,
    doi:10.1080/00031305.2016.1277159).

    Parameters
    ----------
    samples : the controls, a query or a mask; None for all rows
    shrinkage : of the correlations towards none, between 0 and 1; `auto` estimates it (Ledoit and
        Wolf, doi:10.1016/S0047-259X(03)00096-4). 0 needs more controls than features
    record : takes the shrinkage, and how many values were missing

    Returns
    -------
    keys and features; the controls have mean 0, and with shrinkage 0 covariance 1. Missing values
    are taken for the controls' mean.
    """
    names, values, codes = _parts(frame)
    rows = match(frame, samples)
    fitted = fit_sphering(values[rows], names, shrinkage=shrinkage, record=record)
    _note_missing(values, names, record)
    return with_features(frame, fitted.features, fitted.apply(values, codes))


def tvn(
    frame: pd.DataFrame,
    *,
    batch: str | Sequence[str],
    samples: Any = None,
    components: int | None = None,
    ridge: float = WHITENING_RIDGE,
    shrinkage: Shrinkage = 0.0,
    record: Record | None = None,
) -> pd.DataFrame:
    """Typical variation normalisation: whiten by the controls, then align each batch's controls.

    Controls are scaled, turned to their principal components and scaled again; then the controls
    of every batch are given the same covariances (CORAL), and their mean is put to 0
    (doi:10.1101/161422, doi:10.48550/arXiv.1612.01939).

    It is meant for batches in which features go together differently. Where batches differ by the
    place and width of each feature only, normalising by batch does all of it, and TVN on top costs
    signal: in six simulated screens of that kind (60 to 200 features, two plates) the mean average
    precision of active genes was 0.23 to 0.41 with normalisation, and 0.16 to 0.28 with TVN behind
    it; no ridge between 0 and 128 was better in all. Where features were mixed and batches not
    normalised, the signal rose from 0.24 to 0.83, with normalisation to 0.77. Look at
    `batch_mixing` before and after.

    Parameters
    ----------
    batch : columns that name a batch
    samples : the controls, a query or a mask; None for all rows. Each batch must have some
    components : at most so many
    ridge : added to the variance of every component, in units of that of one feature, before they
        are scaled by it. With 0 all components count alike afterwards, those that hold nothing but
        noise as well, which drown the signal where there are many
    shrinkage : of the covariance of each batch's controls; see `sphere`

    Returns
    -------
    keys and `Components_1` …
    """
    names, values, _ = _parts(frame)
    groups = group_rows(frame, batch)
    controls = groups.only(match(frame, samples))
    empty = [groups.labels[g] for g in np.flatnonzero(controls.sizes < 2)]
    if empty:
        raise InputError(f"batches {empty[:5]} have fewer than two controls to learn from")
    fitted = fit_tvn(
        values,
        names,
        controls,
        components=components,
        ridge=ridge,
        shrinkage=shrinkage,
        record=record,
    )
    _note_missing(values, names, record)
    return with_features(frame, fitted.features, fitted.apply(values, groups.codes), drop=names)


def combat(
    frame: pd.DataFrame,
    *,
    batch: str | Sequence[str],
    samples: Any = None,
    record: Record | None = None,
) -> pd.DataFrame:
    """Give every batch the same mean and spread, feature by feature, with shared strength.

    Shifts and scales of a batch are shrunk towards those of its other features (ComBat, empirical
    Bayes, doi:10.1093/biostatistics/kxj037).

    Parameters
    ----------
    batch : columns that name a batch; each needs two rows
    samples : rows that the shifts are learnt on, a query or a mask. None for all: what differs
        between batches because they hold other perturbations is then removed too

    Returns
    -------
    keys and features; missing values stay missing
    """
    names, values, _ = _parts(frame)
    groups = group_rows(frame, batch)
    scales = fit_combat(values, names, groups.only(match(frame, samples)))
    if record is not None:
        record.note(STEP, "changed", "all features", "ComBat over batches", len(groups))
    return with_features(frame, names, scales.apply(values, groups.codes))


def harmony(
    frame: pd.DataFrame,
    *,
    batch: str | Sequence[str],
    components: int = 50,
    seed: int = 0,
    record: Record | None = None,
) -> pd.DataFrame:
    """Mix batches by soft clusters of principal components (doi:10.1038/s41592-019-0619-0).

    Needs `harmonypy`: `pip install poolvox[batch]`. It moves clusters that batches share; batches
    that do not overlap at all stay apart.

    Returns
    -------
    keys and `Components_1` …
    """
    try:
        import harmonypy
    except ImportError as error:
        raise InputError("Harmony needs harmonypy: pip install 'poolvox[batch]'") from error
    names, values, _ = _parts(frame)
    groups = group_rows(frame, batch)
    _note_missing(values, names, record)
    scores = _principal(_filled(values), components)
    meta = pd.DataFrame({"batch": pd.Series(groups.codes.astype(str), dtype=object)})
    found = harmonypy.run_harmony(scores, meta, ["batch"], random_state=seed, verbose=False)
    corrected = np.asarray(found.Z_corr, float)
    if corrected.shape[0] != len(frame):
        corrected = corrected.T
    if record is not None:
        record.note(STEP, "changed", "all features", "Harmony on components", scores.shape[1])
    labels = _component_names(corrected.shape[1])
    matrix = np.asfortranarray(corrected.astype(values.dtype))
    return with_features(frame, labels, matrix, drop=names)


def fit_sphering(
    controls: Matrix,
    names: Sequence[str],
    *,
    shrinkage: Shrinkage = "auto",
    record: Record | None = None,
) -> Linear:
    """Learn the map of `sphere` from the controls, (M, F)."""
    if len(controls) < 2:
        raise InputError(f"sphering needs controls, got {len(controls)} of them")
    mean, width, scaled = _standardised(controls)
    if not (width > 0).all():
        flat = [name for name, w in zip(names, width) if not w > 0]
        raise InputError(f"features {flat[:5]} are constant among the controls: drop them first")
    share = _share(scaled, shrinkage)
    if share == 0 and len(controls) <= len(names):
        raise InputError(
            f"{len(controls)} controls cannot whiten {len(names)} features without shrinkage: set "
            "it to auto"
        )
    correlation = scaled.T @ scaled / (len(controls) - 1)
    shrunk = (1 - share) * correlation + share * np.eye(len(names))
    if record is not None:
        record.note(STEP, "changed", "all features", "sphered, with this shrinkage", share)
    # width has ddof 0 and the covariance ddof 1, as pycytominer's have.
    matrix = _inverse_root(shrunk) / width[:, None]
    return Linear(tuple(names), mean[None], matrix[None])


def fit_tvn(
    values: Matrix,
    names: Sequence[str],
    controls: Groups,
    *,
    components: int | None = None,
    ridge: float = WHITENING_RIDGE,
    shrinkage: Shrinkage = 0.0,
    record: Record | None = None,
) -> Linear:
    """Learn the map of `tvn` from the controls of each batch.

    Parameters
    ----------
    values : (N, F) matrix
    controls : the control rows, grouped by batch
    """
    rows = controls.order
    mean, width, scaled = _standardised(values[rows])
    width[~(width > 0)] = np.inf
    power, axes = np.linalg.eigh(scaled.T @ scaled / len(rows))
    order = np.argsort(power)[::-1]
    kept = order[power[order] > NEGLIGIBLE * power.max()][:components]
    turn = _signed(axes[:, kept]) / np.sqrt(power[kept] + ridge)
    white = scaled @ turn
    batches = controls.codes[rows]
    matrices = np.empty((len(controls), len(names), len(kept)))
    centres = np.empty((len(controls), len(names)))
    for batch in range(len(controls)):
        own = white[batches == batch]
        own = own - own.mean(axis=0)
        centres[batch] = mean + scaled[batches == batch].mean(axis=0) * np.nan_to_num(
            width, posinf=0
        )
        share = _share(own, shrinkage)
        covariance = own.T @ own / (len(own) - 1)
        covariance = (1 - share) * covariance + share * np.diag(np.diag(covariance))
        root = _inverse_root(covariance + RIDGE * np.eye(len(kept)))
        matrices[batch] = (turn / width[:, None]) @ root
    if record is not None:
        record.note(STEP, "changed", "all features", "TVN to components", len(kept))
    return Linear(_component_names(len(kept)), centres, matrices)


def _parts(frame: pd.DataFrame) -> tuple[list[str], Matrix, NDArray[np.int64]]:
    names = feature_columns(frame)
    if not names:
        raise InputError("the table has no features to correct")
    return names, feature_matrix(frame, names), np.zeros(len(frame), np.int64)


def _standardised(values: Matrix) -> tuple[Floats, Floats, Floats]:
    """Mean, standard deviation (population) and scaled values; missing ones become 0."""
    given = values.astype(float)
    given[~np.isfinite(given)] = np.nan
    with np.errstate(invalid="ignore"):
        mean = _nan_mean(given)
        scaled = given - mean
        width = np.sqrt(_nan_mean(scaled**2))
        width[width <= 1e-12 * np.abs(mean)] = 0
        scaled = np.nan_to_num(scaled / np.where(width > 0, width, np.inf))
    return np.nan_to_num(mean), np.nan_to_num(width), scaled


def _nan_mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    return np.asarray(np.where(known, values, 0).sum(axis=0) / count)


def _share(scaled: Floats, shrinkage: Shrinkage) -> float:
    if shrinkage != "auto":
        return float(shrinkage)
    from sklearn.covariance import ledoit_wolf_shrinkage

    return float(ledoit_wolf_shrinkage(scaled))


def _inverse_root(matrix: Floats) -> Floats:
    """Symmetric inverse square root; directions that are only rounding are left out."""
    power, axes = np.linalg.eigh(matrix)
    kept = power > NEGLIGIBLE * power.max()
    root: Floats = (axes[:, kept] / np.sqrt(power[kept])) @ axes[:, kept].T
    return root


def _signed(axes: Floats) -> Floats:
    """Directions with the sign that makes their largest entry positive: libraries differ."""
    largest = np.abs(axes).argmax(axis=0)
    return np.asarray(axes * np.sign(axes[largest, np.arange(axes.shape[1])]))


def _filled(values: Matrix) -> Floats:
    given = values.astype(float)
    given[~np.isfinite(given)] = np.nan
    return np.where(np.isfinite(given), given, _nan_mean(given))


def _principal(values: Floats, components: int) -> Floats:
    centred = values - values.mean(axis=0)
    power, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    order = np.argsort(power)[::-1]
    kept = order[power[order] > NEGLIGIBLE * power.max()][:components]
    scores: Floats = centred @ _signed(axes[:, kept])
    return scores


def _component_names(count: int) -> tuple[str, ...]:
    return tuple(f"Components_{k + 1}" for k in range(count))


def _note_missing(values: Matrix, names: Sequence[str], record: Record | None) -> None:
    if record is None:
        return
    missing = (~np.isfinite(values)).sum(axis=0)
    for place in np.flatnonzero(missing).tolist():
        record.note(
            STEP, "changed", names[place], "missing values are taken for the mean", missing[place]
        )
