"""Drift of whole cycles against the first, with rotation and scale where there is evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.imaging.combine import noise_level
from poolvox.shared.imaging.filters import shrink
from poolvox.shared.imaging.registration import Shift, fit_similarity, measure_shift
from poolvox.shared.imaging.warp import Transform

__all__ = ["CycleMatch", "Planes", "match_cycles"]

Images = NDArray[np.uint16]
Plane = NDArray[np.float32]

IDENTITY = Transform()
# Images are shrunk until their shorter side is no longer than this, but by no more than this factor
# for nuclei and for reads.
SHRUNK_SIDE = 256
SHRINK_NUCLEI = 4
SHRINK_READS = 2
# Blocks per side on which drift is measured again, each on its own.
BLOCKS = 3
# A block has less to show than the whole image, and less room to be wrong.
BLOCK_SNR = 5.0
# Rotation and scale are applied where they exceed their error this often, and move the corners of
# the image by this many pixels.
SIGNIFICANCE = 5.0
LEAST_CORNER = 0.15
# Pixels further above the background than this, in units of the noise, count as this bright.
BRIGHTEST = 30.0


@dataclass(frozen=True, slots=True)
class Planes:
    """The images of a tile and what their channels are."""

    images: Images
    bases: tuple[int, ...]
    nuclear: int | None


@dataclass(frozen=True, slots=True)
class CycleMatch:
    """How a cycle lies on the first: the map, what is left (pixels, rms over blocks), why not."""

    transform: Transform = IDENTITY
    residual: float = float("nan")
    evidence: int = 0
    reason: str = ""


def match_cycles(planes: Planes, detail: tuple[float, float], max_shift: float) -> list[CycleMatch]:
    """Match every cycle to the first that is not blank, by nuclei if it can be, else by reads."""
    images = planes.images
    lit = [bool(cycle[list(planes.bases)].any()) for cycle in images[:, :, ::8, ::8]]
    first = lit.index(True) if any(lit) else 0
    by_nuclei = _nuclei(planes, detail[0])
    by_reads = _reads(planes, detail[1])
    matches = []
    for cycle in range(len(images)):
        if not lit[cycle]:
            matches.append(CycleMatch(reason="the images are blank"))
        elif cycle == first:
            matches.append(CycleMatch(residual=0.0, evidence=BLOCKS**2))
        else:
            match = by_nuclei(first, cycle, max_shift)
            if match.reason:
                match = by_reads(first, cycle, max_shift)
            matches.append(match)
    return matches


Matcher = Callable[[int, int, float], CycleMatch]


def _nuclei(planes: Planes, detail: float) -> Matcher:
    factor = _factor(planes.images, SHRINK_NUCLEI)
    seen: dict[int, Plane] = {}

    def look(cycle: int) -> Plane:
        if cycle not in seen:
            seen[cycle] = shrink(planes.images[cycle, planes.nuclear], factor)
        return seen[cycle]

    def match(first: int, cycle: int, max_shift: float) -> CycleMatch:
        if planes.nuclear is None:
            return CycleMatch(reason="no nuclear channel")
        return _match(look(first), look(cycle), factor, detail, max_shift)

    return match


def _reads(planes: Planes, detail: float) -> Matcher:
    factor = _factor(planes.images, SHRINK_READS)
    seen: dict[int, Plane] = {}

    def look(cycle: int) -> Plane:
        if cycle not in seen:
            seen[cycle] = _all_bases(planes.images[cycle], planes.bases, factor)
        return seen[cycle]

    return lambda first, cycle, far: _match(look(first), look(cycle), factor, detail, far)


def _factor(images: Images, most: int) -> int:
    return int(np.clip(min(images.shape[2:]) // SHRUNK_SIDE, 1, most))


def _all_bases(cycle: Images, bases: tuple[int, ...], factor: int) -> Plane:
    """All base images in units of their noise, so that a read shows whatever its base."""
    total: Plane | None = None
    for channel in bases:
        level, noise, _ = noise_level(cycle[channel])
        part = shrink(cycle[channel], factor)
        part = np.minimum((part - level) / max(noise, 1e-6), BRIGHTEST).astype(np.float32)
        total = part if total is None else total + part
    assert total is not None
    return total


def _match(
    reference: Plane, image: Plane, factor: int, detail: float, max_shift: float
) -> CycleMatch:
    smooth = detail / factor
    whole = measure_shift(reference, image, smooth=smooth, max_shift=max_shift / factor)
    if not whole.trusted:
        return CycleMatch(reason="nothing in it matches the first cycle; it is left where it was")
    points, moved = _blocks(reference, image, whole, smooth)
    coarse = Transform((whole.y * factor, whole.x * factor))
    if len(points) < BLOCKS:
        return CycleMatch(coarse, evidence=1)
    # Pixel 0 of the shrunk image is centred between the first `factor` pixels.
    points, moved = (factor * (p + 0.5) - 0.5 for p in (points, moved))
    shape = (reference.shape[0] * factor, reference.shape[1] * factor)
    transform = _simplest(points, moved, shape)
    residual = np.hypot(*(moved - transform.apply(points)).T)
    return CycleMatch(transform, float(np.median(residual)), len(points))


def _blocks(
    reference: Plane, image: Plane, whole: Shift, smooth: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of blocks of the reference, and where they lie in the image."""
    sides = [n // BLOCKS for n in reference.shape]
    jump = round(whole.y), round(whole.x)
    points, moved = [], []
    for i in range(BLOCKS**2):
        corner = np.array([(i // BLOCKS) * sides[0], (i % BLOCKS) * sides[1]])
        # Cut where both images have something to show.
        low = np.maximum(corner, -np.minimum(corner + jump, 0) + corner)
        high = np.minimum(corner + sides, np.array(reference.shape) - np.maximum(jump, 0))
        if np.any(high - low < np.array(sides) // 2):
            continue
        here = reference[low[0] : high[0], low[1] : high[1]]
        there = image[low[0] + jump[0] : high[0] + jump[0], low[1] + jump[1] : high[1] + jump[1]]
        rest = measure_shift(here, there, smooth=smooth, max_shift=min(sides) / 4)
        if rest.snr >= BLOCK_SNR:
            centre = (low + high - 1) / 2
            points.append(centre)
            moved.append(centre + jump + (rest.y, rest.x))
    return np.array(points).reshape(-1, 2), np.array(moved).reshape(-1, 2)


def _simplest(
    points: NDArray[np.float64], moved: NDArray[np.float64], shape: tuple[int, int]
) -> Transform:
    """A translation, unless a rotation or scale is beyond doubt and matters at the corners."""
    y, x = np.median(moved - points, axis=0)
    shift = Transform((float(y), float(x)))
    if len(points) < 2 * BLOCKS:
        return shift
    turned, error = fit_similarity(points, moved)
    (a, b), _ = turned.matrix
    change = np.array([a - 1, -b])
    corner = np.hypot(*change) * np.hypot(*shape) / 2
    before = np.median(np.hypot(*(moved - shift.apply(points)).T))
    after = np.median(np.hypot(*(moved - turned.apply(points)).T))
    significant = np.any(np.abs(change) > SIGNIFICANCE * error[:2])
    return turned if significant and corner > LEAST_CORNER and after < 0.7 * before else shift
