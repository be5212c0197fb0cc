"""The edges of a tissue graph: who is whose neighbour, by contact, triangulation or distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import Delaunay, QhullError, cKDTree
from skimage.segmentation import expand_labels

from poolvox.organoid3d.graph.contact import measure_contacts
from poolvox.shared.errors import InputError
from poolvox.shared.features import find_objects

__all__ = ["EDGE_KINDS", "EdgeKind", "centroids", "find_edges"]

EdgeKind = Literal["contact", "delaunay", "knn", "radius"]
EDGE_KINDS: tuple[EdgeKind, ...] = ("contact", "delaunay", "knn", "radius")

# A Delaunay edge that is longer than this many times the median spans a gap.
MAX_LENGTH = 3.0
# Least part of a Delaunay edge that must lie in the tissue: others cross the lumen or the outside.
MIN_INSIDE = 0.7
# Points looked at along an edge.
SAMPLES = 33

Points = NDArray[np.float64]
Pairs = NDArray[np.intp]


def find_edges(
    labels: NDArray[np.integer],
    *,
    spacing: Sequence[float],
    kind: EdgeKind = "contact",
    reach: float = 0.0,
    mask: NDArray[np.bool_] | None = None,
    neighbours: int = 6,
    radius: float = 15.0,
) -> pd.DataFrame:
    """Find the neighbours of every object.

    Parameters
    ----------
    labels : (Z, Y, X) array; 0 is background
    spacing : (z, y, x) in micrometres
    kind : `contact` (objects that touch), `delaunay` (of the centroids, without edges that are much
        longer than the others or leave `mask`), `knn` (the `neighbours` nearest of either), or
        `radius` (centroids within `radius`)
    reach : micrometres by which objects grow before contacts are looked for; nuclei seldom touch
    mask : (Z, Y, X) tissue, lumen left out; everything where it is not given
    neighbours : of `knn`
    radius : of `radius`, micrometres

    Returns
    -------
    One row per edge, `source` < `target`: labels, `distance` of the centroids (micrometres),
    `area` of contact (square micrometres, NaN unless by contact) and its share in the surface of
    either (`source_share`, `target_share`).
    """
    if labels.ndim != 3:
        raise InputError(f"a tissue graph needs labels (Z, Y, X), got {labels.ndim} axes")
    if mask is not None and mask.shape != labels.shape:
        raise InputError(f"mask {mask.shape} and labels {labels.shape} must have one shape")
    ids, points = centroids(labels, spacing=spacing)
    if kind == "contact":
        return _by_contact(labels, ids, points, spacing, reach)
    if kind == "delaunay":
        pairs = _triangulated(points)
        pairs = pairs[_short(points, pairs)]
        if mask is not None:
            pairs = pairs[_inside_share(points, pairs, mask, spacing) >= MIN_INSIDE]
    elif kind == "knn":
        pairs = _nearest(points, neighbours)
    elif kind == "radius":
        tree = cKDTree(points) if len(points) else None
        pairs = tree.query_pairs(radius, output_type="ndarray") if tree else _no_pairs()
    else:
        raise InputError(f"edges by {kind!r}: choose one of {', '.join(EDGE_KINDS)}")
    return _table(ids, points, pairs)


def centroids(
    labels: NDArray[np.integer], *, spacing: Sequence[float]
) -> tuple[NDArray[np.integer], Points]:
    """Ids in ascending order, and the centroid of each (N, 3) in micrometres."""
    objects = find_objects(labels, spacing=spacing)
    return objects.ids, objects.centroids * objects.spacing


def _by_contact(
    labels: NDArray[np.integer],
    ids: NDArray[np.integer],
    points: Points,
    spacing: Sequence[float],
    reach: float,
) -> pd.DataFrame:
    grown = expand_labels(labels, reach, spacing=tuple(spacing)) if reach else labels
    contacts = measure_contacts(grown, spacing=spacing)
    pairs = np.searchsorted(ids, contacts.pairs[["source", "target"]].to_numpy())
    table = _table(ids, points, pairs.astype(np.intp).reshape(-1, 2))
    surface = contacts.objects["surface"]
    table["area"] = contacts.pairs["area"].to_numpy()
    for side in ("source", "target"):
        table[f"{side}_share"] = table["area"] / surface.loc[table[side]].to_numpy()
    return table


def _triangulated(points: Points) -> Pairs:
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


def _short(points: Points, pairs: Pairs) -> NDArray[np.bool_]:
    length = _lengths(points, pairs)
    kept: NDArray[np.bool_] = (
        length <= MAX_LENGTH * np.median(length) if len(length) else length > 0
    )
    return kept


def _inside_share(
    points: Points, pairs: Pairs, mask: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Share of each edge that runs through the mask."""
    along = np.linspace(0, 1, SAMPLES)[:, None, None]
    ends = points[pairs] / np.asarray(spacing, float)
    places = ends[None, :, 0] * (1 - along) + ends[None, :, 1] * along
    inside = ndimage.map_coordinates(
        mask.astype(np.uint8), places.reshape(-1, 3).T, order=0, mode="constant"
    )
    share: NDArray[np.float64] = inside.reshape(SAMPLES, -1).mean(axis=0)
    return share


def _nearest(points: Points, neighbours: int) -> Pairs:
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


def _lengths(points: Points, pairs: Pairs) -> NDArray[np.float64]:
    length: NDArray[np.float64] = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    return length


def _table(ids: NDArray[np.integer], points: Points, pairs: Pairs) -> pd.DataFrame:
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
