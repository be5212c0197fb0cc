"""Exact Euclidean distances on grids of any number of axes and any spacing.

One axis after the other, by lower envelopes of parabolas (Felzenszwalb and Huttenlocher 2012,
doi:10.4086/toc.2012.v008a019). A line falls into stretches between voxels at distance 0, and each
stretch is done alone, so lines that run mostly through nothing cost little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.shared.errors import InputError

__all__ = ["distance_to", "expand_within", "nearest_label", "square_distance"]

Labels = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]

# Squared distance that stands for "nothing marked on this line".
FAR = 1e30
# Columns that are moved together: a line of the cache of single precision.
TILE = 16


def distance_to(marked: Mask, *, spacing: float | Sequence[float] = 1.0) -> NDArray[np.float32]:
    """Distance of every voxel to the nearest marked one; infinite if none is marked.

    Parameters
    ----------
    marked : array of any number of axes
    spacing : width of a voxel, one for all axes or one each

    Examples
    --------
    >>> distance_to(np.array([[True, False, False]]), spacing=(1, 0.5)).tolist()
    [[0.0, 0.5, 1.0]]
    """
    squared = np.empty(marked.shape, np.float32)
    _transform(np.asarray(marked, bool), _widths(spacing, marked.ndim), squared, None)
    squared[squared >= FAR] = np.inf
    return np.sqrt(squared, out=squared)


def nearest_label(
    labels: Labels, *, spacing: float | Sequence[float] = 1.0
) -> tuple[NDArray[np.float32], Labels]:
    """Distance of every voxel to the nearest label, and which one that is (0 if there is none).

    Of equally near ones it is always the same one that wins, but not always the lowest.
    """
    owner = np.array(labels, order="C")
    squared = np.empty(owner.shape, np.float32)
    _transform(owner > 0, _widths(spacing, owner.ndim), squared, owner)
    squared[squared >= FAR] = np.inf
    return np.sqrt(squared, out=squared), owner


def expand_within(
    labels: Labels, distance: float, *, spacing: float | Sequence[float] = 1.0
) -> Labels:
    """Let every label grow by up to `distance`; each voxel goes to the nearest label.

    Parameters
    ----------
    labels : 0 where there is nothing
    distance, spacing : in one unit
    """
    away, nearest = nearest_label(labels, spacing=spacing)
    # Single precision must not decide over a voxel that is exactly as far.
    grown: Labels = np.where(away <= distance * (1 + 1e-6), nearest, labels.dtype.type(0))
    return grown


def _widths(spacing: float | Sequence[float], ndim: int) -> tuple[float, ...]:
    widths = (float(spacing),) * ndim if isinstance(spacing, (int, float)) else tuple(spacing)
    if len(widths) != ndim or not all(width > 0 for width in widths):
        raise InputError(f"spacing is {spacing}: expected {ndim} positive numbers, one per axis")
    return tuple(float(width) for width in widths)


def _transform(
    marked: Mask, widths: tuple[float, ...], squared: NDArray[np.float32], owner: Labels | None
) -> None:
    if not marked.size:
        return
    shape, last = marked.shape, marked.shape[-1]
    none = np.empty((0, 0), np.uint8)
    flat = none if owner is None else owner.reshape(-1, last)
    sites = np.ascontiguousarray(marked).view(np.uint8).reshape(-1, last)
    _along(sites, np.uint8(1), widths[-1], squared.reshape(-1, last), flat)
    for axis in range(marked.ndim - 2, -1, -1):
        lines = (int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :])))
        own = none.reshape(0, 0, 0) if owner is None else owner.reshape(lines)
        _across(squared.reshape(lines), widths[axis], own)


def _compile(function):  # type: ignore[no-untyped-def]
    return njit(cache=True, nogil=True, error_model="numpy")(function)


@_compile
def square_distance(mask, spacing, squared):  # type: ignore[no-untyped-def]
    """Squared distance of every voxel of `mask` (Z, Y, X) to the nearest 0; for compiled callers.

    `squared` receives it, `FAR` or more where there is no 0.
    """
    depth, height, width = mask.shape
    none = np.empty((0, 0), np.uint8)
    nothing = np.empty((0, 0, 0), np.uint8)
    lines = squared.reshape(depth * height, width)
    _along(mask.reshape(depth * height, width), np.uint8(0), spacing[2], lines, none)
    _across(squared, spacing[1], nothing)
    if depth > 1:
        _across(squared.reshape(1, depth, height * width), spacing[0], nothing)


@_compile
def _along(sites, wanted, spacing, squared, owner):  # type: ignore[no-untyped-def]
    """Squared distance along each row to the nearest wanted voxel, which leaves its label."""
    count, width = sites.shape
    for row in range(count):
        steps = 2 * width
        for x in range(width):
            steps = 0 if sites[row, x] == wanted else steps + 1
            squared[row, x] = steps
            if owner.size and 0 < steps < width:
                owner[row, x] = owner[row, x - 1]
        steps = 2 * width
        for x in range(width - 1, -1, -1):
            steps = 0 if sites[row, x] == wanted else steps + 1
            near = squared[row, x]
            if steps < near:
                near = steps
                if owner.size and 0 < steps < width:
                    owner[row, x] = owner[row, x + 1]
            squared[row, x] = (near * spacing) ** 2 if near < width else FAR


@_compile
def _across(squared, spacing, owner):  # type: ignore[no-untyped-def]
    """Take the middle axis into account; tiles of columns are moved together."""
    outer, length, inner = squared.shape
    lines = np.empty((TILE, length))
    scratch = (np.empty(length, np.int64), np.empty(length + 1), np.empty(length))
    labels = np.empty(length, owner.dtype)
    inverse = 1 / (2 * spacing * spacing * np.arange(length).astype(np.float64))
    for o in range(outer):
        for first in range(0, inner, TILE):
            tile = min(TILE, inner - first)
            for i in range(length):
                for t in range(tile):
                    lines[t, i] = squared[o, i, first + t]
            for t in range(tile):
                if owner.size:
                    labels[:] = owner[o, :, first + t]
                    _line(lines[t], spacing, inverse, scratch, labels, owner[o, :, first + t])
                else:
                    _line(lines[t], spacing, inverse, scratch, labels, labels[:0])
            for i in range(length):
                for t in range(tile):
                    squared[o, i, first + t] = lines[t, i]


@_compile
def _line(line, spacing, inverse, scratch, labels, owner):  # type: ignore[no-untyped-def]
    """Replace a line by its lower envelope of parabolas, stretch by stretch."""
    length, start = len(line), 0
    while start < length:
        if line[start] == 0:
            start += 1
            continue
        stop = start
        while stop < length and line[stop] != 0:
            stop += 1
        _envelope(line, max(start - 1, 0), min(stop + 1, length), inverse, scratch)
        _evaluate(line, start, stop, spacing, scratch, labels, owner)
        start = stop


@_compile
def _envelope(line, first, last, inverse, scratch):  # type: ignore[no-untyped-def]
    """Places of the parabolas, from where on each is the lowest, and their heights."""
    at, cut, height = scratch
    top = -1
    for i in range(first, last):
        if line[i] >= FAR:
            continue
        meet = -np.inf
        while top >= 0:
            meet = (line[i] - height[top]) * inverse[i - at[top]] + 0.5 * (i + at[top])
            if meet > cut[top]:
                break
            top -= 1
            meet = -np.inf
        top += 1
        at[top], cut[top], height[top] = i, meet, line[i]
    cut[top + 1] = np.inf


@_compile
def _evaluate(line, start, stop, spacing, scratch, labels, owner):  # type: ignore[no-untyped-def]
    at, cut, height = scratch
    if cut[0] > 0:
        return
    k, square = 0, spacing * spacing
    for i in range(start, stop):
        while cut[k + 1] < i:
            k += 1
        line[i] = height[k] + square * (i - at[k]) ** 2
        if owner.size:
            owner[i] = labels[at[k]]
