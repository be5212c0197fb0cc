"""Choice of features: which measurements say something, and not the same thing twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.normalise.correlation import correlate_columns
from poolvox.shared.profiles.normalise.judging import Dropped, SelectionOptions, judge_columns
from poolvox.shared.profiles.tables.columns import (
    Matrix,
    chosen_features,
    feature_matrix,
    match,
)
from poolvox.shared.profiles.tables.groups import group_rows, names_of
from poolvox.shared.profiles.tables.record import Record

__all__ = [
    "DEFAULT_OPERATIONS",
    "OPERATIONS",
    "Choice",
    "correlated",
    "select_features",
    "spread_rows",
]

STEP: Final = "select"
OPERATIONS: Final = (
    *("missing", "variance", "frequency", "outliers", "replicates", "blocklist", "correlation"),
)
DEFAULT_OPERATIONS: Final = ("missing", "blocklist", "variance", "correlation")
# Sums of correlations that differ by less are equal: they come from rounded products.
SAME_SUM: Final = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """What each operation says about every feature, before any of them is carried out.

    Attributes
    ----------
    features : all that were looked at
    verdicts : per operation the features that it drops, with reason and number
    """

    features: tuple[str, ...]
    verdicts: Mapping[str, Dropped] = field(default_factory=dict)

    def kept(
        self,
        operations: Sequence[str],
        correlate: Callable[[list[str]], Dropped],
        record: Record | None = None,
    ) -> list[str]:
        """Carry the operations out in order; each sees only what the ones before have left."""
        left = list(self.features)
        for operation in operations:
            found = self.verdicts.get(operation, {})
            if operation == "correlation":
                found = correlate(left)
            gone = {name: found[name] for name in left if name in found}
            if record is not None:
                for name, (reason, value) in gone.items():
                    record.note(STEP, "dropped", name, reason, value)
            left = [name for name in left if name not in gone]
        return left


def select_features(
    frame: pd.DataFrame,
    *,
    operations: Sequence[str] = DEFAULT_OPERATIONS,
    options: SelectionOptions | None = None,
    samples: Any = None,
    features: Sequence[str] | None = None,
    record: Record | None = None,
) -> pd.DataFrame:
    """Drop features that say nothing, are unreliable, or repeat others.

    Parameters
    ----------
    operations : in the order in which they are carried out: `missing`, `variance`, `frequency`,
        `outliers`, `replicates` (they disagree), `blocklist`, `correlation`. Of two features that
        are correlated too much the one goes that is correlated more with all the others; of equal
        ones the later
    options : where each draws its line
    samples : rows that decide, a query or a mask; None for all
    features : columns to choose from; all measurements if None
    record : takes what was dropped, by which operation and which number

    Examples
    --------
    >>> frame = pd.DataFrame({"Cells_A": [1.0, 2.0, 4.0], "Cells_B": [-1.0, -2.0, -4.0]})
    >>> list(select_features(frame))
    ['Cells_A']
    """
    chosen = options or SelectionOptions()
    check_operations(operations, chosen)
    names = chosen_features(frame, features)
    values = feature_matrix(frame, names)
    rows = np.flatnonzero(match(frame, samples)).astype(np.int64)
    if not len(rows):
        raise InputError(f"no rows match {samples!r}: features cannot be chosen by them")
    replicates = group_rows(frame, names_of(list(chosen.replicates)))
    verdicts = judge_columns(values, names, rows, replicates, operations, chosen)
    choice = Choice(tuple(names), verdicts)
    near = spread_rows(rows, chosen.sample)

    def correlate(left: list[str]) -> Dropped:
        at = {name: place for place, name in enumerate(names)}
        return correlated(values, near, left, [at[name] for name in left], chosen)

    left = choice.kept(operations, correlate, record)
    kept = set(left)
    return frame[[name for name in frame.columns if name in kept or name not in set(names)]]


def check_operations(operations: Sequence[str], options: SelectionOptions) -> None:
    """Refuse operations that there are not, or that lack what they need."""
    unknown = [name for name in operations if name not in OPERATIONS]
    if unknown:
        raise InputError(f"features are chosen by {', '.join(OPERATIONS)}, not by {unknown}")
    if "replicates" in operations and not options.replicates:
        raise InputError("choosing by replicates needs the columns that tell which rows they are")


def correlated(
    values: Matrix,
    rows: NDArray[np.int64],
    names: Sequence[str],
    columns: Sequence[int],
    options: SelectionOptions,
) -> Dropped:
    """Tell which features go because another says nearly the same.

    Parameters
    ----------
    values : (N, F) matrix
    rows : (M,) the rows that decide
    names, columns : the features that are left, and their places in `values`
    """
    if len(names) < 2:
        return {}
    found = correlate_columns(values, rows, columns, rank=options.rank_correlation)
    strength = np.abs(np.nan_to_num(found))
    total = np.round(strength.sum(axis=0), SAME_SUM)
    place = np.empty(len(names), np.int64)
    place[np.lexsort((np.arange(len(names)), total))] = np.arange(len(names))
    pairs = np.argwhere(np.triu(strength > options.correlation, k=1))
    dropped: Dropped = {}
    for a, b in pairs.tolist():
        gone, stays = (a, b) if place[a] > place[b] else (b, a)
        reason = f"correlated beyond {options.correlation:g} with {names[stays]}"
        dropped.setdefault(names[gone], (reason, float(found[a, b])))
    return dropped


def spread_rows(rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Take at most `limit` of the rows, evenly spread, the same ones every time."""
    if len(rows) <= limit:
        return rows
    return rows[np.arange(limit, dtype=np.int64) * len(rows) // limit]
