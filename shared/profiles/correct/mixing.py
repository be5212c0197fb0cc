"""What a correction did: how batches mix before and after, and what it cost the signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.precision import average_precision, pair_rules
from poolvox.shared.profiles.tables.columns import feature_columns, feature_matrix, match
from poolvox.shared.profiles.tables.groups import Groups, group_rows

__all__ = ["batch_mixing", "batch_variance", "neighbour_mixing"]

NEIGHBOURS: Final = 20
# p-values are not asked for here.
DRAWS: Final = 100


def batch_mixing(
    tables: Mapping[str, pd.DataFrame],
    *,
    batch: str | Sequence[str],
    by: str | None = None,
    controls: Any = None,
    neighbours: int = NEIGHBOURS,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare tables of the same profiles, such as before and after a correction.

    Parameters
    ----------
    tables : profiles by name, one row per perturbation and batch at least
    batch : columns that name a batch
    by : column of the perturbation, for what is left of the signal
    controls : rows that are controls, a query or a mask; without them the signal is how well
        profiles of one perturbation find each other among all others
    neighbours : how many of each profile are looked at

    Returns
    -------
    one row per table: `Metadata_Table`, `Mixing_Neighbours` (neighbours from other batches over
    those expected by chance: 1 is mixed, 0 apart), `Mixing_Variance` (share of the variance that
    lies between batches), `Mixing_Expected` (the same by chance), `Mixing_Signal` (mean of the
    average precisions over perturbations, 0 by chance, 1 at best) and `Mixing_Precision` (the same
    as it is, mAP)
    """
    rows = []
    for name, frame in tables.items():
        groups = group_rows(frame, batch)
        values = _directions(frame)
        between, expected = batch_variance(values, groups)
        row = {
            "Metadata_Table": name,
            "Mixing_Neighbours": neighbour_mixing(values, groups, neighbours=neighbours),
            "Mixing_Variance": between,
            "Mixing_Expected": expected,
        }
        rows.append(row | _signal(frame, by, controls, seed))
    return pd.DataFrame(rows)


def neighbour_mixing(
    values: NDArray[np.float64], batches: Groups, *, neighbours: int = NEIGHBOURS
) -> float:
    """Share of nearest neighbours from other batches over the share expected by chance.

    Parameters
    ----------
    values : (N, F) profiles, compared by their cosine
    """
    from sklearn.neighbors import NearestNeighbors

    count = len(values)
    if len(batches) < 2 or count < 3:
        return float("nan")
    near = min(neighbours, count - 1)
    search = NearestNeighbors(n_neighbors=near, metric="cosine", algorithm="brute").fit(values)
    # Asked without rows, it leaves each row itself out.
    found = search.kneighbors(return_distance=False)
    other = (batches.codes[found] != batches.codes[:, None]).mean()
    own = (batches.sizes[batches.codes] - 1) / (count - 1)
    return float(other / (1 - own).mean())


def batch_variance(values: NDArray[np.float64], batches: Groups) -> tuple[float, float]:
    """Share of the variance that lies between batches, and what chance would give."""
    centred = values - values.mean(axis=0)
    total = float((centred**2).sum())
    if not total > 0 or len(values) < 2:
        return float("nan"), float("nan")
    sums = np.zeros((len(batches), values.shape[1]))
    np.add.at(sums, batches.codes, centred)
    between = float((sums**2 / np.maximum(batches.sizes, 1)[:, None]).sum())
    return between / total, (len(batches) - 1) / (len(values) - 1)


def _directions(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Profiles with missing values as 0; a profile of nothing has no direction and stays 0."""
    names = feature_columns(frame)
    if not names or not len(frame):
        raise InputError("batches can be compared on profiles with features only")
    values = feature_matrix(frame, names).astype(float)
    return np.asarray(np.nan_to_num(values, posinf=0, neginf=0))


def _signal(frame: pd.DataFrame, by: str | None, controls: Any, seed: int) -> dict[str, float]:
    """Mean over perturbations of their profiles' average precisions."""
    if by is None:
        return {}
    if controls is not None and not match(frame, controls).any():
        controls = None
    _, pairs, keys, asked = pair_rules(frame, by, controls, None)
    found = average_precision(keys, pairs, queries=asked, draws=DRAWS, seed=seed)
    columns = ["Map_Normalized", "Map_Precision"]
    means = found.groupby(frame[by].to_numpy()[asked], observed=True)[columns].mean().mean()
    return {"Mixing_Signal": float(means.iloc[0]), "Mixing_Precision": float(means.iloc[1])}
