"""Curvature of the surface of 3D objects, on a smoothed mesh.

The object is resampled to its finest spacing, smoothed, and triangulated; the mesh is scaled so
that it holds the object's volume. Gaussian curvature is what is missing to a full turn round a
vertex, mean curvature the cotangent Laplacian (Meyer et al. 2003, doi:10.1007/978-3-662-05105-4_2).
The sum of the Gaussian curvature is 2 pi times the Euler characteristic whatever the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.features.isosurface import TRIANGLES, triangulate
from poolvox.shared.features.kernels import Bytes, Floats, Ints, Layout, Singles, box_mask, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.options import check_number
from poolvox.shared.features.registry import Feature, register
from poolvox.shared.features.smoothing import convolve, gaussian_kernels
from poolvox.shared.features.vertices import triple_product, vertex_curvature
from poolvox.shared.imaging.distance import square_distance

__all__ = ["CurvatureOptions", "measure_curvature", "surface_mesh"]

# Objects smaller than this along any axis, in voxels, have no surface worth a mesh.
MIN_VOXELS = 2
# Room round the box for the smoothed surface, in widths of the Gaussian.
ROOM = 3.0
COLUMNS = 10


@dataclass(frozen=True)
class CurvatureOptions:
    """Options of the group `curvature`: width of the smoothing in micrometres."""

    sigma_um: float = 0.75

    def __post_init__(self) -> None:
        """Refuse values that cannot be measured with."""
        check_number("curvature.sigma_um", self.sigma_um, above=True)


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
    table = np.full((len(objects), COLUMNS), np.nan)
    objects.reduce(_curvatures, table, *_smoothing(objects, options.sigma_um), TRIANGLES)
    names = [feature.name for feature in describe_curvature(3, options)]
    single = [name for name in names if "Quantile" not in name]
    found = dict(zip(single, table[:, [0, 1, 4, 5, 6, 7, 8, 9]].T))
    return found | {"MeanQuantile_per_um": table[:, 2:4]}


def surface_mesh(objects: Objects, k: int, *, sigma: float) -> tuple[Floats, Ints] | None:
    """Vertices (V, 3) in micrometres and triangles (T, 3) of object `k`, or None if it is too thin.

    The vertices lie about their mean.

    Parameters
    ----------
    sigma : width of the Gaussian in micrometres
    """
    vertices, faces = _mesh(objects.layout, k, *_smoothing(objects, sigma), TRIANGLES)
    return (vertices, faces) if len(faces) else None


def _smoothing(objects: Objects, sigma: float) -> tuple[Singles, int]:
    """Kernel of the smoothing on the finest spacing, and the room it needs in voxels."""
    fine = float(objects.layout.spacing.min())
    width = max(sigma, fine)
    return gaussian_kernels(width, np.full(3, fine)), int(np.ceil(ROOM * width / fine)) + 1


@kernel
def _signed_distance(mask: Bytes, spacing: Floats) -> Singles:
    """Distance to the other side, positive inside, on cubic voxels of the finest spacing.

    Distances, not the mask, are taken between planes: the surface runs on smoothly.
    """
    inner, outer = np.empty(mask.shape, np.float32), np.empty(mask.shape, np.float32)
    square_distance(mask, spacing, inner)
    square_distance(1 - mask, spacing, outer)
    signed = np.sqrt(inner) - np.sqrt(outer)
    fine = spacing.min()
    for _ in range(3):
        # The first axis is stretched, and becomes the last: three times make it the first again.
        ratio = spacing[0] / fine
        if ratio > 1:
            long = np.empty((int((len(signed) - 1) * ratio) + 1, *signed.shape[1:]), np.float32)
            for i in range(len(long)):
                _between(signed, i / ratio, long[i])
            signed = long
        signed = np.ascontiguousarray(signed.transpose(1, 2, 0))
        spacing = np.roll(spacing, -1)
    return signed


@kernel
def _between(planes: Singles, place: float, out: Singles) -> None:
    """Catmull-Rom spline through the planes round `place`: no kinks, unlike straight lines."""
    low, last = min(int(place), len(planes) - 2), len(planes) - 1
    t = place - low
    before, after = planes[max(low - 1, 0)].reshape(-1), planes[min(low + 2, last)].reshape(-1)
    here, there, flat = planes[low].reshape(-1), planes[low + 1].reshape(-1), out.reshape(-1)
    a, b = np.float32(t * (t * (2 - t) - 1) / 2), np.float32((t * t * (3 * t - 5) + 2) / 2)
    c, d = np.float32(t * (t * (4 - 3 * t) + 1) / 2), np.float32(t * t * (t - 1) / 2)
    for i in range(len(flat)):
        flat[i] = a * before[i] + b * here[i] + c * there[i] + d * after[i]


@kernel
def _mesh(
    layout: Layout, k: int, halves: Singles, room: int, table: NDArray[np.int8]
) -> tuple[Floats, Ints]:
    """Vertices and triangles of the smoothed surface, which holds the object's volume."""
    sides = layout.box[k, 1::2] - layout.box[k, 0::2]
    nothing = np.empty((0, 3)), np.empty((0, 3), np.int64)
    if sides.min() < MIN_VOXELS:
        return nothing
    spacing = layout.spacing
    signed = _signed_distance(box_mask(layout, k, room), spacing)
    vertices, faces = triangulate(convolve(signed, halves), table)
    if len(faces) == 0:
        return nothing
    six = 0.0
    for a, b, c in faces:
        six += triple_product(vertices[a], vertices[b], vertices[c])
    middle = np.array([vertices[:, axis].mean() for axis in range(3)])
    count = layout.voxels[k + 1] - layout.voxels[k]
    wanted = count * spacing[0] * spacing[1] * spacing[2]
    return (vertices - middle) * np.cbrt(wanted / (abs(six) / 6)), faces


@kernel
def _curvatures(
    layout: Layout,
    halves: Singles,
    room: int,
    table: NDArray[np.int8],
    out: Floats,
    start: int,
    stop: int,
) -> None:
    for k in range(start, stop):
        vertices, faces = _mesh(layout, k, halves, room, table)
        if len(faces):
            mean, gauss, area = vertex_curvature(vertices, faces)
            _summary(mean, gauss, area, out[k])


@kernel
def _summary(mean: Floats, gauss: Floats, area: Floats, out: Floats) -> None:
    total = area.sum()
    h, k = (mean * area).sum() / total, (gauss * area).sum() / total
    order = np.argsort(mean, kind="mergesort")
    sums = np.zeros(6)
    # Percentiles weighted by area.
    below, low, high = 0.0, np.nan, mean[order[-1]]
    for v in order:
        below += area[v]
        if np.isnan(low) and below >= 0.05 * total:
            low = mean[v]
        if below >= 0.95 * total:
            high = min(high, mean[v])
        sums[0] += area[v] * (mean[v] - h) ** 2
        sums[1] += area[v] if mean[v] < 0 else 0.0
        sums[2] += area[v] * (gauss[v] - k) ** 2
        spread = np.sqrt(max(mean[v] ** 2 - gauss[v], 0.0))
        sums[3] += area[v] * np.arctan2(mean[v], spread)
        sums[4] += area[v] * np.sqrt(max(2 * mean[v] ** 2 - gauss[v], 0.0))
    sums /= total
    out[0], out[1], out[2], out[3], out[4] = h, np.sqrt(sums[0]), low, high, sums[1]
    out[5], out[6], out[7] = k, np.sqrt(sums[2]), k * total / (2 * np.pi)
    out[8], out[9] = 2 / np.pi * sums[3], sums[4]
