"""Hot voxels: few side by side, far brighter than all around them, which are no tissue.

A camera's hot pixel, a cosmic ray or a transmission error lights one pixel of a plane, or up to two
by two where stacks were resampled; the optics of a microscope spread what is real over more. A
voxel is hot if it exceeds the third brightest of the 8 around it in its plane, or of the 16 around
those, and of the 8 around its place in the planes above and below,

- by more than a point of light in focus would, as seen against the darkest of them, and
- by more than all the contrast of what spreads over several pixels, and far more than the noise.

Two of each may be hot as well, and so may its own place in other planes: a camera's hot pixel is
hot in all. The top and the bottom of a nucleus may light a single pixel of a plane; the next plane
tells. What is looked for in a stack is looked for without hot voxels; what is measured is not
changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel

__all__ = ["Quiet", "Quietened", "hot_excess", "hot_notes", "quieten"]

# A point of light as wide as a pixel and a quarter (half its height) gives the pixels beside its
# own a quarter of its light; nuclei and wider points give more.
SPREAD = 4.0
# A neighbourhood's third brightest voxel is bright only where three are: light that spreads.
RANK = 3
# The farther of the rings of neighbours, voxels.
FAR = 2
# What spreads is as bright as this percentile, and as dark as that.
BRIGHT, DARK = 99.9, 5.0
# Noise is this percentile of what voxels exceed their neighbours by: as many as 1 in 50 may be hot.
NOISY = 98.0
# Noise with an exponential tail, the longest of detectors, exceeds 6 times that in less than one of
# 10^9 voxels.
NOISE_FACTOR = 6.0
# Voxels, and planes, by which a stack's contrast and noise are judged.
SAMPLE, PLANES = 250_000, 32
# Voxels that are counted at once.
SLAB = 16_000_000


@dataclass(frozen=True, slots=True)
class Quietened:
    """A stack without its hot voxels, and how many there were; without any, it is the one given."""

    pixels: NDArray[Any]
    count: int


class Quiet:
    """A stack read by slices, without its hot voxels; each region as in the whole stack."""

    def __init__(self, source: Any, excess: float) -> None:
        """Wrap a (Z, Y, X) array that is read by slices; `excess` as from `hot_excess`."""
        self._source, self.excess = source, excess
        self.shape: tuple[int, ...] = tuple(source.shape)
        self.dtype: np.dtype[Any] = source.dtype

    @classmethod
    def of(cls, source: Any) -> Quiet:
        """A stack judged by its own contrast and noise."""
        return cls(source, hot_excess(source))

    def count(self) -> int:
        """Count the hot voxels, in one pass."""
        planes, *sides = self.shape
        deep = max(SLAB // max(int(np.prod(sides)), 1), 1)
        count = 0
        for first in range(0, planes, deep):
            low, last = max(first - 1, 0), min(first + deep, planes)
            slab = np.asarray(self._source[low : last + 1])
            count += sum(len(_find(slab, z - low, self.excess)[1]) for z in range(first, last))
        return count

    def __getitem__(self, region: slice | tuple[slice, ...]) -> NDArray[Any]:
        """Pixels of a region; it is read with the neighbours that judge its borders."""
        given = region if isinstance(region, tuple) else (region,)
        full = (*given, *(slice(None) for _ in range(3 - len(given))))
        inner = [slice(*part.indices(n)[:2]) for part, n in zip(full, self.shape, strict=True)]
        wide = [
            slice(max(side.start - far, 0), side.stop + far)
            for side, far in zip(inner, (1, FAR, FAR), strict=True)
        ]
        pixels = _without_hot(np.asarray(self._source[tuple(wide)]), self.excess).pixels
        z, y, x = (
            slice(side.start - out.start, side.stop - out.start)
            for side, out in zip(inner, wide, strict=True)
        )
        return pixels[z, y, x]


def quieten(stack: NDArray[Any]) -> Quietened:
    """Replace the hot voxels of a (Z, Y, X) stack by the median of their neighbours.

    Examples
    --------
    >>> stack = np.random.default_rng(0).normal(200, 9, (4, 30, 30))
    >>> stack[:, 7, 7] = 65535
    >>> quieten(stack).count
    4
    """
    return _without_hot(stack, hot_excess(stack))


def hot_excess(source: Any) -> float:
    """Least by which a hot voxel exceeds its neighbours: from the contrast and noise of a stack.

    Parameters
    ----------
    source : (Z, Y, X) array of real numbers, read by slices
    """
    planes, tall, wide = source.shape
    if source.dtype.kind not in "iuf" or min(tall, wide) < RANK or not planes:
        return np.inf
    count = min(planes, PLANES)
    each = max(-(-count * tall * wide // SAMPLE), 1)
    ranks, over = [], []
    for z in ((np.arange(count) + 0.5) * planes / count).astype(int).tolist():
        plane = np.asarray(source[z : z + 1])[0].astype(np.float32)
        y, x = (part.ravel() for part in np.mgrid[z % each : tall : each, :wide])
        third = _judge(plane, y, x)[:, 1]
        ranks.append(third)
        over.append(plane[y, x] - third)
    ranked, exceeding = np.concatenate(ranks), np.concatenate(over)
    known = np.isfinite(ranked) & np.isfinite(exceeding)
    if not known.any():
        return np.inf
    dark, bright = np.percentile(ranked[known], (DARK, BRIGHT))
    noise = np.percentile(exceeding[known], NOISY)
    return float(max(bright - dark, NOISE_FACTOR * noise))


def hot_notes(counts: dict[str, int]) -> list[str]:
    """What is said of channels with hot voxels."""
    return [
        f"{f'{name}: ' * bool(name)}{count} hot voxel{'s' * (count > 1)}, far brighter than all "
        "around: left out of the segmentation, not of what is measured"
        for name, count in counts.items()
        if count
    ]


def _without_hot(stack: NDArray[Any], excess: float) -> Quietened:
    """A stack that is whole, or has neighbours to spare."""
    found = [_find(stack, z, excess) for z in range(len(stack))]
    count = sum(len(values) for _, values in found)
    if not count:
        return Quietened(stack, 0)
    quiet = stack.copy()
    for plane, (places, values) in zip(quiet, found, strict=True):
        plane[places[:, 0], places[:, 1]] = values
    return Quietened(quiet, count)


def _find(
    stack: NDArray[Any], z: int, excess: float
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Places (N, 2) of the hot voxels of a plane, and what they would be if they were not."""
    plane, none = stack[z], (np.zeros((0, 2), np.intp), np.zeros(0, np.float32))
    if not np.isfinite(excess) or not plane.size:
        return none
    # Most voxels cannot exceed any other by so much.
    bound = _lowest(plane) + excess
    if plane.dtype.kind != "f":
        bound = int(min(bound, np.iinfo(plane.dtype).max))
    places = np.argwhere(plane > bound)
    if not len(places):
        return none
    y, x = places.T
    around = [other.astype(np.float32) for other in stack[max(z - 1, 0) : z + 2]]
    others = [other for number, other in enumerate(around) if number != min(z, 1)]
    _, third, darkest, median = _judge(around[min(z, 1)], y, x).T
    third = np.fmax.reduce([third, *(_judge(other, y, x)[:, 0] for other in others)])
    light = plane[y, x].astype(np.float32)
    least = np.maximum(SPREAD * (third - darkest), np.float32(excess))
    hot = np.isfinite(light) & (light - third > least)
    return places[hot], median[hot]


