"""Where an object lies in its organoid: how deep, how far from the lumen, which way it points.

Depth is the distance to the surface of the organoid; where the organoid is cut by the border of
the image there is no surface. The outward normal is the direction in which depth falls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.organoid3d.cells import find_parents
from poolvox.organoid3d.spread import TissuePart
from poolvox.organoid3d.tissue import Tissue
from poolvox.shared.errors import InputError
from poolvox.shared.features import Feature, Objects, find_objects
from poolvox.shared.features.kernels import Floats, Ints, Layout, Singles, kernel
from poolvox.shared.features.moments import principal_axes

__all__ = ["POSITION_FEATURES", "measure_positions"]

# Normals are taken under a Gaussian, sampled this finely over its width ...
FINE = 2.0
# ... and as far out as this many widths.
WIDE = 3.0
# Where the field of an organoid begins, the objects' centroids, and which of them lie in it.
Place = tuple[Ints, Floats, NDArray[np.bool_]]
# Places round a centroid: steps in voxels, ways in micrometres, and Gaussian weights.
Window = tuple[Ints, Floats, Floats]
LSTREE = "doi:10.1038/s41467-021-25246-y"

POSITION_FEATURES = (
    Feature("DepthMean_um", "um", "mean distance of its voxels to the organoid's surface", LSTREE),
    Feature("DepthMin_um", "um", "least distance of its voxels to the organoid's surface"),
    Feature("DepthMax_um", "um", "largest distance of its voxels to the organoid's surface"),
    Feature("DepthCentroid_um", "um", "distance of its centroid to the organoid's surface"),
    Feature("DepthRelative", "", "DepthMean over the largest depth in the organoid", "", "[0, 1]"),
    Feature("Layer", "count", "1 at the surface; one more per mean diameter of depth", "", "[1, )"),
    Feature("LumenDistanceMean_um", "um", "mean distance of its voxels to the lumen", LSTREE),
    Feature("LumenDistanceMin_um", "um", "least distance of its voxels to the lumen"),
    Feature(
        "ApicoBasal",
        "",
        "DepthMean / (DepthMean + LumenDistanceMean): 0 at the outer (basal) surface, 1 at the "
        "lumen (apical)",
        "",
        "[0, 1]",
    ),
    Feature(
        "NormalAngle_degree",
        "degree",
        "angle of its longest axis to the normal of the organoid's surface",
        "",
        "[0, 90]",
    ),
    Feature(
        "RadialAngle_degree",
        "degree",
        "angle of its longest axis to the direction from the organoid's centroid",
        "",
        "[0, 90]",
    ),
    Feature("CentreDistance_um", "um", "distance of its centroid to the organoid's centroid"),
    Feature(
        "PolarityCosine",
        "",
        "cosine between the way from its centroid to that of its cell, and the outward normal: "
        "-1 where the nucleus lies basal in its cell, 1 where it lies apical",
        "",
        "[-1, 1]",
    ),
    Feature(
        "PolarityMagnitude",
        "",
        "distance of its centroid to that of its cell, over the cell's equivalent radius",
        "",
        "[0, )",
    ),
)


def measure_positions(
    labels: NDArray[np.integer] | Objects,
    tissue: Tissue | TissuePart,
    *,
    spacing: Sequence[float],
    diameter: float | None = None,
) -> pd.DataFrame:
    """Measure where every object lies in its organoid.

    Parameters
    ----------
    labels : (Z, Y, X) array of nuclei or cells, 0 is background; or its objects
    tissue : what they lie in; an object belongs to the organoid that holds most of it
    spacing : (z, y, x) in micrometres
    diameter : of the ball with the objects' mean volume, where these are not all there are

    Returns
    -------
    One row per label, ascending, with the columns of `POSITION_FEATURES`. NaN where there is no
    organoid, no lumen in the organoid, or no cell.
    """
    objects = find_objects(labels, spacing=spacing)
    if objects.labels.shape != tissue.organoids.shape:
        raise InputError(
            f"labels {objects.labels.shape} and tissue {tissue.organoids.shape} must have one shape"
        )
    names = [feature.name for feature in POSITION_FEATURES]
    index = pd.Index(objects.ids, name="label")
    if not len(objects):
        return pd.DataFrame(np.nan, index=index, columns=names)
    if diameter is None:
        diameter = float(np.cbrt(6 / np.pi * objects.voxel_size * objects.counts.mean()))
    found, outward, radial = _in_bodies(objects, tissue, diameter / 2)
    long_axis = principal_axes(objects)[1][:, :, 0]
    table = pd.DataFrame(found, index=index)
    table["Layer"] = np.floor(table["DepthCentroid_um"] / diameter) + 1
    depth, lumen = table["DepthMean_um"], table["LumenDistanceMean_um"]
    table["ApicoBasal"] = depth / (depth + lumen).where(depth + lumen > 0)
    table["NormalAngle_degree"] = _axis_angle(long_axis, outward)
    table["RadialAngle_degree"] = _axis_angle(long_axis, radial)
    table["CentreDistance_um"] = np.linalg.norm(radial, axis=1)
    if tissue.cells is not None:
        cosine, magnitude = _polarity(objects, find_objects(tissue.cells, spacing=spacing), outward)
        table["PolarityCosine"], table["PolarityMagnitude"] = cosine, magnitude
    return table.reindex(columns=names)


def _in_bodies(
    objects: Objects, tissue: Tissue | TissuePart, blur: float
) -> tuple[dict[str, Floats], Floats, Floats]:
    """Distances by name, outward directions of any length, and ways from the organoid's centre."""
    parent = find_parents(objects, tissue.organoids)[0].to_numpy()
    depth, lumen = np.full((2, len(objects), 4), np.nan)
    deepest = np.full(len(objects), np.nan)
    outward, radial = np.full((2, len(objects), 3), np.nan)
    window = _window(blur, objects.spacing)
    for body in tissue.bodies(objects.spacing.tolist()):
        mine = parent == body.label
        if not mine.any():
            continue
        place = (body.origin, objects.centroids, mine)
        objects.reduce(_reached, depth, body.depth, place)
        objects.reduce(_slopes, outward, body.depth, place, window)
        if body.lumen_distance is not None:
            objects.reduce(_reached, lumen, body.lumen_distance, place)
        deepest[mine] = body.deepest
        radial[mine] = (objects.centroids[mine] - body.centre) * objects.spacing
    found = dict(zip(("DepthMean_um", "DepthMin_um", "DepthMax_um", "DepthCentroid_um"), depth.T))
    found["DepthRelative"] = depth[:, 0] / deepest
    found |= {"LumenDistanceMean_um": lumen[:, 0], "LumenDistanceMin_um": lumen[:, 1]}
    return found, -outward, radial


