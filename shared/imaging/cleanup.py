"""Labels put in order: small objects out, holes closed, numbers without gaps."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.shared.errors import InputError

__all__ = [
    "count_pixels",
    "drop_small",
    "fill_holes",
    "number_from_one",
    "rename_labels",
    "whole_labels",
]

Labels = NDArray[np.integer[Any]]
Name = TypeVar("Name", bound=np.generic)


def count_pixels(labels: Labels) -> NDArray[np.int64]:
    """Count the pixels of every label from 0 on."""
    sizes: NDArray[np.int64] = _count(labels.ravel(), int(labels.max(initial=0)) + 1)
    return sizes


def rename_labels(labels: Labels, names: NDArray[Name]) -> NDArray[Name]:
    """Give every pixel the name of its label, as `names[labels]` does.

    Unlike indexing this leaves other threads of the process at work.
    """
    renamed = np.empty(labels.shape, names.dtype)
    _rename(labels.ravel(), names, renamed.reshape(-1))
    return renamed


def whole_labels(labels: NDArray[Any], name: str = "labels") -> NDArray[Any]:
    """Labels as integers where they are floats, as Fiji keeps them when 16 bits are too few.

    Parameters
    ----------
    labels : array of any type; integers are handed back as they are
    name : of the labels, for the message where they hold fractions
    """
    if labels.dtype.kind != "f":
        return labels
    if not np.array_equal(labels, np.rint(labels)):
        raise InputError(
            f"{name}: got {labels.dtype} with fractions, expected whole numbers, 0 for background: "
            "is it an image, or are they probabilities?"
        )
    return labels.astype(np.int64)


def drop_small(labels: Labels, least: float, most: float = np.inf) -> Labels:
    """Remove objects of fewer pixels than `least`, or more than `most`."""
    sizes = count_pixels(labels)
    keep = (sizes >= least) & (sizes <= most)
    return rename_labels(labels, np.where(keep, np.arange(len(sizes)), 0).astype(labels.dtype))


def fill_holes(mask: NDArray[np.bool_], largest: float) -> NDArray[np.bool_]:
    """Close holes of up to `largest` pixels that the mask surrounds."""
    holes, count = ndimage.label(~mask)
    if count == 0:
        return mask
    filled = count_pixels(holes) <= largest
    filled[0] = True
    return rename_labels(holes, filled)


def number_from_one(labels: Labels) -> NDArray[np.int32]:
    """Number objects 1, 2, ... in the order of their labels."""
    seen = count_pixels(labels) > 0
    seen[0] = False
    return rename_labels(labels, np.where(seen, np.cumsum(seen), 0).astype(np.int32))


@njit(cache=True, nogil=True)
def _count(labels, count):  # type: ignore[no-untyped-def]
    sizes = np.zeros(count, np.int64)
    for label in labels:
        sizes[label] += 1
    return sizes


@njit(cache=True, nogil=True)
def _rename(labels, names, renamed):  # type: ignore[no-untyped-def]
    for i in range(len(labels)):
        renamed[i] = names[labels[i]]
