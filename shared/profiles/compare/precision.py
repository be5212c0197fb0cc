"""Average precision: do profiles find their like among all others?

Every profile ranks its positives and its negatives by similarity. Average precision is 1 when all
positives come first and, by chance, about their share. Its mean over a group, such as the guides
of a gene, tells whether the group stands out. Kalinin et al. 2025,
doi:10.1038/s41467-025-60306-2.

- Equal similarities favour nobody: the precision is the mean over all orders of the tied.
- A profile without a direction (all zero), or with a missing value, has no precision and is left
  out of the rankings of the others.
- The p-value of one profile is by random rankings: of all of them where there are few.
- The p-value of a mean is by exchanging the group's profiles with its negatives, all ways where
  there are few, since the rankings of a group share their pairs and are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.chance import NullPrecision, expected_precision
from poolvox.shared.profiles.compare.exchange import MeanNull
from poolvox.shared.profiles.compare.pairs import Design, Pairs, design_pairs
from poolvox.shared.profiles.compare.ranking import rank_block
from poolvox.shared.profiles.compare.rates import benjamini_hochberg
from poolvox.shared.profiles.compare.similarity import Metric, Space
from poolvox.shared.profiles.tables.columns import chosen_features, feature_matrix, match
from poolvox.shared.profiles.tables.groups import names_of

__all__ = ["average_precision", "mean_average_precision", "pair_rules"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Random rankings, or exchanges of labels, behind a p-value.
DRAWS: Final = 9_999
# A column that tells controls from others, for the time of a call.
ROLE: Final = "Metadata_PairRole"


def average_precision(
    frame: pd.DataFrame,
    pairs: Pairs,
    *,
    features: Sequence[str] | None = None,
    metric: Metric = "cosine",
    queries: Any = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Score how well each profile finds its positives.

    Parameters
    ----------
    frame : one row per profile: keys and features
    pairs : which pairs are positive and which negative
    features : columns to compare by; all measurements if None
    queries : profiles to score, as a query or a mask; all if None
    draws : random rankings behind a p-value where not all can be enumerated

    Returns
    -------
    the keys named in `pairs` of the scored profiles, on the index of `frame`, with `Map_Precision`,
    `Map_Normalized` (0 by chance, 1 at best), `Map_Positives`, `Map_Pairs` (positive and negative),
    `Map_PValue`, `Map_QValue` and `Map_Reason` (why there is no precision, or empty)

    Examples
    --------
    >>> average_precision(profiles, Pairs("Metadata_Gene"))    # doctest: +SKIP
    """
    wanted = match(frame, queries)
    values = feature_matrix(frame, _features(frame, features))
    space = Space.of(values, metric)
    design = design_pairs(frame.iloc[space.order], pairs)
    precision, positives, total = _rank(space, design, wanted)
    null = NullPrecision(draws=draws, seed=seed)
    expected = expected_precision(positives, total)
    p = null.p_values(precision, positives, total)
    table = frame[pairs.columns].assign(
        Map_Precision=precision,
        Map_Normalized=_normalise(precision, expected),
        Map_Positives=positives,
        Map_Pairs=total,
        Map_PValue=p,
        Map_QValue=np.nan,
        Map_Reason=_reasons(values, space, precision, positives),
    )[wanted]
    return table.assign(Map_QValue=benjamini_hochberg(table["Map_PValue"]))


