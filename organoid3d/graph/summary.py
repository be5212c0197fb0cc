"""What a tissue graph tells of a whole organoid."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path

from poolvox.organoid3d.graph.nodes import positions
from poolvox.organoid3d.graph.spatial import clark_evans, ripley_l

__all__ = ["describe_graph"]

# Radii of Ripley's L in mean distances between neighbours: within one, and two to three layers.
RIPLEY_STEPS = (1.0, 2.0, 3.0)
# Communities of so small a graph say nothing.
FEWEST_FOR_COMMUNITIES = 3


def describe_graph(
    graph: nx.Graph,
    *,
    mask: NDArray[np.bool_] | None = None,
    spacing: Sequence[float] | None = None,
) -> dict[str, float]:
    """Measure a tissue graph as a whole.

    Parameters
    ----------
    graph : as `tissue_graph` makes it
    mask, spacing : (Z, Y, X) tissue and its voxel in micrometres, for the spatial statistics

    Returns
    -------
    Numbers by name; NaN where there is nothing to measure. Path lengths and the algebraic
    connectivity are those of the largest component.
    """
    degree = np.array([d for _, d in sorted(graph.degree())], float)
    nodes, edges = len(graph), graph.number_of_edges()
    components = sorted(nx.connected_components(graph), key=lambda c: (-len(c), min(c)))
    giant = graph.subgraph(components[0]) if components else graph
    mean = degree.mean() if nodes else np.nan
    values = {
        "Nodes": nodes,
        "Edges": edges,
        "Components": len(components),
        "GiantFraction": len(giant) / nodes if nodes else np.nan,
        "Density": nx.density(graph) if nodes > 1 else np.nan,
        "DegreeMean": mean,
        "DegreeCV": degree.std() / mean if nodes and mean else np.nan,
        "Clustering": nx.average_clustering(graph) if nodes else np.nan,
        "Transitivity": nx.transitivity(graph) if edges else np.nan,
        "Assortativity": _assortativity(graph),
        "Modularity": _modularity(graph),
        **_paths(giant),
        "AlgebraicConnectivity": _algebraic_connectivity(giant),
    }
    if mask is not None and spacing is not None:
        values |= _spatial(graph, mask, spacing)
    return {name: float(value) for name, value in values.items()}


def _assortativity(graph: nx.Graph) -> float:
    """Correlation of the degrees at both ends of an edge; NaN where all are the same."""
    ends = np.array([(graph.degree(a), graph.degree(b)) for a, b in graph.edges()], float)
    if not len(ends):
        return float("nan")
    both = np.concatenate([ends, ends[:, ::-1]])
    if both[:, 0].std() == 0:
        return float("nan")
    return float(np.corrcoef(both.T)[0, 1])


def _modularity(graph: nx.Graph) -> float:
    if len(graph) < FEWEST_FOR_COMMUNITIES or not graph.number_of_edges():
        return float("nan")
    # Louvain visits nodes in the graph's order: sort them, so that the order of edges is no matter.
    ordered = nx.Graph()
    ordered.add_nodes_from(sorted(graph))
    ordered.add_edges_from(sorted(tuple(sorted(edge)) for edge in graph.edges()))
    parts = nx.community.louvain_communities(ordered, weight=None, seed=0)
    return float(nx.community.modularity(ordered, parts, weight=None))


def _paths(graph: nx.Graph) -> dict[str, float]:
    if len(graph) < 2:
        return {"Diameter": float("nan"), "MeanPath": float("nan")}
    steps = shortest_path(nx.to_scipy_sparse_array(graph, weight=None), unweighted=True)
    apart = steps[np.triu_indices(len(graph), 1)]
    return {"Diameter": float(apart.max()), "MeanPath": float(apart.mean())}


def _algebraic_connectivity(graph: nx.Graph) -> float:
    """Second smallest eigenvalue of the Laplacian."""
    if len(graph) < 2:
        return float("nan")
    laplacian = nx.laplacian_matrix(graph, weight=None).toarray().astype(float)
    return float(np.linalg.eigvalsh(laplacian)[1])


def _spatial(
    graph: nx.Graph, mask: NDArray[np.bool_], spacing: Sequence[float]
) -> dict[str, float]:
    points = positions(graph, sorted(graph))
    volume = float(mask.sum()) * float(np.prod(spacing))
    values = {"ClarkEvans": clark_evans(points, volume)}
    names = [f"RipleyL_{step:g}" for step in RIPLEY_STEPS]
    lengths = [edge["distance_um"] for _, _, edge in graph.edges(data=True)]
    if not lengths:
        return values | dict.fromkeys(names, float("nan"))
    unit = float(np.mean(lengths))
    excess = ripley_l(points, [step * unit for step in RIPLEY_STEPS], mask=mask, spacing=spacing)
    # In units of the neighbour distance, so that it does not change with the size of the cells.
    return values | dict(zip(names, (excess / unit).tolist(), strict=True))
