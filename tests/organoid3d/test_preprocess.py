import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolvox.organoid3d.preprocess import (
    check_spacing,
    intensity_range,
    measure_attenuation,
    prepare_stack,
)
from poolvox.organoid3d.survey import Lit, survey_stack
from poolvox.shared.errors import InputError
from tests.organoid3d.networks import balls_image

SPACING = (2.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "missing"),
        ({"z": None, "y": 0.5, "x": 0.5}, "missing"),
        ((0.5, 0.5), "missing"),
        ((0, 0.5, 0.5), "impossible"),
        ((-2, 0.5, 0.5), "impossible"),
        ((float("nan"), 0.5, 0.5), "impossible"),
        ((2000, 500, 500), "impossible"),
        ((0.05, 0.5, 0.5), "implausible"),
        ((0.5, 0.5, 5.0), "implausible"),
        (("a", 1, 1), "numbers"),
    ],
)
def test_wrong_voxel_sizes_are_errors(given, message):
    with pytest.raises(InputError, match=message):
        check_spacing(given)


@pytest.mark.parametrize("given", [(5, 0.55, 0.55), (0.29, 0.26, 0.26), {"z": 1, "y": 1, "x": 1}])
def test_plausible_voxel_sizes_pass(given):
    z, y, x = check_spacing(given)
    assert z >= y == x


def balls(inverted=False):
    grid = np.indices((16, 80, 80)) * np.reshape(SPACING, (3, 1, 1, 1))
    image = np.full((16, 80, 80), 100.0)
    for center in [(10, 10, 10), (16, 25, 20), (14, 10, 30)]:
        away = np.linalg.norm(grid - np.reshape(center, (3, 1, 1, 1)), axis=0)
        image[away < 5] = 900
    image += np.random.default_rng(0).normal(0, 10, image.shape)
    return 1000 - image if inverted else image


def test_inverted_contrast_is_turned_round_and_said():
    plain, turned = prepare_stack(balls(), SPACING), prepare_stack(balls(inverted=True), SPACING)
    assert not plain.inverted
    assert not plain.notes
    assert turned.inverted
    assert "turned round" in turned.notes[0]
    assert np.corrcoef(plain.stack.ravel(), turned.stack.ravel())[0, 1] > 0.999


def test_nan_becomes_background_and_is_said():
    image = balls()
    image[3, :10, :10] = np.nan
    made = prepare_stack(image, SPACING)
    assert np.isfinite(made.stack).all()
    assert made.stack[3, 5, 5] < 150
    assert "not finite" in made.notes[0]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((2, 3, 3), np.nan), "no finite"),
        (np.ones((3, 3)), "axes"),
        (np.ones((2, 3, 3), complex), "real numbers"),
        (np.ones((0, 3, 3)), "empty"),
    ],
)
def test_what_is_no_stack_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        prepare_stack(image, SPACING)


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0.005, 0.05), seed=st.integers(0, 1000))
def test_planted_attenuation_comes_back_in_spite_of_odd_nuclei(rate, seed):
    rng = np.random.default_rng(seed)
    depths = rng.uniform(0, 80, 100)
    light = 500 * np.exp(-rate * depths + 0.1 * rng.standard_normal(100))
    light[:8] *= 6
    fit = measure_attenuation(light, depths)
    assert fit.rate == pytest.approx(rate, abs=0.0025)


def test_attenuation_is_not_trusted_without_support():
    rng = np.random.default_rng(0)
    depths = np.linspace(0, 50, 60)
    few = measure_attenuation(np.exp(-0.03 * depths[:5]), depths[:5])
    noise = measure_attenuation(np.exp(rng.standard_normal(60)), depths)
    rising = measure_attenuation(np.exp(0.03 * depths), depths)
    assert not any(fit.trusted for fit in (few, noise, rising))
    assert "at least" in few.reason
    assert "r2" in noise.reason or "fall" in noise.reason
    assert "fall" in rising.reason


@pytest.mark.parametrize("most", [10_000, 100])
def test_correction_evens_out_the_planes(most):
    depths = np.arange(30) * 2.0
    stack = np.broadcast_to(100 + 400 * np.exp(-0.03 * depths)[:, None, None], (30, 4, 4))
    survey = survey_stack(stack.astype(np.float32), (2, 1, 1), most=most)
    even = survey.corrected(0.03 * 2, background=100)
    assert even.light.of(stack) == pytest.approx(np.full(stack.shape, 500), rel=1e-3)
    # A view averages over planes before they are brightened.
    assert even.view.stack == pytest.approx(np.full(even.view.stack.shape, 500), rel=2e-2)
    assert survey.whole == (most > stack.size)


