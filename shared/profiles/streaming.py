"""Normalisation and choice of features for tables that need not fit into memory.

Measurements are read twice: as columns, to learn scales and what is worth keeping, and as rows, to
write what is kept. The arithmetic is that of `normalize` and `select_features`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.aggregation import centres_of, profile_table
from poolvox.shared.profiles.columns import Matrix, match
from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.datasets import ObjectTables, TableWriter
from poolvox.shared.profiles.groups import Groups, group_rows
from poolvox.shared.profiles.judging import Dropped, judge_columns
from poolvox.shared.profiles.record import Record
from poolvox.shared.profiles.scaling import Scales, note_infinite, reference_groups
from poolvox.shared.profiles.selection import (
    Choice,
    check_operations,
    correlated,
    spread_rows,
)

__all__ = ["Advance", "Fitted", "Level", "Work", "aggregate_tables", "fit_tables", "write_objects"]

# Called with the share, 0 to 1, that is done.
Advance = Callable[[float], None]


def _nobody(_: float) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, slots=True)
class Work:
    """What all steps on a table share.

    Attributes
    ----------
    keys : (N, …) keys of all rows
    passed : (N,) rows that count; the others are treated too, but decide nothing
    memory : bytes that the columns of one batch may take
    """

    keys: pd.DataFrame
    config: ProfilesConfig
    passed: NDArray[np.bool_]
    memory: int
    record: Record


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was learnt from the columns.

    Attributes
    ----------
    features : kept, in the order of the table
    scales : theirs; None where nothing is normalised
    codes : (N,) group of each row
    """

    features: tuple[str, ...]
    scales: Scales | None
    codes: NDArray[np.int64]

    def table(self) -> pd.DataFrame:
        """Centre and spread of each kept feature in each group, for whoever wants to know."""
        if self.scales is None:
            return pd.DataFrame({"Feature_Name": list(self.features)})
        groups, count = len(self.scales.groups), len(self.features)
        return pd.DataFrame(
            {
                "Feature_Name": np.repeat(np.array(self.features, object), groups),
                "Feature_Group": np.tile(np.array(self.scales.groups, object), count),
                "Feature_Centre": self.scales.centre.T.reshape(-1),
                "Feature_Spread": self.scales.spread.T.reshape(-1),
                "Feature_Count": self.scales.count.T.reshape(-1),
            }
        )

    def transform(self, start: int, values: Matrix) -> Matrix:
        """Normalise rows from `start` on, in place."""
        if self.scales is not None:
            codes = self.codes[start : start + len(values)]
            return self.scales.apply(values, codes, out=values)
        values[~np.isfinite(values)] = np.nan
        return values


def fit_tables(
    tables: ObjectTables, features: Sequence[str], work: Work, *, advance: Advance = _nobody
) -> Fitted:
    """Learn scales and choose features, reading some columns at a time.

    Parameters
    ----------
    features : to choose from
    """
    config, record, options = work.config, work.record, work.config.select.options
    check_operations(config.select.operations, options)
    rows = np.flatnonzero(work.passed).astype(np.int64)
    if not len(rows):
        raise InputError("quality control flags every object: look at the rules, or keep them")
    groups = group_rows(work.keys, list(config.by))
    reference = _reference(groups, work)
    replicates = group_rows(work.keys, list(options.replicates))
    near = spread_rows(rows, options.sample)
    sample = np.empty((len(near), len(features)), tables.dtype(features), order="F")
    learnt: list[Scales] = []
    verdicts: dict[str, Dropped] = {name: {} for name in config.select.operations}
    at = 0
    for names, values in tables.column_batches(features, work.memory):
        note_infinite(values, names, record)
        if reference is not None:
            learnt.append(Scales.fit(values, names, reference, method=config.normalize))
            learnt[-1].report(record)
            learnt[-1].apply(values, groups.codes, out=values)
        found = judge_columns(values, names, rows, replicates, config.select.operations, options)
        for operation, dropped in found.items():
            verdicts[operation].update(dropped)
        sample[:, at : at + len(names)] = values[near]
        at += len(names)
        advance(at / len(features))
    scales = _joined(learnt) if learnt else None
    kept = _choose(features, scales, verdicts, sample, config, record)
    return Fitted(tuple(kept), None if scales is None else scales.take(kept), groups.codes)


