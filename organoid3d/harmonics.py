"""Spherical harmonics of star-shaped objects: how far the surface lies in each direction.

The radii are seen from the centroid, in micrometres, along directions that are spread evenly over
the sphere; real spherical harmonics are fitted to them by least squares. The power of a degree
(the sum of its squared coefficients) does not change when the object is turned. Degree 0 is the
size, degree 1 how far the centroid lies off, degree 2 elongation, and so on to finer bumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import sph_harm_y

from poolvox.shared.errors import InputError
from poolvox.shared.features import Feature, Objects, find_objects, register
from poolvox.shared.features.kernels import Floats, Layout, kernel
from poolvox.shared.features.objects import Spacing, spacing_of
from poolvox.shared.features.options import check_number

__all__ = [
    "HarmonicsOptions",
    "cast_rays",
    "fit_harmonics",
    "golden_sphere",
    "power_spectrum",
    "rays_in_micrometres",
    "real_harmonics",
]

# A ray is followed in steps of this part of the finest voxel.
STEP = 0.25
# Finer bumps than of this degree are the voxels themselves.
MOST_DEGREES = 32
BROECHELER = "doi:10.1145/882262.882291"


@dataclass(frozen=True)
class HarmonicsOptions:
    """How finely the shape is described.

    Attributes
    ----------
    degree : highest degree; 8 tells a nucleus's shape to about a percent of its radius
    rays : directions in which the surface is looked for
    coefficients : whether to give every coefficient as well; they turn with the object
    """

    degree: int = 8
    rays: int = 256
    coefficients: bool = False

    def __post_init__(self) -> None:
        """Refuse degrees that the rays cannot tell."""
        check_number("harmonics.degree", self.degree, least=2, most=MOST_DEGREES)
        if self.rays < 2 * (self.degree + 1) ** 2:
            raise InputError(
                f"{self.rays} rays cannot tell harmonics of degree {self.degree}: "
                f"use at least {2 * (self.degree + 1) ** 2} rays"
            )


def _describe(ndim: int, options: HarmonicsOptions) -> tuple[Feature, ...]:
    degrees = tuple(f"l{degree}" for degree in range(1, options.degree + 1))
    features = (
        Feature("MeanRadius_um", "um", "mean distance from centroid to surface", "", "(0, inf)"),
        Feature(
            "Power",
            "",
            "sum of the squared coefficients of degree l over that of degree 0; rays end where "
            "they first leave the object",
            BROECHELER,
            "[0, inf)",
            degrees,
        ),
        Feature(
            "Residual",
            "",
            "root mean square of what the fit leaves of the radii, over the mean radius: "
            "roughness, or a shape that is not seen whole from its centroid",
            "",
            "[0, inf)",
        ),
    )
    if not options.coefficients:
        return features
    names = tuple(f"l{n}m{m}" for n in range(options.degree + 1) for m in range(-n, n + 1))
    formula = "coefficient of the real orthonormal harmonic of degree l and order m; polar axis z"
    return (*features, Feature("Coefficient_um", "um", formula, parameters=names))


@register("Harmonics", features=_describe, dims=(3,), options=HarmonicsOptions(), common=False)
def measure_harmonics(
    objects: Objects, options: HarmonicsOptions
) -> dict[str, NDArray[np.float64]]:
    """Describe the shape of every object by the power of its harmonics."""
    directions = golden_sphere(options.rays)
    radii = _cast(objects, directions)
    coefficients, residual = fit_harmonics(radii, directions, degree=options.degree)
    mean = radii.mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "MeanRadius_um": mean,
            "Power": power_spectrum(coefficients)[:, 1:],
            "Residual": residual / mean,
        }
    if options.coefficients:
        found["Coefficient_um"] = coefficients
    return found


def cast_rays(
    labels: ArrayLike, *, spacing: Spacing, directions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance from the centroid of every object to its surface.

    Parameters
    ----------
    labels : (Z, Y, X) array; 0 is background
    spacing : (z, y, x) in micrometres
    directions : (K, 3) unit vectors (z, y, x), in micrometres, not voxels

    Returns
    -------
    (N, K) micrometres, rows in ascending order of the labels. A ray ends where it first leaves the
    object or the volume; it has length 0 where the centroid lies outside the object.
    """
    return _cast(find_objects(labels, spacing=spacing), directions)


