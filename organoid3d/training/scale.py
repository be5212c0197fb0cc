"""The scale at which the network sees: stacks and labels are brought to one size of nucleus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["lateral_diameter", "resize_image", "resize_labels", "scale_factors"]

Image = NDArray[np.float32]
Labels = NDArray[np.int32]

# Shrinking by f blurs with a Gaussian of this many new voxels first, against aliasing.
ANTIALIAS = 0.35
# Labels are interpolated as shapes where an axis grows by more; else the nearest voxel is taken.
SHAPE_GROWTH = 1.5
# Height of half an ellipsoid, in planes, that holds as much as half a plane: 2/3 of it is 1/2.
CAP = 0.75


def lateral_diameter(labels: NDArray[np.integer]) -> float:
    """Median diameter of the objects' widest planes, voxels in the plane; NaN without objects."""
    widest = np.zeros(int(labels.max(initial=0)) + 1)
    for plane in labels:
        counts = np.bincount(plane[plane > 0].ravel(), minlength=len(widest))
        np.maximum(widest, counts, out=widest)
    areas = widest[widest > 0]
    return float(np.median(np.sqrt(4 * areas / np.pi))) if len(areas) else float("nan")


def scale_factors(
    diameter: float, spacing: Sequence[float], target: Sequence[float]
) -> tuple[float, float, float]:
    """Factors (z, y, x) that bring balls of `diameter` micrometres to `target` voxels."""
    z, y, x = (t * s / diameter for t, s in zip(target, spacing))
    return z, y, x


def resize_image(image: NDArray[np.floating], factors: Sequence[float]) -> Image:
    """Resample a (Z, Y, X) image linearly; voxel centres keep their places in the whole."""
    sigma = [ANTIALIAS / f if f < 1 else 0.0 for f in factors]
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), sigma, truncate=3)
    resized: Image = _resampled(smooth, factors, order=1)
    return resized


def resize_labels(labels: NDArray[np.integer], factors: Sequence[float]) -> Labels:
    """Resample (Z, Y, X) labels.

    Planes that lie far apart are bridged by interpolating each object's signed distance, so that
    its outline changes gradually from plane to plane. Beyond its end planes it is rounded off, by
    as much volume as half a plane more would give it.
    """
    whole = np.asarray(labels, np.int32)
    if factors[0] <= SHAPE_GROWTH:
        return np.asarray(_resampled(whole, factors, order=0), np.int32)
    lateral: Labels = np.asarray(_resampled(whole, (1.0, *factors[1:]), order=0), np.int32)
    return _interpolate_planes(lateral, factors[0])


def _new_length(length: int, factor: float) -> int:
    return max(1, round(length * factor))


def _resampled(array: NDArray[np.generic], factors: Sequence[float], *, order: int) -> NDArray[Any]:
    shape = tuple(_new_length(n, f) for n, f in zip(array.shape, factors))
    steps = [n / m for n, m in zip(array.shape, shape)]
    offset = [step / 2 - 0.5 for step in steps]
    resampled: NDArray[Any] = ndimage.affine_transform(
        array, steps, offset=offset, output_shape=shape, order=order, mode="nearest"
    )
    return resampled


def _interpolate_planes(labels: Labels, factor: float) -> Labels:
    planes = _new_length(len(labels), factor)
    where = (np.arange(planes) + 0.5) * len(labels) / planes - 0.5
    bridged = np.zeros((planes, *labels.shape[1:]), np.int32)
    deepest = np.zeros(bridged.shape, np.float32)
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        low, high = max(box[0].start - 1, 0), min(box[0].stop + 1, len(labels))
        sides = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box[1:])
        masks = labels[low:high, *sides] == label
        rows = np.flatnonzero((where > low - 0.5) & (where < high - 0.5))
        level = _between(masks, np.clip(where[rows] - low, 0, high - low - 1))
        window = (slice(rows[0], rows[-1] + 1), *sides)
        mine = level > deepest[window]
        bridged[window][mine] = label
        deepest[window][mine] = level[mine]
    return bridged


def _between(masks: NDArray[np.bool_], places: NDArray[np.float64]) -> Image:
    """Depth inside an object, negative outside, at places between its planes."""
    depths = [_signed_depth(mask) if mask.any() else None for mask in masks]
    levels = np.full((len(places), *masks.shape[1:]), -np.inf, np.float32)
    for level, place in zip(levels, places):
        first = min(int(place), len(masks) - 1)
        below, above = depths[first], depths[min(first + 1, len(masks) - 1)]
        part = place - first
        if below is not None and above is not None:
            level[:] = (1 - part) * below + part * above
        elif below is not None:
            level[:] = _rounded_off(below, part)
        elif above is not None:
            level[:] = _rounded_off(above, 1 - part)
    return levels


def _rounded_off(depth: Image, away: float) -> Image:
    """Depth at a distance, in planes, beyond an end plane: that of half an ellipsoid on it."""
    if away >= CAP:
        return np.full_like(depth, -np.inf)
    lost = float(depth.max()) * (1 - math.sqrt(1 - (away / CAP) ** 2))
    return depth - np.float32(lost)


def _signed_depth(mask: NDArray[np.bool_]) -> Image:
    """Distance to the outline in the plane, positive inside."""
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~mask)
    return np.asarray(np.where(mask, inside - 0.5, 0.5 - outside), np.float32)
