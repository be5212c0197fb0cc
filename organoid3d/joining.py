"""Pieces of one nucleus joined again: neighbours that together are one smooth, convex body.

The measure is how well the union fills the ellipsoid of its own second moments: 1 for an
ellipsoid, 0.82 for two balls that touch. Moments add up, so joining needs no voxels.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_faces", "join_pieces"]

Labels = NDArray[np.int32]

# Least part of its ellipsoid that a union must fill to be one nucleus.
MIN_FILL = 0.9
# Least brightness of the face between two pieces, relative to the darker piece.
MIN_BRIDGE = 0.8
# Volume of an ellipsoid over the root of the determinant of its covariance.
ELLIPSOID = 4 / 3 * np.pi * 5**1.5


@dataclass(slots=True)
class _Pieces:
    """Zeroth to second moments of the pieces, in micrometres, and their brightness."""

    voxels: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    bright: NDArray[np.float64]
    spacing: NDArray[np.float64]

    def volume(self, *members: int) -> float:
        return float(self.voxels[list(members)].sum() * self.spacing.prod())

    def fill(self, a: int, b: int) -> float:
        """Volume of the union over that of its ellipsoid."""
        count = self.voxels[a] + self.voxels[b]
        mean = (self.first[a] + self.first[b]) / count
        spread = (self.second[a] + self.second[b]) / count - np.outer(mean, mean)
        # A voxel is a box, not a point.
        spread[np.diag_indices(3)] += self.spacing**2 / 12
        determinant = float(np.linalg.det(spread))
        return self.volume(a, b) / (ELLIPSOID * np.sqrt(determinant)) if determinant > 0 else 0.0

    def absorb(self, a: int, b: int) -> None:
        self.voxels[a] += self.voxels[b]
        self.first[a] += self.first[b]
        self.second[a] += self.second[b]
        self.bright[a] = max(self.bright[a], self.bright[b])


def join_pieces(
    labels: Labels,
    contrast: NDArray[np.float32],
    bright: NDArray[np.float64],
    *,
    spacing: Sequence[float],
    largest: float,
) -> Labels:
    """Join pieces that belong to one nucleus, the best pair first.

    Parameters
    ----------
    labels : (Z, Y, X) array, pieces 1 to N
    contrast : (Z, Y, X) array, brightness above the background
    bright : (N + 1,) array, typical contrast of each piece
    largest : volume that no union may exceed, cubic micrometres
    """
    pieces = _measure(labels, bright, np.asarray(spacing, float))
    faces = _measure_faces(labels, contrast, pieces.spacing)
    neighbours: dict[int, dict[int, tuple[float, float]]] = {}
    for (a, b), face in faces.items():
        neighbours.setdefault(a, {})[b] = face
        neighbours.setdefault(b, {})[a] = face
    heap: list[tuple[float, int, int, float, float]] = []

    def consider(a: int, b: int) -> None:
        area, light = neighbours[a][b]
        bridge = light / area
        if bridge < MIN_BRIDGE * min(pieces.bright[a], pieces.bright[b]):
            return
        if pieces.volume(a, b) <= largest and (fill := pieces.fill(a, b)) >= MIN_FILL:
            heapq.heappush(heap, (-fill, a, b, pieces.voxels[a], pieces.voxels[b]))

    for a, b in faces:
        consider(a, b)
    owner = np.arange(len(bright), dtype=np.int32)
    while heap:
        _, a, b, size_a, size_b = heapq.heappop(heap)
        alive = owner[a] == a and owner[b] == b
        if not alive or pieces.voxels[a] != size_a or pieces.voxels[b] != size_b:
            continue
        owner[owner == b] = a
        pieces.absorb(a, b)
        _hand_over(neighbours, a, b)
        for other in sorted(neighbours[a]):
            consider(a, other)
    joined: Labels = owner[labels]
    return joined


def _hand_over(neighbours: dict[int, dict[int, tuple[float, float]]], a: int, b: int) -> None:
    """Give the faces of `b` to `a`."""
    for other, (area, light) in neighbours.pop(b).items():
        neighbours[other].pop(b)
        if other != a:
            before = neighbours[a].get(other, (0.0, 0.0))
            face = (before[0] + area, before[1] + light)
            neighbours[a][other] = neighbours[other][a] = face


def _measure(labels: Labels, bright: NDArray[np.float64], spacing: NDArray[np.float64]) -> _Pieces:
    count = len(bright)
    inside = np.flatnonzero(labels)
    owner = labels.ravel()[inside]
    places = np.stack(np.unravel_index(inside, labels.shape), axis=1) * spacing

    def sums(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(owner, weights, count).astype(np.float64)

    first = np.stack([sums(places[:, i]) for i in range(3)], axis=1)
    second = np.empty((count, 3, 3))
    for i in range(3):
        for j in range(i, 3):
            second[:, i, j] = second[:, j, i] = sums(places[:, i] * places[:, j])
    voxels = np.bincount(owner, minlength=count).astype(float)
    return _Pieces(voxels, first, second, bright.astype(float).copy(), spacing)


def find_faces(
    labels: NDArray[np.integer], values: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Voxel faces across an axis at which two labels meet.

    Returns
    -------
    (N,) codes of the pairs, the lower label times the number of labels with 0, plus the higher; and
    (N,) the lower of the values on both sides
    """
    ahead, behind = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
    value = np.moveaxis(values, axis, 0)
    face = (ahead != behind) & (ahead > 0) & (behind > 0)
    low, high = np.minimum(ahead[face], behind[face]), np.maximum(ahead[face], behind[face])
    codes = low.astype(np.int64) * (int(labels.max()) + 1) + high
    return codes, np.minimum(value[1:][face], value[:-1][face])


def _measure_faces(
    labels: Labels, contrast: NDArray[np.float32], spacing: NDArray[np.float64]
) -> dict[tuple[int, int], tuple[float, float]]:
    """Area of the face between two pieces, and its area times the contrast along it."""
    count = int(labels.max()) + 1
    codes, lights = zip(*(find_faces(labels, contrast, axis) for axis in range(3)), strict=True)
    sides = [np.full(len(code), spacing.prod() / side) for code, side in zip(codes, spacing)]
    area, light = np.concatenate(sides), np.concatenate(lights)
    pairs, index = np.unique(np.concatenate(codes), return_inverse=True)
    total, shine = (
        np.bincount(index, area, len(pairs)),
        np.bincount(index, area * light, len(pairs)),
    )
    return {
        (int(pair // count), int(pair % count)): (float(a), float(s))
        for pair, a, s in zip(pairs, total, shine)
    }
