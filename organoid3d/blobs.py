"""Bright blobs of a given size: the Laplacian of Gaussian in micrometres, and the size itself.

Works on any anisotropy: the second difference along an axis is that of the smoothed samples, so
it fades where planes lie farther apart than the blob is wide, instead of amplifying noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

__all__ = [
    "Pooled",
    "blob_response",
    "estimate_diameter",
    "find_peaks",
    "pool",
    "pool_by",
    "window",
]

Stack = NDArray[np.float32]

# A ball of radius r answers most to a Gaussian of r / sqrt(3), a blurred one hardly less.
RADII_PER_SIGMA = np.sqrt(3.0)
# Blobs are looked for on voxels of about this part of their diameter; finer ones are pooled.
VOXELS_ACROSS = 8
# Diameters that are tried, micrometres: from the first on, each larger by the factor.
SMALLEST_DIAMETER = 3.0
DIAMETER_STEP = 1.2
DIAMETERS = 15
# Least diameter in voxels, and largest in parts of the field, that can be told from noise.
MIN_VOXELS = 4
MAX_FIELD_PART = 0.4
# Peaks weaker than this part of the strongest say nothing about size.
WEAK_PEAK = 0.25
# Peaks at neighbouring sizes are the same blob if they lie this near, in diameters.
SAME_BLOB = 0.4


@dataclass(frozen=True, slots=True)
class Pooled:
    """A stack averaged over blocks of voxels.

    Attributes
    ----------
    stack : (Z, Y, X) array
    factors : voxels of the original per voxel, by axis
    spacing : (3,) array, micrometres
    """

    stack: Stack
    factors: tuple[int, int, int]
    spacing: NDArray[np.float64]


def pool(stack: NDArray[np.floating], spacing: Sequence[float], voxel: float) -> Pooled:
    """Average blocks of voxels until they are about `voxel` micrometres wide, at most."""
    z, y, x = (max(1, min(int(voxel / s), n)) for s, n in zip(spacing, stack.shape))
    return Pooled(pool_by(stack, (z, y, x)), (z, y, x), np.asarray(spacing) * (z, y, x))


def pool_by(stack: NDArray[np.floating], factors: Sequence[int]) -> Stack:
    """Average blocks of so many voxels along each axis; the stack itself where all are 1."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            stack = _pool_axis(stack, axis, factor)
    return np.asarray(stack, np.float32)


def window(width: float, spacing: NDArray[np.float64]) -> tuple[int, ...]:
    """Odd numbers of voxels that cover `width` micrometres."""
    return tuple(2 * max(0, round(width / 2 / step)) + 1 for step in spacing)


def blob_response(stack: Stack, spacing: NDArray[np.float64], diameter: float) -> Stack:
    """Answer of every voxel to a bright ball of that diameter, in micrometres.

    The scale-normalised negative Laplacian of the smoothed stack, doi:10.1023/A:1008045108935.
    """
    sigma = diameter / 2 / RADII_PER_SIGMA
    # Mirrored, the stack is flat across its border, as the one-sided differences there assume.
    smooth: Stack = ndimage.gaussian_filter(stack, sigma / spacing, mode="reflect", truncate=3)
    response: Stack = np.zeros_like(smooth)
    for axis in range(3):
        if smooth.shape[axis] < 2:
            continue
        weight = np.float32((sigma / spacing[axis]) ** 2)
        lines, sums = np.moveaxis(smooth, axis, 0), np.moveaxis(response, axis, 0)
        step = np.diff(lines, axis=0)
        step *= weight
        sums[:-1] -= step
        sums[1:] += step
    return response


def find_peaks(
    response: Stack, spacing: NDArray[np.float64], apart: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Positive local maxima at least about `apart` micrometres from stronger ones.

    Returns
    -------
    (N, 3) voxel indices in raster order, and their (N,) responses
    """
    size = tuple(
        max(3, n) if d > 1 else 1 for n, d in zip(window(2 * apart, spacing), response.shape)
    )
    highest = ndimage.maximum_filter(response, size=size, mode="nearest")
    found = np.argwhere((response == highest) & (response > 0))
    strength: NDArray[np.float64] = response[tuple(found.T)].astype(np.float64)
    return found, strength


def estimate_diameter(stack: Stack, spacing: Sequence[float]) -> float:
    """Diameter, in micrometres, of the blobs that a stack mostly consists of.

    Blobs are maxima of the normalised response over position and size. Each votes for its size,
    by its squared strength and by its volume: noise and texture, weak or small, have no say.
    NaN where there is no blob.
    """
    sizes = _candidates(stack.shape, spacing)
    peaks = [_peaks_at(stack, spacing, size) for size in sizes]
    strongest = max((float(strength.max()) for _, strength in peaks if len(strength)), default=0.0)
    votes: list[tuple[float, float]] = []
    # The first and last size cannot be maxima over size.
    for number in range(1, len(sizes) - 1):
        places, strength = peaks[number]
        kept = strength > WEAK_PEAK * strongest
        for other in {number - 2, number - 1, number + 1, number + 2} & set(range(len(sizes))):
            reach = SAME_BLOB * sizes[max(number, other)]
            kept &= strength >= _strongest_near(places, *peaks[other], reach)
        votes += [(sizes[number], value**2 * sizes[number] ** 3) for value in strength[kept]]
    return _weighted_median(votes)


def _candidates(shape: Sequence[int], spacing: Sequence[float]) -> list[float]:
    sizes = SMALLEST_DIAMETER * DIAMETER_STEP ** np.arange(DIAMETERS)
    finest = MIN_VOXELS * max(spacing[1:])
    largest = MAX_FIELD_PART * min(n * s for n, s in zip(shape[1:], spacing[1:]))
    return [float(size) for size in sizes if finest <= size <= largest]


def _peaks_at(
    stack: Stack, spacing: Sequence[float], diameter: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pooled = pool(stack, spacing, diameter / VOXELS_ACROSS)
    response = blob_response(pooled.stack, pooled.spacing, diameter)
    places, strength = find_peaks(response, pooled.spacing, 0.3 * diameter)
    return (places + 0.5) * pooled.spacing, strength


def _strongest_near(
    places: NDArray[np.float64],
    others: NDArray[np.float64],
    strength: NDArray[np.float64],
    reach: float,
) -> NDArray[np.float64]:
    strongest = np.zeros(len(places))
    if len(places) and len(others):
        near = cKDTree(others).query_ball_point(places, reach)
        for number, indices in enumerate(near):
            if indices:
                strongest[number] = strength[indices].max()
    return strongest


def _weighted_median(votes: list[tuple[float, float]]) -> float:
    if not votes:
        return float("nan")
    values, weights = np.array(sorted(votes)).T
    total = np.cumsum(weights)
    return float(values[np.searchsorted(total, total[-1] / 2)])


def _pool_axis(stack: NDArray[np.floating], axis: int, factor: int) -> NDArray[np.floating]:
    """Average `factor` neighbours; a rest at the end is averaged over what is there."""
    lines = np.moveaxis(stack, axis, 0)
    starts = np.arange(0, len(lines), factor)
    counts = np.diff(starts, append=len(lines)).astype(np.float32)
    sums = np.add.reduceat(lines, starts, axis=0, dtype=np.float32)
    means = sums / counts.reshape(-1, *[1] * (stack.ndim - 1))
    return np.asarray(np.moveaxis(means, 0, axis), np.float32)
