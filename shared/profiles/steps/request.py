"""What is asked for, held against what the table has: columns, and controls by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Final

import pandas as pd

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.config import NONE, ProfilesConfig
from poolvox.shared.profiles.tables.annotation import METADATA, written
from poolvox.shared.profiles.tables.meanings import known_tables
from poolvox.shared.profiles.tables.record import Record
from poolvox.shared.sorting import natural

__all__ = ["settle_request", "unmatched_controls"]

# Columns that a table need not have: without them there are no guides, or no hits.
USUAL: Final = ("Metadata_Guide", "Metadata_Gene", "Metadata_Treatment")
# Names that a message lists.
LISTED: Final = 20


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
            raise InputError(f"{key}: there is no column {name!r}; {_meant([name], there)}")
    for name in config.export.tables:
        if name not in known_tables():
            found = _meant([name], known_tables())
            raise InputError(f"export: tables: there is no table {name!r}; {found}")
    return _with_controls(keys, settled, record)


def unmatched_controls(keys: pd.DataFrame, config: ProfilesConfig) -> str:
    """Say that no object is a control, and what may have been meant."""
    held = sorted(_values(keys, config.gene), key=natural)
    asked, meant = ", ".join(config.controls) or "none", _meant(config.controls, held)
    return f"`controls` ({asked}) match no object by {config.gene}; {meant}"


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


def _with_controls(keys: pd.DataFrame, config: ProfilesConfig, record: Record) -> ProfilesConfig:
    """Turn names of controls into a query that finds them.

    A gene may be a number in the table, where every name of the configuration is text; and what
    looks like a query, such as `DMSO (0.1 %)`, is a name where the column holds it.
    """
    held = _values(keys, config.gene)
    found = [held[name] for name in config.controls if name in held]
    if not found:
        return config
    for name in config.controls:
        if name not in held:
            record.note("controls", "skipped", name, f"no object has it in {config.gene}")
    query = f"`{config.gene}` in {found!r}"
    return config.model_copy(update={"controls": (query,)})


def _values(keys: pd.DataFrame, column: str) -> dict[str, Any]:
    """What a column holds, by how it is written."""
    if column not in keys.columns:
        return {}
    different = pd.factorize(keys[column])[1].tolist()
    return {text: value for value in different if (text := written(value)) is not None}


def _meant(asked: Sequence[str], there: Sequence[str]) -> str:
    """Suggest what was meant, or list what there is; every column begins alike."""
    bare = {name.removeprefix(METADATA).lower(): name for name in there}
    for name in asked:
        near = get_close_matches(name.removeprefix(METADATA).lower(), list(bare), 1)
        if near:
            return f"did you mean {bare[near[0]]}?"
    more = ", …" if len(there) > LISTED else ""
    return f"there are {', '.join(there[:LISTED])}{more}"
