"""Labels against true labels: scores, splits and merges, and where the errors are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.evaluate.overlap import Overlap, Positions, measure_overlap
from poolvox.shared.evaluate.scores import (
    THRESHOLDS,
    Criterion,
    Score,
    match_overlap,
    score_overlap,
)

__all__ = ["Evaluation", "breakdown", "evaluate_labels", "score_table"]

# A piece belongs to an object if more than this part of it lies inside.
MAJORITY = 0.5
# Pieces smaller than this part of the whole object do not make it a split or a merge.
MIN_PIECE = 0.1
BINS = 4


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Agreement of labels with the truth.

    Attributes
    ----------
    scores : one per threshold
    truth : one row per true object: label, position, size, its match at the main threshold, its
        best IoU, and its status: matched, split, merged or missed
    predicted : one row per predicted object: likewise; its status is matched, fragment (of a split
        one), merge (of several), poor (overlaps one object, not enough) or invented
    splits, merges : true objects in several pieces, predicted objects that hold several true ones
    by_depth, by_size : precision, recall and mean IoU in slices of depth and quantiles of size
    threshold : the main threshold
    spacing : voxel size of the tables, micrometres; ones where they are in voxels
    """

    scores: tuple[Score, ...]
    truth: pd.DataFrame
    predicted: pd.DataFrame
    splits: int
    merges: int
    by_depth: pd.DataFrame
    by_size: pd.DataFrame
    threshold: float
    spacing: tuple[float, ...]

    @property
    def main(self) -> Score:
        """Score at the main threshold."""
        return next(score for score in self.scores if score.threshold == self.threshold)

    @property
    def mean_ap(self) -> float:
        """Mean of AP over the thresholds."""
        return float(np.mean([score.ap for score in self.scores]))

    @property
    def table(self) -> pd.DataFrame:
        """Scores as a table, one row per threshold."""
        return score_table(self.scores)


def evaluate_labels(
    truth: Any,
    labels: Any,
    *,
    spacing: Sequence[float] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    threshold: float = 0.5,
    criterion: Criterion = "iou",
) -> Evaluation:
    """Compare `labels` with the `truth`.

    Parameters
    ----------
    truth, labels : (Z, Y, X) or (Y, X) arrays of integer labels of any type, 0 is background
    spacing : voxel size, micrometres; without it sizes and positions stay in voxels
    thresholds : overlaps at which to score
    threshold : the one at which the tables tell matches and errors; added to `thresholds`
    criterion : overlap over the union, the true, or the predicted object

    Examples
    --------
    >>> truth = np.zeros((8, 8), int)
    >>> truth[1:3, 1:3], truth[5:7, 5:7] = 1, 2
    >>> evaluate_labels(truth, truth == 1).main.f1
    0.6666666666666666
    """
    overlap = measure_overlap(truth, labels)
    scale = _scale(spacing, truth.ndim)
    wanted = sorted({*map(float, thresholds), float(threshold)})
    scores = tuple(score_overlap(overlap, value, criterion=criterion) for value in wanted)
    edges = match_overlap(overlap, threshold, criterion=criterion)
    split, merge = _pieces(overlap)
    first = _true_table(overlap, edges, split, merge, scale)
    second = _predicted_table(overlap, edges, split, merge, scale)
    by_depth = pd.DataFrame() if truth.ndim == 2 else breakdown(first, second, "z", quantiles=False)
    return Evaluation(
        scores,
        first,
        second,
        splits=int((split.by_row >= 2).sum()),
        merges=int((merge.by_column >= 2).sum()),
        by_depth=by_depth,
        by_size=breakdown(first, second, "size", quantiles=True),
        threshold=float(threshold),
        spacing=tuple(scale),
    )


def score_table(scores: Sequence[Score]) -> pd.DataFrame:
    """One row per score."""
    names = ("threshold", "matched", "invented", "missed", "precision", "recall", "f1", "ap")
    more = ("mean_matched", "mean_true", "panoptic")
    rows = [{name: getattr(score, name) for name in names + more} for score in scores]
    return pd.DataFrame(rows, columns=[*names, *more])


