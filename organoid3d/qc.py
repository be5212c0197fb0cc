"""What may be wrong with an object, as flags beside the measurements; nothing is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

__all__ = [
    "FIRST_STOP",
    "FLAGS",
    "Saturation",
    "flag_forms",
    "flag_objects",
    "measure_forms",
    "saturated_part",
]

# Sizes beyond these factors of the median volume are unusual.
SMALL, LARGE = 0.25, 4.0
# An object this much larger than the median that leaves this much of its ellipsoid empty may be
# two: touching balls fill 0.82.
DOUBLE_SIZE, DOUBLE_FILL = 1.6, 0.87
# Fewer objects than this have no usual size.
MIN_OBJECTS = 5
# A network is not sure of what lies in this first part of the way from its threshold to certainty.
UNSURE = 0.25
INSIDE = 0.5
CORNERS = np.ones((3, 3, 3), bool)
# Largest values of cameras: 8 to 16 bits, and those of fewer bits that are stored shifted to 16.
BITS = (10, 11, 12, 14, 15, 16)
FULL = {2**8 - 1, *(2**n - 1 for n in BITS), *((2**n - 1) << (16 - n) for n in BITS)}
# Columns of the box of an object.
FIRST_STOP = ("first_z", "stop_z", "first_y", "stop_y", "first_x", "stop_x")

FLAGS = {
    "QC_BorderXY": "touches the side of the stack",
    "QC_BorderZ": "touches the first or last plane",
    "QC_Planar": "lies in a single plane",
    "QC_Size": "much smaller or larger than usual",
    "QC_Fragments": "in several parts",
    "QC_Outside": "mostly outside of every organoid",
    "QC_Multiple": "may be several objects",
    "QC_Empty": "holds no nucleus",
    "QC_LowProbability": "the network was not sure",
}


def flag_objects(
    labels: NDArray[np.integer],
    *,
    spacing: Sequence[float],
    inside: pd.Series | None = None,
    probability: pd.Series | None = None,
    threshold: float = 0.5,
    sizes: bool = True,
    held: pd.Series | None = None,
) -> pd.DataFrame:
    """Flag the objects of a label image.

    Parameters
    ----------
    labels : (Z, Y, X) array
    spacing : micrometres
    inside : part of each object that lies in an organoid, by label
    probability : of each object, by label
    threshold : of the probability, below which a network leaves objects out
    sizes : compare sizes with each other: for nuclei and cells, not for organoids
    held : number of nuclei in each object, by label: for organoids

    Returns
    -------
    DataFrame indexed by label: one boolean column per flag that was asked for, and `QC_Reason`,
    the flags in words
    """
    return flag_forms(
        measure_forms(labels, spacing=spacing),
        labels.shape,
        inside=inside,
        probability=probability,
        threshold=threshold,
        sizes=sizes,
        held=held,
    )


def measure_forms(labels: NDArray[np.integer], *, spacing: Sequence[float]) -> pd.DataFrame:
    """What flags are raised by: box (`first`, and `stop` beyond it), volume, parts and fill.

    Returns
    -------
    DataFrame indexed by label; `fill` is the filled part of the ellipsoid of equal moments
    """
    boxes = [(n, box) for n, box in enumerate(ndimage.find_objects(labels), 1) if box is not None]
    index = pd.Index([n for n, _ in boxes], name="label", dtype=np.int64)
    ends = np.array([[(part.start, part.stop) for part in box] for _, box in boxes], np.int64)
    facts = np.array([_measure(labels[box] == n, spacing) for n, box in boxes], float)
    table = pd.DataFrame(ends.reshape(-1, 6), index, [*FIRST_STOP])
    return table.assign(**dict(zip(("volume", "parts", "fill"), facts.reshape(-1, 3).T)))


def flag_forms(
    forms: pd.DataFrame,
    shape: Sequence[int],
    *,
    inside: pd.Series | None = None,
    probability: pd.Series | None = None,
    threshold: float = 0.5,
    sizes: bool = True,
    held: pd.Series | None = None,
) -> pd.DataFrame:
    """Flag objects of which the forms are at hand, see `measure_forms` and `flag_objects`.

    Parameters
    ----------
    shape : (Z, Y, X) of the stack
    """
    ends = forms[[*FIRST_STOP]].to_numpy().reshape(-1, 3, 2)
    table = pd.DataFrame(index=forms.index).assign(**_borders(ends, shape))
    volume, parts, fill = (forms[name].to_numpy(float) for name in ("volume", "parts", "fill"))
    if sizes:
        usual = _usual(volume)
        table["QC_Size"] = (volume < SMALL * usual) | (volume > LARGE * usual)
        table["QC_Multiple"] = (volume > DOUBLE_SIZE * usual) & (fill < DOUBLE_FILL)
    table["QC_Fragments"] = parts > 1
    if inside is not None:
        table["QC_Outside"] = (inside.reindex(table.index).fillna(0) < INSIDE).to_numpy()
    if held is not None:
        table["QC_Empty"] = (held.reindex(table.index).fillna(0) == 0).to_numpy()
    if probability is not None:
        sure = probability.reindex(table.index).to_numpy(float)
        table["QC_LowProbability"] = _unsure(sure, threshold)
    table["QC_Reason"] = _in_words(table)
    return table


def saturated_part(image: NDArray[Any]) -> float:
    """Part of the voxels at the largest value that a camera can give; see `Saturation`."""
    found = Saturation()
    found.add(image)
    return found.part


@dataclass(slots=True)
class Saturation:
    """How many voxels of a channel, seen block by block, are at the top of a camera's range.

    Cameras of 12 bits end at 4095 whatever type their pixels are stored in, so it is the largest
    value that tells. Floats have no such end.
    """

    top: int = -1
    count: int = 0
    voxels: int = 0

    def add(self, block: NDArray[Any]) -> None:
        """See one more block."""
        self.voxels += block.size
        top = int(block.max()) if block.size and block.dtype.kind in "iu" else -1
        if top < max(self.top, 0):
            return
        there = int(np.count_nonzero(block == top))
        self.count = there + (self.count if top == self.top else 0)
        self.top = top

    @property
    def part(self) -> float:
        """Of all voxels, 0 to 1."""
        return self.count / self.voxels if self.top in FULL else 0.0


def _borders(ends: NDArray[np.integer], shape: Sequence[int]) -> dict[str, NDArray[np.bool_]]:
    """What the box of an object tells; a stack of one plane has no border along z."""
    deep = shape[0] > 1
    touches = (ends[..., 0] == 0) | (ends[..., 1] == np.asarray(shape))
    return {
        "QC_BorderXY": touches[:, 1:].any(axis=1),
        "QC_BorderZ": touches[:, 0] & deep,
        "QC_Planar": (ends[:, 0, 1] - ends[:, 0, 0] == 1) & deep,
    }


def _usual(volume: NDArray[np.floating]) -> float:
    return float(np.median(volume)) if len(volume) >= MIN_OBJECTS else float("nan")


def _unsure(probability: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    return np.asarray(probability < threshold + UNSURE * (1 - threshold))


def _measure(mask: NDArray[np.bool_], spacing: Sequence[float]) -> tuple[float, float, float]:
    """Volume, number of parts, and the part of the ellipsoid of equal moments that is filled."""
    volume = float(np.count_nonzero(mask) * np.prod(spacing))
    parts = ndimage.label(mask, CORNERS)[1]
    places = np.argwhere(mask) * spacing
    spread = np.cov(places.T, bias=True) if len(places) > 1 else np.zeros((3, 3))
    spread = spread + np.diag(np.square(spacing)) / 12
    ellipsoid = 4 / 3 * np.pi * 5**1.5 * np.sqrt(max(float(np.linalg.det(spread)), 1e-12))
    return volume, float(parts), volume / ellipsoid


def _in_words(table: pd.DataFrame) -> list[str]:
    flags = [name for name in FLAGS if name in table]
    return [
        "; ".join(FLAGS[name] for name, raised in zip(flags, row) if raised)
        for row in table[flags].itertuples(index=False)
    ]
