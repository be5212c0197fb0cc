import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from poolvox.shared.imaging.combine import noise_level, weighted_sum
from poolvox.shared.imaging.warp import Transform, resample

angles = st.floats(-180, 180)
numbers = st.floats(-50, 50)


@given(angles, st.floats(0.5, 2), numbers, numbers)
def test_inverse_undoes_a_transform(rotation, scale, y, x):
    there = Transform.about((20, 30), (y, x), rotation=rotation, scale=scale)
    points = np.array([[0.0, 0.0], [5.0, -3.0], [100.0, 40.0]])
    assert there.inverse().apply(there.apply(points)) == pytest.approx(points, abs=1e-6)
    assert there.inverse().after(there).apply(points) == pytest.approx(points, abs=1e-6)


def test_about_keeps_the_centre_but_for_the_shift():
    centre = np.array([[10.0, 20.0]])
    moved = Transform.about((10, 20), (1, -2), rotation=37, scale=1.3).apply(centre)
    assert moved == pytest.approx(np.array([[11, 18]]))


def test_after_applies_the_other_first():
    turn, move = Transform.about((0, 0), (0, 0), rotation=90), Transform((1.0, 0.0))
    assert turn.after(move).apply(np.array([[0.0, 0.0]])) == pytest.approx(np.array([[0, 1]]))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_resampling_agrees_with_scipy(dtype):
    image = (1000 * np.random.default_rng(0).random((40, 50))).astype(dtype)
    transform = Transform.about((20, 25), (2.3, -1.7), rotation=3, scale=1.01)
    expected = ndimage.affine_transform(
        image.astype(float), np.array(transform.matrix), transform.shift, order=1
    )
    inner = np.s_[8:-8, 8:-8]
    tolerance = 0.51 if dtype == np.uint16 else 0.01
    assert resample(image, transform)[inner] == pytest.approx(expected[inner], abs=tolerance)


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-2.4, 1.32), (7.5, 60), (-100, 0.5)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_moving_and_turning_by_nothing_agree(shift, dtype):
    image = (60000 * np.random.default_rng(0).random((40, 50))).astype(dtype)
    moved = resample(image, Transform(shift))
    almost = Transform(shift, ((1.0, 1e-12), (0.0, 1.0)))
    turned = resample(image, almost)
    # On the outermost row and column a hair decides whether a pixel is inside.
    both = (moved > 0) & (turned > 0)
    assert moved[both].astype(float) == pytest.approx(turned[both].astype(float), abs=1.01)
    assert np.sum((moved > 0) != (turned > 0)) <= 100


def test_a_shift_by_whole_pixels_is_exact_to_the_border():
    image = np.arange(48, dtype=np.uint16).reshape(6, 8)
    assert np.array_equal(resample(image, Transform()), image)
    assert np.array_equal(resample(image, Transform((1.0, -2.0)))[:5, 2:], image[1:, :-2])


def test_bright_pixels_do_not_overflow():
    image = np.full((8, 8), 65535, np.uint16)
    assert (resample(image, Transform((0.4, 0.6)))[:7, :7] == 65535).all()


@pytest.mark.parametrize(
    "transform", [Transform((0.25, -3.5)), Transform.about((16, 16), (1.5, 2.0), rotation=2)]
)
def test_weighted_sum_is_the_sum_of_resampled_planes(transform):
    planes = np.random.default_rng(0).integers(0, 5000, (3, 32, 40), dtype=np.uint16)
    weights = np.array([1.0, 0.5, 2.0])
    transforms = [transform, Transform(), transform]
    total = weighted_sum(planes, transforms, weights=weights, ceilings=np.full(3, 4000.0))
    expected = sum(
        w * resample(np.minimum(p, 4000).astype(np.float32), t)
        for p, t, w in zip(planes, transforms, weights)
    )
    inner = np.s_[6:-6, 6:-6]
    assert total[inner] == pytest.approx(expected[inner], rel=1e-4)


def test_noise_level_ignores_structure():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    smooth = 300 + 100 * np.sin(y / 40) * np.cos(x / 30)
    image = (smooth + 8 * rng.standard_normal(smooth.shape)).astype(np.uint16)
    level, noise, _ = noise_level(image)
    assert level == pytest.approx(300, abs=15)
    assert noise == pytest.approx(8, rel=0.1)
    assert noise_level(np.zeros((64, 64), np.uint16)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("scale", [0.05, 0.02])
def test_few_grey_levels_have_noise_and_are_not_blank(scale):
    rng = np.random.default_rng(0)
    image = (150 * scale + 6 * scale * rng.standard_normal((256, 256))).astype(np.uint16)
    noise = noise_level(image).noise
    assert (image[:, 2:] == image[:, :-2]).mean() > 0.5
    assert 0.2 < noise < 0.6


def test_a_blank_plane_with_a_speck_is_blank():
    image = np.full((256, 256), 7, np.uint16)
    image[96:98, 40:44] = 255
    assert noise_level(image).noise == 0
