"""What profiles tell: hits, look-alikes, a map with clusters, and what clusters stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.similarity import neighbours
from poolvox.shared.profiles.config import NONE, ProfilesConfig
from poolvox.shared.profiles.hits.hits import Comparison, find_hits
from poolvox.shared.profiles.learn.hybrid import ablate
from poolvox.shared.profiles.normalise.selection import spread_rows
from poolvox.shared.profiles.steps.controls import Controls
from poolvox.shared.profiles.steps.levels import Roles, named_rows
from poolvox.shared.profiles.steps.streaming import Work
from poolvox.shared.profiles.tables.columns import feature_columns, is_learned, with_features
from poolvox.shared.profiles.tables.datasets import ObjectTables
from poolvox.shared.profiles.tables.groups import group_rows
from poolvox.shared.profiles.tables.record import Record

__all__ = ["Findings", "find_all", "read_sets", "sample_objects"]

# Columns that hold doses or times, if they are there.
DOSES: Final = ("Metadata_Dose", "Metadata_Concentration", "Metadata_Time")
# A map of fewer genes than that shows nothing.
FEWEST_MAPPED: Final = 3


@dataclass
class Findings:
    """Tables by name, numbers for the summary, and what could not be done and why."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def attempt(self, what: str, make: Callable[[], None], record: Record) -> None:
        """Do one thing; a table that does not allow it is told, and the rest goes on."""
        try:
            make()
        except InputError as error:
            self.skipped.append(f"{what}: {error}")
            record.note(what, "skipped", what, str(error))


def find_all(
    tables: ObjectTables, levels: dict[str, pd.DataFrame], roles: Roles, work: Work
) -> Findings:
    """Find hits among objects, and look-alikes and clusters among genes.

    Parameters
    ----------
    tables : normalised objects
    levels : profiles by level
    """
    found, config, record = Findings(), work.config, work.record
    if config.hits.enabled and roles.gene is not None:
        finder = _Hits(tables, roles, work)
        found.attempt("hits", lambda: finder.add(found), record)
    genes = levels.get("genes")
    if genes is not None and roles.gene is not None:
        name = roles.gene
        found.attempt("similarity", lambda: _add_similarity(found, genes, name, config), record)
        placed = _mapped(levels, genes)
        found.attempt("map", lambda: _add_map(found, placed, name, config), record)
    source = levels.get("guides", levels.get("wells"))
    if source is not None and any(is_learned(str(name)) for name in source):
        found.attempt(
            "ablation", lambda: _add_ablation(found, source, roles, work.controls), record
        )
    return found


def sample_objects(
    keys: pd.DataFrame,
    by: str,
    controls: NDArray[np.bool_],
    passed: NDArray[np.bool_],
    *,
    cells: int,
    most_controls: int,
) -> NDArray[np.int64]:
    """Choose objects to look at: at most so many of each value of `by`, and of the controls.

    They are spread evenly over the rows of each, so the same ones are chosen every time.
    """
    named = passed & named_rows(keys, by)
    groups = group_rows(keys, by).only(named & ~controls)
    parts = np.split(groups.order, groups.bounds[1:-1])
    chosen = [spread_rows(rows, cells) for rows in parts]
    own = np.flatnonzero(passed & controls).astype(np.int64)
    return np.sort(np.concatenate([*chosen, spread_rows(own, most_controls)]))


@dataclass(frozen=True)
class _Hits:
    tables: ObjectTables
    roles: Roles
    work: Work

    def add(self, found: Findings) -> None:
        """Add the hits among genes, and among guides where there are any."""
        gene, guide, options = self.roles.gene, self.roles.guide, self.work.config.hits
        if gene is None:
            return
        objects, controls = self._objects(guide or gene)
        batch = [name for name in self.work.config.correct.by if name in objects]
        dose = None if options.dose == NONE else options.dose
        if dose is None:
            found.skipped += _unasked_doses(objects[~controls], gene)
        found.skipped += _lone_batches(objects, controls, batch)
        comparison = Comparison(gene, controls, guide=guide, batch=batch, dose=dose)
        hits = find_hits(objects, comparison, seed=options.seed, fdr=options.fdr)
        found.tables["hits"] = hits
        found.facts |= {"active": int(hits["Hit_Active"].sum()), "fdr": options.fdr}
        if guide is not None:
            single = Comparison(guide, controls, batch=batch, dose=dose)
            found.tables["guide_hits"] = find_hits(
                objects, single, seed=options.seed, fdr=options.fdr
            )

    def _objects(self, unit: str) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
        work, options = self.work, self.work.config.hits
        controls = work.controls.demand(work.keys)
        rows = sample_objects(
            work.keys,
            unit,
            controls,
            work.passed,
            cells=options.cells,
            most_controls=options.controls,
        )
        counted = work.passed & named_rows(work.keys, unit)
        if len(rows) < counted.sum():
            work.record.note("hits", "changed", unit, "looked at a sample of objects", len(rows))
        values = self.tables.rows_of(rows, self.tables.features, work.memory)
        frame = work.keys.iloc[rows].reset_index(drop=True)
        return with_features(frame, self.tables.features, values), controls[rows]


