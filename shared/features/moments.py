"""Second moments of objects, and the ellipsoid that has the same ones.

A voxel is a small box, not a point: its own extent adds spacing squared over 12 along each
axis. Without it an object of one plane would be infinitely flat.
"""

from __future__ import annotations

import numpy as np

from poolvox.shared.features.kernels import Floats, Ints, Layout, kernel
from poolvox.shared.features.objects import Objects

__all__ = ["covariances", "principal_axes"]

# Pairs of axes in the order of the columns that the kernel sums.
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def covariances(objects: Objects) -> Floats:
    """(K, ndim, ndim) second central moments in square micrometres, voxel extent included."""
    first = 3 - objects.ndim
    sums = objects.reduce(_sum_products, np.zeros((len(objects), 9)))
    count = objects.counts[:, None].astype(np.float64)
    mean = sums[:, :3] / count
    full = np.empty((len(objects), 3, 3))
    for column, (a, b) in enumerate(PAIRS):
        moment = sums[:, 3 + column] / count[:, 0] - mean[:, a] * mean[:, b]
        full[:, a, b] = full[:, b, a] = moment + (a == b) / 12
    scale = objects.layout.spacing
    return np.asarray(full * np.outer(scale, scale))[:, first:, first:]


def principal_axes(objects: Objects) -> tuple[Floats, Floats]:
    """Eigenvalues (K, ndim) of the covariances, largest first, and unit vectors (K, ndim, ndim).

    `vectors[k, :, i]` belongs to `values[k, i]`; its sign is such that the last axis (x) is not
    negative, then y, then z.
    """
    values, vectors = np.linalg.eigh(covariances(objects))
    values, vectors = np.maximum(values[:, ::-1], 0), vectors[:, :, ::-1]
    sign = np.ones(vectors[:, 0].shape)
    for axis in range(objects.ndim):
        component = vectors[:, axis]
        sign = np.where(np.abs(component) > 1e-12, np.sign(component), sign)
    return values, vectors * sign[:, None, :]


@kernel
def _sum_products(layout: Layout, out: Floats, start: int, stop: int) -> None:
    for k in range(start, stop):
        sums: Ints = np.zeros(9, np.int64)
        for run in range(layout.runs[k], layout.runs[k + 1]):
            line, x = divmod(layout.start[run], layout.shape[2])
            z, y = divmod(line, layout.shape[1])
            z, y, x = z - layout.box[k, 0], y - layout.box[k, 2], x - layout.box[k, 4]
            n = layout.length[run]
            xs = n * x + n * (n - 1) // 2
            xx = n * x * x + x * n * (n - 1) + (n - 1) * n * (2 * n - 1) // 6
            sums[0] += n * z
            sums[1] += n * y
            sums[2] += xs
            sums[3] += n * z * z
            sums[4] += n * y * y
            sums[5] += xx
            sums[6] += n * z * y
            sums[7] += z * xs
            sums[8] += y * xs
        out[k] = sums