def mean_average_precision(
    frame: pd.DataFrame,
    *,
    by: str | Sequence[str] | Pairs,
    controls: Any = None,
    batch: str | None = None,
    features: Sequence[str] | None = None,
    metric: Metric = "cosine",
    seed: int = 0,
) -> pd.DataFrame:
    """Score how well the profiles of each group find each other: mean average precision.

    With `controls` it asks whether the group differs from them (activity), without whether it
    differs from everything else (consistency). Cosines are seen from the origin: profiles that were
    centred on just those controls all share the chance by which the controls lie where they do,
    and look active; centre them on all profiles, or on other controls.

    Parameters
    ----------
    frame : one row per profile: keys and features
    by : column or columns that make a group, such as the gene; or `Pairs`, whose `pos_sameby` do
    controls : profiles that are the negatives, as a query or a mask; they get no score themselves
    batch : column; negatives are of the same batch only. Positives may be of any
    features : columns to compare by; all measurements if None

    Returns
    -------
    one row per group, sorted: its keys, `Map_Score`, `Map_Normalized`, `Map_PValue`, `Map_QValue`,
    `Map_Profiles` (that have a precision), `Map_Null` (how the p-value was found: `all exchanges`,
    `exchanges` or `pairs`). A group of one profile, or whose profiles have no precision, has NaN.
    """
    groups, pairs, keys, wanted = pair_rules(frame, by, controls, batch)
    space = Space.of(feature_matrix(frame, _features(frame, features)), metric)
    design = design_pairs(keys.iloc[space.order], pairs)
    precision, positives, total = _rank(space, design, wanted)
    scores = keys[groups].assign(
        Map_Score=precision,
        Map_Normalized=_normalise(precision, expected_precision(positives, total)),
    )[wanted]
    grouped = scores.groupby(groups, sort=True, observed=True)
    table = grouped.mean()
    null = MeanNull(space, design, draws=DRAWS, seed=seed)
    place = np.full(len(frame), -1, dtype=np.int64)
    place[space.order] = np.arange(len(space.order))
    for score, rows in zip(table["Map_Score"], _rows(grouped, np.flatnonzero(wanted))):
        rows = rows[np.argsort(place[rows])]
        rows = rows[place[rows] >= 0]
        null.add(place[rows], float(score), (total - positives)[rows])
    table["Map_PValue"], table["Map_Null"] = null.p_values()
    table["Map_QValue"] = benjamini_hochberg(table["Map_PValue"])
    table["Map_Profiles"] = grouped["Map_Score"].count()
    last = ["Map_Score", "Map_Normalized", "Map_PValue", "Map_QValue", "Map_Profiles", "Map_Null"]
    return table[last].reset_index()


def _features(frame: pd.DataFrame, features: Sequence[str] | None) -> list[str]:
    names = chosen_features(frame, features)
    if not names:
        raise InputError(
            "there is no feature to compare profiles by; name them, or see their names"
        )
    return names


def pair_rules(
    frame: pd.DataFrame, by: str | Sequence[str] | Pairs, controls: Any, batch: str | None
) -> tuple[list[str], Pairs, pd.DataFrame, Bools]:
    """Columns that make a group, rules, the keys they read, and the profiles that get a score."""
    everything = np.ones(len(frame), dtype=bool)
    if isinstance(by, Pairs):
        if controls is not None or batch is not None:
            raise ValueError("pairs are told in full by `by`: leave out `controls` and `batch`")
        return list(by.pos_sameby), by, frame, everything
    groups, near = names_of(by), names_of(batch)
    if controls is None:
        return groups, Pairs(groups, neg_sameby=near), frame, everything
    chosen = match(frame, controls)
    if not chosen.any():
        raise InputError("none of the profiles is a control: there is nothing to compare with")
    keys = frame.assign(**{ROLE: chosen.astype(np.int64)})
    return groups, Pairs([*groups, ROLE], neg_sameby=near, neg_diffby=ROLE), keys, ~chosen


def _rows(grouped: Any, positions: Ints) -> Iterator[Ints]:
    """Rows of the frame in every group, in the order of the groups."""
    number = grouped.ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    start = np.searchsorted(number[order], np.arange(grouped.ngroups + 1))
    for low, high in pairwise(start):
        yield positions[order[low:high]]


def _rank(space: Space, design: Design, wanted: Bools) -> tuple[Array, Ints, Ints]:
    """Precision and numbers of pairs of all profiles, NaN and 0 where there are none."""
    count = len(space.row)
    precision = np.full(count, np.nan)
    positives, total = np.zeros(count, np.int64), np.zeros(count, np.int64)
    row = space.row[space.order]
    asked = np.flatnonzero(wanted[space.order])
    for part, products in space.blocks(np.unique(row[asked])):
        low, high = np.searchsorted(row[asked], [part[0], part[-1] + 1])
        queries = asked[low:high]
        place = np.full(len(space.left), -1, dtype=np.intp)
        place[part] = np.arange(len(part))
        found = rank_block(products, place[row[queries]], queries, row, design)
        for whole, piece in zip((precision, positives, total), found):
            whole[space.order[queries]] = piece
    return precision, positives, total


def _normalise(precision: Array, expected: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        normal: Array = (precision - expected) / (1 - expected)
    return np.where(np.isfinite(normal), normal, np.nan)


def _reasons(
    values: NDArray[np.floating], space: Space, precision: Array, positives: Ints
) -> NDArray[Any]:
    """Say of each profile why it has no precision."""
    gap = ~np.isfinite(values).all(axis=1)
    return np.select(
        [gap, space.row < 0, positives == 0, np.isnan(precision)],
        ["missing values", "no direction", "no positive pair", "no negative pair"],
        "",
    ).astype(object)
