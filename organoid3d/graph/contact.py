"""Which objects touch, and over what area.

Shared voxel faces make oblique contacts up to 1.7 times too large. Two measures do not: the length
of the sum of the faces as vectors, which is exact for a flat contact of any direction and size and
too small for a curved one; and Crofton's formula (how often lines in 13 directions pass from one
object into the other), which follows curves but loses half a voxel at the rim. Neither is ever too
large, so the area is the larger of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import SphericalVoronoi

__all__ = ["Contacts", "measure_contacts"]

# One of each pair of opposite neighbours; the three that share a face come first.
DIRECTIONS = np.array(
    [
        (0, 0, 1), (0, 1, 0), (1, 0, 0),
        (0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0),
        (1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1),
    ]
)  # fmt: skip
FACES = 3
FIRST_CAPACITY = 1 << 12
# Ids up to here are renumbered through a table, larger ones by sorting.
LARGEST_TABLE = 1 << 26


@dataclass(frozen=True, slots=True)
class Contacts:
    """Areas of touch in square micrometres.

    Parameters
    ----------
    pairs : one row per touching pair: `source` < `target` (labels) and `area`
    objects : by label: `surface`, the part of it in `contact` with other objects, and the `free`
        rest; what touches the border of the volume is no surface
    """

    pairs: pd.DataFrame
    objects: pd.DataFrame


def measure_contacts(labels: NDArray[np.integer], *, spacing: Sequence[float]) -> Contacts:
    """Measure the area between all pairs of objects, and between objects and background.

    Two objects touch when a voxel of one shares a face with a voxel of the other.

    Parameters
    ----------
    labels : (Z, Y, X) array; 0 is background
    spacing : (z, y, x) in micrometres

    Examples
    --------
    >>> labels = np.zeros((12, 12, 12), int)
    >>> labels[2:10, 2:10, 2:6], labels[2:10, 2:10, 6:10] = 1, 2
    >>> pairs = measure_contacts(labels, spacing=(1, 1, 1)).pairs
    >>> (int(pairs.source[0]), int(pairs.target[0]))
    (1, 2)
    """
    ids, dense = compact(labels)
    padded = np.pad(dense, 1, constant_values=-1)
    keys, counts = _count(padded, len(ids) + 1, DIRECTIONS.astype(np.int64), FIRST_CAPACITY)
    order = np.argsort(keys)
    keys, counts = keys[order], counts[order]
    first, second = np.divmod(keys, len(ids) + 1)
    crossings = counts[:, : len(DIRECTIONS)] @ crossing_areas(spacing)
    flat = np.linalg.norm(counts[:, len(DIRECTIONS) :] * face_areas(spacing), axis=1)
    area = np.maximum(crossings, flat)
    touching = (first > 0) & (counts[:, :FACES].sum(axis=1) > 0)
    names = np.concatenate([[0], ids]).astype(ids.dtype)
    pairs = {
        "source": names[first[touching]],
        "target": names[second[touching]],
        "area": area[touching],
    }
    sides = (first, second)
    contact = sum(np.bincount(side[touching], area[touching], len(ids) + 1) for side in sides)
    # What meets only along edges is no contact, and no free surface is lost by it.
    free = sum(np.bincount(side[~touching], crossings[~touching], len(ids) + 1) for side in sides)
    table = {"surface": contact + free, "contact": contact, "free": free}
    objects = pd.DataFrame(table).iloc[1:].set_index(pd.Index(ids, name="label"))
    return Contacts(pd.DataFrame(pairs), objects)


def compact(labels: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.int32]]:
    """Renumber labels to 1..N without gaps; give the ids in order, and the new labels."""
    top = int(labels.max(initial=0))
    if top < LARGEST_TABLE:
        present = np.zeros(top + 1, bool)
        present[labels.ravel()] = True
        present[0] = False
        rank = np.cumsum(present, dtype=np.int32)
        return np.flatnonzero(present).astype(labels.dtype), (rank * present)[labels]
    where = labels.ravel() > 0
    ids, index = np.unique(labels.ravel()[where], return_inverse=True)
    dense = np.zeros(labels.size, np.int32)
    dense[where] = index + 1
    return ids, dense.reshape(labels.shape)


def crossing_areas(spacing: Sequence[float]) -> NDArray[np.float64]:
    """Area that one crossing stands for, in square micrometres, by direction.

    The weight of a direction is its share of the sphere (its Voronoi cell among all 26), so that
    the directions of an anisotropic grid, which are not spread evenly, count as they should.
    """
    steps = DIRECTIONS * np.asarray(spacing, float)
    lengths = np.linalg.norm(steps, axis=1)
    unit = steps / lengths[:, None]
    shares = SphericalVoronoi(np.concatenate([unit, -unit])).calculate_areas()[: len(unit)]
    weights = shares / shares.sum()
    areas: NDArray[np.float64] = 2 * weights * np.prod(spacing) / lengths
    return areas


def face_areas(spacing: Sequence[float]) -> NDArray[np.float64]:
    """Area of a voxel face, in square micrometres, by direction."""
    areas: NDArray[np.float64] = np.prod(spacing) / (DIRECTIONS[:FACES] @ np.asarray(spacing))
    return areas


@njit(cache=True)
def _count(
    labels: NDArray[np.int32], base: int, directions: NDArray[np.int64], capacity: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count, by pair of labels and direction, the steps that lead from one into the other.

    Three more columns count steps through faces with a sign: from the lower label to the higher.
    `labels` has a border of -1, one voxel wide. Pairs are kept in a hash table with open
    addressing; the counts are integers, so they do not depend on the order in which, or the blocks
    from which, the voxels come.
    """
    keys = np.full(capacity, -1, np.int64)
    counts = np.zeros((capacity, len(directions) + FACES), np.int64)
    depth, height, width = labels.shape
    flat = labels.ravel()
    steps = directions[:, 0] * height * width + directions[:, 1] * width + directions[:, 2]
    used = 0
    key, slot = np.int64(-2), 0
    for z in range(1, depth - 1):
        for y in range(1, height - 1):
            start = (z * height + y) * width
            for i in range(start + 1, start + width - 1):
                here = np.int64(flat[i])
                if here == 0:
                    continue
                # Steps of which either end is background are seen from the other.
                for way in range(2 * len(steps)):
                    d = way >> 1
                    forward = way & 1 == 0
                    there = np.int64(flat[i + steps[d]] if forward else flat[i - steps[d]])
                    if here == there or there < 0 or (there > 0 and not forward):
                        continue
                    pair = min(here, there) * base + max(here, there)
                    # Neighbours along a row mostly part the same two objects.
                    if pair != key:
                        key, slot = pair, _slot(keys, pair)
                        if keys[slot] < 0:
                            keys[slot] = key
                            used += 1
                    counts[slot, d] += 1
                    if d < FACES:
                        rising = (here < there) == forward
                        counts[slot, len(directions) + d] += 1 if rising else -1
                    if 2 * used > len(keys):
                        keys, counts = _grown(keys, counts)
                        key = np.int64(-2)
    filled = keys >= 0
    return keys[filled], counts[filled]


@njit(cache=True)
def _slot(keys: NDArray[np.int64], key: int) -> int:
    slot = (key * 0x9E3779B1 >> 7) & (len(keys) - 1)
    while keys[slot] >= 0 and keys[slot] != key:
        slot = (slot + 1) & (len(keys) - 1)
    return slot


@njit(cache=True)
def _grown(
    keys: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    more_keys = np.full(2 * len(keys), -1, np.int64)
    more_counts = np.zeros((2 * len(keys), counts.shape[1]), np.int64)
    for old in range(len(keys)):
        if keys[old] >= 0:
            slot = _slot(more_keys, keys[old])
            more_keys[slot] = keys[old]
            more_counts[slot] = counts[old]
    return more_keys, more_counts
