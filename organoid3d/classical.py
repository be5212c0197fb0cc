"""Nuclei without a network: blobs as seeds, a watershed between them, a level for each.

1. The stack is compressed by a logarithm, so that dim nuclei count beside bright ones.
2. The nucleus diameter is estimated from blobs over all sizes, unless it is given.
3. Seeds are blobs of about that size that stand out of the noise; a watershed of the response of
   smaller blobs, which falls at necks as well as at dark films, parts them.
4. The outline of each nucleus is where its own light has fallen to a little less than half of its
   contrast over the local background; lower for very bright ones, whose blur reaches farther.
5. Pieces that together fill an ellipsoid are joined; splinters are dropped, holes filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from poolvox.organoid3d.blobs import (
    Pooled,
    blob_response,
    estimate_diameter,
    find_peaks,
    pool,
    window,
)
from poolvox.organoid3d.joining import join_pieces
from poolvox.organoid3d.levels import lit_surroundings

__all__ = ["ClassicalOptions", "ClassicalResult", "find_nuclei_classically", "stands_out"]

Stack = NDArray[np.float32]
Labels = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class ClassicalOptions:
    """How nuclei are found; lengths are in diameters of a nucleus.

    Parameters
    ----------
    seed_size : diameter of the blobs taken as seeds
    apart : least distance of two seeds
    valley_size : diameter of the blobs between which the watershed runs
    smooth : width of the Gaussian before the outline is taken
    surroundings : width of the window in which the background is looked for
    min_response : least response of a seed, relative to a typical one
    min_contrast : least contrast of a seed, relative to a typical one
    clutter_factor : least response of a seed, in standard deviations of the background's
    max_clutter : bound of that, relative to a typical seed
    level : how fast the level of the outline falls with brightness; 0.7 gives 0.43 of the contrast
        for typical nuclei, 0.49 for those a tenth as bright
    min_volume, max_volume : relative to the ball of that diameter; the largest for joined pieces
    min_sliver : least volume of what a lateral border of the stack cuts, likewise: less of a
        nucleus cannot be told from debris
    """

    seed_size: float = 0.8
    apart: float = 0.35
    valley_size: float = 0.7
    smooth: float = 0.05
    surroundings: float = 1.0
    min_response: float = 0.3
    min_contrast: float = 0.15
    clutter_factor: float = 4.0
    max_clutter: float = 0.6
    level: float = 0.7
    min_volume: float = 0.2
    max_volume: float = 3.0
    min_sliver: float = 0.25


@dataclass(frozen=True, slots=True)
class ClassicalResult:
    """Labels (Z, Y, X), 1 to N in raster order of their seeds, and the diameter used."""

    labels: Labels
    diameter: float


# Voxels across a nucleus that are worth computing on; finer stacks are pooled.
VOXELS_ACROSS = 14
# Typical blobs must exceed the noise by this many standard deviations, or there are none: the
# median of the blobs of pure noise, weighted by strength, reaches 3.5.
CERTAIN = 4.5
# Fewer voxels of background than this tell no noise.
MIN_QUIET = 100
# Edge of the block of white noise on which the response is tried out, voxels.
TRIAL = 48
# Width at which foreground and background are told apart at first, micrometres.
COARSE = 1.0
# Contrast of the logarithm's knee, relative to the first guess of the foreground's contrast.
KNEE = 0.25
# A stack whose darkest value fills more than this part was cut out: the rest is no background.
CUT_OUT = 0.1
# A nucleus's brightness: this quantile of its voxels above that part of its core.
BRIGHT_PART, BRIGHT_QUANTILE = 0.3, 0.5


def find_nuclei_classically(
    stack: Stack,
    spacing: Sequence[float],
    *,
    diameter: float | None = None,
    options: ClassicalOptions | None = None,
) -> ClassicalResult:
    """Segment bright nuclei.

    Parameters
    ----------
    stack : (Z, Y, X) array without NaN
    spacing : (z, y, x), micrometres
    diameter : of a typical nucleus, micrometres; estimated where it is not given
    """
    options = options or ClassicalOptions()
    empty = np.zeros(stack.shape, np.uint32)
    found = _look(stack, spacing, diameter, options)
    if found is None:
        return ClassicalResult(empty, float("nan"))
    size, light, smooth = found.size, found.light, found.above
    seeds, typical = found.seeds, found.typical
    if not len(seeds):
        return ClassicalResult(empty, size)
    relief = blob_response(found.squeezed.stack, light.spacing, options.valley_size * size)
    del found
    markers = np.zeros(smooth.shape, np.int32)
    markers[tuple(seeds.T)] = np.arange(1, len(seeds) + 1)
    region = smooth > 0.3 * options.min_contrast * typical
    basins = watershed(np.negative(relief, out=relief), markers, mask=region)
    del relief, markers, region
    bright = _brightness(basins, smooth, smooth[tuple(seeds.T)])
    basins[smooth <= _levels(bright, typical, options)[basins]] = 0
    ball = np.pi / 6 * size**3
    basins = join_pieces(
        basins, smooth, bright, spacing=light.spacing.tolist(), largest=options.max_volume * ball
    )
    # A stack thinner than a nucleus holds no more than a slice of it.
    height = min(size, float(light.spacing[0] * light.stack.shape[0]))
    voxels = ball * height / size / float(light.spacing.prod())
    cleaned = _clean(basins, options.min_volume * voxels, options.min_sliver * voxels)
    return ClassicalResult(_spread(cleaned, light.factors, stack.shape), size)


def stands_out(stack: Stack, spacing: Sequence[float], diameter: float | None = None) -> bool:
    """Tell whether a stack holds blobs of any size that stand out of the noise."""
    found = _look(stack, spacing, diameter, ClassicalOptions())
    return found is not None and len(found.seeds) > 0


@dataclass(frozen=True, slots=True)
class _Look:
    """A stack on voxels that suit the size of its nuclei, and the seeds of these.

    Attributes
    ----------
    size : diameter of a nucleus, micrometres
    light, squeezed : the stack as it is, and on a logarithmic scale
    above : light over the background
    seeds, typical : (N, 3) places, and the contrast of a typical nucleus
    """

    size: float
    light: Pooled
    squeezed: Pooled
    above: Stack
    seeds: NDArray[np.intp]
    typical: float


def _look(
    stack: Stack, spacing: Sequence[float], diameter: float | None, options: ClassicalOptions
) -> _Look | None:
    """Look for nuclei; None where there is no contrast, or no blob."""
    dark, contrast = _first_guess(stack, spacing)
    if contrast <= 0:
        return None
    compressed = np.log1p(np.clip(stack - dark, 0, None) / np.float32(KNEE * contrast))
    size = diameter or estimate_diameter(compressed, spacing)
    if not np.isfinite(size):
        return None
    voxel = size / VOXELS_ACROSS
    light, squeezed = pool(stack, spacing, voxel), pool(compressed, spacing, voxel)
    del compressed
    valid = _valid(stack, spacing, voxel)
    above = _above_background(light, valid, size, options)
    seeds, typical = _find_seeds(squeezed, above, valid, size, options)
    return _Look(size, light, squeezed, above, seeds, typical)


def _first_guess(stack: Stack, spacing: Sequence[float]) -> tuple[float, float]:
    """Level of the background, and contrast of the foreground over it."""
    pooled = pool(stack, spacing, COARSE)
    coarse = pooled.stack
    lowest = float(coarse.min())
    if float(coarse.max()) <= lowest:
        return lowest, 0.0
    cut = np.mean(coarse == lowest) > CUT_OUT
    dark = lowest if cut else float(np.percentile(coarse, 5))
    lit = None if cut else lit_surroundings(coarse, pooled.spacing.tolist())
    return dark, float(threshold_otsu(coarse.ravel() if lit is None else coarse[lit])) - dark


def _valid(stack: Stack, spacing: Sequence[float], voxel: float) -> NDArray[np.bool_] | None:
    """Tell where a stack was not cut out; None where all of it is real."""
    blank = stack == stack.min()
    if blank.mean() <= CUT_OUT:
        return None
    inside: NDArray[np.bool_] = pool((~blank).astype(np.float32), spacing, voxel).stack > 0.5
    return inside


def _above_background(
    light: Pooled, valid: NDArray[np.bool_] | None, size: float, options: ClassicalOptions
) -> Stack:
    """Smoothed light over the lowest level within the surroundings."""
    spacing = light.spacing
    fine, coarse = (
        ndimage.gaussian_filter(light.stack, width * size / spacing, mode="nearest", truncate=3)
        for width in (options.smooth, 0.2)
    )
    if valid is not None and valid.any():
        # The cut falls off within a voxel or two: those are no background either.
        coarse[~ndimage.binary_erosion(valid, border_value=1)] = np.inf
    around = window(options.surroundings * size, spacing)
    floor = ndimage.minimum_filter(coarse, size=around, mode="nearest")
    floor[~np.isfinite(floor)] = light.stack.min()
    floor = ndimage.gaussian_filter(floor, 0.5 * size / spacing, mode="nearest", truncate=2)
    above: Stack = np.clip(fine - floor, 0, None)
    return above


def _find_seeds(
    squeezed: Pooled,
    above: Stack,
    valid: NDArray[np.bool_] | None,
    size: float,
    options: ClassicalOptions,
) -> tuple[NDArray[np.intp], float]:
    """Places of the seeds, and the contrast of a typical nucleus."""
    response = blob_response(squeezed.stack, squeezed.spacing, options.seed_size * size)
    places, strength = find_peaks(response, squeezed.spacing, options.apart * size)
    if not len(places):
        return places, 0.0
    contrast = above[tuple(places.T)].astype(float)
    # Cubed, so that a few nuclei outweigh any number of specks of noise.
    weight = strength**3
    usual, typical = _median(strength, weight), _median(contrast, weight)
    if usual < CERTAIN * _noise(squeezed, above, valid, options.seed_size * size):
        return places[:0], 0.0
    # Where nuclei fill the stack there is no background to tell clutter by: hence the bound. A
    # stack that was cut out along the organoid keeps its haze, which is just that.
    bound = options.max_clutter if valid is None else 1.0
    clutter = options.clutter_factor * _clutter(response, above, valid, size / squeezed.spacing)
    least = max(options.min_response * usual, min(clutter, bound * usual))
    kept = (strength > least) & (contrast > options.min_contrast * typical)
    return places[kept], typical


def _clutter(
    response: Stack,
    above: Stack,
    valid: NDArray[np.bool_] | None,
    width: NDArray[np.float64],
) -> float:
    """Standard deviation of the response in the background, unmoved by what shines there.

    The background is the darker half after a Gaussian of `width` voxels.
    """
    coarse = ndimage.gaussian_filter(above, width, mode="nearest", truncate=2)
    if valid is None or not valid.any():
        quiet = coarse <= np.median(coarse)
    else:
        quiet = valid & (coarse <= np.median(coarse[valid]))
    if np.count_nonzero(quiet) < MIN_QUIET:
        return 0.0
    values = response[quiet]
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _noise(
    squeezed: Pooled, above: Stack, valid: NDArray[np.bool_] | None, diameter: float
) -> float:
    """Standard deviation that the noise of single voxels gives to the response to blobs.

    Noise is what differs between a voxel and its neighbours along x, in the darker half of the
    stack; how much of it reaches the response is tried out on white noise.
    """
    if above.shape[2] < 3:
        return 0.0
    bends = np.diff(squeezed.stack, n=2, axis=2)
    dark = above[..., 1:-1]
    real = np.ones(dark.shape, bool) if valid is None else valid[..., 1:-1]
    quiet = real & (dark <= np.median(dark[real])) if real.any() else real
    if np.count_nonzero(quiet) < MIN_QUIET:
        return 0.0
    voxel_noise = 1.4826 * float(np.median(np.abs(bends[quiet]))) / np.sqrt(6)
    shape = [min(TRIAL, n) for n in above.shape]
    white = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    reaching = float(blob_response(white, squeezed.spacing, diameter).std())
    return float(voxel_noise * reaching)


def _median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _brightness(basins: NDArray[np.int32], above: Stack, core: Stack) -> NDArray[np.float64]:
    """Typical contrast of each basin's bright part; infinite where a basin is empty."""
    inside = np.flatnonzero(basins)
    owner, value = basins.ravel()[inside], above.ravel()[inside]
    order = np.lexsort((value, owner))
    owner, value = owner[order], value[order]
    count = len(core)
    ends = np.searchsorted(owner, np.arange(1, count + 2))
    bright = np.full(count + 1, np.inf)
    for number in range(count):
        part = value[ends[number] : ends[number + 1]]
        part = part[np.searchsorted(part, BRIGHT_PART * core[number]) :]
        if len(part):
            bright[number + 1] = part[int(BRIGHT_QUANTILE * (len(part) - 1))]
    return bright


