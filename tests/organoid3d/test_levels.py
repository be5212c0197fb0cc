import numpy as np
import pytest

from poolvox.organoid3d.levels import lit_surroundings
from poolvox.organoid3d.masks import (
    LumenOptions,
    OrganoidOptions,
    segment_lumens,
    segment_organoids,
)
from poolvox.organoid3d.simulate import FieldSpec, OrganoidSpec, simulate_field

SPACING = (2.0, 0.6, 0.6)


def widened(stack, rng, *, by=110):
    """The stack in a wide empty field of the same noise."""
    sides = ((0, 0), (by, by), (by, by))
    known = np.pad(np.ones(stack.shape, bool), sides)
    wide = rng.normal(116, 7, known.shape).astype(np.float32)
    wide[known] = stack.ravel()
    return wide


@pytest.fixture(scope="module")
def small():
    return simulate_field(
        FieldSpec((OrganoidSpec("cyst", 20, 8.0),), SPACING), np.random.default_rng(3)
    )


@pytest.mark.parametrize("rim", [0.0, 2.0])
def test_a_small_organoid_in_a_wide_field_keeps_its_mask(small, rim):
    # By percentiles of the whole field, half of it was organoid.
    nuclear = small.image[:1].astype(np.float32)
    wide = widened(nuclear[0], np.random.default_rng(0))
    near = np.s_[:, 110:-110, 110:-110]
    options = OrganoidOptions(closing=10.0, rim=rim)
    found, alone = (
        segment_organoids([image], spacing=SPACING, options=options) for image in (wide, nuclear[0])
    )
    assert found.max() == alone.max() == 1
    assert not np.delete(found.any(axis=(0, 1)), range(110, found.shape[2] - 110)).any()
    both, either = (f(found[near] > 0, alone > 0) for f in (np.logical_and, np.logical_or))
    assert np.count_nonzero(both) > 0.9 * np.count_nonzero(either)


def test_levels_are_those_of_all_where_much_is_bright(small):
    nuclear = small.image[0].astype(np.float32)
    assert lit_surroundings(nuclear, SPACING) is None
    wide = widened(nuclear, np.random.default_rng(0))
    assert 0 < lit_surroundings(wide, SPACING).mean() < 0.1
    assert lit_surroundings(wide[:, :100], SPACING) is None


def test_the_lumen_of_a_small_organoid_in_a_wide_field_is_found():
    made = simulate_field(
        FieldSpec((OrganoidSpec("cyst", 24, 8.0, lumen_scale=1.3),), SPACING),
        np.random.default_rng(3),
    )
    rng = np.random.default_rng(0)
    channels = [widened(channel.astype(np.float32), rng) for channel in made.image[:2]]
    nuclei, lumen = (
        np.pad(labels, ((0, 0), (110, 110), (110, 110))) for labels in (made.nuclei, made.lumens)
    )
    organoids = segment_organoids(channels, spacing=SPACING, nuclei=nuclei)
    options = LumenOptions(membrane=1)
    found = segment_lumens(channels, organoids, spacing=SPACING, nuclei=nuclei, options=options)
    both = np.count_nonzero((found > 0) & (lumen > 0))
    assert both > 0.6 * np.count_nonzero((found > 0) | (lumen > 0))
