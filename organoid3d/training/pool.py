"""Examples on disk: users' stacks at the training scale, and simulated ones made when first drawn.

Files are memory-mapped, so the pool may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.cutout import find_cut
from poolvox.organoid3d.training.batches import Example, normalise
from poolvox.organoid3d.training.scale import (
    lateral_diameter,
    resize_image,
    resize_labels,
    scale_factors,
)
from poolvox.organoid3d.training.variety import simulate_example
from poolvox.shared.errors import InputError

__all__ = ["Pool", "to_training_scale"]

Triple = tuple[float, float, float]

# Simulated stacks are numbered from here on in the seed, apart from the numbers of steps.
SIMULATED_STREAM = 1_000_000_007
LARGEST_LABEL = 65535


def to_training_scale(
    image: NDArray[np.generic],
    labels: NDArray[np.integer],
    spacing: Sequence[float],
    *,
    target: Triple,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Bring an annotated stack to the size of nucleus that the network is trained on.

    Parameters
    ----------
    image, labels : (Z, Y, X) arrays
    spacing : voxel size, micrometres
    target : diameter of the median nucleus at the training scale, voxels
    """
    diameter = lateral_diameter(labels) * spacing[1]
    factors = scale_factors(diameter, spacing, target)
    cut = find_cut(image)
    seen = cut.filled(image) if cut else image
    resized = normalise(resize_image(normalise(seen), factors))
    return resized, resize_labels(labels, factors)


@dataclass(frozen=True, slots=True)
class Pool:
    """Examples to train on.

    Parameters
    ----------
    folder : of the files
    real : number of stacks put in by `put`
    simulated : number of simulated stacks
    simulated_part : part of the patches that come from them
    target : diameter of the median nucleus, voxels
    seed : of the simulation
    """

    folder: Path
    real: int
    simulated: int
    simulated_part: float
    target: Triple
    seed: int

    def __len__(self) -> int:
        """Number of examples."""
        return self.real + self.simulated

    def put(self, number: int, image: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
        """Store an example."""
        if labels.max(initial=0) > LARGEST_LABEL:
            raise InputError(f"a stack has more than {LARGEST_LABEL} objects: cut it in parts")
        self.folder.mkdir(parents=True, exist_ok=True)
        objects = np.unique(labels[labels > 0])
        centers = np.array(ndimage.center_of_mass(labels > 0, labels, objects)).reshape(-1, 3)
        parts = {
            "labels": labels.astype(np.uint16),
            "centers": centers,
            # The image comes last: where it lies, the example is complete.
            "image": np.clip(image, -100, 100).astype(np.float16),
        }
        for name, array in parts.items():
            path = self._path(number, name)
            fresh = path.with_name(path.name + ".new")
            with fresh.open("wb") as file:
                np.save(file, array)
            fresh.replace(path)

    def has(self, number: int) -> bool:
        """Whether an example is stored."""
        return self._path(number, "image").exists()

    def __getitem__(self, number: int) -> Example:
        """Open an example; a simulated one is made if it is not there yet."""
        if not self.has(number):
            self._simulate(number)
        image, labels = (np.load(self._path(number, n), mmap_mode="r") for n in ("image", "labels"))
        return Example(image, labels, np.load(self._path(number, "centers")))

    def draw(self, size: int, rng: np.random.Generator) -> list[Example]:
        """Draw examples: simulated or not first, then one of the kind by its root of objects."""
        return [self[self._draw_one(rng)] for _ in range(size)]

    def _draw_one(self, rng: np.random.Generator) -> int:
        simulated = rng.random() < self.simulated_part
        if self.simulated and (simulated or not self.real):
            return self.real + int(rng.integers(self.simulated))
        return int(rng.integers(self.real))

    def _simulate(self, number: int) -> None:
        if not self.real <= number < len(self):
            raise InputError(f"there is no example {number} in {self.folder}")
        rng = np.random.default_rng([self.seed, SIMULATED_STREAM, number - self.real])
        image, labels = simulate_example(rng, voxels=self.target)
        self.put(number, normalise(image), labels)

    def _path(self, number: int, name: str) -> Path:
        return self.folder / f"{number:05d}_{name}.npy"