def _levels(
    bright: NDArray[np.float64], typical: float, options: ClassicalOptions
) -> NDArray[np.float64]:
    """Contrast at each nucleus's outline: half its range on a scale that compresses bright ones."""
    ratio = options.level * np.maximum(bright, 1e-12) / max(typical, 1e-12)
    levels = np.full(len(bright), np.inf)
    finite = np.isfinite(bright)
    levels[finite] = bright[finite] * (np.sqrt(1 + ratio[finite]) - 1) / ratio[finite]
    return levels


def _clean(basins: NDArray[np.int32], least: float, sliver: float) -> NDArray[np.uint32]:
    """Keep the largest part of each nucleus, without holes, and number them anew.

    `least` voxels make a nucleus, and `sliver` one that a lateral border cuts.
    """
    cleaned = np.zeros(basins.shape, np.uint32)
    number = 0
    for label, box in enumerate(ndimage.find_objects(basins), 1):
        if box is None:
            continue
        parts, count = ndimage.label(basins[box] == label)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        sides = zip(box[1:], basins.shape[1:], strict=True)
        is_cut = any(side.start == 0 or side.stop == n for side, n in sides)
        if sizes.max(initial=0) < max(sliver if is_cut else least, 1):
            continue
        number += 1
        whole = ndimage.binary_fill_holes(parts == sizes.argmax() + 1)
        cleaned[box][whole & (cleaned[box] == 0)] = number
    return cleaned


def _spread(labels: Labels, factors: tuple[int, int, int], shape: tuple[int, ...]) -> Labels:
    """Bring labels of pooled voxels back to the original ones."""
    if factors == (1, 1, 1):
        return labels
    index = [np.arange(n) // factor for n, factor in zip(shape, factors)]
    return labels[np.ix_(*index)]
