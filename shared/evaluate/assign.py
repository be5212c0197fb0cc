"""One-to-one assignment in sparse graphs: as many good pairs as possible, then the best sum.

An edge between two nodes that have no other good edge belongs to every solution. What is left
falls into small parts, and only those need the Hungarian method.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

__all__ = ["assign"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Parts with more cells than this in their cost matrix are solved by the sparse method.
MAX_DENSE = 4_000_000
# Cost of staying alone in the sparse method, which takes no zeros; far below any difference.
ALONE = 1e-12


def assign(rows: Ints, columns: Ints, scores: Floats, good: NDArray[np.bool_]) -> Ints:
    """Choose good edges that share no node: as many as possible, then of the largest score.

    Parameters
    ----------
    rows, columns : (E,) arrays, ends of the edges
    scores : (E,) array in 0 to 1; edges that are not good break ties by their score
    good : (E,) boolean array

    Returns
    -------
    (K,) array, ascending indices of the chosen edges; all of them are good

    Examples
    --------
    >>> rows, columns = np.array([0, 0, 1]), np.array([0, 1, 0])
    >>> assign(rows, columns, np.array([0.9, 0.6, 0.6]), np.ones(3, bool))
    array([1, 2])
    """
    if not good.any():
        return np.empty(0, np.int64)
    single = _alone(rows, good) & _alone(columns, good)
    taken_rows, taken_columns = rows[single], columns[single]
    free = ~np.isin(rows, taken_rows) & ~np.isin(columns, taken_columns)
    chosen = [np.flatnonzero(single)]
    edges = np.flatnonzero(free)
    if good[edges].any():
        chosen += _solve_parts(edges, rows, columns, scores, good)
    return np.sort(np.concatenate(chosen))


def _alone(nodes: Ints, good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Good edges whose end has no other good edge."""
    degree = np.bincount(nodes[good], minlength=int(nodes.max()) + 1)
    alone: NDArray[np.bool_] = good & (degree[nodes] == 1)
    return alone


def _solve_parts(
    edges: Ints, rows: Ints, columns: Ints, scores: Floats, good: NDArray[np.bool_]
) -> list[Ints]:
    _, row = np.unique(rows[edges], return_inverse=True)
    _, column = np.unique(columns[edges], return_inverse=True)
    nodes = int(row.max()) + 1 + int(column.max()) + 1
    shifted = column + int(row.max()) + 1
    graph = coo_array((np.ones(len(edges)), (row, shifted)), shape=(nodes, nodes))
    part = connected_components(graph, directed=False)[1][row]
    order = np.argsort(part, kind="stable")
    groups = np.split(edges[order], np.flatnonzero(np.diff(part[order])) + 1)
    # A tie-breaker never outweighs one more good pair.
    weight = good + scores / (2 * len(edges))
    return [_solve(group, rows, columns, weight, good) for group in groups if good[group].any()]


def _solve(group: Ints, rows: Ints, columns: Ints, weight: Floats, good: NDArray[np.bool_]) -> Ints:
    names, row = np.unique(rows[group], return_inverse=True)
    others, column = np.unique(columns[group], return_inverse=True)
    if len(names) * len(others) <= MAX_DENSE:
        costs = np.zeros((len(names), len(others)))
        edge = np.full(costs.shape, -1, np.int64)
        costs[row, column] = -weight[group]
        edge[row, column] = group
        found: Ints = edge[linear_sum_assignment(costs)]
    else:
        found = _solve_sparse(row, column, weight[group], group)
    found = found[found >= 0]
    kept: Ints = found[good[found]]
    return kept


def _solve_sparse(row: Ints, column: Ints, weight: Floats, group: Ints) -> Ints:
    """Give every row a partner of its own besides, so that a full matching exists."""
    many, wide = int(row.max()) + 1, int(column.max()) + 1
    own = np.arange(many)
    ends = (np.concatenate([row, own]), np.concatenate([column, wide + own]))
    costs = np.concatenate([-weight, np.full(many, -ALONE)])
    graph = csr_array((costs, ends), shape=(many, wide + many))
    edge = csr_array((group + 1, (row, column)), shape=(many, wide))
    first, second = min_weight_full_bipartite_matching(graph)
    real = second < wide
    found: Ints = np.asarray(edge[first[real], second[real]]).ravel().astype(np.int64) - 1
    return found
