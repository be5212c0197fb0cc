"""All steps in order: from tables of objects to the folder of profiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.engine.resources import parse_memory
from poolvox.shared.errors import InputError
from poolvox.shared.profiles.columns import flagged_rows
from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.datasets import ObjectTables, find_tables
from poolvox.shared.profiles.levels import Roles, make_levels
from poolvox.shared.profiles.record import Record
from poolvox.shared.profiles.streaming import fit_tables, write_objects
from poolvox.shared.store import write_table

__all__ = ["Profiles", "make_profiles"]

# Called with what is done now, and the share, 0 to 1, of all that is done.
Progress = Callable[[str, float], None]

# Part of the memory that the columns of one batch may take; copies and keys need the rest.
BATCH_SHARE: Final = 0.15


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
    tables: Sequence[Path | str] | Path | str,
    config: ProfilesConfig | None = None,
    out: Path | str = "profiles",
    *,
    progress: Progress | None = None,
) -> Profiles:
    """Run all steps on tables of objects, and write what comes of them.

    Parameters
    ----------
    tables : Parquet files with the same columns, or a folder of them
    config : options of the steps
    out : folder for the tables; those of the same names are replaced

    Examples
    --------
    >>> make_profiles("objects.parquet", out="profiles").paths["genes"]    # doctest: +SKIP
    """
    run = _Run(
        ObjectTables(find_tables(tables), image=bool(config and config.image)),
        config or ProfilesConfig(),
        Path(out),
        progress or (lambda step, share: None),
    )
    run.prepare()
    run.normalise()
    run.aggregate()
    return run.finish()


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
    objects: ObjectTables | None = None
    levels: dict[str, pd.DataFrame] = field(default_factory=dict)

    def prepare(self) -> None:
        """Read the keys, annotate and flag."""
        if not self.source.rows:
            named = ", ".join(path.name for path in self.source.paths[:5])
            raise InputError(f"there are no objects in {named}")
        self.keys = self.source.frame(self.source.keys)
        self.passed = ~flagged_rows(self.keys)
        if self.config.quality.keep:
            self.passed[:] = True
        self.facts |= {"objects": self.source.rows, "flagged": int((~self.passed).sum())}

    def normalise(self) -> None:
        """Normalise, choose features and write the objects."""
        features = self._features()
        fitted = fit_tables(
            self.source,
            self.keys,
            features,
            self.config,
            passed=self.passed,
            memory=self._batch,
            record=self.record,
            advance=self._advance("normalise", 0.0, 0.4),
        )
        self.objects = write_objects(
            self.source,
            self.keys,
            fitted.features,
            self._path("objects"),
            fitted.transform,
            advance=self._advance("write objects", 0.4, 0.7),
        )
        self.facts |= {"features": len(features), "kept": len(fitted.features)}

    def aggregate(self) -> None:
        """Make profiles of every level and write them."""
        if self.objects is None:
            raise RuntimeError("normalise before aggregating")
        roles = Roles.find(self.keys, self.config)
        self.levels = make_levels(
            self.objects,
            self.keys,
            roles,
            self.config,
            passed=self.passed,
            memory=self._batch,
            record=self.record,
            advance=self._advance("aggregate", 0.7, 0.8),
        )
        for name, frame in self.levels.items():
            write_table(frame, self._path(name))
            self.facts[name] = len(frame)

    def finish(self) -> Profiles:
        """Write the record."""
        record = self.record.frame
        write_table(record, self._path("record"))
        record.to_csv(self.out / "record.csv", index=False, lineterminator="\n")
        self.progress("done", 1.0)
        return Profiles(self.paths, self.facts, record)

    @property
    def _batch(self) -> int:
        return int(parse_memory(self.config.memory) * BATCH_SHARE)

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

    def _path(self, name: str) -> Path:
        self.paths[name] = self.out / f"{name}.parquet"
        return self.paths[name]

    def _advance(self, step: str, start: float, stop: float) -> Callable[[float], None]:
        return lambda share: self.progress(step, start + (stop - start) * share)
