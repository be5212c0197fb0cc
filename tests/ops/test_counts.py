"""Screens come as 16-bit counts, or as what programs make of them."""

import numpy as np
import pytest

from poolvox.ops.counts import as_counts
from poolvox.shared.errors import InputError

CAMERA = np.random.default_rng(0).integers(90, 4000, (2, 3, 8, 9)).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["u2", "i4", "u4", "f4", "f8"])
def test_whole_numbers_stay_what_they_are(dtype):
    found = as_counts(CAMERA.astype(dtype))
    assert found.dtype == np.uint16
    assert np.array_equal(found, CAMERA)


def test_what_lies_below_zero_is_lifted_with_all_the_rest_but_for_blank_planes():
    images = CAMERA.astype(np.float32) - 300.25
    images[1, 2] = 0
    found = as_counts(images).astype(float)
    lift = -images.min()
    assert np.abs(found[0] - images[0] - lift).max() <= 0.5
    assert not found[1, 2].any()
    assert as_counts(np.zeros((1, 1, 4, 4), np.float32)).max() == 0


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (CAMERA / 65535.0, "between 0.001.* and 0.06.*, too close"),
        (CAMERA * 100.0, "more than 16 bits hold"),
        (np.where(CAMERA.max() == CAMERA, np.nan, CAMERA), "NaN"),
        (CAMERA.astype(complex), "complex"),
    ],
)
def test_what_cannot_be_counts_is_refused(images, reason):
    with pytest.raises(InputError, match=reason):
        as_counts(images)