def _lowest(plane: NDArray[Any]) -> float:
    """Of the finite pixels; infinite where there are none."""
    lowest = float(plane.min())
    if not np.isfinite(lowest):
        lowest = float(np.min(plane, where=np.isfinite(plane), initial=np.inf))
    return lowest


@kernel
def _judge(
    plane: NDArray[np.float32], ys: NDArray[np.intp], xs: NDArray[np.intp]
) -> NDArray[np.float32]:
    """What lies round places, (N, 4); NaN where that is too little.

    The third brightest of the 8 around; the lower of that and the third brightest of the 16 around
    those, and the darkest and the median of the same.
    """
    found = np.full((len(ys), 4), np.nan, np.float32)
    rings = np.empty((FAR, 8 * FAR), np.float32)
    for number in range(len(ys)):
        near, far = _gather(plane, ys[number], xs[number], rings)
        if near < RANK:
            continue
        found[number, 0] = found[number, 1] = rings[0, near - RANK]
        found[number, 2] = rings[0, 0]
        found[number, 3] = rings[0, (near - 1) // 2]
        if far >= RANK and rings[1, far - RANK] < found[number, 1]:
            found[number, 1] = rings[1, far - RANK]
            found[number, 2] = rings[1, 0]
            found[number, 3] = rings[1, (far - 1) // 2]
    return found


@kernel
def _gather(
    plane: NDArray[np.float32], row: int, column: int, rings: NDArray[np.float32]
) -> tuple[int, int]:
    """Sort what is finite in the rings round a place, and count it."""
    tall, wide = plane.shape
    near, far = 0, 0
    for y in range(max(row - FAR, 0), min(row + FAR + 1, tall)):
        for x in range(max(column - FAR, 0), min(column + FAR + 1, wide)):
            value, away = plane[y, x], max(abs(y - row), abs(x - column))
            if away == 0 or not np.isfinite(value):
                continue
            place = near if away == 1 else far
            while place > 0 and rings[away - 1, place - 1] > value:
                rings[away - 1, place] = rings[away - 1, place - 1]
                place -= 1
            rings[away - 1, place] = value
            if away == 1:
                near += 1
            else:
                far += 1
    return near, far
