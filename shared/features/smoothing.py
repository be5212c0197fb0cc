"""Gaussian smoothing and Laplacian inside an object, as if nothing else existed.

Voxels outside the object have no weight, so neighbours do not leak in and a cut elsewhere changes
nothing. The kernel is the discrete analogue of the Gaussian (Lindeberg 1990, doi:10.1109/34.49051),
which is right at any width, also where it is narrower than the z step.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ive

from poolvox.shared.features.kernels import Floats, kernel

__all__ = ["gaussian_kernels", "laplacian", "smooth_box"]

# Kernels are cut where less than this weight is left on either side.
TAIL = 1e-4


def gaussian_kernels(sigma: float, spacing: Floats) -> Floats:
    """Half of the discrete Gaussian kernel along each axis, centre first: (3, length).

    Parameters
    ----------
    sigma : micrometres
    spacing : (3,) micrometres per voxel
    """
    variances = (sigma / np.asarray(spacing)) ** 2
    reach = int(np.ceil(6 * np.sqrt(variances.max()))) + 3
    full = np.array([ive(np.arange(reach), variance) for variance in variances])
    left = (1 - full[:, :1] - 2 * np.cumsum(full[:, 1:], axis=1)) / 2
    needed = 1 + int(np.max(np.argmax(left < TAIL, axis=1))) + 1
    return np.ascontiguousarray(full[:, :needed])


@kernel
def _along(source: Floats, target: Floats, half: Floats, axis: int) -> None:
    """Convolve along one axis, zero outside; whole rows at a time, so that it vectorises."""
    depth, height, width = source.shape
    size = source.shape[axis]
    for z in range(depth):
        for y in range(height):
            row = target[z, y]
            row[:] = half[0] * source[z, y]
            if axis == 2:
                for d in range(1, min(len(half), width)):
                    row[d:] += half[d] * source[z, y, : width - d]
                    row[: width - d] += half[d] * source[z, y, d:]
                continue
            at = z if axis == 0 else y
            for d in range(1, min(len(half), size)):
                if half[d] < 1e-9:
                    break
                for near in (at - d, at + d):
                    if 0 <= near < size:
                        row += half[d] * (source[near, y] if axis == 0 else source[z, near])


@kernel
def smooth_box(box: Floats, weight: Floats, halves: Floats) -> Floats:
    """Weighted Gaussian mean of `box` where `weight` is positive, 0 elsewhere."""
    top, base, scratch = box * weight, weight.copy(), np.empty_like(box)
    for axis in range(3):
        if box.shape[axis] > 1:
            _along(top, scratch, halves[axis], axis)
            top, scratch = scratch, top
            _along(base, scratch, halves[axis], axis)
            base, scratch = scratch, base
    flat, under, inside = top.reshape(-1), base.reshape(-1), weight.reshape(-1)
    for i in range(flat.size):
        flat[i] = flat[i] / under[i] if inside[i] > 0 else 0.0
    return top


@kernel
def laplacian(smooth: Floats, weight: Floats, spacing: Floats) -> Floats:
    """Sum of second differences over squared spacing; the border is mirrored."""
    depth, height, width = smooth.shape
    result = np.zeros(smooth.shape)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if weight[z, y, x] == 0:
                    continue
                here = smooth[z, y, x]
                total = 0.0
                if x > 0 and weight[z, y, x - 1] > 0:
                    total += (smooth[z, y, x - 1] - here) / spacing[2] ** 2
                if x < width - 1 and weight[z, y, x + 1] > 0:
                    total += (smooth[z, y, x + 1] - here) / spacing[2] ** 2
                if y > 0 and weight[z, y - 1, x] > 0:
                    total += (smooth[z, y - 1, x] - here) / spacing[1] ** 2
                if y < height - 1 and weight[z, y + 1, x] > 0:
                    total += (smooth[z, y + 1, x] - here) / spacing[1] ** 2
                if z > 0 and weight[z - 1, y, x] > 0:
                    total += (smooth[z - 1, y, x] - here) / spacing[0] ** 2
                if z < depth - 1 and weight[z + 1, y, x] > 0:
                    total += (smooth[z + 1, y, x] - here) / spacing[0] ** 2
                result[z, y, x] = total
    return result
