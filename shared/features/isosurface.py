"""Where a field passes through zero, as closed triangles (marching cubes).

The table of cases is made, not listed: on each face of a cube the crossings are joined so that the
object keeps to the left, two opposite inside corners being kept apart, and the pieces are followed
round the cube. Two cubes see their common face alike, so the surface is closed and no vertex or
edge is used twice, whatever the field.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.features.kernels import Floats, Ints, Singles, kernel

__all__ = ["TRIANGLES", "triangulate"]

CORNERS = tuple(product((0, 1), repeat=3))
# Edges of a cube: the corner they start from, and the axis along which they run.
EDGES = tuple((c, axis) for axis in range(3) for c in CORNERS if c[axis] == 0)
MOST = 5
Mesh = tuple[Floats, Ints]


def _faces() -> list[list[tuple[int, ...]]]:
    """Corners of each face, counter-clockwise as seen from outside (axes z, y, x)."""
    faces = []
    for axis, side in product(range(3), (0, 1)):
        u, v = [other for other in range(3) if other != axis]
        square = [(0, 0), (1, 0), (1, 1), (0, 1)]
        ring = []
        for a, b in square:
            corner = [0, 0, 0]
            corner[axis], corner[u], corner[v] = side, a, b
            ring.append(tuple(corner))
        outward = np.eye(3)[axis] * (2 * side - 1)
        first, second = np.subtract(ring[1], ring[0]), np.subtract(ring[2], ring[1])
        turn = float(np.cross(first, second) @ outward)
        faces.append(ring if turn > 0 else ring[::-1])
    return faces


def _edge_between(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    axis = next(i for i in range(3) if a[i] != b[i])
    return EDGES.index((min(a, b), axis))


def _links(inside: set[tuple[int, ...]]) -> dict[int, int]:
    """Which crossing follows which on the surface of one cube."""
    links = {}
    for ring in _faces():
        for i, corner in enumerate(ring):
            # A stretch of inside corners on the ring is cut off by one piece of the surface.
            if corner not in inside or ring[i - 1] in inside:
                continue
            last = i
            while ring[(last + 1) % 4] in inside:
                last += 1
            enters = _edge_between(ring[i - 1], corner)
            leaves = _edge_between(ring[last % 4], ring[(last + 1) % 4])
            links[enters] = leaves
    return links


def _cut(ring: tuple[int, ...]) -> list[tuple[int, ...]] | None:
    """Triangles of a ring, which is not cut along a face: the next cube might cut there too."""
    if len(ring) <= 3:
        return [ring] if len(ring) == 3 else []
    for apex in range(2, len(ring)):
        sides = [(0, apex)] if apex < len(ring) - 1 else []
        sides += [(1, apex)] if apex > 2 else []
        if any(_on_one_face(ring[a], ring[b]) for a, b in sides):
            continue
        left, right = _cut(ring[1 : apex + 1]), _cut((ring[0], *ring[apex:]))
        if left is not None and right is not None:
            return [(ring[0], ring[1], ring[apex]), *left, *right]
    return None


def _on_one_face(a: int, b: int) -> bool:
    ends = []
    for corner, axis in (EDGES[a], EDGES[b]):
        ends += [corner, tuple(c + (i == axis) for i, c in enumerate(corner))]
    return any(len({end[axis] for end in ends}) == 1 for axis in range(3))


def _table() -> NDArray[np.int8]:
    """(256, MOST, 3) edges of the triangles of each case, -1 where there are no more."""
    table = np.full((256, MOST, 3), -1, np.int8)
    for case in range(256):
        links = _links({c for i, c in enumerate(CORNERS) if case >> i & 1})
        count = 0
        while links:
            ring = [next(iter(links))]
            while links[ring[-1]] != ring[0]:
                ring.append(links[ring[-1]])
            for edge in ring:
                del links[edge]
            for triangle in _cut(tuple(ring)) or ():
                table[case, count] = triangle
                count += 1
    return table


# Edges of the triangles, by the corners that are inside (bit 4 z + 2 y + x).
TRIANGLES = _table()
_STARTS = np.array([c for c, _ in EDGES], np.int64)
_AXES = np.array([axis for _, axis in EDGES], np.int64)


@kernel
def triangulate(field: Singles, table: NDArray[np.int8]) -> Mesh:
    """Vertices (V, 3) in voxels and triangles (T, 3) of where `field` (Z, Y, X) is zero.

    It is positive inside, and must not be so at its border. Seen from outside, triangles run
    counter-clockwise when the axes are taken as (z, y, x). `table` is `TRIANGLES`.
    """
    vertices, number = _vertices(field)
    depth, height, width = field.shape
    faces, count = np.empty((4 * len(vertices) + 64, 3), np.int64), 0
    for z in range(depth - 1):
        for y in range(height - 1):
            case = 0
            for x in range(width):
                # What was at x becomes x - 1: bits of even number.
                case = case >> 1 & 0x55
                case |= (field[z, y, x] > 0) << 1 | (field[z, y + 1, x] > 0) << 3
                case |= (field[z + 1, y, x] > 0) << 5 | (field[z + 1, y + 1, x] > 0) << 7
                if x == 0 or case == 0 or case == 255:
                    continue
                for triangle in table[case]:
                    if triangle[0] < 0:
                        break
                    for i in range(3):
                        edge = triangle[i]
                        dz, dy, dx = _STARTS[edge]
                        faces[count, i] = number[_AXES[edge], z + dz, y + dy, x - 1 + dx]
                    count += 1
    return vertices, faces[:count]


@kernel
def _vertices(field: Singles) -> tuple[Floats, NDArray[np.int32]]:
    """Crossings along the edges of the grid, and the number of each by axis and first voxel."""
    depth, height, width = field.shape
    number = np.empty((3, depth, height, width), np.int32)
    places, count = np.empty((1024, 3)), 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                here = field[z, y, x]
                for axis in range(3):
                    end_z, end_y, end_x = z + (axis == 0), y + (axis == 1), x + (axis == 2)
                    if end_z == depth or end_y == height or end_x == width:
                        continue
                    there = field[end_z, end_y, end_x]
                    if (here > 0) == (there > 0):
                        continue
                    if count == len(places):
                        places = np.concatenate((places, np.empty_like(places)))
                    places[count, 0], places[count, 1], places[count, 2] = z, y, x
                    places[count, axis] += np.float64(here) / (np.float64(here) - there)
                    number[axis, z, y, x] = count
                    count += 1
    return places[:count], number
