"""The levels of profiles: objects, organoids, wells, guides, genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.profiles.aggregation import COUNT, aggregate
from poolvox.shared.profiles.config import NONE, ProfilesConfig
from poolvox.shared.profiles.datasets import ObjectTables
from poolvox.shared.profiles.groups import Groups, group_rows
from poolvox.shared.profiles.record import Record
from poolvox.shared.profiles.streaming import Advance, Level, Work, aggregate_tables
from poolvox.shared.profiles.weighting import as_weights

__all__ = ["Roles", "make_levels", "named_rows"]

STEP: Final = "aggregate"
PLATE: Final = ("Metadata_Plate", "Metadata_Well")
ORGANOID: Final = ("Metadata_Organoid", "Metadata_OrganoidLabel")
POSTERIOR: Final = "Call_Posterior"


@dataclass(frozen=True, slots=True)
class Roles:
    """Which key columns a table has for what.

    Attributes
    ----------
    guide, gene : of the perturbation; None where there is none
    well, organoid : columns that name a well, and an organoid of several objects; may be empty
    weights : column by which objects count; None where all count alike
    """

    guide: str | None
    gene: str | None
    well: tuple[str, ...]
    organoid: tuple[str, ...]
    weights: str | None

    @classmethod
    def find(cls, keys: pd.DataFrame, config: ProfilesConfig) -> Roles:
        """Match what the configuration names with what the table has."""
        there = set(keys.columns)
        guide = config.guide if config.guide in there else None
        gene = config.gene if config.gene in there else None
        well = tuple(name for name in PLATE if name in there) if PLATE[1] in there else ()
        organoid = tuple(name for name in ORGANOID if name in there)
        if not organoid or len(group_rows(keys, [*well, *organoid])) == len(keys):
            organoid = ()
        weights: str | None = config.aggregate.weights
        if weights == "auto":
            weights = POSTERIOR if POSTERIOR in there and guide is not None else None
        elif weights == NONE:
            weights = None
        return cls(guide, gene, well, organoid, weights)


def named_rows(keys: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    """Rows that have a name in that column: neither missing nor empty, (N,)."""
    values = keys[column].astype(object)
    return np.asarray(values.notna().to_numpy() & (values != "").to_numpy(), bool)


def make_levels(
    tables: ObjectTables, roles: Roles, work: Work, *, advance: Advance = lambda _: None
) -> dict[str, pd.DataFrame]:
    """Aggregate normalised objects to every level that the keys allow.

    Objects go to guides and guides to genes; objects go to organoids, where there are several in
    one, and organoids to wells; without guides, wells go to genes (or treatments).

    Parameters
    ----------
    tables : normalised objects

    Returns
    -------
    profiles by level: `guides`, `genes`, `organoids`, `wells`, as far as there are keys for them
    """
    gene = [] if roles.gene is None else [roles.gene]
    options = work.config.aggregate
    consensus = options.consensus
    wanted = _levels_of_objects(work.keys, roles, work.passed, work.record)
    levels = aggregate_tables(
        tables, wanted, method=options.method, memory=work.memory, advance=advance
    )
    if "organoids" in levels:
        treated = gene if roles.guide is None else []
        levels["wells"] = _combined(levels["organoids"], [*roles.well, *treated], consensus)
    source = levels.get("guides" if roles.guide is not None else "wells")
    if gene and source is not None:
        named_profiles = source[named_rows(source, gene[0])]
        levels["genes"] = _combined(named_profiles, gene, consensus)
    return {name: frame for name, frame in levels.items() if len(frame)}


def _levels_of_objects(
    keys: pd.DataFrame, roles: Roles, passed: NDArray[np.bool_], record: Record | None
) -> dict[str, Level]:
    """Groups that objects themselves are aggregated to; the other levels are made of these."""

    def level(by: Sequence[str], rows: NDArray[np.bool_], weights: str | None = None) -> Level:
        groups = _filled(group_rows(keys, by).only(rows))
        weight = None if weights is None else as_weights(keys[weights]) * rows
        return Level(groups, weight)

    gene = [] if roles.gene is None else [roles.gene]
    levels: dict[str, Level] = {}
    if roles.guide is not None:
        named = passed & named_rows(keys, roles.guide)
        _note_unnamed(record, roles.guide, int(passed.sum() - named.sum()))
        levels["guides"] = level([*gene, roles.guide], named, roles.weights)
    if roles.well:
        treated = gene if roles.guide is None else []
        name = "organoids" if roles.organoid else "wells"
        levels[name] = level([*roles.well, *roles.organoid, *treated], passed)
    if gene and roles.guide is None and not roles.well:
        levels["genes"] = level(gene, passed & named_rows(keys, gene[0]))
    return levels


def _combined(profiles: pd.DataFrame, by: Sequence[str], method: str) -> pd.DataFrame:
    """Profiles of profiles; `Metadata_Count` stays the number of objects."""
    found = aggregate(profiles, by=by, method=method)
    groups = group_rows(profiles, by)
    found.insert(len(by), "Metadata_Profiles", found[COUNT].to_numpy())
    found[COUNT] = np.bincount(groups.codes, profiles[COUNT], minlength=len(groups)).astype(int)
    return found


def _filled(groups: Groups) -> Groups:
    """Leave out groups without rows."""
    full = np.flatnonzero(groups.sizes)
    renumbered = np.full(len(groups), -1, np.int64)
    renumbered[full] = np.arange(len(full))
    bounds = np.concatenate([[0], np.cumsum(groups.sizes[full])]).astype(np.int64)
    # Rows of groups that are gone have weight 0 and stand in no order: any code will do.
    codes = np.maximum(renumbered[groups.codes], 0)
    return Groups(groups.keys.iloc[full].reset_index(drop=True), codes, groups.order, bounds)


def _note_unnamed(record: Record | None, column: str, count: int) -> None:
    if record is not None and count:
        record.note(STEP, "skipped", column, "objects without a name in it", count)
