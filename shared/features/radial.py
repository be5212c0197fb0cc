"""How intensity is spread between the centre of an object and its border, in 2D and 3D."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poolvox.shared.features.channels import Signal
from poolvox.shared.features.kernels import Floats, Layout, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.options import check_number
from poolvox.shared.features.registry import Feature, register

__all__ = ["RadialOptions", "measure_radial"]

SECTORS = 8
# More shells than this are thinner than the voxels of any object.
MOST_SHELLS = 100


@dataclass(frozen=True)
class RadialOptions:
    """Options of the group `radial`: number of shells between centre and border."""

    shells: int = 4

    def __post_init__(self) -> None:
        """Refuse values that cannot be measured with."""
        check_number("radial.shells", self.shells, least=1, most=MOST_SHELLS)


def describe_radial(ndim: int, options: RadialOptions) -> tuple[Feature, ...]:
    """What the group returns."""
    n = options.shells
    names = tuple(f"{i}of{n}" for i in range(1, n + 1))
    sectors = "octants by the signs of z, y, x" if ndim == 3 else "eighths of a turn"
    where = (
        f"shell floor({n} u), 1 in the middle, u = c / (c + b), c distance to the "
        "centre and b distance to the nearest voxel outside, in micrometres; the "
        "centre is the voxel farthest from the outside (of equals the one nearest "
        "the centroid). CellProfiler measures c along the inside"
    )
    return (
        Feature(
            "FracAtD", "", f"share of the intensity in the shell; {where}", "", "(-inf, inf)", names
        ),
        Feature(
            "MeanFrac",
            "",
            f"FracAtD over the shell's share of the voxels; {where}",
            "",
            "(-inf, inf)",
            names,
        ),
        Feature(
            "RadialCV",
            "",
            (
                "standard deviation over mean of the mean intensities of the shell's "
                f"{SECTORS} {sectors} round the centre, a voxel between some of them being "
                f"divided; {where}"
            ),
            "",
            "[0, inf)",
            names,
        ),
    )


@register("Radial", needs="images", features=describe_radial, options=RadialOptions())
def measure_radial(objects: Objects, signal: Signal, options: RadialOptions) -> dict[str, Floats]:
    """Measure one channel in every object; see `describe_radial` for what and how."""
    n = options.shells
    out = np.empty((len(objects), 3, n))
    objects.reduce(_shells, out, objects.border_distance, signal.values)
    return {"FracAtD": out[:, 0], "MeanFrac": out[:, 1], "RadialCV": out[:, 2]}


@kernel
def coordinates(layout: Layout, k: int) -> Floats:
    """(n, 3) position of every voxel of object `k` in micrometres, from its box's first voxel."""
    place = np.empty((layout.voxels[k + 1] - layout.voxels[k], 3))
    at = 0
    for run in range(layout.runs[k], layout.runs[k + 1]):
        line, x = divmod(layout.start[run], layout.shape[2])
        z, y = divmod(line, layout.shape[1])
        for step in range(layout.length[run]):
            place[at, 0] = (z - layout.box[k, 0]) * layout.spacing[0]
            place[at, 1] = (y - layout.box[k, 2]) * layout.spacing[1]
            place[at, 2] = (x + step - layout.box[k, 4]) * layout.spacing[2]
            at += 1
    return place


@kernel
def innermost(place: Floats, border: Floats) -> int:
    """The voxel farthest from the outside; of equal ones that nearest to the centroid."""
    mid = np.array([place[:, axis].mean() for axis in range(3)])
    best, far, near = 0, -1.0, np.inf
    for i in range(len(border)):
        away = (place[i, 0] - mid[0]) ** 2 + (place[i, 1] - mid[1]) ** 2
        away += (place[i, 2] - mid[2]) ** 2
        if border[i] > far * (1 + 1e-9) or (border[i] >= far * (1 - 1e-9) and away < near - 1e-9):
            best, far, near = i, border[i], away
    return best


@kernel
def _share(third: float, x: float, y: float, sector: int) -> float:
    """How much of a voxel belongs to a sector; one on a border between some is divided."""
    share = 1.0
    for bit, side in ((1, third), (2, x), (4, y)):
        if side == 0:
            share /= 2
        elif (side > 0) != (sector & bit > 0):
            return 0.0
    return share


@kernel
def _shells(
    layout: Layout, border: Floats, values: Floats, out: Floats, start: int, stop: int
) -> None:
    shells = out.shape[2]
    for k in range(start, stop):
        first, last = layout.voxels[k], layout.voxels[k + 1]
        place = coordinates(layout, k)
        centre = place[innermost(place, border[first:last])]
        sums, counts = np.zeros((shells, SECTORS)), np.zeros((shells, SECTORS))
        for i in range(last - first):
            if np.isnan(values[first + i]):
                continue
            z, y, x = place[i, 0] - centre[0], place[i, 1] - centre[1], place[i, 2] - centre[2]
            reach = np.sqrt(z * z + y * y + x * x)
            shell = min(int(shells * reach / (reach + border[first + i])), shells - 1)
            third = abs(y) - abs(x) if layout.flat else z
            if third != 0 and y != 0 and x != 0:
                sector = 4 * (y > 0) + 2 * (x > 0) + (third > 0)
                sums[shell, sector] += values[first + i]
                counts[shell, sector] += 1
                continue
            for sector in range(SECTORS):
                share = _share(third, x, y, sector)
                sums[shell, sector] += share * values[first + i]
                counts[shell, sector] += share
        _summarise(sums, counts, out[k])


@kernel
def _summarise(sums: Floats, counts: Floats, out: Floats) -> None:
    out[:] = np.nan
    total, n = sums.sum(), counts.sum()
    for shell in range(len(sums)):
        inside = counts[shell].sum()
        if total != 0:
            out[0, shell] = sums[shell].sum() / total
            if inside > 0:
                out[1, shell] = out[0, shell] / (inside / n)
        if inside > 0:
            filled = counts[shell] > 0
            means = sums[shell][filled] / counts[shell][filled]
            if means.mean() != 0:
                out[2, shell] = means.std() / abs(means.mean())
