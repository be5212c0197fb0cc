"""One field of view: organoids set side by side, drawn on a grid, and seen through the optics."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from poolvox.organoid3d.simulate.optics import Optics, expose
from poolvox.organoid3d.simulate.tissue import (
    Body,
    Nuclei,
    OrganoidSpec,
    build_body,
    pack_nuclei,
)
from poolvox.shared.errors import InputError

__all__ = ["Field", "FieldSpec", "simulate_field"]

Labels = NDArray[np.uint32]
Stack = NDArray[np.float32]
Triple = tuple[float, float, float]

# Planes are drawn no farther apart than this, micrometres, and then sampled: PSF before sampling.
FINE_STEP = 1.0
# Empty space around organoids, micrometres.
MARGIN = 4.0
# Dark film of cytoplasm between nuclei that touch, micrometres.
FILM = 0.3
# How far cells reach beyond their nuclei, in nucleus radii; farther tissue goes to the nearest.
CELL_REACH = 2.0
PLACE_TRIES = 400
MARKER_SPREAD = 0.35  # log-spread of the marker between cells that express it
CHANNELS = ("nuclei", "membrane", "marker")


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What lies in the field, and how it is seen.

    Parameters
    ----------
    organoids : the organoids; they are set at random without overlap
    spacing : voxel size (z, y, x), micrometres
    shape : (Z, Y, X) of the stack; None makes it just large enough
    optics : microscope and camera
    """

    organoids: tuple[OrganoidSpec, ...] = field(default_factory=lambda: (OrganoidSpec(),))
    spacing: Triple = (2.0, 0.5, 0.5)
    shape: tuple[int, int, int] | None = None
    optics: Optics = field(default_factory=Optics)


@dataclass(frozen=True, slots=True)
class Field:
    """A simulated stack and its truth.

    Attributes
    ----------
    image : (C, Z, Y, X) array, camera counts, channels as in `channels`
    nuclei, cells, lumens, organoids : (Z, Y, X) arrays of labels; a cell has its nucleus's label,
        a lumen that of its organoid, and an organoid includes its lumen
    table : one row per nucleus: label, organoid, centroid and volume in micrometres, brightness
    summary : one row per organoid
    """

    image: NDArray[np.uint16]
    nuclei: Labels
    cells: Labels
    lumens: Labels
    organoids: Labels
    table: pd.DataFrame
    summary: pd.DataFrame
    spacing: Triple
    channels: tuple[str, ...] = CHANNELS


@dataclass(slots=True)
class _Canvas:
    """Labels on the fine grid, with the signed distance to the nearest nucleus's surface."""

    nuclei: Labels
    cells: Labels
    lumens: Labels
    organoids: Labels
    gap: Stack


def simulate_field(spec: FieldSpec, rng: np.random.Generator) -> Field:
    """Grow the organoids of `spec`, draw them and take the picture.

    Examples
    --------
    >>> spec = FieldSpec(organoids=(OrganoidSpec(kind="solid", nuclei=8),))
    >>> field = simulate_field(spec, np.random.default_rng(0))
    >>> field.image.shape[0], field.nuclei.max()
    (3, np.uint32(8))
    """
    bodies = [build_body(organoid, rng) for organoid in spec.organoids]
    shape = spec.shape or _fitting_shape(bodies, spec.spacing)
    centers = _place(bodies, shape, spec.spacing, rng)
    factor = max(1, int(np.ceil(spec.spacing[0] / FINE_STEP)))
    fine: Triple = (spec.spacing[0] / factor, *spec.spacing[1:])
    canvas = _blank(((shape[0] - 1) * factor + 1, *shape[1:]))
    first = 1
    for number, (organoid, body, center) in enumerate(zip(spec.organoids, bodies, centers), 1):
        nuclei = pack_nuclei(organoid, body, rng)
        _draw(canvas, body, nuclei, center, fine, organoid=number, first=first)
        first += organoid.nuclei
    traits = _traits(spec, rng)
    emission = _emit(canvas, traits, fine, spec.optics, rng)
    top = min(center[0] - body.reach[0] for center, body in zip(centers, bodies))
    depths = np.arange(shape[0]) * spec.spacing[0] - top
    image = np.stack(
        [expose(spec.optics.blur(e, fine)[::factor], depths, spec.optics, rng) for e in emission]
    )
    return _finish(spec, canvas, traits, image, factor)


