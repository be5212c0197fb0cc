import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.segmentation import expand_labels

from poolvox.shared.imaging.basins import find_basins
from poolvox.shared.imaging.cleanup import drop_small, fill_holes, number_from_one
from poolvox.shared.imaging.distance import distance_to, expand_within, square_distance
from poolvox.shared.imaging.filters import band_pass, gaussian, shrink


@st.composite
def fields(draw):
    """Marked voxels on a grid of one to four axes, with the widths of a voxel."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=9))
    marked = draw(hnp.arrays(bool, shape, elements=st.sampled_from([False, False, False, True])))
    widths = st.tuples(*(st.sampled_from([0.3, 1.0, 2.5]) for _ in shape))
    return marked, draw(widths)


@given(fields())
@settings(deadline=None)
def test_distance_is_exact(field):
    marked, spacing = field
    found = distance_to(marked, spacing=spacing)
    if not marked.any():
        assert np.isinf(found).all()
        return
    expected = ndimage.distance_transform_edt(~marked, spacing)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # Seen from a compiled caller, which marks by 0.
    if marked.ndim == 3:
        squared = np.empty(marked.shape)
        square_distance((~marked).astype(np.uint8), np.array(spacing), squared)
        np.testing.assert_allclose(np.sqrt(squared), expected, rtol=1e-12)


@given(fields(), st.floats(0.5, 9))
@settings(deadline=None)
def test_growing_reaches_what_is_near_and_takes_the_nearest(field, distance):
    marked, spacing = field
    labels = np.cumsum(marked).reshape(marked.shape) * marked
    grown = expand_within(labels, distance, spacing=spacing)
    assert np.array_equal(grown[marked], labels[marked])
    if not marked.any():
        assert not grown.any()
        return
    away = ndimage.distance_transform_edt(~marked, spacing)
    assert np.array_equal(grown > 0, away <= distance * (1 + 1e-6))
    # Each label has one voxel, so the way to it is known.
    places = np.argwhere(marked)
    way = (np.argwhere(grown > 0) - places[grown[grown > 0] - 1]) * spacing
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), away[grown > 0], rtol=1e-6)


def test_growing_agrees_with_the_library_where_there_are_no_ties():
    rng = np.random.default_rng(0)
    labels = np.zeros((80, 90), np.int32)
    labels[rng.integers(0, 80, 12), rng.integers(0, 90, 12)] = np.arange(1, 13)
    ours, theirs = expand_within(labels, 11), expand_labels(labels, 11)
    assert np.mean(ours != theirs) < 0.01
    assert np.array_equal(ours > 0, theirs > 0)


def test_two_summits_stay_apart_only_where_the_pass_is_deep():
    x = np.arange(41)
    line = np.maximum(np.exp(-(((x - 12) / 6) ** 2)), 0.9 * np.exp(-(((x - 28) / 6) ** 2)))
    relief = np.repeat(line[None], 9, axis=0)
    mask = np.ones(relief.shape, bool)
    assert find_basins(relief, mask, depth=0.3).max() == 2
    assert find_basins(relief, mask, depth=0.95).max() == 1


def test_a_plateau_is_one_basin_and_parts_of_the_mask_stay_apart():
    mask = np.zeros((10, 20), bool)
    mask[2:8, 2:8] = mask[2:8, 12:18] = True
    labels = find_basins(mask.astype(np.float32), mask, depth=0.1)
    assert labels.max() == 2
    assert np.array_equal(labels > 0, mask)


def test_clean_up():
    labels = np.zeros((10, 10), np.int32)
    labels[0, 0], labels[2:5, 2:5], labels[6:9, 6:9] = 4, 7, 9
    kept = number_from_one(drop_small(labels, 2))
    assert sorted(np.unique(kept)) == [0, 1, 2]
    assert kept[3, 3] == 1
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    assert fill_holes(ring, 1).all()
    assert not fill_holes(ring, 0)[2, 2]


@pytest.mark.parametrize("sigma", [0.75, 1.5, 4.0])
def test_blur_agrees_with_scipy(sigma):
    image = np.random.default_rng(0).random((50, 61), np.float32)
    expected = ndimage.gaussian_filter(image, sigma, mode="nearest")
    assert gaussian(image, sigma) == pytest.approx(expected, abs=1e-5)


def test_band_pass_removes_a_level_and_shrinking_keeps_the_mean():
    assert band_pass(np.full((20, 20), 7.0), 1, 3) == pytest.approx(0, abs=1e-5)
    image = np.arange(48, dtype=np.uint16).reshape(6, 8)
    assert shrink(image, 2) == pytest.approx(image.reshape(3, 2, 4, 2).mean((1, 3)))
    assert shrink(image, 4).shape == (1, 2)
