"""Scenes with a known answer."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation


def grid(shape, spacing):
    """Positions of the voxels in micrometres about the middle of the volume."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def turned_solid(inside, reach, spacing, rng):
    """Label image of the solid where `inside(points)`, turned and shifted at random."""
    spacing = np.asarray(spacing, dtype=float)
    shape = np.ceil(2 * reach / spacing).astype(int) + 4
    points = grid(shape, spacing) + rng.uniform(-0.5, 0.5, 3) * spacing
    turn = Rotation.random(random_state=int(rng.integers(2**31)))
    return inside(points @ turn.as_matrix().T).astype(np.uint8)


@pytest.fixture
def solid():
    return turned_solid


def make_scene(shape=(18, 60, 60), spacing=(1.0, 0.5, 0.5), count=9, seed=0, channels=("a", "b")):
    """Ellipsoids (ellipses) that do not touch the border, in channels of textured noise."""
    rng = np.random.default_rng(seed)
    scale, ends = np.array(spacing), np.array(shape) * np.array(spacing)
    labels, found = np.zeros(shape, np.int32), 0
    where = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * scale
    for _ in range(1000):
        axes = rng.uniform(2.2, 4.0, len(shape))
        centre = rng.uniform(axes + scale, ends - axes - 2 * scale)
        mask = (((where - centre) / axes) ** 2).sum(-1) <= 1
        if found < count and mask.any() and not labels[mask].any():
            found += 1
            labels[mask] = found
    images = {}
    for i, name in enumerate(channels):
        noise = ndimage.gaussian_filter(rng.standard_normal(shape), 1) * 300
        shared = 0.0 if i == 0 else 0.4 * images[channels[0]]
        values = 500 + noise + shared + rng.standard_normal(shape) * 30 + 400 * (labels > 0)
        images[name] = np.clip(values, 1, None).round()
    return labels, images


@pytest.fixture(scope="session")
def scene3d():
    return (*make_scene(), (1.0, 0.5, 0.5))


@pytest.fixture(scope="session")
def scene2d():
    labels, images = make_scene((90, 90), (0.5, 0.5), count=12)
    return labels, images, (0.5, 0.5)
