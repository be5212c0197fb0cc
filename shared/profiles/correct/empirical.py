"""ComBat: shifts and scales of batches, shrunk over features by empirical Bayes.

Johnson, Li and Rabinovic 2007, doi:10.1093/biostatistics/kxj037, without covariates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.normalise import grouped
from poolvox.shared.profiles.normalise.scaling import Scales
from poolvox.shared.profiles.tables.columns import Matrix
from poolvox.shared.profiles.tables.groups import Groups

__all__ = ["combat_scales", "fit_combat"]

Floats = NDArray[np.float64]

CONVERGED: Final = 1e-6
MOST_ROUNDS: Final = 1_000


def fit_combat(values: Matrix, names: Sequence[str], batches: Groups) -> Scales:
    """Learn what each batch's features must be shifted and scaled by.

    Parameters
    ----------
    values : (N, F) column-major matrix
    batches : the rows to learn on, by batch
    """
    mean, spread, count = grouped.fit_scales(values, *batches.layout, grouped.STANDARD)
    small = [batches.labels[g] for g in np.flatnonzero(count.max(axis=1, initial=0) < 2)]
    if small:
        raise InputError(f"batches {small[:5]} have fewer than two rows to learn from")
    return combat_scales(mean, spread**2, count, names, batches.labels)


def combat_scales(
    mean: Floats,
    variance: Floats,
    count: NDArray[np.int64],
    names: Sequence[str],
    labels: Sequence[str],
) -> Scales:
    """Turn means and variances (population) of features in batches into ComBat's scales.

    Parameters
    ----------
    mean, variance, count : (B, F) arrays

    Returns
    -------
    scales that put every batch where all of them together are; features without spread stay
    """
    known = np.isfinite(mean) & (count > 0)
    weight = np.where(known, count, 0)
    total = weight.sum(axis=0)
    safe = np.maximum(total, 1)
    grand = (np.where(known, mean, 0) * weight).sum(axis=0) / safe
    pooled = (np.where(known, variance, 0) * weight).sum(axis=0) / safe
    width = np.sqrt(np.where(pooled > 0, pooled, 1.0))
    shift = np.where(known, (mean - grand) / width, 0)
    unbiased = np.where(count > 1, variance * count / np.maximum(count - 1, 1), np.nan) / width**2
    centre, spread = np.empty_like(mean), np.empty_like(mean)
    for b in range(len(mean)):
        usable = known[b] & (count[b] > 1) & (pooled > 0)
        moved, stretched = np.zeros(len(names)), np.ones(len(names))
        if usable.sum() > 1:
            moved[usable], stretched[usable] = _posterior(
                shift[b, usable], unbiased[b, usable], count[b, usable].astype(float)
            )
        elif usable.any():
            moved[usable], stretched[usable] = shift[b, usable], unbiased[b, usable]
        # (x - grand - moved * width) / sqrt(stretched) + grand, written as one scale.
        spread[b] = np.sqrt(stretched)
        centre[b] = grand + moved * width - grand * spread[b]
    return Scales(tuple(names), tuple(labels), centre, spread, np.asarray(count, np.int64))


def _posterior(shift: Floats, scale: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Shrink the shifts and variances of one batch's features towards what they share."""
    prior, width = shift.mean(), shift.var(ddof=1)
    level, spread = scale.mean(), scale.var(ddof=1)
    if not spread > 0 or not width > 0:
        return shift, np.where(scale > 0, scale, 1.0)
    # Inverse gamma with the mean and variance that the features' variances have.
    shape = 2 + level**2 / spread
    rate = level * (shape - 1)
    moved, stretched = shift.copy(), np.where(scale > 0, scale, level)
    squares = scale * (count - 1)
    for _ in range(MOST_ROUNDS):
        new = (count * width * shift + stretched * prior) / (count * width + stretched)
        around = squares + count * (shift - new) ** 2
        wide = (rate + 0.5 * around) / (count / 2 + shape - 1)
        change = max(np.abs(new - moved).max(), np.abs(wide - stretched).max())
        moved, stretched = new, wide
        if change < CONVERGED:
            break
    return moved, stretched
