"""The tissue graph: objects as nodes, neighbours as edges, in `networkx`."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.organoid3d.graph.contact import measure_contacts
from poolvox.organoid3d.graph.edges import EDGE_KINDS, EdgeKind, find_edges
from poolvox.organoid3d.graph.nodes import describe_nodes, neighbour_statistics
from poolvox.organoid3d.graph.spatial import clark_evans, geary_c, moran_i, ripley_l
from poolvox.organoid3d.graph.summary import describe_graph
from poolvox.shared.features import Objects, find_objects

__all__ = [
    "EDGE_KINDS",
    "EdgeKind",
    "clark_evans",
    "describe_graph",
    "describe_nodes",
    "find_edges",
    "geary_c",
    "make_graph",
    "measure_contacts",
    "moran_i",
    "neighbour_statistics",
    "ripley_l",
    "tissue_graph",
]


def tissue_graph(
    labels: NDArray[np.integer] | Objects,
    *,
    spacing: Sequence[float],
    kind: EdgeKind = "contact",
    reach: float = 0.0,
    mask: NDArray[np.bool_] | NDArray[np.integer] | None = None,
    features: pd.DataFrame | None = None,
    neighbours: int = 6,
    radius: float = 15.0,
) -> nx.Graph:
    """Make the graph of a tissue.

    Parameters
    ----------
    labels : (Z, Y, X) array of nuclei or cells, 0 is background; or its objects
    spacing : (z, y, x) in micrometres
    kind, reach, mask, neighbours, radius : which objects are neighbours, see `find_edges`
    features : columns, indexed by label, that become attributes of the nodes

    Returns
    -------
    Nodes are labels, with `z_um, y_um, x_um`, and `contact_um2, free_um2`, the surface that touches
    other objects and background; edges have `distance_um`, and `area_um2` where they are contacts.
    Nodes and edges are in ascending order.

    Examples
    --------
    >>> labels = np.zeros((6, 8, 12), int)
    >>> labels[1:5, 2:6, 2:6], labels[1:5, 2:6, 6:10] = 1, 2
    >>> sorted(tissue_graph(labels, spacing=(2.0, 1.0, 1.0)).edges())
    [(1, 2)]
    """
    options = {"reach": reach, "mask": mask, "neighbours": neighbours, "radius": radius}
    objects = find_objects(labels, spacing=spacing)
    edges = find_edges(objects, spacing=spacing, kind=kind, **options)  # type: ignore[arg-type]
    surfaces = objects.remember(
        "surfaces", lambda: measure_contacts(objects.labels, spacing=spacing).objects
    )
    graph = make_graph(objects.ids, objects.centroids * objects.spacing, edges, surfaces)
    if features is not None:
        for label, values in features.reindex(list(graph)).to_dict(orient="index").items():
            graph.nodes[label].update(values)
    return graph


def make_graph(
    ids: NDArray[np.integer],
    points: NDArray[np.float64],
    edges: pd.DataFrame,
    surfaces: pd.DataFrame,
) -> nx.Graph:
    """Make the graph of objects whose neighbours are known, as `tissue_graph` describes it.

    Parameters
    ----------
    ids, points : (N,) labels and (N, 3) centroids, micrometres
    edges : as `find_edges` gives them; those by contact have an area
    surfaces : by label, `contact` and `free`, as `measure_contacts` gives them
    """
    graph = nx.Graph()
    for label, (z, y, x) in zip(ids.tolist(), points.tolist(), strict=True):
        graph.add_node(label, z_um=z, y_um=y, x_um=x)
    ends = zip(edges["source"].tolist(), edges["target"].tolist(), strict=True)
    lengths, areas = edges["distance"].tolist(), edges["area"].tolist()
    for (source, target), length, area in zip(ends, lengths, areas, strict=True):
        graph.add_edge(source, target, distance_um=length)
        if area == area:  # NaN where they do not touch
            graph.edges[source, target]["area_um2"] = area
    for column in ("contact", "free"):
        nx.set_node_attributes(graph, surfaces[column].to_dict(), f"{column}_um2")
    return graph
