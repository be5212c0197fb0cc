"""Stacks that were cut out along an organoid: seen as such, and filled to the level of its edge.

Programs that crop organoids set all voxels beyond their mask to one value. The edge of the mask is
then stronger than that of most nuclei, and haze that it bounds looks like a nucleus. With the
level of the tissue at the cut in place of that value the edge is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["CutOut", "Darkest", "find_cut"]

# A stack whose darkest value fills less than this part was not cut out.
LEAST_PART = 0.1
# Where dark voxels were merely clipped, the next values follow at once. Behind a cut there is a
# gap: the first percentile of the tissue lies above this part of its median.
GAP = 0.2
# The edge of a cut runs through dim tissue: its median lies below this part of the bright, else
# what was cut out may be the nuclei themselves. No more contrast than this is lost by an error.
DIM = 0.25
BRIGHT = 99.0
# Percentile of the edge that all beyond the cut is taken for. Where tissue is darker than that, the
# edge is that of a hollow, which no method takes for a nucleus; where it is brighter, of a blob.
EDGE = 75.0
# Voxels that tell levels, per slab.
SAMPLE = 500_000
# The neighbours of a voxel in its plane.
BESIDE = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], bool)

Slabs = Callable[[], Iterable[NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class CutOut:
    """How a stack was cut out.

    Attributes
    ----------
    value : of all voxels beyond the cut
    level : of the brighter tissue along the cut, taken for them
    part : of the stack that lies beyond
    """

    value: float
    level: float
    part: float

    def filled(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Any part of the stack with the cut filled, a copy."""
        stack = np.array(pixels, np.float32)
        stack[stack == np.float32(self.value)] = self.level
        return stack


class Darkest:
    """The darkest value of a stack that is seen part by part, and how often it was there."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._value, self._count, self._voxels = np.inf, 0, 0

    def add(self, slab: NDArray[Any]) -> None:
        """See another part; finite."""
        least = float(slab.min())
        if least <= self._value:
            here = int(np.count_nonzero(slab == least))
            self._count = here + (self._count if least == self._value else 0)
            self._value = least
        self._voxels += slab.size

    def cut(self, slabs: Slabs) -> CutOut | None:
        """Tell whether the stack was cut out; the parts are asked for anew only if it may be."""
        if not LEAST_PART * self._voxels < self._count < self._voxels:
            return None
        parts = list(_levels(slabs(), self._value))
        tissue, edge = (np.concatenate(values) for values in zip(*parts, strict=True))
        if not len(edge):
            return None
        first, typical, bright = np.percentile(tissue, (1, 50, BRIGHT)) - self._value
        if first < GAP * typical or float(np.median(edge)) - self._value > DIM * bright:
            return None
        level = float(np.percentile(edge, EDGE))
        return CutOut(self._value, level, self._count / self._voxels)


def find_cut(stack: NDArray[Any]) -> CutOut | None:
    """Tell whether a finite (Z, Y, X) stack was cut out; None where it was not.

    Examples
    --------
    >>> y, x = np.indices((60, 60)) - 30
    >>> tissue = 100 + 900 * np.exp(-(x**2 + y**2) / 50) + (x + y) % 7
    >>> round(find_cut(np.where(np.hypot(y, x) < 20, tissue, 0)[None]).level)
    105
    """
    darkest = Darkest()
    darkest.add(stack)
    return darkest.cut(lambda: [stack])


def _levels(
    slabs: Iterable[NDArray[Any]], lowest: float
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Values of the tissue, and of its edge, of each slab."""
    for slab in slabs:
        beyond = slab == lowest
        edge = slab[ndimage.binary_dilation(beyond, BESIDE) & ~beyond]
        yield _some(slab[~beyond]), _some(edge)


def _some(values: NDArray[Any]) -> NDArray[np.float32]:
    """A sample, evenly taken."""
    return np.asarray(values[:: max(-(-len(values) // SAMPLE), 1)], np.float32)
