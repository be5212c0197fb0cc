"""Labels against true centres, where nobody has drawn outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from poolvox.shared.errors import InputError
from poolvox.shared.evaluate.assign import assign
from poolvox.shared.evaluate.overlap import Positions, measure_overlap
from poolvox.shared.evaluate.scores import Score

__all__ = ["PointEvaluation", "evaluate_points"]


@dataclass(frozen=True, slots=True)
class PointEvaluation:
    """Agreement of labels with true centres.

    Attributes
    ----------
    score : counts; its threshold is the radius, NaN where a point had to lie inside
    truth : one row per point: position, label matched (0: none), label it lies in, distance
    predicted : one row per object: label, position, size, point matched (-1: none), points inside
    """

    score: Score
    truth: pd.DataFrame
    predicted: pd.DataFrame


def evaluate_points(
    points: Any,
    labels: Any,
    *,
    spacing: Sequence[float],
    radius: float | None = None,
) -> PointEvaluation:
    """Match labelled objects with true centres, one to one.

    Parameters
    ----------
    points : (N, D) array, voxel indices in the order of the axes
    labels : (Z, Y, X) or (Y, X) array of integer labels
    spacing : voxel size, micrometres
    radius : largest distance, in micrometres, of an object's centroid from its point; None: the
        point must lie in the object

    Examples
    --------
    >>> labels = np.zeros((8, 8), int)
    >>> labels[2:5, 2:5] = 1
    >>> evaluate_points([[3, 3], [7, 7]], labels, spacing=(1, 1)).score.recall
    0.5
    """
    points = np.asarray(points, float).reshape(-1, labels.ndim)
    if not np.isfinite(points).all():
        broken = int((~np.isfinite(points)).any(axis=1).sum())
        raise InputError(f"{broken} of {len(points)} centres have a coordinate that is no number")
    scale = np.asarray(spacing, float)
    if scale.shape != (labels.ndim,) or not (scale > 0).all():
        raise InputError(f"spacing needs {labels.ndim} numbers above 0, got {spacing}")
    objects = measure_overlap(labels, labels).truth
    inside = _labels_at(points, labels)
    distance, rows, columns = (
        _pairs_inside(points, inside, objects, scale)
        if radius is None
        else _pairs_near(points, objects, scale, radius)
    )
    longest = float(distance.max()) if len(distance) else 1.0
    closeness = 1 - distance / max(longest, 1e-9)
    edges = assign(rows, columns, closeness, np.ones(len(rows), bool))
    matched = len(edges)
    score = Score(
        float("nan") if radius is None else float(radius),
        matched,
        len(objects) - matched,
        len(points) - matched,
    )
    chosen = (distance[edges], rows[edges], columns[edges])
    return PointEvaluation(score, *_tables(points, inside, objects, scale, chosen))


Pairs = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def _labels_at(points: NDArray[np.float64], labels: Any) -> NDArray[Any]:
    """Labels under the points, 0 for those outside of the image."""
    index = np.rint(points).astype(np.int64)
    valid = ((index >= 0) & (index < labels.shape)).all(axis=1)
    found = np.zeros(len(points), labels.dtype if labels.dtype.kind != "b" else np.uint8)
    found[valid] = np.asarray(labels)[tuple(index[valid].T)]
    return found


def _pairs_inside(
    points: NDArray[np.float64],
    inside: NDArray[Any],
    objects: Positions,
    scale: NDArray[np.float64],
) -> Pairs:
    rows = np.flatnonzero(inside)
    columns = np.searchsorted(objects.labels, inside[rows])
    away = (points[rows] - objects.centroids[columns]) * scale
    return np.linalg.norm(away, axis=1), rows, columns


def _pairs_near(
    points: NDArray[np.float64], objects: Positions, scale: NDArray[np.float64], radius: float
) -> Pairs:
    if not radius > 0:
        raise InputError(f"radius must be above 0 micrometres, got {radius}")
    if not len(points) or not len(objects):
        return np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
    near = cKDTree(points * scale).sparse_distance_matrix(
        cKDTree(objects.centroids * scale), radius, output_type="ndarray"
    )
    order = np.lexsort((near["j"], near["i"]))
    return near["v"][order], near["i"][order].astype(np.int64), near["j"][order].astype(np.int64)


def _tables(
    points: NDArray[np.float64],
    inside: NDArray[Any],
    objects: Positions,
    scale: NDArray[np.float64],
    chosen: Pairs,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    distance, rows, columns = chosen
    axes = ("z", "y", "x")[3 - len(scale) :]
    truth = pd.DataFrame(points * scale, columns=list(axes))
    match = np.zeros(len(points), objects.labels.dtype)
    match[rows] = objects.labels[columns]
    away = np.full(len(points), np.nan)
    away[rows] = distance
    truth = truth.assign(match=match, inside=inside, distance=away)
    predicted = pd.DataFrame({"label": objects.labels})
    predicted[list(axes)] = objects.centroids * scale
    predicted["size"] = objects.sizes * float(np.prod(scale))
    point = np.full(len(objects), -1)
    point[columns] = rows
    held = np.searchsorted(objects.labels, inside[inside != 0])
    predicted["match"] = point
    predicted["holds"] = np.bincount(held, minlength=len(objects))
    return truth, predicted
