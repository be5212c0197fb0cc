"""Find the reads of a tile, and measure the light of each in every cycle and channel.

A read lies in the same place in all cycles, so it is looked for once, in the sum of all base images
in units of their noise. Its light is then measured in the pixels as they came from the camera: the
amplitude of a round spot on a level background, fitted together with the spots beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.ops.psf import DEFAULT_SIGMA, fit_planes, spot_size, unmix
from poolvox.shared.errors import InputError
from poolvox.shared.imaging.combine import noise_level, weighted_sum
from poolvox.shared.imaging.filters import band_pass
from poolvox.shared.imaging.warp import Transform

__all__ = [
    "Bases",
    "SpotSettings",
    "check_images",
    "combine_bases",
    "detect",
    "find_spots",
    "plane_levels",
    "sample_bases",
    "stand_alone",
]

Images = NDArray[np.uint16]
Floats = NDArray[np.float32]

# Pixels count no more than this many standard deviations of the noise of their plane, or than its
# brightest 0.05 %, whichever is more: a speck of dust is not to outweigh all reads.
CEILING = 100.0
# A tile's noise is measured in blocks of this many pixels; it is never below this share of the
# median block.
NOISE_BLOCK = 64
NOISE_FLOOR = 0.5
# Spots nearer than this to each other are one, in units of the width of a spot.
MERGE = 0.9


@dataclass(frozen=True, slots=True)
class SpotSettings:
    """How reads are found.

    Parameters
    ----------
    min_snr : height of a spot in the band-passed sum of all planes over the noise round it; what is
        noise falls below it, and what is left is told from reads by the decoder
    band : fine and coarse width of the band-pass, in pixels; fine keeps neighbours apart
    """

    min_snr: float = 4.5
    band: tuple[float, float] = (0.75, 1.3)


@dataclass(frozen=True, slots=True)
class Bases:
    """Light of the reads.

    Parameters
    ----------
    intensity : (n, cycle, channel) amplitudes in counts of the camera; NaN where a cycle is blank
        or the spot lies outside of it
    noise : (n, cycle, channel) standard deviations of the amplitudes
    """

    intensity: Floats
    noise: Floats


def check_images(images: NDArray[Any], *, needed: Sequence[int] = ()) -> None:
    """Refuse what is no stack of sequencing images.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array
    needed : indices of channels that there must be
    """
    if images.ndim != 4:
        raise InputError(
            f"a tile is (cycle, channel, Y, X), got an array of shape {images.shape}: "
            "stack the cycles and channels of one tile"
        )
    if images.shape[1] <= max(needed, default=0):
        raise InputError(
            f"the images have {images.shape[1]} channels, the configuration names at least "
            f"{max(needed) + 1}: correct `channels`, in the order of the file"
        )
    if images.dtype != np.uint16:
        raise InputError(f"images are uint16 as cameras write them, got {images.dtype}: convert")
    if not images.any():
        raise InputError(
            "all images of the tile are zero: nothing was recorded, or files are empty"
        )


def combine_bases(
    images: Images,
    transforms: Sequence[Sequence[Transform]],
    channels: Sequence[int],
    levels: Floats | None = None,
) -> Floats:
    """Sum of all base images in units of their noise, on the frame of the first cycle.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array
    transforms : per cycle and channel, from the frame of the first cycle
    channels : indices of the base channels
    levels : what `plane_levels` says, if it is known

    Returns
    -------
    (Y, X) array in standard deviations of its own noise; planes without noise (blank) are left out
    """
    total: Floats = np.zeros(images.shape[2:], np.float32)
    used = 0
    levels = plane_levels(images, channels) if levels is None else levels
    for cycle, (level, noise, top) in enumerate(levels.transpose(0, 2, 1)):
        seen = np.flatnonzero(noise > 0)
        if not len(seen):
            continue
        chosen = [channels[k] for k in seen.tolist()]
        planes = _planes(images[cycle], chosen)
        weighted_sum(
            planes,
            [transforms[cycle][c] for c in chosen],
            weights=1 / noise[seen],
            ceilings=np.maximum(level + CEILING * noise, top)[seen],
            out=total,
        )
        used += len(seen)
    if not used:
        raise InputError(
            "all base images of the tile are of one brightness, blank or saturated: no reads can "
            "be found"
        )
    total /= np.float32(np.sqrt(used))
    return total


def plane_levels(images: Images, channels: Sequence[int]) -> Floats:
    """Level, noise and brightness of the base images, (cycle, channel, 3); see `noise_level`."""
    levels = [[noise_level(cycle[c]) for c in channels] for cycle in images]
    return np.array(levels, np.float32).reshape(len(images), len(channels), 3)


def _planes(cycle: Images, chosen: Sequence[int]) -> Images:
    """Planes of a cycle; without a copy where they lie beside each other."""
    first, last = chosen[0], chosen[-1] + 1
    if list(chosen) == list(range(first, last)):
        return cycle[first:last]
    return cycle[list(chosen)]


def find_spots(
    images: Images,
    transforms: Sequence[Sequence[Transform]],
    channels: Sequence[int],
    *,
    settings: SpotSettings | None = None,
) -> pd.DataFrame:
    """Find the reads of a tile.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array
    transforms : per cycle and channel, from the frame of the first cycle
    channels : indices of the base channels

    Returns
    -------
    Columns y, x (pixels of the first cycle), peak (in the sum of all planes, in units of its
    noise), snr (over the noise round it) and sigma (width of the spots of this tile, pixels), from
    top to bottom.
    """
    return detect(combine_bases(images, transforms, channels), settings or SpotSettings())


def detect(combined: Floats, settings: SpotSettings) -> pd.DataFrame:
    """Spots of the sum of all planes; columns as in `find_spots`."""
    band = band_pass(combined, *settings.band)
    noise = _noise_map(band)
    rows, columns = _maxima(band, np.float32(settings.min_snr) * noise.min())
    around = ndimage.map_coordinates(
        noise, [rows / NOISE_BLOCK - 0.5, columns / NOISE_BLOCK - 0.5], order=1, mode="nearest"
    )
    snr = band[rows, columns] / around
    keep = snr >= settings.min_snr
    y, x, peak = _summits(band, rows[keep], columns[keep])
    sigma = spot_size(combined, y, x, snr[keep])
    table = pd.DataFrame({"y": y, "x": x, "peak": peak, "snr": snr[keep], "sigma": sigma})
    return _merged(table, MERGE * sigma)


def sample_bases(
    images: Images,
    transforms: Sequence[Sequence[Transform]],
    spots: pd.DataFrame,
    channels: Sequence[int],
) -> Bases:
    """Measure the light of every spot in every cycle and base channel, in the original pixels.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array
    transforms : per cycle and channel, from the frame of the first cycle
    spots : columns y, x, sigma
    channels : indices of the base channels
    """
    points = spots[["y", "x"]].to_numpy(np.float64)
    sigma = float(spots["sigma"].iloc[0]) if len(spots) else DEFAULT_SIGMA
    shape = (len(points), len(images), len(channels))
    intensity, noise = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    for cycle, levels in enumerate(plane_levels(images, channels)[:, :, 1].tolist()):
        for k, (channel, level) in enumerate(zip(channels, levels, strict=True)):
            if level == 0:
                continue
            at, plane = transforms[cycle][channel].apply(points), images[cycle, channel]
            intensity[:, cycle, k], noise[:, cycle, k] = fit_planes(plane, at, sigma, level)
    return Bases(unmix(intensity, points, sigma), noise)


def _noise_map(band: Floats) -> Floats:
    """Robust standard deviation in blocks of the image."""
    height, width = (max(size // NOISE_BLOCK, 1) for size in band.shape)
    trimmed = band[
        : height * min(NOISE_BLOCK, band.shape[0]), : width * min(NOISE_BLOCK, band.shape[1])
    ]
    blocks = np.abs(trimmed).reshape(height, trimmed.shape[0] // height, width, -1)[:, ::2, :, ::2]
    flat = blocks.transpose(0, 2, 1, 3).reshape(height, width, -1)
    middle = flat.shape[2] // 2
    noise = 1.4826 * np.partition(flat, middle, axis=2)[:, :, middle]
    floored: Floats = np.maximum(noise, NOISE_FLOOR * np.median(noise))
    return floored


def _merged(spots: pd.DataFrame, distance: float) -> pd.DataFrame:
    """Keep the brighter of two spots that lie closer than `distance`."""
    keep = _brightest(
        spots["y"].to_numpy(), spots["x"].to_numpy(), spots["peak"].to_numpy(), distance
    )
    merged: pd.DataFrame = spots[keep].reset_index(drop=True)
    return merged


@njit(cache=True, nogil=True)
def _brightest(y, x, peak, distance):  # type: ignore[no-untyped-def]
    keep = np.ones(len(y), np.bool_)
    begin = 0
    for i in range(len(y)):
        # Sorted from top to bottom up to the sub-pixel part, hence the pixel of slack.
        while y[begin] < y[i] - distance - 1:
            begin += 1
        for j in range(begin, i):
            dy, dx = y[i] - y[j], x[i] - x[j]
            if dy * dy + dx * dx < distance * distance:
                keep[i if peak[i] <= peak[j] else j] = False
    return keep


@njit(cache=True, nogil=True)
def stand_alone(y, x, distance):  # type: ignore[no-untyped-def]
    """Which spots, sorted from top to bottom, have no other as near as `distance` pixels."""
    alone = np.ones(len(y), np.bool_)
    begin = 0
    for i in range(len(y)):
        while y[begin] < y[i] - distance - 1:
            begin += 1
        for j in range(begin, i):
            dy, dx = y[i] - y[j], x[i] - x[j]
            if dy * dy + dx * dx <= distance * distance:
                alone[i] = alone[j] = False
    return alone


@njit(cache=True, nogil=True)
def _maxima(image, least):  # type: ignore[no-untyped-def]
    """Pixels above `least` and their eight neighbours; of equal ones the first counts."""
    height, width = image.shape
    rows, columns = np.empty(height * width // 4, np.int64), np.empty(height * width // 4, np.int64)
    n = 0
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            v = image[r, c]
            if v <= least or v <= image[r, c - 1] or v < image[r, c + 1]:
                continue
            if v <= image[r - 1, c] or v <= image[r - 1, c - 1] or v <= image[r - 1, c + 1]:
                continue
            if v < image[r + 1, c] or v < image[r + 1, c - 1] or v < image[r + 1, c + 1]:
                continue
            rows[n], columns[n] = r, c
            n += 1
    return rows[:n].copy(), columns[:n].copy()


@njit(cache=True, nogil=True)
def _summits(image, rows, columns):  # type: ignore[no-untyped-def]
    """Sub-pixel place and height of maxima, from parabolas through the neighbours."""
    n = len(rows)
    y, x, peak = np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        r, c = rows[i], columns[i]
        v = image[r, c]
        dy = 0.5 * (image[r + 1, c] - image[r - 1, c])
        dx = 0.5 * (image[r, c + 1] - image[r, c - 1])
        cy = max(2 * v - image[r + 1, c] - image[r - 1, c], 1e-6)
        cx = max(2 * v - image[r, c + 1] - image[r, c - 1], 1e-6)
        sy, sx = min(max(dy / cy, -0.5), 0.5), min(max(dx / cx, -0.5), 0.5)
        y[i], x[i], peak[i] = r + sy, c + sx, v + 0.5 * (dy * sy + dx * sx)
    return y, x, peak
