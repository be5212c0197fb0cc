"""What the network is shown at each step: a patch cut from an example, changed at random.

The patch of step n depends on the seed and on n alone, so that a resumed training goes on as if it
had never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Batch", "Example", "Targets", "draw_patch", "make_batch", "normalise"]

Image = NDArray[np.float32]
Labels = NDArray[np.int32]

# Percentiles of a stack that become 0 and 1.
PERCENTILES = (1.0, 99.8)
# Labels beyond the stack: nothing is known there, so nothing is asked.
UNKNOWN = -1
# Patches centred on an object; the others are cut anywhere.
ON_OBJECTS = 0.85
# Ranges of what is done to a patch: factors on the size in the plane and, on top, along z.
ZOOM = (0.72, 1.4)
STRETCH = (0.7, 1.6)
# Contrast and brightness after normalisation, as percentiles that are a bit off would change them.
GAIN = (0.4, 1.7)
# Some patches are bent as well: dim nuclei come nearer to bright ones, or go farther from them.
BENT = 0.4
BEND = (0.6, 1.5)
SHIFT = 0.25
NOISE = 0.08


@dataclass(frozen=True, slots=True)
class Example:
    """An annotated stack at the training scale.

    Attributes
    ----------
    image : (Z, Y, X) array, normalised to its percentiles
    labels : (Z, Y, X) array
    centers : (N, 3) array, of the objects, voxels
    """

    image: NDArray[np.floating]
    labels: NDArray[np.integer]
    centers: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Targets:
    """What the network is to say of a patch.

    Parameters
    ----------
    rays : directions, a `stardist` object
    grid : voxels per answer of the network (z, y, x)
    anisotropy : of objects at the training scale, as StarDist counts it
    """

    rays: Any
    grid: tuple[int, int, int]
    anisotropy: tuple[float, float, float]

    def of(self, labels: Labels) -> tuple[Image, Image, Image]:
        """Probability (Z, Y, X), distances (Z, Y, X, R), and where they are known (Z, Y, X)."""
        from stardist.geometry import star_dist3D
        from stardist.utils import edt_prob

        cells = tuple(slice(None, None, step) for step in self.grid)
        distances = star_dist3D(labels, self.rays, grid=self.grid, mode="cpp")
        found = edt_prob(np.maximum(labels, 0), anisotropy=self.anisotropy)[cells]
        known = (labels[cells] != UNKNOWN).astype(np.float32)
        return found.astype(np.float32), distances.astype(np.float32), known


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's patches; N patches, and Z, Y, X on the grid of the network for the answers.

    Attributes
    ----------
    image : (N, Z, Y, X, 1) array
    probability, known : (N, Z, Y, X, 1) arrays
    distances : (N, Z, Y, X, R) array
    """

    image: Image
    probability: Image
    distances: Image
    known: Image


def normalise(
    image: NDArray[np.generic], percentiles: Sequence[float] = PERCENTILES
) -> NDArray[np.float32]:
    """Bring two percentiles of a stack to 0 and 1; a stack of one value becomes zeros."""
    values = np.asarray(image, np.float32)
    low, high = np.percentile(values, percentiles)
    if high <= low:
        return np.zeros_like(values)
    scaled: Image = (values - np.float32(low)) / np.float32(high - low)
    return scaled


def make_batch(
    examples: Sequence[Example],
    targets: Targets,
    *,
    patch: tuple[int, int, int],
    rng: np.random.Generator,
) -> Batch:
    """Cut one patch from each example."""
    images, answers = [], []
    for example in examples:
        image, labels = draw_patch(example, patch, rng)
        images.append(image)
        answers.append(targets.of(labels))
    found, distances, known = (np.stack(part) for part in zip(*answers))
    return Batch(np.stack(images)[..., None], found[..., None], distances, known[..., None])


def draw_patch(
    example: Example, patch: tuple[int, int, int], rng: np.random.Generator
) -> tuple[Image, Labels]:
    """Cut a patch, turned about z, mirrored, resized, and changed in brightness."""
    turn = _random_turn(rng)
    center = _random_center(example, rng)
    offset = center - turn @ ((np.array(patch) - 1) / 2)
    box, offset = _reached(turn, offset, patch, example.image.shape)
    cut = ndimage.affine_transform(
        example.image[box].astype(np.float32),
        turn,
        offset,
        patch,
        order=1,
        mode="reflect",
    )
    truth = ndimage.affine_transform(
        example.labels[box].astype(np.int32),
        turn,
        offset,
        patch,
        order=0,
        mode="constant",
        cval=UNKNOWN,
    )
    return _recoloured(cut, rng), truth


def _reached(
    turn: NDArray[np.float64],
    offset: NDArray[np.float64],
    patch: tuple[int, int, int],
    shape: tuple[int, ...],
) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """Part of an example that a patch covers, and the offset within it."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in patch], indexing="ij"), -1).reshape(-1, 3)
    reached = corners @ turn.T + offset
    low = np.clip(np.floor(reached.min(axis=0)).astype(int) - 1, 0, np.array(shape) - 1)
    high = np.clip(np.ceil(reached.max(axis=0)).astype(int) + 2, low + 1, shape)
    return tuple(slice(a, b) for a, b in zip(low, high)), offset - low


def _random_turn(rng: np.random.Generator) -> NDArray[np.float64]:
    """Matrix from a patch's voxels to the example's: turn about z, mirrors, sizes."""
    angle = rng.uniform(0, 2 * np.pi)
    zoom = np.exp(rng.uniform(*np.log(ZOOM)))
    stretch = np.exp(rng.uniform(*np.log(STRETCH)))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[1.0, 0, 0], [0, cos, -sin], [0, sin, cos]])
    turn[:, 0] *= rng.choice((-1, 1))
    turn[:, 2] *= rng.choice((-1, 1))
    matrix: NDArray[np.float64] = turn / (zoom * np.array([stretch, 1, 1]))
    return matrix


def _random_center(example: Example, rng: np.random.Generator) -> NDArray[np.float64]:
    shape = np.array(example.image.shape)
    if len(example.centers) and rng.random() < ON_OBJECTS:
        center = example.centers[rng.integers(len(example.centers))]
        place: NDArray[np.float64] = center + rng.uniform(-0.5, 0.5, 3) * (6, 40, 40)
        return np.clip(place, 0, shape - 1)
    anywhere: NDArray[np.float64] = rng.uniform(0, 1, 3) * (shape - 1)
    return anywhere


def _recoloured(image: Image, rng: np.random.Generator) -> Image:
    gain, shift = np.exp(rng.uniform(*np.log(GAIN))), rng.uniform(-SHIFT, SHIFT)
    if rng.random() < BENT:
        bend = np.float32(np.exp(rng.uniform(*np.log(BEND))))
        image = np.sign(image) * np.abs(image) ** bend
    changed = np.float32(gain) * image + np.float32(shift)
    if rng.random() < 0.3:
        changed += np.float32(rng.uniform(0, NOISE)) * rng.standard_normal(
            image.shape, dtype=np.float32
        )
    return changed
