"""Parts of a plane that climb to the same summit, and the joining of those no saddle divides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.shared.imaging.cleanup import rename_labels

__all__ = ["find_basins", "find_passes"]


def find_basins(
    relief: NDArray[np.floating[Any]], mask: NDArray[np.bool_], *, depth: float
) -> NDArray[np.int32]:
    """Divide `mask` between the summits of `relief`.

    Parameters
    ----------
    relief : (Y, X) array, positive within the mask
    mask : (Y, X) array
    depth : two summits stay apart where the highest pass between them lies lower than the lower of
        both by at least this share of it

    Returns
    -------
    (Y, X) labels from 1, 0 outside of the mask
    """
    relief = np.ascontiguousarray(relief, np.float32)
    labels: NDArray[np.int32]
    labels, summits = _climb(relief, np.ascontiguousarray(mask))
    if len(summits) < 2:
        return labels
    low, high, passes = find_passes(relief, labels)
    order = np.argsort(-passes, kind="stable")
    parent = _join(low[order], high[order], passes[order], summits, 1.0 - depth)
    numbers = np.unique(parent, return_inverse=True)[1]
    return rename_labels(labels, np.append(0, numbers + 1).astype(np.int32))


@njit(cache=True, nogil=True)
def _climb(relief, mask):  # type: ignore[no-untyped-def]
    """Label each pixel by the summit that steepest ascent leads to."""
    height, width = relief.shape
    up = np.full(height * width, -1, np.int32)
    for r in range(height):
        for c in range(width):
            if not mask[r, c]:
                continue
            best, at = relief[r, c], r * width + c
            here = at
            for dr in range(-1, 2):
                for dc in range(-1, 2):
                    y, x = r + dr, c + dc
                    if y < 0 or x < 0 or y >= height or x >= width or not mask[y, x]:
                        continue
                    other = y * width + x
                    # Equal heights climb towards the first pixel, so that a plateau is one summit.
                    if relief[y, x] > best or (relief[y, x] == best and other < at):
                        best, at = relief[y, x], other
            up[here] = at
    labels = np.zeros(height * width, np.int32)
    summits = [np.float32(0)]
    for start in range(height * width):
        if up[start] < 0 or labels[start]:
            continue
        here = start
        while labels[here] == 0 and up[here] != here:
            here = up[here]
        if labels[here] == 0:
            labels[here] = len(summits)
            summits.append(relief[here // width, here % width])
        label, here = labels[here], start
        while labels[here] == 0:
            labels[here] = label
            here = up[here]
    return labels.reshape(height, width), np.array(summits[1:])


@njit(cache=True, nogil=True)
def find_passes(relief, labels):  # type: ignore[no-untyped-def]
    """Steps between two basins: the lower label, the higher one, and how high the step lies."""
    height, width = labels.shape
    low, high, passes = [np.int32(0)], [np.int32(0)], [np.float32(0)]
    for r in range(height):
        for c in range(width):
            a = labels[r, c]
            if a == 0:
                continue
            for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
                y, x = r + dr, c + dc
                if y >= height or x >= width or x < 0:
                    continue
                b = labels[y, x]
                if b == 0 or b == a:
                    continue
                low.append(min(a, b))
                high.append(max(a, b))
                passes.append(min(relief[r, c], relief[y, x]))
    return np.array(low[1:]), np.array(high[1:]), np.array(passes[1:])


@njit(cache=True, nogil=True)
def _join(low, high, passes, summits, share):  # type: ignore[no-untyped-def]
    """Join basins from the highest pass down; a joined basin is as high as its highest summit."""
    parent = np.arange(len(summits))
    top = summits.copy()
    for i in range(len(passes)):
        a, b = low[i] - 1, high[i] - 1
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a == b or passes[i] < share * min(top[a], top[b]):
            continue
        keep, gone = (a, b) if top[a] >= top[b] else (b, a)
        parent[gone] = keep
    for a in range(len(parent)):
        root = a
        while parent[root] != root:
            root = parent[root]
        parent[a] = root
    return parent
