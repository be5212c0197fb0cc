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

__all__ = [
    "convolve",
    "gaussian_kernels",
    "inside_weights",
    "laplacian",
    "smooth_box",
    "weight_box",
]

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
def _shifted(source: Singles, target: Singles, half: Singles, jump: int) -> None:
    """Convolve flat arrays along the axis whose neighbours are `jump` apart, 0 outside.

    Long loops without a condition, which vectorise; lines of an object are too short for that.
    """
    size = len(source)
    for i in range(size):
        target[i] = half[0] * source[i]
    for d in range(1, len(half)):
        weight, away = half[d], d * jump
        if away >= size:
            break
        # Views, not sums of indices, which could be negative for all that the compiler knows.
        before, after = source[: size - away], source[away:]
        low, high = target[: size - away], target[away:]
        for i in range(size - away):
            low[i] += weight * after[i]
        for i in range(size - away):
            high[i] += weight * before[i]


@kernel
def _turn(source: Singles, target: Singles, height: int, width: int) -> None:
    for y in range(height):
        for x in range(width):
            target[x * height + y] = source[y * width + x]


@kernel
def _smooth(box: Singles, scratch: Singles, halves: Singles, lengths: Ints) -> Singles:
    """Convolve along all axes; `box` is used up, and the result is in it."""
    depth, height, width = box.shape
    plane = height * width
    if depth > 1:
        _shifted(box.reshape(-1), scratch.reshape(-1), halves[0, : lengths[0]], plane)
        box[:] = scratch
    for z in range(depth):
        one, other = box[z].reshape(-1), scratch[z].reshape(-1)
        _shifted(one, other, halves[1, : lengths[1]], width)
        # Turned, so that neighbours along x are a line apart as well.
        _turn(other, one, height, width)
        _shifted(one, other, halves[2, : lengths[2]], height)
        _turn(other, one, width, height)
    return box


@kernel
def _lengths(halves: Singles) -> Ints:
    return np.array([(halves[axis] > 0).sum() for axis in range(3)])


@kernel
def convolve(box: Singles, halves: Singles) -> Singles:
    """Convolve along all axes, 0 outside; `box` is used up."""
    return _smooth(box, np.empty_like(box), halves, _lengths(halves))


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
            here, inside, out = smooth[z, y, 1:-1], weight[z, y, 1:-1], result[z, y, 1:-1]
            _add(out, here, smooth[z, y, :-2], weight[z, y, :-2], scale[2])
            _add(out, here, smooth[z, y, 2:], weight[z, y, 2:], scale[2])
            _add(out, here, smooth[z, y - 1, 1:-1], weight[z, y - 1, 1:-1], scale[1])
            _add(out, here, smooth[z, y + 1, 1:-1], weight[z, y + 1, 1:-1], scale[1])
            if 0 < z < depth - 1:
                _add(out, here, smooth[z - 1, y, 1:-1], weight[z - 1, y, 1:-1], scale[0])
                _add(out, here, smooth[z + 1, y, 1:-1], weight[z + 1, y, 1:-1], scale[0])
            for x in range(width - 2):
                out[x] *= inside[x]
    return result


@kernel
def _add(out: Singles, here: Singles, near: Singles, weight: Singles, scale: float) -> None:
    """Add the weighted differences of a row to its neighbours on one side."""
    for x in range(len(out)):
        out[x] += scale * weight[x] * (near[x] - here[x])
