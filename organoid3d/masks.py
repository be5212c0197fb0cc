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
from poolvox.organoid3d.cavities import closed_off, filled_bodies, wider_than_gaps
from poolvox.organoid3d.levels import lit_surroundings
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
# Gaps between nuclei that stand out may be narrower than other lumens by this factor.
SMALLER = 0.75
# What no lumen is narrower than from its middle on, and no gap wider, in rims of cytoplasm; with
# membranes, in halves of the opening.
NARROW, CERTAIN = 2.1, 7.0


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
    membrane : which of the channels, from 0, shows membranes; None where none does
    """

    smooth: float = 0.8
    opening: float = 3.0
    wall: float = 3.0
    min_volume: float = 300.0
    rim: float = 0.0
    membrane: int | None = None


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
    light, steps, factors, lit = _combined(channels, spacing)
    shape = channels[0].shape
    smooth = ndimage.gaussian_filter(light, options.smooth / steps, mode="nearest", truncate=3)
    tissue = smooth > _level(smooth if lit is None else smooth[lit], options.threshold)
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
    """Find cavities that tissue encloses.

    Dark ones; where one of the channels shows membranes, only those that these close off from the
    nuclei, and cavities that are filled with their stain; with nuclei alone (`rim`), only those
    far wider than the gaps between nuclei.

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
    light, steps, factors, _ = _combined(channels, spacing)
    bodies = _coarse(organoids, factors)
    if not bodies.any():
        return np.zeros(organoids.shape, np.uint32)
    nuclear = np.zeros(bodies.shape, bool) if nuclei is None else _pooled_mask(nuclei > 0, spacing)
    stain = None
    if options.membrane is not None:
        stain = _smoothed(_combined([channels[options.membrane]], spacing)[0], options, steps)
    depth = distance_to(bodies == 0, spacing=steps.tolist())
    place = _Place(bodies, nuclear, depth, steps.tolist())
    cavities = _find_cavities(place, _smoothed(light, options, steps), stain, options)
    labels, count = ndimage.label(cavities)
    labels = _enclosed(labels, count, depth, options.wall + VOXEL)
    kept = _large(labels, options.min_volume / float(steps.prod()))
    return np.where(organoids > 0, _spread(kept, factors, organoids.shape), np.uint32(0))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where lumens are looked for: (Z, Y, X) arrays on voxels of `spacing` micrometres.

    Attributes
    ----------
    organoids, nuclei : labels, and where nuclei are
    depth : micrometres to the surface
    """

    organoids: Labels
    nuclei: Mask
    depth: NDArray[np.float32]
    spacing: list[float]


def _find_cavities(
    place: _Place, light: Stack, membranes: Stack | None, options: LumenOptions
) -> Mask:
    """Dark cavities between nuclei; where these tell too little, those that are told apart."""
    inside, spacing, opening = place.organoids > 0, place.spacing, options.opening
    dark = light < _level(light[inside], "otsu")
    free = (place.depth > options.wall) & ~_grown(place.nuclei, options.rim, spacing)
    cavities = open_by(dark & free, opening, spacing)
    if membranes is None and options.rim <= 0:
        return cavities
    if membranes is None:
        cavities = _with_new(cavities, open_by(dark & free, SMALLER * opening, spacing))
    unit = options.rim if membranes is None else opening / 2
    taken = place.nuclei | (inside & ~dark)
    wide = wider_than_gaps(
        cavities,
        np.minimum(distance_to(taken, spacing=spacing), place.depth),
        place.organoids,
        spacing=spacing,
        least=NARROW * unit,
        certain=CERTAIN * unit,
    )
    if membranes is None:
        return wide
    closed = closed_off(cavities, membranes, place.nuclei, inside, spacing=spacing, opening=opening)
    filled = filled_bodies(membranes, place.nuclei, inside, spacing=spacing, opening=opening)
    return _with_new(closed | (filled & free), wide)


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
) -> tuple[Stack, NDArray[np.float64], tuple[int, int, int], Mask | None]:
    """Brightest channel at each voxel, each on its own range, on a logarithmic scale.

    Returns
    -------
    light, its spacing, voxels of the channels per voxel, and where its levels are to be taken if
    not everywhere
    """
    if not len(channels):  # an array with channels first will do
        raise InputError("an organoid mask needs at least one channel")
    best: Stack | None = None
    lit: list[Mask | None] = []
    for channel in channels:
        pooled = pool(np.asarray(channel, np.float32), spacing, VOXEL)
        lit.append(lit_surroundings(pooled.stack, pooled.spacing.tolist()))
        low, high = np.percentile(pooled.stack, (2, 99.5))
        if (around := lit[-1]) is not None:
            high = np.percentile(pooled.stack[around], 99.5)
        part = np.clip((pooled.stack - low) / max(float(high - low), 1e-9), 0, 1)
        best = part if best is None else np.maximum(best, part)
    assert best is not None
    light: Stack = np.log1p(best / np.float32(KNEE)) / np.float32(np.log1p(1 / KNEE))
    masks = [mask for mask in lit if mask is not None]
    where = np.logical_or.reduce(masks) if len(masks) == len(lit) else None
    return light, pooled.spacing, pooled.factors, where


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
    return _grown(_pooled_mask(nuclei > 0, spacing), rim, steps.tolist())


def _grown(mask: Mask, radius: float, spacing: Sequence[float]) -> Mask:
    if radius <= 0 or not mask.any():
        return mask
    near: Mask = distance_to(mask, spacing=spacing) <= radius
    return near


def _with_new(mask: Mask, more: Mask) -> Mask:
    """Add the bodies of `more` that share no voxel with the mask."""
    labels, count = ndimage.label(more)
    is_new = np.ones(count + 1, bool)
    is_new[0] = False
    is_new[labels[mask]] = False
    with_new: Mask = mask | is_new[labels]
    return with_new


def _coarse(labels: Labels, factors: tuple[int, int, int]) -> Labels:
    """Labels of the middles of so many voxels each."""
    index = [
        np.minimum(np.arange(-(-n // factor)) * factor + factor // 2, n - 1)
        for n, factor in zip(labels.shape, factors, strict=True)
    ]
    return labels[np.ix_(*index)]


def _smoothed(light: Stack, options: LumenOptions, steps: NDArray[np.float64]) -> Stack:
    return np.asarray(
        ndimage.gaussian_filter(light, options.smooth / steps, mode="nearest", truncate=3)
    )


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
