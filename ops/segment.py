"""Nuclei by local contrast, divided where they neck or darken, and cells by growing them.

Needs no model and no graphics card. Nuclei are where an image exceeds half of what it reaches close
by; touching ones are told apart on a relief of depth inside the mask times brightness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.ops.pieces import cut_again, join_pieces
from poolvox.shared.errors import InputError
from poolvox.shared.imaging.basins import find_basins
from poolvox.shared.imaging.cleanup import (
    count_pixels,
    drop_small,
    fill_holes,
    number_from_one,
)
from poolvox.shared.imaging.distance import distance_to, expand_within
from poolvox.shared.imaging.filters import gaussian

__all__ = ["SegmentSettings", "Segmentation", "segment_cells", "segment_nuclei"]

Image = NDArray[Any]
Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """How nuclei and cells are found.

    Parameters
    ----------
    diameter : of a nucleus, in pixels; measured on the image if None
    share : a pixel belongs to a nucleus above this share of the brightness, over the background,
        that the nucleus reaches
    least_area : of a nucleus, as a share of that of a disk of the diameter
    grow : how far a cell reaches beyond its nucleus, in pixels; 0.4 diameters if None
    """

    diameter: float | None = None
    share: float = 0.45
    least_area: float = 0.2
    grow: float | None = None


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Labels of nuclei (Y, X), the diameter they were looked for at, and why there are none."""

    nuclei: Labels
    diameter: float
    reason: str = ""


# Contrast of nuclei over noise below which there are none.
LEAST_CONTRAST = 4.0
# Diameters, in pixels, that are looked for.
DIAMETERS = (6.0, 80.0)
# Pieces that touching nuclei are cut into first: the relief falls by this share between them.
LEAST_DENT = 0.01
# Blur of depth and brightness in diameters, where nuclei are cut and where they are cut again.
SMOOTH, SHARP = (1 / 14, 1 / 8), (1 / 28, 1 / 16)
# The diameter is measured in the middle of the image, this many pixels wide, by dividing it this
# many times at the diameter found before.
SAMPLE_SIDE = 512
SIZING_ROUNDS = 2


def segment_nuclei(image: Image, settings: SegmentSettings | None = None) -> Segmentation:
    """Find nuclei in a plane.

    Parameters
    ----------
    image : (Y, X) array, nuclei bright

    Examples
    --------
    >>> y, x = np.mgrid[:40, :40]
    >>> disk = 100.0 + 900.0 * (np.hypot(y - 20, x - 20) < 8)
    >>> int(segment_nuclei(disk).nuclei.max())
    1
    """
    if image.ndim != 2:
        raise InputError(f"nuclei are found in one plane (Y, X), got shape {image.shape}: pick one")
    settings = settings or SegmentSettings()
    none = np.zeros(image.shape, np.int32)
    plane = np.asarray(image, np.float32)
    if not np.isfinite(plane).all():
        raise InputError("the nuclear image holds NaN or infinite pixels: replace them")
    background, noise = _background(plane)
    lit = np.maximum(gaussian(plane - background, 1.0), 0)
    level = _otsu(lit)
    if level <= 0 or np.median(lit[lit > level]) < LEAST_CONTRAST * noise:
        return Segmentation(none, settings.diameter or 0.0, "no nuclei stand out in the image")
    diameter = settings.diameter or _diameter(lit, level, settings)
    mask = _mask(lit, level, diameter, settings.share)
    nuclei = _divide(lit, mask, diameter, settings)
    if not nuclei.any():
        return Segmentation(none, diameter, "no nuclei stand out in the image")
    return Segmentation(nuclei, diameter)


def segment_cells(nuclei: Labels, distance: float) -> Labels:
    """Grow nuclei by up to `distance` pixels; a cell has the number of its nucleus."""
    return expand_within(nuclei, distance).astype(np.int32)


