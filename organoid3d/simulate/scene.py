"""Organoids set side by side and drawn as labels on a fine grid: a field before it is seen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from poolvox.organoid3d.simulate.optics import Optics
from poolvox.organoid3d.simulate.tissue import (
    Body,
    Nuclei,
    OrganoidSpec,
    build_body,
    pack_nuclei,
)
from poolvox.shared.errors import InputError

__all__ = ["FieldSpec", "Scene", "draw_scene"]

Labels = NDArray[np.uint32]
Stack = NDArray[np.float32]
Triple = tuple[float, float, float]

# Planes are drawn no farther apart than this, micrometres, and then sampled: PSF before sampling.
FINE_STEP = 1.0
# Empty space around organoids, micrometres.
MARGIN = 4.0
# How far cells reach beyond their nuclei, in nucleus radii; farther tissue goes to the nearest.
CELL_REACH = 2.0
PLACE_TRIES = 400


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What lies in the field, and how it is seen.

    Parameters
    ----------
    organoids : the organoids; they are set at random without overlap
    spacing : voxel size (z, y, x), micrometres
    shape : (Z, Y, X) of the stack; None makes it just large enough
    least : (Z, Y, X) that a stack without `shape` has at least
    optics : microscope and camera
    """

    organoids: tuple[OrganoidSpec, ...] = field(default_factory=lambda: (OrganoidSpec(),))
    spacing: Triple = (2.0, 0.5, 0.5)
    shape: tuple[int, int, int] | None = None
    least: tuple[int, int, int] = (1, 1, 1)
    optics: Optics = field(default_factory=Optics)


@dataclass(slots=True)
class Scene:
    """What lies in a field, on the fine grid.

    Attributes
    ----------
    nuclei, cells, lumens, organoids : (Z, Y, X) arrays of labels
    gap : (Z, Y, X) array, signed distance to the surface of the nearest nucleus, micrometres;
        infinite where no nucleus is near
    spacing : of the fine grid, micrometres
    factor : fine planes per plane of the stack
    top : depth at which the highest organoid begins, micrometres
    """

    nuclei: Labels
    cells: Labels
    lumens: Labels
    organoids: Labels
    gap: Stack
    spacing: Triple
    factor: int
    top: float = 0.0


def draw_scene(spec: FieldSpec, rng: np.random.Generator) -> Scene:
    """Grow the organoids of `spec` and draw them."""
    bodies = [build_body(organoid, rng) for organoid in spec.organoids]
    shape = spec.shape or _fitting_shape(bodies, spec)
    centers = _place(bodies, shape, spec.spacing, rng)
    factor = max(1, int(np.ceil(spec.spacing[0] / FINE_STEP)))
    fine: Triple = (spec.spacing[0] / factor, *spec.spacing[1:])
    scene = _blank(((shape[0] - 1) * factor + 1, *shape[1:]), fine, factor)
    first = 1
    for number, (organoid, body, center) in enumerate(zip(spec.organoids, bodies, centers), 1):
        nuclei = pack_nuclei(organoid, body, rng)
        _draw(scene, body, nuclei, center, fine, organoid=number, first=first)
        first += organoid.nuclei
    scene.top = float(min(center[0] - body.reach[0] for center, body in zip(centers, bodies)))
    return scene


def _fitting_shape(bodies: list[Body], spec: FieldSpec) -> tuple[int, int, int]:
    reach = np.stack([body.reach for body in bodies]) + MARGIN
    wide = reach.max(axis=0) * 2
    # Bodies are set at random, so they need more room than in rows.
    side = 1.0 if len(bodies) == 1 else 1.4 * np.ceil(np.sqrt(len(bodies)))
    wide[1:] *= side
    fitting = np.ceil(wide / spec.spacing).astype(int)
    z, y, x = np.maximum(fitting, spec.least).tolist()
    return z, y, x


