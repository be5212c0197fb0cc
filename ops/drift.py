"""Drift of whole cycles against the first, with rotation and scale where there is evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from poolvox.shared.imaging.combine import noise_level
from poolvox.shared.imaging.filters import shrink
from poolvox.shared.imaging.registration import (
    Shift,
    fit_similarity,
    match_spectra,
    measure_shift,
    spectra,
)
from poolvox.shared.imaging.warp import Transform

__all__ = ["CycleMatch", "Planes", "match_cycles"]

Images = NDArray[np.uint16]
Plane = NDArray[np.float32]
Spectrum = NDArray[np.complexfloating[Any, Any]]

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

    def look(cycle: int) -> Plane:
        return shrink(planes.images[cycle, planes.nuclear], factor)

    if planes.nuclear is None:
        return lambda first, cycle, far: CycleMatch(reason="no nuclear channel")
    return _matcher(look, factor, detail)


def _reads(planes: Planes, detail: float) -> Matcher:
    factor = _factor(planes.images, SHRINK_READS)
    return _matcher(
        lambda cycle: _all_bases(planes.images[cycle], planes.bases, factor), factor, detail
    )


def _matcher(look: Callable[[int], Plane], factor: int, detail: float) -> Matcher:
    """Match cycles by what `look` shows of them; the reference is transformed once."""
    references: dict[int, _Reference] = {}

    def match(first: int, cycle: int, max_shift: float) -> CycleMatch:
        if first not in references:
            references[first] = _Reference.of(look(first), detail / factor)
        return _match(references[first], look(cycle), factor, max_shift)

    return match


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


@dataclass(frozen=True, slots=True)
class _Reference:
    """A plane that others are matched to, its spectrum, and its blocks with theirs."""

    plane: Plane
    smooth: float
    whole: Spectrum
    corners: NDArray[np.int64]
    side: tuple[int, int]
    blocks: Spectrum

    @classmethod
    def of(cls, plane: Plane, smooth: float) -> _Reference:
        """Cut into blocks whose sides are good for Fourier transforms."""
        high, wide = (max(fft.prev_fast_len(size // BLOCKS, real=True), 1) for size in plane.shape)
        rows, columns = (
            (np.arange(BLOCKS) * (size - side)) // (BLOCKS - 1)
            for size, side in zip(plane.shape, (high, wide), strict=True)
        )
        corners = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        cut = np.stack([plane[y : y + high, x : x + wide] for y, x in corners])
        return cls(plane, smooth, spectra(plane[None]), corners, (high, wide), spectra(cut))


def _match(reference: _Reference, image: Plane, factor: int, max_shift: float) -> CycleMatch:
    smooth, shape = reference.smooth, image.shape
    found = match_spectra(
        reference.whole, spectra(image[None]), shape, smooth=smooth, max_shift=max_shift / factor
    )
    whole = Shift(*found[0].tolist())
    if not whole.trusted:
        return CycleMatch(reason="nothing in it matches the first cycle; it is left where it was")
    points, moved = _blocks(reference, image, whole)
    if len(points) < BLOCKS:
        whole = measure_shift(reference.plane, image, smooth=smooth, max_shift=max_shift / factor)
        return CycleMatch(Transform((whole.y * factor, whole.x * factor)), evidence=1)
    # Pixel 0 of the shrunk image is centred between the first `factor` pixels.
    points, moved = (factor * (p + 0.5) - 0.5 for p in (points, moved))
    transform = _simplest(points, moved, (shape[0] * factor, shape[1] * factor))
    residual = np.hypot(*(moved - transform.apply(points)).T)
    return CycleMatch(transform, float(np.median(residual)), len(points))


def _blocks(
    reference: _Reference, image: Plane, whole: Shift
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of blocks of the reference, and where they lie in the image."""
    jump = np.array([round(whole.y), round(whole.x)])
    corners, side = reference.corners, np.array(reference.side)
    cut = np.zeros((len(corners), *reference.side), np.float32)
    shown = np.zeros(len(corners))
    for k, corner in enumerate(corners + jump):
        low, high = np.maximum(corner, 0), np.minimum(corner + side, image.shape)
        if np.any(high - low < side // 2):
            continue
        part = image[low[0] : high[0], low[1] : high[1]]
        y, x = low - corner
        # What the image does not show is as bright as the rest, which tells nothing.
        cut[k] = part.mean()
        cut[k, y : y + part.shape[0], x : x + part.shape[1]] = part
        shown[k] = True
    far = min(reference.side) / 4
    rest = match_spectra(
        reference.blocks, spectra(cut), reference.side, smooth=reference.smooth, max_shift=far
    )
    good = (shown > 0) & (rest[:, 2] >= BLOCK_SNR)
    centres = corners[good] + (side - 1) / 2
    return centres, centres + jump + rest[good, :2]


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
