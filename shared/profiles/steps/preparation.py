"""Steps around normalisation, on tables that need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.correct.batches import Linear, fit_sphering, fit_tvn, harmony
from poolvox.shared.profiles.correct.empirical import combat_scales
from poolvox.shared.profiles.normalise.quality import (
    FOREST_ROWS,
    OUTLIER,
    Isolation,
    add_flags,
    judge,
    note_flags,
)
from poolvox.shared.profiles.normalise.rules import Measured, read_rules, wanted_features
from poolvox.shared.profiles.normalise.scaling import Scales, inverse_normal, normalize_local
from poolvox.shared.profiles.normalise.selection import spread_rows
from poolvox.shared.profiles.steps.streaming import (
    Work,
    reference_rows,
    write_objects,
)
from poolvox.shared.profiles.tables.annotation import annotate, read_annotation
from poolvox.shared.profiles.tables.columns import FIELD, KEY_PREFIXES, Matrix, with_features
from poolvox.shared.profiles.tables.datasets import ObjectTables, is_text
from poolvox.shared.profiles.tables.groups import Groups, group_rows
from poolvox.shared.profiles.tables.record import Record

__all__ = [
    "COPIES",
    "annotate_keys",
    "check_memory",
    "correct_objects",
    "flag_objects",
    "note_columns",
    "transform_whole",
]

STEP: Final = "correct"
# Controls that sphering and TVN are learnt from, at most; spread evenly over the table.
MOST_CONTROLS: Final = 200_000
# Copies of the measurements that a step on the whole table makes.
COPIES: Final = 3


def annotate_keys(keys: pd.DataFrame, config: ProfilesConfig, record: Record) -> pd.DataFrame:
    """Add the columns of all tables that the configuration names."""
    for given in config.annotate:
        on = given.on if isinstance(given.on, Mapping) else list(given.on)
        keys = annotate(keys, read_annotation(given.table), on=on, record=record)
    return keys


def flag_objects(
    tables: ObjectTables,
    keys: pd.DataFrame,
    config: ProfilesConfig,
    *,
    memory: int,
    record: Record,
) -> pd.DataFrame:
    """Add the flags of quality to the keys, reading only the measurements that rules look at."""
    options = config.quality
    rules = read_rules(list(options.rules))
    offered = [*tables.features, *(n for n in keys.columns if str(n).startswith("Image_"))]
    wanted = [name for name in wanted_features(rules, offered) if name in tables.features]
    frame = with_features(keys, wanted, tables.matrix(wanted))
    by = tuple(name for name in options.by if name in keys.columns)
    field = tuple(name for name in FIELD if name in keys.columns)
    flags = judge(Measured(frame, by, field), rules, record)
    if options.isolation:
        flags[OUTLIER] = _isolate(tables, config, memory)
        note_flags(record, OUTLIER, f"isolation forest, {options.isolation:.2%}", flags[OUTLIER])
    return add_flags(keys, flags) if flags else keys


def note_columns(tables: ObjectTables, record: Record) -> None:
    """Tell which columns look like measurements, or like flags, and are none."""
    for name in tables.keys:
        kind, reason = tables.schema[name], ""
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if name.startswith("QC_") and number:
            reason = "is a number, neither true nor false, so it flags nothing"
        elif not (name.startswith(KEY_PREFIXES) or number):
            held = {"bool": "true and false"}.get(str(kind), "text" if is_text(kind) else str(kind))
            reason = f"holds {held}, so it is no measurement"
        if reason:
            record.note("columns", "skipped", name, reason)


def transform_whole(
    tables: ObjectTables, features: Sequence[str], work: Work, target: Path
) -> ObjectTables:
    """Carry out the steps that need a whole table: normal scores, neighbours in space."""
    keys, config = work.keys, work.config
    needed = tables.rows * len(features) * tables.dtype(features).itemsize * COPIES
    check_memory(needed, config, "normal scores of ranks and neighbours in space")
    values = tables.matrix(features)
    if config.inverse_normal:
        values = inverse_normal(values, group_rows(keys, list(config.by)), out=values)
    if config.local is None or config.normalize == "none":
        return write_objects(tables, keys, features, target, _from(values))
    near = config.local
    by = [name for name in near.by if name in keys.columns]
    frame = normalize_local(
        with_features(keys, features, values),
        neighbours=near.neighbours,
        method=config.normalize,
        by=by,
        samples=reference_rows(work),
        positions=near.positions,
        record=work.record,
    )
    names = [name for name in features if name in frame.columns]
    found = np.asfortranarray(frame[names].to_numpy(values.dtype))
    return write_objects(tables, keys, names, target, _from(found))


def correct_objects(tables: ObjectTables, work: Work, target: Path) -> ObjectTables:
    """Write objects whose batches were corrected as the configuration says.

    Parameters
    ----------
    tables : normalised objects
    """
    keys, options = work.keys, work.config.correct
    batches = group_rows(keys, list(options.by))
    if options.method == "harmony":
        return _harmonised(tables, work, target)
    names = tables.features
    if options.method == "combat":
        scales = _combat(tables, batches, _learners(batches, work), work.memory)
        codes = batches.codes

        def scale(start: int, values: Matrix) -> Matrix:
            return scales.apply(values, codes[start : start + len(values)], out=values)

        work.record.note(STEP, "changed", "all features", "ComBat over batches", len(batches))
        return write_objects(tables, keys, names, target, scale)
    fitted = _linear(tables, batches, work)
    codes = batches.codes if len(fitted.matrix) > 1 else np.zeros(len(keys), np.int64)

    def turn(start: int, values: Matrix) -> Matrix:
        return fitted.apply(values, codes[start : start + len(values)])

    return write_objects(tables, keys, names, target, turn, names=fitted.features)


def check_memory(needed: int, config: ProfilesConfig, what: str) -> None:
    """Refuse a step on the whole table that would not fit."""
    from poolvox.shared.engine.resources import parse_memory

    if needed > parse_memory(config.memory):
        raise InputError(
            f"{what} need the whole table at once, about {needed / 2**30:.1f} GB, and `memory` is "
            f"{config.memory}: allow more, or choose a step that is streamed"
        )


def _isolate(tables: ObjectTables, config: ProfilesConfig, memory: int) -> NDArray[np.bool_]:
    rows = spread_rows(np.arange(tables.rows, dtype=np.int64), FOREST_ROWS)
    sample = tables.rows_of(rows, tables.features, memory)
    options = config.quality
    forest = Isolation.grow(sample, options.isolation, np.random.default_rng(options.seed))
    return np.concatenate([forest.flag(v) for _, v in tables.row_blocks(tables.features)])


def _linear(tables: ObjectTables, batches: Groups, work: Work) -> Linear:
    keys, config, record = work.keys, work.config, work.record
    options = config.correct
    chosen = np.flatnonzero(work.controls.demand(keys) & work.passed).astype(np.int64)
    rows = spread_rows(chosen, MOST_CONTROLS)
    if len(rows) < 2:
        raise InputError(
            f"{options.method} learns from controls, and only {len(rows)} of them passes"
        )
    values = tables.rows_of(rows, tables.features, work.memory)
    if options.method == "sphering":
        return fit_sphering(values, tables.features, shrinkage=options.shrinkage, record=record)
    own = group_rows(keys.iloc[rows], list(options.by))
    if len(own) < len(batches) or (own.sizes < 2).any():
        lacking = sorted(set(batches.labels) - set(own.labels)) or own.labels
        raise InputError(f"batches {lacking[:5]} have fewer than two controls to learn from")
    return fit_tvn(
        values,
        tables.features,
        own,
        components=options.components,
        ridge=options.ridge,
        shrinkage=options.shrinkage,
        record=record,
    )


def _learners(batches: Groups, work: Work) -> Groups:
    """Controls where every batch has some, else all objects."""
    controls = batches.only(work.controls.rows(work.keys) & work.passed)
    if (controls.sizes > 1).all():
        return controls
    reason = "learnt on all objects: some batch has no controls"
    work.record.note(STEP, "changed", "ComBat", reason)
    return batches.only(work.passed)


def _combat(tables: ObjectTables, batches: Groups, rows: Groups, memory: int) -> Scales:
    parts = [
        Scales.fit(values, names, rows, method="standardize")
        for names, values in tables.column_batches(tables.features, memory)
    ]
    mean, spread, count = (
        np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in ("centre", "spread", "count")
    )
    return combat_scales(mean, spread**2, count, tables.features, batches.labels)


def _harmonised(tables: ObjectTables, work: Work, target: Path) -> ObjectTables:
    keys, config = work.keys, work.config
    options, names = config.correct, list(tables.features)
    # Harmony works in double precision, and keeps as many memberships as components.
    check_memory(tables.rows * len(names) * 8 * COPIES, config, "Harmony's components")
    frame = harmony(
        with_features(keys, names, tables.matrix(names)),
        batch=list(options.by),
        components=min(options.components, 50),
        seed=options.seed,
        record=work.record,
    )
    found = [name for name in frame.columns if name not in keys.columns]
    values = np.asfortranarray(frame[found].to_numpy(tables.dtype(names)))
    return write_objects(tables, keys, names, target, _from(values), names=found)


def _from(values: Matrix) -> Callable[[int, Matrix], Matrix]:
    """Blocks of a matrix that is there already."""
    return lambda start, block: values[start : start + len(block)]
