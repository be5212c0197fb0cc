"""What the tissue graph tells of a single object: neighbours, density, centrality."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["describe_nodes", "neighbour_statistics"]

# Local density is that of the ball which reaches to this neighbour.
DENSITY_NEIGHBOURS = 6


def describe_nodes(graph: nx.Graph) -> pd.DataFrame:
    """Measure every node of a tissue graph.

    Parameters
    ----------
    graph : as `tissue_graph` makes it: nodes with `z_um, y_um, x_um` (and `contact_um2, free_um2`
        where edges are contacts), edges with `distance_um`

    Returns
    -------
    One row per node, in ascending order of the labels. Distances are in micrometres; closeness,
    betweenness and eccentricity count steps, not micrometres. A node without neighbours has
    degree 0, and NaN where there is nothing to measure.
    """
    nodes = sorted(graph)
    columns = {
        "Degree": dict(graph.degree()),
        "Clustering": nx.clustering(graph),
        "PageRank": nx.pagerank(graph) if len(graph) else {},
        "CoreNumber": nx.core_number(graph),
    }
    table = pd.DataFrame(
        {name: [values[node] for node in nodes] for name, values in columns.items()},
        index=pd.Index(nodes, name="label"),
        dtype=float,
    )
    table = table.join(_centrality(graph, nodes)).join(_distances(graph, nodes))
    table["LocalDensity_per_um3"] = _local_density(positions(graph, nodes))
    return table.join(_surfaces(graph, nodes))


def neighbour_statistics(graph: nx.Graph, values: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation, over the neighbours of each node, of each column of `values`.

    `values` is indexed by label; NaN are left out. A node without neighbours has NaN.
    """
    nodes = sorted(graph)
    data = values.reindex(nodes).to_numpy(float)
    first, second = _ends(graph, nodes)
    known = np.isfinite(data)
    filled = np.where(known, data, 0.0)
    count, total, square = (_summed(part, first, second) for part in (known, filled, filled**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        spread = np.sqrt(np.maximum(square / count - mean**2, 0.0))
    table = {}
    for k, name in enumerate(values.columns):
        table[f"NeighbourMean_{name}"] = mean[:, k]
        table[f"NeighbourSD_{name}"] = spread[:, k]
    return pd.DataFrame(table, index=pd.Index(nodes, name="label"))


def positions(graph: nx.Graph, nodes: list[int]) -> NDArray[np.float64]:
    """Centroids (N, 3) in micrometres."""
    rows = [[graph.nodes[node][axis] for axis in ("z_um", "y_um", "x_um")] for node in nodes]
    return np.array(rows, float).reshape(-1, 3)


def _ends(graph: nx.Graph, nodes: list[int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row numbers of both ends of every edge."""
    number = {node: row for row, node in enumerate(nodes)}
    ends = np.array([(number[a], number[b]) for a, b in graph.edges()], np.intp).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


def _summed(
    values: NDArray[np.generic], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    total = np.zeros(values.shape)
    np.add.at(total, first, values[second])
    np.add.at(total, second, values[first])
    return total


def _centrality(graph: nx.Graph, nodes: list[int]) -> pd.DataFrame:
    """Closeness, betweenness and eccentricity, as networkx defines them, from one walk per node."""
    first, second = _ends(graph, nodes)
    source = np.concatenate([first, second])
    target = np.concatenate([second, first])
    order = np.lexsort((target, source))
    begins = np.searchsorted(source[order], np.arange(len(nodes) + 1))
    found = _walk(begins, target[order])
    names = ["Closeness", "Betweenness", "Eccentricity"]
    return pd.DataFrame(found, index=pd.Index(nodes, name="label"), columns=names)


@njit(cache=True)
def _walk(begins: NDArray[np.intp], neighbours: NDArray[np.intp]) -> NDArray[np.float64]:
    """Walk from every node, breadth first, and count the shortest paths.

    Betweenness by accumulation, DOI 10.1080/0022250X.2001.9990249.

    The neighbours of node i are `neighbours[begins[i]:begins[i + 1]]`. Gives closeness,
    betweenness and eccentricity per node; the latter within its component.
    """
    count = len(begins) - 1
    found = np.zeros((count, 3))
    scale = 1 / ((count - 1) * (count - 2)) if count > 2 else 0.0
    for origin in range(count):
        steps = np.full(count, -1, np.int64)
        paths = np.zeros(count)
        queue = np.empty(count, np.int64)
        steps[origin], paths[origin], queue[0] = 0, 1.0, origin
        head, tail, total = 0, 1, 0
        while head < tail:
            node = queue[head]
            head += 1
            total += steps[node]
            for k in range(begins[node], begins[node + 1]):
                other = neighbours[k]
                if steps[other] < 0:
                    steps[other] = steps[node] + 1
                    queue[tail] = other
                    tail += 1
                if steps[other] == steps[node] + 1:
                    paths[other] += paths[node]
        if total:
            found[origin, 0] = (tail - 1) / total * (tail - 1) / (count - 1)
        found[origin, 2] = steps[queue[tail - 1]]
        depends = np.zeros(count)
        for place in range(tail - 1, 0, -1):
            node = queue[place]
            for k in range(begins[node], begins[node + 1]):
                other = neighbours[k]
                if steps[other] == steps[node] - 1:
                    depends[other] += paths[other] / paths[node] * (1 + depends[node])
            found[node, 1] += depends[node] * scale
    return found


def _distances(graph: nx.Graph, nodes: list[int]) -> pd.DataFrame:
    rows = []
    for node in nodes:
        lengths = np.array([edge["distance_um"] for edge in graph.adj[node].values()])
        empty = not len(lengths)
        rows.append(
            [np.nan] * 4 if empty else [lengths.mean(), lengths.min(), lengths.max(), lengths.std()]
        )
    names = [f"NeighbourDistance_{kind}_um" for kind in ("Mean", "Min", "Max", "SD")]
    index = pd.Index(nodes, name="label")
    return pd.DataFrame(np.reshape(rows, (-1, 4)), index=index, columns=names, dtype=float)


def _local_density(points: NDArray[np.float64]) -> NDArray[np.float64]:
    count = min(DENSITY_NEIGHBOURS, len(points) - 1)
    if count < 1:
        return np.full(len(points), np.nan)
    reach = cKDTree(points).query(points, count + 1)[0][:, -1]
    with np.errstate(divide="ignore"):
        density = count / (4 / 3 * np.pi * reach**3)
    return np.where(np.isfinite(density), density, np.nan)


def _surfaces(graph: nx.Graph, nodes: list[int]) -> pd.DataFrame:
    """Share of the surface that touches others, and that is free."""
    data = graph.nodes
    contact = np.array([data[node].get("contact_um2", np.nan) for node in nodes], float)
    free = np.array([data[node].get("free_um2", np.nan) for node in nodes], float)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = contact / (contact + free)
    return pd.DataFrame(
        {"ContactArea_um2": contact, "ContactFraction": share, "FreeArea_um2": free},
        index=pd.Index(nodes, name="label"),
    )
