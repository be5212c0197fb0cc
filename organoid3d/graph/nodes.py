"""What the tissue graph tells of a single object: neighbours, density, centrality."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from poolvox.organoid3d.graph.walks import Links, link

__all__ = ["describe_nodes", "neighbour_statistics"]

# Local density is that of the ball which reaches to this neighbour.
DENSITY_NEIGHBOURS = 6


def describe_nodes(graph: nx.Graph) -> pd.DataFrame:
    """Measure every node of a tissue graph.

    Parameters
    ----------
    graph : as `tissue_graph` makes it: nodes with `z_um, y_um, x_um, contact_um2, free_um2`, edges
        with `distance_um`

    Returns
    -------
    One row per node, in ascending order of the labels. Distances are in micrometres; closeness,
    betweenness and eccentricity count steps, not micrometres. A node without neighbours has
    degree 0, and NaN where there is nothing to measure.
    """
    links = link(graph)
    index = pd.Index(links.nodes, name="label")
    columns = {
        "Degree": links.degree,
        "Clustering": links.clustering,
        "PageRank": links.ranks,
        "CoreNumber": links.cores,
        **dict(zip(("Closeness", "Betweenness", "Eccentricity"), links.paths.T)),
    }
    lengths = np.array([data["distance_um"] for _, _, data in graph.edges(data=True)], float)
    columns |= _distances(links, lengths)
    columns["LocalDensity_per_um3"] = _local_density(positions(graph, links.nodes))
    return pd.DataFrame(columns, index=index, dtype=float).join(_surfaces(graph, links.nodes))


def neighbour_statistics(graph: nx.Graph, values: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation, over the neighbours of each node, of each column of `values`.

    `values` is indexed by label; NaN are left out. A node without neighbours has NaN.
    """
    links = link(graph)
    nodes, (first, second) = links.nodes, links.pairs.T
    data = values.reindex(nodes).to_numpy(float)
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


def _summed(
    values: NDArray[np.generic], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    total = np.zeros(values.shape)
    np.add.at(total, first, values[second])
    np.add.at(total, second, values[first])
    return total


def _distances(links: Links, lengths: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Mean, least and largest length, and spread, of the edges of each node."""
    count = links.degree.astype(float)
    first, second = links.pairs.T
    total, low, high = np.zeros(len(links)), np.full(len(links), np.inf), np.zeros(len(links))
    for ends in (first, second):
        np.add.at(total, ends, lengths)
        np.minimum.at(low, ends, lengths)
        np.maximum.at(high, ends, lengths)
    none = count == 0
    with np.errstate(invalid="ignore"):
        mean = total / count
        square = np.zeros(len(links))
        for ends in (first, second):
            np.add.at(square, ends, (lengths - mean[ends]) ** 2)
        spread = np.sqrt(square / count)
    low[none] = high[none] = np.nan
    names = [f"NeighbourDistance_{kind}_um" for kind in ("Mean", "Min", "Max", "SD")]
    return dict(zip(names, (mean, low, high, spread)))


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