def _lone_batches(
    objects: pd.DataFrame, controls: NDArray[np.bool_], batch: list[str]
) -> Iterator[str]:
    """Tell of batches without controls, if there are others."""
    groups = group_rows(objects, batch)
    for number in np.flatnonzero(groups.only(controls).sizes == 0):
        count = groups.sizes[number]
        yield f"hits: {groups.labels[number]} has no controls to compare its {count:,} objects with"


def _unasked_doses(treated: pd.DataFrame, gene: str) -> Iterator[str]:
    """Tell of doses that differ within treatments, and are tested together."""
    for name in DOSES:
        if name in treated and (treated.groupby(gene, observed=True)[name].nunique() > 1).any():
            yield f"doses: {name} differs within {gene}; `hits: {{dose: {name}}}` tests each"


def _add_ablation(
    found: Findings, profiles: pd.DataFrame, roles: Roles, controls: Controls
) -> None:
    """Compare measured and learned features, alone and together."""
    if roles.gene is None:
        raise InputError("there is no column of genes or treatments that profiles could tell")
    rows = controls.rows(profiles)
    found.tables["ablation"] = ablate(
        profiles, by=roles.gene, controls=rows if rows.any() else None
    )


def _add_similarity(
    found: Findings, genes: pd.DataFrame, name: str, config: ProfilesConfig
) -> None:
    options = config.similarity
    found.tables["similarity"] = neighbours(
        genes, name=name, metric=options.metric, count=options.count
    )


def _mapped(levels: dict[str, pd.DataFrame], genes: pd.DataFrame) -> pd.DataFrame:
    """Profiles for the map: genes or treatments or, where they are too few, organoids or wells."""
    offered = [genes, *(levels[name] for name in ("organoids", "wells") if name in levels)]
    return next((one for one in offered if len(one) >= FEWEST_MAPPED), genes)


def read_sets(config: ProfilesConfig) -> dict[str, list[str]]:
    """Gene sets of all files; what is wrong with one is told."""
    from poolvox.shared.profiles.maps.enrichment import read_gmt

    return {name: genes for path in config.gene_sets for name, genes in read_gmt(path).items()}


def _add_map(found: Findings, genes: pd.DataFrame, name: str, config: ProfilesConfig) -> None:
    from poolvox.shared.profiles.maps.clusters import cluster
    from poolvox.shared.profiles.maps.embedding import embed, map_method

    if len(genes) < FEWEST_MAPPED:
        raise InputError(f"a map needs {FEWEST_MAPPED} profiles, there are {len(genes)}")
    options = config.map
    places = embed(genes, method=options.method, seed=options.seed)
    labels = cluster(
        genes,
        neighbours=min(options.neighbours, len(genes) - 1),
        resolution=options.resolution,
        seed=options.seed,
    )
    keys = genes.drop(columns=feature_columns(genes))
    keys["Metadata_Cluster"] = labels
    found.tables["map"] = pd.concat([keys, places], axis=1)
    found.facts["map"] = map_method(options.method, len(genes))
    found.facts["clusters"] = int(labels.nunique())
    if config.gene_sets and genes[name].is_unique:
        from poolvox.shared.profiles.maps.enrichment import enrich

        clusters = pd.Series(labels.to_numpy(), index=genes[name].astype(str))
        found.tables["enrichment"] = enrich(clusters, read_sets(config))
