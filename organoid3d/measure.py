"""Tables of a stack: nuclei, cells, organoids, and the edges between neighbours.

The measuring engine of `poolvox.shared.features` does what concerns a single object; here come the
features that need the tissue: the graph, the place in the organoid, and the organoid's summaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

import poolvox.organoid3d.harmonics  # noqa: F401  registers its group
from poolvox.organoid3d.graph import (
    EdgeKind,
    describe_graph,
    describe_nodes,
    find_edges,
    moran_i,
    neighbour_statistics,
    tissue_graph,
)
from poolvox.organoid3d.graph.describe import EDGE_FEATURES, GRAPH_FEATURES, NODE_FEATURES
from poolvox.organoid3d.position import POSITION_FEATURES, measure_positions
from poolvox.organoid3d.shape import (
    ORGANOID_FEATURES,
    SUMMARY_FEATURES,
    Held,
    held_by,
    sum_up_contents,
    summarise_objects,
)
from poolvox.organoid3d.tissue import Body, Tissue
from poolvox.shared.features import (
    Feature,
    Group,
    Objects,
    choose_groups,
    feature_dictionary,
    find_objects,
    get_group,
    measure_objects,
)
from poolvox.shared.features.choice import name_of
from poolvox.shared.features.texture import TextureOptions

__all__ = [
    "DEFAULT_GROUPS",
    "TISSUE_GROUPS",
    "MeasureSettings",
    "describe_features",
    "describe_neighbours",
    "measure_nuclei",
    "measure_organoids",
    "name_edges",
    "sum_up_organoids",
    "tabulate_edges",
]

# Groups that need the tissue, beside those of the measuring engine.
TISSUE_GROUPS = ("graph", "position")
DEFAULT_GROUPS = (
    *("shape", "harmonics", "intensity", "radial", "texture", "colocalisation"),
    *TISSUE_GROUPS,
)
# Groups of the engine that say something of a whole organoid.
ORGANOID_GROUPS = ("shape", "intensity", "harmonics")
# Texture of nuclei and cells in tissue: one distance, coarse enough for the z step of most stacks.
TISSUE_TEXTURE = TextureOptions(distances_um=(2.0,))
# What the neighbours of a nucleus are asked for, and how alike they are over the organoid.
NEIGHBOUR_FEATURES = ("Shape_Volume_um3", "Shape_Sphericity", "Intensity_Mean")


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """What is measured, and who counts as a neighbour.

    Attributes
    ----------
    groups : names of groups, of the engine or `graph` and `position`; those of the engine with
        options or not, see `poolvox.shared.features.choose_groups`
    edges : how neighbours are found, see `find_edges`
    reach : micrometres that nuclei grow before contacts are looked for
    of_neighbours : features, without compartment, by their name or how it begins, of which the mean
        and spread over the neighbours of each object, and Moran's I, are measured
    options : options of groups, such as `TextureOptions()`
    """

    groups: tuple[str, ...] = DEFAULT_GROUPS
    edges: EdgeKind = "delaunay"
    reach: float = 0.0
    of_neighbours: tuple[str, ...] = NEIGHBOUR_FEATURES
    options: tuple[Any, ...] = field(default=())

    def engine_options(self) -> tuple[Any, ...]:
        """Options of the engine's groups; texture at one distance unless others are given.

        Three distances would be two thirds of all columns, of nuclei and of their summaries.
        """
        given = any(isinstance(option, TextureOptions) for option in self.options)
        if given or "texture" not in map(name_of, self.groups):
            return self.options
        return (*self.options, TISSUE_TEXTURE)

    def split(self) -> tuple[list[str], set[str]]:
        """Groups of the engine, and those that need the tissue."""
        engine = [choice for choice in self.groups if choice not in TISSUE_GROUPS]
        return engine, set(self.groups) & set(TISSUE_GROUPS)

    def engine_groups(self) -> list[Group]:
        """Groups of the engine with their options; unknown ones are refused."""
        return choose_groups(self.split()[0], 3, self.engine_options())

    def organoid_groups(self) -> list[Group]:
        """Groups that say something of a whole organoid, with the options of the nuclei's."""
        chosen = {group.key: group for group in self.engine_groups()}
        return [chosen.get(name) or get_group(name) for name in ORGANOID_GROUPS]


