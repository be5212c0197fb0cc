"""Where an object lies in its organoid: how deep, how far from the lumen, which way it points.

Depth is the distance to the surface of the organoid; where the organoid is cut by the border of
the image there is no surface. The outward normal is the direction in which depth falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.cells import find_parents
from poolvox.shared.errors import InputError
from poolvox.shared.features import Feature, Objects, find_objects
from poolvox.shared.features.moments import principal_axes
from poolvox.shared.imaging.distance import distance_to

__all__ = ["POSITION_FEATURES", "Tissue", "measure_positions"]

# Normals are taken from depth that is sampled this finely over the width of its blur.
FINE = 4.0
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


@dataclass(frozen=True, slots=True)
class Tissue:
    """Label images of what objects lie in; all (Z, Y, X) and of the objects' shape.

    Parameters
    ----------
    organoids : organoids, lumens filled; 0 outside
    lumens : lumens; 0 elsewhere
    cells : cells that carry the labels of their nuclei
    """

    organoids: NDArray[np.integer]
    lumens: NDArray[np.integer] | None = None
    cells: NDArray[np.integer] | None = None


def measure_positions(
    labels: NDArray[np.integer], tissue: Tissue, *, spacing: Sequence[float]
) -> pd.DataFrame:
    """Measure where every object lies in its organoid.

    Parameters
    ----------
    labels : (Z, Y, X) array of nuclei or cells; 0 is background
    tissue : what they lie in; an object belongs to the organoid that holds most of it
    spacing : (z, y, x) in micrometres

    Returns
    -------
    One row per label, ascending, with the columns of `POSITION_FEATURES`. NaN where there is no
    organoid, no lumen in the organoid, or no cell.
    """
    for image in (tissue.organoids, tissue.lumens, tissue.cells):
        if image is not None and image.shape != labels.shape:
            raise InputError(f"labels {labels.shape} and {image.shape} must have one shape")
    objects = find_objects(labels, spacing=spacing)
    names = [feature.name for feature in POSITION_FEATURES]
    table = pd.DataFrame(np.nan, index=pd.Index(objects.ids, name="label"), columns=names)
    if not len(objects):
        return table
    diameter = float(np.cbrt(6 / np.pi * objects.voxel_size * objects.counts.mean()))
    long_axis = principal_axes(objects)[1][:, :, 0]
    outward, radial = np.full((2, len(objects), 3), np.nan)
    parent = find_parents(objects, tissue.organoids)[0].to_numpy()
    for organoid, box in enumerate(ndimage.find_objects(_dense(tissue.organoids)), start=1):
        members = np.flatnonzero(parent == organoid)
        if len(members):
            field = _field(tissue, organoid, _grown(box, labels.shape), objects, diameter / 2)
            rows = table.index[members]
            for name, values in _distances(field, objects, members).items():
                table.loc[rows, name] = values
            outward[members] = _normals(field, objects, members)
            radial[members] = objects.centroids[members] * objects.spacing - field.centre
    table["Layer"] = np.floor(table["DepthCentroid_um"] / diameter) + 1
    depth, lumen = table["DepthMean_um"], table["LumenDistanceMean_um"]
    table["ApicoBasal"] = depth / (depth + lumen).where(depth + lumen > 0)
    table["NormalAngle_degree"] = _axis_angle(long_axis, outward)
    table["RadialAngle_degree"] = _axis_angle(long_axis, radial)
    table["CentreDistance_um"] = np.linalg.norm(radial, axis=1)
    if tissue.cells is not None:
        cosine, magnitude = _polarity(objects, find_objects(tissue.cells, spacing=spacing), outward)
        table["PolarityCosine"], table["PolarityMagnitude"] = cosine, magnitude
    return table


@dataclass(frozen=True, slots=True)
class _Field:
    """Distances in the box of one organoid; `smooth` is depth on every `step`th voxel, blurred."""

    origin: NDArray[np.int64]
    depth: NDArray[np.float64]
    smooth: NDArray[np.float64]
    step: NDArray[np.int64]
    lumen: NDArray[np.float64] | None
    centre: NDArray[np.float64]

    def at(self, values: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values at places (N, 3) of the whole image; outside the box those of its border."""
        top = np.array(values.shape) - 1
        found: NDArray[np.float64] = values[tuple(np.clip(places - self.origin, 0, top).T)]
        return found


