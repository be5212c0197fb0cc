"""What a tissue graph tells of a whole organoid."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import eigsh

from poolvox.organoid3d.graph.nodes import positions
from poolvox.organoid3d.graph.spatial import clark_evans, ripley_l
from poolvox.organoid3d.graph.walks import Links, link

__all__ = ["describe_graph"]

# Radii of Ripley's L in mean distances between neighbours: within one, and two to three layers.
RIPLEY_STEPS = (1.0, 2.0, 3.0)
# Communities of so small a graph say nothing.
FEWEST_FOR_COMMUNITIES = 3
# Graphs of up to so many nodes have their eigenvalues found all at once.
FEW = 64
# How far below 0 the smallest eigenvalues are looked for.
SHIFT = 1e-3


def describe_graph(
    graph: nx.Graph,
    *,
    mask: NDArray[np.bool_] | None = None,
    spacing: Sequence[float] | None = None,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> dict[str, float]:
    """Measure a tissue graph as a whole.

    Parameters
    ----------
    graph : as `tissue_graph` makes it
    mask, spacing : (Z, Y, X) tissue and its voxel in micrometres, for the spatial statistics
    origin : where the mask's first voxel lies, micrometres

    Returns
    -------
    Numbers by name; NaN where there is nothing to measure. Path lengths and the algebraic
    connectivity are those of the largest component.
    """
    links = link(graph)
    nodes, edges, degree = len(links), len(links.pairs), links.degree
    sizes = np.bincount(links.parts, minlength=nodes)
    # Of equal parts the one with the lowest node.
    giant = np.flatnonzero(links.parts == sizes.argmax()) if nodes else np.array([], np.intp)
    mean = degree.mean() if nodes else np.nan
    triples = float((degree * (degree - 1)).sum()) / 2
    values = {
        "Nodes": nodes,
        "Edges": edges,
        "Components": int((sizes > 0).sum()),
        "GiantFraction": len(giant) / nodes if nodes else np.nan,
        "Density": 2 * edges / (nodes * (nodes - 1)) if nodes > 1 else np.nan,
        "DegreeMean": mean,
        "DegreeCV": degree.std() / mean if nodes and mean else np.nan,
        "Clustering": links.clustering.mean() if nodes else np.nan,
        "Transitivity": links.triangles.sum() / triples if triples else (0.0 if edges else np.nan),
        "Assortativity": _assortativity(links),
        "Modularity": _modularity(links),
        **_paths(links, giant),
        "AlgebraicConnectivity": _algebraic_connectivity(links, giant),
    }
    if mask is not None and spacing is not None:
        points = positions(graph, links.nodes) - np.asarray(origin)
        lengths = [edge["distance_um"] for _, _, edge in graph.edges(data=True)]
        values |= _spatial(points, lengths, mask, spacing)
    return {name: float(value) for name, value in values.items()}


def _assortativity(links: Links) -> float:
    """Correlation of the degrees at both ends of an edge; NaN where all are the same."""
    ends = links.degree[links.pairs].astype(float)
    if not len(ends):
        return float("nan")
    both = np.concatenate([ends, ends[:, ::-1]])
    if both[:, 0].std() == 0:
        return float("nan")
    return float(np.corrcoef(both.T)[0, 1])


def _modularity(links: Links) -> float:
    if len(links) < FEWEST_FOR_COMMUNITIES or not len(links.pairs):
        return float("nan")
    # Louvain visits nodes in the graph's order: sort them, so that the order of edges is no matter.
    ordered = nx.Graph()
    ordered.add_nodes_from(range(len(links)))
    ordered.add_edges_from(sorted(np.sort(links.pairs, axis=1).tolist()))
    parts = nx.community.louvain_communities(ordered, weight=None, seed=0)
    label = np.empty(len(links), np.intp)
    for number, part in enumerate(parts):
        label[list(part)] = number
    within = (label[links.pairs[:, 0]] == label[links.pairs[:, 1]]).mean()
    share = np.bincount(label, links.degree) / links.degree.sum()
    return float(within - (share**2).sum())


def _paths(links: Links, giant: NDArray[np.intp]) -> dict[str, float]:
    """Longest and mean shortest path of the giant, in steps."""
    if len(giant) < 2:
        return {"Diameter": float("nan"), "MeanPath": float("nan")}
    pairs = len(giant) * (len(giant) - 1)
    longest, steps = links.paths[giant, 2].max(), links.paths[giant, 4].sum()
    return {"Diameter": float(longest), "MeanPath": float(steps / pairs)}


def _algebraic_connectivity(links: Links, giant: NDArray[np.intp]) -> float:
    """Second smallest eigenvalue of the Laplacian of the giant."""
    count = len(giant)
    if count < 2:
        return float("nan")
    row = np.full(len(links), -1)
    row[giant] = np.arange(count)
    first, second = row[links.pairs[(row[links.pairs] >= 0).all(axis=1)]].T
    away = -np.ones(len(first))
    joined = coo_array((away, (first, second)), shape=(count, count))
    laplacian = joined + joined.T
    laplacian = (laplacian - diags_array(laplacian.sum(axis=1))).tocsc()
    if count <= FEW:
        return float(np.linalg.eigvalsh(laplacian.toarray())[1])
    # Shifted a little below 0, so that the matrix can be inverted; the start decides nothing, but
    # is given, so that the digits are the same every time.
    start = np.sin(np.arange(1.0, count + 1))
    values = eigsh(laplacian, 2, sigma=-SHIFT, v0=start, return_eigenvectors=False)
    return float(np.sort(values)[1])


def _spatial(
    points: NDArray[np.float64],
    lengths: Sequence[float],
    mask: NDArray[np.bool_],
    spacing: Sequence[float],
) -> dict[str, float]:
    volume = float(mask.sum()) * float(np.prod(spacing))
    values = {"ClarkEvans": clark_evans(points, volume)}
    names = [f"RipleyL_{step:g}" for step in RIPLEY_STEPS]
    if not lengths:
        return values | dict.fromkeys(names, float("nan"))
    unit = float(np.mean(lengths))
    excess = ripley_l(points, [step * unit for step in RIPLEY_STEPS], mask=mask, spacing=spacing)
    # In units of the neighbour distance, so that it does not change with the size of the cells.
    return values | dict(zip(names, (excess / unit).tolist(), strict=True))
