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
from poolvox.shared.evaluate import measure_overlap

__all__ = ["cytoplasm_of", "find_parents", "segment_cells"]

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
    away, nearest = ndimage.distance_transform_edt(
        markers == 0, sampling=spacing, return_indices=True
    )
    allowed = (away <= reach) & (True if mask is None else mask)
    allowed |= markers > 0
    if image is None:
        return np.where(allowed, markers[tuple(nearest)], np.uint32(0))
    sigma = [SMOOTH / step for step in spacing]
    light = ndimage.gaussian_filter(np.asarray(image, np.float32), sigma, mode="nearest")
    low, high = np.percentile(light[allowed], (1, 99))
    ground = np.clip((light - low) / max(float(high - low), 1e-9), 0, 1)
    if stain == "cytoplasm":
        ground = 1 - ground
    ground += (DISTANCE_WEIGHT / reach * away).astype(np.float32)
    grown: Labels = watershed(ground, markers.astype(np.int64), mask=allowed).astype(np.uint32)
    return grown


def cytoplasm_of(cells: NDArray[np.integer], nuclei: NDArray[np.integer]) -> NDArray[np.integer]:
    """Cells without their nuclei, with the cells' labels."""
    return np.where(nuclei > 0, 0, cells).astype(cells.dtype)


def find_parents(
    children: NDArray[np.integer], parents: NDArray[np.integer]
) -> tuple[pd.Series, pd.Series]:
    """Give each child the parent that holds most of its voxels.

    Returns
    -------
    parent (0 where no parent holds any) and the part of the child inside it, both indexed by the
    children's labels, ascending
    """
    overlap = measure_overlap(children, parents)
    table = pd.DataFrame(
        {
            "child": overlap.rows,
            "parent": overlap.predicted.labels[overlap.columns].astype(np.int64),
            "part": overlap.of_truth,
        }
    )
    # Of equal parts the smaller label wins, whatever the order of the pairs.
    best = table.sort_values(["child", "part", "parent"], ascending=[True, False, True])
    best = best.drop_duplicates("child").set_index("child")
    index = pd.RangeIndex(len(overlap.truth))
    parent = best["parent"].reindex(index, fill_value=0)
    part = best["part"].reindex(index, fill_value=0.0)
    labels = pd.Index(overlap.truth.labels.astype(np.int64), name="label")
    return parent.set_axis(labels), part.set_axis(labels)
