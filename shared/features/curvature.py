"""Curvature of the surface of 3D objects, on a smoothed mesh.

The object is resampled to its finest spacing, smoothed, and triangulated; the mesh is scaled so
that it holds the object's volume. Gaussian curvature is what is missing to a full turn round a
vertex, mean curvature the cotangent Laplacian (Meyer et al. 2003, doi:10.1007/978-3-662-05105-4_2).
The sum of the Gaussian curvature is 2 pi times the Euler characteristic whatever the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes

from poolvox.shared.features.kernels import Floats, Ints, box_mask, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.registry import Feature, register
from poolvox.shared.imaging.distance import distance_to

__all__ = ["CurvatureOptions", "measure_curvature", "surface_mesh", "vertex_curvature"]

# Objects smaller than this along any axis, in voxels, have no surface worth a mesh.
MIN_VOXELS = 2
# Room round the box for the smoothed surface, in widths of the Gaussian.
ROOM = 3.0


@dataclass(frozen=True)
class CurvatureOptions:
    """Options of the group `curvature`: width of the smoothing in micrometres."""

    sigma_um: float = 0.75


def describe_curvature(ndim: int, options: CurvatureOptions) -> tuple[Feature, ...]:
    """What the group returns."""
    on = (
        f"over the surface, smoothed by {options.sigma_um:g} um; bulging outwards "
        f"is positive; NaN for objects of less than {MIN_VOXELS} voxels along an "
        "axis"
    )
    meyer, koenderink = "doi:10.1007/978-3-662-05105-4_2", "doi:10.1016/0262-8856(92)90076-F"
    return (
        Feature("Mean_per_um", "1/um", f"mean of the mean curvature H {on}", meyer),
        Feature("MeanStd_per_um", "1/um", f"standard deviation of H {on}", meyer, "[0, inf)"),
        Feature(
            "MeanQuantile_per_um",
            "1/um",
            f"percentiles of H {on}",
            meyer,
            "(-inf, inf)",
            ("5", "95"),
        ),
        Feature("ConcaveFraction", "", f"share of the area with H < 0 {on}", "", "[0, 1]"),
        Feature("Gaussian_per_um2", "1/um2", f"mean of the Gaussian curvature K {on}", meyer),
        Feature("GaussianStd_per_um2", "1/um2", f"standard deviation of K {on}", meyer, "[0, inf)"),
        Feature(
            "Total",
            "",
            (
                "integral of K / (2 pi): Euler characteristic of the smoothed surface, 2 "
                f"for a ball, 0 for a ring {on}"
            ),
            "",
            "(-inf, inf)",
        ),
        Feature(
            "ShapeIndex",
            "",
            (f"mean of 2/pi atan(H / sqrt(H^2 - K)): 1 cap, 0.5 ridge, 0 saddle, -1 cup {on}"),
            koenderink,
            "[-1, 1]",
        ),
        Feature(
            "Curvedness_per_um", "1/um", f"mean of sqrt(2 H^2 - K) {on}", koenderink, "[0, inf)"
        ),
    )


@register(
    "Curvature", dims=(3,), features=describe_curvature, options=CurvatureOptions(), common=False
)
def measure_curvature(objects: Objects, options: CurvatureOptions) -> dict[str, Floats]:
    """Measure the curvature of every object; see `describe_curvature` for what and how."""
    table = np.full((len(objects), 10), np.nan)
    for k in range(len(objects)):
        mesh = surface_mesh(objects, k, sigma=options.sigma_um)
        if mesh is not None:
            table[k] = _summary(*mesh)
    names = [feature.name for feature in describe_curvature(3, options)]
    found = dict(
        zip(
            [name for name in names if "Quantile" not in name], table[:, [0, 1, 4, 5, 6, 7, 8, 9]].T
        )
    )
    return found | {"MeanQuantile_per_um": table[:, 2:4]}


def surface_mesh(objects: Objects, k: int, *, sigma: float) -> tuple[Floats, Ints] | None:
    """Vertices (V, 3) in micrometres and triangles (T, 3) of object `k`, or None if it is too thin.

    Parameters
    ----------
    sigma : width of the Gaussian in micrometres
    """
    layout = objects.layout
    if (np.diff(layout.box[k].reshape(3, 2), axis=1) < MIN_VOXELS).any():
        return None
    spacing = layout.spacing
    fine = float(spacing.min())
    width = max(sigma, fine)
    pad = int(np.ceil(ROOM * width / fine)) + 1
    mask = box_mask(layout, k, pad)
    # Distances, not the mask, are interpolated between planes: the surface runs on smoothly.
    signed = distance_to(mask == 0, spacing=tuple(spacing))
    signed -= distance_to(mask > 0, spacing=tuple(spacing))
    signed = ndimage.zoom(signed, spacing / fine, order=1, grid_mode=True, mode="nearest")
    smooth = ndimage.gaussian_filter(signed, width / fine, truncate=ROOM, mode="nearest")
    if not smooth.min() < 0 < smooth.max():
        return None
    vertices, faces, _, _ = marching_cubes(
        smooth, 0.0, spacing=(fine,) * 3, gradient_direction="descent"
    )
    vertices, faces = vertices.astype(np.float64), faces.astype(np.int64)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    volume = abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6
    middle = vertices.mean(axis=0)
    grown = np.cbrt(objects.counts[k] * objects.voxel_size / volume)
    return (vertices - middle) * grown, faces


def _summary(vertices: Floats, faces: Ints) -> Floats:
    mean, gauss, area = vertex_curvature(vertices, faces)
    total = area.sum()
    h, k = (mean * area).sum() / total, (gauss * area).sum() / total
    order = np.argsort(mean, kind="stable")
    share = np.cumsum(area[order]) / total
    cuts = np.minimum(np.searchsorted(share, [0.05, 0.95]), len(order) - 1)
    low, high = mean[order[cuts]]
    spread = np.sqrt(np.maximum(mean**2 - gauss, 0))
    index = 2 / np.pi * np.arctan2(mean, spread)
    curved = np.sqrt(np.maximum(2 * mean**2 - gauss, 0))
    return np.array(
        [
            h,
            np.sqrt((area * (mean - h) ** 2).sum() / total),
            low,
            high,
            area[mean < 0].sum() / total,
            k,
            np.sqrt((area * (gauss - k) ** 2).sum() / total),
            k * total / (2 * np.pi),
            (index * area).sum() / total,
            (curved * area).sum() / total,
        ]
    )


@kernel
def vertex_curvature(vertices: Floats, faces: Ints) -> tuple[Floats, Floats, Floats]:
    """Mean and Gaussian curvature and area (V,) of the vertices of a closed mesh.

    Triangles are counter-clockwise from outside, or all the other way: the volume tells.
    """
    count = len(vertices)
    turn, area = np.full(count, 2 * np.pi), np.zeros(count)
    pull, outward = np.zeros((count, 3)), np.zeros((count, 3))
    volume = 0.0
    for face in faces:
        for i in range(3):
            a, b, c = face[i], face[(i + 1) % 3], face[(i + 2) % 3]
            ab, ac = vertices[b] - vertices[a], vertices[c] - vertices[a]
            normal = np.cross(ab, ac)
            twice, dot = np.sqrt((normal * normal).sum()), (ab * ac).sum()
            if twice == 0:
                continue
            turn[a] -= np.arctan2(twice, dot)
            area[a] += twice / 6
            outward[a] += normal
            # The angle at a weighs the edge that lies opposite.
            edge = (vertices[b] - vertices[c]) * (dot / twice)
            pull[b] += edge
            pull[c] -= edge
            volume += (vertices[a] * normal).sum()
    mean, gauss = np.zeros(count), np.zeros(count)
    sign = 1.0 if volume > 0 else -1.0
    for v in range(count):
        if area[v] > 0:
            gauss[v] = turn[v] / area[v]
            size = np.sqrt((pull[v] ** 2).sum()) / (4 * area[v])
            mean[v] = size if sign * (pull[v] * outward[v]).sum() > 0 else -size
    return mean, gauss, area
