"""Centres of groups for levels of profiles, gathered while columns are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.profiles.combine.aggregation import centres_of, profile_table
from poolvox.shared.profiles.tables.columns import Matrix
from poolvox.shared.profiles.tables.datasets import ObjectTables, run_side_by_side
from poolvox.shared.profiles.tables.groups import Groups

__all__ = ["Advance", "Level", "Summit", "aggregate_tables", "nobody"]

# Called with the share, 0 to 1, that is done.
Advance = Callable[[float], None]


def nobody(_: float) -> None:
    """Listen to nothing."""


@dataclass(frozen=True)
class Level:
    """Groups that rows are aggregated to, and by what weights, (N,)."""

    groups: Groups
    weights: NDArray[np.float64] | None = None

    def centres(self, values: Matrix, method: str) -> Matrix:
        """Aggregate columns, (G, F)."""
        return centres_of(values, self.groups, method, self._ordered)

    @cached_property
    def _ordered(self) -> NDArray[np.float64] | None:
        return None if self.weights is None else self.weights[self.groups.order]


@dataclass(frozen=True, slots=True)
class Summit:
    """Centres of all levels, gathered batch by batch.

    Attributes
    ----------
    found : per level (G, F); NaN for features that were not asked for
    """

    levels: Mapping[str, Level]
    method: str
    features: tuple[str, ...]
    found: dict[str, Matrix]

    @classmethod
    def begin(
        cls, levels: Mapping[str, Level], method: str, features: Sequence[str], kind: Any
    ) -> Summit:
        """Make room."""
        room = {
            name: np.full((len(level.groups), len(features)), np.nan, kind, order="F")
            for name, level in levels.items()
        }
        return cls(levels, method, tuple(features), room)

    def add(self, at: int, values: Matrix) -> None:
        """Aggregate columns that are those from `at` on."""
        for name, level in self.levels.items():
            self.found[name][:, at : at + values.shape[1]] = level.centres(values, self.method)

    def tables(self, features: Sequence[str]) -> dict[str, pd.DataFrame]:
        """Profiles with some of the features."""
        places = {name: place for place, name in enumerate(self.features)}
        at = [places[name] for name in features]
        return {
            name: profile_table(level.groups, features, self.found[name][:, at], level.weights)
            for name, level in self.levels.items()
        }


def aggregate_tables(
    tables: ObjectTables,
    levels: Mapping[str, Level],
    *,
    method: str,
    memory: int,
    advance: Advance = nobody,
) -> dict[str, pd.DataFrame]:
    """Aggregate rows to profiles of several levels, reading columns once; as `aggregate`."""
    features = tables.features
    summit = Summit.begin(levels, method, features, tables.dtype(features))
    at = 0
    for names, values in tables.column_batches(features, memory):
        parts = np.array_split(np.arange(len(names)), min(tables.threads, len(names)))

        def add(share: int, at: int = at, values: Matrix = values, parts: Any = parts) -> None:
            if share < len(parts):
                start, stop = int(parts[share][0]), int(parts[share][-1]) + 1
                summit.add(at + start, values[:, start:stop])

        run_side_by_side(add, tables.threads)
        at += len(names)
        advance(at / len(features))
    return summit.tables(features)
