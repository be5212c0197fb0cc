"""Pixels as the 16-bit counts that screens are worked on in, whatever type a file has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError

__all__ = ["as_counts"]

MOST = 65535
# Numbers that span less than this would lose what they tell if they were rounded.
LEAST_SPAN = 100.0


def as_counts(images: NDArray[Any]) -> NDArray[np.uint16]:
    """Give images as 16-bit counts.

    What was corrected for shading or background comes as floats, some below zero: they are rounded,
    and all lifted by what the lowest lacks. Light is measured against its surroundings, so
    that changes no result. Planes that are zero throughout stay so, as nothing was recorded.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array

    Examples
    --------
    >>> as_counts(np.array([[[[-3.2, 0.0], [500.4, 10.0]]]])).ravel().tolist()
    [0, 3, 504, 13]
    """
    if images.dtype == np.uint16:
        return images
    if images.dtype == np.uint8:
        return images.astype(np.uint16)
    if images.dtype.kind not in "iuf":
        raise InputError(f"the pixels are {images.dtype}: export them as 16-bit counts")
    low, high = float(images.min()), float(images.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise InputError("some pixels are NaN or infinite: replace them, as by zero")
    lift = max(-low, 0.0)
    if high + lift > MOST:
        raise InputError(
            f"pixels lie between {low:g} and {high:g}, more than 16 bits hold: export them as "
            "16-bit counts"
        )
    if 0 < high - low < LEAST_SPAN and images.dtype.kind == "f":
        raise InputError(
            f"pixels lie between {low:g} and {high:g}, too close to be rounded to counts: export "
            "them as the camera's 16-bit counts"
        )
    return _rounded(images, lift)


def _rounded(images: NDArray[Any], lift: float) -> NDArray[np.uint16]:
    counts = np.zeros(images.shape, np.uint16)
    for place in np.ndindex(images.shape[:-2]):
        plane = images[place]
        if plane.any():
            counts[place] = np.rint(plane + np.float64(lift))
    return counts
