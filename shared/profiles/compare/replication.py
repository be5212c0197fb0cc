"""Do replicates agree? The share of treatments whose replicates are more alike than others are.

Way et al. 2022, doi:10.1016/j.cels.2022.10.001, measure the quality of an assay by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.similarity import Metric, Space
from poolvox.shared.profiles.tables.columns import feature_matrix
from poolvox.shared.profiles.tables.groups import names_of

__all__ = ["Replication", "percent_matching", "percent_replicating"]

Ints = NDArray[np.int64]

# Groups of chance, and the share of them that lies below the threshold.
DRAWS: Final = 1_000
QUANTILE: Final = 0.95
# Tries to draw a profile that fits into a group of chance.
TRIES: Final = 200


@dataclass(frozen=True, slots=True)
class Replication:
    """How many groups agree.

    Parameters
    ----------
    percent : groups above their threshold, of those that have a pair; NaN without any
    table : one row per group: its keys, `Replication_Profiles`, `Replication_Pairs`,
        `Replication_Similarity` (median of its pairs), `Replication_Threshold`,
        `Replication_Agrees`
    """

    percent: float
    table: pd.DataFrame


def percent_replicating(
    frame: pd.DataFrame,
    *,
    by: str | Sequence[str],
    features: Sequence[str] | None = None,
    metric: Metric = "correlation",
    seed: int = 0,
) -> Replication:
    """Share of groups whose replicates are more alike than those of chance.

    A group of chance has as many profiles, each of another group. A group agrees if the median
    similarity of its pairs lies above 95 % of those of chance.

    Parameters
    ----------
    frame : one row per replicate
    by : column or columns that replicates agree in, such as the guide or the treatment
    """
    return _measure(frame, names_of(by), [], features, metric, seed)


def percent_matching(
    frame: pd.DataFrame,
    *,
    by: str | Sequence[str],
    differ: str | Sequence[str],
    features: Sequence[str] | None = None,
    metric: Metric = "correlation",
    seed: int = 0,
) -> Replication:
    """Share of groups whose different members are alike, such as the genes of a complex.

    Parameters
    ----------
    by : column or columns that a group agrees in, such as the complex or the mechanism of action
    differ : column or columns; only pairs that differ in all of them count
    """
    return _measure(frame, names_of(by), names_of(differ), features, metric, seed)


def _measure(
    frame: pd.DataFrame,
    groups: list[str],
    differ: list[str],
    features: Sequence[str] | None,
    metric: Metric,
    seed: int,
) -> Replication:
    missing = [name for name in (*groups, *differ) if name not in frame]
    if missing:
        raise InputError(f"the profiles have no columns {missing}; there are: {list(frame)[:20]}")
    space = Space.of(feature_matrix(frame, features), metric)
    # In the order of the content, so that draws do not depend on that of the rows.
    keys = frame.iloc[space.order].reset_index(drop=True)
    points = _Points(space, keys, groups, differ)
    rows, nulls = [], {}
    for name, held in keys.groupby(groups, sort=True, observed=True).indices.items():
        members = np.asarray(held, dtype=np.int64)
        pairs = points.pairs(members)
        seen = points.median(pairs)
        if len(pairs) and len(members) not in nulls:
            rng = np.random.default_rng([seed, len(members)])
            nulls[len(members)] = points.threshold(len(members), rng)
        threshold = nulls.get(len(members), np.nan) if len(pairs) else np.nan
        labels = name if isinstance(name, tuple) else (name,)
        rows.append((*labels, len(members), len(pairs), seen, threshold, seen > threshold))
    columns = ("Profiles", "Pairs", "Similarity", "Threshold", "Agrees")
    table = pd.DataFrame(rows, columns=[*groups, *(f"Replication_{c}" for c in columns)])
    judged = table["Replication_Threshold"].notna()
    percent = (
        100 * float(table.loc[judged, "Replication_Agrees"].mean()) if judged.any() else np.nan
    )
    return Replication(percent, table)


@dataclass(frozen=True, slots=True)
class _Points:
    """Profiles by content, and what makes a pair."""

    space: Space
    keys: pd.DataFrame
    groups: list[str]
    differ: list[str]

    def pairs(self, members: Ints) -> Ints:
        """(P, 2) pairs that count."""
        found = np.array(list(combinations(np.sort(members), 2)), dtype=np.int64).reshape(-1, 2)
        for name in self.differ:
            values = self.keys[name].to_numpy()
            found = found[values[found[:, 0]] != values[found[:, 1]]]
        return found

    def median(self, pairs: Ints) -> float:
        """Median similarity."""
        if not len(pairs):
            return float("nan")
        row = self.space.row[self.space.order]
        left, right = self.space.left[row[pairs[:, 0]]], self.space.right[row[pairs[:, 1]]]
        products = np.einsum("pd,pd->p", left, right)
        if self.space.metric == "abs_cosine":
            products = np.abs(products)
        return float(np.median(self.space.readable(products)))

    def threshold(self, size: int, rng: np.random.Generator) -> float:
        """What 95 % of the groups of chance lie below; NaN if there are too few other groups."""
        group = self.keys.groupby(self.groups, sort=True, observed=True).ngroup().to_numpy()
        if len(np.unique(group[group >= 0])) < size:
            return float("nan")
        known = np.flatnonzero(group >= 0)
        seen = []
        for _ in range(DRAWS):
            # The first profile of each group in a random order, for the first so many groups.
            order = rng.permutation(known)[: TRIES * size]
            _, first = np.unique(group[order], return_index=True)
            drawn = order[np.sort(first)[:size]]
            seen.append(self.median(self.pairs(drawn)))
        chance = np.array(seen)
        chance = chance[np.isfinite(chance)]
        return float(np.quantile(chance, QUANTILE)) if len(chance) else float("nan")
