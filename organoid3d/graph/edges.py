"""The edges of a tissue graph: who is whose neighbour, by contact, triangulation or distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError, cKDTree

from poolvox.organoid3d.cells import find_parents
from poolvox.organoid3d.graph.contact import Contacts, measure_contacts
from poolvox.shared.errors import InputError
from poolvox.shared.features import Objects, find_objects
from poolvox.shared.imaging.distance import expand_within, nearest_label
from poolvox.shared.kernels import kernel

__all__ = [
    "EDGE_KINDS",
    "EdgeKind",
    "Points",
    "find_edges",
    "join_contacts",
    "join_points",
    "touching",
]

EdgeKind = Literal["contact", "delaunay", "knn", "radius"]
EDGE_KINDS: tuple[EdgeKind, ...] = ("contact", "delaunay", "knn", "radius")

# A Delaunay edge that is longer than this many times the median spans a gap.
MAX_LENGTH = 3.0
# Least part of a Delaunay edge that must lie in the tissue: others cross the lumen or the outside.
MIN_INSIDE = 0.7
# Least facet of an edge, over the squared mean distance to the nearest neighbour.
MIN_FACET = 0.15
# Voxels to that distance on the grid where facets are measured.
FACET_VOXELS = 6

Mask = NDArray[np.bool_] | NDArray[np.integer]
Places = NDArray[np.float64]
Pairs = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Points:
    """Objects as the tissue graph sees them.

    Attributes
    ----------
    ids : (N,) labels, ascending
    places : (N, 3) centroids, micrometres
    parent : (N,) organoids; objects of different ones are no neighbours
    """

    ids: NDArray[np.integer]
    places: Places
    parent: NDArray[np.int64]


def find_edges(
    labels: NDArray[np.integer] | Objects,
    *,
    spacing: Sequence[float],
    kind: EdgeKind = "contact",
    reach: float = 0.0,
    mask: Mask | None = None,
    neighbours: int = 6,
    radius: float = 15.0,
) -> pd.DataFrame:
    """Find the neighbours of every object.

    Parameters
    ----------
    labels : (Z, Y, X) array, 0 is background; or its objects
    spacing : (z, y, x) in micrometres
    kind : `contact` (objects that touch), `delaunay` (of the centroids, without edges that are much
        longer than the others, that leave `mask`, or whose Voronoi cells hardly meet inside it),
        `knn` (the `neighbours` nearest of either), or `radius` (centroids within `radius`)
    reach : micrometres by which objects grow before contacts are looked for; nuclei seldom touch
    mask : (Z, Y, X) tissue, lumen left out; everything where it is not given. Labels instead of
        True are organoids: objects of different ones are never neighbours
    neighbours : of `knn`
    radius : of `radius`, micrometres

    Returns
    -------
    One row per edge, `source` < `target`: labels, `distance` of the centroids (micrometres),
    `area` of contact (square micrometres, NaN unless by contact) and its share in the surface of
    either (`source_share`, `target_share`).
    """
    if kind not in EDGE_KINDS:
        raise InputError(f"edges by {kind!r}: choose one of {', '.join(EDGE_KINDS)}")
    if labels.ndim != 3:
        raise InputError(f"a tissue graph needs labels (Z, Y, X), got {labels.ndim} axes")
    objects = find_objects(labels, spacing=spacing)
    if mask is not None and mask.shape != objects.labels.shape:
        raise InputError(f"mask {mask.shape} and labels {objects.labels.shape} must have one shape")
    choice = (kind, reach, neighbours, radius)
    # The mask is kept with the answer: as long as it lives, no other can have its id.
    kept = objects.remember(
        ("edges", id(mask), choice), lambda: (mask, _find(objects, mask, *choice))
    )
    return kept[1].copy()


def _find(
    objects: Objects,
    mask: Mask | None,
    kind: EdgeKind,
    reach: float,
    neighbours: int,
    radius: float,
) -> pd.DataFrame:
    parent = np.zeros(len(objects), np.int64)
    if mask is not None and np.issubdtype(mask.dtype, np.integer):
        parent = find_parents(objects, mask)[0].to_numpy()
    points = Points(objects.ids, objects.centroids * objects.spacing, parent)
    if kind == "contact":
        spacing = objects.spacing.tolist()
        return join_contacts(points, touching(objects.labels, reach, spacing=spacing))
    return join_points(
        points, mask, spacing=objects.spacing, kind=kind, neighbours=neighbours, radius=radius
    )


def touching(labels: NDArray[np.integer], reach: float, *, spacing: Sequence[float]) -> Contacts:
    """Contacts of objects that were grown by `reach` micrometres before."""
    grown = expand_within(labels, reach, spacing=spacing) if reach else labels
    return measure_contacts(grown, spacing=spacing)


def join_points(
    points: Points,
    mask: Mask | None,
    *,
    spacing: NDArray[np.float64],
    kind: EdgeKind,
    neighbours: int = 6,
    radius: float = 15.0,
) -> pd.DataFrame:
    """Join the centres of objects; `mask` and the rest as in `find_edges`.

    Parameters
    ----------
    spacing : of the mask; the middle of its first voxel is where `points` are counted from
    """
    found = [_no_pairs()]
    for organoid in np.unique(points.parent):
        members = np.flatnonzero(points.parent == organoid)
        tissue = mask if mask is None or mask.dtype == bool else mask == organoid
        places = points.places[members]
        if kind == "delaunay":
            pairs = _delaunay(places, tissue, spacing)
        elif kind == "knn":
            pairs = _nearest(places, neighbours)
        else:
            pairs = cKDTree(places).query_pairs(radius, output_type="ndarray")
        found.append(members[pairs])
    return _table(points.ids, points.places, np.concatenate(found))


def join_contacts(points: Points, contacts: Contacts) -> pd.DataFrame:
    """Join objects of one organoid that touch."""
    pairs = np.searchsorted(points.ids, contacts.pairs[["source", "target"]].to_numpy())
    table = _table(points.ids, points.places, pairs.astype(np.intp).reshape(-1, 2))
    surface = contacts.objects["surface"]
    table["area"] = contacts.pairs["area"].to_numpy()
    for side in ("source", "target"):
        table[f"{side}_share"] = table["area"] / surface.loc[table[side]].to_numpy()
    ends = np.searchsorted(points.ids, table[["source", "target"]].to_numpy())
    together = np.flatnonzero(points.parent[ends[:, 0]] == points.parent[ends[:, 1]])
    return table.iloc[together].reset_index(drop=True)


def _delaunay(points: Places, mask: Mask | None, spacing: NDArray[np.float64]) -> Pairs:
    """Delaunay pairs that are neighbours in the tissue."""
    pairs = _triangulated(points)
    pairs = pairs[_short(points, pairs)]
    if mask is None or not len(pairs):
        return pairs
    inside = np.ascontiguousarray(mask).view(np.uint8)
    pairs = pairs[_inside_share(points / spacing, pairs, inside) >= MIN_INSIDE]
    return pairs[_facets(points, pairs, mask, spacing) >= MIN_FACET] if len(pairs) else pairs


def _facets(
    points: Places, pairs: Pairs, mask: Mask, spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far the Voronoi cells of each pair meet inside the tissue: area over distance squared.

    Objects next to each other share a large facet. Far ones of a thin layer may still be
    Delaunay neighbours, through a facet that lies outside the layer.
    """
    away = cKDTree(points).query(points, 2)[0][:, 1].mean()
    step = np.maximum((away / (FACET_VOXELS * spacing)).astype(int), 1)
    low = np.maximum(points.min(axis=0) // spacing - 2 * away // spacing, 0).astype(int)
    high = (points.max(axis=0) // spacing + 2 * away // spacing + 2).astype(int)
    box = tuple(slice(a, b, k) for a, b, k in zip(low, high, step))
    coarse, width = mask[box], spacing * step
    places = np.rint((points / spacing - low) / step).astype(int)
    seeds = np.zeros(coarse.shape, np.int32)
    seeds[tuple(np.minimum(places, np.array(coarse.shape) - 1).T)] = np.arange(1, len(points) + 1)
    cells = nearest_label(seeds, spacing=width.tolist())[1] * coarse
    met = measure_contacts(cells, spacing=width.tolist()).pairs
    keys = met["source"].to_numpy() * (len(points) + 1) + met["target"].to_numpy()
    wanted = (pairs[:, 0] + 1) * (len(points) + 1) + pairs[:, 1] + 1
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    area = np.where(keys[at] == wanted, met["area"].to_numpy()[at], 0.0) if len(keys) else 0.0
    # Two of one coarse voxel: which of them meets whom is not known, so nothing is taken away.
    drawn = np.isin(np.arange(1, len(points) + 1), cells)
    known = drawn[pairs].all(axis=1)
    return np.where(known, area / away**2, np.inf)


def _triangulated(points: Places) -> Pairs:
    if len(points) < 2:
        return _no_pairs()
    # Points of one plane or line have no volume to fill: triangulate in the axes they span.
    spread = points - points.mean(axis=0)
    size, axes = np.linalg.svd(spread, full_matrices=False)[1:]
    rank = int((size > 1e-6 * max(size[0], 1e-12)).sum())
    flat = spread @ axes[:rank].T
    if rank == 1:
        line = np.argsort(flat[:, 0], kind="stable")
        return _ordered(np.stack([line[:-1], line[1:]], axis=1))
    if len(points) <= rank + 1:
        return np.stack(np.triu_indices(len(points), 1), axis=1)
    try:
        simplices = Delaunay(flat).simplices
    except QhullError:
        simplices = Delaunay(flat, qhull_options="QJ").simplices
    corners = np.stack(np.triu_indices(rank + 1, 1), axis=1)
    return _ordered(simplices[:, corners].reshape(-1, 2).astype(np.intp))


def _short(points: Places, pairs: Pairs) -> NDArray[np.bool_]:
    length = _lengths(points, pairs)
    kept: NDArray[np.bool_] = (
        length <= MAX_LENGTH * np.median(length) if len(length) else length > 0
    )
    return kept


@kernel
def _inside_share(points: Places, pairs: Pairs, mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of each edge that runs through the mask; points in voxels."""
    share = np.empty(len(pairs))
    for i in range(len(pairs)):
        start, way = points[pairs[i, 0]], points[pairs[i, 1]] - points[pairs[i, 0]]
        samples = int(2 * np.abs(way).max()) + 2
        inside = 0
        for n in range(samples):
            z, y, x = np.floor(start + way * (n / (samples - 1)) + 0.5).astype(np.int64)
            if 0 <= z < mask.shape[0] and 0 <= y < mask.shape[1] and 0 <= x < mask.shape[2]:
                inside += mask[z, y, x] > 0
        share[i] = inside / samples
    return share


def _nearest(points: Places, neighbours: int) -> Pairs:
    count = min(neighbours, len(points) - 1)
    if count < 1:
        return _no_pairs()
    found = cKDTree(points).query(points, count + 1)[1]
    # A point is its own nearest, but not always the first of several in one place.
    others = [row[row != i][:count] for i, row in enumerate(found)]
    return _ordered(np.stack([np.repeat(np.arange(len(points)), count), np.concatenate(others)], 1))


def _ordered(pairs: NDArray[np.integer]) -> Pairs:
    unique = np.unique(np.sort(pairs, axis=1), axis=0)
    return unique.astype(np.intp)


def _no_pairs() -> Pairs:
    return np.empty((0, 2), np.intp)


def _lengths(points: Places, pairs: Pairs) -> NDArray[np.float64]:
    length: NDArray[np.float64] = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    return length


def _table(ids: NDArray[np.integer], points: Places, pairs: Pairs) -> pd.DataFrame:
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))] if len(pairs) else pairs
    nothing = np.full(len(pairs), np.nan)
    return pd.DataFrame(
        {
            "source": ids[pairs[:, 0]],
            "target": ids[pairs[:, 1]],
            "distance": _lengths(points, pairs),
            "area": nothing,
            "source_share": nothing,
            "target_share": nothing,
        }
    )