def write_objects(
    tables: ObjectTables,
    keys: pd.DataFrame,
    features: Sequence[str],
    target: Path,
    transform: Callable[[int, Matrix], Matrix],
    *,
    names: Sequence[str] | None = None,
    advance: Advance = _nobody,
) -> ObjectTables:
    """Write keys and transformed measurements of all rows, in blocks of rows.

    Parameters
    ----------
    transform : takes the first row and a block, (rows, F), and returns what is written of it
    names : columns of what it returns, if not `features`
    """
    table = pa.Table.from_pandas(keys, preserve_index=False)
    with TableWriter(target, table, features if names is None else names) as writer:
        for start, values in tables.row_blocks(features):
            writer.write(transform(start, values))
            advance((start + len(values)) / tables.rows)
    return ObjectTables((target,), image=tables.image)


@dataclass(frozen=True, slots=True)
class Level:
    """Groups that rows are aggregated to, and by what weights, (N,)."""

    groups: Groups
    weights: NDArray[np.float64] | None = None


def aggregate_tables(
    tables: ObjectTables,
    levels: Mapping[str, Level],
    *,
    method: str,
    memory: int,
    advance: Advance = _nobody,
) -> dict[str, pd.DataFrame]:
    """Aggregate rows to profiles of several levels, reading columns once; as `aggregate`."""
    features, kind = tables.features, tables.dtype(tables.features)
    found = {
        name: np.empty((len(level.groups), len(features)), kind, order="F")
        for name, level in levels.items()
    }
    at = 0
    for names, values in tables.column_batches(features, memory):
        for name, level in levels.items():
            centres = centres_of(values, level.groups, method, level.weights)
            found[name][:, at : at + len(names)] = centres
        at += len(names)
        advance(at / len(features))
    return {
        name: profile_table(level.groups, features, found[name], level.weights)
        for name, level in levels.items()
    }


def _reference(groups: Groups, work: Work) -> Groups | None:
    if work.config.normalize == "none":
        return None
    query = reference_query(work.config)
    return reference_groups(groups, match(work.keys, query) & work.passed, query)


def reference_query(config: ProfilesConfig) -> Any:
    """Query of the rows that normalisation refers to; None for all."""
    if config.samples == "all":
        return None
    return control_query(config) if config.samples == "controls" else config.samples


_OPERATORS: Final = ("=", "<", ">", "(", "`")


def control_query(config: ProfilesConfig) -> str:
    """Query of the controls: a query as it stands, or values of the gene column."""
    if len(config.controls) == 1 and any(sign in config.controls[0] for sign in _OPERATORS):
        return config.controls[0]
    return f"`{config.gene}` in {list(config.controls)!r}"


def _joined(parts: Sequence[Scales]) -> Scales:
    centre, spread, count = (
        np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in ("centre", "spread", "count")
    )
    names = tuple(name for part in parts for name in part.features)
    return Scales(names, parts[0].groups, centre, spread, count)


def _choose(
    features: Sequence[str],
    scales: Scales | None,
    verdicts: dict[str, Dropped],
    sample: Matrix,
    config: ProfilesConfig,
    record: Record | None,
) -> list[str]:
    lost = np.zeros(len(features), bool) if scales is None else scales.lost
    left = tuple(name for name, gone in zip(features, lost) if not gone)
    places = {name: place for place, name in enumerate(features)}
    rows = np.arange(len(sample), dtype=np.int64)

    def correlate(names: list[str]) -> Dropped:
        at = [places[name] for name in names]
        return correlated(sample, rows, names, at, config.select.options)

    kept = Choice(left, verdicts).kept(config.select.operations, correlate, record)
    if not kept:
        raise InputError(
            f"none of {len(features)} features is left: see what dropped them in the record, and "
            "loosen `select`"
        )
    return kept
