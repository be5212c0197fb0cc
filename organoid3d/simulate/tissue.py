"""The body of an organoid and the nuclei packed into it, in micrometres and without a grid.

The outer surface is a union of spheres that low-order harmonics deform; a lumen is the part that
lies deeper than the wall is thick. Nuclei are ellipsoids, deformed in the same way, that push one
another apart until they no more than touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from poolvox.shared.errors import InputError

__all__ = ["Body", "Kind", "Nuclei", "OrganoidSpec", "build_body", "pack_nuclei"]

Array = NDArray[np.float64]
Kind = Literal["solid", "cyst", "bud"]

# Thinnest wall of a cyst, in nucleus diameters: below it nuclei would not fit.
MIN_WALL = 1.1
# Smallest lumen radius, in nucleus diameters, that is still called a lumen.
MIN_LUMEN = 0.35
# Sampling of the unit body for volumes: points per axis of the cube that holds it.
VOLUME_GRID = 48
# Half the edge of that cube, in radii of the main sphere; buds reach 1.9.
UNIT_REACH = 2.1
RELAX_STEPS = 80
# Nuclei may come this near, as a fraction of the sum of their radii: below 1 they flatten.
CONTACT = 0.92
# How far from the wall's faces a centre stays, as a fraction of its radius.
WALL_MARGIN = 0.95


@dataclass(frozen=True, slots=True)
class OrganoidSpec:
    """What kind of organoid to grow.

    Parameters
    ----------
    kind : solid ball of cells, cyst with a wall one nucleus thick, or a cyst with buds
    nuclei : number of nuclei, 1 to a few thousand
    diameter : median nucleus diameter, micrometres
    diameter_cv : relative spread of the diameters
    elongation : log-spread of the three axes of a nucleus
    roughness : amplitude of the harmonics on nuclei, relative to the radius
    nuclear_fraction : part of the tissue's volume that nuclei fill; from 0.45 on nearly all touch
    lumen_scale : thins the wall by this factor; the same cells then enclose a larger lumen
    marker_positive : part of the cells that express the second marker
    marker_gain : brightness of the marker relative to the default
    """

    kind: Kind = "cyst"
    nuclei: int = 60
    diameter: float = 10.0
    diameter_cv: float = 0.12
    elongation: float = 0.2
    roughness: float = 0.08
    nuclear_fraction: float = 0.38
    lumen_scale: float = 1.0
    marker_positive: float = 0.4
    marker_gain: float = 1.0

    def __post_init__(self) -> None:
        """Refuse organoids that cannot be packed."""
        if self.nuclei < 1:
            raise InputError(f"an organoid needs at least 1 nucleus, got {self.nuclei}")
        if not 0.02 <= self.nuclear_fraction <= 0.7:
            got = self.nuclear_fraction
            raise InputError(f"nuclear_fraction must be from 0.02 to 0.7, got {got}")
        if self.diameter <= 0:
            raise InputError(f"diameter must be above 0 micrometres, got {self.diameter}")


@dataclass(frozen=True, slots=True)
class Body:
    """Outer surface of an organoid: its signed depth can be asked anywhere.

    Attributes
    ----------
    centers : (M, 3) array, of the spheres, relative to the organoid's, micrometres
    radii : (M,) array, micrometres
    bends : (M, 3, 3) array, traceless quadratic forms that deform the spheres
    wall : thickness of the wall, micrometres; infinite in solid organoids
    """

    centers: Array
    radii: Array
    bends: Array
    wall: float

    def depth(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Distance to the outer surface, positive inside, of (..., 3) points, to a few percent."""
        depths = []
        for center, radius, bend in zip(self.centers, self.radii, self.bends):
            offset = points - center.astype(points.dtype)
            length = np.sqrt(np.einsum("...i,...i", offset, offset))
            lift = np.einsum("...i,ij,...j", offset, bend.astype(points.dtype), offset)
            scale = 1 + lift / np.maximum(length, 1e-6) ** 2
            depths.append(radius * scale - length)
        deepest: NDArray[np.floating] = np.maximum.reduce(depths)
        return deepest

    @property
    def reach(self) -> Array:
        """Half extents (z, y, x) of a box around the centre that surely holds the body."""
        swell = 1 + np.abs(self.bends).sum(axis=(1, 2))
        reach: Array = (np.abs(self.centers) + (self.radii * swell)[:, None]).max(axis=0)
        return reach


@dataclass(frozen=True, slots=True)
class Nuclei:
    """Nuclei of one organoid.

    Attributes
    ----------
    centers : (N, 3) array, relative to the organoid's centre, micrometres
    radii : (N,) array, radius of the ball of the same volume, micrometres
    frames : (N, 3, 3) array; a point p has the coordinates `frames @ (p - center)`, in which
        the undeformed nucleus is the unit ball
    bends : (N, 3, 3) array, quadratic forms that deform it
    """

    centers: Array
    radii: Array
    frames: Array
    bends: Array


