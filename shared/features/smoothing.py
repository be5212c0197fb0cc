"""Gaussian smoothing and Laplacian inside an object, as if nothing else existed.

Voxels outside the object have no weight, so neighbours do not leak in and a cut elsewhere changes
nothing. The kernel is the discrete analogue of the Gaussian (Lindeberg 1990, doi:10.1109/34.49051),
which is right at any width, also where it is narrower than the z step.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ive

from poolvox.shared.features.kernels import (
    Floats,
    Ints,
    Layout,
    Singles,
    box_mask,
    box_values,
    kernel,
)
from poolvox.shared.features.objects import Objects

__all__ = ["gaussian_kernels", "inside_weights", "laplacian", "smooth_box", "weight_box"]

# Kernels are cut where less than this weight is left on either side.
TAIL = 1e-3


def gaussian_kernels(sigma: float, spacing: Floats) -> Singles:
    """Half of the discrete Gaussian along each axis, centre first: (3, length), filled with 0.

    Parameters
    ----------
    sigma : micrometres
    spacing : (3,) micrometres per voxel
    """
    variances = (sigma / np.asarray(spacing)) ** 2
    reach = int(np.ceil(6 * np.sqrt(variances.max()))) + 3
    full = np.array([ive(np.arange(reach), variance) for variance in variances])
    left = (1 - full[:, :1] - 2 * np.cumsum(full[:, 1:], axis=1)) / 2
    needed = 2 + np.argmax(left < TAIL, axis=1)
    kept = np.where(np.arange(reach) < needed[:, None], full, 0)[:, : needed.max()]
    return np.ascontiguousarray(kept, dtype=np.float32)


@kernel
def _along_x(source: Singles, target: Singles, half: Singles) -> None:
    depth, height, width = source.shape
    for z in range(depth):
        for y in range(height):
            near, row = source[z, y], target[z, y]
            for x in range(width):
                row[x] = half[0] * near[x]
            for d in range(1, min(len(half), width)):
                weight = half[d]
                for x in range(width - d):
                    row[x] += weight * near[x + d]
                for x in range(d, width):
                    row[x] += weight * near[x - d]


@kernel
def _along_rows(source: Singles, target: Singles, half: Singles, axis: int) -> None:
    """Along z or y: whole rows of x are added, which vectorises."""
    depth, height, width = source.shape
    dz, dy = (1, 0) if axis == 0 else (0, 1)
    for z in range(depth):
        for y in range(height):
            row, near = target[z, y], source[z, y]
            for x in range(width):
                row[x] = half[0] * near[x]
            for d in range(1, min(len(half), source.shape[axis])):
                weight = half[d]
                if z + d * dz < depth and y + d * dy < height:
                    near = source[z + d * dz, y + d * dy]
                    for x in range(width):
                        row[x] += weight * near[x]
                if z - d * dz >= 0 and y - d * dy >= 0:
                    near = source[z - d * dz, y - d * dy]
                    for x in range(width):
                        row[x] += weight * near[x]


@kernel
def _smooth(box: Singles, scratch: Singles, halves: Singles, lengths: Ints) -> Singles:
    if box.shape[0] > 1:
        _along_rows(box, scratch, halves[0, : lengths[0]], 0)
        box, scratch = scratch, box
    if box.shape[1] > 1:
        _along_rows(box, scratch, halves[1, : lengths[1]], 1)
        box, scratch = scratch, box
    _along_x(box, scratch, halves[2, : lengths[2]])
    return scratch


@kernel
def _lengths(halves: Singles) -> Ints:
    return np.array([(halves[axis] > 0).sum() for axis in range(3)])


@kernel
def smooth_box(box: Singles, weight: Singles, under: Singles, halves: Singles) -> Singles:
    """Gaussian sum of `box` over that of the weights, `under`, where `weight` is 1; 0 elsewhere.

    Single precision is enough: what is smoothed lies about the object's mean. `box` is 0 where
    `weight` is.
    """
    top = _smooth(box.copy(), np.empty_like(box), halves, _lengths(halves))
    flat, share, inside = top.reshape(-1), under.reshape(-1), weight.reshape(-1)
    for i in range(flat.size):
        flat[i] = flat[i] / share[i] if inside[i] > 0 else np.float32(0)
    return top


@kernel
def weight_box(
    layout: Layout, k: int, weights: Singles, weight: Singles, halves: Singles
) -> Singles:
    """Gaussian sums of the weights of object `k` in its box, padded by one.

    They are known, unless voxels of the object are ignored.
    """
    count = layout.voxels[k + 1] - layout.voxels[k]
    if weight.sum() == count:
        return box_values(layout, k, weights, np.float32(0), 1)
    return _smooth(weight.copy(), np.empty_like(weight), halves, _lengths(halves))


def inside_weights(objects: Objects, halves: Singles) -> Singles:
    """(N,) share of the Gaussian round every voxel, in object order, that is in the object.

    It is the same for every channel, so it is kept with the objects.
    """
    return objects.remember(
        ("weights", halves.tobytes()),
        lambda: objects.reduce(_weights, np.empty(objects.layout.voxels[-1], np.float32), halves),
    )


@kernel
def _weights(layout: Layout, halves: Singles, out: Singles, start: int, stop: int) -> None:
    for k in range(start, stop):
        mask = box_mask(layout, k, 1)
        weight = mask.astype(np.float32)
        smooth = _smooth(weight, np.empty_like(weight), halves, _lengths(halves)).reshape(-1)
        inside, at = mask.reshape(-1), layout.voxels[k]
        for i in range(inside.size):
            if inside[i]:
                out[at] = smooth[i]
                at += 1


@kernel
def laplacian(smooth: Singles, weight: Singles, spacing: Floats) -> Singles:
    """Sum of second differences over squared spacing; the border is mirrored.

    The outermost layer of the box must be outside the object (none in z of a plane).
    """
    depth, height, width = smooth.shape
    result = np.zeros_like(smooth)
    scale = np.float32(1) / (spacing * spacing).astype(np.float32)
    for z in range(depth):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                here = smooth[z, y, x]
                total = weight[z, y, x - 1] * (smooth[z, y, x - 1] - here)
                total += weight[z, y, x + 1] * (smooth[z, y, x + 1] - here)
                total *= scale[2]
                up = weight[z, y - 1, x] * (smooth[z, y - 1, x] - here)
                up += weight[z, y + 1, x] * (smooth[z, y + 1, x] - here)
                total += scale[1] * up
                if 0 < z < depth - 1:
                    up = weight[z - 1, y, x] * (smooth[z - 1, y, x] - here)
                    up += weight[z + 1, y, x] * (smooth[z + 1, y, x] - here)
                    total += scale[0] * up
                result[z, y, x] = weight[z, y, x] * total
    return result
