"""One channel of an image as the groups of features see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.features.kernels import Floats
from poolvox.shared.features.objects import Objects

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
