"""Bodies that only touch, or that a thin bridge joins, told apart at their necks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from poolvox.organoid3d.joining import find_faces
from poolvox.shared.imaging.distance import distance_to

__all__ = ["split_bodies"]

Mask = NDArray[np.bool_]
CORNERS = np.ones((3, 3, 3), bool)


def split_bodies(
    mask: Mask, spacing: Sequence[float], *, neck: float, least: float
) -> NDArray[np.int32]:
    """Label the bodies of a mask; one is cut where its neck is thin.

    Parameters
    ----------
    mask : (Z, Y, X) array, holes filled
    spacing : micrometres
    neck : a neck narrower than this part of the thinner body's width is cut; 0 cuts nothing
    least : cubic micrometres; smaller parts are not cut off

    Returns
    -------
    (Z, Y, X) labels 1 to N

    Examples
    --------
    >>> y, x = np.indices((25, 60))
    >>> mask = np.hypot(y - 12, x - 12) < 10
    >>> mask |= (np.hypot(y - 12, x - 45) < 10) | ((abs(y - 12) < 2) & (abs(x - 28) < 12))
    >>> split_bodies(np.repeat(mask[None], 3, axis=0), (1, 1, 1), neck=0.5, least=50).max()
    np.int32(2)
    """
    labels, count = ndimage.label(mask, CORNERS)
    if neck <= 0 or not count:
        return np.asarray(labels, np.int32)
    split = np.zeros(mask.shape, np.int32)
    number = 0
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        # The border of the stack is no surface, that of the box is.
        wide = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        body = labels[wide] == label
        parts = _parts(body, spacing, neck, least / float(np.prod(spacing)))
        split[wide][body] = parts[body] + number
        number += int(parts.max())
    return split


def _parts(body: Mask, spacing: Sequence[float], neck: float, least: float) -> NDArray[np.int32]:
    """One body in parts, each deeper than the necks between them."""
    whole = body.astype(np.int32)
    if body.all():
        return whole
    depth = distance_to(~body, spacing=list(spacing))
    peaks = (depth == ndimage.maximum_filter(depth, size=3)) & (depth > depth.max() * neck / 2)
    seeds, count = ndimage.label(peaks, CORNERS)
    if count < 2:
        return whole
    basins = np.asarray(watershed(-depth, seeds, mask=body), np.int32)
    top = np.asarray(ndimage.maximum(depth, basins, np.arange(count + 1)), float)
    size = np.bincount(basins.ravel(), minlength=count + 1).astype(float)
    owner = np.arange(count + 1)
    # The widest necks first: what they join is one body when the thinner ones are judged.
    for saddle, a, b in _saddles(basins, depth):
        a, b = _owner(owner, a), _owner(owner, b)
        if a == b:
            continue
        if saddle >= neck * min(top[a], top[b]) or min(size[a], size[b]) < least:
            owner[b] = a
            top[a], size[a] = max(top[a], top[b]), size[a] + size[b]
    found = np.array([_owner(owner, n) for n in range(count + 1)])
    names = np.zeros(count + 1, np.int32)
    kept = np.unique(found[1:])
    names[kept] = np.arange(1, len(kept) + 1)
    parts: NDArray[np.int32] = names[found[basins]] * whole
    return parts


def _owner(owner: NDArray[np.intp], label: int) -> int:
    while owner[label] != label:
        label = int(owner[label])
    return label


def _saddles(basins: NDArray[np.int32], depth: NDArray[np.float32]) -> list[tuple[float, int, int]]:
    """Deepest place on the face between every two basins, the deepest first."""
    count = int(basins.max()) + 1
    codes, depths = zip(*(find_faces(basins, depth, axis) for axis in range(3)), strict=True)
    code, found = np.concatenate(codes), np.concatenate(depths)
    pairs, place = np.unique(code, return_inverse=True)
    most = np.zeros(len(pairs))
    np.maximum.at(most, place, found)
    order = np.lexsort((pairs, -most))
    return [(float(most[k]), int(pairs[k] // count), int(pairs[k] % count)) for k in order]
