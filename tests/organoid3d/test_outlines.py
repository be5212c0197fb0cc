import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from poolvox.organoid3d.outlines import OutlineOptions, refine_labels
from poolvox.shared.errors import InputError

SPACING = (2.0, 0.8, 0.8)
CENTERS = ((24.0, 12.0, 14.0), (24.0, 12.0, 26.0), (22.0, 30.0, 24.0))
RADIUS = 5.0


def balls(radius, centers=CENTERS, shape=(24, 52, 52)):
    grid = np.indices(shape) * np.reshape(SPACING, (3, 1, 1, 1))
    labels = np.zeros(shape, np.uint32)
    for number, center in enumerate(centers, 1):
        away = np.linalg.norm(grid - np.reshape(center, (3, 1, 1, 1)), axis=0)
        labels[(away < radius) & (labels == 0)] = number
    return labels


def picture(labels, *, noise=0.04, seed=0, blur=(0.5, 0.8, 0.8)):
    light = ndimage.gaussian_filter((labels > 0).astype(np.float32), blur)
    return 0.1 + light + noise * np.random.default_rng(seed).standard_normal(labels.shape)


def iou(a, b):
    return np.array([((a == n) & (b == n)).sum() / ((a == n) | (b == n)).sum() for n in (1, 2, 3)])


@pytest.mark.parametrize("radius", [3.6, 6.4])
def test_outlines_that_are_too_small_or_too_large_move_to_the_edge(radius):
    truth = balls(RADIUS)
    guess = balls(radius)
    refined = refine_labels(guess, picture(truth), spacing=SPACING)
    assert iou(truth, guess).max() < 0.62
    assert iou(truth, refined).min() > 0.75


def test_right_outlines_stay_as_they_are():
    truth = balls(RADIUS)
    refined = refine_labels(truth, picture(truth), spacing=SPACING)
    assert (refined == truth).all()


def test_objects_that_do_not_stand_out_stay_as_they_are():
    guess = balls(3.6)
    noise = np.random.default_rng(1).standard_normal(guess.shape)
    assert (refine_labels(guess, noise, spacing=SPACING) == guess).all()


def test_neighbours_keep_their_own_voxels():
    # Two nuclei of one brightness touch; the guess for one is too small, for the other right.
    centers = ((24.0, 20.0, 14.0), (24.0, 20.0, 24.0), (24.0, 36.0, 36.0))
    truth = balls(RADIUS, centers)
    guess = np.where(truth == 1, np.where(balls(3.6, centers) == 1, 1, 0), truth)
    refined = refine_labels(guess, picture(truth), spacing=SPACING)
    assert (refined[truth == 2] == 2).all()
    assert iou(truth, refined)[0] > iou(truth, guess)[0] + 0.15


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 1.5), st.floats(0, 1))
def test_whatever_the_image_outlines_stay_within_reach(seed, factor, noise):
    rng = np.random.default_rng(seed)
    guess = balls(RADIUS * factor)
    names = np.array([0, 7, 300, 12], np.uint32)
    image = picture(balls(RADIUS), noise=noise, seed=seed) + rng.normal()
    options = OutlineOptions(reach=0.3)
    refined = refine_labels(names[guess], image, spacing=SPACING, options=options)
    assert set(np.unique(refined)) == set(names.tolist())
    assert (
        refined == refine_labels(names[guess], 7 * image - 3, spacing=SPACING, options=options)
    ).all()
    for number in (1, 2, 3):
        mine = guess == number
        radius = np.cbrt(mine.sum() * np.prod(SPACING) * 3 / (4 * np.pi))
        metric = np.minimum(SPACING, 0.3 * radius)
        far = ndimage.distance_transform_edt(~mine, sampling=metric) > 0.3 * radius + 1e-6
        assert not (refined[far] == names[number]).any()
        core = ndimage.distance_transform_edt(mine, sampling=metric) > 0.3 * radius + 1e-6
        assert (refined[core] == names[number]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"reach": 0}, "reach"), ({"level": 1}, "level"), ({"tolerance": -0.1}, "tolerance")],
)
def test_impossible_options_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        OutlineOptions(**change)


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"one z, y, x"):
        refine_labels(np.zeros((2, 3, 4), int), np.zeros((2, 3, 5)), spacing=SPACING)


def test_nothing_stays_nothing():
    assert not refine_labels(np.zeros((3, 8, 8), int), np.ones((3, 8, 8)), spacing=SPACING).any()