def measure_nuclei(
    labels: NDArray[np.integer] | Objects,
    images: Mapping[str, ArrayLike] | None = None,
    *,
    spacing: Sequence[float],
    tissue: Tissue | None = None,
    settings: MeasureSettings | None = None,
    compartment: str = "Nuclei",
) -> pd.DataFrame:
    """Measure every nucleus, or cell, of a stack.

    Parameters
    ----------
    labels : (Z, Y, X) array, 0 is background; or its objects, which spares finding them again
    images : channels by name, each (Z, Y, X)
    spacing : (z, y, x) in micrometres
    tissue : organoids, lumens and cells that the nuclei lie in, for positions
    settings : what to measure
    compartment : first part of the names of the columns

    Returns
    -------
    One row per label, ascending: `Metadata_Label`, positions, and the features.

    Examples
    --------
    >>> labels = np.zeros((8, 12, 12), int)
    >>> labels[2:6, 3:9, 3:9] = 1
    >>> table = measure_nuclei(labels, spacing=(2.0, 0.5, 0.5))
    >>> float(table["Nuclei_Shape_Volume_um3"][0])
    72.0
    """
    settings = settings or MeasureSettings()
    special = settings.split()[1]
    objects = find_objects(labels, spacing=spacing)
    groups = settings.engine_groups()
    table = measure_objects(objects, images or {}, groups, compartment=compartment)
    index = pd.Index(table["Metadata_Label"], name="label")
    parts = [table.set_index(index)]
    if "graph" in special:
        mask = tissue.solid if tissue is not None else None
        graph = tissue_graph(
            objects, spacing=spacing, kind=settings.edges, reach=settings.reach, mask=mask
        )
        parts.append(describe_neighbours(graph, parts[0], compartment, settings))
    if "position" in special and tissue is not None:
        found = measure_positions(objects, tissue, spacing=spacing)
        parts.append(found.add_prefix(f"{compartment}_Position_"))
    return pd.concat(parts, axis=1).reset_index(drop=True)


def measure_organoids(
    nuclei: NDArray[np.integer] | Objects,
    tissue: Tissue,
    table: pd.DataFrame,
    images: Mapping[str, ArrayLike] | None = None,
    *,
    spacing: Sequence[float],
    settings: MeasureSettings | None = None,
) -> pd.DataFrame:
    """Measure every organoid of a stack: its form, what it holds, its graph, its nuclei.

    Parameters
    ----------
    nuclei : (Z, Y, X) labels, or their objects
    tissue : organoids, lumens filled, and lumens
    table : what `measure_nuclei` gave for the nuclei
    images, spacing, settings : as for the nuclei
    """
    settings = settings or MeasureSettings()
    objects = find_objects(nuclei, spacing=spacing)
    graph = None
    if "graph" in settings.split()[1]:
        graph = tissue_graph(
            objects, spacing=spacing, kind=settings.edges, reach=settings.reach, mask=tissue.solid
        )
    held = held_by(objects, tissue, spacing=spacing)
    return sum_up_organoids(held, tissue, table, graph, images, spacing=spacing, settings=settings)


def sum_up_organoids(
    held: Held,
    tissue: Tissue,
    table: pd.DataFrame,
    graph: nx.Graph | None,
    images: Mapping[str, ArrayLike] | None = None,
    *,
    spacing: Sequence[float],
    settings: MeasureSettings,
) -> pd.DataFrame:
    """As `measure_organoids`, of nuclei that were measured before.

    Parameters
    ----------
    held : who holds each nucleus of `table`
    graph : of the nuclei; None where it is not wanted
    spacing : of the tissue and the images; the nuclei may have been measured on finer voxels
    """
    contents = sum_up_contents(held, tissue, spacing=spacing).add_prefix("Organoids_")
    features = table[[name for name in table if not str(name).startswith("Metadata_")]]
    depth = table.get("Nuclei_Position_DepthRelative", pd.Series(np.nan, index=table.index))
    parent = pd.Series(held.parent, index=table.index)
    parts: list[pd.DataFrame] = [contents]
    if len(table) and (parent > 0).any():
        parts.append(summarise_objects(features, parent, depth))
    if graph is not None:
        asked = _asked(table.set_index("Metadata_Label"), "Nuclei", settings)
        parts.append(_graphs(graph, held, tissue, asked, spacing))
    whole = _own_features(tissue, images or {}, spacing, settings.organoid_groups())
    return pd.concat([whole, *parts], axis=1).reset_index(drop=True)


def describe_neighbours(
    graph: nx.Graph, table: pd.DataFrame, compartment: str, settings: MeasureSettings
) -> pd.DataFrame:
    """Columns of the graph, by label; `table` has the features that neighbours are asked for."""
    asked = _asked(table, compartment, settings)
    found = describe_nodes(graph).join(neighbour_statistics(graph, asked))
    return found.add_prefix(f"{compartment}_Graph_")


