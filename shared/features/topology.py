"""Connected parts of an object and the holes it encloses, from its runs of voxels along x."""

from __future__ import annotations

import numpy as np

from poolvox.shared.features.kernels import Floats, Ints, Layout, kernel
from poolvox.shared.features.objects import Objects

__all__ = ["components_and_holes"]


def components_and_holes(objects: Objects) -> tuple[Floats, Floats]:
    """(K,) connected parts, and (K,) voxels of background that the object encloses.

    Parts are connected through corners (26 neighbours, 8 in 2D), background through faces.
    """
    out = objects.reduce(_components_and_holes, np.empty((len(objects), 2)))
    return out[:, 0], out[:, 1]


@kernel
def _components_and_holes(layout: Layout, out: Floats, start: int, stop: int) -> None:
    for k in range(start, stop):
        height = layout.box[k, 3] - layout.box[k, 2]
        first, ends = _lines(layout, k)
        root = _join(first, ends, height, True)
        parts = 0
        for run in range(len(root)):
            parts += 1 if root[run] == run else 0
        # Lines of background all round, so that the outside is one part, that of the first line.
        first, ends = _gaps(first, ends, height, layout)
        root = _join(first, ends, height + 2, False)
        holes = 0
        for run in range(len(root)):
            if _find(root, run) != 0:
                holes += ends[run, 1] - ends[run, 0]
        out[k, 0], out[k, 1] = parts, holes


@kernel
def _lines(layout: Layout, k: int) -> tuple[Ints, Ints]:
    """Runs of object `k` by line: line i has the runs `first[i]` to `first[i + 1]`.

    The lines are those of the bounding box, z before y; `ends` is (R, 2), begin and end along x,
    1 where the box begins.
    """
    z0, z1, y0, y1, x0, _ = layout.box[k]
    count = layout.runs[k + 1] - layout.runs[k]
    first, ends = np.zeros((z1 - z0) * (y1 - y0) + 1, np.int64), np.empty((count, 2), np.int64)
    for run in range(count):
        line, x = divmod(layout.start[layout.runs[k] + run], layout.shape[2])
        z, y = divmod(line, layout.shape[1])
        first[(z - z0) * (y1 - y0) + y - y0 + 1] += 1
        ends[run, 0] = x - x0 + 1
        ends[run, 1] = x - x0 + 1 + layout.length[layout.runs[k] + run]
    return np.cumsum(first), ends


@kernel
def _gaps(first: Ints, ends: Ints, height: int, layout: Layout) -> tuple[Ints, Ints]:
    """Runs of background in the box with a voxel more on every side (none in z of a plane)."""
    around = 0 if layout.flat else 1
    depth, width = (len(first) - 1) // height + 2 * around, ends[:, 1].max() + 1
    gaps = np.empty((len(ends) + depth * (height + 2), 2), np.int64)
    begins, size = np.zeros(depth * (height + 2) + 1, np.int64), 0
    for z in range(depth):
        for y in range(height + 2):
            at = 0
            if around <= z < depth - around and 1 <= y <= height:
                line = (z - around) * height + y - 1
                for run in range(first[line], first[line + 1]):
                    gaps[size, 0], gaps[size, 1] = at, ends[run, 0]
                    at = ends[run, 1]
                    size += 1
            gaps[size, 0], gaps[size, 1] = at, width
            size += 1
            begins[z * (height + 2) + y + 1] = size
    return begins, gaps[:size]


@kernel
def _find(root: Ints, run: int) -> int:
    while root[run] != run:
        root[run] = root[root[run]]
        run = root[run]
    return run


@kernel
def _join(first: Ints, ends: Ints, height: int, corners: bool) -> Ints:
    """Which runs hang together; the lowest run of each part is its own root."""
    root = np.arange(len(ends))
    slack = 1 if corners else 0
    for line in range(len(first) - 1):
        z, y = divmod(line, height)
        for dz, dy in ((0, -1), (-1, 0), (-1, -1), (-1, 1)):
            near = line + dz * height + dy
            if z + dz < 0 or not 0 <= y + dy < height or (dz and dy and not corners):
                continue
            a, b = first[line], first[near]
            while a < first[line + 1] and b < first[near + 1]:
                if ends[a, 0] < ends[b, 1] + slack and ends[b, 0] < ends[a, 1] + slack:
                    one, other = _find(root, a), _find(root, b)
                    root[max(one, other)] = min(one, other)
                if ends[a, 1] < ends[b, 1]:
                    a += 1
                else:
                    b += 1
    return root
