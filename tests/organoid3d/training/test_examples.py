import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolvox.organoid3d.training.batches import UNKNOWN, Example, Targets, draw_patch, normalise
from poolvox.organoid3d.training.pool import Pool, to_training_scale
from poolvox.organoid3d.training.scale import lateral_diameter, resize_image, resize_labels
from poolvox.organoid3d.training.variety import simulate_example

TARGET = (7.0, 14.0, 14.0)


def balls(shape=(20, 60, 60), step=(2.0, 1.0, 1.0), radius=7.0):
    grid = np.indices(shape) * np.reshape(step, (3, 1, 1, 1))
    labels = np.zeros(shape, np.int32)
    for number, center in enumerate(((20, 20, 18), (20, 42, 40)), 1):
        away = np.linalg.norm(grid - np.reshape(center, (3, 1, 1, 1)), axis=0)
        labels[away < radius] = number
    return labels


def example(labels):
    centers = np.array([np.argwhere(labels == n).mean(axis=0) for n in (1, 2)])
    return Example((labels > 0).astype(np.float16), labels.astype(np.uint16), centers)


def test_lateral_diameter():
    assert lateral_diameter(balls()) == pytest.approx(14, abs=0.5)
    assert np.isnan(lateral_diameter(np.zeros((2, 3, 4), int)))


@pytest.mark.parametrize("spacing", [(5.0, 0.5, 0.5), (2.0, 1.0, 1.0), (0.3, 0.3, 0.3)])
def test_nuclei_come_to_the_training_size_wherever_they_come_from(spacing):
    radius = 5.0
    shape = tuple(int(40 / s) for s in spacing)
    labels = np.zeros(shape, np.int32)
    grid = (np.indices(shape) + 0.5) * np.reshape(spacing, (3, 1, 1, 1))
    for number, center in enumerate(((12, 12, 12), (22, 30, 28)), 1):
        away = np.linalg.norm(grid - np.reshape(center, (3, 1, 1, 1)), axis=0)
        labels[away < radius] = number
    _, scaled = to_training_scale(labels, labels, spacing, target=TARGET)
    assert lateral_diameter(scaled) == pytest.approx(14, rel=0.08)
    for number, center in enumerate(((12, 12, 12), (22, 30, 28)), 1):
        found = (np.argwhere(scaled == number).mean(axis=0) + 0.5) / scaled.shape * 40
        assert found == pytest.approx(center, abs=0.6)
        volume = np.count_nonzero(scaled == number)
        # Two planes of a ball, each standing for 5 micrometres, are 0.87 of it at best.
        assert volume == pytest.approx(np.pi / 6 * np.prod(TARGET), rel=0.25)


def test_planes_far_apart_are_bridged_by_shapes():
    sparse = balls(step=(1.0, 1.0, 1.0), shape=(42, 60, 60))[2::4]
    bridged = resize_labels(sparse, (4.0, 1.0, 1.0))
    areas = np.count_nonzero(bridged == 1, axis=(1, 2)).astype(float)
    steps = np.abs(np.diff(areas))
    assert steps.max() < 0.6 * np.abs(np.diff(np.count_nonzero(sparse == 1, axis=(1, 2)))).max()


def test_images_keep_their_place_when_resized():
    image = balls().astype(np.float32)
    for factors in ((1.0, 0.5, 0.5), (3.0, 1.3, 0.7)):
        resized = resize_image(image, factors)
        grid = np.indices(resized.shape)
        middle = [(grid[a] * resized).sum() / resized.sum() for a in range(3)]
        before = [(np.indices(image.shape)[a] * image).sum() / image.sum() for a in range(3)]
        scaled = [(b + 0.5) * m / n for b, m, n in zip(before, resized.shape, image.shape)]
        assert np.array(middle) + 0.5 == pytest.approx(scaled, abs=0.1)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_image_and_labels_of_a_patch_fit(seed):
    made = example(balls())
    image, labels = draw_patch(made, (16, 40, 40), np.random.default_rng(seed))
    again = draw_patch(made, (16, 40, 40), np.random.default_rng(seed))
    assert (image == again[0]).all()
    assert (labels == again[1]).all()
    assert set(np.unique(labels)) <= {UNKNOWN, 0, 1, 2}
    inside, outside = image[labels > 0], image[labels == 0]
    if min(len(inside), len(outside)) > 200:
        assert np.median(inside) - np.median(outside) > 0.25


def test_targets_tell_the_ball():
    from stardist import Rays_GoldenSpiral

    targets = Targets(Rays_GoldenSpiral(32, anisotropy=(2, 1, 1)), (1, 2, 2), (2.0, 1.0, 1.0))
    labels = balls()
    labels[:, :4] = UNKNOWN
    probability, distances, known = targets.of(labels)
    assert probability.shape == (20, 30, 30)
    at = np.unravel_index(probability.argmax(), probability.shape)
    assert np.linalg.norm((np.array(at) - (10, 10, 9)) * (2, 2, 2)) < 3
    rays = Rays_GoldenSpiral(32, anisotropy=(2, 1, 1)).vertices
    length = distances[10, 10, 9] * np.linalg.norm(rays * (2, 1, 1), axis=1)
    assert length == pytest.approx(np.full(32, 7), abs=2)
    assert not known[:, :2].any()
    assert known[:, 2:].all()
    assert not probability[:, :2].any()


def test_normalise_bears_a_stack_of_one_value():
    assert not normalise(np.full((3, 4, 5), 7, np.uint16)).any()
    scaled = normalise(np.arange(1000, dtype=np.uint16).reshape(10, 10, 10), (10, 90))
    assert np.percentile(scaled, [10, 90]) == pytest.approx([0, 1], abs=1e-6)


def test_simulated_stacks_are_varied_and_repeatable():
    made = [simulate_example(np.random.default_rng([4, n]), voxels=TARGET) for n in range(3)]
    image, labels = simulate_example(np.random.default_rng([4, 0]), voxels=TARGET)
    assert (image == made[0][0]).all()
    assert (labels == made[0][1]).all()
    for image, labels in made:
        assert image.shape == labels.shape
        assert np.isfinite(image).all()
        assert 0.6 < lateral_diameter(labels) / 14 < 1.4
        assert np.median(image[labels > 0]) > np.median(image[labels == 0])
    assert len({image.shape for image, _ in made} | {labels.max() for _, labels in made}) > 3


def test_the_pool_makes_simulated_stacks_when_they_are_drawn(tmp_path):
    pool = Pool(tmp_path, 1, 2, 0.5, TARGET, seed=1)
    labels = balls()
    pool.put(0, labels.astype(np.float32), labels)
    assert not pool.has(1)
    made = pool[1]
    assert pool.has(1)
    assert not pool.has(2)
    other = Pool(tmp_path / "other", 1, 2, 0.5, TARGET, seed=1)
    assert (other[1].labels == made.labels).all()
    drawn = pool.draw(20, np.random.default_rng(0))
    assert 4 < sum(d.labels.shape == labels.shape for d in drawn) < 16
