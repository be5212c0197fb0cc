"""Star-convex polyhedra on a fixed set of rays: what is inside, how two overlap, how one is drawn.

A point has coefficients in the three rays round its direction. Inside is where these, each divided
by the length of its ray, do not exceed 1 together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.organoid3d.rays import Geometry, cell_of, walk

__all__ = [
    "Sizes",
    "Stars",
    "measure_stars",
    "overlap_pairs",
    "overlap_part",
    "paint_stars",
    "voxel_part",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Depths of the points by which a tetrahedron is sampled: middles of shells of equal volume.
SHELLS = np.cbrt([1 / 6, 3 / 6, 5 / 6])


@dataclass(frozen=True, slots=True)
class Stars:
    """Polyhedra, best first.

    Attributes
    ----------
    points : (N, 3) array, centres in voxels of the network
    prob : (N,) array
    dist : (N, R) array, lengths of the rays
    """

    points: F32
    prob: F32
    dist: F32

    def __len__(self) -> int:
        return len(self.prob)

    def take(self, index: Any) -> Stars:
        """Those of an index or mask."""
        return Stars(self.points[index], self.prob[index], self.dist[index])

    def order(self) -> NDArray[np.intp]:
        """Highest probability first; equals by place, so that the order is always the same."""
        z, y, x = self.points.T
        return np.lexsort((x, y, z, -self.prob))

    def ordered(self) -> Stars:
        """The same in that order."""
        return self.take(self.order())

    @staticmethod
    def joined(parts: list[Stars]) -> Stars:
        """All of several, unordered."""
        return Stars(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.prob for part in parts]),
            np.concatenate([part.dist for part in parts]),
        )

    @staticmethod
    def none(rays: int) -> Stars:
        """No polyhedra on that many rays."""
        return Stars(*(np.zeros(shape, np.float32) for shape in ((0, 3), (0,), (0, rays))))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of polyhedra: (N,) volume and outer radius, (N, 6) box: three lower ends, three upper."""

    volume: F64
    radius: F64
    box: F64


def measure_stars(stars: Stars, geometry: Geometry) -> Sizes:
    """Volumes, radii and boxes, in voxels of the network."""
    count = len(stars)
    volume, box = np.zeros(count), np.zeros((count, 6))
    _measure(
        stars.points, stars.dist, geometry.vertices, geometry.faces, geometry.content, volume, box
    )
    radius = stars.dist.max(axis=1).astype(np.float64) if count else np.zeros(0)
    return Sizes(volume, radius, box)


def overlap_part(
    first: int,
    others: NDArray[np.intp],
    stars: Stars,
    sizes: Sizes,
    geometry: Geometry,
) -> F64:
    """Part of the smaller polyhedron that two have in common, by sampling; 0 where boxes are apart.

    Parameters
    ----------
    first : one polyhedron
    others : (M,) those it is compared with

    Returns
    -------
    (M,) array
    """
    firsts = np.full(len(others), first, np.intp)
    return overlap_pairs(firsts, others, stars, sizes, geometry)


def overlap_pairs(
    firsts: NDArray[np.intp],
    others: NDArray[np.intp],
    stars: Stars,
    sizes: Sizes,
    geometry: Geometry,
) -> F64:
    """`overlap_part` of pairs."""
    parts = np.zeros(len(others))
    _overlap(
        firsts,
        others,
        stars.points,
        stars.dist,
        sizes.volume,
        sizes.box,
        geometry.vertices,
        geometry.content,
        *geometry.tables,
        parts,
    )
    return parts


def voxel_part(first: int, second: int, stars: Stars, sizes: Sizes, geometry: Geometry) -> float:
    """Voxels that lie in both polyhedra, in parts of the smaller one's volume."""
    low = np.maximum(sizes.box[first, :3], sizes.box[second, :3])
    high = np.minimum(sizes.box[first, 3:], sizes.box[second, 3:])
    start, stop = np.ceil(low).astype(int), np.floor(high).astype(int) + 1
    if (stop <= start).any():
        return 0.0
    z, y, x = (int(v) for v in start)
    inside = np.ones(tuple(stop - start), bool)
    for one in (first, second):
        drawn = np.zeros(inside.shape, np.uint8)
        paint_stars(drawn, (z, y, x), stars.take([one]), np.ones(1), geometry)
        inside &= drawn > 0
    smaller = min(sizes.volume[first], sizes.volume[second])
    return float(np.count_nonzero(inside) / (smaller + 1e-10))


