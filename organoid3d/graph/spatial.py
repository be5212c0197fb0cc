"""Spatial statistics of points and their values in a tissue: Moran, Clark-Evans, Ripley."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from poolvox.organoid3d.harmonics import golden_sphere

__all__ = ["clark_evans", "geary_c", "moran_i", "ripley_l"]

# Directions in which the share of a sphere that lies in the tissue is looked up.
SPHERE_POINTS = 128
# Radii at which it is looked up, from 0 to the largest.
LADDER = 17

Points = NDArray[np.float64]


def moran_i(graph: nx.Graph, values: dict[int, float]) -> float:
    """Moran's I over the edges: above 0 where neighbours are alike, about -1/(n-1) by chance.

    DOI 10.2307/2332142. Nodes without a finite value are left out; NaN without spread or edges.
    """
    number, centred = _known(values)
    pairs = [(number[a], number[b]) for a, b in graph.edges() if a in number and b in number]
    square = float((centred**2).sum())
    if not pairs or square == 0:
        return float("nan")
    first, second = np.array(pairs).T
    product = float((centred[first] * centred[second]).sum())
    return len(centred) / len(pairs) * product / square


def geary_c(graph: nx.Graph, values: dict[int, float]) -> float:
    """Geary's C over the edges: below 1 where neighbours are alike, 1 by chance.

    DOI 10.2307/2986645.
    """
    number, centred = _known(values)
    pairs = [(number[a], number[b]) for a, b in graph.edges() if a in number and b in number]
    square = float((centred**2).sum())
    if not pairs or square == 0:
        return float("nan")
    first, second = np.array(pairs).T
    squared = float(((centred[first] - centred[second]) ** 2).sum())
    return (len(centred) - 1) / (2 * len(pairs)) * squared / square


def clark_evans(points: Points, volume: float) -> float:
    """Mean distance to the nearest neighbour over that of as many random points.

    Above 1: spread out; below: clustered. DOI 10.2307/1931034, in three dimensions.

    Parameters
    ----------
    points : (N, 3) in micrometres
    volume : of the tissue, cubic micrometres
    """
    if len(points) < 2 or volume <= 0:
        return float("nan")
    nearest = cKDTree(points).query(points, 2)[0][:, 1]
    # Gamma(4/3) * (3 / (4 pi))^(1/3)
    expected = 0.5539602785 * (volume / len(points)) ** (1 / 3)
    return float(nearest.mean() / expected)


def ripley_l(
    points: Points,
    radii: Sequence[float],
    *,
    mask: NDArray[np.bool_],
    spacing: Sequence[float],
) -> NDArray[np.float64]:
    """Ripley's L minus the radius: above 0 where points cluster at that scale, 0 by chance.

    Each pair counts for one over the share of the sphere round its first point, through its
    second, that lies in the tissue; so borders and lumens do not look like gaps.
    DOI 10.1111/j.2517-6161.1977.tb01615.x.

    Parameters
    ----------
    points : (N, 3) in micrometres
    radii : micrometres
    mask : (Z, Y, X) the tissue
    spacing : (z, y, x) in micrometres
    """
    count = len(points)
    volume = float(mask.sum()) * float(np.prod(spacing))
    if count < 2 or volume == 0:
        return np.full(len(radii), np.nan)
    pairs = cKDTree(points).query_pairs(max(radii), output_type="ndarray")
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    distance = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    share = _sphere_shares(points, pairs[:, 0], distance, mask, spacing)
    weight = 1 / np.maximum(share, 1 / SPHERE_POINTS)
    order = np.argsort(distance, kind="stable")
    summed = np.concatenate([[0.0], np.cumsum(weight[order])])
    within = summed[np.searchsorted(distance[order], radii, side="right")]
    k = volume / (count * (count - 1)) * within
    excess: NDArray[np.float64] = np.cbrt(3 * k / (4 * np.pi)) - np.asarray(radii)
    return excess


def _sphere_shares(
    points: Points,
    centres: NDArray[np.intp],
    radii: NDArray[np.float64],
    mask: NDArray[np.bool_],
    spacing: Sequence[float],
) -> NDArray[np.float64]:
    """Share of the surface of each sphere that lies in the mask.

    It is looked up at a few radii for each point, and taken between them for the pairs.
    """
    if not len(radii):
        return np.empty(0)
    steps = golden_sphere(SPHERE_POINTS) / np.asarray(spacing, float)
    ladder = np.linspace(0, float(radii.max()), LADDER)
    volume = np.ascontiguousarray(mask, bool)
    table = _looked_up(points / np.asarray(spacing, float), ladder, steps, volume)
    place = radii / ladder[1]
    low = np.minimum(place.astype(int), LADDER - 2)
    part = place - low
    shares: NDArray[np.float64] = table[centres, low] * (1 - part) + table[centres, low + 1] * part
    return shares


@njit(cache=True)
def _looked_up(
    centres: Points, radii: NDArray[np.float64], steps: Points, mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Share of the ends of `steps`, at each radius round each centre, in the mask; in voxels."""
    share = np.zeros((len(centres), len(radii)))
    for i in range(len(centres)):
        for j in range(len(radii)):
            inside = 0
            for k in range(len(steps)):
                z = int(np.floor(centres[i, 0] + radii[j] * steps[k, 0] + 0.5))
                y = int(np.floor(centres[i, 1] + radii[j] * steps[k, 1] + 0.5))
                x = int(np.floor(centres[i, 2] + radii[j] * steps[k, 2] + 0.5))
                if 0 <= z < mask.shape[0] and 0 <= y < mask.shape[1] and 0 <= x < mask.shape[2]:
                    inside += mask[z, y, x]
            share[i, j] = inside / len(steps)
    return share


def _known(values: dict[int, float]) -> tuple[dict[int, int], NDArray[np.float64]]:
    finite = {node: value for node, value in values.items() if np.isfinite(value)}
    data = np.array(list(finite.values()), float)
    centred = data - data.mean() if len(data) else data
    return {node: row for row, node in enumerate(finite)}, centred
