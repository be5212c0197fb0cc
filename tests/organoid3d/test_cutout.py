"""Stacks that a program cut out along an organoid, and stacks that only look like it."""

import numpy as np
import pytest

from poolvox.organoid3d.cutout import Darkest, find_cut
from poolvox.organoid3d.preprocess import prepare_stack
from poolvox.organoid3d.survey import Lit, survey_stack

SPACING = (2.0, 0.5, 0.5)
SHAPE = (10, 90, 90)
LEVEL = 100


def tissue():
    """Nuclei of unequal brightness in haze of 100, with noise."""
    grid = np.indices(SHAPE) * np.reshape(SPACING, (3, 1, 1, 1))
    stack = np.full(SHAPE, float(LEVEL))
    for place, light in (((8, 20, 15), 900), ((12, 26, 28), 500), ((10, 14, 24), 200)):
        away = np.linalg.norm(grid - np.reshape(place, (3, 1, 1, 1)), axis=0)
        stack += light / (1 + np.exp(3 * (away - 4)))
    return stack + np.random.default_rng(1).normal(0, 5, SHAPE)


def inside():
    y, x = np.indices(SHAPE[1:]) - 42
    return np.broadcast_to(np.hypot(y, x) < 36, SHAPE)


def cut(value=0.0):
    return np.where(inside(), tissue(), value)


def clipped():
    """Background below an offset was set to 0: noise lies right above it."""
    return np.maximum(tissue() - LEVEL, 0)


def nuclei_alone():
    """Nuclei with sharp edges on nothing."""
    return np.where(tissue() > 250, tissue(), 0)


@pytest.mark.parametrize("value", [0.0, -7.0, 30.0])
def test_a_cut_is_found_and_its_edge_told(value):
    found = find_cut(cut(value))
    assert found.value == value
    assert found.level == pytest.approx(LEVEL, abs=6)
    assert found.part == pytest.approx(1 - inside().mean())
    filled = found.filled(cut(value))
    assert filled[~inside()] == pytest.approx(LEVEL, abs=6)
    np.testing.assert_array_equal(filled[inside()], cut(value)[inside()].astype(np.float32))


@pytest.mark.parametrize(
    "stack",
    [tissue(), clipped(), nuclei_alone(), np.zeros(SHAPE), np.where(tissue() < 300, 0, 1)],
    ids=["whole", "clipped", "nuclei alone", "blank", "mask"],
)
def test_what_only_looks_like_a_cut_is_left(stack):
    assert find_cut(stack) is None


def test_parts_tell_the_same_as_the_whole():
    stack = cut()
    stack[:4] = tissue()[:4]  # nothing is beyond the cut in the first parts
    darkest = Darkest()
    for plane in stack:
        darkest.add(plane[None])
    assert darkest.cut(lambda: (plane[None] for plane in stack)) == find_cut(stack)


@pytest.mark.parametrize("most", [10**9, 20_000])
@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_stacks_are_filled_wherever_they_are_read(dtype, most):
    stack = cut().astype(dtype)
    survey = survey_stack(stack, SPACING, most=most)
    assert "beyond a cut" in survey.notes[0]
    edge = survey.light.level
    np.testing.assert_array_equal(
        Lit(stack, survey.light)[2:5, 10:80, 0:30], find_cut(stack).filled(stack)[2:5, 10:80, 0:30]
    )
    assert survey.view.stack.min() > edge - 30
    assert (survey.light.uncut.of(stack)[~inside()] == 0).all()


def test_dark_nuclei_are_turned_round_after_the_cut_is_filled():
    dark = np.where(inside(), 1300 - tissue(), 0.0)
    plain = prepare_stack(1300 - tissue(), SPACING)
    found = prepare_stack(dark, SPACING)
    assert plain.inverted
    # The bright edge is no part of the nuclei: without a dim edge nothing is filled.
    assert found.survey.light.beyond is None
