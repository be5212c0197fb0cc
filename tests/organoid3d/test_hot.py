import functools
import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from poolvox.organoid3d.config import Organoid3dConfig
from poolvox.organoid3d.hot import Quiet, hot_excess, quieten
from poolvox.organoid3d.nuclei import find_nuclei
from poolvox.organoid3d.simulate import FieldSpec, OrganoidSpec, simulate_field
from poolvox.organoid3d.stack import segment_stack
from poolvox.shared.evaluate import evaluate_labels

SPACING = (2.0, 0.6, 0.6)


@pytest.fixture(scope="module")
def field():
    return simulate_field(FieldSpec((OrganoidSpec("cyst", 40),), SPACING), np.random.default_rng(1))


def planted(image, count, value=65535, columns=False):
    """A stack with hot voxels, or hot pixels of all planes, at random places."""
    hot, rng = image.copy(), np.random.default_rng(3)
    if columns:
        hot.reshape(len(hot), -1)[:, rng.choice(hot[0].size, count, replace=False)] = value
    else:
        hot.reshape(-1)[rng.choice(hot.size, count, replace=False)] = value
    return hot


@pytest.mark.parametrize(("count", "columns"), [(50, False), (2000, False), (50, True)])
def test_hot_voxels_change_neither_nuclei_nor_organoids(field, count, columns):
    image = field.image[0]
    config = Organoid3dConfig.model_validate(
        {
            "output": "/out",
            "pipeline": "organoid3d",
            "nuclei": {"model": "classical"},
            "raw": {"stacks": {"files": "{well}.tif", "channels": ["nuclei"]}},
        }
    )
    results = [
        segment_stack({"nuclei": pixels}, SPACING, config)
        for pixels in (image, planted(image, count, columns=columns))
    ]
    expected, found = (
        evaluate_labels(field.nuclei, each.labels.nuclei, threshold=0.5).main.f1 for each in results
    )
    assert found > expected - 0.03
    before, after = (np.count_nonzero(each.labels.organoids) for each in results)
    assert after == pytest.approx(before, rel=0.01)
    assert not any("hot" in note for note in results[0].notes)
    number = count * len(image) if columns else count
    assert results[1].notes[0].startswith(f"nuclei: {number} hot voxels")


def test_hot_voxels_are_told_by_the_function_too(field):
    image = field.image[0].copy()
    image[3, 4, 5] = 65535
    found = find_nuclei(image, spacing=SPACING, model="classical")
    assert found.notes[0].startswith("1 hot voxel, ")


@pytest.mark.parametrize("kind", [np.uint16, ">u2", np.int32, np.float32, np.float64])
def test_only_what_is_hot_is_replaced(field, kind):
    image = field.image[0].astype(kind)
    hot = planted(image, 2000)
    quiet = quieten(hot)
    assert quiet.count == 2000
    assert quiet.pixels.dtype == hot.dtype
    assert (quiet.pixels[hot == image] == image[hot == image]).all()
    # What they were is about their neighbours' median; some of these were in nuclei.
    assert np.abs(quiet.pixels.astype(float) - image).max() < np.ptp(image.astype(float)) / 2


def test_hot_voxels_at_borders_and_side_by_side(field):
    image = field.image[0].copy()
    image[0, 0, 0] = image[2, 0, 9] = image[5, 7:9, 0] = image[6, 20, 20:23] = 65535
    quiet = quieten(image)
    assert quiet.count == 7
    assert quiet.pixels.max() == field.image[0].max()


def test_clusters_of_two_by_two_are_hot(field):
    # As resampling makes them of hot pixels; these left no nucleus.
    image, rng = field.image[0].copy(), np.random.default_rng(4)
    tall, wide = image.shape[1:]
    for number, z in enumerate(rng.integers(0, len(image), 100)):
        y, x = rng.integers(0, tall - 1), rng.integers(0, wide - 1)
        image[z, y : y + 2, x : x + (2 if number % 2 else 1)] = 65535
    quiet = quieten(image)
    assert quiet.count == np.count_nonzero(image == 65535)
    assert quiet.pixels.max() <= field.image[0].max()


