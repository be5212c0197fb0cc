"""Stacks in a store, read by slices and written part by part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.blocks import Box
from poolvox.shared.errors import InputError
from poolvox.shared.store import Image
from poolvox.shared.store.targets import Target
from poolvox.shared.store.units import tiling

__all__ = [
    "AT_ONCE",
    "Source",
    "boxes_of",
    "cut_box",
    "finish_labels",
    "label_source",
    "with_margin",
    "write_arrays",
    "write_text",
]

# Voxels that are written at once.
AT_ONCE = 16_000_000


class Source:
    """One channel of an image, read by slices."""

    def __init__(self, image: Image, channel: str | None) -> None:
        """Find the channel."""
        self._array = image.array()
        axes = image.axes
        if axes[-3:] != "zyx":
            raise InputError(f"{image.path} has the axes {axes}: expected a stack, z, y and x")
        named = image.channels
        if channel is not None and channel not in named:
            raise InputError(f"{image.path} has no channel {channel!r}; it has {', '.join(named)}")
        if channel is None and len(named) > 1:
            raise InputError(f"{image.path}: name the channel, one of {', '.join(named)}")
        where = {"c": named.index(channel) if channel is not None else 0}
        self._place = tuple(slice(where.get(a, 0), where.get(a, 0) + 1) for a in axes[:-3])
        self.dtype = self._array.dtype

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        z, y, x = self._array.shape[-3:]
        return z, y, x

    def __getitem__(self, region: slice | tuple[slice, ...]) -> NDArray[Any]:
        """Pixels of a region."""
        given = region if isinstance(region, tuple) else (region,)
        full = (*given, *(slice(None) for _ in range(3 - len(given))))
        region = tuple(slice(*part.indices(n)[:2]) for part, n in zip(full, self.shape))
        pixels = self._array.read((*self._place, *region))
        return pixels.reshape(pixels.shape[-3:])


def label_source(image: Image, name: str) -> Source:
    """Labels of an image, read by slices."""
    return Source(Image(image.path / "labels" / name), None)


def boxes_of(target: Target) -> list[Box]:
    """Parts of whole write units, as many along z as are drawn at once."""
    deep = max(AT_ONCE // int(np.prod(target.unit)), 1) * target.unit[0]
    return [
        Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))
        for z, y, x in tiling(target.shape, (deep, *target.unit[1:]))
    ]


def cut_box(box: Box, most: int) -> list[Box]:
    """Parts of a box of at most so many voxels, in raster order."""
    sides = list(box.shape)
    while np.prod(sides) > most:
        axis = int(np.argmax(sides))
        sides[axis] = -(-sides[axis] // 2)
    parts = []
    for region in tiling(box.shape, tuple(sides)):
        ends = [(side.start + a, side.stop + a) for side, a in zip(region, box.start, strict=True)]
        (z, z1), (y, y1), (x, x1) = ends
        parts.append(Box((z, y, x), (z1, y1, x1)))
    return parts


def with_margin(box: Box, margin: Sequence[int], shape: Sequence[int]) -> Box:
    """A box with as many voxels round it as there are, up to a margin along each axis."""
    low = [max(a - m, 0) for a, m in zip(box.start, margin, strict=True)]
    high = [min(b + m, n) for b, m, n in zip(box.stop, margin, shape, strict=True)]
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def finish_labels(image: Image, name: str) -> None:
    """Build the pyramid of labels and write their metadata, unless that was done before."""
    if not Image(image.path / "labels" / name).complete:
        image.label_target(name).finish()


def write_text(path: Path, text: str) -> None:
    """Write a small file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{path.name}.partial")
    partial_path.write_text(text, encoding="utf-8")
    partial_path.replace(path)


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays to an NPZ file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{path.stem}.partial.npz")
    np.savez(partial_path, **arrays)  # type: ignore[arg-type]
    partial_path.replace(path)