def paint_stars(
    labels: NDArray[Any],
    origin: tuple[int, int, int],
    stars: Stars,
    names: NDArray[Any],
    geometry: Geometry,
    *,
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> None:
    """Draw polyhedra into a block; where two overlap, the first stays.

    Parameters
    ----------
    labels : (Z, Y, X) array of integers, changed where it is 0
    origin : of the block in the stack
    stars : the best first
    names : (N,) labels
    scale : voxels of the network per voxel of the stack, by axis
    """
    if len(stars):
        _paint(
            labels,
            np.asarray(origin, np.int64),
            stars.points,
            stars.dist,
            names.astype(labels.dtype),
            np.asarray(scale, np.float64),
            geometry.vertices,
            *geometry.tables,
        )


@njit(cache=True, nogil=True)
def _measure(
    points: Any, dist: Any, vertices: Any, faces: Any, content: Any, volume: Any, box: Any
) -> None:
    for i in range(len(points)):
        total = 0.0
        for f in range(len(faces)):
            edges = dist[i, faces[f, 0]] * dist[i, faces[f, 1]] * dist[i, faces[f, 2]]
            total += content[f] * edges
        volume[i] = total / 6
        for axis in range(3):
            low = high = 0.0
            for r in range(len(vertices)):
                end = dist[i, r] * vertices[r, axis]
                low, high = min(low, end), max(high, end)
            box[i, axis], box[i, 3 + axis] = points[i, axis] + low, points[i, axis] + high


@njit(cache=True, nogil=True)
def _overlap(
    firsts: Any,
    others: Any,
    points: Any,
    dist: Any,
    volume: Any,
    box: Any,
    vertices: Any,
    content: Any,
    faces: Any,
    inverse: Any,
    across: Any,
    starts: Any,
    parts: Any,
) -> None:
    for n in range(len(others)):
        i, j = firsts[n], others[n]
        apart = False
        for axis in range(3):
            apart |= box[i, axis] > box[j, 3 + axis] or box[j, axis] > box[i, 3 + axis]
        if apart:
            continue
        if volume[j] > volume[i]:
            i, j = j, i
        # Points of the smaller, j, that lie in the larger, i.
        oz, oy, ox = points[j] - points[i]
        inside = total = 0.0
        for f in range(len(faces)):
            ra, rb, rc = faces[f, 0], faces[f, 1], faces[f, 2]
            da, db, dc = dist[j, ra], dist[j, rb], dist[j, rc]
            weight = content[f] * da * db * dc
            total += weight
            cz = (da * vertices[ra, 0] + db * vertices[rb, 0] + dc * vertices[rc, 0]) / 3
            cy = (da * vertices[ra, 1] + db * vertices[rb, 1] + dc * vertices[rc, 1]) / 3
            cx = (da * vertices[ra, 2] + db * vertices[rb, 2] + dc * vertices[rc, 2]) / 3
            for depth in SHELLS:
                z, y, x = oz + depth * cz, oy + depth * cy, ox + depth * cx
                g, a, b, c = walk(z, y, x, starts[cell_of(z, y, x)], inverse, across)
                reach = a / dist[i, faces[g, 0]] + b / dist[i, faces[g, 1]]
                if reach + c / dist[i, faces[g, 2]] <= 1:
                    inside += weight
        parts[n] = inside / (len(SHELLS) * total)


@njit(cache=True, nogil=True)
def _paint(
    labels: Any,
    origin: Any,
    points: Any,
    dist: Any,
    names: Any,
    scale: Any,
    vertices: Any,
    faces: Any,
    inverse: Any,
    across: Any,
    starts: Any,
) -> None:
    low, high = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for i in range(len(points)):
        empty = False
        for axis in range(3):
            least = most = 0.0
            for r in range(len(vertices)):
                end = dist[i, r] * vertices[r, axis]
                least, most = min(least, end), max(most, end)
            least = (points[i, axis] + least + 0.5) / scale[axis] - 0.5
            most = (points[i, axis] + most + 0.5) / scale[axis] - 0.5
            first, last = int(np.ceil(least)) - origin[axis], int(np.floor(most)) - origin[axis]
            low[axis], high[axis] = max(first, 0), min(last, labels.shape[axis] - 1)
            empty |= low[axis] > high[axis]
        if empty:
            continue
        farthest = 0.0
        for r in range(len(vertices)):
            farthest = max(farthest, dist[i, r])
        limit = farthest * farthest
        for k in range(low[0], high[0] + 1):
            z = (k + origin[0] + 0.5) * scale[0] - 0.5 - points[i, 0]
            for m in range(low[1], high[1] + 1):
                y = (m + origin[1] + 0.5) * scale[1] - 0.5 - points[i, 1]
                face = -1
                for n in range(low[2], high[2] + 1):
                    if labels[k, m, n] != 0:
                        continue
                    x = (n + origin[2] + 0.5) * scale[2] - 0.5 - points[i, 2]
                    if z * z + y * y + x * x > limit:
                        continue
                    if face < 0:
                        face = starts[cell_of(z, y, x)]
                    # The face of the voxel before is mostly this one's, or next to it.
                    face, a, b, c = walk(z, y, x, face, inverse, across)
                    reach = a / dist[i, faces[face, 0]] + b / dist[i, faces[face, 1]]
                    if reach + c / dist[i, faces[face, 2]] <= 1:
                        labels[k, m, n] = names[i]
