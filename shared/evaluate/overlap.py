"""Which objects of two label images overlap, and by how many voxels.

Only overlaps that exist are kept. Along the fastest axis labels come in runs, so the pairs are
counted run by run: two to three orders of magnitude fewer than voxels, with memory for one plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError

__all__ = ["Overlap", "Positions", "check_labels", "measure_overlap"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Positions:
    """Objects of one label image, in ascending order of their labels.

    Attributes
    ----------
    labels : (N,) array in the image's own integer type
    sizes : (N,) array, voxels
    centroids : (N, D) array, voxel indices
    """

    labels: NDArray[Any]
    sizes: Ints
    centroids: Floats

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Overlaps of true and predicted objects.

    Attributes
    ----------
    truth, predicted : the objects of both images
    rows, columns : (E,) arrays, indices into `truth` and `predicted` of the pairs that overlap
    voxels : (E,) array, the size of each overlap
    """

    truth: Positions
    predicted: Positions
    rows: Ints
    columns: Ints
    voxels: Ints

    @property
    def iou(self) -> Floats:
        """Intersection over union of each pair."""
        union = self.truth.sizes[self.rows] + self.predicted.sizes[self.columns] - self.voxels
        return self.voxels / union

    @property
    def of_truth(self) -> Floats:
        """Part of the true object that lies in the predicted one, of each pair."""
        return self.voxels / self.truth.sizes[self.rows]

    @property
    def of_predicted(self) -> Floats:
        """Part of the predicted object that lies in the true one, of each pair."""
        return self.voxels / self.predicted.sizes[self.columns]


def check_labels(labels: Any, name: str) -> None:
    """Refuse what is no label image: wrong number of axes or no integers."""
    if labels.ndim not in (2, 3):
        raise InputError(
            f"{name} must be a label image with axes (y, x) or (z, y, x), got shape {labels.shape}"
        )
    if labels.dtype.kind not in "iub":
        raise InputError(
            f"{name} must hold integer labels, got {labels.dtype}: was an intensity image given?"
        )


def measure_overlap(truth: Any, predicted: Any) -> Overlap:
    """Find all pairs of objects that share voxels.

    Parameters
    ----------
    truth, predicted : (Z, Y, X) or (Y, X) arrays of integer labels, 0 is background; numpy, or
        anything that is sliced like it, for example dask and zarr arrays

    Examples
    --------
    >>> found = measure_overlap(np.array([[1, 1, 0, 2]]), np.array([[5, 0, 0, 7]]))
    >>> found.truth.labels, found.predicted.labels, found.voxels
    (array([1, 2]), array([5, 7]), array([1, 1]))
    """
    check_labels(truth, "truth")
    check_labels(predicted, "labels")
    if tuple(truth.shape) != tuple(predicted.shape):
        raise InputError(
            f"truth has shape {tuple(truth.shape)} and labels {tuple(predicted.shape)}: "
            "compare two images of one shape"
        )
    runs = _Runs(*(np.concatenate(column) for column in zip(*_all_runs(truth, predicted))))
    first, true_of = _positions(runs.truth, runs, truth.ndim)
    second, predicted_of = _positions(runs.predicted, runs, truth.ndim)
    both = (true_of >= 0) & (predicted_of >= 0)
    code = true_of[both] * max(len(second), 1) + predicted_of[both]
    pairs, index = np.unique(code, return_inverse=True)
    voxels = np.bincount(index, runs.length[both], len(pairs)).astype(np.int64)
    rows, columns = np.divmod(pairs, max(len(second), 1))
    return Overlap(first, second, rows, columns, voxels)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Stretches along the last axis in which neither label changes."""

    truth: NDArray[Any]
    predicted: NDArray[Any]
    z: Ints
    y: Ints
    x: Floats  # middle of the run
    length: Ints


def _all_runs(truth: Any, predicted: Any) -> Iterator[tuple[NDArray[Any], ...]]:
    planes = truth.shape[0] if truth.ndim == 3 else 1
    for z in range(planes):
        a, b = (
            np.asarray(labels[z] if truth.ndim == 3 else labels) for labels in (truth, predicted)
        )
        yield _plane_runs(_plain(a, "truth"), _plain(b, "labels"), z)


def _plain(plane: NDArray[Any], name: str) -> NDArray[Any]:
    if plane.dtype.kind == "b":
        return plane.astype(np.uint8)
    if plane.dtype.kind == "i" and plane.size and plane.min() < 0:
        raise InputError(f"{name} holds the negative label {plane.min()}: labels start at 1")
    return plane


def _plane_runs(truth: NDArray[Any], predicted: NDArray[Any], z: int) -> tuple[NDArray[Any], ...]:
    change = np.ones(truth.shape, bool)
    change[:, 1:] = truth[:, 1:] != truth[:, :-1]
    change[:, 1:] |= predicted[:, 1:] != predicted[:, :-1]
    starts = np.flatnonzero(change)
    length = np.diff(starts, append=truth.size)
    first, second = truth.ravel()[starts], predicted.ravel()[starts]
    kept = (first != 0) | (second != 0)
    y, x = np.divmod(starts[kept], max(truth.shape[1], 1))
    length = length[kept]
    return first[kept], second[kept], np.full(len(y), z), y, x + (length - 1) / 2, length


def _positions(labels: NDArray[Any], runs: _Runs, ndim: int) -> tuple[Positions, Ints]:
    """Collect objects, and tell the index of each run's object (-1: background)."""
    inside = labels != 0
    found, index = np.unique(labels[inside], return_inverse=True)
    length = runs.length[inside]
    sizes = np.bincount(index, length, len(found))
    axes = (runs.z, runs.y, runs.x)[3 - ndim :]
    sums = [np.bincount(index, length * axis[inside], len(found)) for axis in axes]
    of_run = np.full(len(labels), -1, np.int64)
    of_run[inside] = index
    centroids = np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None]
    return Positions(found, sizes.astype(np.int64), centroids), of_run
