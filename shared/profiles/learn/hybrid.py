"""Measured and learned features together, each side with the same weight, and what each gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.precision import mean_average_precision
from poolvox.shared.profiles.correct.batches import sphere
from poolvox.shared.profiles.normalise.scaling import normalize
from poolvox.shared.profiles.tables.columns import feature_columns, is_learned, match, with_features

__all__ = ["ablate", "feature_blocks", "hybrid_profiles", "neighbour_accuracy"]

MEASURED: Final = "measured"
LEARNED: Final = "learned"
BOTH: Final = "both"
# Neighbours that vote.
NEIGHBOURS: Final = 5
# Rows whose similarities to all others are in memory at once.
BLOCK: Final = 1024


def feature_blocks(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Features by where they come from: `measured`, and `learned` (`…_Embedding_…`)."""
    features = feature_columns(frame)
    learned = [name for name in features if is_learned(name)]
    return {MEASURED: [name for name in features if not is_learned(name)], LEARNED: learned}


def hybrid_profiles(
    frame: pd.DataFrame,
    *,
    controls: Any = None,
    blocks: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Normalise and sphere each block by the controls, and let it count as much as the others.

    After sphering every feature varies by 1 among the controls, so a block of 500 features would
    drown one of 64. Each is divided by the root of its variance in all, so that among controls the
    blocks have equal shares in squared distances.

    Parameters
    ----------
    controls : query or mask; None for all rows
    blocks : names of features by block; by default measured and learned ones

    Returns
    -------
    Keys, then the features of all blocks under their names; those without spread are left out
    """
    chosen = match(frame, controls)
    parts = [_block(frame, list(names), chosen) for names in _given(frame, blocks).values()]
    features = [name for names, _ in parts for name in names]
    values = np.concatenate([values for _, values in parts], axis=1)
    dropped = [name for name in feature_columns(frame) if name not in features]
    return with_features(frame, features, values, drop=dropped)


def ablate(
    frame: pd.DataFrame,
    *,
    by: str,
    controls: Any = None,
    batch: str | None = None,
    blocks: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare what each block tells alone, and all of them together.

    Parameters
    ----------
    frame : profiles of guides or wells
    by : what profiles should be alike in: the gene or the treatment
    controls : query or mask: the negatives of the mean average precision; without them all others
    batch : column; negatives are of the same batch only

    Returns
    -------
    One row per block and one for `both`: `Metadata_Block`, `Block_Features`, `Block_MAP` (mean over
    the groups), `Block_Found` (share of the groups with a q-value below 0.05) and
    `Block_NeighbourAccuracy` (profiles that their nearest neighbours would name rightly)
    """
    given = _given(frame, blocks)
    sets = {name: {name: names} for name, names in given.items()}
    if len(given) > 1:
        sets[BOTH] = dict(given)
    named = frame[by].notna().to_numpy() & (frame[by].astype(str) != "").to_numpy()
    rows = []
    for name, block in sets.items():
        table = hybrid_profiles(frame, controls=controls, blocks=block)
        features = feature_columns(table)
        scores = mean_average_precision(
            table[named],
            by=by,
            controls=None if controls is None else match(frame, controls)[named],
            batch=batch,
            seed=seed,
        )
        judged = named if controls is None else named & ~match(frame, controls)
        accuracy = neighbour_accuracy(table[features].to_numpy()[judged], frame[by][judged])
        found = scores["Map_QValue"].dropna() < 0.05
        rows.append(
            {
                "Metadata_Block": name,
                "Block_Features": len(features),
                "Block_MAP": float(scores["Map_Score"].mean()),
                "Block_Found": float(found.mean()) if len(found) else np.nan,
                "Block_NeighbourAccuracy": accuracy,
            }
        )
    return pd.DataFrame(rows)


def neighbour_accuracy(
    values: NDArray[np.floating], names: Sequence[Any] | pd.Series[Any], *, count: int = NEIGHBOURS
) -> float:
    """Share of profiles whose nearest others by cosine, voting by similarity, have their name.

    Profiles whose name no other has cannot be right and do not count; NaN where none is left.
    """
    found, codes = pd.factorize(pd.Series(list(names)), sort=True)[::-1]
    sizes = np.bincount(codes, minlength=len(found))
    judged = np.flatnonzero(sizes[codes] > 1)
    if not len(judged):
        return float("nan")
    x = np.nan_to_num(np.asarray(values, np.float64))
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    right = 0
    for start in range(0, len(judged), BLOCK):
        rows = judged[start : start + BLOCK]
        near = x[rows] @ x.T
        near[np.arange(len(rows)), rows] = -np.inf
        best = np.argsort(-near, axis=1, kind="stable")[:, : min(count, len(x) - 1)]
        votes = np.zeros((len(rows), len(found)))
        weights = 1 + np.take_along_axis(near, best, axis=1)
        np.add.at(votes, (np.arange(len(rows))[:, None], codes[best]), weights)
        right += int((votes.argmax(axis=1) == codes[rows]).sum())
    return right / len(judged)


def _block(
    frame: pd.DataFrame, names: list[str], controls: NDArray[np.bool_]
) -> tuple[list[str], NDArray[Any]]:
    scaled = normalize(frame, method="standardize", samples=controls, features=names)
    kept = [name for name in names if name in scaled]
    if not kept:
        raise InputError(f"none of {len(names)} features varies among the controls: choose others")
    others = [name for name in feature_columns(scaled) if name not in kept]
    table = sphere(scaled.drop(columns=others), samples=controls)
    values = table[kept].to_numpy(np.float64)
    weight = np.sqrt(np.nanvar(values[controls], axis=0).sum())
    return kept, values / (weight if weight > 0 else 1.0)


def _given(
    frame: pd.DataFrame, blocks: Mapping[str, Sequence[str]] | None
) -> dict[str, Sequence[str]]:
    given = {k: v for k, v in (blocks or feature_blocks(frame)).items() if len(v)}
    if not given:
        raise InputError("the table has no features: nothing to compare")
    return given
