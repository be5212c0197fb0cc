"""Grey-level co-occurrence in 2D and 3D at distances in micrometres.

A distance is the same in every direction: the step of a direction is the vector of the grid that
is nearest to `distance` micrometres along it. Directions that the grid cannot tell apart at that
distance (a z step larger than it) are counted once, so a stack with coarse z is not measured twice
in the plane, nor compared over several z planes as if they were next to each other.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.features.kernels import Floats, Ints, Layout, box_values, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.surface import directions

__all__ = ["MEASURES", "co_occurrence", "steps_at"]

MEASURES = (
    "AngularSecondMoment",
    "Contrast",
    "Correlation",
    "JointVariance",
    "InverseDifferenceMoment",
    "SumAverage",
    "SumVariance",
    "SumEntropy",
    "Entropy",
    "DifferenceAverage",
    "DifferenceVariance",
    "DifferenceEntropy",
    "Information1",
    "Information2",
    "JointMaximum",
)

Counts: TypeAlias = NDArray[np.int32]
Margins: TypeAlias = tuple[Ints, Ints, Ints]

OUTSIDE = -1
# Whole numbers whose n log2 n is kept in a table.
TABLE = 4096
# Variances and entropies below this are rounding.
ROUNDING = 1e-12


class _Plan(NamedTuple):
    """What is counted in every object.

    Attributes
    ----------
    steps : (S, 3) voxels, those of one distance after the other
    ends : (distances + 1,) where the steps of each distance begin and end
    levels : most grey levels
    width : of a level in intensity; 0: as many levels as there may be, between least and greatest
    logs : n log2 n of small whole numbers
    """

    steps: Ints
    ends: Ints
    levels: int
    width: float
    logs: Floats


def steps_at(distance: float, spacing: Floats, ndim: int) -> Ints:
    """(D, 3) steps in voxels, each the nearest to `distance` micrometres along its direction.

    Examples
    --------
    >>> len(steps_at(1.0, np.array([1.0, 1.0, 1.0]), 3))
    13
    >>> len(steps_at(1.0, np.array([5.0, 1.0, 1.0]), 3))
    4
    """
    found: dict[tuple[int, ...], None] = {}
    for direction in directions(ndim):
        unit = np.array(direction) / np.linalg.norm(direction)
        step = np.floor(np.abs(unit) * distance / spacing + 0.5) * np.sign(unit)
        key = tuple(int(s) for s in step)
        if any(key) and tuple(-s for s in key) not in found:
            found[key] = None
    return np.array(list(found), dtype=np.int64).reshape(-1, 3)


def co_occurrence(
    objects: Objects,
    values: Floats,
    distances: tuple[float, ...],
    *,
    levels: int,
    bin_width: float | None = None,
) -> Floats:
    """Mean and range over directions of every measure, (K, distances, 2, measures).

    Parameters
    ----------
    values : (N,) in object order; NaN takes no part
    distances : micrometres
    levels : grey levels between the object's least and greatest value
    bin_width : width of a grey level counted from the object's least value, instead of `levels`;
        values beyond `levels` of them share the last
    """
    steps = [steps_at(d, objects.layout.spacing, objects.ndim) for d in distances]
    ends = np.cumsum([0, *(len(s) for s in steps)])
    out = np.full((len(objects), len(distances), 2, len(MEASURES)), np.nan)
    table = np.concatenate([np.empty((0, 3), np.int64), *steps])
    plan = _Plan(table, ends, levels, 0.0 if bin_width is None else float(bin_width), _n_log_n())
    return objects.reduce(_co_occurrence, out, values, plan)


@kernel
def _quantise(box: Floats, levels: int, width: float) -> NDArray[np.int16]:
    grey = np.full(box.shape, OUTSIDE, np.int16)
    least, greatest = np.inf, -np.inf
    for value in box.reshape(-1):
        if not np.isnan(value):
            least, greatest = min(least, value), max(greatest, value)
    scale = 1 / width if width > 0 else 0.0
    if width == 0 and greatest > least:
        scale = levels / (greatest - least)
    flat, source = grey.reshape(-1), box.reshape(-1)
    for i in range(flat.size):
        if not np.isnan(source[i]):
            flat[i] = int(min((source[i] - least) * scale, float(levels - 1)))
    return grey


@kernel
def _count(grey: NDArray[np.int16], step: Ints, bits: int, counts: Counts, cells: Counts) -> int:
    """Count pairs of grey levels in whatever order; how many different ones there are.

    The pair of `a` and the lower `b` is counted at `a << bits | b`. The places that were counted
    at are listed in `cells`, so that nobody has to look through all of them: an object has far
    fewer pairs than there are pairs of levels.
    """
    depth, height, width = grey.shape
    dz, dy, dx = step
    found, columns = 0, width - abs(dx)
    near, far = max(0, -dx), max(0, dx)
    for z in range(max(0, -dz), depth - max(0, dz)):
        for y in range(max(0, -dy), height - max(0, dy)):
            here = grey[z, y, near : near + columns]
            there = grey[z + dz, y + dy, far : far + columns]
            for x in range(columns):
                a, b = np.int64(here[x]), np.int64(there[x])
                if min(a, b) < 0:
                    continue
                at = max(a, b) << bits | min(a, b)
                if counts[at] == 0:
                    cells[found] = at
                    found += 1
                counts[at] += 1
    return found


def _n_log_n() -> Floats:
    counts = np.arange(TABLE, dtype=np.float64)
    return np.asarray(counts * np.log2(np.maximum(counts, 1)))


@kernel
def _entropy(counts: Ints, total: float, logs: Floats) -> float:
    """Entropy in bits of whole numbers; logarithms of small ones are looked up."""
    sum_ = 0.0
    for n in counts:
        # No question whether n is 0, which could not be foreseen: its n log n is 0.
        sum_ += logs[n] if n < len(logs) else n * np.log2(n)
    entropy: float = np.log2(total) - sum_ / total
    return entropy


@kernel
def _moments(counts: Ints) -> tuple[float, float]:
    """Mean and variance of the index, from sums of whole numbers, which are exact."""
    n, first, second = 0, 0, 0
    for i in range(len(counts)):
        n += counts[i]
        first += i * counts[i]
        second += i * i * counts[i]
    mean = first / n
    return mean, (second - mean * first) / n


@kernel
def _describe(
    counts: Counts, cells: Counts, bits: int, margins: Margins, logs: Floats, out: Floats
) -> None:
    """Measures of the symmetric matrix of the pairs in `cells`; `counts` is left all 0."""
    single, plus, minus = margins
    single[:], plus[:], minus[:] = 0, 0, 0
    half, square, top, sum_ = np.int64(0), np.int64(0), np.int64(0), 0.0
    mask = (1 << bits) - 1
    for at in cells:
        a, b = np.int64(at) >> bits, np.int64(at) & mask
        n = np.int64(counts[at])
        counts[at] = 0
        # A pair of different levels stands on both sides of the diagonal, others twice on it.
        n, both = (np.int64(2) * n, 1) if a == b else (n, 2)
        single[a] += n
        single[b] += n if a != b else 0
        plus[a + b] += both * n
        minus[a - b] += both * n
        half += both * n
        square += both * n * n
        sum_ += both * (logs[n] if n < len(logs) else n * np.log2(n))
        top = n if n > top else top
    total = float(half)
    mean, variance = _moments(single)
    spread, out[10] = _moments(minus)
    out[5], out[6] = _moments(plus)
    entropy, alone = np.log2(total) - sum_ / total, _entropy(single, total, logs)
    out[0], out[1] = square / (total * total), out[10] + spread * spread
    # Levels all equal: variance is rounding, and nothing correlates.
    # The mean of a b, from those of (a + b)^2 and (a - b)^2.
    product = (out[6] + out[5] * out[5] - out[1]) / 4
    out[2] = (product - mean * mean) / variance if variance > ROUNDING else np.nan
    out[3], out[4] = variance, 0.0
    for d in range(len(minus)):
        out[4] += minus[d] / (1.0 + d * d)
    out[4] /= total
    # Levels count from 1, as in the standard.
    out[5] += 2
    out[7], out[11] = _entropy(plus, total, logs), _entropy(minus, total, logs)
    out[8], out[9] = entropy, spread
    out[12] = (entropy - 2 * alone) / alone if alone > ROUNDING else np.nan
    out[13] = np.sqrt(max(1 - np.exp(-2 * (2 * alone - entropy)), 0.0))
    out[14] = top / total


@kernel
def _margins(levels: int) -> Margins:
    """Room for the sums over levels, over their sums and over their differences."""
    return (
        np.empty(levels, np.int64),
        np.empty(2 * levels - 1, np.int64),
        np.empty(levels, np.int64),
    )


@kernel
def _over_directions(
    grey: NDArray[np.int16], steps: Ints, room: tuple[Counts, Counts], logs: Floats, out: Floats
) -> None:
    """Mean and range of every measure over the directions that have pairs, (2, measures)."""
    counts, cells = room
    levels, bits = grey.max() + 1, 0
    while 1 << bits < levels:
        bits += 1
    margins, found = _margins(levels), np.empty(out.shape[1])
    n, mean = np.zeros(len(found)), np.zeros(len(found))
    low, high = np.full(len(found), np.inf), np.full(len(found), -np.inf)
    for step in range(len(steps)):
        pairs = _count(grey, steps[step], bits, counts, cells)
        if pairs == 0:
            continue
        _describe(counts, cells[:pairs], bits, margins, logs, found)
        for i in range(len(found)):
            if not np.isnan(found[i]):
                n[i] += 1
                mean[i] += found[i]
                low[i], high[i] = min(low[i], found[i]), max(high[i], found[i])
    for i in range(len(found)):
        if n[i] > 0:
            out[0, i], out[1, i] = mean[i] / n[i], high[i] - low[i]


@kernel
def _co_occurrence(
    layout: Layout, values: Floats, plan: _Plan, out: Floats, start: int, stop: int
) -> None:
    side = 1
    while side < plan.levels:
        side *= 2
    most = plan.levels * (plan.levels + 1) // 2
    room = np.zeros(side * side, np.int32), np.empty(most, np.int32)
    for k in range(start, stop):
        grey = _quantise(box_values(layout, k, values, np.nan, 0), plan.levels, plan.width)
        if grey.max() < 0:
            continue
        for scale in range(len(plan.ends) - 1):
            steps = plan.steps[plan.ends[scale] : plan.ends[scale + 1]]
            _over_directions(grey, steps, room, plan.logs, out[k, scale])
