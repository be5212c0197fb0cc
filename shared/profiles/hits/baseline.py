"""Cells as their controls see them: centred on the controls, in standard deviations of theirs.

In this space the features are uncorrelated among controls, so the length of a shift is a
Mahalanobis distance. Everything is done in an order that follows from what the rows hold, never
from where they stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.kernels import kernel
from poolvox.shared.profiles.normalise.grouped import MAD_TO_SD

__all__ = ["Baseline", "fingerprints", "fit_baseline"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Hashes = NDArray[np.uint64]

# Controls that axes, and covariance, are fitted on; more change nothing that matters.
FITTED: Final = 20_000
# Controls per dimension of the space that is fitted on them.
PER_DIMENSION: Final = 10
# Standard deviations beyond which a value is taken for this much: debris shall not make the space.
CLIPPED: Final = 10.0
# Share of normal points that lie beyond the limit, and rounds in which it is found.
BEYOND: Final = 1e-3
ROUNDS: Final = 3
TINY: Final = 1e-12
# Variance of a direction, as a part of the largest, below which it is rounding.
ROUNDING: Final = 1e-6
CHUNK: Final = 2**16


@dataclass(frozen=True, slots=True)
class Baseline:
    """How features become coordinates in the space of the controls.

    Parameters
    ----------
    columns : (K,) features that vary among controls
    centre, scale : (K,) their robust centre and spread
    mean : (K,) middle of the clipped values
    axes : (K, D) what turns them into coordinates
    limit : length beyond which a cell is moved in to it
    covariance : (D, D) of the controls' coordinates, near the identity
    """

    columns: NDArray[np.intp]
    centre: Floats
    scale: Floats
    mean: Floats
    axes: Floats
    limit: float
    covariance: Floats

    def transform(
        self, values: NDArray[np.floating], rows: NDArray[np.intp] | None = None
    ) -> Singles:
        """(N, D) coordinates of all or some rows; a missing value is the controls' middle.

        A cell beyond nearly all controls is taken for one at their edge, in its direction: else
        a single piece of debris would shift the mean of a guide.
        """
        wanted = np.arange(len(values)) if rows is None else rows
        points = np.empty((len(wanted), self.axes.shape[1]), dtype=np.float32)
        for start in range(0, len(wanted), CHUNK):
            part = slice(start, start + CHUNK)
            chosen = values[np.ix_(wanted[part], self.columns)]
            standard = _standardise(chosen, self.centre, self.scale) - self.mean
            points[part] = _pulled_in(standard @ self.axes, self.limit)
        return points


def fit_baseline(
    controls: NDArray[np.floating], unit: NDArray[np.int64], hashes: Hashes
) -> Baseline:
    """Fit the space on (N, F) controls, by how they differ within their units.

    What units such as wells differ by has no part in it: the few units of controls would look
    alike in a space that was made from them, and all others different.

    Features without any spread among the controls are left out. With fewer than ten controls per
    direction the space would be fitted to chance, so then only the widest directions are kept.

    Parameters
    ----------
    unit : (N,) guide or well of each
    hashes : (N,) fingerprints of the controls; those with the lowest are fitted on
    """
    chosen = np.argsort(hashes, kind="stable")[: 2 * FITTED]
    # Infinite values are as good as missing.
    sample = np.where(np.isfinite(controls[chosen]), controls[chosen], np.nan).astype(np.float64)
    columns, centre, scale = _spread(sample)
    if not len(columns) or len(chosen) < 2 * PER_DIMENSION:
        raise InputError(
            f"{len(chosen)} controls with {len(columns)} features that vary among them: at least "
            f"{2 * PER_DIMENSION} controls and one feature are needed to compare with"
        )
    standard = _standardise(sample[:, columns], centre, scale)
    # What the axes were fitted on looks rounder than other cells do: those tell the covariance.
    fitted, held = (_within(standard[k::2], unit[chosen[k::2]]) for k in (0, 1))
    axes, limit = _axes(fitted, most=len(chosen) // (2 * PER_DIMENSION))
    points = _pulled_in(held @ axes, limit)
    covariance = points.T @ points / len(points)
    middle = np.median(standard, axis=0)
    return Baseline(columns, centre, scale, middle, axes, limit, covariance)


def _within(standard: Floats, unit: NDArray[np.int64]) -> Floats:
    """Differences from the mean of the unit, as wide as those from its true mean would be.

    If hardly any unit has two cells, units are all there is to tell the spread by.
    """
    _, unit, count = np.unique(unit, return_inverse=True, return_counts=True)
    if len(unit) - len(count) < len(unit) // 2:
        unit, count = np.zeros_like(unit), np.array([len(unit)])
    total = np.zeros((len(count), standard.shape[1]))
    np.add.at(total, unit, standard)
    several = count[unit] > 1
    own = count[unit][several, None]
    inside: Floats = standard[several] - (total / count[:, None])[unit[several]]
    return inside * np.sqrt(own / (own - 1))


def _spread(sample: Floats) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Columns that vary, their medians, and their robust or else plain standard deviations."""
    known = np.flatnonzero(np.isfinite(sample).sum(axis=0) >= 2)
    sample = sample[:, known]
    centre = np.nanmedian(sample, axis=0) if len(known) else np.empty(0)
    robust = MAD_TO_SD * np.nanmedian(np.abs(sample - centre), axis=0) if len(known) else centre
    plain = np.nanstd(sample, axis=0) if len(known) else centre
    scale = np.where(robust > 0, robust, plain)
    varies = scale > np.finfo(np.float32).eps * np.abs(centre)
    return known[varies], centre[varies], scale[varies]