def breakdown(
    truth: pd.DataFrame, predicted: pd.DataFrame, column: str, *, quantiles: bool
) -> pd.DataFrame:
    """Recall, precision and mean IoU in bins of one column, equally wide or equally full."""
    values = truth[column].to_numpy()
    both = np.concatenate([values, predicted[column].to_numpy()])
    if not len(both):
        return pd.DataFrame()
    base = values if quantiles and len(values) else both
    parts = np.linspace(0, 1, BINS + 1)
    edges = np.quantile(base, parts) if quantiles else base.min() + parts * np.ptp(base)
    edges = np.unique(edges)
    true_bin, predicted_bin = (_bins(frame[column], edges) for frame in (truth, predicted))
    rows = []
    for number in range(max(len(edges) - 1, 1)):
        mine, theirs = truth[true_bin == number], predicted[predicted_bin == number]
        rows.append(
            {
                f"{column}_from": edges[number],
                f"{column}_to": edges[min(number + 1, len(edges) - 1)],
                "true": len(mine),
                "predicted": len(theirs),
                "recall": _mean(mine["match"] != 0),
                "precision": _mean(theirs["match"] != 0),
                "mean_iou": _mean(mine["iou"]),
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Overlaps that count as pieces, with their number per true and per predicted object."""

    edges: NDArray[np.bool_]
    by_row: NDArray[np.int64]
    by_column: NDArray[np.int64]


def _pieces(overlap: Overlap) -> tuple[_Pieces, _Pieces]:
    """Tell pieces of split true objects, and true objects that were merged into one."""
    in_true = (overlap.of_predicted > MAJORITY) & (overlap.of_truth >= MIN_PIECE)
    in_predicted = (overlap.of_truth > MAJORITY) & (overlap.of_predicted >= MIN_PIECE)

    def count(edges: NDArray[np.bool_]) -> _Pieces:
        rows = np.bincount(overlap.rows[edges], minlength=len(overlap.truth))
        columns = np.bincount(overlap.columns[edges], minlength=len(overlap.predicted))
        return _Pieces(edges, rows, columns)

    return count(in_true), count(in_predicted)


def _true_table(
    overlap: Overlap, edges: NDArray[np.int64], split: _Pieces, merge: _Pieces, scale: list[float]
) -> pd.DataFrame:
    table = _object_table(overlap.truth, scale)
    table["match"] = _partners(
        len(table), overlap.rows[edges], overlap.predicted.labels[overlap.columns[edges]]
    )
    table["iou"] = _best(overlap.rows, overlap.iou, len(table))
    shared = np.zeros(len(table), bool)
    merged = merge.edges & (merge.by_column[overlap.columns] >= 2)
    shared[overlap.rows[merged]] = True
    table["pieces"] = split.by_row
    cases = [(table["match"] != 0).to_numpy(), split.by_row >= 2, shared]
    table["status"] = _choose(cases, ("matched", "split", "merged"), "missed")
    return table


def _predicted_table(
    overlap: Overlap, edges: NDArray[np.int64], split: _Pieces, merge: _Pieces, scale: list[float]
) -> pd.DataFrame:
    table = _object_table(overlap.predicted, scale)
    table["match"] = _partners(
        len(table), overlap.columns[edges], overlap.truth.labels[overlap.rows[edges]]
    )
    table["iou"] = _best(overlap.columns, overlap.iou, len(table))
    fragment = np.zeros(len(table), bool)
    of_split = split.edges & (split.by_row[overlap.rows] >= 2)
    fragment[overlap.columns[of_split]] = True
    table["holds"] = merge.by_column
    poor = (table["iou"] >= MIN_PIECE).to_numpy()
    cases = [(table["match"] != 0).to_numpy(), merge.by_column >= 2, fragment, poor]
    table["status"] = _choose(cases, ("matched", "merge", "fragment", "poor"), "invented")
    return table


def _choose(
    cases: Sequence[NDArray[np.bool_]], names: Sequence[str], otherwise: str
) -> NDArray[np.str_]:
    """Name of the first case that holds, per object."""
    return np.select(list(cases), [np.array(name) for name in names], np.array(otherwise))


def _object_table(objects: Positions, scale: list[float]) -> pd.DataFrame:
    axes = ("z", "y", "x")[3 - len(scale) :]
    columns = dict(zip(axes, (objects.centroids * scale).T))
    size = objects.sizes * float(np.prod(scale))
    return pd.DataFrame({"label": objects.labels, **columns, "size": size})


def _partners(count: int, index: NDArray[np.int64], labels: NDArray[Any]) -> NDArray[Any]:
    partners = np.zeros(count, labels.dtype)
    partners[index] = labels
    return partners


def _best(index: NDArray[np.int64], iou: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    best = np.zeros(count)
    np.maximum.at(best, index, iou)
    return best


def _bins(values: pd.Series, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    inner = edges[1:-1]
    return np.searchsorted(inner, values.to_numpy(), side="right").astype(np.int64)


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _scale(spacing: Sequence[float] | None, ndim: int) -> list[float]:
    scale = [1.0] * ndim if spacing is None else [float(step) for step in spacing]
    if len(scale) != ndim or not all(np.isfinite(step) and step > 0 for step in scale):
        raise InputError(f"spacing needs {ndim} numbers above 0 (micrometres), got {spacing}")
    return scale