def test_voxels_that_are_not_finite_are_left_to_others(field):
    image = planted(field.image[0].astype(np.float32), 100)
    image[4:6, 3:9, 3:9], image[7, 7, 7], image[8, 8, 8] = np.nan, np.inf, -np.inf
    quiet = quieten(image).pixels
    assert (np.isfinite(quiet) == np.isfinite(image)).all()
    assert quiet[np.isfinite(quiet)].max() < 65535


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_regions_are_those_of_the_whole(field, axis):
    hot = planted(field.image[0], 3000)
    hot[5, 40:42, 40:42] = hot[6, 50:52, 51:53] = 65535
    whole, quiet = quieten(hot), Quiet.of(hot)
    assert quiet.count() == whole.count == np.count_nonzero(hot == 65535)
    edges = np.linspace(0, hot.shape[axis], 7).astype(int)
    for start, stop in itertools.pairwise(edges):
        region = tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))
        assert (quiet[region] == whole.pixels[region]).all()
    assert (quiet[3:5] == whole.pixels[3:5]).all()
    assert (quiet[3:9, 5:6, 7:8] == whole.pixels[3:9, 5:6, 7:8]).all()


@functools.cache
def coarse(size, blur, step):
    """Nuclei of a few voxels, `size` (z, y, x), at any part of a voxel; pixels gather light.

    `blur` is the width of a point of light at half its height, voxels.
    """
    rng, light = np.random.default_rng(5), np.zeros((12, 90, 90))
    fine = np.stack(np.meshgrid(np.arange(12), *2 * [(np.arange(65) - 2) / 5], indexing="ij"), -1)
    for y, x in itertools.product(range(4, 80, step), repeat=2):
        middle = np.array([rng.choice([3, 8]), 6, 6]) + rng.uniform(-0.5, 0.5, 3)
        away = np.linalg.norm((fine - middle) / np.array(size) * 2, axis=-1)
        sharp = gaussian_filter((away < 1).astype(float), np.array([1, 5, 5]) * blur / 2.355)
        pixels = sharp.reshape(12, 13, 5, 13, 5).mean(axis=(2, 4))
        box = light[:, y - 4 : y + 9, x - 4 : x + 9]
        np.maximum(box, pixels[:, : box.shape[1], : box.shape[2]], out=box)
    return light


NOISES = {
    "none": lambda light, rng: 1000 * light,
    "of few photons": lambda light, rng: 50.0 * rng.poisson(12 * light + 0.05),
    "of a camera": lambda light, rng: rng.normal(100, 3, light.shape) + rng.poisson(300 * light),
    "of a multiplier": lambda light, rng: rng.gamma(np.maximum(rng.poisson(8 * light + 1), 1e-9)),
    "in 8 bits": lambda light, rng: np.clip(rng.normal(90 * light, 30), 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(
    ("size", "blur"), [((2, 4, 4), 0), ((2, 4, 4), 1.25), ((3, 5, 5), 0), ((3, 8, 8), 0)]
)
@pytest.mark.parametrize("step", [11, 40])
def test_small_nuclei_and_sharp_noise_are_not_touched(noise, size, blur, step):
    stack = NOISES[noise](coarse(size, blur, step), np.random.default_rng(5))
    # A photon may be alone: one voxel of 97,200 at most.
    assert quieten(stack).count <= (noise == "of few photons")


@pytest.mark.parametrize("noise", ["normal", "exponential", "poisson"])
def test_noise_alone_is_not_touched(noise):
    stack = getattr(np.random.default_rng(6), noise)(size=(20, 250, 250))
    assert quieten(stack).count == 0


@pytest.mark.parametrize("shape", [(4, 1, 9), (4, 2, 2), (1, 3, 3), (0, 9, 9)])
def test_stacks_without_neighbours_are_left_alone(shape):
    stack = np.zeros(shape, np.uint16)
    stack[..., -1:] = 9000
    assert quieten(stack).pixels is stack


def test_a_blank_stack_has_nothing_hot():
    assert quieten(np.full((3, 9, 9), 7)).count == 0
    assert hot_excess(np.full((3, 9, 9), np.nan)) == np.inf