def _axes(inside: Floats, *, most: int) -> tuple[Floats, float]:
    """Whitening axes by the shrunk covariance, of the `most` widest directions, and the limit.

    Cells far out are moved in before the covariance is taken again: with them it would be theirs.
    """
    from sklearn.covariance import ledoit_wolf

    points, axes, limit = inside, np.eye(inside.shape[1]), np.inf
    for _ in range(ROUNDS):
        covariance, _ = ledoit_wolf(points, assume_centered=True)
        axes = _whitening(covariance, most)
        length = np.sqrt(((inside @ axes) ** 2).sum(axis=1))
        limit = _limit(length, axes.shape[1])
        points = inside * np.minimum(1.0, limit / np.maximum(length, TINY))[:, None]
    return axes, limit


def _whitening(covariance: Floats, most: int) -> Floats:
    spread, axes = np.linalg.eigh(covariance)
    widest = np.argsort(-spread, kind="stable")[:most]
    widest = widest[spread[widest] > ROUNDING * spread.max()]
    # The sign of an axis is free; its largest part is made positive.
    axes = axes[:, widest]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    whitening: Floats = axes / np.sqrt(spread[widest])
    return whitening


def _limit(length: Floats, directions: int) -> float:
    """Length that one in a thousand normal points exceeds, by the median of the lengths."""
    from scipy.stats import chi2

    return float(
        np.median(length) * np.sqrt(chi2.isf(BEYOND, directions) / chi2.median(directions))
    )


def _pulled_in(points: Floats, limit: float) -> Floats:
    length = np.sqrt(np.einsum("nd,nd->n", points, points))
    near: Floats = points * np.minimum(1.0, limit / np.maximum(length, TINY))[:, None]
    return near


def _standardise(values: NDArray[np.floating], centre: Floats, scale: Floats) -> Floats:
    standard = (values - centre) / scale
    clipped: Floats = np.nan_to_num(standard, nan=0.0, posinf=CLIPPED, neginf=-CLIPPED)
    return np.clip(clipped, -CLIPPED, CLIPPED, out=clipped)


def fingerprints(values: NDArray[np.floating], keys: pd.DataFrame, seed: int) -> Hashes:
    """(N,) numbers that look random and depend on what a row holds, not on where it stands.

    Parameters
    ----------
    values : (N, F) features, which tell nearly all rows apart
    keys : columns that tell apart the rows whose features are equal
    """
    start: Hashes = np.array(pd.util.hash_pandas_object(keys, index=False), dtype=np.uint64)
    start ^= np.uint64(seed % 2**63)
    return _mix(np.asarray(values), start)


@kernel
def _mix(values: NDArray[Any], hashes: Hashes) -> Hashes:
    """Stir one column after the other into the hashes (steps of SplitMix64)."""
    scratch = np.empty(1, np.float32)
    bits = scratch.view(np.uint32)
    for f in range(values.shape[1]):
        for i in range(values.shape[0]):
            scratch[0] = values[i, f] + 0.0
            h = (hashes[i] ^ np.uint64(bits[0])) + np.uint64(0x9E3779B97F4A7C15)
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            hashes[i] = h ^ (h >> np.uint64(31))
    return hashes
