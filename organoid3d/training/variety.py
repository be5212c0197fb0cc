"""Made-up training stacks, as unlike one another as the stacks of many laboratories.

Nuclei, their arrangement, and above all how they are seen are drawn at random: size, brightness,
texture and edges of nuclei, haze, leakage from other channels, debris, blur, distance of planes,
loss with depth, noise, and what was done to the picture afterwards. A network that has seen all of
that takes a new microscope for one more draw, doi:10.48550/arXiv.2307.07044.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.simulate.optics import SIGMA_PER_FWHM
from poolvox.organoid3d.simulate.scene import FieldSpec, Scene, draw_scene
from poolvox.organoid3d.simulate.tissue import Kind, OrganoidSpec

__all__ = ["simulate_example"]

Image = NDArray[np.float32]
Labels = NDArray[np.int32]

# Nuclei are drawn this wide, micrometres; the scale of everything else follows.
DIAMETER = 10.0
# Smallest stack that is made, voxels: no smaller than what the network is shown at once.
LEAST = (28, 112, 112)
# The range of everything that is drawn: (low, high), widths in nucleus diameters.
LATERAL = (0.03, 0.16)
AXIAL = (0.08, 0.55)
BRIGHTNESS_SPREAD = (0.05, 0.6)
PHOTONS = (4.0, 400.0)
LOSS = (0.0, 0.03)  # per micrometre
MAX_PLANE_STEP = 5  # planes of the training scale per plane that is taken


def simulate_example(
    rng: np.random.Generator, *, voxels: tuple[float, float, float]
) -> tuple[Image, Labels]:
    """Make up a stack in which a nucleus of the median size is `voxels` wide along (z, y, x).

    Returns
    -------
    (Z, Y, X) image of arbitrary units, and its exact labels
    """
    steps = (DIAMETER / voxels[0], DIAMETER / voxels[1], DIAMETER / voxels[2])
    spec = _random_field(rng, steps)
    scene = draw_scene(spec, rng)
    light = _emission(scene, rng)
    seen = _through_microscope(light, scene, rng)
    labels = scene.nuclei[:: scene.factor].astype(np.int32)
    return _afterwards(seen, rng), labels


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _random_field(rng: np.random.Generator, steps: tuple[float, float, float]) -> FieldSpec:
    crowded = rng.random() < 0.75
    count = round(_log_uniform(rng, 25, 120)) if crowded else int(rng.integers(2, 25))
    parts = 1 if count < 12 or rng.random() < 0.7 else 2
    organoids = tuple(_random_organoid(rng, max(1, count // parts)) for _ in range(parts))
    return FieldSpec(organoids, steps, least=LEAST)


def _random_organoid(rng: np.random.Generator, count: int) -> OrganoidSpec:
    kinds: tuple[Kind, ...] = ("solid", "solid", "cyst", "bud") if count > 8 else ("solid",)
    kind = kinds[rng.integers(len(kinds))]
    return OrganoidSpec(
        kind=kind,
        nuclei=count,
        diameter=DIAMETER,
        diameter_cv=float(rng.uniform(0.03, 0.3)),
        elongation=float(rng.uniform(0.03, 0.3)),
        roughness=float(rng.uniform(0.02, 0.15)),
        nuclear_fraction=_log_uniform(rng, 0.1 if kind == "solid" else 0.25, 0.6),
    )


def _emission(scene: Scene, rng: np.random.Generator) -> Image:
    """Light of nuclei about 1 bright, with haze, leakage and debris."""
    count = int(scene.cells.max()) + 1
    spread = rng.uniform(*BRIGHTNESS_SPREAD)
    level = np.exp(spread * rng.standard_normal(count)).astype(np.float32)
    inside = scene.nuclei > 0
    edge = np.clip(np.float32(0.5) - scene.gap / np.float32(scene.spacing[1]), 0, 1)
    light = level[scene.cells] * edge
    light *= _profile(scene, rng) * _texture(inside.shape, scene.spacing, rng)
    # What lies between nuclei that touch is a dark film in some stains, and nothing in others.
    light[_touching(scene.nuclei)] *= np.float32(rng.uniform(0.35, 1))
    light += _haze(scene, rng) + _debris(inside, scene.spacing, rng)
    emission: Image = light
    return emission


def _profile(scene: Scene, rng: np.random.Generator) -> Image:
    """Brightness from the centre of a nucleus to its edge: even, domed, or with a bright rim."""
    depth = np.clip(-scene.gap / np.float32(DIAMETER / 2), 0, 1)
    slope = np.float32(rng.normal(0, 0.35))
    profile: Image = np.clip(1 + slope * (depth - np.float32(0.3)), 0.2, 2)
    return profile


def _texture(
    shape: tuple[int, ...], spacing: tuple[float, float, float], rng: np.random.Generator
) -> Image:
    """Chromatin: a positive field of mean about 1; at times nucleoli, dark spots."""
    field = np.ones(shape, np.float32)
    for width in (_log_uniform(rng, 0.03, 0.08), _log_uniform(rng, 0.08, 0.25)):
        amount = np.float32(rng.uniform(0, 0.4))
        field += amount * _noise(shape, width * DIAMETER, spacing, rng)
    if rng.random() < 0.3:
        spots = _noise(shape, 0.1 * DIAMETER, spacing, rng) > 1.8
        field[spots] *= np.float32(rng.uniform(0.1, 0.6))
    texture: Image = np.clip(field, 0.05, 3)
    return texture


def _noise(
    shape: tuple[int, ...],
    width: float,
    spacing: tuple[float, float, float],
    rng: np.random.Generator,
) -> Image:
    """Gaussian noise of spread 1, smooth over `width` micrometres."""
    rough = rng.standard_normal(shape, dtype=np.float32)
    smooth: Image = ndimage.gaussian_filter(rough, [width / s for s in spacing], truncate=2.5)
    smooth /= np.float32(max(float(smooth.std()), 1e-9))
    return smooth


def _touching(labels: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Voxels of a nucleus whose neighbour along an axis belongs to another nucleus."""
    film = np.zeros(labels.shape, bool)
    for axis in range(3):
        lines, marks = np.moveaxis(labels, axis, 0), np.moveaxis(film, axis, 0)
        meet = (lines[1:] != lines[:-1]) & (lines[1:] > 0) & (lines[:-1] > 0)
        marks[1:] |= meet
        marks[:-1] |= meet
    return film


