"""How a stack is laid out in windows for a network, and how a window is read.

All windows have one shape and begin at multiples of the network's division: then what the network
says in a window, as far from its faces as its reach, is what it says in the whole stack. Every
place belongs to the core of exactly one window. Coordinates are voxels of the network, that is of
the stack brought to the size of nuclei on which the network was trained: voxel i of the network
lies at i / scale in the stack.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.models import ModelFolder

__all__ = ["Box", "Frame", "Window", "lay_out", "read_window", "window_bytes"]

F32 = NDArray[np.float32]
Triple = tuple[float, float, float]
Whole = tuple[int, int, int]

# Bytes that the network may take for one window.
WINDOW_BYTES = 1_500_000_000
# Shrinking blurs first, by a Gaussian of this many of the new voxels, as training does.
ANTIALIAS = 0.35
# Standard deviations at which it ends.
TRUNCATE = 3.0


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a stack: its first voxel, and the first beyond it."""

    start: Whole
    stop: Whole

    @property
    def shape(self) -> Whole:
        """Voxels along each axis."""
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def slices(self, origin: Sequence[int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """The part within an array that begins at `origin`."""
        z, y, x = (
            slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, origin, strict=True)
        )
        return z, y, x

    def contains(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which of (N, 3) points lie inside."""
        inside = (points >= self.start) & (points < self.stop)
        return np.asarray(inside.all(axis=1))


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the stack that goes through the network at once.

    Attributes
    ----------
    whole : what the network is given
    sound : where its answer is that for the whole stack
    core : whose objects are this window's
    """

    whole: Box
    sound: Box
    core: Box


@dataclass(frozen=True, slots=True)
class Frame:
    """From a stack to what the network sees.

    Attributes
    ----------
    shape : (Z, Y, X) of the stack
    scale : voxels of the network per voxel of the stack
    low, high : intensities that become 0 and 1; high is the lower one where contrast is inverted
    """

    shape: Whole
    scale: Triple = (1.0, 1.0, 1.0)
    low: float = 0.0
    high: float = 1.0

    @property
    def size(self) -> Whole:
        """Voxels of the network."""
        z, y, x = (max(1, round(n * s)) for n, s in zip(self.shape, self.scale, strict=True))
        return z, y, x

    @property
    def ratio(self) -> Triple:
        """Scale after rounding to whole voxels."""
        z, y, x = (m / n for m, n in zip(self.size, self.shape, strict=True))
        return z, y, x


def window_bytes(model: ModelFolder, shape: Sequence[int]) -> int:
    """Bytes that the network takes for a window of that shape, at its peak."""
    base = int(model.config.get(f"{model.config['backbone']}_n_filter_base", 32))
    after = int(model.config.get(f"net_conv_after_{model.config['backbone']}", 128))
    coarse = float(np.prod(model.grid))
    # Before the grid is reached two layers of the base live together; after it, the concatenation,
    # its convolution, and the features twice.
    early = 2 * base if coarse > 1 else 0
    per_voxel = 4 * max(early, (3 * base + 2 * after) / coarse)
    return int(np.prod([int(n) for n in shape]) * (per_voxel + 16))


def lay_out(
    size: Sequence[int],
    model: ModelFolder,
    *,
    margin: Sequence[int],
    most: int = WINDOW_BYTES,
) -> list[Window]:
    """Cover a stack with windows, in raster order.

    Parameters
    ----------
    size : (Z, Y, X) in voxels of the network
    margin : voxels round each core in which the network's answer is sound as well: about the size
        of an object, so that few are left open at the borders of cores
    most : bytes that the network may take for one window
    """
    padded = [-(-n // d) * d for n, d in zip(size, model.division, strict=True)]
    halo = [
        -(-(r + m) // d) * d for r, m, d in zip(model.reach, margin, model.division, strict=True)
    ]
    shape = _window_shape(padded, halo, model, most)
    spans = [
        _spans(n, p, w, h, r, d)
        for n, p, w, h, r, d in zip(
            size, padded, shape, halo, model.reach, model.division, strict=True
        )
    ]
    windows = []
    for z, y, x in itertools.product(*spans):
        whole, sound, core = (
            Box((z[k], y[k], x[k]), (z[k + 1], y[k + 1], x[k + 1])) for k in (0, 2, 4)
        )
        windows.append(Window(whole, sound, core))
    return windows


def read_window(source: Any, frame: Frame, box: Box) -> F32:
    """Read what the network sees in a box; beyond the end the stack is mirrored.

    Parameters
    ----------
    source : (Z, Y, X) array, read by slices: numpy, zarr or dask
    """
    inner = Box(box.start, _least(box.stop, frame.size))
    span = frame.high - frame.low or 1.0
    pixels = (_read_scaled(source, frame, inner) - np.float32(frame.low)) / np.float32(span)
    beyond = [(0, b - a) for a, b in zip(inner.stop, box.stop, strict=True)]
    if any(after for _, after in beyond):
        pixels = np.pad(pixels, beyond, mode="reflect")
    return np.ascontiguousarray(pixels, np.float32)


def _read_scaled(source: Any, frame: Frame, box: Box) -> F32:
    ratio = frame.ratio
    if ratio == (1.0, 1.0, 1.0):
        return np.asarray(source[box.slices()], np.float32)
    # A coarser sampling would take noise and fine structure for something else.
    blur = [ANTIALIAS / r if r < 1 else 0.0 for r in ratio]
    region, places = [], []
    for axis in range(3):
        if ratio[axis] == 1:
            region.append(slice(box.start[axis], box.stop[axis]))
            places.append(np.zeros(0))
            continue
        last = frame.shape[axis] - 1
        at = (np.arange(box.start[axis], box.stop[axis]) + 0.5) / ratio[axis] - 0.5
        at = np.clip(at, 0, last)
        margin = int(TRUNCATE * blur[axis] + 0.5)
        start = max(int(at[0]) - margin, 0)
        region.append(slice(start, min(int(at[-1]) + 1 + margin, last) + 1))
        places.append(at - start)
    pixels = np.asarray(source[tuple(region)], np.float32)
    for axis in range(3):
        if blur[axis] > 0:
            pixels = ndimage.gaussian_filter1d(
                pixels, blur[axis], axis=axis, mode="nearest", truncate=TRUNCATE
            )
        if ratio[axis] != 1:
            pixels = _interpolate(pixels, places[axis], axis)
    return pixels


def _interpolate(pixels: F32, places: NDArray[np.float64], axis: int) -> F32:
    """Values between the samples of one axis, by straight lines."""
    before = np.floor(places).astype(np.intp)
    after = np.minimum(before + 1, pixels.shape[axis] - 1)
    part = (places - before).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    first = np.take(pixels, before, axis=axis)
    return np.asarray(first + part * (np.take(pixels, after, axis=axis) - first), np.float32)


def _window_shape(
    padded: Sequence[int], halo: Sequence[int], model: ModelFolder, most: int
) -> list[int]:
    """Largest shape within the bytes that wastes little on halos; all of an axis where it fits."""
    shape = list(padded)
    while window_bytes(model, shape) > most:
        # The axis to shorten is the one on which the core stays the largest part; a core smaller
        # than its halo would be all waste.
        waste = [
            2 * h / (w - d) if w - d >= 3 * h else np.inf
            for w, h, d in zip(shape, halo, model.division, strict=True)
        ]
        if not np.isfinite(min(waste)):
            break
        axis = int(np.argmin(waste))
        shape[axis] -= model.division[axis]
    return [_even(p, w, h, d) for p, w, h, d in zip(padded, shape, halo, model.division)]


def _even(padded: int, width: int, halo: int, division: int) -> int:
    """The least width that needs no more windows."""
    if width >= padded:
        return padded
    count = 1 + -(-(padded - width) // (width - 2 * halo))
    least = -(-(padded + (count - 1) * 2 * halo) // count)
    return min(width, -(-least // division) * division)


def _spans(
    size: int, padded: int, width: int, halo: int, reach: int, division: int
) -> list[tuple[int, ...]]:
    """Ends of whole, sound and core of all windows along one axis."""
    step = max(width - 2 * halo, division)
    count = 1 + -(-(padded - width) // step)
    gaps = max(count - 1, 1)
    starts = [(padded - width) * k // gaps // division * division for k in range(count)]
    # A core ends in the middle of what two windows share.
    ends = [(a + width + b) // 2 // division * division for a, b in itertools.pairwise(starts)]
    cores = [0, *ends, size]
    spans: list[tuple[int, ...]] = []
    for number, start in enumerate(starts):
        first = start + reach if start else 0
        last = start + width - reach if start + width < padded else size
        spans.append((start, start + width, first, last, cores[number], cores[number + 1]))
    return spans


def _least(ends: Whole, size: Whole) -> Whole:
    z, y, x = (min(a, b) for a, b in zip(ends, size, strict=True))
    return z, y, x