@pytest.mark.parametrize("kind", ["plain", "broken", "dark"])
def test_a_survey_by_slabs_is_that_of_the_whole(monkeypatch, kind):
    image = balls(inverted=kind == "dark").astype(np.float32)
    if kind == "broken":
        image[3, :10, :10] = np.nan
    whole = survey_stack(image, SPACING, most=20_000)
    monkeypatch.setattr("poolvox.organoid3d.survey.SLAB", 3 * image[0].size)
    parts = survey_stack(image, SPACING, most=20_000)
    assert parts.view.factors == whole.view.factors == (1, 3, 2)
    assert parts.notes == whole.notes
    assert parts.light.top == whole.light.top
    if kind != "broken":  # what is dark is told from a sample of the planes
        assert (parts.view.stack == whole.view.stack).all()
    lit = Lit(image, whole.light)
    assert (lit[4:9, 3:5, :] == whole.light.of(image)[4:9, 3:5]).all()


@pytest.fixture
def narrow(monkeypatch):
    """Samples of few and narrow columns."""
    monkeypatch.setattr("poolvox.organoid3d.survey.SAMPLE", 4 * 12 * 16**2)
    monkeypatch.setattr("poolvox.organoid3d.survey.COLUMN", 16)


def sparse(seed=0):
    """Balls in one half of a stack whose view is too coarse for them; 12 planes of 64 x 128."""
    half = balls_image((12, 64, 64), 30, seed=seed)
    return np.concatenate([np.zeros((12, 64, 64), np.float32), half], axis=2) * 1000 + 100


def test_a_sample_shows_what_the_view_swallows(narrow):
    image = sparse().astype(np.float32)
    survey = survey_stack(image, (2, 1, 1), most=800)
    assert min(survey.view.factors[1:]) > 3
    assert survey.sample.factors == (1, 1, 1)
    assert survey.sample.stack.shape == (12, 16, 64)
    # Whole columns of the half that is not empty, from all of it.
    places = [
        (y, x)
        for column in np.split(survey.sample.stack, 4, axis=2)
        for y in range(0, 64, 16)
        for x in range(0, 128, 16)
        if (image[:, y : y + 16, x : x + 16] == column).all()
    ]
    assert len(set(places)) == 4
    assert min(x for _, x in places) >= 64
    assert max(y for y, _ in places) - min(y for y, _ in places) >= 32
    assert survey.sample.beside_seams().reshape(4, 16)[:, 4:12].sum() == 0
    assert survey.sample.beside_seams().sum() == 4 * 8


def test_a_sample_has_the_light_of_its_stack(narrow):
    image = sparse().astype(np.float32)
    bright = survey_stack(image, (2, 1, 1), most=800)
    dark = survey_stack(3000 - image, (2, 1, 1), most=800)
    assert dark.light.top is not None
    assert dark.sample.stack == pytest.approx(dark.light.top - 3000 + bright.sample.stack, abs=0.01)
    even = bright.corrected(0.05, background=100)
    gain = np.exp(0.05 * np.arange(12))[:, None, None]
    assert even.sample.stack == pytest.approx(100 + (bright.sample.stack - 100) * gain, rel=1e-4)


def test_a_view_that_shows_nuclei_is_its_own_sample():
    image = sparse().astype(np.float32)
    for most, spacing in ((1e6, (2, 1, 1)), (30_000, (2, 0.4, 0.4))):
        survey = survey_stack(image, spacing, most=int(most))
        assert survey.sample.stack is survey.view.stack
        assert not survey.sample.beside_seams().any()


def test_percentiles_are_those_of_the_organoid():
    stack = np.zeros((4, 50, 50))
    mask = np.zeros(stack.shape, bool)
    mask[:, :5, :5] = True
    stack[mask] = np.linspace(10, 20, mask.sum())
    low, high = intensity_range(stack, mask)
    assert 10 < low < 10.2
    assert 19.9 < high < 20
    assert intensity_range(np.ones((2, 3, 3))) == (1, 1)