def _background(plane: Image) -> tuple[float, float]:
    """Level and noise of the dark part of an image."""
    sample = plane[::4, ::4].ravel()
    low = np.percentile(sample, 25)
    dark = sample[sample <= 2 * low - np.percentile(sample, 1) + 1e-6]
    level = float(np.median(dark))
    difference = plane[::8, 2:] - plane[::8, :-2]
    return level, float(1.4826 * np.median(np.abs(difference)) / np.sqrt(2)) + 1e-6


def _otsu(lit: Image) -> float:
    """Threshold between dark and bright (Otsu 1979, doi:10.1109/TSMC.1979.4310076).

    On square roots, which give the noise of light one width and let dim nuclei count.
    """
    values = np.sqrt(lit[::2, ::2].ravel())
    top = float(values.max(initial=0))
    if top <= 0:
        return 0.0
    counts, edges = np.histogram(values, 256, range=(0, top))
    middle = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), counts.sum() - np.cumsum(counts)
    first = np.cumsum(counts * middle)
    mean_below = first / np.maximum(below, 1)
    mean_above = (first[-1] - first) / np.maximum(above, 1)
    return float(middle[np.argmax(below * above * (mean_below - mean_above) ** 2)] ** 2)


def _diameter(lit: Image, level: float, settings: SegmentSettings) -> float:
    """Diameter of nuclei as their median, from a first division of the middle of the image."""
    top, left = (max((size - SAMPLE_SIDE) // 2, 0) for size in lit.shape)
    lit = lit[top : top + SAMPLE_SIDE, left : left + SAMPLE_SIDE]
    mask = lit > level
    depth = distance_to(~mask)
    if not mask.any():
        return DIAMETERS[0]
    diameter = float(np.clip(2.5 * np.percentile(depth[mask], 75), *DIAMETERS))
    for _ in range(SIZING_ROUNDS):
        parts = _cut(lit, _mask(lit, level, diameter, settings.share), diameter)[0]
        sizes = count_pixels(parts)[1:]
        sizes = sizes[sizes >= settings.least_area * np.pi / 4 * diameter**2]
        if not len(sizes):
            break
        diameter = float(np.clip(2 * np.sqrt(np.median(sizes) / np.pi), *DIAMETERS))
    return diameter


def _mask(lit: Image, level: float, diameter: float, share: float) -> NDArray[np.bool_]:
    size = 2 * int(0.5 * diameter) + 1
    reached = ndimage.maximum_filter(gaussian(lit, max(diameter / 12, 0.5)), size=size)
    reached = gaussian(reached, diameter / 4)
    mask = (lit > share * reached) & (lit > 0.5 * level)
    return fill_holes(mask, 0.2 * diameter**2)


def _divide(
    lit: Image, mask: NDArray[np.bool_], diameter: float, settings: SegmentSettings
) -> Labels:
    area = np.pi / 4 * diameter**2
    nuclei, far = _cut(lit, mask, diameter)
    nuclei = cut_again(nuclei, _relief(far, lit, diameter, SHARP), area)
    return number_from_one(drop_small(nuclei, settings.least_area * area))


def _cut(lit: Image, mask: NDArray[np.bool_], diameter: float) -> tuple[Labels, Image]:
    """Nuclei at first sight, and how deep in the mask each pixel lies."""
    far = distance_to(~mask)
    relief = _relief(far, lit, diameter, SMOOTH)
    pieces = find_basins(relief, mask, depth=LEAST_DENT)
    return join_pieces(pieces, relief, np.pi / 4 * diameter**2), far


def _relief(
    far: Image, lit: Image, diameter: float, blur: tuple[float, float]
) -> NDArray[np.float32]:
    """Depth inside the mask times the root of the brightness, both blurred."""
    depth = gaussian(far, diameter * blur[0])
    light = np.maximum(gaussian(lit, diameter * blur[1]), 1e-3)
    return np.ascontiguousarray(depth * np.sqrt(light), np.float32)
