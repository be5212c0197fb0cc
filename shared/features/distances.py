"""Exact Euclidean distance of every voxel of an object to what is outside it.

Each object is transformed alone in its own padded box, which is what a multi-label transform
of the whole volume gives, at the cost of the boxes only. Separable, by lower envelopes of
parabolas (Felzenszwalb and Huttenlocher 2012, doi:10.4086/toc.2012.v008a019), with spacing.
"""

from __future__ import annotations

import numpy as np

from poolvox.shared.features.kernels import Bytes, Floats, Ints, Layout, box_mask, kernel

__all__ = ["box_distance", "distance_to_border"]

# Squared distance that stands for "nothing outside on this line".
FAR = 1e30


@kernel
def _first_pass(mask: Bytes, spacing: float) -> Floats:
    """Squared distance along x to the nearest voxel outside."""
    squared = np.empty(mask.shape)
    depth, height, width = mask.shape
    for z in range(depth):
        for y in range(height):
            steps = width * width
            for x in range(width):
                steps = 0 if mask[z, y, x] == 0 else steps + 1
                squared[z, y, x] = steps
            steps = width * width
            for x in range(width - 1, -1, -1):
                steps = 0 if mask[z, y, x] == 0 else steps + 1
                near = min(squared[z, y, x], float(steps))
                squared[z, y, x] = (near * spacing) ** 2 if near <= width else FAR
    return squared


@kernel
def _envelope(line: Floats, spacing: float, at: Ints, cut: Floats, out: Floats) -> None:
    """Lower envelope of the parabolas of one line; `at` and `cut` are scratch."""
    square = spacing * spacing
    top = -1
    for i in range(len(line)):
        if line[i] >= FAR:
            continue
        meet = -np.inf
        while top >= 0:
            j = at[top]
            meet = (line[i] - line[j] + square * (i * i - j * j)) / (2 * square * (i - j))
            if meet > cut[top]:
                break
            top -= 1
            meet = -np.inf
        top += 1
        at[top], cut[top] = i, meet
    k = 0
    for i in range(len(line)):
        while k < top and cut[k + 1] < i:
            k += 1
        out[i] = line[at[k]] + square * (i - at[k]) ** 2 if top >= 0 else FAR


@kernel
def box_distance(mask: Bytes, spacing: Floats) -> Floats:
    """Distance in micrometres of every voxel of `mask` (Z, Y, X) to the nearest 0 voxel."""
    squared = _first_pass(mask, spacing[2])
    depth, height, width = mask.shape
    longest = max(depth, height)
    at, cut = np.empty(longest, np.int64), np.empty(longest)
    line, out = np.empty(longest), np.empty(longest)
    for z in range(depth):
        for x in range(width):
            for y in range(height):
                line[y] = squared[z, y, x]
            _envelope(line[:height], spacing[1], at, cut, out)
            for y in range(height):
                squared[z, y, x] = out[y]
    if depth > 1:
        for y in range(height):
            for x in range(width):
                for z in range(depth):
                    line[z] = squared[z, y, x]
                _envelope(line[:depth], spacing[0], at, cut, out)
                for z in range(depth):
                    squared[z, y, x] = out[z]
    distance: Floats = np.sqrt(squared)
    return distance


@kernel
def distance_to_border(layout: Layout, out: Floats, start: int, stop: int) -> None:
    """Distance of every voxel of the objects, in object order."""
    for k in range(start, stop):
        mask = box_mask(layout, k, 1)
        distance = box_distance(mask, layout.spacing).reshape(-1)
        inside = mask.reshape(-1)
        at = layout.voxels[k]
        # Runs are sorted by z, y, x, so the box is read in object order.
        for voxel in range(inside.size):
            if inside[voxel]:
                out[at] = distance[voxel]
                at += 1