def fit_harmonics(
    radii: NDArray[np.float64], directions: NDArray[np.float64], *, degree: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit real spherical harmonics to radii.

    Takes the rays of a StarDist network as well, see `rays_in_micrometres`.

    Parameters
    ----------
    radii : (N, K) micrometres
    directions : (K, 3) unit vectors (z, y, x)
    degree : highest degree

    Returns
    -------
    Coefficients (N, (degree + 1)^2), ordered by degree and then order from -degree, and the root
    mean square (N,) of what is left; both in micrometres.
    """
    if len(directions) < (degree + 1) ** 2:
        raise InputError(
            f"{len(directions)} rays cannot tell harmonics of degree {degree}: "
            f"use at least {(degree + 1) ** 2} rays, or a lower degree"
        )
    basis, inverse = _fit(np.ascontiguousarray(directions, float).tobytes(), degree)
    # Not by BLAS, whose sums depend on how many objects there are.
    coefficients: NDArray[np.float64] = np.einsum("nk,ck->nc", radii, inverse)
    left = radii - np.einsum("nc,kc->nk", coefficients, basis)
    residual: NDArray[np.float64] = np.sqrt((left**2).mean(axis=1))
    return coefficients, residual


@lru_cache(maxsize=8)
def _fit(directions: bytes, degree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of the harmonics in the directions, and the matrix that fits them to radii."""
    basis = real_harmonics(np.frombuffer(directions).reshape(-1, 3), degree)
    return basis, np.asarray(np.linalg.pinv(basis), np.float64)


def rays_in_micrometres(
    distances: NDArray[np.floating], vertices: NDArray[np.floating], *, spacing: Spacing
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radii and directions, as `fit_harmonics` takes them, of the rays of a StarDist network.

    Parameters
    ----------
    distances : (N, K) lengths of the rays of N objects, as the network predicts them
    vertices : (K, 3) rays in voxels (z, y, x), as in StarDist's `Rays.vertices`
    spacing : (z, y, x) in micrometres, of the grid that the network saw

    Returns
    -------
    (N, K) micrometres, and (K, 3) unit vectors in micrometres.
    """
    steps = np.asarray(vertices, np.float64) * spacing_of(spacing, 3)
    lengths = np.linalg.norm(steps, axis=1)
    return np.asarray(distances, np.float64) * lengths, steps / lengths[:, None]


def power_spectrum(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power of each degree over that of degree 0, (N, degree + 1); the same however it is turned.

    DOI 10.1145/882262.882291.
    """
    degree = round(np.sqrt(coefficients.shape[1])) - 1
    starts = np.arange(degree + 1) ** 2
    power: NDArray[np.float64] = np.add.reduceat(coefficients**2, starts, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative: NDArray[np.float64] = power / power[:, :1]
    return relative


def real_harmonics(directions: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """Values of the real orthonormal harmonics, (K, (degree + 1)^2), in the given directions."""
    z, y, x = directions.T
    polar, turn = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)
    columns = []
    for n in range(degree + 1):
        for m in range(-n, n + 1):
            value = sph_harm_y(n, abs(m), polar, turn)
            part = value.real if m >= 0 else value.imag
            columns.append(part * (1.0 if m == 0 else np.sqrt(2) * (-1) ** m))
    return np.stack(columns, axis=1)


@lru_cache(maxsize=8)
def golden_sphere(count: int) -> NDArray[np.float64]:
    """Directions (count, 3) spread evenly over the unit sphere, in (z, y, x)."""
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    flat = np.sqrt(1 - z**2)
    directions = np.stack([z, flat * np.sin(turn), flat * np.cos(turn)], axis=1)
    directions.flags.writeable = False
    return directions


def _cast(objects: Objects, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    if objects.ndim != 3:
        raise InputError("rays are cast in three dimensions, these labels have two axes")
    steps = np.ascontiguousarray(directions, float)
    volume = objects.labels.view(f"u{objects.labels.dtype.itemsize}")
    ids = objects.ids.astype(volume.dtype)
    return objects.reduce(
        _follow, np.zeros((len(objects), len(steps))), volume, ids, objects.centroids, steps
    )


@kernel
def _follow(
    layout: Layout,
    volume: NDArray[np.unsignedinteger],
    ids: NDArray[np.unsignedinteger],
    centres: Floats,
    directions: Floats,
    out: Floats,
    start: int,
    stop: int,
) -> None:
    spacing = layout.spacing
    step = STEP * min(spacing[0], spacing[1], spacing[2])
    for k in range(start, stop):
        for ray in range(len(directions)):
            count = 0
            while True:
                # The half step puts the end in the middle of the last step inside.
                far = step * (count + 0.5)
                z = int(np.floor(centres[k, 0] + far * directions[ray, 0] / spacing[0] + 0.5))
                y = int(np.floor(centres[k, 1] + far * directions[ray, 1] / spacing[1] + 0.5))
                x = int(np.floor(centres[k, 2] + far * directions[ray, 2] / spacing[2] + 0.5))
                if z < 0 or y < 0 or x < 0:
                    break
                if z >= volume.shape[0] or y >= volume.shape[1] or x >= volume.shape[2]:
                    break
                if volume[z, y, x] != ids[k]:
                    break
                count += 1
            out[k, ray] = step * count
