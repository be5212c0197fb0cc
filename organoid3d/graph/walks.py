"""A graph as arrays, and what is counted by walking it: paths, triangles, cores, visits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel

__all__ = ["Links", "link"]

# Of PageRank as networkx has it: share of steps that follow an edge, precision, most rounds.
DAMPING = 0.85
PRECISION = 1e-6
ROUNDS = 100

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Links:
    """The edges of a graph, nodes numbered in ascending order of their names.

    Attributes
    ----------
    nodes : names of the nodes
    pairs : (E, 2) numbers of the ends of every edge
    """

    nodes: list[int]
    pairs: Ints

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.nodes)

    @cached_property
    def _rows(self) -> tuple[Ints, Ints]:
        """Where the neighbours of each node begin, and the neighbours, ascending."""
        source = np.concatenate([self.pairs[:, 0], self.pairs[:, 1]])
        target = np.concatenate([self.pairs[:, 1], self.pairs[:, 0]])
        order = np.lexsort((target, source))
        return np.searchsorted(source[order], np.arange(len(self) + 1)), target[order]

    @cached_property
    def degree(self) -> Ints:
        """(N,) number of neighbours."""
        return np.diff(self._rows[0])

    @cached_property
    def triangles(self) -> Floats:
        """(N,) pairs of neighbours that are neighbours."""
        return _triangles(*self._rows)

    @cached_property
    def clustering(self) -> Floats:
        """(N,) share of the pairs of neighbours that are neighbours; 0 where there is no pair."""
        possible = self.degree * (self.degree - 1) / 2
        return np.divide(self.triangles, possible, out=np.zeros(len(self)), where=possible > 0)

    @cached_property
    def cores(self) -> Floats:
        """(N,) largest k of a k-core that holds the node."""
        return _cores(*self._rows, self.degree.copy())

    @cached_property
    def ranks(self) -> Floats:
        """(N,) PageRank."""
        count, neighbours = len(self), self._rows[1]
        source = np.repeat(np.arange(count), self.degree)
        rank = np.full(count, 1 / max(count, 1))
        for _ in range(ROUNDS):
            before = rank
            given = before / np.maximum(self.degree, 1)
            rank = np.bincount(neighbours, given[source], count) * DAMPING
            rank += (DAMPING * before[self.degree == 0].sum() + 1 - DAMPING) / max(count, 1)
            if np.abs(rank - before).sum() < count * PRECISION:
                break
        return rank

    @cached_property
    def paths(self) -> Floats:
        """(N, 5) closeness, betweenness, eccentricity, nodes reached and steps to all of them."""
        return _walk(*self._rows)

    @cached_property
    def parts(self) -> Ints:
        """(N,) part of the graph each node is in, by its lowest node."""
        return _parts(*self._rows)


def link(graph: nx.Graph) -> Links:
    """The edges of a graph as arrays."""
    nodes = sorted(graph)
    number = {node: row for row, node in enumerate(nodes)}
    pairs = [(number[a], number[b]) for a, b in graph.edges()]
    return Links(nodes, np.array(pairs, np.intp).reshape(-1, 2))


@kernel
def _walk(begins: Ints, neighbours: Ints) -> Floats:
    """Walk from every node, breadth first, and count the shortest paths.

    Betweenness by accumulation, DOI 10.1080/0022250X.2001.9990249.

    The neighbours of node i are `neighbours[begins[i]:begins[i + 1]]`. What is counted of a node
    is within its part of the graph.
    """
    count = len(begins) - 1
    found = np.zeros((count, 5))
    scale = 1 / ((count - 1) * (count - 2)) if count > 2 else 0.0
    steps, queue = np.empty(count, np.int64), np.empty(count, np.int64)
    paths, depends = np.empty(count), np.empty(count)
    for origin in range(count):
        steps[:], paths[:], depends[:] = -1, 0.0, 0.0
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
        found[origin, 2], found[origin, 3] = steps[queue[tail - 1]], tail
        found[origin, 4] = total
        for place in range(tail - 1, 0, -1):
            node = queue[place]
            share = (1 + depends[node]) / paths[node]
            for k in range(begins[node], begins[node + 1]):
                other = neighbours[k]
                if steps[other] == steps[node] - 1:
                    depends[other] += paths[other] * share
            found[node, 1] += depends[node] * scale
    return found


@kernel
def _triangles(begins: Ints, neighbours: Ints) -> Floats:
    found = np.zeros(len(begins) - 1)
    for node in range(len(found)):
        for k in range(begins[node], begins[node + 1]):
            other = neighbours[k]
            a, b = k + 1, begins[other]
            while a < begins[node + 1] and b < begins[other + 1]:
                if neighbours[a] == neighbours[b]:
                    found[node] += 1
                if neighbours[a] < neighbours[b]:
                    a += 1
                else:
                    b += 1
    return found


@kernel
def _cores(begins: Ints, neighbours: Ints, degree: Ints) -> Floats:
    """Take away the node of least degree, again and again (doi:10.48550/arXiv.cs/0310049)."""
    cores, gone = np.zeros(len(degree)), np.zeros(len(degree), np.bool_)
    level = 0
    queue = np.empty(len(degree), np.int64)
    left = len(degree)
    while left:
        size = 0
        for node in range(len(degree)):
            if not gone[node] and degree[node] <= level:
                queue[size], gone[node] = node, True
                size += 1
        while size:
            size -= 1
            node = queue[size]
            cores[node] = level
            left -= 1
            for k in range(begins[node], begins[node + 1]):
                other = neighbours[k]
                if not gone[other]:
                    degree[other] -= 1
                    if degree[other] <= level:
                        queue[size], gone[other] = other, True
                        size += 1
        level += 1
    return cores


@kernel
def _parts(begins: Ints, neighbours: Ints) -> Ints:
    part = np.full(len(begins) - 1, -1, np.intp)
    stack = np.empty(len(part), np.int64)
    for seed in range(len(part)):
        if part[seed] >= 0:
            continue
        part[seed], stack[0], size = seed, seed, 1
        while size:
            size -= 1
            node = stack[size]
            for k in range(begins[node], begins[node + 1]):
                other = neighbours[k]
                if part[other] < 0:
                    part[other], stack[size] = seed, other
                    size += 1
    return part