def _graphs(
    graph: nx.Graph, held: Held, tissue: Tissue, asked: pd.DataFrame, spacing: Sequence[float]
) -> pd.DataFrame:
    """The tissue graph of every organoid in numbers; `asked` is indexed by label, as `held` is."""
    rows = {}
    for body in tissue.bodies(spacing):
        own = asked.index[held.parent == body.label].tolist()
        part = graph if len(own) == len(graph) else graph.subgraph(own).copy()
        rows[body.label] = _describe(part, body, asked)
    return (
        pd.DataFrame.from_dict(rows, orient="index")
        .rename_axis("label")
        .add_prefix("Organoids_Graph_")
    )


def _own_features(
    tissue: Tissue,
    images: Mapping[str, ArrayLike],
    spacing: Sequence[float],
    groups: Iterable[Group],
) -> pd.DataFrame:
    """What the engine measures of the organoids; their fields are given back before."""
    tissue.share_depth(spacing)
    organoids = tissue.objects(spacing)
    tissue.release()
    whole = measure_objects(organoids, images, groups, compartment="Organoids")
    return whole.set_index(pd.Index(whole["Metadata_Label"], name="label"))


def tabulate_edges(
    labels: NDArray[np.integer] | Objects,
    *,
    spacing: Sequence[float],
    mask: NDArray[np.bool_] | NDArray[np.integer] | None = None,
    settings: MeasureSettings | None = None,
) -> pd.DataFrame:
    """The edges of the tissue graph as a table, one row per pair of neighbours.

    Parameters
    ----------
    mask : (Z, Y, X) tissue, lumen left out; or labels of organoids, see `find_edges`
    """
    settings = settings or MeasureSettings()
    edges = find_edges(
        labels, spacing=spacing, kind=settings.edges, reach=settings.reach, mask=mask
    )
    return name_edges(edges, settings)


def name_edges(edges: pd.DataFrame, settings: MeasureSettings) -> pd.DataFrame:
    """Edges as `find_edges` gives them, with the names of the table."""
    names = {
        "source": "Metadata_Source",
        "target": "Metadata_Target",
        "distance": "Edge_Distance_um",
        "area": "Edge_ContactArea_um2",
        "source_share": "Edge_SourceShare",
        "target_share": "Edge_TargetShare",
    }
    return edges.rename(columns=names).assign(Edge_Kind=settings.edges)


def describe_features(settings: MeasureSettings | None = None) -> pd.DataFrame:
    """The feature dictionary of all tables: name, unit, formula, reference and range.

    Names have no compartment; `{channel}` stands for a channel, and `{feature}` for a feature of
    the nuclei, whose unit it has.
    """
    settings = settings or MeasureSettings()
    special = settings.split()[1]
    engine = settings.engine_groups()
    measured = {group.key for group in engine}
    engine += [group for group in settings.organoid_groups() if group.key not in measured]
    own: list[tuple[str, Iterable[Feature]]] = [("Organoids", ORGANOID_FEATURES)]
    own += [("Organoids", SUMMARY_FEATURES), ("Edge", EDGE_FEATURES)]
    if "graph" in special:
        own += [("Graph", NODE_FEATURES), ("Organoids_Graph", GRAPH_FEATURES)]
    if "position" in special:
        own.append(("Position", POSITION_FEATURES))
    dictionary = feature_dictionary(engine, 3)
    rows = [
        (group, f"{group}_{f.name}", f.unit, f.formula, f.reference, f.range)
        for group, features in own
        for f in features
    ]
    more = pd.DataFrame(rows, columns=dictionary.columns)
    return pd.concat([dictionary, more], ignore_index=True)


def _asked(table: pd.DataFrame, compartment: str, settings: MeasureSettings) -> pd.DataFrame:
    """Columns whose neighbours' values are of interest, without the compartment in the name."""
    stem = f"{compartment}_"
    chosen = {
        str(name): str(name).removeprefix(stem)
        for name in table
        if str(name).removeprefix(stem).startswith(settings.of_neighbours)
    }
    return table[list(chosen)].rename(columns=chosen)


def _describe(graph: nx.Graph, body: Body, asked: pd.DataFrame) -> dict[str, float]:
    """The graph of one organoid, and how alike neighbours are in it."""
    mask = body.inside if body.hollow is None else body.inside & ~body.hollow
    spacing = body.spacing
    values = describe_graph(
        graph, mask=mask, spacing=spacing.tolist(), origin=(body.origin * spacing).tolist()
    )
    nodes = sorted(graph)
    for name in asked:
        held = asked[name].reindex(nodes).to_numpy(float).tolist()
        values[f"MoranI_{name}"] = moran_i(graph, dict(zip(nodes, held, strict=True)))
    return values
