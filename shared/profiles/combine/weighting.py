"""By how much rows count: by the probability of their call, or by how well they agree."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.tables.columns import Matrix

__all__ = ["as_weights", "modz_weights"]

Floats = NDArray[np.float64]

# The least weight of a replicate that agrees with no other.
MIN_WEIGHT: Final = 0.01


def modz_weights(values: Matrix, *, least: float = MIN_WEIGHT) -> Floats:
    """Weight replicates by how well each agrees with the others.

    The weight is the mean of the Spearman correlations with the other replicates, of which
    negative ones are 0, at least `least`, then scaled to sum 1 (doi:10.1016/j.cell.2017.10.049).

    Parameters
    ----------
    values : (R, F) replicates of one perturbation; features that any replicate lacks are left out
        of the correlations with it

    Returns
    -------
    (R,) weights; equal ones where there are no correlations
    """
    from poolvox.shared.profiles.normalise.correlation import correlate_columns

    count = len(values)
    if count == 1:
        return np.ones(1)
    turned = np.asfortranarray(values.T.astype(float))
    agreement = correlate_columns(turned, np.arange(turned.shape[0], dtype=np.int64), rank=True)
    agreement = np.maximum(agreement, 0)
    np.fill_diagonal(agreement, np.nan)
    known = np.isfinite(agreement)
    mean = np.where(known, agreement, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    weights = np.maximum(mean, least)
    return np.asarray(weights / weights.sum())


def as_weights(column: pd.Series[Any]) -> Floats:
    """Weights of rows, (N,); missing ones count nothing.

    Raises
    ------
    InputError
        for what is no number, and below 0
    """
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise InputError(f"weights are numbers, and {column.name} holds {column.iloc[:1].tolist()}")
    given = column.to_numpy(float, na_value=np.nan)
    if (given < 0).any():
        raise InputError(f"weights in {column.name!r} are negative: they must be 0 or more")
    return np.where(np.isfinite(given), given, 0.0)
