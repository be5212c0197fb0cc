"""Cells around nuclei, and who belongs to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from poolvox.shared.errors import InputError
from poolvox.shared.features import Objects, find_objects
from poolvox.shared.features.kernels import Layout, kernel
from poolvox.shared.imaging.distance import distance_to, nearest_label

__all__ = ["cytoplasm_of", "find_parents", "segment_cells", "stain_levels"]

Labels = NDArray[np.uint32]
Stain = Literal["membrane", "cytoplasm"]

# Width of the Gaussian on a membrane or cytoplasm stain, micrometres: finer is noise.
SMOOTH = 0.5
# Weight of the distance to the nucleus beside the stain: decides where the stain is flat.
DISTANCE_WEIGHT = 0.1


def segment_cells(
    nuclei: NDArray[np.integer],
    *,
    spacing: Sequence[float],
    mask: NDArray[np.bool_] | None = None,
    image: NDArray[Any] | None = None,
    stain: Stain = "membrane",
    reach: float = 10.0,
    levels: tuple[float, float] | None = None,
) -> Labels:
    """Grow a cell around each nucleus; it gets the nucleus's label.

    Parameters
    ----------
    nuclei : (Z, Y, X) labels
    spacing : micrometres
    mask : (Z, Y, X), where cells can be: the organoid without its lumens
    image : (Z, Y, X) stain; with it cells meet at bright membranes, or where the cytoplasm is
        darkest; without it each voxel goes to the nearest nucleus
    reach : how far a cell may reach beyond its nucleus, micrometres
    levels : dark and bright stain, see `stain_levels`; of a part of a stack, those of the whole

    Examples
    --------
    >>> nuclei = np.zeros((1, 1, 9), np.uint32)
    >>> nuclei[..., 2], nuclei[..., 7] = 1, 2
    >>> segment_cells(nuclei, spacing=(1, 1, 1), reach=2).ravel().tolist()
    [1, 1, 1, 1, 1, 2, 2, 2, 2]
    """
    if stain not in ("membrane", "cytoplasm"):
        raise InputError(f"stain must be membrane or cytoplasm, got {stain!r}")
    markers = np.asarray(nuclei).astype(np.uint32)
    if not markers.any():
        return markers
    away, nearest = nearest_label(markers, spacing=spacing)
    allowed = (away <= reach) & (True if mask is None else mask)
    allowed |= markers > 0
    if image is None:
        return np.where(allowed, nearest, np.uint32(0)).astype(np.uint32)
    light = _smoothed(image, spacing)
    low, high = levels or _levels(light, allowed)
    ground = np.clip((light - low) / max(high - low, 1e-9), 0, 1)
    if stain == "cytoplasm":
        ground = 1 - ground
    ground += np.float32(DISTANCE_WEIGHT / reach) * away
    grown: Labels = watershed(ground, markers.astype(np.int64), mask=allowed).astype(np.uint32)
    return grown


def stain_levels(
    image: NDArray[Any],
    nuclei: NDArray[np.bool_],
    *,
    spacing: Sequence[float],
    mask: NDArray[np.bool_],
    reach: float,
) -> tuple[float, float]:
    """Dark and bright stain where cells can be; parameters as in `segment_cells`."""
    if not nuclei.any():
        return 0.0, 0.0
    allowed = (distance_to(nuclei, spacing=spacing) <= reach) & mask | nuclei
    return _levels(_smoothed(image, spacing), allowed)


def _smoothed(image: NDArray[Any], spacing: Sequence[float]) -> NDArray[np.float32]:
    sigma = [SMOOTH / step for step in spacing]
    light: NDArray[np.float32] = ndimage.gaussian_filter(
        np.asarray(image, np.float32), sigma, mode="nearest"
    )
    return light


def _levels(light: NDArray[np.float32], allowed: NDArray[np.bool_]) -> tuple[float, float]:
    low, high = np.percentile(light[allowed], (1, 99))
    return float(low), float(high)


def cytoplasm_of(cells: NDArray[np.integer], nuclei: NDArray[np.integer]) -> NDArray[np.integer]:
    """Cells without their nuclei, with the cells' labels."""
    return np.where(nuclei > 0, 0, cells).astype(cells.dtype)


def find_parents(
    children: NDArray[np.integer] | Objects, parents: NDArray[Any]
) -> tuple[pd.Series, pd.Series]:
    """Give each child the parent that holds most of its voxels; of equal ones the lowest label.

    Returns
    -------
    parent (0 where no parent holds any) and the part of the child inside it, both indexed by the
    children's labels, ascending
    """
    objects = children if isinstance(children, Objects) else find_objects(children, spacing=1.0)
    volume = np.ascontiguousarray(parents).reshape(objects.labels.shape)
    held = objects.reduce(_most, np.zeros((len(objects), 2), np.int64), volume.reshape(-1))
    index = pd.Index(objects.ids, name="label")
    part = np.where(held[:, 0] > 0, held[:, 1] / objects.counts, 0.0)
    return pd.Series(held[:, 0], index), pd.Series(part, index)


@kernel
def _most(
    layout: Layout, parents: NDArray[Any], out: NDArray[np.int64], start: int, stop: int
) -> None:
    """The parent that holds most voxels of each object, and how many those are."""
    for k in range(start, stop):
        # Few parents share an object: a list is searched faster than a table is cleared.
        names, counts, size, last = np.empty(8, np.int64), np.empty(8, np.int64), 0, 0
        for run in range(layout.runs[k], layout.runs[k + 1]):
            for at in range(layout.start[run], layout.start[run] + layout.length[run]):
                name = np.int64(parents[at])
                if size == 0 or names[last] != name:
                    last = 0
                    while last < size and names[last] != name:
                        last += 1
                    if last == size:
                        if size == len(names):
                            names = np.concatenate((names, np.empty(size, np.int64)))
                            counts = np.concatenate((counts, np.empty(size, np.int64)))
                        names[size], counts[size], size = name, 0, size + 1
                counts[last] += 1
        for i in range(size):
            more = counts[i] > out[k, 1] or (counts[i] == out[k, 1] and names[i] < out[k, 0])
            if names[i] != 0 and more:
                out[k, 0], out[k, 1] = names[i], counts[i]