def _field(
    tissue: Tissue, organoid: int, box: tuple[slice, ...], objects: Objects, smooth: float
) -> _Field:
    spacing = objects.spacing
    inside = tissue.organoids[box] == organoid
    origin = np.array([side.start for side in box])
    depth = _distance(inside, spacing)
    lumen = None
    if tissue.lumens is not None:
        hollow = inside & (tissue.lumens[box] > 0)
        if hollow.any():
            lumen = _distance(~hollow, spacing)
    centre = (np.array(ndimage.center_of_mass(inside)) + origin) * spacing
    step = np.maximum(smooth / (FINE * spacing), 1).astype(int)
    coarse = depth[tuple(slice(None, None, k) for k in step)]
    smoothed = ndimage.gaussian_filter(coarse, smooth / (spacing * step))
    return _Field(origin, depth, smoothed, step, lumen, centre)


def _distance(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Micrometres to the nearest voxel outside the mask; NaN where there is none in the image."""
    distance = distance_to(~mask, spacing=tuple(spacing)).astype(float)
    if mask.all():
        distance[:] = np.nan
    return distance


def _distances(
    field: _Field, objects: Objects, members: NDArray[np.intp]
) -> dict[str, NDArray[np.float64]]:
    """Depths and distances to the lumen of the objects of one organoid."""
    ends, indices = objects.layout.voxels, objects.indices
    flat = np.concatenate([indices[ends[k] : ends[k + 1]] for k in members])
    places = np.stack(np.unravel_index(flat, objects.labels.shape), axis=1)
    count = objects.counts[members]
    starts = np.concatenate([[0], np.cumsum(count)[:-1]])
    depth = field.at(field.depth, places)
    centroids = np.rint(objects.centroids[members]).astype(np.int64)
    mean = np.add.reduceat(depth, starts) / count
    found = {
        "DepthMean_um": mean,
        "DepthMin_um": np.minimum.reduceat(depth, starts),
        "DepthMax_um": np.maximum.reduceat(depth, starts),
        "DepthCentroid_um": field.at(field.depth, centroids),
        "DepthRelative": mean / field.depth.max(),
    }
    if field.lumen is not None:
        lumen = field.at(field.lumen, places)
        found["LumenDistanceMean_um"] = np.add.reduceat(lumen, starts) / count
        found["LumenDistanceMin_um"] = np.minimum.reduceat(lumen, starts)
    return found


def _normals(field: _Field, objects: Objects, members: NDArray[np.intp]) -> NDArray[np.float64]:
    """Outward directions at the centroids, of any length; 0 where depth has its ridge."""
    places = np.rint((objects.centroids[members] - field.origin) / field.step).astype(np.int64)
    top = np.array(field.smooth.shape) - 1
    slopes = []
    for axis, width in enumerate(2 * objects.spacing * field.step):
        way = np.eye(3, dtype=np.int64)[axis]
        ends = [np.clip(places + side * way, 0, top) for side in (1, -1)]
        above, below = (field.smooth[tuple(end.T)] for end in ends)
        slopes.append((above - below) / width)
    return -np.stack(slopes, axis=1)


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


def _dense(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    if int(labels.max(initial=0)) > np.iinfo(np.int32).max:
        raise InputError("organoid labels go above 2^31: renumber them")
    return labels.astype(np.int32, copy=False)


def _grown(box: tuple[slice, ...], shape: Sequence[int]) -> tuple[slice, ...]:
    """One voxel more on every side, as far as the image goes: there the surface is seen."""
    return tuple(slice(max(s.start - 1, 0), min(s.stop + 1, n)) for s, n in zip(box, shape))
