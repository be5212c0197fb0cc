"""Distance of every voxel of an object to what is outside it.

Each object is transformed alone in its own padded box, which is what a transform of the whole
label image gives, at the cost of the boxes only.
"""

from __future__ import annotations

import numpy as np

from poolvox.shared.features.kernels import Floats, Layout, box_mask, kernel
from poolvox.shared.imaging.distance import square_distance

__all__ = ["distance_to_border"]


@kernel
def distance_to_border(layout: Layout, out: Floats, start: int, stop: int) -> None:
    """Distance of every voxel of the objects, in object order."""
    for k in range(start, stop):
        mask = box_mask(layout, k, 1)
        squared = np.empty(mask.shape, out.dtype)
        square_distance(mask, layout.spacing, squared)
        away, inside = squared.reshape(-1), mask.reshape(-1)
        at = layout.voxels[k]
        # Runs are sorted by z, y, x, so the box is read in object order.
        for voxel in range(inside.size):
            if inside[voxel]:
                out[at] = np.sqrt(away[voxel])
                at += 1
