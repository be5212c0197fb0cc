"""Labels put in order: small objects out, holes closed, numbers without gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["drop_small", "fill_holes", "number_from_one"]

Labels = NDArray[np.integer[Any]]


def drop_small(labels: Labels, least: float, most: float = np.inf) -> Labels:
    """Remove objects of fewer pixels than `least`, or more than `most`."""
    sizes = np.bincount(labels.ravel())
    keep = (sizes >= least) & (sizes <= most)
    keep[0] = False
    kept: Labels = np.where(keep[labels], labels, 0).astype(labels.dtype)
    return kept


def fill_holes(mask: NDArray[np.bool_], largest: float) -> NDArray[np.bool_]:
    """Close holes of up to `largest` pixels that the mask surrounds."""
    holes, count = ndimage.label(~mask)
    if count == 0:
        return mask
    sizes = np.bincount(holes.ravel())
    small = sizes <= largest
    small[0] = False
    filled: NDArray[np.bool_] = mask | small[holes]
    return filled


def number_from_one(labels: Labels) -> NDArray[np.int32]:
    """Number objects 1, 2, ... in the order of their labels."""
    seen = np.bincount(labels.ravel()) > 0
    seen[0] = False
    numbers = np.where(seen, np.cumsum(seen), 0).astype(np.int32)
    numbered: NDArray[np.int32] = numbers[labels]
    return numbered
