"""All steps in order: from tables of objects to the folder of profiles."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.engine.resources import parse_memory
from poolvox.shared.errors import InputError
from poolvox.shared.profiles.combine.aggregation import bootstrap
from poolvox.shared.profiles.config import NONE, ProfilesConfig
from poolvox.shared.profiles.correct.mixing import batch_mixing
from poolvox.shared.profiles.normalise.quality import TooFewPass, count_objects, describe_flags
from poolvox.shared.profiles.steps.centres import Level, aggregate_tables
from poolvox.shared.profiles.steps.controls import Controls, suggest
from poolvox.shared.profiles.steps.exports import export_tables
from poolvox.shared.profiles.steps.findings import find_all
from poolvox.shared.profiles.steps.levels import Roles, make_levels, named_rows, object_levels
from poolvox.shared.profiles.steps.marks import marked_controls
from poolvox.shared.profiles.steps.preparation import (
    COPIES,
    annotate_keys,
    check_memory,
    correct_objects,
    flag_objects,
    note_columns,
    transform_whole,
)
from poolvox.shared.profiles.steps.request import check_request, doubled_objects, settle_request
from poolvox.shared.profiles.steps.streaming import Work, fit_tables, write_objects
from poolvox.shared.profiles.tables.columns import flagged_rows, plain_names
from poolvox.shared.profiles.tables.datasets import ObjectTables
from poolvox.shared.profiles.tables.groups import group_rows
from poolvox.shared.profiles.tables.meanings import describe_tables, known_tables
from poolvox.shared.profiles.tables.record import Record
from poolvox.shared.profiles.tables.sources import gather_tables
from poolvox.shared.store import write_table

__all__ = ["Profiles", "make_profiles"]

# Called with what is done now, and the share, 0 to 1, of all that is done.
Progress = Callable[[str, float], None]

# Tables that were made of what came otherwise than as Parquet.
TEMPORARY: Final = ".tables.on-the-way"
# Part of the memory that the columns of one batch may take; copies and keys need the rest.
BATCH_SHARE: Final = 0.15
# Part of the signal that a correction may cost before it is told.
COSTLY: Final = 0.1


@dataclass(frozen=True, slots=True)
class Profiles:
    """What was made.

    Attributes
    ----------
    paths : files by name, such as `objects`, `guides`, `hits`
    facts : numbers for a summary, plain data
    record : what was dropped, changed and flagged, and why
    """

    paths: dict[str, Path]
    facts: dict[str, Any]
    record: pd.DataFrame


def make_profiles(
    tables: Any,
    config: ProfilesConfig | None = None,
    out: Path | str = "profiles",
    *,
    fewest: int = 1,
    threads: int = 1,
    progress: Progress | None = None,
) -> Profiles:
    """Run all steps on tables of objects, and write what comes of them.

    Parameters
    ----------
    tables : Parquet or CSV files with the same columns, or a folder of them; the folder of
        CellProfiler's spreadsheets; a frame of pandas, dask, polars or pyarrow; a dataset of
        pyarrow
    config : options of the steps
    out : folder for the tables; those of an earlier run are replaced
    fewest : objects that must pass quality control
    threads : that read, work and write side by side; they change no result

    Raises
    ------
    TooFewPass
        where quality control leaves fewer objects; the record that tells why is written

    Examples
    --------
    >>> make_profiles("objects.parquet", out="profiles").paths["genes"]    # doctest: +SKIP
    """
    chosen = config or ProfilesConfig()
    made = Path(out) / TEMPORARY
    try:
        paths = gather_tables(tables, made)
        objects = ObjectTables(paths, image=chosen.image, threads=threads)
        run = _Run(
            objects,
            marked_controls(chosen, objects),
            Path(out),
            progress or (lambda step, share: None),
        )
        run.prepare()
        run.demand(fewest)
        run.normalise()
        run.correct()
        run.aggregate()
        run.find()
        return run.finish()
    finally:
        for path in Path(out).glob(".*.on-the-way.parquet"):
            path.unlink(missing_ok=True)
        shutil.rmtree(made, ignore_errors=True)


@dataclass
class _Run:
    """The state between the steps."""

    source: ObjectTables
    config: ProfilesConfig
    out: Path
    progress: Progress
    record: Record = field(default_factory=Record)
    paths: dict[str, Path] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    keys: pd.DataFrame = field(default_factory=pd.DataFrame)
    passed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    levels: dict[str, pd.DataFrame] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    exported: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objects = self.source

    def prepare(self) -> None:
        """Read the keys, annotate and flag; count what there is."""
        check_request(self.source, self.config, self.out)
        self.progress("annotate and flag", 0.0)
        keys = plain_names(self.source.frame(self.source.keys))
        if not len(keys.columns):
            keys = pd.DataFrame(index=range(self.source.rows))
        keys = annotate_keys(keys, self.config, self.record)
        self.config = settle_request(keys, self.config, self.record)
        self.keys = flag_objects(
            self.source, keys, self.config, memory=self._batch, record=self.record
        )
        note_columns(self.source, self.record)
        if doubled := doubled_objects(self.keys):
            self.skipped.append(doubled)
        if self.config.gene not in (NONE, *self.keys):
            there = suggest((), [n for n in map(str, self.keys) if n.startswith("Metadata_")])
            self.skipped.append(
                f"hits and map: there is no column {self.config.gene}; `gene` names that of genes "
                f"or treatments: {there}"
            )
        self.passed = ~flagged_rows(self.keys)
        self.facts |= {"objects": self.source.rows, "flagged": int((~self.passed).sum())}
        if self.config.quality.keep:
            self.passed = np.ones(self.source.rows, bool)
        self.roles = Roles.find(self.keys, self.config)
        self.controls = Controls.find(self.keys, self.config, self.record)
        write_table(self._counts(), self._path("counts"))

    def demand(self, fewest: int) -> None:
        """Write the record and give up where too few objects pass."""
        passing = int(self.passed.sum())
        if passing >= fewest:
            return
        reason = describe_flags(self.keys)
        self.record.note("quality", "skipped", "profiles", reason, self.facts["flagged"])
        self._write_record()
        raise TooFewPass(f"{reason}: look at its rules, or keep them by `quality.keep`", self.facts)

    def normalise(self) -> None:
        """Normalise, choose features and write the objects."""
        source, features, config = self.source, self._features(), self.config
        if config.inverse_normal or config.local is not None:
            self.progress("transform", 0.05)
            target = self._temporary("transformed")
            source = transform_whole(source, features, self._work(config), target)
            features = list(source.features)
            if config.local is not None:
                config = config.model_copy(update={"normalize": "none"})
        advance = self._advance("normalise", 0.05, 0.35)
        corrected = config.correct.method != "none"
        # What is corrected is aggregated afterwards; all else while its columns are there.
        wanted = {} if corrected else self._object_levels()
        fitted = fit_tables(source, features, self._work(config), levels=wanted, advance=advance)
        self.levels = fitted.levels
        self.objects = write_objects(
            source,
            self.keys,
            fitted.features,
            self._temporary("normalised") if corrected else self._path("objects"),
            fitted.transform,
            advance=self._advance("write objects", 0.35, 0.6),
        )
        self.facts |= {"features": len(self._features()), "kept": len(fitted.features)}
        write_table(fitted.table(), self._path("features"))

    def correct(self) -> None:
        """Correct batches, and compare how they mix before and after."""
        if self.config.correct.method == "none":
            return
        self.progress("correct batches", 0.6)
        before = self.objects
        self.objects = correct_objects(before, self._work(self.config), self._path("objects"))
        mixing = self._mixing({"before": before, "after": self.objects})
        write_table(mixing, self._path("mixing"))
        if "Mixing_Signal" in mixing:
            was, now = mixing["Mixing_Signal"]
            if now < (1 - COSTLY) * was:
                reason = "it cost signal: look at the mixing of batches, and whether it is needed"
                self.record.note(
                    "correct", "changed", self.config.correct.method, reason, now - was
                )
                self.facts["signal_lost"] = float(was - now)

    def aggregate(self) -> None:
        """Make profiles of every level and write them."""
        options = self.config.aggregate
        if self.config.correct.method != "none":
            self.levels = aggregate_tables(
                self.objects,
                self._object_levels(),
                method=options.method,
                memory=self._batch,
                advance=self._advance("aggregate", 0.7, 0.8),
            )
        self.levels = make_levels(self.levels, self.roles, options.consensus)
        for name, frame in self.levels.items():
            self._write(name, frame)
            self.facts[name] = len(frame)
        if options.bootstrap and self.roles.gene is not None and "genes" in self.levels:
            source = self.levels["guides" if self.roles.guide is not None else "wells"]
            interval = bootstrap(
                source[named_rows(source, self.roles.gene)],
                by=self.roles.gene,
                rng=np.random.default_rng(options.seed),
                method=options.consensus,
                repeats=options.bootstrap,
            )
            self._write("intervals", interval)

    def find(self) -> None:
        """Find hits, look-alikes, clusters and classes."""
        self.progress("find hits", 0.8)
        found = find_all(self.objects, self.levels, self.roles, self._work(self.config))
        for name, frame in found.tables.items():
            self._write(name, frame)
        self.facts |= found.facts
        self.skipped += found.skipped
        if self.config.learn is not None:
            from poolvox.shared.profiles.learn.phenotypes import learn_step

            self.progress("learn classes", 0.95)
            learned, paths = learn_step(
                self.objects, self.config.learn, self.out, memory=self._batch
            )
            self.paths |= paths
            self.facts["learn"] = learned.facts
            for note in learned.notes:
                self.record.note("learn", "changed", "classes", str(note))

    def finish(self) -> Profiles:
        """Write the record, what other tools read, and what columns mean."""
        record = self._write_record()
        self.facts["skipped"] = self.skipped
        self._export()
        described = describe_tables(self.paths)
        described.to_csv(self.out / "columns.csv", index=False, lineterminator="\n")
        self.progress("done", 1.0)
        return Profiles(self.paths, self.facts, record)

    def _write_record(self) -> pd.DataFrame:
        record = self.record.frame
        write_table(record, self._path("record"))
        record.to_csv(self.out / "record.csv", index=False, lineterminator="\n")
        # Those of an earlier run must not stay beside new ones.
        for name in known_tables():
            if name not in self.paths:
                (self.out / f"{name}.parquet").unlink(missing_ok=True)
        return record

    def _export(self) -> None:
        """Write what other tools read, when all tables are there."""
        if self.config.export.wants("objects"):
            shape = self.objects.rows * len(self.objects.features)
            needed = shape * self.objects.dtype(self.objects.features).itemsize * COPIES
            try:
                check_memory(needed, self.config, "single objects in other formats")
                self.exported.insert(0, "objects")
            except InputError as error:
                self.skipped.append(f"export: {error}")
        basis = str(self.facts.get("map", "pca"))
        for path in export_tables(self.out, self.exported, self.config, basis=basis):
            self.paths[path.name] = path

    @property
    def _batch(self) -> int:
        return int(parse_memory(self.config.memory) * BATCH_SHARE)

    def _work(self, config: ProfilesConfig) -> Work:
        threads = self.source.threads
        return Work(
            self.keys, config, self.passed, self.controls, self._batch, self.record, threads
        )

    def _object_levels(self) -> dict[str, Level]:
        return object_levels(self.keys, self.roles, self.passed, self.record)

    def _features(self) -> list[str]:
        wanted = self.config.features
        found = [
            name
            for name in self.source.features
            if not wanted or any(fnmatchcase(name, pattern) for pattern in wanted)
        ]
        if not found:
            some = ", ".join(self.source.features[:5]) or "none at all"
            raise InputError(f"no columns to measure by: `features` {list(wanted)}, there: {some}")
        return found

    def _counts(self) -> pd.DataFrame:
        """Objects, those that pass, and controls, per well and per guide or gene."""
        roles = self.roles
        controls = None if roles.gene is None else self.controls.rows(self.keys)
        units = [name for name in (roles.gene, roles.guide) if name is not None]
        parts = []
        for level, by in (("well", list(roles.well)), ("guide" if roles.guide else "gene", units)):
            if by:
                counts = count_objects(self.keys, by=by, controls=controls)
                counts.insert(0, "Metadata_Level", level)
                parts.append(counts.astype(dict.fromkeys(by, object)))
        if not parts:
            everything = count_objects(self.keys, by=[], controls=controls)
            everything.insert(0, "Metadata_Level", "all")
            parts = [everything]
        counts = pd.concat(parts, ignore_index=True)
        return counts.astype({name: "string" for name in counts if counts[name].dtype == object})

    def _mixing(self, tables: dict[str, ObjectTables]) -> pd.DataFrame:
        """Compare profiles of each perturbation in each batch."""
        batch = list(self.config.correct.by)
        unit = self.roles.guide or self.roles.gene
        units = [name for name in (self.roles.gene, self.roles.guide) if name is not None]
        by = [*batch, *(units or self.roles.well)]
        rows = self.passed if unit is None else self.passed & named_rows(self.keys, unit)
        whole = group_rows(self.keys, by).only(rows).filled()
        profiles = {
            name: aggregate_tables(
                table, {name: Level(whole)}, method="median", memory=self._batch
            )[name]
            for name, table in tables.items()
        }
        try:
            controls = None if self.roles.gene is None else self.controls.rows(profiles["before"])
            return batch_mixing(profiles, batch=batch, by=unit, controls=controls)
        except InputError as error:
            self.record.note("correct", "skipped", "signal", str(error))
            return batch_mixing(profiles, batch=batch)

    def _write(self, name: str, frame: pd.DataFrame) -> None:
        write_table(frame, self._path(name))
        if self.config.export.wants(name):
            self.exported.append(name)

    def _path(self, name: str) -> Path:
        self.paths[name] = self.out / f"{name}.parquet"
        return self.paths[name]

    def _temporary(self, name: str) -> Path:
        return self.out / f".{name}.on-the-way.parquet"

    def _advance(self, step: str, start: float, stop: float) -> Callable[[float], None]:
        return lambda share: self.progress(step, start + (stop - start) * share)
