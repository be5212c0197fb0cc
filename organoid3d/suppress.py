"""Non-maximum suppression of polyhedra: the best stay, those that share too much with one go.

The rule is StarDist's (doi:10.1109/WACV45572.2020.9093435): from the highest probability down, a
polyhedron goes if one that stays has more than a threshold of the smaller one's volume in common
with it. Three things make it fast and let it be done in blocks, with the same result:

- The common part is sampled first; StarDist's own exact test decides only where that is close.
- Local maxima of the probability are judged first. What lies on their slopes is mostly certain to
  go; whatever is not joins them, and all are judged again, until nothing new joins.
- In a block, what may depend on things that the block does not see is neither kept nor dropped but
  left open. All that is not dropped goes on to the next round, over the borders of blocks.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from poolvox.organoid3d.rays import Geometry
from poolvox.organoid3d.stars import Stars, measure_stars, overlap_pairs, overlap_part, voxel_part

__all__ = ["DROPPED", "KEPT", "OPEN", "Judge", "judge_all", "judge_thinned"]

States = NDArray[np.int8]

DROPPED, OPEN, KEPT = 0, 1, 2
# Beyond this distance from the threshold the sampled part is trusted alone: voxels of small
# objects differ by as much from their volume.
MARGIN = 0.06
# Error of the sampled part.
CLOSE = 0.02
# Neighbours that are asked whether a candidate on a slope goes.
ASKED = 4

# StarDist's code sets a signal handler and puts the old one back: not two calls at a time.
_EXACT = threading.Lock()


class Judge:
    """Tells which of some polyhedra, the best first, go because of a better one."""

    def __init__(self, stars: Stars, geometry: Geometry, threshold: float) -> None:
        """Measure the polyhedra once."""
        self.stars, self.geometry, self.threshold = stars, geometry, threshold
        self.sizes = measure_stars(stars, geometry)
        self._known: dict[tuple[int, int], bool] = {}

    def suppressed(self, first: int, others: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Tell for each of the others whether it shares too much with the first."""
        limit = self.threshold
        part = overlap_part(first, others, self.stars, self.sizes, self.geometry)
        gone: NDArray[np.bool_] = part > limit
        for place in np.flatnonzero(np.abs(part - limit) <= MARGIN):
            second = int(others[place])
            # StarDist counts voxels, unless bounds of the true volume tell before: where both
            # measures agree so does it.
            counted = voxel_part(first, second, self.stars, self.sizes, self.geometry)
            if abs(part[place] - limit) <= CLOSE or (counted > limit) != gone[place]:
                gone[place] = self._exact(first, second)
        return gone

    def certain(self, better: NDArray[np.intp], others: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Tell of pairs whether the second surely goes because of the first."""
        part = overlap_pairs(better, others, self.stars, self.sizes, self.geometry)
        return np.asarray(part > self.threshold + MARGIN)

    def _exact(self, first: int, second: int) -> bool:
        from stardist.lib.stardist3d import c_non_max_suppression_inds

        known = self._known.get((first, second))
        if known is not None:
            return known
        pair = [first, second]
        with _EXACT:
            stays = c_non_max_suppression_inds(
                np.ascontiguousarray(self.stars.dist[pair]),
                np.ascontiguousarray(self.stars.points[pair]),
                self.geometry.vertices.astype(np.float32),
                self.geometry.given,
                np.ascontiguousarray(self.stars.prob[pair]),
                True,
                True,
                False,
                np.float32(self.threshold),
            )
        self._known[first, second] = not bool(stays[1])
        return self._known[first, second]


def judge_all(judge: Judge, *, seen: NDArray[np.bool_] | None = None) -> States:
    """Judge all polyhedra.

    Parameters
    ----------
    seen : (N,) array: everything that could overlap this one is among the polyhedra; all by default

    Returns
    -------
    (N,) array of `KEPT`, `DROPPED` and, where that depends on what is not seen, `OPEN`
    """
    with _one_thread():
        return _judge(judge, np.arange(len(judge.stars)), _or_all(seen, len(judge.stars)))


def judge_thinned(
    judge: Judge, peaks: NDArray[np.bool_], *, seen: NDArray[np.bool_] | None = None
) -> States:
    """Judge all polyhedra, with the same result, but first those at local maxima.

    Parameters
    ----------
    peaks : (N,) array, at a local maximum of the probability
    seen : as in `judge_all`
    """
    known = _or_all(seen, len(judge.stars))
    active = peaks.copy()
    with _one_thread():
        while True:
            members = np.flatnonzero(active)
            states = _judge(judge, members, known)
            rest = np.flatnonzero(~active)
            joining = rest[~_certainly_gone(judge, rest, members[states[members] == KEPT])]
            if not len(joining):
                return states
            active[joining] = True


def _one_thread() -> Any:
    """Keep StarDist's test of a pair from waking threads, which takes longer than the test."""
    import stardist.lib.stardist3d  # noqa: F401  (its OpenMP must be loaded to be limited)
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="openmp")


def _or_all(seen: NDArray[np.bool_] | None, count: int) -> NDArray[np.bool_]:
    return np.ones(count, bool) if seen is None else seen


def _judge(judge: Judge, members: NDArray[np.intp], seen: NDArray[np.bool_]) -> States:
    """Go through the members from the best down; the rest counts as dropped."""
    states = np.full(len(judge.stars), DROPPED, np.int8)
    states[members] = KEPT
    states[members[~seen[members]]] = OPEN
    if not len(members):
        return states
    radius = judge.sizes.radius[members]
    points = judge.stars.points[members]
    tree = cKDTree(points)
    largest = float(radius.max())
    for number, first in enumerate(members):
        if states[first] == DROPPED:
            continue
        near = np.asarray(tree.query_ball_point(points[number], radius[number] + largest))
        later = members[np.sort(near[near > number])]
        # What is open can open what was kept, but no more than that.
        settled = KEPT if states[first] == OPEN else OPEN
        later = later[states[later] >= settled]
        if not len(later):
            continue
        hit = later[judge.suppressed(int(first), later)]
        states[hit] = DROPPED if states[first] == KEPT else OPEN
    return states


def _certainly_gone(
    judge: Judge, rest: NDArray[np.intp], kept: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Tell which of the rest go because of a better one of the kept, beyond doubt."""
    gone = np.zeros(len(rest), bool)
    if not len(kept) or not len(rest):
        return gone
    asked = min(ASKED, len(kept))
    _, near = cKDTree(judge.stars.points[kept]).query(judge.stars.points[rest], asked)
    for column in np.reshape(near, (len(rest), asked)).T:
        left = np.flatnonzero(~gone)
        better = kept[column[left]]
        # The best come first, so a lower index is a better one.
        fit = better < rest[left]
        left, better = left[fit], better[fit]
        gone[left] = judge.certain(better, rest[left])
    return gone