def _haze(scene: Scene, rng: np.random.Generator) -> Image:
    """Dye in cytoplasm, tissue or lumen, and membranes that leak in from another channel."""
    haze = np.zeros(scene.nuclei.shape, np.float32)
    if rng.random() < 0.6:
        haze[scene.organoids > 0] += np.float32(rng.uniform(0, 0.3))
    if rng.random() < 0.25:
        haze[scene.lumens > 0] += np.float32(rng.uniform(0, 0.4))
    if rng.random() < 0.4:
        near = np.clip(1 - scene.gap / np.float32(0.35 * DIAMETER), 0, 1)
        haze += np.float32(rng.uniform(0, 0.4)) * near
    if rng.random() < 0.3:
        walls = _walls(scene.cells)
        haze[walls] += np.float32(rng.uniform(0, 1.2))
    return haze


def _walls(cells: NDArray[np.uint32]) -> NDArray[np.bool_]:
    wall = np.zeros(cells.shape, bool)
    for axis in range(3):
        lines, marks = np.moveaxis(cells, axis, 0), np.moveaxis(wall, axis, 0)
        marks[1:] |= lines[1:] != lines[:-1]
    return wall


def _debris(
    inside: NDArray[np.bool_], spacing: tuple[float, float, float], rng: np.random.Generator
) -> Image:
    """Bright specks, much smaller than nuclei, that are none."""
    specks = np.zeros(inside.shape, np.float32)
    if rng.random() < 0.5:
        return specks
    count = int(rng.integers(1, 40))
    places = tuple(rng.integers(0, n, count) for n in inside.shape)
    sigma = np.array([_log_uniform(rng, 0.03, 0.1) * DIAMETER / s for s in spacing])
    specks[places] = rng.uniform(0.3, 2.5, count) * (2 * np.pi) ** 1.5 * sigma.prod()
    smooth: Image = ndimage.gaussian_filter(specks, sigma, truncate=2.5)
    return np.minimum(smooth, np.float32(3))


