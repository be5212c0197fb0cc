"""Comparisons along one line: do cells lie further out than controls, do wells follow the dose?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolvox.shared.profiles.hits.baseline import Floats, Singles

__all__ = ["Superiority", "compare_by_direction", "dose_trend", "mann_whitney"]

Ints = NDArray[np.int64]

# Cells of either kind in each half, at least.
MIN_HALF: Final = 3
# Doses, and units, that a trend is told by, at least.
MIN_DOSES: Final = 3
MIN_UNITS: Final = 5


@dataclass(frozen=True, slots=True)
class Superiority:
    """Chance that a cell lies further along the shift than a control does, and its p-value."""

    superiority: float
    p_value: float


def compare_by_direction(points: Singles, half: Ints, members: Ints, controls: Ints) -> Superiority:
    """Mann-Whitney tests along the direction in which the members lie from the controls.

    The direction comes from one half of the cells and the test from the other, both ways, so that
    no cell is judged by a direction that it had a part in. The mean of both normal scores is the
    result; each is standard normal by chance, so their mean is no wider, however they depend.

    Parameters
    ----------
    points : (N, D) coordinates
    half : (N,) 0 or 1
    members, controls : rows of the cells, and of the controls; none may be in both
    """
    from scipy.stats import norm

    sides = [
        (points[members[half[members] == k]], points[controls[half[controls] == k]]) for k in (0, 1)
    ]
    if min(len(cells) for side in sides for cells in side) < MIN_HALF:
        return Superiority(float("nan"), float("nan"))
    parts, scores = [], []
    for (cells, others), (unseen, against) in (sides, sides[::-1]):
        direction = cells.mean(axis=0) - others.mean(axis=0)
        # Not by BLAS, which has warned here of invalid values that a second run did not have.
        along = (np.einsum("nd,d->n", points, direction) for points in (unseen, against))
        part, score = mann_whitney(*along)
        parts.append(part)
        scores.append(score)
    return Superiority(float(np.mean(parts)), float(norm.sf(np.mean(scores))))


def mann_whitney(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """Chance that one of the first is larger than one of the second, and its normal score.

    Ties count half, and narrow the variance. Mann and Whitney 1947, doi:10.1214/aoms/1177730491.
    """
    from scipy.stats import rankdata

    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    n, m = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]))
    larger = float(ranks[:n].sum() - n * (n + 1) / 2)
    _, tied = np.unique(ranks, return_counts=True)
    total = n + m
    spread = total + 1 - float((tied**3 - tied).sum()) / (total * (total - 1))
    variance = n * m * spread / 12
    score = (larger - n * m / 2) / np.sqrt(variance) if variance > 0 else 0.0
    return larger / (n * m), float(score)


def dose_trend(shifts: Floats, doses: Floats) -> tuple[float, float]:
    """Kendall's tau between dose and how far units lie along their common shift, and its p-value.

    All units have the same part in the direction, so among units that do nothing every order of
    the doses is as likely as any other. NaN with too few doses or units.

    Parameters
    ----------
    shifts : (U, D) shifts of units, such as wells
    doses : (U,) their doses or times
    """
    from scipy.stats import kendalltau

    known = np.isfinite(shifts).all(axis=1) & np.isfinite(doses)
    if known.sum() < MIN_UNITS or len(np.unique(doses[known])) < MIN_DOSES:
        return float("nan"), float("nan")
    along = shifts[known] @ shifts[known].mean(axis=0)
    found = kendalltau(doses[known], along)
    return float(found.statistic), float(found.pvalue)