def build_body(spec: OrganoidSpec, rng: np.random.Generator) -> Body:
    """Grow a body whose tissue has just the volume that the nuclei call for."""
    centers, radii = _unit_spheres(spec.kind, rng)
    bends = np.stack([_bend(rng, 0.06) for _ in radii])
    wall = _wall(spec)
    unit = Body(centers, radii, bends, np.inf)
    axis = np.linspace(-UNIT_REACH, UNIT_REACH, VOLUME_GRID)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    depth = unit.depth(grid)
    depth = depth[depth > 0]
    step = (axis[1] - axis[0]) ** 3
    need = spec.nuclei * np.pi / 6 * spec.diameter**3 / spec.nuclear_fraction
    low, high = 0.4 * spec.diameter, 2 * np.cbrt(need) + 4 * spec.diameter
    for _ in range(50):
        radius = (low + high) / 2
        volume = step * radius**3 * np.count_nonzero(depth * radius < wall)
        low, high = (radius, high) if volume < need else (low, radius)
    if np.isfinite(wall):
        radius = max(radius, wall + MIN_LUMEN * spec.diameter)
    return Body(centers * radius, radii * radius, bends, wall)


def pack_nuclei(spec: OrganoidSpec, body: Body, rng: np.random.Generator) -> Nuclei:
    """Fill the tissue of `body` with nuclei that touch but hardly overlap."""
    radii = spec.diameter / 2 * np.exp(spec.diameter_cv * rng.standard_normal(spec.nuclei))
    radii = np.clip(radii, 0.5 * radii.mean(), 1.6 * radii.mean())
    centers = _relax(_scatter(body, spec.nuclei, rng), radii, body)
    axes = np.exp(spec.elongation * rng.standard_normal((spec.nuclei, 3)))
    axes /= np.cbrt(axes.prod(axis=1, keepdims=True))
    turns = _turns(spec, body, centers, axes, rng)
    frames = turns / (axes * radii[:, None])[:, :, None]
    bends = np.stack([_bend(rng, spec.roughness) for _ in range(spec.nuclei)])
    return Nuclei(centers, radii, frames, bends)


def _wall(spec: OrganoidSpec) -> float:
    if spec.kind == "solid":
        return np.inf
    return spec.diameter * max(1.5 / spec.lumen_scale, MIN_WALL)


def _unit_spheres(kind: Kind, rng: np.random.Generator) -> tuple[Array, Array]:
    if kind != "bud":
        return np.zeros((1, 3)), np.ones(1)
    count = int(rng.integers(1, 4))
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(count) / count
    tilt = rng.uniform(-0.35, 0.35, count)
    ways = np.stack([np.sin(tilt), np.cos(tilt) * np.sin(angles), np.cos(tilt) * np.cos(angles)], 1)
    sizes = rng.uniform(0.5, 0.68, count)
    return np.vstack([np.zeros(3), ways * 1.1]), np.concatenate([[1.0], sizes])


def _bend(rng: np.random.Generator, amplitude: float) -> Array:
    """Draw a random symmetric, traceless form: a harmonic of the second order."""
    form = rng.standard_normal((3, 3))
    form = (form + form.T) / 2
    form -= np.eye(3) * np.trace(form) / 3
    return amplitude * form


def _scatter(body: Body, count: int, rng: np.random.Generator) -> Array:
    found = np.empty((0, 3))
    while len(found) < count:
        points = rng.uniform(-1, 1, (max(64, 8 * count), 3)) * body.reach
        depth = body.depth(points)
        found = np.vstack([found, points[(depth > 0) & (depth < body.wall)]])
    return found[:count]


def _relax(centers: Array, radii: Array, body: Body) -> Array:
    """Push overlapping nuclei apart, and back into the wall, until little overlap is left."""
    floor = WALL_MARGIN * radii
    ceiling = np.maximum(body.wall - WALL_MARGIN * radii, floor)
    for _ in range(RELAX_STEPS):
        pairs = cKDTree(centers).query_pairs(2 * radii.max(), output_type="ndarray")
        first, second = pairs[:, 0], pairs[:, 1]
        gap = centers[second] - centers[first]
        length = np.maximum(np.linalg.norm(gap, axis=1), 1e-6)
        push = np.clip(CONTACT * (radii[first] + radii[second]) - length, 0, None)
        move = gap / length[:, None] * (0.5 * push)[:, None]
        np.add.at(centers, second, 0.8 * move)
        np.add.at(centers, first, -0.8 * move)
        depth = body.depth(centers)
        wanted = np.clip(depth, floor, ceiling)
        centers += _inward(body, centers) * (wanted - depth)[:, None]
    return centers


def _inward(body: Body, points: Array, step: float = 0.1) -> Array:
    """Unit vectors along which the depth grows."""
    ways = np.stack(
        [body.depth(points + offset) - body.depth(points - offset) for offset in step * np.eye(3)],
        axis=-1,
    )
    length: Array = np.linalg.norm(ways, axis=-1, keepdims=True)
    return ways / np.maximum(length, 1e-9)


def _turns(
    spec: OrganoidSpec, body: Body, centers: Array, axes: Array, rng: np.random.Generator
) -> Array:
    """Rotations; in a wall the longest axis stands upright, as in a columnar epithelium."""
    turns = np.linalg.qr(rng.standard_normal((len(centers), 3, 3)))[0]
    if spec.kind == "solid":
        return turns
    upright = _inward(body, centers)
    for turn, way, longest in zip(turns, upright, axes.argmax(axis=1)):
        basis = np.linalg.qr(np.column_stack([way, turn[:2].T]))[0].T
        turn[:] = np.roll(basis, longest, axis=0)
    return turns
