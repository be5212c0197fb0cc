"""Thresholds of a model, chosen by how well it then segments annotated stacks.

A stack is segmented once per overlap threshold with a low probability threshold. Non-maximum
suppression goes from the most to the least probable object, so whatever it keeps at a higher
threshold is just the more probable part of that: every threshold is judged from one segmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.organoid3d.training.network import Thresholds
from poolvox.organoid3d.training.sources import AnnotatedStack
from poolvox.shared.evaluate import measure_overlap, score_overlap

__all__ = ["LOWEST", "Segmented", "choose_thresholds", "mean_f1", "score_stacks"]

# Objects below are not looked at.
LOWEST = 0.25
PROBABILITIES = tuple(round(float(p), 2) for p in np.arange(LOWEST, 0.86, 0.05))
OVERLAPS = (0.1, 0.2, 0.3, 0.4)
# Agreement is averaged over these, so that outlines count and not only the number of objects.
IOUS = (0.3, 0.5, 0.7)
MAIN = 0.5


@dataclass(frozen=True, slots=True)
class Segmented:
    """Labels 1 to N of a stack, and the (N,) probabilities."""

    labels: NDArray[np.uint32]
    probability: NDArray[np.float32]

    def above(self, threshold: float) -> NDArray[np.uint32]:
        """Labels of the objects that are probable enough, with the numbers they had."""
        kept = np.concatenate([[False], self.probability >= threshold])
        return np.where(kept[self.labels], self.labels, np.uint32(0))


Segment = Callable[[AnnotatedStack, float], Segmented]


def choose_thresholds(
    stacks: Iterable[AnnotatedStack], segment: Segment
) -> tuple[Thresholds, float]:
    """Find the thresholds of the best mean F1.

    Parameters
    ----------
    stacks : annotated stacks
    segment : segments a stack at an overlap threshold, down to the probability `LOWEST`

    Returns
    -------
    thresholds, and the mean F1 over stacks and the IoU of 0.3, 0.5 and 0.7
    """
    known = list(stacks)
    grid = np.zeros((len(OVERLAPS), len(PROBABILITIES)))
    for row, overlap in enumerate(OVERLAPS):
        for stack in known:
            found = segment(stack, overlap)
            for column, threshold in enumerate(PROBABILITIES):
                grid[row, column] += np.mean(_f1(stack.labels, found.above(threshold), IOUS))
    grid /= max(len(known), 1)
    row, column = _middle_of_best(grid)
    return Thresholds(PROBABILITIES[column], OVERLAPS[row]), float(grid[row, column])


def mean_f1(stacks: Sequence[AnnotatedStack], found: Sequence[NDArray[np.uint32]]) -> float:
    """Mean F1 over stacks and the IoU of 0.3, 0.5 and 0.7."""
    pairs = zip(stacks, found, strict=True)
    return float(np.mean([_f1(stack.labels, labels, IOUS) for stack, labels in pairs]))


def score_stacks(
    names: Sequence[str], stacks: Iterable[AnnotatedStack], found: Iterable[NDArray[np.uint32]]
) -> pd.DataFrame:
    """Score labels: one row per stack with objects, found, precision, recall, F1 and mean IoU."""
    rows = []
    for name, stack, labels in zip(names, stacks, found):
        score = score_overlap(measure_overlap(stack.labels, labels), threshold=MAIN)
        rows.append(
            {
                "stack": name,
                "objects": score.matched + score.missed,
                "found": score.matched + score.invented,
                "precision": score.precision,
                "recall": score.recall,
                "f1": score.f1,
                "mean_iou": score.mean_matched,
            }
        )
    return pd.DataFrame(rows)


def _f1(
    truth: NDArray[np.integer], labels: NDArray[np.integer], thresholds: Sequence[float]
) -> list[float]:
    overlap = measure_overlap(truth, labels)
    return [score_overlap(overlap, threshold=threshold).f1 for threshold in thresholds]


def _middle_of_best(grid: NDArray[np.float64]) -> tuple[int, int]:
    """The best place; where neighbours are as good, the middle, which is the least chancy."""
    row = int(grid.max(axis=1).argmax())
    best = np.flatnonzero(grid[row] >= grid[row].max() - 1e-9)
    return row, int(best[len(best) // 2])
