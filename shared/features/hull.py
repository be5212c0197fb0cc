"""Convex hulls of objects on the corners of their voxels, and the widths of the hull.

Corners, not centres: so the hull holds the whole object, a single voxel has a hull, and solidity
cannot exceed one. Coordinates are whole numbers, which makes every decision exact; spacing comes
in only when something is measured, since stretching the axes keeps a hull a hull.
"""

from __future__ import annotations

import numpy as np

from poolvox.shared.features.kernels import Floats, Ints, Layout, kernel
from poolvox.shared.features.objects import Objects

__all__ = ["hull_measures", "plane_hull"]

# Step through the candidates in an order that is spread over the object: the golden section.
SPREAD = 0.6180339887498949


def hull_measures(objects: Objects) -> dict[str, Floats]:
    """Volume (area) of the hull, its greatest and least width, each (K,) in micrometres."""
    work = _hulls if objects.ndim == 3 else _hulls_of_planes
    out = objects.reduce(work, np.empty((len(objects), 3)))
    return {"volume": out[:, 0], "longest": out[:, 1], "narrowest": out[:, 2]}


@kernel
def _rows(layout: Layout, k: int) -> Ints:
    """First and one past the last corner on every line (z, y) of corners; (1, 0) where none."""
    depth = layout.box[k, 1] - layout.box[k, 0]
    height = layout.box[k, 3] - layout.box[k, 2]
    rows = np.empty((depth + 1, height + 1, 2), np.int64)
    rows[:, :, 0], rows[:, :, 1] = layout.shape[2] + 1, -1
    for run in range(layout.runs[k], layout.runs[k + 1]):
        line, x = divmod(layout.start[run], layout.shape[2])
        z, y = divmod(line, layout.shape[1])
        z, y, x = z - layout.box[k, 0], y - layout.box[k, 2], x - layout.box[k, 4]
        for dz in range(2):
            for dy in range(2):
                low = min(rows[z + dz, y + dy, 0], x)
                rows[z + dz, y + dy, 0] = low
                rows[z + dz, y + dy, 1] = max(rows[z + dz, y + dy, 1], x + layout.length[run])
    return rows


@kernel
def plane_hull(rows: Ints) -> Ints:
    """Corners (y, x) of the hull of one plane of lines, by Andrew's monotone chain."""
    chain = np.empty((2 * len(rows) + 1, 2), np.int64)
    size = 0
    # Down along the first corners of the lines, back along the last ones.
    for side in range(2):
        floor = size
        for step in range(len(rows)):
            y = step if side == 0 else len(rows) - 1 - step
            if rows[y, 1] < rows[y, 0]:
                continue
            x = rows[y, side]
            while size > floor + 1:
                ay, ax = (
                    chain[size - 1, 0] - chain[size - 2, 0],
                    chain[size - 1, 1] - chain[size - 2, 1],
                )
                by, bx = y - chain[size - 1, 0], x - chain[size - 1, 1]
                if ay * bx - ax * by > 0:
                    break
                size -= 1
            chain[size, 0], chain[size, 1] = y, x
            size += 1
    return chain[:size]


@kernel
def _hulls_of_planes(layout: Layout, out: Floats, start: int, stop: int) -> None:
    sy, sx = layout.spacing[1], layout.spacing[2]
    for k in range(start, stop):
        hull = plane_hull(_rows(layout, k)[0])
        area, longest, narrowest = 0.0, 0.0, np.inf
        for i in range(len(hull)):
            y, x = hull[i]
            dy, dx = hull[(i + 1) % len(hull)] - hull[i]
            area += (y * (x + dx) - x * (y + dy)) / 2
            edge = np.hypot(dy * sy, dx * sx)
            width = 0.0
            for j in range(len(hull)):
                v, u = hull[j, 0] - y, hull[j, 1] - x
                longest = max(longest, np.hypot(v * sy, u * sx))
                if edge > 0:
                    width = max(width, abs(dy * u - dx * v) * sy * sx / edge)
            if edge > 0:
                narrowest = min(narrowest, width)
        out[k, 0], out[k, 1], out[k, 2] = abs(area) * sy * sx, longest, narrowest


@kernel
def _candidates(layout: Layout, k: int) -> Ints:
    """Corners (z, y, x) that can be on the hull: on that of their z plane and of their y plane."""
    rows = _rows(layout, k)
    depth, height = rows.shape[:2]
    votes = np.zeros((depth, height, 2), np.uint8)
    for z in range(depth):
        for y, x in plane_hull(rows[z]):
            votes[z, y, 0 if x == rows[z, y, 0] else 1] += 1
    for y in range(height):
        across = np.ascontiguousarray(rows[:, y])
        for z, x in plane_hull(across):
            votes[z, y, 0 if x == rows[z, y, 0] else 1] += 1
    points, size = np.empty((2 * depth * height, 3), np.int64), 0
    for z in range(depth):
        for y in range(height):
            for side in range(2):
                if votes[z, y, side] == 2:
                    points[size, 0], points[size, 1], points[size, 2] = z, y, rows[z, y, side]
                    size += 1
    return points[:size]


