"""Granularity: how much of an object's intensity is in grains of each size, in 2D and 3D.

Grains are removed by opening with balls of growing radius in micrometres, followed by
reconstruction, so that what is wider than the ball keeps its outline. It is done inside the
object alone, on what lies above its least value: neighbours and cuts have no part in it, the
spectrum sums to at most 100, and neither gain nor offset of the camera changes it. A ball is a
set of runs along x at every (z, y), so its radius is physical along z whatever the spacing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.features.channels import Signal
from poolvox.shared.features.kernels import (
    Floats,
    Ints,
    Layout,
    Singles,
    box_mask,
    box_values,
    kernel,
)
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.options import check_ladder
from poolvox.shared.features.registry import Feature, register

__all__ = ["GranularityOptions", "measure_granularity"]

# A voxel whose centre is on the sphere belongs to the ball, rounding or not.
ON_SPHERE = 1e-9


@dataclass(frozen=True)
class GranularityOptions:
    """Options of the group `granularity`: radii of the balls in micrometres, growing."""

    radii_um: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)

    def __post_init__(self) -> None:
        """Refuse values that cannot be measured with."""
        check_ladder("granularity.radii_um", self.radii_um)


def describe_granularity(ndim: int, options: GranularityOptions) -> tuple[Feature, ...]:
    """What the group returns."""
    radii = tuple(f"{radius:g}um" for radius in options.radii_um)
    shape = "ball" if ndim == 3 else "disk"
    return (
        Feature(
            "Spectrum",
            "%",
            (
                "100 (mean of opening k-1 - mean of opening k) / mean, of what is above "
                f"the object's least value; opening k: erosion by a {shape} of the radius, "
                "then reconstruction through faces, inside the object alone. CellProfiler "
                "works on the whole image, on a smaller copy of it, with radii in pixels "
                "and its background taken off by a large opening; in 3D the radius here is "
                "physical along z as well. 0 where the radius is below the spacing; NaN "
                "when constant"
            ),
            "doi:10.1002/cyto.a.20811",
            "[0, 100]",
            radii,
        ),
    )


@register(
    "Granularity", needs="images", features=describe_granularity, options=GranularityOptions()
)
def measure_granularity(
    objects: Objects, signal: Signal, options: GranularityOptions
) -> dict[str, Floats]:
    """Measure one channel in every object; see `describe_granularity` for what and how."""
    balls = [_ball(radius, objects.layout.spacing, objects.ndim) for radius in options.radii_um]
    ends = np.cumsum([0, *(len(ball) for ball in balls)])
    lines = np.concatenate([np.empty((0, 3), np.int64), *balls])
    out = np.full((len(objects), len(balls)), np.nan)
    return {"Spectrum": objects.reduce(_spectra, out, signal.values, signal.order, (lines, ends))}


def _ball(radius: float, spacing: Floats, ndim: int) -> Ints:
    """(L, 3) half-length along x, and place in z and y, of the lines of a ball's first quarter.

    The other lines are their mirror images; short lines come first.
    """
    reach = np.floor(radius / spacing + ON_SPHERE).astype(np.int64)
    reach[0] = reach[0] if ndim == 3 else 0
    z, y = np.meshgrid(*(np.arange(r + 1) for r in reach[:2]), indexing="ij")
    left = radius**2 * (1 + ON_SPHERE) - (z * spacing[0]) ** 2 - (y * spacing[1]) ** 2
    half = np.floor(np.sqrt(np.maximum(left, 0)) / spacing[2] + ON_SPHERE).astype(np.int64)
    lines = np.stack([half, z, y], axis=-1)[left >= 0]
    return np.asarray(lines[np.argsort(lines[:, 0], kind="stable")])


@kernel
def _widen(rows: Singles, wider: Singles) -> None:
    """Least value of every place and its two neighbours along x."""
    for y in range(len(rows)):
        row, into = rows[y], wider[y]
        last = len(row) - 1
        for x in range(1, last):
            into[x] = min(row[x], min(row[x - 1], row[x + 1]))
        into[0], into[last] = min(row[0], row[min(1, last)]), min(row[last], row[max(last - 1, 0)])


@kernel
def _lower(values: Singles, by: Singles) -> None:
    for i in range(len(values)):
        values[i] = min(values[i], by[i])


@kernel
def _erode(box: Singles, lines: Ints, eroded: Singles) -> None:
    """Least value within the ball round every voxel; outside is infinite and takes no part.

    `lines` as `_ball` gives them. A plane after the other is eroded by the ball's lines, each
    plane of the ball by itself; that is then laid on the planes above and below. Windows along x
    grow from one half-length to the next, and rows follow each other in memory, so that a line
    moved in y is one long loop.
    """
    depth, height, width = box.shape
    layers = min(lines[:, 1].max() + 1, depth)
    eroded[:] = np.inf
    window, wider = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    parts = np.empty((layers, height * width), np.float32)
    for z in range(depth):
        window[:] = box[z]
        parts[:] = np.inf
        reached = 0
        for half, dz, dy in lines:
            while reached < min(half, width):
                _widen(window, wider)
                window, wider = wider, window
                reached += 1
            if dz < depth and dy < height:
                part, flat, jump = parts[dz], window.reshape(-1), dy * width
                _lower(part[: len(part) - jump], flat[jump:])
                if dy:
                    _lower(part[jump:], flat[: len(flat) - jump])
        for dz in range(layers):
            if z >= dz:
                _lower(eroded[z - dz].reshape(-1), parts[dz])
            if dz and z + dz < depth:
                _lower(eroded[z + dz].reshape(-1), parts[dz])


@kernel
def _tree(mask: Singles, seq: Ints) -> Ints:
    """Max-tree of a box: which voxel each one joins as the level comes down.

    `seq` are the object's voxels from the brightest to the darkest, as flat indices into `mask`,
    which has a voxel of margin (none in z of a plane). The answer is by place in `seq`; the last
    voxel of each connected part (through faces) is its own parent.
    Berger et al. 2007, doi:10.1109/ICIP.2007.4379949.
    """
    depth, height, width = mask.shape
    deep = height * width if depth > 1 else 1
    place = np.full(mask.size, -1, np.int32)
    root, parent = np.empty(len(seq), np.int64), np.empty(len(seq), np.int64)
    for at in range(len(seq)):
        place[seq[at]] = root[at] = parent[at] = at
        for step in (1, -1, width, -width, deep, -deep):
            near = place[seq[at] + step]
            if near < 0:
                continue
            while root[near] != near:
                root[near] = root[root[near]]
                near = root[near]
            root[near] = parent[near] = at
    return parent


@kernel
def _reconstruct(level: Singles, parent: Ints, marker: Singles) -> float:
    """Sum of the marker grown under the mask through faces, along the max-tree.

    All are by place in the tree, brightest first; `level` is the mask. `marker` is used up.
    """
    for at in range(len(parent)):
        if marker[at] > marker[parent[at]]:
            marker[parent[at]] = marker[at]
    total = 0.0
    for at in range(len(parent) - 1, -1, -1):
        grown = max(min(level[at], marker[at]), marker[parent[at]])
        marker[at] = grown if parent[at] != at else min(level[at], marker[at])
        total += marker[at]
    return total


@kernel
def _spectra(
    layout: Layout,
    values: Floats,
    order: NDArray[np.int32],
    balls: tuple[Ints, Ints],
    out: Floats,
    start: int,
    stop: int,
) -> None:
    lines, ends = balls
    for k in range(start, stop):
        box, total = _above_least(box_values(layout, k, values, np.nan, 1))
        if total == 0:
            continue
        seq = _brightest_first(layout, k, box, order)
        parent = _tree(box, seq)
        flat, level = box.reshape(-1), np.empty(len(seq), np.float32)
        marker = np.empty_like(level)
        for at in range(len(seq)):
            level[at] = flat[seq[at]]
        before, eroded = total, np.empty_like(box)
        for radius in range(len(ends) - 1):
            here = 0.0
            if before > 0:
                _erode(box, lines[ends[radius] : ends[radius + 1]], eroded)
                least = eroded.reshape(-1)
                for at in range(len(seq)):
                    marker[at] = least[seq[at]]
                here = _reconstruct(level, parent, marker)
            # Openings shrink as balls grow, but for the grid's roundness of small balls.
            out[k, radius] = 100 * max(before - here, 0.0) / total
            before = min(here, before)


@kernel
def _brightest_first(layout: Layout, k: int, box: Singles, order: NDArray[np.int32]) -> Ints:
    """Flat indices into the padded box of the object's voxels that are measured."""
    inside, count = np.empty(layout.voxels[k + 1] - layout.voxels[k], np.int64), 0
    for at, covered in enumerate(box_mask(layout, k, 1).reshape(-1)):
        if covered:
            inside[count] = at
            count += 1
    flat = box.reshape(-1)
    seq, size = np.empty(count, np.int64), 0
    for at in order[layout.voxels[k] : layout.voxels[k + 1]][::-1]:
        if not np.isinf(flat[inside[at]]):
            seq[size] = inside[at]
            size += 1
    return seq[:size]


@kernel
def _above_least(values: Floats) -> tuple[Singles, float]:
    """Values above the object's least, infinite outside, and their sum."""
    least, total = np.inf, 0.0
    for value in values.reshape(-1):
        if not np.isnan(value):
            least = min(least, value)
    box = np.full(values.shape, np.float32(np.inf))
    into, flat = box.reshape(-1), values.reshape(-1)
    for i in range(flat.size):
        if not np.isnan(flat[i]):
            into[i] = flat[i] - least
            total += into[i]
    return box, total
