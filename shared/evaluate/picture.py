"""A picture of what went wrong: one plane per row, truth and labels coloured by their status."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from poolvox.shared.evaluate.labels import Evaluation

__all__ = ["STATUS_COLOURS", "draw_errors"]

# Distinguishable with the common colour vision deficiencies (Okabe and Ito).
STATUS_COLOURS: Mapping[str, str] = {
    "matched": "#009E73",
    "missed": "#D55E00",
    "split": "#CC79A7",
    "merged": "#E69F00",
    "invented": "#56B4E9",
    "fragment": "#CC79A7",
    "merge": "#E69F00",
    "poor": "#F0E442",
}
PLANES = 3
DPI = 110


def draw_errors(evaluation: Evaluation, truth: Any, labels: Any, image: Any | None = None) -> bytes:
    """Draw the planes with most errors as PNG: left the truth, right the labels.

    Parameters
    ----------
    evaluation : of `labels` against `truth`
    truth, labels : (Z, Y, X) or (Y, X) arrays of integer labels
    image : array of the same shape, shown in grey beneath
    """
    truth, labels = np.atleast_3d(truth.T).T, np.atleast_3d(labels.T).T
    shown = None if image is None else np.atleast_3d(np.asarray(image).T).T
    planes = _worst_planes(evaluation, truth)
    figure = Figure(figsize=(9, 4.2 * len(planes) + 0.6), dpi=DPI, layout="constrained")
    for row, z in enumerate(planes):
        grey = _grey(None if shown is None else shown[z], truth.shape[1:])
        sides = ((truth, evaluation.truth, "truth"), (labels, evaluation.predicted, "labels"))
        for column, (stack, table, name) in enumerate(sides):
            axes = figure.add_subplot(len(planes), 2, 2 * row + column + 1)
            axes.imshow(_paint(np.asarray(stack[z]), table, grey), interpolation="nearest")
            axes.set_title(f"{name}, plane {z}", fontsize=9)
            axes.set_axis_off()
    keys = [Patch(color=colour, label=words) for colour, words in _legend(evaluation).items()]
    if keys:
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _legend(evaluation: Evaluation) -> dict[str, str]:
    """Words by colour: what an error is called in the truth, then in the labels."""
    seen = pd.concat([evaluation.truth["status"], evaluation.predicted["status"]]).unique()
    words: dict[str, list[str]] = {}
    for status, colour in STATUS_COLOURS.items():
        if status in seen:
            words.setdefault(colour, []).append(status)
    return {colour: " / ".join(names) for colour, names in words.items()}


def _worst_planes(evaluation: Evaluation, truth: NDArray[Any]) -> list[int]:
    """Planes with most errors, apart from each other; the middle one where there are none."""
    depth = truth.shape[0]
    tables = (evaluation.truth, evaluation.predicted)
    if depth == 1 or not any(len(table) for table in tables):
        return [depth // 2]
    wrong = pd.concat([table.loc[table["status"] != "matched", "z"] for table in tables])
    count = np.bincount(
        np.clip(np.rint(wrong.to_numpy() / evaluation.spacing[0]), 0, depth - 1).astype(int),
        minlength=depth,
    ).astype(float)
    if not len(wrong):
        return [depth // 2]
    planes: list[int] = []
    apart = max(1, depth // (2 * PLANES))
    while len(planes) < PLANES and count.max() > 0:
        worst = int(count.argmax())
        planes.append(worst)
        count[max(0, worst - apart) : worst + apart + 1] = 0
    return sorted(planes)


def _grey(image: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if image is None:
        return np.full(shape, 0.15)
    low, high = np.nanpercentile(image, (1, 99.5))
    grey: NDArray[np.float64] = np.clip((image - low) / max(high - low, 1e-9), 0, 1)
    return np.nan_to_num(grey)


def _paint(
    labels: NDArray[Any], table: pd.DataFrame, grey: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tint objects, and draw their outlines in full colour."""
    picture = np.repeat(grey[..., None], 3, axis=-1)
    present = labels > 0
    colours = np.array([to_rgb(STATUS_COLOURS[s]) for s in table["status"]] or [(0, 0, 0)])
    index = np.searchsorted(table["label"].to_numpy(), labels[present])
    edge = _outline(labels)[present]
    weight = np.where(edge, 1.0, 0.3)[:, None]
    picture[present] = (1 - weight) * picture[present] + weight * colours[index]
    return picture


def _outline(labels: NDArray[Any]) -> NDArray[np.bool_]:
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[1:] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:, 1:] |= labels[:, :-1] != labels[:, 1:]
    return edge