def _fitting_shape(bodies: list[Body], spacing: Triple) -> tuple[int, int, int]:
    reach = np.stack([body.reach for body in bodies]) + MARGIN
    wide = reach.max(axis=0) * 2
    # Bodies are set at random, so they need more room than in rows.
    side = 1.0 if len(bodies) == 1 else 1.4 * np.ceil(np.sqrt(len(bodies)))
    wide[1:] *= side
    z, y, x = (int(np.ceil(w / s)) for w, s in zip(wide, spacing))
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


def _blank(shape: tuple[int, ...]) -> _Canvas:
    nuclei, cells, lumens, organoids = (np.zeros(shape, np.uint32) for _ in range(4))
    return _Canvas(nuclei, cells, lumens, organoids, np.full(shape, np.inf, np.float32))


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
    canvas: _Canvas,
    body: Body,
    nuclei: Nuclei,
    center: NDArray[np.float64],
    spacing: Triple,
    *,
    organoid: int,
    first: int,
) -> None:
    shape = canvas.nuclei.shape
    box, points = _box(center, body.reach, shape, spacing)
    depth = np.stack([body.depth(plane) for plane in points]) if len(points) else points[..., 0]
    inside, tissue = depth > 0, (depth > 0) & (depth < body.wall)
    canvas.organoids[box][inside] = organoid
    canvas.lumens[box][inside & ~tissue] = organoid
    mine = np.zeros(shape, bool)
    mine[box] = tissue
    for number in range(len(nuclei.radii)):
        _draw_nucleus(canvas, nuclei, number, center, spacing, mine, label=first + number)
    _fill_cells(canvas, box, tissue, nuclei, center, spacing, first)
    canvas.nuclei[box][tissue & (canvas.gap[box] < 0)] = canvas.cells[box][
        tissue & (canvas.gap[box] < 0)
    ]
    for number in range(len(nuclei.radii)):
        _keep_largest(canvas.nuclei, nuclei, number, center, spacing, first + number)


