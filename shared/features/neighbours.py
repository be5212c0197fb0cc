"""Which objects lie next to which: touching ones, and the two closest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from poolvox.shared.features.kernels import Floats, Ints, Layout, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.options import check_number
from poolvox.shared.features.registry import Feature, register

__all__ = ["NeighboursOptions", "measure_closest", "measure_neighbours"]

# Candidates for the two closest: more than two, so that equal distances are decided by label.
CANDIDATES = 8


@dataclass(frozen=True)
class NeighboursOptions:
    """Options of the group `neighbours`: largest gap of objects that touch; 0 for a shared face."""

    gap_um: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be measured with."""
        check_number("neighbours.gap_um", self.gap_um)


def describe_neighbours(ndim: int, options: NeighboursOptions) -> tuple[Feature, ...]:
    """What the group returns; all of it depends on what else is in the image."""
    gap = (
        "a voxel with a face on something else and one of another object share a "
        f"face or are at most {options.gap_um:g} um apart, centre to centre"
    )
    centre = "between centres"
    return (
        Feature("Touching", "count", f"number of other objects that touch: {gap}", "", "[0, inf)"),
        Feature(
            "FractionTouching",
            "",
            (f"share of the voxels with a face on something else that touch another object: {gap}"),
            "",
            "[0, 1]",
        ),
        Feature(
            "FirstDistance_um",
            "um",
            f"to the closest object, {centre}; NaN if alone",
            "",
            "[0, inf)",
        ),
        Feature(
            "SecondDistance_um",
            "um",
            f"to the second closest object, {centre}; NaN if there is none",
            "",
            "[0, inf)",
        ),
        Feature(
            "Angle_degree",
            "degree",
            ("between the directions to the two closest objects; NaN if there are not two"),
            "",
            "[0, 180]",
        ),
    )


@register("Neighbours", features=describe_neighbours, options=NeighboursOptions())
def measure_neighbours(objects: Objects, options: NeighboursOptions) -> dict[str, Floats]:
    """Measure the neighbourhood of every object; see `describe_neighbours`."""
    labels = objects.labels.view(f"u{objects.labels.dtype.itemsize}")
    steps = _steps(options.gap_um, objects.layout.spacing, objects.ndim)
    touching = objects.reduce(_touching, np.empty((len(objects), 2)), labels, steps)
    closest = measure_closest(objects.centroids * objects.spacing)
    return {"Touching": touching[:, 0], "FractionTouching": touching[:, 1], **closest}


def measure_closest(points: Floats) -> dict[str, Floats]:
    """What the group says of the two closest objects, from the centres (K, ndim), micrometres."""
    distances, angle = _closest(points)
    return {
        "FirstDistance_um": distances[:, 0],
        "SecondDistance_um": distances[:, 1],
        "Angle_degree": angle,
    }


def _steps(gap: float, spacing: Floats, ndim: int) -> Ints:
    """Steps to the faces, six (four) of them first, then all within the gap."""
    faces = [
        tuple(int(s) for s in sign * np.eye(3)[axis])
        for axis in range(3 - ndim, 3)
        for sign in (-1, 1)
    ]
    reach = [int(gap / s + 1e-9) for s in spacing]
    reach[0] = reach[0] if ndim == 3 else 0
    near = product(*(range(-r, r + 1) for r in reach))
    within = [d for d in near if 0 < np.linalg.norm(np.array(d) * spacing) <= gap * (1 + 1e-9)]
    return np.array(faces + [d for d in within if d not in faces], dtype=np.int64)


def _closest(points: Floats) -> tuple[Floats, Floats]:
    """Distances (K, 2) to the two closest points and the angle between them, NaN where missing."""
    count = len(points)
    distances, angle = np.full((count, 2), np.nan), np.full(count, np.nan)
    if count < 2:
        return distances, angle
    found, who = KDTree(points).query(points, k=min(count, CANDIDATES))
    found = np.where(who == np.arange(count)[:, None], np.inf, found)
    order = np.lexsort((who, np.round(found, 9)))[:, :2]
    nearest = np.take_along_axis(who, order, axis=1)
    rows = np.take_along_axis(found, order, axis=1)
    distances[:, : rows.shape[1]] = np.where(np.isfinite(rows), rows, np.nan)
    if count > 2:
        ways = points[nearest] - points[:, None]
        lengths = np.linalg.norm(ways, axis=2).prod(axis=1)
        dot = (ways[:, 0] * ways[:, 1]).sum(axis=1)
        cosine = np.divide(dot, lengths, out=np.full(count, np.nan), where=lengths > 0)
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return distances, angle


@kernel
def _touching(
    layout: Layout, labels: NDArray[Any], steps: Ints, out: Floats, start: int, stop: int
) -> None:
    depth, height, width = layout.shape
    faces = 4 if layout.flat else 6
    for k in range(start, stop):
        seen = np.empty(16, labels.dtype)
        count, border, touch = 0, 0, 0
        for run in range(layout.runs[k], layout.runs[k + 1]):
            line, x0 = divmod(layout.start[run], width)
            z0, y0 = divmod(line, height)
            own = labels[z0, y0, x0]
            for x in range(x0, x0 + layout.length[run]):
                exposed, touches = False, False
                for step in range(len(steps)):
                    # Only voxels at the surface look farther than their faces.
                    if step == faces and not exposed:
                        break
                    z, y, u = z0 + steps[step, 0], y0 + steps[step, 1], x + steps[step, 2]
                    inside = 0 <= z < depth and 0 <= y < height and 0 <= u < width
                    other = labels[z, y, u] if inside else own * 0
                    if other == own:
                        continue
                    exposed = exposed or step < faces
                    if other == 0:
                        continue
                    touches = True
                    known = False
                    for i in range(count):
                        known = known or seen[i] == other
                    if not known:
                        if count == len(seen):
                            seen = np.concatenate((seen, np.empty(count, labels.dtype)))
                        seen[count] = other
                        count += 1
                border += 1 if exposed else 0
                touch += 1 if exposed and touches else 0
        out[k, 0], out[k, 1] = count, touch / border