@kernel
def _plane(points: Ints, a: int, b: int, c: int) -> tuple[int, int, int, int]:
    """Normal of the triangle a, b, c and its offset: positive on the side of the normal."""
    uz, uy, ux = points[b] - points[a]
    vz, vy, vx = points[c] - points[a]
    nz, ny, nx = uy * vx - ux * vy, ux * vz - uz * vx, uz * vy - uy * vz
    return nz, ny, nx, nz * points[a, 0] + ny * points[a, 1] + nx * points[a, 2]


@kernel
def _simplex(points: Ints) -> Ints:
    """Four corners that span a volume, found as far apart as is easy."""
    chosen = np.zeros(4, np.int64)
    far = -1
    for i in range(len(points)):
        d = ((points[i] - points[0]) ** 2).sum()
        if d > far:
            far, chosen[1] = d, i
    far = -1
    for i in range(len(points)):
        nz, ny, nx, _ = _plane(points, 0, chosen[1], i)
        if nz * nz + ny * ny + nx * nx > far:
            far, chosen[2] = nz * nz + ny * ny + nx * nx, i
    nz, ny, nx, offset = _plane(points, 0, chosen[1], chosen[2])
    far = -1
    for i in range(len(points)):
        d = abs(nz * points[i, 0] + ny * points[i, 1] + nx * points[i, 2] - offset)
        if d > far:
            far, chosen[3] = d, i
    p = points[chosen[3]]
    if nz * p[0] + ny * p[1] + nx * p[2] > offset:
        chosen[1], chosen[2] = chosen[2], chosen[1]
    return chosen


@kernel
def _hull_faces(points: Ints) -> Ints:
    """Triangles (F, 3) of the convex hull, counter-clockwise from outside: incremental, exact."""
    cap = 4 * len(points) + 16
    faces, planes = np.empty((cap, 3), np.int64), np.empty((cap, 4), np.int64)
    a, b, c, d = _simplex(points)
    faces[0], faces[1], faces[2], faces[3] = (a, b, c), (a, d, b), (b, d, c), (c, d, a)
    size = 4
    for f in range(size):
        planes[f] = _plane(points, faces[f, 0], faces[f, 1], faces[f, 2])
    seen, edges = np.empty(cap, np.int64), np.empty((3 * cap, 2), np.int64)
    stride = max(1, int(len(points) * SPREAD))
    while np.gcd(stride, len(points)) != 1:
        stride += 1
    p = 0
    for _ in range(len(points)):
        p = (p + stride) % len(points)
        z, y, x = points[p]
        visible = 0
        for f in range(size):
            if planes[f, 0] * z + planes[f, 1] * y + planes[f, 2] * x > planes[f, 3]:
                seen[visible] = f
                visible += 1
        if visible == 0:
            continue
        border = _horizon(faces, seen, visible, edges)
        # New triangles take the places of the ones that are gone; gaps are closed from the end.
        for e in range(border):
            f = seen[e] if e < visible else size
            size += 1 if e >= visible else 0
            faces[f] = (edges[e, 0], edges[e, 1], p)
            planes[f] = _plane(points, edges[e, 0], edges[e, 1], p)
        for e in range(visible - 1, border - 1, -1):
            size -= 1
            faces[seen[e]], planes[seen[e]] = faces[size], planes[size]
    return faces[:size]


@kernel
def _horizon(faces: Ints, seen: Ints, visible: int, edges: Ints) -> int:
    """Edges between triangles that are seen from the new corner and ones that are not."""
    size = 0
    for i in range(visible):
        for corner in range(3):
            a, b = faces[seen[i], corner], faces[seen[i], (corner + 1) % 3]
            inner = -1
            for e in range(size):
                if edges[e, 0] == b and edges[e, 1] == a:
                    inner = e
                    break
            if inner >= 0:
                size -= 1
                edges[inner] = edges[size]
            else:
                edges[size, 0], edges[size, 1] = a, b
                size += 1
    return size


@kernel
def _hulls(layout: Layout, out: Floats, start: int, stop: int) -> None:
    sz, sy, sx = layout.spacing
    for k in range(start, stop):
        points = _candidates(layout, k)
        faces = _hull_faces(points)
        used = np.zeros(len(points), np.bool_)
        for corner in faces.reshape(-1):
            used[corner] = True
        hull = points[used] * layout.spacing
        six, narrowest = 0, np.inf
        for f in range(len(faces)):
            nz, ny, nx, offset = _plane(points, faces[f, 0], faces[f, 1], faces[f, 2])
            six += offset
            # A plane's normal stretches with the inverse of the axes.
            uz, uy, ux = nz / sz, ny / sy, nx / sx
            norm = np.sqrt(uz * uz + uy * uy + ux * ux)
            width = 0.0
            for j in range(len(hull)):
                width = max(width, offset - (uz * hull[j, 0] + uy * hull[j, 1] + ux * hull[j, 2]))
            narrowest = min(narrowest, width / norm)
        square = 0.0
        for i in range(len(hull)):
            for j in range(i):
                z, y, x = hull[i] - hull[j]
                square = max(square, z * z + y * y + x * x)
        out[k, 0], out[k, 1], out[k, 2] = six / 6 * sz * sy * sx, np.sqrt(square), narrowest
