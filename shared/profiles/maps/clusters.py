"""Clusters of profiles: communities in the graph of nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.similarity import Metric, content_order, find_neighbours
from poolvox.shared.profiles.tables.columns import feature_matrix

__all__ = ["Graph", "cluster", "neighbour_graph"]

Ints = NDArray[np.int64]
Method = Literal["auto", "leiden", "louvain"]

# What a profile without neighbours is labelled.
ALONE: Final = -1


@dataclass(frozen=True, slots=True)
class Graph:
    """An undirected graph.

    Parameters
    ----------
    edges : (E, 2) pairs of nodes, the smaller one first, sorted
    weights : (E,) of each
    """

    edges: Ints
    weights: NDArray[np.float64]


def neighbour_graph(
    values: NDArray[np.floating], neighbours: int, metric: Metric = "cosine"
) -> Graph:
    """Join each of (N, F) profiles to its nearest neighbours.

    An edge weighs what its ends share: the Jaccard index of their neighbourhoods, themselves
    included (Levine et al. 2015, doi:10.1016/j.cell.2015.05.047).
    """
    from scipy.sparse import csr_matrix

    found = find_neighbours(values, neighbours, metric).index
    count = len(found)
    here, rank = np.nonzero(found >= 0)
    ends = np.concatenate([found[here, rank], np.arange(count)])
    starts = np.concatenate([here, np.arange(count)])
    near = csr_matrix((np.ones(len(ends)), (starts, ends)), shape=(count, count))
    joined = ((near + near.T) > 0).multiply(near @ near.T).tocoo()
    keep = (joined.row < joined.col) & (joined.data > 0)
    row, col, shared = joined.row[keep], joined.col[keep], joined.data[keep]
    size = np.asarray(near.sum(axis=1)).ravel()
    weights = shared / (size[row] + size[col] - shared)
    order = np.lexsort([col, row])
    return Graph(np.column_stack([row, col])[order].astype(np.int64), weights[order])


def cluster(
    frame: pd.DataFrame,
    *,
    features: Sequence[str] | None = None,
    neighbours: int = 15,
    resolution: float = 1.0,
    seed: int = 0,
    method: Method = "auto",
) -> pd.Series:
    """Find groups of profiles that are each other's neighbours.

    Parameters
    ----------
    neighbours : how many each profile is joined to, by cosine
    resolution : larger gives more and smaller clusters
    seed : same seed, same clusters, in whatever order the rows come
    method : `leiden` (Traag et al. 2019, doi:10.1038/s41598-019-41695-z; extra `embed`), `louvain`,
        or `auto`: the first that is installed

    Returns
    -------
    `Metadata_Cluster` on the index of `frame`: 0 is the largest; -1 has no neighbours, because of
    missing values or no direction
    """
    if method not in get_args(Method):
        raise ValueError(f"no method {method!r}: expected one of {', '.join(get_args(Method))}")
    if neighbours < 1 or resolution <= 0:
        raise ValueError(
            f"neighbours and resolution are above 0, got {neighbours} and {resolution}"
        )
    values = feature_matrix(frame, features)
    order = content_order(values)
    graph = neighbour_graph(values[order], neighbours)
    leiden = method == "leiden" or (method == "auto" and find_spec("leidenalg") is not None)
    find = _leiden if leiden else _louvain
    labels = np.full(len(frame), ALONE, dtype=np.int64)
    labels[order] = _by_size(find(graph, len(frame), resolution, seed), graph)
    return pd.Series(labels, index=frame.index, name="Metadata_Cluster")


def _by_size(found: Ints, graph: Graph) -> Ints:
    """Number clusters by size, equal ones by their first member; nodes without edges are alone."""
    joined = np.zeros(len(found), dtype=bool)
    joined[graph.edges.ravel()] = True
    labels = np.full(len(found), ALONE, dtype=np.int64)
    if joined.any():
        names, first, inverse, count = np.unique(
            found[joined], return_index=True, return_inverse=True, return_counts=True
        )
        place = np.empty(len(names), dtype=np.int64)
        place[np.lexsort([first, -count])] = np.arange(len(names))
        labels[joined] = place[inverse]
    return labels


def _leiden(graph: Graph, nodes: int, resolution: float, seed: int) -> Ints:
    try:
        import igraph
        import leidenalg
    except ImportError as error:
        raise InputError(
            "Leiden's method needs the package leidenalg: pip install 'poolvox[embed]', "
            "or use louvain"
        ) from error
    partition = leidenalg.find_partition(
        igraph.Graph(nodes, graph.edges.tolist()),
        leidenalg.RBConfigurationVertexPartition,
        weights=graph.weights.tolist(),
        resolution_parameter=resolution,
        n_iterations=-1,
        seed=seed,
    )
    return np.array(partition.membership, dtype=np.int64)


def _louvain(graph: Graph, nodes: int, resolution: float, seed: int) -> Ints:
    import networkx as nx

    network: Any = nx.Graph()
    network.add_nodes_from(range(nodes))
    network.add_weighted_edges_from(
        (int(a), int(b), float(w)) for (a, b), w in zip(graph.edges, graph.weights)
    )
    labels = np.empty(nodes, dtype=np.int64)
    found = nx.community.louvain_communities(network, resolution=resolution, seed=seed)
    for number, members in enumerate(found):
        labels[list(members)] = number
    return labels