def _through_microscope(light: Image, scene: Scene, rng: np.random.Generator) -> Image:
    """Blur, take every n-th plane, lose light with depth, count photons, and fill the planes."""
    lateral = _log_uniform(rng, *LATERAL) * DIAMETER
    axial = max(lateral, _log_uniform(rng, *AXIAL) * DIAMETER)
    sigma = [
        SIGMA_PER_FWHM * width / step
        for width, step in zip((axial, lateral, lateral), scene.spacing)
    ]
    blurred = ndimage.gaussian_filter(light, sigma, mode="nearest", truncate=3)
    stack: Image = blurred[:: scene.factor]
    planes = np.arange(len(stack))
    step = int(rng.integers(1, MAX_PLANE_STEP + 1)) if rng.random() < 0.6 else 1
    taken = planes[int(rng.integers(step)) :: step]
    depth = np.maximum(taken * scene.spacing[0] * scene.factor - scene.top, 0)
    passed = np.exp(-rng.uniform(*LOSS) * depth) if rng.random() < 0.6 else np.ones(len(depth))
    if rng.random() < 0.15:
        passed = passed[::-1]
    photons = _log_uniform(rng, *PHOTONS)
    dark = rng.uniform(0, 0.25) * _shading(stack.shape[1:], rng)
    expected = stack[taken] * passed[:, None, None].astype(np.float32) + dark
    counted = rng.poisson(np.maximum(expected, 0) * photons).astype(np.float32) / photons
    counted += rng.uniform(0, 0.04) * rng.standard_normal(counted.shape, dtype=np.float32)
    return _fill_planes(counted.astype(np.float32), taken, len(stack))


def _shading(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    """Uneven background: a plane of mean 1 with a slope."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    slope = rng.uniform(-0.5, 0.5, 2).astype(np.float32)
    shading: Image = 1 + slope[0] * y[:, None] + slope[1] * x[None]
    return shading


def _fill_planes(stack: Image, taken: NDArray[np.intp], planes: int) -> Image:
    """Interpolate linearly between planes, as stacks are when brought to the training scale."""
    if len(taken) == planes:
        return stack
    at = np.interp(np.arange(planes), taken, np.arange(len(taken)))
    first = np.minimum(at.astype(int), max(len(taken) - 2, 0))
    part = (at - first).astype(np.float32)[:, None, None]
    last = np.minimum(first + 1, len(taken) - 1)
    filled: Image = (1 - part) * stack[first] + part * stack[last]
    return filled


def _afterwards(image: Image, rng: np.random.Generator) -> Image:
    """What people and programs do to pictures: smoothing, gamma, clipping."""
    if rng.random() < 0.3:
        width = rng.uniform(0.3, 1.2)
        image = ndimage.gaussian_filter(image, [0.5 * width, width, width], truncate=3)
    if rng.random() < 0.3:
        low = float(image.min())
        span = max(float(np.percentile(image, 99.8)) - low, 1e-6)
        image = np.maximum((image - low) / span, 0) ** np.float32(rng.uniform(0.6, 1.5))
    if rng.random() < 0.15:
        image = np.minimum(image, np.float32(np.percentile(image, rng.uniform(97, 99.9))))
    return image.astype(np.float32)
