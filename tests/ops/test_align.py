from dataclasses import replace

import numpy as np
import pytest

from poolvox.ops.align import AlignedPlanes, align_tile, aligned
from poolvox.ops.simulate import Camera, Guides, Layout, preset, simulate_tile
from poolvox.shared.errors import InputError
from poolvox.shared.imaging.warp import Transform

BASES = [1, 2, 3, 4]


def simulated(seed=0, nuclear="DAPI", **camera):
    params = preset("default")
    params = replace(
        params,
        cycles=5,
        guides=Guides(genes=20, controls=10),
        nuclear_channel=nuclear,
        layout=Layout(cells=400, reads=4, untransduced=0.2),
        camera=replace(Camera(), **camera),
    )
    return simulate_tile(params, np.random.default_rng(seed))


def errors(alignment, truth, bases=BASES):
    """Errors of base images in pixels, up to what reads cannot tell: where the nuclei are."""
    shape = truth.nuclei.shape
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]]) * shape
    off = np.array(
        [
            [alignment.transforms[t][c].apply(corners) - truth.transforms[t][c].apply(corners)]
            for t in range(len(truth.transforms))
            for c in bases
        ]
    )
    return np.linalg.norm(off - off.mean(axis=(0, 1, 2)), axis=-1)


@pytest.fixture(scope="module")
def tile():
    return simulated()


def test_drift_and_chromatic_shift_come_back(tile):
    images, truth = tile
    alignment = align_tile(images, bases=BASES, nuclear=0)
    assert errors(alignment, truth).max() < 0.12
    for found, planted in zip(alignment.transforms, truth.transforms):
        assert found[0].shift == pytest.approx(planted[0].shift, abs=0.1)
    assert alignment.trusted
    assert alignment.reason == ""
    assert alignment.transforms[0][0] == Transform()
    assert alignment.table["residual"].max() < 0.4


@pytest.mark.parametrize(
    ("case", "nuclear", "camera"),
    [
        ("without nuclei", None, {}),
        ("far", "DAPI", {"drift": 30.0}),
        ("turned", "DAPI", {"rotation": 0.5, "scale": 0.002}),
        ("turned, without nuclei", None, {"rotation": 0.4}),
    ],
)
def test_other_ways_to_be_off(case, nuclear, camera):
    images, truth = simulated(seed=2, nuclear=nuclear, **camera)
    bases = BASES if nuclear else [0, 1, 2, 3]
    alignment = align_tile(images, bases=bases, nuclear=0 if nuclear else None)
    assert errors(alignment, truth, bases).max() < 0.25, case
    assert alignment.trusted, alignment.reason
    turned = not all(t.is_translation for cycle in alignment.transforms for t in cycle)
    assert turned == ("rotation" in camera)


def test_noise_is_not_aligned():
    noise = np.random.default_rng(0).poisson(120.0, (3, 5, 256, 256)).astype(np.uint16)
    alignment = align_tile(noise, bases=BASES, nuclear=0)
    assert not alignment.trusted
    assert alignment.reason.startswith("cycles 2, 3: nothing in it matches the first cycle")
    assert all(t == Transform() for cycle in alignment.transforms for t in cycle)


def test_a_blank_cycle_is_named_and_the_rest_is_aligned(tile):
    images, truth = tile
    broken = images.copy()
    broken[2] = 0
    alignment = align_tile(broken, bases=BASES, nuclear=0)
    assert alignment.reason == "cycle 3: the images are blank"
    rest = replace(alignment, transforms=tuple(np.delete(alignment.transforms, 2, axis=0)))
    kept = replace(truth, transforms=[truth.transforms[t] for t in (0, 1, 3, 4)])
    assert errors(rest, kept).max() < 0.15


def test_a_cycle_of_another_field_is_left_where_it_was(tile):
    images, _ = tile
    broken = images.copy()
    broken[3] = simulated(seed=9)[0][3]
    alignment = align_tile(broken, bases=BASES, nuclear=0)
    assert "cycle 4" in alignment.reason
    assert "cycle 2" not in alignment.reason


def test_a_plane_that_is_off_is_flagged(tile):
    images, _ = tile
    broken = images.copy()
    # Half of one channel moves against the other: no single shift can mend it.
    broken[1, 2, :, 256:] = np.roll(broken[1, 2, :, 256:], 3, axis=0)
    alignment = align_tile(broken, bases=BASES, nuclear=0)
    bad = alignment.table[~alignment.table["trusted"]]
    assert bad[["cycle", "channel"]].to_numpy().tolist() == [[2, 3]]


def test_aligned_stack_shows_the_same_nuclei(tile):
    images, _ = tile
    stack = aligned(images, align_tile(images, bases=BASES, nuclear=0).transforms)
    assert stack.dtype == images.dtype
    inner = stack[:, 0, 32:-32, 32:-32].reshape(len(stack), -1).clip(0, 5000)
    assert np.corrcoef(inner)[0].min() > 0.97


def test_a_region_of_the_aligned_planes_is_cut_from_the_whole(tile):
    images, _ = tile
    transforms = [list(cycle) for cycle in align_tile(images, bases=BASES, nuclear=0).transforms]
    transforms[2][3] = Transform.about((256, 256), (1.25, -2.5), rotation=0.4, scale=1.001)
    whole, planes = aligned(images, transforms), AlignedPlanes(images, transforms)
    assert planes.shape == whole.shape
    part = np.s_[1:4, 2:5, 100:230, 64:]
    assert np.abs(planes[part].astype(int) - whole[part]).max() <= 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((5, 100, 100), np.uint16), "cycle, channel, Y, X"),
        (np.zeros((2, 5, 64, 64), np.uint16), "all images of the tile are zero"),
        (np.ones((2, 5, 64, 64), np.float64), "uint16"),
        (np.ones((2, 3, 64, 64), np.uint16), "3 channels"),
    ],
)
def test_bad_input_says_what_to_do(images, message):
    with pytest.raises(InputError, match=message):
        align_tile(images, bases=BASES, nuclear=0)
