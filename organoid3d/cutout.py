"""Stacks that were cut out along an organoid: seen as such, and filled to the level of its edge.

Programs that crop organoids set all voxels beyond their mask to one value. The edge of the mask is
then stronger than that of most nuclei, and haze that it bounds looks like a nucleus. With the
level of the tissue at the cut in place of that value the edge is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["CutOut", "find_cut"]

# A stack whose darkest value fills less than this part was not cut out.
LEAST_PART = 0.1
# Where dark voxels were merely clipped, the next values follow at once. Behind a cut there is a
# gap: the first percentile of the tissue lies above this part of its median.
GAP = 0.2
# The edge of a cut runs through dim tissue: its median lies below this part of the bright, else
# what was cut out are the nuclei themselves, and the rest is their background.
DIM = 0.35
BRIGHT = 99.0
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
    level : of the tissue along the cut, taken for them
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


def find_cut(slabs: Slabs) -> CutOut | None:
    """Tell whether a stack was cut out, and along what; None where it was not.

    Parameters
    ----------
    slabs : gives the (Z, Y, X) parts of the stack, finite, in order, each time it is called

    Examples
    --------
    >>> y, x = np.indices((60, 60)) - 30
    >>> tissue = 100 + 900 * np.exp(-(x**2 + y**2) / 50) + (x + y) % 7
    >>> stack = np.where(np.hypot(y, x) < 20, tissue, 0)[None]
    >>> find_cut(lambda: [stack]).level
    105.0
    """
    lowest, count, voxels = np.inf, 0, 0
    for slab in slabs():
        least = float(slab.min())
        here = int(np.count_nonzero(slab == least))
        count = here if least < lowest else count + here * (least == lowest)
        lowest, voxels = min(lowest, least), voxels + slab.size
    if count <= LEAST_PART * voxels or count == voxels:
        return None
    tissue, edge = (np.concatenate(parts) for parts in zip(*_levels(slabs, lowest), strict=True))
    if not len(edge):
        return None
    first, typical, bright = np.percentile(tissue - lowest, (1, 50, BRIGHT))
    level = float(np.median(edge))
    if first < GAP * typical or level - lowest > DIM * bright:
        return None
    return CutOut(lowest, level, count / voxels)


def _levels(
    slabs: Slabs, lowest: float
) -> Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Values of the tissue, and of its edge, of each slab."""
    for slab in slabs():
        beyond = slab == lowest
        edge = slab[ndimage.binary_dilation(beyond, BESIDE) & ~beyond]
        yield _some(slab[~beyond]), _some(edge)


def _some(values: NDArray[Any]) -> NDArray[np.float32]:
    """A sample, evenly taken."""
    return np.asarray(values[:: -(-len(values) // SAMPLE) or 1], np.float32)
