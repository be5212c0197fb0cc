"""Tissue that is known on coarser voxels than its stack, as it looks in a part of the stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.blocks import Box
from poolvox.organoid3d.tissue import Body, Tissue

__all__ = ["BodyPart", "SpreadTissue", "TissuePart"]

Labels = NDArray[np.integer]


@dataclass(frozen=True)
class SpreadTissue:
    """Organoids and lumens on a view of a stack.

    Parameters
    ----------
    tissue : on the voxels of the view
    factors : voxels of the stack per voxel of the view
    spacing : (3,) of the stack, micrometres
    """

    tissue: Tissue
    factors: tuple[int, int, int]
    spacing: NDArray[np.float64]

    @property
    def wide(self) -> NDArray[np.float64]:
        """(3,) micrometres per voxel of the view."""
        return self.spacing * self.factors

    @property
    def start(self) -> NDArray[np.float64]:
        """(3,) where the middle of the view's first voxel lies, in voxels of the stack."""
        return (np.array(self.factors) - 1) / 2

    def within(self, box: Box, cells: Labels) -> TissuePart:
        """The tissue in a part of the stack; `cells` are those of the part."""
        return TissuePart(self, box, cells)

    @cached_property
    def bodies(self) -> list[Body]:
        """The organoids on the view."""
        return self.tissue.bodies(self.wide.tolist())


@dataclass(frozen=True)
class TissuePart:
    """A part of the tissue, on the voxels of the stack; stands in for `Tissue` there."""

    whole: SpreadTissue
    box: Box
    cells: Labels

    @cached_property
    def organoids(self) -> Labels:
        """(z, y, x) labels, lumens filled."""
        return self._spread(self.whole.tissue.organoids)

    @cached_property
    def solid(self) -> Labels:
        """(z, y, x) labels without lumens."""
        return self._spread(self.whole.tissue.solid)

    def bodies(self, spacing: Sequence[float]) -> list[BodyPart]:
        """The organoids that reach into the part."""
        del spacing  # they have that of their stack
        there = set(np.unique(self.organoids).tolist())
        return [BodyPart(body, self) for body in self.whole.bodies if body.label in there]

    def _spread(self, labels: Labels) -> Labels:
        index = [
            np.arange(a, b) // f
            for a, b, f in zip(self.box.start, self.box.stop, self.whole.factors)
        ]
        return labels[np.ix_(*index)]


@dataclass(frozen=True)
class BodyPart:
    """An organoid as far as it lies in a part of the stack; stands in for `Body` there."""

    body: Body
    part: TissuePart

    @property
    def label(self) -> int:
        """Label of the organoid."""
        return self.body.label

    @property
    def deepest(self) -> float:
        """Largest depth in the whole organoid, micrometres."""
        return self.body.deepest

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) centroid of the whole organoid, in voxels from the part's first."""
        whole = self.part.whole
        return self.body.centre * whole.factors + whole.start - self.part.box.start

    @cached_property
    def _ends(self) -> list[tuple[int, int]]:
        """First voxel, and the first beyond, of what its box shares with the part."""
        factors = self.part.whole.factors
        return [
            (max(side.start * f, a), min(side.stop * f, b))
            for side, f, a, b in zip(
                self.body.box, factors, self.part.box.start, self.part.box.stop, strict=True
            )
        ]

    @property
    def origin(self) -> NDArray[np.int64]:
        """(3,) first voxel of the fields, from the part's first."""
        low = [low - first for (low, _), first in zip(self._ends, self.part.box.start)]
        return np.array(low, np.int64)

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """Micrometres to the surface of the whole organoid."""
        return self._field(self.body.depth)

    @cached_property
    def lumen_distance(self) -> NDArray[np.float32] | None:
        """Micrometres to the lumen; None where there is none."""
        away = self.body.lumen_distance
        return None if away is None else self._field(away)

    def _field(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        index = [
            np.arange(low, high) // f - side.start
            for (low, high), f, side in zip(
                self._ends, self.part.whole.factors, self.body.box, strict=True
            )
        ]
        return values[np.ix_(*index)]
