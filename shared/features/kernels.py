"""How compiled functions of this package are made, and what they see of the objects.

A kernel treats the objects `start` to `stop`, one after the other, and reads of each nothing but
its own voxels in a fixed order. So a result depends neither on the number of threads nor on how
the volume was cut, and the interpreter's lock is free while it works.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel

__all__ = ["Layout", "box_mask", "box_shape", "box_values", "kernel"]

F = TypeVar("F", bound=np.floating[Any])

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class Layout(NamedTuple):
    """The objects as a kernel sees them: runs of voxels along x, sorted by object.

    Attributes
    ----------
    shape : (3,) size of the volume in z, y, x; a plane has one z
    spacing : (3,) micrometres per voxel; z is 1 in a plane
    start, length : (R,) flat index of the first voxel, and number of voxels, of every run
    runs : (K + 1,) the runs of object k are `runs[k]` to `runs[k + 1]`
    voxels : (K + 1,) its voxels are `voxels[k]` to `voxels[k + 1]` of any array in object order
    box : (K, 6) z0, z1, y0, y1, x0, x1 of its bounding box, ends exclusive
    flat : 1 in a plane, where nothing is padded in z, else 0
    """

    shape: Ints
    spacing: Floats
    start: Ints
    length: Ints
    runs: Ints
    voxels: Ints
    box: Ints
    flat: int


@kernel
def box_shape(layout: Layout, k: int, pad: int) -> tuple[int, int, int]:
    """Size of the bounding box of object `k` with `pad` voxels around it (none in z of a plane)."""
    z0, z1, y0, y1, x0, x1 = layout.box[k]
    around = 0 if layout.flat else pad
    return z1 - z0 + 2 * around, y1 - y0 + 2 * pad, x1 - x0 + 2 * pad


@kernel
def box_mask(layout: Layout, k: int, pad: int) -> Bytes:
    """Object `k` alone in its padded bounding box: 1 inside, 0 outside."""
    mask = np.zeros(box_shape(layout, k, pad), np.uint8)
    above = 0 if layout.flat else pad
    z0, y0, x0 = layout.box[k, 0] - above, layout.box[k, 2] - pad, layout.box[k, 4] - pad
    for run in range(layout.runs[k], layout.runs[k + 1]):
        line, x = divmod(layout.start[run], layout.shape[2])
        z, y = divmod(line, layout.shape[1])
        mask[z - z0, y - y0, x - x0 : x - x0 + layout.length[run]] = 1
    return mask


@kernel
def box_values(
    layout: Layout, k: int, values: NDArray[F], outside: F | float, pad: int
) -> NDArray[F]:
    """`values` (in object order) of object `k` in its padded bounding box, `outside` elsewhere."""
    box = np.full(box_shape(layout, k, pad), outside, values.dtype)
    above = 0 if layout.flat else pad
    z0, y0, x0 = layout.box[k, 0] - above, layout.box[k, 2] - pad, layout.box[k, 4] - pad
    at = layout.voxels[k]
    for run in range(layout.runs[k], layout.runs[k + 1]):
        line, x = divmod(layout.start[run], layout.shape[2])
        z, y = divmod(line, layout.shape[1])
        count = layout.length[run]
        box[z - z0, y - y0, x - x0 : x - x0 + count] = values[at : at + count]
        at += count
    return box
