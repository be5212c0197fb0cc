"""The tables of a stack that was measured part by part: what needs all of its objects at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

from poolvox.organoid3d.graph import make_graph
from poolvox.organoid3d.graph.contact import Contacts
from poolvox.organoid3d.graph.edges import Points, join_contacts, join_points
from poolvox.organoid3d.measure import (
    MeasureSettings,
    describe_neighbours,
    name_edges,
    sum_up_organoids,
)
from poolvox.organoid3d.parts import KEPT
from poolvox.organoid3d.qc import flag_forms, flag_objects
from poolvox.organoid3d.shape import Held
from poolvox.organoid3d.spread import SpreadTissue
from poolvox.shared.features.neighbours import measure_closest

__all__ = ["Gathered", "gather_tables", "joined"]

PLACES = ["Metadata_Z_um", "Metadata_Y_um", "Metadata_X_um"]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is known of a stack besides its parts.

    Attributes
    ----------
    shape : (Z, Y, X)
    tissue : organoids and lumens
    views : channels by name on the voxels of the tissue, to measure organoids
    probability : of nuclei by label
    threshold : of the probability
    """

    shape: tuple[int, int, int]
    tissue: SpreadTissue
    views: Mapping[str, Any]
    probability: pd.Series
    threshold: float


def gather_tables(
    parts: Mapping[str, pd.DataFrame], stack: Gathered, settings: MeasureSettings
) -> dict[str, pd.DataFrame]:
    """Tables of organoids, nuclei, cells and edges, as `measure_stack` makes them.

    Parameters
    ----------
    parts : tables of `measure_part`, those of all parts together
    """
    nuclei = parts["nuclei"].sort_values("Metadata_Label", ignore_index=True)
    cells = parts["cells"].sort_values("Metadata_Label", ignore_index=True)
    kept = _kept(nuclei)
    parent = kept["Parent"].to_numpy(np.int64)
    edges, graph = _nuclear_graph(nuclei, kept, parts["nuclei_pairs"], stack, settings)
    measured = _with_graph(nuclei, graph, "Nuclei", settings)
    flags = flag_forms(
        kept,
        stack.shape,
        inside=kept["Inside"],
        probability=stack.probability,
        threshold=stack.threshold,
    )
    whole = _flagged(measured, flags)
    whole["Nuclei_Probability"] = whole["Metadata_Label"].map(stack.probability)
    own = _cells(cells, parts["cells_pairs"], stack, settings)
    for table in (whole, own):
        table.insert(1, "Metadata_OrganoidLabel", parent)
    organoids = _organoids(measured, kept, graph, stack, settings)
    return {
        "organoids": organoids,
        "nuclei": whole,
        "cells": own,
        "edges": name_edges(edges, settings),
    }


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; those without rows do not change the types of the others."""
    full = [table for table in tables if len(table)] or list(tables[:1])
    return pd.concat(full, ignore_index=True)


def _nuclear_graph(
    nuclei: pd.DataFrame,
    kept: pd.DataFrame,
    pairs: pd.DataFrame,
    stack: Gathered,
    settings: MeasureSettings,
) -> tuple[pd.DataFrame, nx.Graph]:
    # The tissue's first voxel may be larger than the stack's, and its middle lies elsewhere.
    places = nuclei[PLACES].to_numpy(float) - stack.tissue.start * stack.tissue.spacing
    ids = nuclei["Metadata_Label"].to_numpy()
    points = Points(ids, places, kept["Solid"].to_numpy(np.int64))
    if settings.edges == "contact":
        edges = join_contacts(points, _contacts(kept, pairs))
    else:
        edges = join_points(
            points, stack.tissue.tissue.solid, spacing=stack.tissue.wide, kind=settings.edges
        )
    return edges, make_graph(ids, places, edges, _surfaces(kept))


def _cells(
    cells: pd.DataFrame, pairs: pd.DataFrame, stack: Gathered, settings: MeasureSettings
) -> pd.DataFrame:
    """Cells with their neighbours, which are those they touch, and flags."""
    kept, ids = _kept(cells), cells["Metadata_Label"].to_numpy()
    points = Points(ids, cells[PLACES].to_numpy(float), np.zeros(len(cells), np.int64))
    edges = join_contacts(points, _contacts(kept, pairs))
    graph = make_graph(ids, points.places, edges, _surfaces(kept))
    measured = _with_graph(cells, graph, "Cells", replace(settings, edges="contact", reach=0.0))
    return _flagged(measured, flag_forms(kept, stack.shape))


def _with_graph(
    table: pd.DataFrame, graph: nx.Graph, compartment: str, settings: MeasureSettings
) -> pd.DataFrame:
    """Features in the order of `measure_nuclei`: of objects, of the graph, of places."""
    table = table[[name for name in table if not str(name).startswith(KEPT)]]
    table = _closest(table, compartment)
    if "graph" not in settings.split()[1]:
        return table
    table = table.set_index(pd.Index(table["Metadata_Label"], name="label"))
    found = describe_neighbours(graph, table, compartment, settings)
    last = [name for name in table if str(name).startswith(f"{compartment}_Position_")]
    parts = [table.drop(columns=last), found, table[last]]
    return pd.concat(parts, axis=1).reset_index(drop=True)


def _closest(table: pd.DataFrame, compartment: str) -> pd.DataFrame:
    """Distances to the closest objects, which may lie in other parts."""
    found = measure_closest(table[PLACES].to_numpy(float))
    names = {f"{compartment}_Neighbours_{name}": values for name, values in found.items()}
    return table.assign(**{name: values for name, values in names.items() if name in table})


def _organoids(
    nuclei: pd.DataFrame,
    kept: pd.DataFrame,
    graph: nx.Graph,
    stack: Gathered,
    settings: MeasureSettings,
) -> pd.DataFrame:
    tissue, wide = stack.tissue, stack.tissue.wide.tolist()
    held = Held(kept["Parent"].to_numpy(np.int64), kept["volume"].to_numpy(float))
    table = sum_up_organoids(
        held,
        tissue.tissue,
        nuclei,
        graph if "graph" in settings.split()[1] else None,
        stack.views,
        spacing=wide,
        settings=settings,
    )
    for axis, factor, start, step in zip(
        "ZYX", tissue.factors, tissue.start.tolist(), tissue.spacing.tolist(), strict=True
    ):
        table[f"Metadata_{axis}"] = table[f"Metadata_{axis}"] * factor + start
        table[f"Metadata_{axis}_um"] = table[f"Metadata_{axis}"] * step
    nuclei_in = table.set_index("Metadata_Label")["Organoids_Count_Nuclei"]
    flags = flag_objects(tissue.tissue.organoids, spacing=wide, sizes=False, held=nuclei_in)
    return _flagged(table, flags)


def _kept(table: pd.DataFrame) -> pd.DataFrame:
    """What is no feature, indexed by label."""
    kept = table[[name for name in table if str(name).startswith(KEPT)]]
    kept = kept.rename(columns=lambda name: str(name).removeprefix(KEPT))
    return kept.set_index(pd.Index(table["Metadata_Label"], name="label"))


def _contacts(kept: pd.DataFrame, pairs: pd.DataFrame) -> Contacts:
    pairs = pairs.sort_values(["source", "target"], ignore_index=True)
    return Contacts(pairs, kept.rename(columns={"Surface": "surface"})[["surface"]])


def _surfaces(kept: pd.DataFrame) -> pd.DataFrame:
    return kept.rename(columns={"Contact": "contact", "Free": "free"})[["contact", "free"]]


def _flagged(table: pd.DataFrame, flags: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, flags.reindex(table["Metadata_Label"]).reset_index(drop=True)], axis=1)
