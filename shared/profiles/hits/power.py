"""How many cells a guide needs for its effect to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from poolvox.shared.profiles.compare.rates import benjamini_hochberg
from poolvox.shared.profiles.hits.comparison import Cells, Comparison, gather_cells
from poolvox.shared.profiles.hits.noise import fit_noise
from poolvox.shared.profiles.hits.shifts import measure_shifts
from poolvox.shared.profiles.hits.sums import sum_units

__all__ = ["cells_needed", "find_power"]

COUNTS: Final = (10, 20, 40, 80, 160, 320)
# Most cells that `cells_needed` looks for.
MOST: Final = 10**6


def cells_needed(
    effect: float, directions: float, *, level: float = 0.001, power: float = 0.8
) -> int:
    """Cells of a guide for an effect to be seen, when there are many controls.

    The squared length of the guide's shift is a non-central chi-square number.

    Parameters
    ----------
    effect : length of the shift in standard deviations of the controls, as `Hit_Effect`
    directions : independent directions that cells differ in
    level : p-value that counts as seen; with many guides a small one
    power : share of guides with this effect that shall be seen

    Examples
    --------
    >>> cells_needed(1.0, 50)
    52
    """
    from scipy.stats import chi2, ncx2

    if not effect > 0 or not directions > 0 or not 0 < level < power < 1:
        raise ValueError(
            f"effect {effect:g} and directions {directions:g} are above 0, and 0 < level "
            f"{level:g} < power {power:g} < 1"
        )
    needed = chi2.isf(level, directions)
    low, high = 0, 1
    while ncx2.sf(needed, directions, high * effect**2) < power:
        low, high = high, 2 * high
        if high > MOST:
            raise ValueError(f"an effect of {effect:g} needs more than {MOST} cells of a guide")
    while high - low > 1:
        middle = (low + high) // 2
        if ncx2.sf(needed, directions, middle * effect**2) < power:
            low = middle
        else:
            high = middle
    return high


def find_power(
    objects: pd.DataFrame,
    comparison: Comparison,
    *,
    features: Sequence[str] | None = None,
    counts: Sequence[int] = COUNTS,
    fdr: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """What share of the guides would have been found with fewer cells of each.

    Guides are tested again with only some of their cells, drawn at random; controls keep theirs.
    Guides that have fewer cells take part with those that they have.

    Parameters
    ----------
    objects, comparison : as for `find_hits`; its units are what is counted
    counts : cells of each guide to try

    Returns
    -------
    one row per count and then one with all cells: `Power_Cells` (asked for; -1 for all),
    `Power_Median` (cells that the median guide had), `Power_Found` (guides found), `Power_Share`
    (of those found with all cells, how many are found again), `Power_Controls` (share of the units
    of controls with a p-value of at most 5 %: more than that would be alarming)
    """
    if any(count < 1 for count in counts):
        raise ValueError(f"a guide has at least one cell, got counts {list(counts)}")
    cells = gather_cells(objects, comparison, features=features, seed=seed)
    place = _place_in_unit(cells)
    rows, whole = [], _found(cells, np.ones(len(place), dtype=bool), fdr)
    for count in [*sorted(set(counts)), None]:
        chosen = cells.control[cells.unit] | (place < (len(place) if count is None else count))
        found, control, sizes = _found(cells, chosen, fdr)
        again = int((found & whole[0]).sum())
        rows.append(
            {
                "Power_Cells": -1 if count is None else count,
                "Power_Median": float(np.median(sizes)),
                "Power_Found": int(found.sum()),
                "Power_Share": again / whole[0].sum() if whole[0].any() else np.nan,
                "Power_Controls": control,
            }
        )
    return pd.DataFrame(rows)


def _place_in_unit(cells: Cells) -> np.ndarray:
    """Which of the cells of its unit each is, in the order of the fingerprints: from 0."""
    return pd.Series(cells.unit).groupby(cells.unit).cumcount().to_numpy()


def _found(cells: Cells, chosen: np.ndarray, fdr: float) -> tuple[np.ndarray, float, np.ndarray]:
    """Units found, share of units of controls with a small p-value, cells of the others."""
    sums = sum_units(cells.points[chosen], cells.unit[chosen], cells.batch[chosen], cells.shape)
    group = cells.units["group"].to_numpy()
    noise = fit_noise(sums, cells.control, group, cells.covariance)
    test = measure_shifts(sums, cells.control, noise)
    q = benjamini_hochberg(np.where(cells.control, np.nan, test.p))
    small = float(np.mean(test.p[cells.control] <= 0.05))
    return q <= fdr, small, sums.count.sum(axis=1)[~cells.control]
