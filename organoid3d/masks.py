"""Organoids as a whole, and the lumens in them, with every length in micrometres.

Dilation and erosion are thresholds on Euclidean distances, so they are balls on any voxel grid.
Masks are found on voxels of about a micrometre: finer ones would cost time and change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters

from poolvox.organoid3d.blobs import pool
from poolvox.organoid3d.bodies import split_bodies
from poolvox.shared.errors import InputError
from poolvox.shared.imaging.distance import distance_to

__all__ = [
    "LumenOptions",
    "OrganoidOptions",
    "close_by",
    "open_by",
    "segment_lumens",
    "segment_organoids",
]

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint32]
Stack = NDArray[np.float32]
Threshold = Literal["otsu", "li", "triangle"]

# Edge of the voxels on which masks are found, micrometres.
VOXEL = 1.0
# Contrast at which the logarithm bends, relative to a channel's bright parts.
KNEE = 0.2


@dataclass(frozen=True, slots=True)
class OrganoidOptions:
    """How organoids are told from the empty field.

    Parameters
    ----------
    threshold : method, or a number: part of the range between the field and bright tissue, on a
        logarithmic scale
    smooth : width of the Gaussian, micrometres
    closing : gaps narrower than twice this are bridged, micrometres
    min_volume : cubic micrometres; smaller bodies are debris
    neck : bodies that touch are told apart where the neck between them is narrower than this part
        of the thinner one's width; 0 leaves them together
    rim : cytoplasm around nuclei that the channels do not show, micrometres
    """

    threshold: Threshold | float = "otsu"
    smooth: float = 1.5
    closing: float = 5.0
    min_volume: float = 2000.0
    neck: float = 0.0
    rim: float = 0.0


@dataclass(frozen=True, slots=True)
class LumenOptions:
    """What is a lumen.

    Parameters
    ----------
    smooth : width of the Gaussian, micrometres
    opening : clefts narrower than twice this are no lumen, micrometres
    wall : least thickness of tissue around it, micrometres
    min_volume : cubic micrometres
    rim : cytoplasm around nuclei that the channels do not show, micrometres: no lumen either
    """

    smooth: float = 0.8
    opening: float = 3.0
    wall: float = 3.0
    min_volume: float = 300.0
    rim: float = 0.0


def segment_organoids(
    channels: Sequence[NDArray[Any]],
    *,
    spacing: Sequence[float],
    nuclei: NDArray[np.integer] | None = None,
    options: OrganoidOptions | None = None,
) -> Labels:
    """Find organoids, lumens included.

    Parameters
    ----------
    channels : (Z, Y, X) arrays that together show the tissue, finite
    spacing : micrometres
    nuclei : labels; they always belong to the tissue

    Returns
    -------
    (Z, Y, X) labels 1 to N in raster order
    """
    options = options or OrganoidOptions()
    light, steps, factors = _combined(channels, spacing)
    shape = channels[0].shape
    smooth = ndimage.gaussian_filter(light, options.smooth / steps, mode="nearest", truncate=3)
    tissue = smooth > _level(smooth, options.threshold)
    if nuclei is not None:
        tissue |= _with_rim(nuclei, spacing, options.rim, steps)
    filled = ndimage.binary_fill_holes(close_by(tissue, options.closing, steps.tolist()))
    labels = split_bodies(filled, steps.tolist(), neck=options.neck, least=options.min_volume)
    kept = _large(labels, options.min_volume / float(steps.prod()))
    return _spread(kept, factors, shape)


def segment_lumens(
    channels: Sequence[NDArray[Any]],
    organoids: Labels,
    *,
    spacing: Sequence[float],
    nuclei: NDArray[np.integer] | None = None,
    options: LumenOptions | None = None,
) -> Labels:
    """Find dark cavities that tissue encloses.

    Parameters
    ----------
    channels : (Z, Y, X) arrays that together show the tissue
    organoids : (Z, Y, X) labels, lumens included
    spacing : micrometres
    nuclei : labels; no nucleus is lumen

    Returns
    -------
    (Z, Y, X) labels 1 to N in raster order
    """
    options = options or LumenOptions()
    light, steps, factors = _combined(channels, spacing)
    smooth = ndimage.gaussian_filter(light, options.smooth / steps, mode="nearest", truncate=3)
    inside = _pooled_mask(organoids > 0, spacing)
    if not inside.any():
        return np.zeros(organoids.shape, np.uint32)
    depth = distance_to(~inside, spacing=steps.tolist())
    core = depth > options.wall
    dark = core & (smooth < _level(smooth[inside], "otsu"))
    if nuclei is not None:
        dark &= ~_with_rim(nuclei, spacing, options.rim, steps)
    cavities = open_by(dark, options.opening, steps.tolist())
    labels, count = ndimage.label(cavities)
    labels = _enclosed(labels, count, depth, options.wall + VOXEL)
    kept = _large(labels, options.min_volume / float(steps.prod()))
    return np.where(organoids > 0, _spread(kept, factors, organoids.shape), np.uint32(0))


def close_by(mask: Mask, radius: float, spacing: Sequence[float]) -> Mask:
    """Close gaps narrower than twice `radius` micrometres; the border of the stack is no edge."""
    if radius <= 0 or not mask.any():
        return mask
    margin = [(int(np.ceil(radius / step)) + 1,) * 2 for step in spacing]
    padded = np.pad(mask, margin)
    grown = distance_to(padded, spacing=spacing) <= radius
    shrunk = distance_to(~grown, spacing=spacing) > radius
    inner = tuple(slice(before, n - after) for (before, after), n in zip(margin, padded.shape))
    closed: Mask = shrunk[inner] | mask
    return closed


def open_by(mask: Mask, radius: float, spacing: Sequence[float]) -> Mask:
    """Remove parts narrower than twice `radius` micrometres."""
    if radius <= 0 or not mask.any():
        return mask
    # The tissue goes on past the border: where nothing is outside, the distance is infinite.
    shrunk = distance_to(~mask, spacing=spacing) > radius
    opened: Mask = (distance_to(shrunk, spacing=spacing) <= radius) & mask
    return opened


def _combined(
    channels: Sequence[NDArray[Any]], spacing: Sequence[float]
) -> tuple[Stack, NDArray[np.float64], tuple[int, int, int]]:
    """Brightest channel at each voxel, each on its own range, on a logarithmic scale."""
    if not len(channels):  # an array with channels first will do
        raise InputError("an organoid mask needs at least one channel")
    best: Stack | None = None
    for channel in channels:
        pooled = pool(np.asarray(channel, np.float32), spacing, VOXEL)
        low, high = np.percentile(pooled.stack, (2, 99.5))
        part = np.clip((pooled.stack - low) / max(float(high - low), 1e-9), 0, 1)
        best = part if best is None else np.maximum(best, part)
    assert best is not None
    light: Stack = np.log1p(best / np.float32(KNEE)) / np.float32(np.log1p(1 / KNEE))
    return light, pooled.spacing, pooled.factors


def _level(light: Stack, threshold: Threshold | float) -> float:
    if isinstance(threshold, str):
        if float(np.ptp(light)) == 0:
            return float(light.max())
        method = getattr(filters, f"threshold_{threshold}")
        # Raveled: a last axis of 3 would be taken for colours.
        return float(method(light.ravel()))
    if not 0 < threshold < 1:
        raise InputError(f"a threshold given as a number lies between 0 and 1, got {threshold}")
    return float(threshold)


def _pooled_mask(mask: Mask, spacing: Sequence[float]) -> Mask:
    pooled: Mask = pool(mask.astype(np.float32), spacing, VOXEL).stack >= 0.5
    return pooled


def _with_rim(
    nuclei: NDArray[np.integer],
    spacing: Sequence[float],
    rim: float,
    steps: NDArray[np.float64],
) -> Mask:
    """Nuclei and the cytoplasm around them, on voxels of `steps` micrometres."""
    inside = _pooled_mask(nuclei > 0, spacing)
    if rim <= 0 or not inside.any():
        return inside
    near: Mask = distance_to(inside, spacing=steps.tolist()) <= rim
    return near


def _enclosed(
    labels: NDArray[np.int32], count: int, depth: NDArray[np.float32], wall: float
) -> NDArray[np.int32]:
    """Drop cavities of whose surface much lies at the outer wall: bays, not lumens."""
    if not count:
        return labels
    inner = ndimage.minimum_filter(labels, size=3) == labels
    surface = (labels > 0) & ~inner
    owner = labels[surface]
    total = np.bincount(owner, minlength=count + 1)
    shallow = np.bincount(owner, depth[surface] <= wall, minlength=count + 1)
    keep = shallow <= 0.3 * np.maximum(total, 1)
    keep[0] = False
    return np.where(keep[labels], labels, 0)


def _large(labels: NDArray[np.int32], least: float) -> Labels:
    """Drop small bodies and number the rest anew."""
    sizes = np.bincount(labels.ravel())
    keep = sizes >= max(least, 1)
    keep[0] = False
    names = np.zeros(len(sizes), np.uint32)
    names[keep] = np.arange(1, np.count_nonzero(keep) + 1)
    return names[labels]


def _spread(labels: Labels, factors: tuple[int, int, int], shape: tuple[int, ...]) -> Labels:
    index = [np.arange(n) // factor for n, factor in zip(shape, factors)]
    return labels[np.ix_(*index)]
