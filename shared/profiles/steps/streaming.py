"""Normalisation and choice of features for tables that need not fit into memory.

Measurements are read twice: as columns, to learn scales and what is worth keeping, and as rows, to
write what is kept. The arithmetic is that of `normalize` and `select_features`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.normalise import moments
from poolvox.shared.profiles.normalise.judging import Dropped, judge_columns
from poolvox.shared.profiles.normalise.scaling import Scales, note_infinite, reference_groups
from poolvox.shared.profiles.normalise.selection import (
    Choice,
    check_operations,
    correlated,
    spread_rows,
)
from poolvox.shared.profiles.steps.centres import Advance, Level, Summit, nobody
from poolvox.shared.profiles.steps.controls import Controls
from poolvox.shared.profiles.tables.columns import Matrix, match
from poolvox.shared.profiles.tables.datasets import ObjectTables, TableWriter
from poolvox.shared.profiles.tables.groups import Groups, group_rows
from poolvox.shared.profiles.tables.record import Record

__all__ = ["Fitted", "Work", "fit_tables", "reference_rows", "write_objects"]

# Parts of a batch that each thread works on, one after the other: none waits long for the others.
SHARES: Final = 4


@dataclass(frozen=True, slots=True)
class Work:
    """What all steps on a table share.

    Attributes
    ----------
    keys : (N, …) keys of all rows
    passed : (N,) rows that count; the others are treated too, but decide nothing
    controls : which rows are
    memory : bytes that the columns of one batch may take
    threads : that work side by side; they change no result
    """

    keys: pd.DataFrame
    config: ProfilesConfig
    passed: NDArray[np.bool_]
    controls: Controls
    memory: int
    record: Record
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was learnt from the columns.

    Attributes
    ----------
    features : kept, in the order of the table
    scales : theirs; None where nothing is normalised
    codes : (N,) group of each row
    levels : profiles of what was aggregated on the way
    """

    features: tuple[str, ...]
    scales: Scales | None
    codes: NDArray[np.int64]
    levels: dict[str, pd.DataFrame]

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
    tables: ObjectTables,
    features: Sequence[str],
    work: Work,
    *,
    levels: Mapping[str, Level] | None = None,
    advance: Advance = nobody,
) -> Fitted:
    """Learn scales and choose features, reading some columns at a time.

    Parameters
    ----------
    features : to choose from
    levels : aggregated while the columns are there; None or empty if they are wanted later
    """
    learner = _Learner.begin(tables, features, work, levels or {})
    batches = tables.column_batches(features, work.memory)
    with ThreadPoolExecutor(work.threads) as pool:
        at = 0
        for names, values in batches:
            parts = np.array_split(np.arange(len(names)), min(SHARES * work.threads, len(names)))
            chosen = [slice(int(part[0]), int(part[-1]) + 1) for part in parts]

            def learn(part: slice, at: int = at, values: Matrix = values) -> _Learnt:
                return learner.learn(at + part.start, values[:, part])

            for learnt in pool.map(learn, chosen):
                learner.take(learnt)
            at += len(names)
            advance(at / len(features))
    return learner.finish()


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What some columns said."""

    names: tuple[str, ...]
    infinite: NDArray[np.int64]
    scales: Scales | None
    verdicts: dict[str, Dropped]


@dataclass(frozen=True, slots=True)
class _Learner:
    """Looks at columns and gathers what they say."""

    work: Work
    features: tuple[str, ...]
    rows: NDArray[np.int64]
    near: NDArray[np.int64]
    groups: Groups
    reference: Groups | None
    replicates: Groups
    sample: Matrix
    summit: Summit
    learnt: list[_Learnt]

    @classmethod
    def begin(
        cls,
        tables: ObjectTables,
        features: Sequence[str],
        work: Work,
        levels: Mapping[str, Level],
    ) -> _Learner:
        config = work.config
        check_operations(config.select.operations, config.select.options)
        rows = np.flatnonzero(work.passed).astype(np.int64)
        groups = group_rows(work.keys, list(config.by))
        near = spread_rows(rows, config.select.sample)
        kind = tables.dtype(features)
        return cls(
            work,
            tuple(features),
            rows,
            near,
            groups,
            _reference(groups, work),
            group_rows(work.keys, list(config.select.replicates)),
            np.empty((len(near), len(features)), kind, order="F"),
            Summit.begin(levels, config.aggregate.method, features, kind),
            [],
        )

    def learn(self, at: int, values: Matrix) -> _Learnt:
        """Look at the columns from the `at`-th feature on, which are normalised in place."""
        config = self.work.config
        names = self.features[at : at + values.shape[1]]
        infinite = moments.count_infinite(values)
        scales = None
        if self.reference is not None:
            scales = Scales.fit(values, names, self.reference, method=config.normalize)
            scales.apply(values, self.groups.codes, out=values)
        operations, options = config.select.operations, config.select.options
        found = judge_columns(values, names, self.rows, self.replicates, operations, options)
        for place in range(len(names)):
            self.sample[:, at + place] = values[self.near, place]
        gone = {name for dropped in found.values() for name in dropped}
        for start, stop in _runs([name not in gone for name in names]):
            self.summit.add(at + start, values[:, start:stop])
        return _Learnt(names, infinite, scales, found)

    def take(self, learnt: _Learnt) -> None:
        """Keep and record what some columns said."""
        record = self.work.record
        note_infinite(learnt.infinite, learnt.names, record)
        if learnt.scales is not None:
            learnt.scales.report(record)
        self.learnt.append(learnt)

    def finish(self) -> Fitted:
        """Choose features by what all columns said."""
        config, record = self.work.config, self.work.record
        scales = _joined([one.scales for one in self.learnt if one.scales is not None])
        verdicts: dict[str, Dropped] = {name: {} for name in config.select.operations}
        for one in self.learnt:
            for operation, dropped in one.verdicts.items():
                verdicts[operation].update(dropped)
        kept = _choose(self.features, scales, verdicts, self.sample, config, record)
        taken = None if scales is None else scales.take(kept)
        return Fitted(tuple(kept), taken, self.groups.codes, self.summit.tables(kept))


def _runs(wanted: Sequence[bool]) -> list[tuple[int, int]]:
    """Where wanted columns that follow each other begin and end."""
    edges = np.flatnonzero(np.diff([False, *wanted, False]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def write_objects(
    tables: ObjectTables,
    keys: pd.DataFrame,
    features: Sequence[str],
    target: Path,
    transform: Callable[[int, Matrix], Matrix],
    *,
    names: Sequence[str] | None = None,
    advance: Advance = nobody,
) -> ObjectTables:
    """Write keys and transformed measurements of all rows, in blocks of rows.

    Parameters
    ----------
    transform : takes the first row and a block, (rows, F), and returns what is written of it
    names : columns of what it returns, if not `features`
    """
    table = pa.Table.from_pandas(keys, preserve_index=False)
    with (
        ThreadPoolExecutor(1) as pool,
        TableWriter(target, table, features if names is None else names) as writer,
    ):
        written: Future[None] | None = None
        for start, values in tables.row_blocks(features, ahead=tables.threads > 1):
            block = transform(start, values)
            if written is not None:
                written.result()
            advance((start + len(values)) / tables.rows)
            written = pool.submit(writer.write, block)
            if tables.threads == 1:
                written.result()
        if written is not None:
            written.result()
    return ObjectTables((target,), image=tables.image, threads=tables.threads)


def _reference(groups: Groups, work: Work) -> Groups | None:
    if work.config.normalize == "none":
        return None
    return reference_groups(groups, reference_rows(work), work.config.samples)


def reference_rows(work: Work) -> NDArray[np.bool_]:
    """Rows that normalisation refers to, (N,)."""
    samples = work.config.samples
    if samples == "controls":
        return work.controls.demand(work.keys) & work.passed
    return match(work.keys, None if samples == "all" else samples) & work.passed


def _joined(parts: Sequence[Scales]) -> Scales | None:
    if not parts:
        return None
    centre, spread, count = (
        np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in ("centre", "spread", "count")
    )
    names = tuple(name for part in parts for name in part.features)
    return Scales(names, parts[0].groups, centre, spread, count)


def _causes(verdicts: dict[str, Dropped], lost: NDArray[np.bool_]) -> str:
    """Why features went, and how many for each reason."""
    causes = Counter(reason for dropped in verdicts.values() for reason, _ in dropped.values())
    if lost.any():
        causes["without spread, so they have no units"] = int(lost.sum())
    named = "; ".join(f"{count} {reason}" for reason, count in causes.most_common(4))
    return f"{named or 'all go together'}. Look at the table, or loosen `select`"


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
        raise InputError(f"none of {len(features)} features is left: {_causes(verdicts, lost)}")
    return kept
