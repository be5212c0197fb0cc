"""Curvature at the vertices of a triangle mesh; for compiled callers."""

from __future__ import annotations

import numpy as np

from poolvox.shared.features.kernels import Floats, Ints, kernel

__all__ = ["triple_product", "vertex_curvature"]

# How often the vertices of a mesh share their curvature with their neighbours.
ROUNDS = 4


@kernel
def triple_product(a: Floats, b: Floats, c: Floats) -> float:
    """Triple product: six times the volume between a triangle and the origin."""
    product: float = a[0] * (b[1] * c[2] - b[2] * c[1])
    product += a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    return product


@kernel
def vertex_curvature(vertices: Floats, faces: Ints) -> tuple[Floats, Floats, Floats]:
    """Mean and Gaussian curvature and area (V,) round the vertices of a closed mesh.

    Integrals are shared among neighbours, since those of a single vertex are noise where triangles
    are thin; their sum stays what it is.

    Triangles are counter-clockwise from outside, or all the other way: the volume tells.
    """
    count = len(vertices)
    turn, area = np.full(count, 2 * np.pi), np.zeros(count)
    pull, outward, volume = np.zeros((count, 3)), np.zeros((count, 3)), 0.0
    for face in faces:
        a, b, c = face
        volume += triple_product(vertices[a], vertices[b], vertices[c])
        for _ in range(3):
            _corner(vertices, (a, b, c), turn, area, (pull, outward))
            a, b, c = b, c, a
    sign = 1.0 if volume > 0 else -1.0
    # Integrals over the vertex of mean and Gaussian curvature, and its area.
    sums = np.empty((count, 3))
    for v in range(count):
        square, side = 0.0, 0.0
        for axis in range(3):
            square += pull[v, axis] * pull[v, axis]
            side += pull[v, axis] * outward[v, axis]
        sums[v, 0] = np.sqrt(square) / 4 if sign * side > 0 else -np.sqrt(square) / 4
        sums[v, 1], sums[v, 2] = turn[v], area[v]
    for _ in range(ROUNDS):
        sums = _shared(sums, faces)
    return sums[:, 0] / sums[:, 2], sums[:, 1] / sums[:, 2], sums[:, 2]


@kernel
def _shared(sums: Floats, faces: Ints) -> Floats:
    """Half of what each vertex has goes to its neighbours in equal parts; nothing is lost."""
    valence = np.zeros(len(sums))
    for face in faces:
        for v in face:
            valence[v] += 1
    result = sums / 2
    for face in faces:
        for i in range(3):
            v, first, second = face[i], face[(i + 1) % 3], face[(i + 2) % 3]
            for j in range(sums.shape[1]):
                # Every neighbour is met in two triangles.
                part = sums[v, j] / (4 * valence[v])
                result[first, j] += part
                result[second, j] += part
    return result


@kernel
def _corner(
    vertices: Floats,
    face: tuple[int, int, int],
    turn: Floats,
    area: Floats,
    ways: tuple[Floats, Floats],
) -> None:
    """What the first corner adds to its vertex; its angle weighs the edge that lies opposite."""
    (a, b, c), (pull, outward) = face, ways
    uz, uy, ux = (
        vertices[b, 0] - vertices[a, 0],
        vertices[b, 1] - vertices[a, 1],
        vertices[b, 2] - vertices[a, 2],
    )
    vz, vy, vx = (
        vertices[c, 0] - vertices[a, 0],
        vertices[c, 1] - vertices[a, 1],
        vertices[c, 2] - vertices[a, 2],
    )
    nz, ny, nx = uy * vx - ux * vy, ux * vz - uz * vx, uz * vy - uy * vz
    twice, dot = np.sqrt(nz * nz + ny * ny + nx * nx), uz * vz + uy * vy + ux * vx
    if twice == 0:
        return
    turn[a] -= np.arctan2(twice, dot)
    area[a] += twice / 6
    outward[a, 0] += nz
    outward[a, 1] += ny
    outward[a, 2] += nx
    weight = dot / twice
    for axis in range(3):
        edge = (vertices[b, axis] - vertices[c, axis]) * weight
        pull[b, axis] += edge
        pull[c, axis] -= edge
