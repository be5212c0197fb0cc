"""Pyramids in one pass: seam-free, in bounded memory, and exact for labels.

A job owns one write unit of the second level above its source. It streams the units below it,
keeps only their halved block, and writes both levels from that. Factors are whole numbers and
blocks start at multiples of them, so no halo is needed and no seam can appear; memory follows
from the size of a unit and not from that of the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.store.units import Region, UnitArray, tiling

__all__ = ["build_pyramid", "halve_labels", "halve_means", "level_factors", "level_shapes"]

Pixels = NDArray[Any]
Reduce = Callable[[Pixels, tuple[int, ...]], Pixels]
Source = Callable[[Region], Pixels]

# The smallest level fits a thumbnail in one chunk.
SMALLEST_SIDE: Final = 512

# z joins as soon as its step is not more than this times the pixel size: nearest to isotropic.
NEAR_ISOTROPIC: Final = math.sqrt(2)

# Pixels as cameras write them; sums of a few fit the integers that loops compute with.
SMALL: Final = (np.dtype("u1"), np.dtype("u2"))

# Wide enough for the sum of all values under one pixel of the next level.
SUM_TYPES: Final = {
    "u1": "u2", "u2": "u4", "u4": "u8", "i1": "i2", "i2": "i4", "i4": "i8", "f2": "f4",
}  # fmt: skip


def level_factors(
    shape: tuple[int, ...], axes: str, spacing: dict[str, float], levels: int | None = None
) -> list[tuple[int, ...]]:
    """Factors from each level to the next.

    y and x are halved until they fit `SMALLEST_SIDE` (or to `levels` levels); z joins once the
    pixels have become as large as its steps, so an anisotropic stack becomes isotropic first.

    Examples
    --------
    >>> level_factors((40, 2000, 2000), "zyx", {"z": 2.0, "y": 1.0, "x": 1.0})
    [(1, 2, 2), (2, 2, 2)]
    """
    size = dict(zip(axes, shape))
    step = {axis: spacing.get(axis, 1.0) for axis in axes if axis in "zyx"}
    factors: list[tuple[int, ...]] = []
    while len(factors) + 1 < levels if levels else max(size["y"], size["x"]) > SMALLEST_SIDE:
        halved = set("yx")
        if "z" in step and step["z"] <= NEAR_ISOTROPIC * max(step["y"], step["x"]):
            halved.add("z")
        factor = {axis: 2 if axis in halved and size[axis] > 1 else 1 for axis in axes}
        size = {axis: -(-size[axis] // factor[axis]) for axis in axes}
        step = {axis: value * factor[axis] for axis, value in step.items()}
        factors.append(tuple(factor[axis] for axis in axes))
        if max(factors[-1]) == 1:
            factors.pop()
            break
    return factors


def level_shapes(
    shape: tuple[int, ...], factors: Sequence[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Shapes of all levels; an odd rest becomes a pixel of its own, so nothing is cut off."""
    shapes = [tuple(shape)]
    for factor in factors:
        shapes.append(tuple(-(-n // f) for n, f in zip(shapes[-1], factor)))
    return shapes


def halve_means(block: Pixels, factor: tuple[int, ...]) -> Pixels:
    """Mean over the pixels under each pixel of the next level.

    Integers are rounded to nearest, halves to even: rounding halves up would brighten every
    level by an eighth of a count. A rest at the border is the mean of what is there.
    """
    if block.dtype in SMALL and factor[-2:] == (2, 2) and math.prod(factor) == 4:
        return _halve_planes(block)
    block = _padded(block, factor)
    count = math.prod(factor)
    if count == 1:
        return block
    if block.dtype.kind in "ui" and block.dtype.itemsize == 8:
        return _mean_of_long(block, factor, count)
    wide = np.dtype(SUM_TYPES.get(block.dtype.str[1:], block.dtype))
    total: Pixels = block
    for axis, by in enumerate(factor):
        if by > 1:
            total = _sum_along(total, axis, by, wide)
    if block.dtype.kind == "f":
        total = np.multiply(total, 1 / count, dtype=wide)
    else:
        total = _divide(total, count)
    return total.astype(block.dtype, copy=False)


def _halve_planes(block: Pixels) -> Pixels:
    from poolvox.shared.store.kernels import halve_planes

    height, width = block.shape[-2:]
    half = np.empty((*block.shape[:-2], -(-height // 2), -(-width // 2)), block.dtype)
    halve_planes(block.reshape(-1, height, width), half.reshape(-1, *half.shape[-2:]))
    return half


def halve_labels(block: Pixels, factor: tuple[int, ...]) -> Pixels:
    """Most frequent label under each pixel of the next level; a tie goes to the first pixel's.

    Taking every second pixel shifts objects by half a pixel and drops thin ones. On discs of
    radius 8, two levels up, the overlap (IoU) with the disc is 0.76 with the vote and 0.69
    without. Values are compared, never computed with, so ids of any size survive.
    """
    block = _padded(block, factor)
    offsets = itertools.product(*(range(by) for by in factor))
    votes = [block[tuple(slice(o, None, f) for o, f in zip(place, factor))] for place in offsets]
    chosen = votes[0].copy()
    if len(votes) == 1:
        return chosen
    mixed = votes[1] != chosen
    for vote in votes[2:]:
        mixed |= vote != chosen
    # Only borders are mixed: a few per cent of the pixels pay for the count.
    chosen[mixed] = _majority(np.stack([vote[mixed] for vote in votes]))
    return chosen


def build_pyramid(
    levels: Sequence[UnitArray],
    factors: Sequence[tuple[int, ...]],
    *,
    reduce: Reduce,
    source: Source | None = None,
) -> None:
    """Fill the levels above level 0, two at a time; with `source`, level 0 as well.

    Parameters
    ----------
    levels : arrays of all levels, made with the shapes of `level_shapes`
    factors : from each level to the next
    reduce : `halve_means` or `halve_labels`
    source : gives the pixels of a region of level 0; None when level 0 is written already
    """
    first = levels[0].read if source is None else source
    for base in range(0, max(1, len(levels) - 1), 2):
        group = levels[base : base + 3]
        read = first if base == 0 else levels[base].read
        copies = base == 0 and source is not None
        for region in tiling(group[0].shape, _job(group, factors[base : base + 2])):
            _run(group, factors[base : base + 2], region, read, reduce, copies=copies)


def _job(group: Sequence[UnitArray], factors: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Extent, in pixels of the group's first level, that covers whole units of all its levels."""
    extent, scale = list(group[0].unit), [1] * len(group[0].unit)
    for level, factor in zip(group[1:], factors):
        scale = [s * f for s, f in zip(scale, factor)]
        extent = [math.lcm(e, u * s) for e, u, s in zip(extent, level.unit, scale)]
    # An axis with one unit needs no common multiple: the job takes the whole of it.
    single = [all(n <= u for n, u in zip(ns, us)) for ns, us in _by_axis(group)]
    return tuple(n if one else e for n, one, e in zip(group[0].shape, single, extent))


def _by_axis(group: Sequence[UnitArray]) -> list[tuple[list[int], list[int]]]:
    axes = range(len(group[0].shape))
    return [([a.shape[i] for a in group], [a.unit[i] for a in group]) for i in axes]


def _run(
    group: Sequence[UnitArray],
    factors: Sequence[tuple[int, ...]],
    region: Region,
    read: Source,
    reduce: Reduce,
    *,
    copies: bool,
) -> None:
    """One job: stream the units of `region`, write what they become on the levels above."""
    above = _scaled(region, factors[0], group[1].shape) if factors else ()
    half = np.empty([s.stop - s.start for s in above], group[0].dtype) if factors else None
    # A factor that does not divide the unit (only other writers have one) needs longer steps.
    steps = tuple(map(math.lcm, group[0].unit, factors[0])) if factors else group[0].unit
    for unit in tiling(tuple(s.stop - s.start for s in region), steps):
        place = tuple(slice(r.start + u.start, r.start + u.stop) for r, u in zip(region, unit))
        block = read(place)
        if copies:
            group[0].write(block, tuple(s.start for s in place))
        if half is not None:
            target = _scaled(unit, factors[0], half.shape)
            reduced = reduce(block, factors[0])
            half[target] = reduced[tuple(slice(s.stop - s.start) for s in target)]
    if half is None or half.size == 0:
        return
    group[1].write(half, tuple(s.start for s in above))
    if len(group) > 2:
        top = _scaled(above, factors[1], group[2].shape)
        reduced = reduce(half, factors[1])[tuple(slice(s.stop - s.start) for s in top)]
        if reduced.size:
            group[2].write(reduced, tuple(s.start for s in top))


def _scaled(region: Region, factor: tuple[int, ...], shape: tuple[int, ...]) -> Region:
    """The region one level up, cut at that level's border (other writers round sizes down)."""
    return tuple(
        slice(min(s.start // f, n), min(-(-s.stop // f), n))
        for s, f, n in zip(region, factor, shape)
    )


def _padded(block: Pixels, factor: tuple[int, ...]) -> Pixels:
    rest = [(0, -n % f) for n, f in zip(block.shape, factor)]
    return np.pad(block, rest, mode="edge") if any(after for _, after in rest) else block


def _sum_along(block: Pixels, axis: int, by: int, wide: np.dtype[Any]) -> Pixels:
    lines = [block[(slice(None),) * axis + (slice(o, None, by),)] for o in range(by)]
    total: Pixels = np.add(lines[0], lines[1], dtype=wide)
    for line in lines[2:]:
        total += line
    return total


def _divide(total: Pixels, count: int) -> Pixels:
    """Divide integers, to nearest, halves to even."""
    if count & (count - 1) == 0:
        bits = count.bit_length() - 1
        rounded: Pixels = (total >> bits) & 1
        rounded += total
        rounded += count // 2 - 1
        rounded >>= bits
        return rounded
    quotient, rest = np.divmod(total, count)
    return _round_up(quotient, rest, count)


def _mean_of_long(block: Pixels, factor: tuple[int, ...], count: int) -> Pixels:
    """Mean of 64-bit integers, whose sum no integer type holds: quotients and rests apart."""
    quotient, rest = np.divmod(block, count)
    for axis, by in enumerate(factor):
        if by > 1:
            quotient = _sum_along(quotient, axis, by, block.dtype)
            rest = _sum_along(rest, axis, by, block.dtype)
    whole, part = np.divmod(rest, count)
    return _round_up(quotient + whole, part, count)


def _round_up(quotient: Pixels, rest: Pixels, count: int) -> Pixels:
    """Add one where the rest is more than half of `count`, or half and the quotient odd."""
    up = (2 * rest > count) | ((2 * rest == count) & (quotient & 1 == 1))
    rounded: Pixels = quotient + up.astype(quotient.dtype)
    return rounded


def _majority(votes: Pixels) -> Pixels:
    """Most frequent value of each column of (K, N) votes; the first row wins ties."""
    chosen: Pixels = votes[0].copy()
    best = (votes == votes[0]).sum(axis=0)
    for row in votes[1:]:
        count = (votes == row).sum(axis=0)
        better = count > best
        chosen[better], best[better] = row[better], count[better]
    return chosen
