"""What is asked for, held against what the table has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pandas as pd

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.config import NONE, ProfilesConfig
from poolvox.shared.profiles.steps.controls import suggest
from poolvox.shared.profiles.steps.findings import read_sets
from poolvox.shared.profiles.tables.annotation import METADATA
from poolvox.shared.profiles.tables.columns import FIELD, ORGANOID, number_column
from poolvox.shared.profiles.tables.datasets import ObjectTables
from poolvox.shared.profiles.tables.meanings import known_tables
from poolvox.shared.profiles.tables.record import Record

__all__ = ["check_request", "doubled_objects", "settle_request"]

# Columns that a table need not have: without them there are no guides, or no hits.
USUAL: Final = ("Metadata_Guide", "Metadata_Gene", "Metadata_Treatment")


def check_request(tables: ObjectTables, config: ProfilesConfig, out: Path) -> None:
    """Tell mistakes before anything is worked on, also in files that are needed at the end.

    Parameters
    ----------
    out : folder that the profiles are for
    """
    if not tables.rows:
        named = ", ".join(path.name for path in tables.paths[:5])
        raise InputError(f"there are no objects in {named}")
    written = {(out / f"{name}.parquet").resolve() for name in known_tables()}
    for path in tables.paths:
        if path.resolve() in written:
            raise InputError(
                f"the profiles would replace their own objects in {out}: a table of them is called "
                f"{path.name} too; write to another folder"
            )
    if config.learn is not None:
        from poolvox.shared.profiles.learn.labelling import read_labels

        read_labels(config.learn.labels, column=config.learn.column)
    read_sets(config)


def settle_request(keys: pd.DataFrame, config: ProfilesConfig, record: Record) -> ProfilesConfig:
    """Refuse what cannot be, before anything is worked on, and settle what is left open.

    Raises
    ------
    InputError
        for columns, and tables to export, that there are not
    """
    there = [str(name) for name in keys.columns]
    if config.guide == config.gene != NONE:
        raise InputError(
            f"guide and gene are both {config.gene}: set `guide: none` where genes have no guides"
        )
    settled = _grouped(there, config, record)
    for key, name in _asked(settled):
        if name not in there:
            raise InputError(f"{key}: there is no column {name!r}; {suggest([name], there)}")
    for name in config.export.tables:
        if name not in known_tables():
            found = suggest([name], known_tables())
            raise InputError(f"export: tables: there is no table {name!r}; {found}")
    return settled


def doubled_objects(keys: pd.DataFrame) -> str | None:
    """Tell of objects that others share field and number with: a table may be there twice."""
    number = number_column(keys)
    if number is None:
        return None
    names = [name for name in (*FIELD, ORGANOID) if name in keys]
    # 0 stands for an object that is not there, such as a parent.
    numbered = pd.to_numeric(keys[number], errors="coerce") > 0
    count = int(keys.loc[numbered, [*names, number]].duplicated().sum())
    if not count:
        return None
    told = ", ".join(name.removeprefix(METADATA) for name in [*names, number])
    return f"{count:,} objects are called like others ({told}): is a table there twice?"


def _grouped(there: list[str], config: ProfilesConfig, record: Record) -> ProfilesConfig:
    """Take a table without plates for one plate, unless plates were asked for."""
    if "by" in config.model_fields_set or set(config.by) <= set(there):
        return config
    reason = "there is no such column: all objects are normalised together"
    record.note("normalize", "changed", config.by[0], reason)
    return config.model_copy(update={"by": ()})


def _asked(config: ProfilesConfig) -> Iterator[tuple[str, str]]:
    """Key of the configuration, and a column that it needs."""
    single = {
        "gene": config.gene,
        "guide": config.guide,
        "aggregate: weights": config.aggregate.weights,
        "hits: dose": config.hits.dose,
    }
    yield from ((key, one) for key, one in single.items() if one not in (NONE, "auto", *USUAL))
    yield from (("by", name) for name in config.by)
    if config.correct.method != "none":
        yield from (("correct: by", name) for name in config.correct.by)
    if "replicates" in config.select.operations:
        yield from (("select: replicates", name) for name in config.select.replicates)
