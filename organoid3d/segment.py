"""Nuclei by a StarDist network, window by window, with the result for the whole stack.

Each window gives the polyhedra of its core that stay, or may stay (`window_stars`); those of all
windows are judged together (`merge_stars`) and drawn (`draw_stars`). No step depends on how many
windows there are, in which order they were done, or by whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.blocks import Box, Frame, Window, read_window
from poolvox.organoid3d.network import Network
from poolvox.organoid3d.rays import Geometry
from poolvox.organoid3d.stars import Stars, measure_stars, overlap_pairs, paint_stars
from poolvox.organoid3d.suppress import DROPPED, KEPT, Judge, judge_all, judge_thinned

__all__ = [
    "StarOptions",
    "draw_stars",
    "find_stars",
    "find_touching",
    "merge_stars",
    "name_stars",
    "object_margin",
    "typical_radius",
    "window_stars",
]

# Places of the grid at the faces of a stack that StarDist does not look at.
BORDER = 2
# Size of objects where a model's folder does not tell it, voxels.
USUAL_DIAMETER = 24
# Polyhedra of which others cover more than this may be hidden altogether.
COVERED = 0.6
# Smaller ones, in voxels of the stack, may hold no voxel's middle.
TINY = 8.0


@dataclass(frozen=True, slots=True)
class StarOptions:
    """How candidates become objects.

    Parameters
    ----------
    prob, nms : thresholds of probability and overlap
    thinning : `fast` judges local maxima of the probability first, `exact` all candidates at once;
        both with the same result
    border : places of the grid that are left out at the faces of the stack
    """

    prob: float
    nms: float
    thinning: Literal["fast", "exact"] = "fast"
    border: int = BORDER


def find_stars(
    source: Any, frame: Frame, network: Network, options: StarOptions, windows: Iterable[Window]
) -> Stars:
    """Find the polyhedra of a stack, best first, in voxels of the network.

    Parameters
    ----------
    source : (Z, Y, X) array, read by slices
    windows : those to look at; `lay_out` gives all
    """
    parts = [window_stars(source, frame, network, options, window) for window in windows]
    return merge_stars(parts, network.geometry, options)


def object_margin(network: Network) -> tuple[int, int, int]:
    """Voxels round a core in which objects are seen that may overlap with its own."""
    known = network.folder.diameter
    if known is None:
        return tuple(-(-USUAL_DIAMETER // g) for g in network.folder.grid)  # type: ignore[return-value]
    z, y, x = (int(np.ceil(d)) for d in known)
    return z, y, x


def window_stars(
    source: Any, frame: Frame, network: Network, options: StarOptions, window: Window
) -> Stars:
    """Polyhedra of a window's core that stay, or that may stay: neighbours will tell."""
    prob, features = network.predict(read_window(source, frame, window.whole))
    grid = np.array(network.folder.grid)
    places = _candidates(prob, frame, window, options, grid, network.folder.division)
    if not len(places):
        return Stars.none(network.folder.rays)
    peaks = _peaks(prob, options.prob)[tuple(places.T)]
    points = (places * grid + window.whole.start).astype(np.float32)
    index = tuple(places.T)
    stars = Stars(points, prob[index], network.rays(features[index]))
    del prob, features
    order = stars.order()
    stars, peaks = stars.take(order), peaks[order]
    judge = Judge(stars, network.geometry, options.nms)
    seen = _seen(judge, frame, window)
    if options.thinning == "exact":
        states = judge_all(judge, seen=seen)
    else:
        states = judge_thinned(judge, peaks, seen=seen)
    return stars.take((states != DROPPED) & window.core.contains(stars.points))


def merge_stars(parts: Iterable[Stars], geometry: Geometry, options: StarOptions) -> Stars:
    """Judge what windows left, over their borders; the result is ordered, best first."""
    stars = Stars.joined([Stars.none(len(geometry.vertices)), *parts]).ordered()
    judge = Judge(stars, geometry, options.nms)
    return stars.take(judge_all(judge) == KEPT)


def name_stars(stars: Stars, frame: Frame, geometry: Geometry) -> NDArray[np.int64]:
    """Labels 1 to N in raster order of the centres; 0 for those that others hide altogether."""
    names = np.zeros(len(stars), np.int64)
    shown = np.flatnonzero(~_hidden(stars, frame, geometry))
    z, y, x = stars.points[shown].T
    names[shown[np.lexsort((x, y, z))]] = np.arange(1, len(shown) + 1)
    return names


def draw_stars(
    stars: Stars, names: NDArray[np.int64], frame: Frame, geometry: Geometry, box: Box
) -> NDArray[np.uint32]:
    """Labels of a part of the stack; where polyhedra overlap, the more probable is in front.

    Parameters
    ----------
    stars : best first
    box : voxels of the stack
    """
    labels = np.zeros(box.shape, np.uint32)
    near = np.flatnonzero(find_touching(stars, frame, box) & (names > 0))
    paint_stars(labels, box.start, stars.take(near), names[near], geometry, scale=frame.ratio)
    return labels


