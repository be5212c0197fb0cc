"""Levels of stacks in which next to nothing shines: a few nuclei in a wide empty field.

Percentiles and thresholds of such a stack are those of its noise. They are taken round what is
bright instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.imaging.distance import distance_to

__all__ = ["lit_surroundings"]

# Where less than this part is bright, the rest is no measure of it.
FEW = 0.005
# Percentiles of the empty field, which fills at least a quarter; in normal noise they lie this many
# standard deviations below its mean.
FIELD, BELOW = (2.0, 25.0), (2.054, 0.674)
# Bright is what exceeds the field by so many standard deviations.
STANDS_OUT = 6.0
# Voxels that tell of the field.
SAMPLE = 500_000
# What is looked at round bright places, micrometres.
AROUND = 10.0


def lit_surroundings(
    stack: NDArray[np.floating], spacing: Sequence[float]
) -> NDArray[np.bool_] | None:
    """Where levels are to be taken, if not in all of the stack.

    Parameters
    ----------
    stack : (Z, Y, X) array, finite, on voxels of about a micrometre
    spacing : micrometres

    Returns
    -------
    (Z, Y, X) mask of what lies round bright places; None where these are many, or none

    Examples
    --------
    >>> stack = np.random.default_rng(0).normal(100, 5, (20, 80, 80))
    >>> stack[8:12, 20:28, 20:28] += 400
    >>> bool(0.01 < lit_surroundings(stack, (1, 1, 1)).mean() < 0.1)
    True
    >>> lit_surroundings(stack[:, :50, :50], (1, 1, 1)) is None
    True
    """
    some = stack.reshape(-1)[:: max(stack.size // SAMPLE, 1)]
    low, quarter = np.percentile(some, FIELD)
    noise = (quarter - low) / (BELOW[0] - BELOW[1])
    bright = stack > quarter + (BELOW[1] + STANDS_OUT) * noise
    if not 0 < np.count_nonzero(bright) < FEW * stack.size:
        return None
    around: NDArray[np.bool_] = distance_to(bright, spacing=list(spacing)) <= AROUND
    return around