def _draw_nucleus(
    canvas: _Canvas,
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
    box, points = _box(where, reach, canvas.nuclei.shape, spacing)
    unit = points @ nuclei.frames[number].T.astype(np.float32)
    length = np.sqrt(np.einsum("...i,...i", unit, unit))
    lift = np.einsum("...i,ij,...j", unit, nuclei.bends[number].astype(np.float32), unit)
    scale = 1 + lift / np.maximum(length, 1e-6) ** 2
    gap = (length / scale - 1) * np.float32(radius)
    nearer = (gap < canvas.gap[box]) & tissue[box]
    canvas.gap[box][nearer] = gap[nearer]
    canvas.cells[box][nearer] = label


def _fill_cells(
    canvas: _Canvas,
    box: tuple[slice, ...],
    tissue: NDArray[np.bool_],
    nuclei: Nuclei,
    center: NDArray[np.float64],
    spacing: Triple,
    first: int,
) -> None:
    """Give tissue that no nucleus reached to the nearest one."""
    cells = canvas.cells[box]
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


def _traits(spec: FieldSpec, rng: np.random.Generator) -> pd.DataFrame:
    """Draw what tells nuclei apart: brightness and marker, one row per nucleus."""
    rows = []
    for number, organoid in enumerate(spec.organoids, 1):
        spread = spec.optics.brightness_cv * rng.standard_normal(organoid.nuclei)
        positive = rng.random(organoid.nuclei) < organoid.marker_positive
        level = organoid.marker_gain * np.exp(MARKER_SPREAD * rng.standard_normal(organoid.nuclei))
        rows.append(
            pd.DataFrame(
                {
                    "organoid": number,
                    "brightness": np.exp(spread),
                    "positive": positive,
                    "marker": np.where(positive, level, 0.08 * level),
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    table.insert(0, "label", np.arange(1, len(table) + 1))
    return table


def _emit(
    canvas: _Canvas,
    traits: pd.DataFrame,
    spacing: Triple,
    optics: Optics,
    rng: np.random.Generator,
) -> list[Stack]:
    """Photons that leave each voxel of the fine grid, per channel."""
    border = _borders(canvas.cells)
    level = np.float32(optics.brightness)
    brightness = np.concatenate([[0], traits["brightness"]]).astype(np.float32)
    soft = np.clip(np.float32(0.5) - canvas.gap / np.float32(spacing[1]), 0, 1)
    nuclei = level * brightness[canvas.cells] * soft
    nuclei *= _texture(canvas.nuclei.shape, spacing, optics.texture, rng)
    nuclei[border] *= np.float32(max(0.0, 1 - FILM / spacing[1]))
    membrane = np.where(border, level * np.float32(min(1.0, 0.5 / spacing[1])), np.float32(0))
    membrane[border & _near(canvas.lumens)] *= 2
    expressed = np.concatenate([[0], traits["marker"]]).astype(np.float32)
    marker = level * expressed[canvas.cells]
    marker[canvas.nuclei > 0] *= np.float32(0.4)
    return [nuclei, membrane, marker]


def _borders(cells: Labels) -> NDArray[np.bool_]:
    """Mark cell voxels that have another cell, the lumen or the outside as a lateral neighbour."""
    border = np.zeros(cells.shape, bool)
    for axis in range(3):
        ahead, behind = np.moveaxis(cells, axis, 0)[1:], np.moveaxis(cells, axis, 0)[:-1]
        np.moveaxis(border, axis, 0)[:-1] |= ahead != behind
    border &= cells > 0
    return border


def _near(lumens: Labels) -> NDArray[np.bool_]:
    grown: NDArray[np.bool_] = ndimage.binary_dilation(lumens > 0, iterations=2)
    return grown


def _texture(
    shape: tuple[int, ...], spacing: Triple, amplitude: float, rng: np.random.Generator
) -> Stack:
    """Positive field of mean 1: chromatin in clumps of about 1 and 2.5 micrometres."""
    field = np.zeros(shape, np.float32)
    for width, weight in ((0.5, 0.6), (1.2, 0.8)):
        noise = rng.standard_normal(shape, dtype=np.float32)
        smooth = ndimage.gaussian_filter(noise, [width / s for s in spacing], truncate=3)
        field += np.float32(weight) * smooth / max(float(smooth.std()), 1e-9)
    texture: Stack = np.clip(1 + np.float32(amplitude) * field, 0.1, 3)
    return texture


def _finish(
    spec: FieldSpec,
    canvas: _Canvas,
    traits: pd.DataFrame,
    image: NDArray[np.uint16],
    factor: int,
) -> Field:
    nuclei, cells, lumens, organoids = (
        np.ascontiguousarray(labels[::factor])
        for labels in (canvas.nuclei, canvas.cells, canvas.lumens, canvas.organoids)
    )
    voxel = float(np.prod(spec.spacing))
    found = np.bincount(nuclei.ravel(), minlength=len(traits) + 1)[1:]
    where = ndimage.center_of_mass(nuclei > 0, nuclei, traits["label"][found > 0])
    table = traits[found > 0].reset_index(drop=True)
    table[["z_um", "y_um", "x_um"]] = np.asarray(where) * spec.spacing
    table["volume_um3"] = found[found > 0] * voxel
    summary = pd.DataFrame(
        {
            "organoid": np.arange(1, len(spec.organoids) + 1),
            "kind": [organoid.kind for organoid in spec.organoids],
            "nuclei": table.groupby("organoid").size().to_numpy(),
            "volume_um3": np.bincount(organoids.ravel(), minlength=len(spec.organoids) + 1)[1:]
            * voxel,
            "lumen_um3": np.bincount(lumens.ravel(), minlength=len(spec.organoids) + 1)[1:] * voxel,
        }
    )
    return Field(image, nuclei, cells, lumens, organoids, table, summary, spec.spacing)
