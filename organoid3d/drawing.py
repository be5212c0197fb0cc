"""Labels of a stack drawn part by part, and what lies of each object in the parts.

A part is drawn with as much of its surroundings as its outlines depend on, so the parts together
are what the whole would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.blocks import Box, Frame
from poolvox.organoid3d.models import ModelFolder
from poolvox.organoid3d.outlines import refine_labels, refining_margin
from poolvox.organoid3d.rays import Geometry
from poolvox.organoid3d.segment import draw_stars, find_touching, typical_radius
from poolvox.organoid3d.stars import Stars
from poolvox.organoid3d.stored import with_margin

__all__ = ["ROW", "Drawn", "Painter", "sum_up", "tally"]

# Numbers of a row of `tally`: label, voxels, sums of z, y, x and light, first and last voxels, and
# how many voxels have a finite light.
ROW = 13


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn of each of N objects, by ascending label.

    Attributes
    ----------
    labels, voxels : (N,) arrays
    centres : (N, 3) array, voxels
    light : (N,) array, mean of the finite pixels; NaN without any
    first, last : (N, 3) arrays, voxels at both ends along each axis
    probability : (N,) array
    """

    labels: NDArray[np.int64]
    voxels: NDArray[np.int64]
    centres: NDArray[np.float64]
    light: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    probability: NDArray[np.float32]


@dataclass(frozen=True)
class Painter:
    """Draws polyhedra, refined where the model asks for it.

    Parameters
    ----------
    stars, names : polyhedra, best first, and their labels
    frame, geometry, model : of the network that found them
    source : (Z, Y, X) array, read by slices; what nuclei were looked for in
    spacing : micrometres
    """

    stars: Stars
    names: NDArray[np.int64]
    frame: Frame
    geometry: Geometry
    model: ModelFolder
    source: Any
    spacing: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Measure how far polyhedra reach."""
        step = np.asarray(self.spacing) / self.frame.ratio
        stretch = np.linalg.norm(self.geometry.vertices * step, axis=1)
        reach = (self.stars.dist * stretch).max(axis=1, initial=0.0)
        # What is drawn of a small one may be a whole voxel.
        object.__setattr__(self, "_reach", reach + np.linalg.norm(self.spacing) / 2)
        typical = typical_radius(self.stars, self.names, self.frame, self.geometry, self.spacing)
        object.__setattr__(self, "_typical", typical)

    _reach: NDArray[np.float64] = None  # type: ignore[assignment]
    _typical: float = 0.0

    def paint(self, box: Box) -> NDArray[np.uint32]:
        """Labels of a part of the stack."""
        if not self.model.refine or not (self.names > 0).any():
            return self._draw(box)
        region = self._grown(box)
        labels = self._draw(region)
        if not labels.any():
            return labels[box.slices(region.start)]
        return refine_labels(
            labels,
            self.source[region.slices()],
            spacing=self.spacing,
            typical=self._typical,
            part=box.slices(region.start),
        )

    def _draw(self, box: Box) -> NDArray[np.uint32]:
        return draw_stars(self.stars, self.names, self.frame, self.geometry, box)

    def _grown(self, box: Box) -> Box:
        """A part with all that its outlines depend on."""
        largest = float(self._reach.max())
        region = self._with_margin(box, largest)
        near = find_touching(self.stars, self.frame, region)
        # Large objects elsewhere do not matter here.
        return self._with_margin(box, float(self._reach[near].max(initial=0.0))) if largest else box

    def _with_margin(self, box: Box, radius: float) -> Box:
        if not radius:
            return box
        margin = refining_margin(radius, self.spacing)
        return with_margin(box, margin, self.frame.shape)


def tally(
    labels: NDArray[np.uint32], pixels: NDArray[Any], origin: Sequence[int]
) -> NDArray[np.float64]:
    """What lies of each object in a part of the stack: an (N, 13) array for `sum_up`."""
    rows = []
    for label, box in enumerate(ndimage.find_objects(labels.view(np.int32)), 1):
        if box is None:
            continue
        mask = labels[box] == label
        start = np.array([side.start for side in box]) + origin
        places = np.argwhere(mask) + start
        light = pixels[box][mask].astype(np.float64)
        light = light[np.isfinite(light)]
        stop = np.array([side.stop for side in box]) + origin - 1
        sums = [len(places), *places.sum(axis=0), light.sum()]
        rows.append([label, *sums, *start, *stop, len(light)])
    return np.array(rows, float).reshape(-1, ROW)


def sum_up(rows: NDArray[np.float64], stars: Stars, names: NDArray[np.int64]) -> Drawn:
    """Put the parts of each object together."""
    labels, place = np.unique(rows[:, 0].astype(np.int64), return_inverse=True)
    columns = (1, 2, 3, 4, 5, 12)
    sums = np.stack([np.bincount(place, rows[:, k], len(labels)) for k in columns], axis=1)
    first = np.full((len(labels), 3), np.iinfo(np.int64).max)
    last = np.zeros((len(labels), 3), np.int64)
    np.minimum.at(first, place, rows[:, 6:9].astype(np.int64))
    np.maximum.at(last, place, rows[:, 9:12].astype(np.int64))
    sure = np.zeros(int(names.max(initial=0)) + 1, np.float32)
    sure[names] = stars.prob
    voxels = sums[:, 0]
    return Drawn(
        labels,
        voxels.astype(np.int64),
        sums[:, 1:4] / voxels[:, None],
        np.divide(sums[:, 4], sums[:, 5], out=np.full(len(labels), np.nan), where=sums[:, 5] > 0),
        first,
        last,
        sure[labels],
    )