def _place(
    bodies: list[Body], shape: tuple[int, ...], spacing: Triple, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Find centres at which no two bodies' boxes overlap and all lie within the stack."""
    size = np.asarray(shape) * spacing
    placed: list[NDArray[np.float64]] = []
    for number, body in enumerate(bodies):
        slack = size / 2 - body.reach
        if (slack < 0).any():
            raise InputError(
                f"organoid {number + 1} of {np.round(2 * body.reach, 1)} um does not fit into a "
                f"stack of {np.round(size, 1)} um (z, y, x): enlarge shape or ask for fewer nuclei"
            )
        for _ in range(PLACE_TRIES):
            center = size / 2 + slack * rng.uniform(-1, 1, 3) * (0.5, 1, 1)
            if all(_apart(center, body, c, b) for c, b in zip(placed, bodies)):
                placed.append(center)
                break
        else:
            raise InputError(
                f"found no room for organoid {number + 1} of {len(bodies)} in a stack of "
                f"{np.round(size, 1)} um: enlarge shape or ask for fewer organoids"
            )
    return placed


def _apart(a: NDArray[np.float64], first: Body, b: NDArray[np.float64], second: Body) -> bool:
    return bool((np.abs(a - b) > first.reach + second.reach)[1:].any())


def _blank(shape: tuple[int, ...], spacing: Triple, factor: int) -> Scene:
    nuclei, cells, lumens, organoids = (np.zeros(shape, np.uint32) for _ in range(4))
    gap = np.full(shape, np.inf, np.float32)
    return Scene(nuclei, cells, lumens, organoids, gap, spacing, factor)


def _box(
    center: NDArray[np.float64], reach: NDArray[np.float64], shape: tuple[int, ...], spacing: Triple
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """Cut the grid around `center`: slices, and the points' positions relative to it."""
    low = np.maximum(np.floor((center - reach) / spacing).astype(int), 0)
    high = np.minimum(np.ceil((center + reach) / spacing).astype(int) + 1, shape)
    axes = [np.arange(a, b) * s - c for a, b, s, c in zip(low, high, spacing, center)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)
    return tuple(slice(a, b) for a, b in zip(low, high)), points


def _draw(
    scene: Scene,
    body: Body,
    nuclei: Nuclei,
    center: NDArray[np.float64],
    spacing: Triple,
    *,
    organoid: int,
    first: int,
) -> None:
    shape = scene.nuclei.shape
    box, points = _box(center, body.reach, shape, spacing)
    depth = np.stack([body.depth(plane) for plane in points]) if len(points) else points[..., 0]
    inside, tissue = depth > 0, (depth > 0) & (depth < body.wall)
    scene.organoids[box][inside] = organoid
    scene.lumens[box][inside & ~tissue] = organoid
    mine = np.zeros(shape, bool)
    mine[box] = tissue
    for number in range(len(nuclei.radii)):
        _draw_nucleus(scene, nuclei, number, center, spacing, mine, label=first + number)
    _fill_cells(scene, box, tissue, nuclei, center, spacing, first)
    scene.nuclei[box][tissue & (scene.gap[box] < 0)] = scene.cells[box][
        tissue & (scene.gap[box] < 0)
    ]
    for number in range(len(nuclei.radii)):
        _keep_largest(scene.nuclei, nuclei, number, center, spacing, first + number)


def _draw_nucleus(
    scene: Scene,
    nuclei: Nuclei,
    number: int,
    center: NDArray[np.float64],
    spacing: Triple,
    tissue: NDArray[np.bool_],
    *,
    label: int,
) -> None:
    radius = nuclei.radii[number]
    where = center + nuclei.centers[number]
    reach = np.full(3, CELL_REACH * radius)
    box, points = _box(where, reach, scene.nuclei.shape, spacing)
    unit = points @ nuclei.frames[number].T.astype(np.float32)
    length = np.sqrt(np.einsum("...i,...i", unit, unit))
    lift = np.einsum("...i,ij,...j", unit, nuclei.bends[number].astype(np.float32), unit)
    scale = 1 + lift / np.maximum(length, 1e-6) ** 2
    gap = (length / scale - 1) * np.float32(radius)
    nearer = (gap < scene.gap[box]) & tissue[box]
    scene.gap[box][nearer] = gap[nearer]
    scene.cells[box][nearer] = label


def _fill_cells(
    scene: Scene,
    box: tuple[slice, ...],
    tissue: NDArray[np.bool_],
    nuclei: Nuclei,
    center: NDArray[np.float64],
    spacing: Triple,
    first: int,
) -> None:
    """Give tissue that no nucleus reached to the nearest one."""
    cells = scene.cells[box]
    left = np.argwhere(tissue & (cells == 0))
    if not len(left):
        return
    origin = np.array([part.start for part in box])
    _, nearest = cKDTree(nuclei.centers + center).query((left + origin) * spacing)
    cells[tuple(left.T)] = (nearest + first).astype(np.uint32)


def _keep_largest(
    labels: Labels,
    nuclei: Nuclei,
    number: int,
    center: NDArray[np.float64],
    spacing: Triple,
    label: int,
) -> None:
    """Drop splinters that neighbours cut off, so that a nucleus is one piece."""
    reach = np.full(3, CELL_REACH * nuclei.radii[number])
    box, _ = _box(center + nuclei.centers[number], reach, labels.shape, spacing)
    parts, count = ndimage.label(labels[box] == label)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        labels[box][(parts > 0) & (parts != sizes.argmax())] = 0
