"""What the benchmarks of the features share: scenes, clocks, and lines with their target."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from poolvox.shared.features import measure

SPACING_3D = (1.0, 0.5, 0.5)
SPACING_2D = (0.325, 0.325)
# Radii of nuclei and of cells in micrometres.
NUCLEI, CELLS = (3.2, 4.6), (4.0, 6.0)


class Report:
    """Lines of a measurement with its target; knows whether one was missed."""

    def __init__(self) -> None:
        self.missed = 0

    def line(self, what: str, value: float, unit: str, target: float, at_most: bool) -> None:
        good = value <= target if at_most else value >= target
        self.missed += not good
        asked = f"asked {'<=' if at_most else '>='} {target:g}"
        print(f"{'pass' if good else 'MISS'} {what:72s} found {value:8.2f} {unit}, {asked}")


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work()
    return time.process_time() - start


def ours(labels, images, spacing, groups, *options) -> float:
    """CPU seconds of our groups, once compiled."""
    small, few = corner(labels, images, 48)
    measure(small, few, spacing=spacing, groups=groups, options=options)
    return cpu(lambda: measure(labels, images, spacing=spacing, groups=groups, options=options))


def corner(labels, images, side: int):
    """A piece of a scene, to compile and load what is measured with."""
    cut = tuple(slice(0, side) for _ in labels.shape)
    return labels[cut], {name: image[cut] for name, image in images.items()}


def scene(shape, spacing, count, radii, channels, seed=0):
    """`count` ellipsoids of random radii in micrometres that do not overlap, and their channels."""
    rng = np.random.default_rng(seed)
    scale = np.array(spacing)
    labels, found = np.zeros(shape, np.int32), 0
    while found < count:
        axes = rng.uniform(*radii) * rng.uniform(0.8, 1.25, len(shape))
        centre = rng.uniform(0, 1, len(shape)) * shape * scale
        low = np.maximum(((centre - axes) / scale).astype(int), 0)
        high = np.minimum(((centre + axes) / scale).astype(int) + 2, shape)
        box = tuple(slice(a, b) for a, b in zip(low, high))
        grid = np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high)], indexing="ij")
        where = np.stack(grid, axis=-1) * scale
        mask = (((where - centre) / axes) ** 2).sum(-1) <= 1
        if mask.any() and not labels[box][mask].any():
            found += 1
            labels[box][mask] = found
    images = {}
    for i in range(channels):
        noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 1) * 400
        noise += rng.standard_normal(shape, dtype=np.float32) * 100 + 1000 + 800 * (labels > 0)
        images[f"c{i}"] = np.clip(noise, 0, 65535).astype(np.uint16)
    return labels, images
