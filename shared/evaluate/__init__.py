"""How well labels agree with the truth: objects matched, split, merged, missed and made up."""

from poolvox.shared.evaluate.assign import assign
from poolvox.shared.evaluate.files import evaluate_files, evaluate_point_files
from poolvox.shared.evaluate.labels import Evaluation, evaluate_labels
from poolvox.shared.evaluate.overlap import Overlap, measure_overlap
from poolvox.shared.evaluate.picture import draw_errors
from poolvox.shared.evaluate.points import PointEvaluation, evaluate_points
from poolvox.shared.evaluate.scores import THRESHOLDS, Score, score_overlap

__all__ = [
    "THRESHOLDS",
    "Evaluation",
    "Overlap",
    "PointEvaluation",
    "Score",
    "assign",
    "draw_errors",
    "evaluate_files",
    "evaluate_labels",
    "evaluate_point_files",
    "evaluate_points",
    "measure_overlap",
    "score_overlap",
]
