"""The levels of profiles: objects, organoids, wells, guides, genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.profiles.combine.aggregation import COUNT, aggregate
from poolvox.shared.profiles.combine.weighting import as_weights
from poolvox.shared.profiles.config import NONE, ProfilesConfig
from poolvox.shared.profiles.steps.centres import Level
from poolvox.shared.profiles.tables.groups import group_rows
from poolvox.shared.profiles.tables.record import Record

__all__ = ["Roles", "make_levels", "named_rows", "object_levels"]

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
    codes, names = pd.factorize(keys[column])
    # Missing has code -1, which is the last.
    named = [not pd.isna(name) and name != "" for name in names]
    return np.array([*named, False])[codes]


def make_levels(
    levels: dict[str, pd.DataFrame], roles: Roles, consensus: str
) -> dict[str, pd.DataFrame]:
    """Make every level that the keys allow of those that objects were aggregated to.

    Objects go to guides and guides to genes; objects go to organoids, where there are several in
    one, and organoids to wells; without guides, wells go to genes (or treatments).

    Parameters
    ----------
    levels : profiles of the levels of `object_levels`
    consensus : how profiles are combined

    Returns
    -------
    profiles by level: `guides`, `genes`, `organoids`, `wells`, as far as there are keys for them
    """
    gene = [] if roles.gene is None else [roles.gene]
    levels = dict(levels)
    if "organoids" in levels:
        treated = gene if roles.guide is None else []
        levels["wells"] = _combined(levels["organoids"], [*roles.well, *treated], consensus)
    source = levels.get("guides" if roles.guide is not None else "wells")
    if gene and source is not None:
        named_profiles = source[named_rows(source, gene[0])]
        levels["genes"] = _combined(named_profiles, gene, consensus)
    return {name: frame for name, frame in levels.items() if len(frame)}


def object_levels(
    keys: pd.DataFrame, roles: Roles, passed: NDArray[np.bool_], record: Record | None
) -> dict[str, Level]:
    """Groups that objects themselves are aggregated to; the other levels are made of these."""

    def level(by: Sequence[str], rows: NDArray[np.bool_], weights: str | None = None) -> Level:
        groups = group_rows(keys, by).only(rows).filled()
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


def _note_unnamed(record: Record | None, column: str, count: int) -> None:
    if record is not None and count:
        record.note(STEP, "skipped", column, "objects without a name in it", count)
