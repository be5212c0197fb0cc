"""What is measured of a whole organoid: its form, its filling, and summaries of its nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.cells import find_parents
from poolvox.organoid3d.tissue import Body, Tissue
from poolvox.shared.features import Feature, Objects, find_objects
from poolvox.shared.imaging.distance import distance_to

__all__ = [
    "ORGANOID_FEATURES",
    "SUMMARY_FEATURES",
    "Held",
    "count_buds",
    "held_by",
    "measure_contents",
    "sum_up_contents",
    "summarise_objects",
]

# A bud is what a ball of this part of the organoid's largest inner radius cannot reach ...
BUD_NECK = 0.6
# ... and that holds at least this part of its volume.
BUD_VOLUME = 0.01
# ... and sticks out this far, in largest inner radii: the waves of a rough mask do not.
BUD_HEIGHT = 0.2
# Voxels per radius of the organoid that buds and thickness are looked for with.
FINE = 24

ORGANOID_FEATURES = (
    Feature("Count_Nuclei", "count", "nuclei with most of their voxels in the organoid"),
    Feature("Count_Lumens", "count", "lumens with most of their voxels in the organoid"),
    Feature(
        "Count_Buds",
        "count",
        "parts that a ball of 0.6 times the inner radius cannot reach, and that stick out from "
        "where it reaches by 0.2 times that radius",
    ),
    Feature("Filling_NucleiDensity_per_um3", "per_um3", "nuclei per volume without lumens"),
    Feature(
        "Filling_NucleiFraction", "", "volume of nuclei over volume without lumens", "", "[0, 1]"
    ),
    Feature("Filling_LumenVolume_um3", "um3", "volume of all its lumens"),
    Feature("Filling_LumenFraction", "", "volume of its lumens over its own", "", "[0, 1]"),
    Feature("Filling_LargestLumen_um3", "um3", "volume of its largest lumen"),
    Feature("Filling_TissueVolume_um3", "um3", "its volume without lumens"),
    Feature(
        "Filling_Thickness_um",
        "um",
        "median, over the tissue's voxels, of the distance to the surface plus that to the lumen: "
        "the height of the epithelium; NaN without a lumen",
    ),
)

SUMMARY_FEATURES = (
    Feature("NucleiMedian_{feature}", "{feature}", "median over the nuclei of the organoid"),
    Feature(
        "NucleiMAD_{feature}",
        "{feature}",
        "median absolute deviation from the median over the nuclei of the organoid",
        "",
        "[0, inf)",
    ),
    Feature("NucleiP10_{feature}", "{feature}", "10th percentile over the nuclei of the organoid"),
    Feature("NucleiP90_{feature}", "{feature}", "90th percentile over the nuclei of the organoid"),
    Feature(
        "NucleiDepthSlope_{feature}",
        "{feature}",
        "slope, by least squares over the nuclei, from the organoid's surface (0) to its greatest "
        "depth (1); NaN where all lie equally deep",
    ),
)


def measure_contents(
    nuclei: NDArray[np.integer] | Objects, tissue: Tissue, *, spacing: Sequence[float]
) -> pd.DataFrame:
    """Measure what every organoid holds.

    Parameters
    ----------
    nuclei : (Z, Y, X) labels, or their objects
    tissue : organoids with lumens filled, and the lumens
    spacing : (z, y, x) in micrometres

    Returns
    -------
    One row per organoid, ascending, with the columns of `ORGANOID_FEATURES`.
    """
    return sum_up_contents(held_by(nuclei, tissue, spacing=spacing), tissue, spacing=spacing)


@dataclass(frozen=True, slots=True)
class Held:
    """Objects in organoids: the label of the organoid that holds each, 0 for none, and volumes."""

    parent: NDArray[np.int64]
    volume: NDArray[np.floating]


def held_by(
    labels: NDArray[np.integer] | Objects, tissue: Tissue, *, spacing: Sequence[float]
) -> Held:
    """Which organoid holds most of each object."""
    objects = find_objects(labels, spacing=spacing)
    parent = find_parents(objects, tissue.organoids)[0].to_numpy()
    return Held(parent, objects.counts * objects.voxel_size)


def sum_up_contents(nuclei: Held, tissue: Tissue, *, spacing: Sequence[float]) -> pd.DataFrame:
    """As `measure_contents`, of nuclei that were measured before."""
    organoids = tissue.objects(spacing)
    nucleus = _sums(nuclei, organoids)
    lumens = np.zeros_like(tissue.organoids) if tissue.lumens is None else tissue.lumens
    lumen = _sums(held_by(lumens, tissue, spacing=spacing), organoids)
    volume = organoids.counts * organoids.voxel_size
    solid = np.maximum(volume - lumen["volume"], organoids.voxel_size)
    own = [_own_form(body) for body in tissue.bodies(spacing)]
    table = {
        "Count_Nuclei": nucleus["count"],
        "Count_Lumens": lumen["count"],
        "Count_Buds": [buds for buds, _ in own],
        "Filling_NucleiDensity_per_um3": nucleus["count"] / solid,
        "Filling_NucleiFraction": nucleus["volume"] / solid,
        "Filling_LumenVolume_um3": lumen["volume"],
        "Filling_LumenFraction": lumen["volume"] / volume,
        "Filling_LargestLumen_um3": lumen["largest"],
        "Filling_TissueVolume_um3": volume - lumen["volume"],
        "Filling_Thickness_um": [thickness for _, thickness in own],
    }
    return pd.DataFrame(table, index=pd.Index(organoids.ids, name="label"), dtype=float)


def _own_form(body: Body) -> tuple[int, float]:
    """Number of buds, and thickness of the epithelium, on a coarser grid."""
    volume = float(body.inside.sum()) * float(np.prod(body.spacing))
    step, coarse = _coarser(volume, body.spacing.tolist())
    mask = body.inside[step]
    buds = count_buds(np.pad(mask, 1), spacing=coarse)
    if body.hollow is None or body.lumen_distance is None:
        return buds, float("nan")
    tissue = mask & ~body.hollow[step]
    across = (body.depth[step] + body.lumen_distance[step])[tissue]
    return buds, float(np.median(across)) if across.size else float("nan")


def count_buds(mask: NDArray[np.bool_], *, spacing: Sequence[float]) -> int:
    """Count the parts that stick out of one organoid.

    Parameters
    ----------
    mask : (Z, Y, X) organoid, lumens filled, with a margin of background
    spacing : (z, y, x) in micrometres
    """
    depth = distance_to(~mask, spacing=spacing)
    radius = BUD_NECK * depth.max()
    # An opening by distances: exact balls, whatever the spacing.
    away = distance_to(depth >= radius, spacing=spacing)
    parts, count = ndimage.label(mask & (away >= radius))
    if not count:
        return 0
    large = np.bincount(parts.ravel())[1:] >= BUD_VOLUME * mask.sum()
    height = ndimage.maximum(away, parts, np.arange(1, count + 1)) - radius
    return int((large & (height >= BUD_HEIGHT * depth.max())).sum())


def summarise_objects(table: pd.DataFrame, parent: pd.Series, depth: pd.Series) -> pd.DataFrame:
    """Summarise the features of the objects of every organoid.

    Parameters
    ----------
    table : features of the objects, one row each, named `{Compartment}_{Group}_{Measurement}`
    parent : organoid of each object, 0 for none; indexed as `table`
    depth : how deep each object lies, 0 at the surface and 1 deepest

    Returns
    -------
    One row per organoid: median, median absolute deviation, 10th and 90th percentile, and the
    slope over the depth, of every feature. NaN are left out; what has fewer than two different
    depths has no slope.
    """
    known = parent > 0
    groups = table[known].groupby(parent[known])
    median = groups.median()
    deviation = (table[known] - median.reindex(parent[known]).to_numpy()).abs()
    kinds = {
        "Median": median,
        "MAD": deviation.groupby(parent[known]).median(),
        "P10": groups.quantile(0.1),
        "P90": groups.quantile(0.9),
        "DepthSlope": _slopes(table[known], parent[known], depth[known]),
    }
    renamed = [
        frame.rename(columns={name: _summary_name(str(name), kind) for name in frame})
        for kind, frame in kinds.items()
    ]
    return pd.concat(renamed, axis=1).rename_axis("label")


def _summary_name(feature: str, kind: str) -> str:
    compartment, rest = feature.split("_", 1)
    return f"Organoids_{compartment}{kind}_{rest}"


def _slopes(table: pd.DataFrame, parent: pd.Series, depth: pd.Series) -> pd.DataFrame:
    """Least-squares slope of each feature over the depth, within each organoid."""
    weight = table.notna().to_numpy() & depth.notna().to_numpy()[:, None]
    values = table.where(weight)
    place = pd.DataFrame(
        np.where(weight, depth.to_numpy()[:, None], np.nan), table.index, table.columns
    )

    def total(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.groupby(parent).sum()

    count = total(values.notna().astype(float))
    mean_place, mean_value = total(place) / count, total(values) / count
    spread = total(place**2) / count - mean_place**2
    product = total(place * values) / count - mean_place * mean_value
    return product / spread.where(spread > 1e-12)


def _sums(objects: Held, organoids: Objects) -> dict[str, NDArray[np.float64]]:
    """Number, volume and largest volume of the objects of every organoid."""
    held = objects.parent > 0
    row = np.searchsorted(organoids.ids, objects.parent[held])
    volume = objects.volume[held]
    largest = np.zeros(len(organoids))
    np.maximum.at(largest, row, volume)
    count = np.bincount(row, minlength=len(organoids)).astype(float)
    return {"count": count, "volume": np.bincount(row, volume, len(organoids)), "largest": largest}


def _coarser(
    volume: float, spacing: Sequence[float]
) -> tuple[tuple[slice, ...], tuple[float, ...]]:
    """Every how many voxels an organoid of that volume is looked at, and the spacing then."""
    radius = float(np.cbrt(3 / (4 * np.pi) * volume))
    steps = [max(int(radius / (FINE * width)), 1) for width in spacing]
    widths = tuple(step * width for step, width in zip(steps, spacing, strict=True))
    return tuple(slice(None, None, step) for step in steps), widths
