"""Connected parts of an object and the holes it encloses."""

from __future__ import annotations

import numpy as np

from poolvox.shared.features.kernels import Bytes, Floats, Ints, Layout, box_mask, kernel
from poolvox.shared.features.objects import Objects

__all__ = ["components_and_holes"]


def components_and_holes(objects: Objects) -> tuple[Floats, Floats]:
    """(K,) connected parts, and (K,) voxels of background that the object encloses.

    Parts are connected through corners (26 neighbours, 8 in 2D), background through faces.
    """
    out = objects.reduce(_components_and_holes, np.empty((len(objects), 2)))
    return out[:, 0], out[:, 1]


@kernel
def _flood(mask: Bytes, seed: int, corners: bool, stack: Ints) -> int:
    """Set everything connected to `seed` to 2 and count it."""
    depth, height, width = mask.shape
    flat = mask.reshape(-1)
    value = flat[seed]
    flat[seed], stack[0] = 2, seed
    size, count = 1, 0
    while size:
        size -= 1
        at = stack[size]
        count += 1
        line, x = divmod(at, width)
        z, y = divmod(line, height)
        for dz in range(-1 if z else 0, 2 if z < depth - 1 else 1):
            for dy in range(-1 if y else 0, 2 if y < height - 1 else 1):
                for dx in range(-1 if x else 0, 2 if x < width - 1 else 1):
                    if not corners and abs(dz) + abs(dy) + abs(dx) > 1:
                        continue
                    near = at + (dz * height + dy) * width + dx
                    if flat[near] == value:
                        flat[near], stack[size] = 2, near
                        size += 1
    return count


@kernel
def _components_and_holes(layout: Layout, out: Floats, start: int, stop: int) -> None:
    for k in range(start, stop):
        mask = box_mask(layout, k, 1)
        stack = np.empty(mask.size, np.int64)
        volume = layout.voxels[k + 1] - layout.voxels[k]
        # The padding is connected all round, so the corner reaches all of the outside.
        outside = _flood(mask, 0, False, stack)
        out[k, 1] = mask.size - outside - volume
        flat = mask.reshape(-1)
        parts = 0
        for at in range(flat.size):
            if flat[at] == 1:
                _flood(mask, at, True, stack)
                parts += 1
        out[k, 0] = parts