def find_touching(stars: Stars, frame: Frame, box: Box) -> NDArray[np.bool_]:
    """Tell which polyhedra may reach into a part of the stack."""
    if not len(stars):
        return np.zeros(0, bool)
    scale = np.asarray(frame.ratio)
    radius = stars.dist.max(axis=1)[:, None]
    low, high = ((stars.points + r + 0.5) / scale - 0.5 for r in (-radius, radius))
    return np.asarray(((high >= box.start) & (low < box.stop)).all(axis=1))


def typical_radius(
    stars: Stars,
    names: NDArray[np.int64],
    frame: Frame,
    geometry: Geometry,
    spacing: Sequence[float],
) -> float:
    """Of the ball with the median volume of the polyhedra that show, micrometres; 0 without any."""
    shown = stars.take(names > 0)
    if not len(shown):
        return 0.0
    voxel = float(np.prod(np.asarray(spacing) / frame.ratio))
    volume = float(np.median(measure_stars(shown, geometry).volume)) * voxel
    return float(np.cbrt(volume * 3 / (4 * np.pi)))


def _candidates(
    prob: NDArray[np.float32],
    frame: Frame,
    window: Window,
    options: StarOptions,
    grid: NDArray[np.intp],
    division: tuple[int, int, int],
) -> NDArray[np.intp]:
    """Places of the grid, (N, 3) within the window, that are sound and probable enough."""
    inside = []
    for axis in range(3):
        padded = -(-frame.size[axis] // division[axis]) * division[axis]
        place = window.whole.start[axis] + np.arange(prob.shape[axis]) * grid[axis]
        least, most = options.border * grid[axis], padded - options.border * grid[axis]
        good = (place >= max(window.sound.start[axis], least)) & (place < most)
        inside.append(good & (place < min(window.sound.stop[axis], frame.size[axis])))
    bounds = tuple(_span(good) for good in inside)
    found: NDArray[np.intp] = np.argwhere(prob[bounds] > options.prob)
    found += [part.start for part in bounds]
    return found


def _span(good: NDArray[np.bool_]) -> slice:
    there = np.flatnonzero(good)
    return slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0)


def _peaks(prob: NDArray[np.float32], least: float) -> NDArray[np.bool_]:
    """Local maxima; of equals side by side all are."""
    high: NDArray[np.float32] = ndimage.maximum_filter(prob, size=3, mode="nearest")
    return np.asarray((prob == high) & (prob > least))


def _seen(judge: Judge, frame: Frame, window: Window) -> NDArray[np.bool_]:
    """Tell of which polyhedra everything that could overlap them lies in the sound part."""
    points, radius = judge.stars.points, judge.sizes.radius
    reach = radius + radius.max()
    seen = np.ones(len(points), bool)
    for axis in range(3):
        if window.sound.start[axis] > 0:
            seen &= points[:, axis] - reach >= window.sound.start[axis]
        if window.sound.stop[axis] < frame.size[axis]:
            seen &= points[:, axis] + reach < window.sound.stop[axis]
    return seen


def _hidden(stars: Stars, frame: Frame, geometry: Geometry) -> NDArray[np.bool_]:
    """Tell which polyhedra show no voxel: outside, too small, or behind better ones."""
    hidden = np.zeros(len(stars), bool)
    if not len(stars):
        return hidden
    judge = Judge(stars, geometry, 0.5)
    volume = judge.sizes.volume / np.prod(frame.ratio)
    whole = Box((0, 0, 0), frame.shape)
    for number, better in enumerate(_better_neighbours(judge)):
        covered = 0.0
        if len(better):
            first = np.full(len(better), number, np.intp)
            part = overlap_pairs(first, better, stars, judge.sizes, geometry)
            smaller = np.minimum(judge.sizes.volume[better], judge.sizes.volume[number])
            covered = float((part * smaller).sum() / max(judge.sizes.volume[number], 1e-9))
        if covered > COVERED or volume[number] < TINY:
            hidden[number] = not _shows(stars, number, better, frame, geometry, whole)
    return hidden


def _better_neighbours(judge: Judge) -> Iterable[NDArray[np.intp]]:
    """For each polyhedron the better ones whose boxes meet its own."""
    from scipy.spatial import cKDTree

    points, radius = judge.stars.points, judge.sizes.radius
    near = cKDTree(points).query_ball_point(points, radius + radius.max())
    for number, members in enumerate(near):
        others = np.array(sorted(m for m in members if m < number), np.intp)
        yield others


def _shows(
    stars: Stars,
    number: int,
    better: NDArray[np.intp],
    frame: Frame,
    geometry: Geometry,
    whole: Box,
) -> bool:
    radius = float(stars.dist[number].max())
    scale = np.asarray(frame.ratio)
    ends = [(stars.points[number] + r + 0.5) / scale - 0.5 for r in (-radius, radius)]
    low = np.maximum(np.floor(ends[0]).astype(int), 0)
    high = np.minimum(np.ceil(ends[1]).astype(int) + 1, whole.stop)
    if (high <= low).any():
        return False
    labels = np.zeros(tuple(high - low), np.uint8)
    members = np.append(better, number)
    names = np.append(np.ones(len(better), np.uint8), np.uint8(2))
    z, y, x = (int(v) for v in low)
    paint_stars(labels, (z, y, x), stars.take(members), names, geometry, scale=frame.ratio)
    return bool((labels == 2).any())
