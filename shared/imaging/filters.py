"""Small filters that would otherwise take most of the time: shrinking and band-passing planes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["band_pass", "gaussian", "shrink"]

Plane = NDArray[np.float32]

# A Gaussian is cut off this many standard deviations from its centre.
REACH = 4.0


def shrink(image: NDArray[Any], factor: int) -> Plane:
    """Means of blocks of `factor` by `factor` pixels; what is left over at the far sides is cut."""
    height, width = (size // factor for size in image.shape)
    out = np.empty((height, width), np.float32)
    _shrink(image, factor, out)
    return out


def gaussian(image: NDArray[Any], sigma: float) -> Plane:
    """Blur a plane; the nearest pixel stands for those outside.

    Parameters
    ----------
    image : (Y, X) array
    sigma : standard deviation in pixels
    """
    out = np.empty(image.shape, np.float32)
    _separable(np.asarray(image, np.float32), _profile(sigma), out)
    return out


def band_pass(image: NDArray[Any], fine: float, coarse: float) -> Plane:
    """Difference of two Gaussian blurs: detail between `fine` and `coarse` pixels."""
    passed = gaussian(image, fine)
    passed -= gaussian(image, coarse)
    return passed


def _profile(sigma: float) -> Plane:
    reach = int(REACH * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    profile: Plane = (weights / weights.sum()).astype(np.float32)
    return profile


@njit(cache=True, nogil=True, fastmath=True)
def _shrink(image, factor, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    share = np.float32(1 / (factor * factor))
    columns = np.empty(width * factor, np.float32)
    for r in range(height):
        columns[:] = 0
        for k in range(factor):
            line = image[r * factor + k]
            for c in range(width * factor):
                columns[c] += np.float32(line[c])
        for c in range(width):
            total = np.float32(0)
            for k in range(factor):
                total += columns[c * factor + k]
            out[r, c] = total * share


@njit(cache=True, nogil=True, fastmath=True)
def _separable(image, profile, out):  # type: ignore[no-untyped-def]
    height, width = image.shape
    reach = len(profile) // 2
    padded = np.empty(width + 2 * reach, np.float32)
    for r in range(height):
        middle = padded[reach : reach + width]
        middle[:] = 0
        for k in range(len(profile)):
            line = image[min(max(r + k - reach, 0), height - 1)]
            weight = profile[k]
            for c in range(width):
                middle[c] += weight * line[c]
        padded[:reach] = padded[reach]
        padded[reach + width :] = padded[reach + width - 1]
        target = out[r]
        target[:] = 0
        for k in range(len(profile)):
            weight = profile[k]
            part = padded[k : k + width]
            for c in range(width):
                target[c] += weight * part[c]
