import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from poolvox.shared.errors import InputError
from poolvox.shared.imaging.registration import fit_similarity, measure_shift
from poolvox.shared.imaging.warp import Transform


def random_field(size=256, seed=1):
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 2.0)


@pytest.fixture(scope="module")
def field():
    return random_field(400)


def window(field, shift, size=256):
    moved = ndimage.shift(field, shift, order=3)
    edge = (field.shape[0] - size) // 2
    return moved[edge : edge + size, edge : edge + size]


@pytest.mark.parametrize("planted", [(0, 0), (3, -5), (-2.4, 1.32), (0.5, -0.5), (30.3, -21.75)])
def test_planted_shift_comes_back(field, planted):
    shift = measure_shift(window(field, (0, 0)), window(field, planted))
    assert (shift.y, shift.x) == pytest.approx(planted, abs=0.05)
    assert shift.trusted


@settings(max_examples=20, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20))
def test_shift_is_the_opposite_when_images_change_places(y, x):
    field = random_field(320, seed=3)
    a, b = window(field, (0, 0), 240), window(field, (y, x), 240)
    there, back = measure_shift(a, b), measure_shift(b, a)
    assert (there.y, there.x) == pytest.approx((-back.y, -back.x), abs=0.05)


def test_unrelated_images_are_not_trusted():
    rng = np.random.default_rng(0)
    pairs = [
        measure_shift(random_field(seed=2 * s), random_field(seed=2 * s + 1)) for s in range(8)
    ]
    noise = [measure_shift(*rng.poisson(100.0, (2, 256, 256))) for _ in range(8)]
    assert not any(each.trusted for each in pairs + noise)


def test_empty_image_is_not_trusted():
    blank = np.zeros((64, 64), np.uint16)
    assert not measure_shift(blank, blank).trusted


def test_shift_beyond_the_limit_is_not_looked_for(field):
    shift = measure_shift(window(field, (0, 0)), window(field, (40, 0)), max_shift=10)
    assert abs(shift.y) <= 10
    assert not shift.trusted


def test_different_shapes_say_what_to_do(field):
    with pytest.raises(InputError, match="crop them first"):
        measure_shift(field, field[:-1])


def test_similarity_comes_back_despite_outliers():
    rng = np.random.default_rng(0)
    points = rng.random((60, 2)) * 500
    planted = Transform.about((250, 250), (3.2, -1.5), rotation=0.4, scale=1.002)
    moved = planted.apply(points) + 0.05 * rng.standard_normal((60, 2))
    moved[:6] += 30
    found, error = fit_similarity(points, moved)
    assert found.rotation == pytest.approx(0.4, abs=0.01)
    assert found.scale == pytest.approx(1.002, abs=2e-4)
    assert found.apply(points[10:]) == pytest.approx(planted.apply(points[10:]), abs=0.06)
    assert np.all(error < 0.1)
