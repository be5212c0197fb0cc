"""The tissue that objects lie in: organoids, lumens and cells, and the distances inside them.

Distances are found once for each organoid, in its own box, and serve positions, thickness and
shape alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.features import Objects, find_objects
from poolvox.shared.features.distances import distance_to_border
from poolvox.shared.features.objects import BORDER
from poolvox.shared.imaging.distance import distance_to

__all__ = ["Body", "Tissue"]

Labels = NDArray[np.integer]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Tissue:
    """Label images of what objects lie in; all (Z, Y, X) and of the objects' shape.

    Parameters
    ----------
    organoids : organoids, lumens filled; 0 outside
    lumens : lumens; 0 elsewhere
    cells : cells that carry the labels of their nuclei
    """

    organoids: Labels
    lumens: Labels | None = None
    cells: Labels | None = None
    _found: dict[tuple[float, ...], tuple[Objects, list[Body]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Refuse images of different shapes."""
        for image in (self.lumens, self.cells):
            if image is not None and image.shape != self.organoids.shape:
                raise InputError(
                    f"tissue images {self.organoids.shape} and {image.shape} must have one shape"
                )

    def objects(self, spacing: Sequence[float]) -> Objects:
        """The organoids as objects."""
        return self._at(spacing)[0]

    def bodies(self, spacing: Sequence[float]) -> list[Body]:
        """The organoids one by one, in ascending order of their labels."""
        return self._at(spacing)[1]

    @cached_property
    def solid(self) -> Labels:
        """(Z, Y, X) labels of the organoids without their lumens."""
        if self.lumens is None:
            return self.organoids
        return np.where(self.lumens > 0, self.organoids.dtype.type(0), self.organoids)

    def share_depth(self, spacing: Sequence[float]) -> None:
        """Let the organoids' own shape use the depths, which are found anyway."""
        objects, bodies = self._at(spacing)
        objects.remember(BORDER, lambda: _border_distances(objects, bodies))

    def release(self) -> None:
        """Give back the memory of what was found; it is found again when it is asked for."""
        self._found.clear()

    def _at(self, spacing: Sequence[float]) -> tuple[Objects, list[Body]]:
        key = tuple(float(step) for step in spacing)
        if key not in self._found:
            objects = find_objects(self.organoids, spacing=key)
            self._found[key] = objects, [Body(self, objects, k) for k in range(len(objects))]
        return self._found[key]


def _border_distances(objects: Objects, bodies: list[Body]) -> NDArray[np.float32]:
    """Depth of every voxel of the organoids in object order, the image's border being outside."""
    layout, shape = objects.layout, np.array(objects.labels.shape)
    out = np.empty(layout.voxels[-1], np.float32)
    for k, body in enumerate(bodies):
        low, high = layout.box[k].reshape(3, 2).T
        if (low > 0).all() and (high < shape).all():
            at = layout.voxels[k]
            # Plane by plane: a mask of the whole would be a copy of all that it lets through.
            for depth, inside in zip(body.depth, body.inside, strict=True):
                plane = depth[inside]
                out[at : at + len(plane)] = plane
                at += len(plane)
        else:
            body.release()
            distance_to_border(layout, out, k, k + 1)
    return out


@dataclass(frozen=True)
class Body:
    """One organoid in its box, which has one voxel of margin as far as the image goes."""

    tissue: Tissue
    organoids: Objects
    row: int

    @property
    def label(self) -> int:
        """Label of the organoid."""
        return int(self.organoids.ids[self.row])

    @property
    def spacing(self) -> NDArray[np.float64]:
        """(3,) micrometres per voxel."""
        return self.organoids.spacing

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """Where the box lies in the image."""
        ends = self.organoids.layout.box[self.row].reshape(3, 2).tolist()
        shape = self.organoids.labels.shape
        return tuple(slice(max(a - 1, 0), min(b + 1, n)) for (a, b), n in zip(ends, shape))

    @property
    def origin(self) -> NDArray[np.int64]:
        """(3,) first voxel of the box."""
        return np.array([side.start for side in self.box])

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) centroid, voxels."""
        centre: NDArray[np.float64] = self.organoids.centroids[self.row]
        return centre

    @cached_property
    def deepest(self) -> float:
        """Largest depth in it, micrometres."""
        return float(self.depth.max())

    @cached_property
    def inside(self) -> Mask:
        """The organoid, lumens filled."""
        inside: Mask = self.tissue.organoids[self.box] == self.label
        return inside

    @cached_property
    def hollow(self) -> Mask | None:
        """Its lumens; None where it has none."""
        if self.tissue.lumens is None:
            return None
        hollow = self.inside & (self.tissue.lumens[self.box] > 0)
        return hollow if hollow.any() else None

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """Micrometres to the surface; NaN where there is none, the image being all organoid.

        Where the border of the image cuts the organoid there is no surface.
        """
        depth = distance_to(~self.inside, spacing=self.spacing.tolist())
        depth[np.isinf(depth)] = np.nan
        return depth

    @cached_property
    def lumen_distance(self) -> NDArray[np.float32] | None:
        """Micrometres to the lumen; None where there is none."""
        hollow = self.hollow
        return None if hollow is None else distance_to(hollow, spacing=self.spacing.tolist())

    def release(self) -> None:
        """Give back the memory of masks and distances; they are found again when asked for."""
        for name in ("inside", "hollow", "depth", "lumen_distance"):
            self.__dict__.pop(name, None)