@kernel
def _reached(
    layout: Layout, field: Singles, place: Place, out: Floats, start: int, stop: int
) -> None:
    """Mean, least and largest value of a field over each object, and that at its centroid.

    Voxels beyond the field have the value at its border.
    """
    origin, centroids, mine = place
    tops = np.array(field.shape) - 1
    for k in range(start, stop):
        if not mine[k]:
            continue
        total, low, high = 0.0, np.inf, -np.inf
        for run in range(layout.runs[k], layout.runs[k + 1]):
            line, x0 = divmod(layout.start[run], layout.shape[2])
            z, y = divmod(line, layout.shape[1])
            row = field[min(max(z - origin[0], 0), tops[0]), min(max(y - origin[1], 0), tops[1])]
            for x in range(x0 - origin[2], x0 - origin[2] + layout.length[run]):
                value = row[min(max(x, 0), tops[2])]
                total += value
                low, high = min(low, value), max(high, value)
        if np.isnan(total):
            low, high = np.nan, np.nan
        # Not to the even one of two: that depends on where the image begins.
        middle = np.floor(centroids[k] + 0.5) - origin
        middle = np.minimum(np.maximum(middle, 0), tops).astype(np.int64)
        out[k, 0], out[k, 1] = total / (layout.voxels[k + 1] - layout.voxels[k]), low
        out[k, 2], out[k, 3] = high, field[middle[0], middle[1], middle[2]]


def _window(blur: float, spacing: Floats) -> Window:
    """Places under a Gaussian of this width, micrometres."""
    step = np.maximum(blur / (FINE * spacing), 1).astype(np.int64)
    reach = np.ceil(WIDE * blur / (spacing * step)).astype(int)
    grid = np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij")
    steps = np.stack(grid, axis=-1).reshape(-1, 3) * step
    ways = steps * spacing
    square = (ways**2).sum(axis=1) / blur**2
    near = square <= WIDE**2
    return steps[near], ways[near], np.exp(-square[near] / 2)


@kernel
def _slopes(
    layout: Layout,
    field: Singles,
    place: Place,
    window: Window,
    out: Floats,
    start: int,
    stop: int,
) -> None:
    """Slope of a field round each centroid along every axis: regression under the weights.

    Outside its box the field is 0; beyond the image nothing is known.
    """
    origin, centroids, mine = place
    steps, ways, weights = window
    for k in range(start, stop):
        if not mine[k]:
            continue
        middle = np.floor(centroids[k] + 0.5).astype(np.int64)
        total, mean, first, second, product = 0.0, 0.0, np.zeros(3), np.zeros(3), np.zeros(3)
        for i in range(len(steps)):
            z, y, x = middle[0] + steps[i, 0], middle[1] + steps[i, 1], middle[2] + steps[i, 2]
            if min(z, y, x) < 0:
                continue
            if z >= layout.shape[0] or y >= layout.shape[1] or x >= layout.shape[2]:
                continue
            z, y, x = z - origin[0], y - origin[1], x - origin[2]
            value = 0.0
            if 0 <= z < field.shape[0] and 0 <= y < field.shape[1] and 0 <= x < field.shape[2]:
                value = field[z, y, x]
            total, mean = total + weights[i], mean + weights[i] * value
            for axis in range(3):
                moved = weights[i] * ways[i, axis]
                first[axis] += moved
                second[axis] += moved * ways[i, axis]
                product[axis] += moved * value
        for axis in range(3):
            spread = second[axis] - first[axis] * first[axis] / total
            joint = product[axis] - first[axis] * mean / total
            out[k, axis] = joint / spread if spread > 0 else 0.0


def _axis_angle(axes: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees between unit axes, which have no sign, and directions of any length."""
    length = np.linalg.norm(directions, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.abs((axes * directions).sum(axis=1)) / length
    angle: NDArray[np.float64] = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
    return angle


def _polarity(
    objects: Objects, cells: Objects, outward: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine to the outward normal, and relative length, of the way from nucleus to cell."""
    row = np.clip(np.searchsorted(cells.ids, objects.ids), 0, max(len(cells) - 1, 0))
    cosine, magnitude = np.full((2, len(objects)), np.nan)
    known = np.flatnonzero(cells.ids[row] == objects.ids) if len(cells) else np.array([], int)
    way = (cells.centroids[row[known]] - objects.centroids[known]) * objects.spacing
    length = np.linalg.norm(way, axis=1)
    radius = np.cbrt(3 / (4 * np.pi) * cells.voxel_size * cells.counts[row[known]])
    magnitude[known] = length / radius
    with np.errstate(invalid="ignore", divide="ignore"):
        norm = np.linalg.norm(outward[known], axis=1)
        cosine[known] = (way * outward[known]).sum(axis=1) / (length * norm)
    return cosine, magnitude
