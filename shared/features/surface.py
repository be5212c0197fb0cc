"""Surface, perimeter and Euler number from the 2 x 2 x 2 neighbourhoods of an object.

All three are sums over the 256 patterns that eight voxels round a corner can have. One pass over
the box counts the patterns; the rest is a product with a table. The surface is Crofton's:
how often lines in 13 directions cross the border, weighted by the share of the sphere that is
nearer to a direction than to any other (with spacing), which does not depend on the voxel's
proportions as a triangulated surface does.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.spatial import SphericalVoronoi

from poolvox.shared.features.kernels import Bytes, Floats, Layout, box_mask, kernel
from poolvox.shared.features.objects import Objects

__all__ = ["border_measure", "directions", "euler_number", "patterns"]

CORNERS = tuple(product((0, 1), repeat=3))


def directions(ndim: int) -> list[tuple[int, ...]]:
    """Half of the neighbours of a voxel, one of each opposite pair: 4 in a plane, 13 in space."""
    steps = [d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0)]
    return [d for d in steps if ndim == 3 or d[0] == 0]


def patterns(objects: Objects) -> Floats:
    """(K, 256) how often each pattern of eight voxels occurs; bit `4 dz + 2 dy + dx` of it."""
    return objects.reduce(_count_patterns, np.zeros((len(objects), 256)))


def border_measure(objects: Objects, counted: Floats) -> Floats:
    """(K,) surface in square micrometres, or in 2D the perimeter in micrometres.

    Crofton's formula with the weights of Lehmann and Legland (2012, doi:10.54294/sqhkxj).
    """
    steps = directions(objects.ndim)
    scale = objects.layout.spacing
    lengths = np.linalg.norm(np.array(steps) * scale, axis=1)
    weights = _direction_weights(np.array(steps) * scale / lengths[:, None], objects.ndim)
    factor = 2.0 if objects.ndim == 3 else np.pi / 2
    total = np.zeros(len(objects))
    # One direction after the other: a matrix product rounds differently with the number of rows.
    for step, share in zip(steps, weights / lengths):
        total += (counted * _crossings(step)).sum(axis=1) * share
    border: Floats = total * (factor * objects.voxel_size)
    return border


def euler_number(counted: Floats) -> Floats:
    """(K,) components minus tunnels plus cavities, voxels that share a corner being connected."""
    return np.asarray(np.round((counted * _euler_table()).sum(axis=1)))


def _crossings(step: tuple[int, ...]) -> Floats:
    """Crossings of the border along `step` per pattern; a pair is seen in several patterns."""
    seen = 2.0 ** (3 - sum(map(abs, step)))
    table = np.zeros(256)
    for corner in CORNERS:
        other = tuple(a + b for a, b in zip(corner, step))
        if other in CORNERS:
            bits = np.arange(256)
            ends = [(bits >> (4 * c[0] + 2 * c[1] + c[2])) & 1 for c in (corner, other)]
            table += (ends[0] != ends[1]) / seen
    return table


def _euler_table() -> Floats:
    """Vertices - edges + faces - cubes of the union of closed voxels, per pattern."""
    bits = np.arange(256)
    full = [(bits >> (4 * c[0] + 2 * c[1] + c[2])) & 1 for c in CORNERS]
    table = (bits > 0).astype(np.float64)
    for free in product((False, True), repeat=3):
        axes = sum(free)
        if axes == 0:
            continue
        # A cell spans `axes` axes from the corner, in 2^axes directions, and has as many corners.
        for side in product((0, 1), repeat=axes):
            at = dict(zip([a for a in range(3) if free[a]], side))
            touching = [c for c in CORNERS if all(c[a] == s for a, s in at.items())]
            present = np.any([full[CORNERS.index(c)] for c in touching], axis=0)
            table += (-1.0) ** axes * present / 2.0**axes
    return table


def _direction_weights(unit: Floats, ndim: int) -> Floats:
    if ndim == 3:
        sphere = SphericalVoronoi(np.concatenate([unit, -unit]))
        areas = sphere.calculate_areas() / (4 * np.pi)
        return np.asarray(areas[: len(unit)] + areas[len(unit) :])
    angle = np.arctan2(unit[:, 1], unit[:, 2]) % np.pi
    order = np.argsort(angle)
    gaps = np.diff(np.append(angle[order], angle[order[0]] + np.pi))
    weights = np.empty(len(unit))
    weights[order] = (gaps + np.roll(gaps, 1)) / (2 * np.pi)
    return weights


@kernel
def _count_patterns(layout: Layout, out: Floats, start: int, stop: int) -> None:
    for k in range(start, stop):
        mask: Bytes = box_mask(layout, k, 1)
        if layout.flat:
            slab = np.zeros((3, mask.shape[1], mask.shape[2]), np.uint8)
            slab[1] = mask[0]
            mask = slab
        for z in range(mask.shape[0] - 1):
            for y in range(mask.shape[1] - 1):
                pattern = 0
                for x in range(1, mask.shape[2]):
                    # What was at x becomes x - 1: bits of even number.
                    pattern = (pattern >> 1) & 0x55
                    pattern |= mask[z, y, x] << 1 | mask[z, y + 1, x] << 3
                    pattern |= mask[z + 1, y, x] << 5 | mask[z + 1, y + 1, x] << 7
                    out[k, pattern] += 1
