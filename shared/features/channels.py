"""One channel of an image as the groups of features see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.features.kernels import Floats, Layout, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.ordering import argsort_floats

__all__ = ["Signal", "read_signal"]


@dataclass(frozen=True)
class Signal:
    """A channel: its name, the whole image, and its values at the objects' voxels.

    Values that are not finite are not measured: they count as if the voxel were outside.
    """

    name: str
    image: NDArray[Any]
    objects: Objects

    @cached_property
    def values(self) -> Floats:
        """(N,) values in object order; NaN where the pixel is to be ignored."""
        values = self.objects.gather(self.image)
        if self.image.dtype.kind == "f":
            values[~np.isfinite(values)] = np.nan
        return values

    @cached_property
    def order(self) -> NDArray[np.int32]:
        """(N,) voxels of every object by growing value, counted from its first; NaN last."""
        order = np.empty(len(self.values), np.int32)
        return self.objects.reduce(_sort, order, self.values)

    @cached_property
    def ranks(self) -> NDArray[np.int32]:
        """(N,) rank of every value in its object from 0; equal values share one, NaN has -1."""
        ranks = np.full(len(self.values), -1, np.int32)
        return self.objects.reduce(_rank, ranks, self.values, self.order)

    def shelve(self) -> None:
        """Keep the ranks only, which pairs of channels need, and which take longest to make."""
        _ = self.ranks
        for name in ("values", "order"):
            self.__dict__.pop(name, None)


def read_signal(name: str, image: ArrayLike, objects: Objects) -> Signal:
    """Check one channel against the objects and make it a volume.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) array of any integer or float type, lazily computed ones included
    """
    pixels = np.asarray(image)
    if pixels.dtype.kind not in "iufb":
        raise InputError(f"channel {name!r} is {pixels.dtype}: expected integers or floats")
    expected = objects.labels.shape[-objects.ndim :]
    if pixels.shape != expected:
        raise InputError(
            f"channel {name!r} has shape {pixels.shape}, the labels {expected}: "
            "give an image of the same field and axes"
        )
    pixels = pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return Signal(name, native.reshape(objects.labels.shape), objects)


@kernel
def _sort(layout: Layout, values: Floats, out: NDArray[np.int32], start: int, stop: int) -> None:
    for k in range(start, stop):
        first, last = layout.voxels[k], layout.voxels[k + 1]
        out[first:last] = argsort_floats(values[first:last])


@kernel
def _rank(
    layout: Layout,
    values: Floats,
    order: NDArray[np.int32],
    out: NDArray[np.int32],
    start: int,
    stop: int,
) -> None:
    for k in range(start, stop):
        first, last = layout.voxels[k], layout.voxels[k + 1]
        inside, ranks = values[first:last], out[first:last]
        rank, before = -1, np.nan
        for at in order[first:last]:
            if np.isnan(inside[at]):
                break
            if inside[at] != before:
                rank, before = rank + 1, inside[at]
            ranks[at] = rank
