from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.spatial import cKDTree

from poolvox.ops.align import align_tile
from poolvox.ops.simulate import Camera, Layout, preset, simulate_tile
from poolvox.ops.simulate.optics import stamp_spots
from poolvox.ops.spots import SpotSettings, combine_bases, find_spots, sample_bases
from poolvox.shared.errors import InputError
from poolvox.shared.imaging.warp import Transform

BASES = [1, 2, 3, 4]
MOUSE = Path(__file__).parents[2] / "../shared/data/ops/iss_mouse_brain"


def planted(points, peaks, *, sigma=1.5, noise=4.0, shape=(128, 144), level=150.0, seed=0):
    """Images with spots of given peaks (n, cycle, channel)."""
    rng = np.random.default_rng(seed)
    n, cycles, channels = peaks.shape
    images = np.empty((cycles, channels, *shape), np.uint16)
    y, x = np.asarray(points, float).T
    for t in range(cycles):
        for c in range(channels):
            light = stamp_spots(y, x, peaks[:, t, c], np.full(n, sigma), shape)
            images[t, c] = np.rint(level + light + noise * rng.standard_normal(shape))
    return images, [[Transform()] * channels] * cycles


def apart(n, least, shape=(128, 144), seed=0):
    """Points on the image that keep their distance."""
    rng, points = np.random.default_rng(seed), []
    while len(points) < n:
        point = rng.uniform(8, np.array(shape) - 9)
        if all(np.hypot(*(point - other)) > least for other in points):
            points.append(point)
    return np.array(points)


def matched(spots, points, radius=1.0):
    """Index of the spot nearest to each point, -1 where there is none."""
    distance, index = cKDTree(spots[["y", "x"]].to_numpy()).query(points)
    return np.where(distance < radius, index, -1)


@pytest.mark.parametrize("snr", [6, 22, 76])
def test_planted_spots_are_found_to_a_fraction_of_a_pixel(snr):
    points = apart(60, 9)
    peaks = np.zeros((60, 6, 4))
    base = np.random.default_rng(1).integers(0, 4, (60, 6))
    np.put_along_axis(peaks, base[:, :, None], snr * 4.0, axis=2)
    images, transforms = planted(points, peaks)
    spots = find_spots(images, transforms, [0, 1, 2, 3])
    index = matched(spots, points)
    assert np.mean(index >= 0) > (0.95 if snr == 6 else 0.999)
    assert len(spots) < 60 * 1.1
    off = (spots[["y", "x"]].to_numpy()[index] - points)[index >= 0]
    assert np.sqrt(np.mean(off**2)) < (0.25 if snr == 6 else 0.12)
    assert spots["sigma"].iloc[0] == pytest.approx(1.5, rel=0.12)


@pytest.mark.parametrize("gains", [(1, 1, 1, 1), (1, 40, 5, 10)])
def test_channel_gains_do_not_matter(gains):
    points = apart(60, 9)
    peaks = np.zeros((60, 8, 4))
    base = np.random.default_rng(1).integers(0, 4, (60, 8))
    np.put_along_axis(peaks, base[:, :, None], 60.0, axis=2)
    images, transforms = planted(points, peaks)
    scaled = (images.astype(float) * np.array(gains)[:, None, None]).clip(0, 65535)
    spots = find_spots(scaled.astype(np.uint16), transforms, [0, 1, 2, 3])
    assert np.all(matched(spots, points) >= 0)


def test_no_spots_in_noise():
    images, transforms = planted(np.zeros((1, 2)), np.zeros((1, 9, 4)), shape=(512, 512))
    assert len(find_spots(images, transforms, [0, 1, 2, 3])) < 512 * 512 * 2e-4


def test_a_plateau_is_one_spot():
    points = apart(20, 12)
    images, transforms = planted(points, np.full((20, 4, 4), 6e3), noise=2)
    spots = find_spots(np.minimum(images, 4000), transforms, [0, 1, 2, 3])
    distance = cKDTree(spots[["y", "x"]]).query(points, 4)[0]
    assert np.all(np.sum(distance < 3, axis=1) == 1)


def test_amplitudes_are_those_planted():
    points = apart(40, 14)
    peaks = np.random.default_rng(2).uniform(0, 400, (40, 5, 4))
    images, transforms = planted(points, peaks)
    spots = pd.DataFrame({"y": points[:, 0], "x": points[:, 1], "sigma": 1.5})
    bases = sample_bases(images, transforms, spots, [0, 1, 2, 3])
    assert bases.intensity.shape == (40, 5, 4)
    assert bases.intensity.dtype == np.float32
    assert bases.intensity == pytest.approx(peaks, abs=8)
    off = (bases.intensity - peaks) / bases.noise
    assert np.std(off) == pytest.approx(1, abs=0.25)


def test_light_is_sampled_through_the_transform():
    points = apart(30, 14)
    peaks = np.full((30, 1, 1), 500.0)
    images, _ = planted(points + np.array([2.4, -1.3]), peaks)
    spots = pd.DataFrame({"y": points[:, 0], "x": points[:, 1], "sigma": 1.5})
    bases = sample_bases(images, [[Transform((2.4, -1.3))]], spots, [0])
    assert bases.intensity == pytest.approx(peaks, rel=0.04)


@pytest.mark.parametrize("distance", [2.5, 3.0, 4.0, 6.0])
def test_neighbours_do_not_share_their_light(distance):
    first = apart(12, 24)
    points = np.concatenate([first, first + np.array([0, distance])])
    peaks = np.zeros((24, 2, 2))
    peaks[:12, :, 0], peaks[12:, :, 1] = 400, 300
    images, transforms = planted(points, peaks)
    spots = pd.DataFrame({"y": points[:, 0], "x": points[:, 1], "sigma": 1.5})
    light = sample_bases(images, transforms, spots, [0, 1]).intensity
    assert np.abs(light - peaks).mean() < 12
    assert np.all(light.argmax(axis=2) == peaks.argmax(axis=2))


def test_blank_cycles_and_far_sides_are_unknown_not_dark():
    images, transforms = planted(np.array([[60.0, 70.0]]), np.full((1, 3, 2), 300.0))
    images[1] = 0
    spots = pd.DataFrame({"y": [60.0, 1.0], "x": [70.0, 70.0], "sigma": 1.5})
    moved = [transforms[0], transforms[1], [Transform((-8.0, 0.0))] * 2]
    light = sample_bases(images, moved, spots, [0, 1]).intensity
    assert np.isnan(light[:, 1]).all()
    assert np.isfinite(light[0, 0]).all()
    assert np.isnan(light[1, 2]).all()


@pytest.mark.parametrize("dark", [0, 2])
def test_reads_that_are_dark_in_some_cycles_are_found(dark):
    points = apart(50, 10)
    peaks = np.zeros((50, 6, 2))
    base = np.random.default_rng(0).integers(0, 4, (50, 6))
    for channel, bases in enumerate(((1, 3), (2, 3))):
        peaks[:, :, channel] = 80.0 * np.isin((base + dark) % 4, bases)
    images, transforms = planted(points, peaks)
    assert np.mean(matched(find_spots(images, transforms, [0, 1]), points) >= 0) > 0.97


def test_specks_do_not_hide_the_reads_beside_them():
    points = apart(50, 10)
    images, transforms = planted(points, np.full((50, 4, 4), 60.0))
    images[2, 1, 40:43, 50:54] = 65535
    far = np.hypot(*(points - (41, 52)).T) > 12
    assert np.all(matched(find_spots(images, transforms, [0, 1, 2, 3]), points)[far] >= 0)


def test_nothing_to_find_gives_empty_tables_of_the_right_form():
    images = np.full((2, 3, 64, 64), 100, np.uint16)
    images[0, 0, 0, 0] = 101
    with pytest.raises(InputError, match="blank"):
        combine_bases(images, [[Transform()] * 3] * 2, [1, 2])
    noise = np.random.default_rng(0).poisson(100, (2, 3, 64, 64)).astype(np.uint16)
    spots = find_spots(noise, [[Transform()] * 3] * 2, [1, 2]).iloc[:0]
    assert list(spots.columns) == ["y", "x", "peak", "snr", "sigma"]
    assert sample_bases(noise, [[Transform()] * 3] * 2, spots, [1, 2]).intensity.shape == (0, 2, 2)


@pytest.fixture(scope="module")
def tile():
    params = preset("default")
    layout = Layout(cells=400, reads=4, untransduced=0.2)
    params = replace(params, layout=layout, camera=Camera(snr=40))
    images, truth = simulate_tile(params, np.random.default_rng(4))
    return images, truth, align_tile(images, bases=BASES, nuclear=0)


def test_a_simulated_tile_from_raw_images_to_bases(tile):
    images, truth, alignment = tile
    spots = find_spots(images, alignment.transforms, BASES)
    light = sample_bases(images, alignment.transforms, spots, BASES).intensity
    reads = truth.reads[["y", "x"]].to_numpy()
    distance, nearest = cKDTree(reads).query(spots[["y", "x"]].to_numpy())
    assert np.mean(distance < 2) > 0.8
    found = cKDTree(spots[["y", "x"]].to_numpy()).query(reads)[0] < 2
    assert found.mean() > 0.85
    near = distance < 2
    scaled = light[near] / np.nanpercentile(light, 90, axis=0)
    called = np.array(list("GTAC"))[np.nan_to_num(scaled).argmax(axis=2)]
    true = np.array([list(word) for word in truth.reads["barcode"].to_numpy()[nearest[near]]])
    assert np.mean(called == true) > 0.95


def test_order_and_repetition_do_not_matter(tile):
    images, _, alignment = tile
    spots = find_spots(images, alignment.transforms, BASES)
    pd.testing.assert_frame_equal(spots, find_spots(images, alignment.transforms, BASES))
    light = sample_bases(images, alignment.transforms, spots, BASES).intensity
    back = sample_bases(images, alignment.transforms, spots[::-1], BASES).intensity[::-1]
    assert np.nanmax(np.abs(light - back)) < 0.01 * np.nanmax(light)


@pytest.mark.skipif(not MOUSE.exists(), reason="the public mouse brain tile (MIT) is not here")
def test_more_valid_codes_on_real_tissue_than_normalised_argmax():
    images = np.stack([tifffile.imread(MOUSE / f"cycle{i}.tif") for i in range(1, 5)])
    codes = set(pd.read_csv(MOUSE / "taglist.csv", encoding="utf-8-sig")["Code"])
    alignment = align_tile(images, bases=BASES, nuclear=None)
    spots = find_spots(images, alignment.transforms, [0], settings=SpotSettings(min_snr=6))
    light = sample_bases(images, alignment.transforms, spots, BASES).intensity
    calls = np.array(list("GTAC"))[
        np.nan_to_num(light / np.nanpercentile(light, 98, axis=0)).argmax(axis=2)
    ]
    assert len(spots) > 700
    assert np.mean([word in codes for word in map("".join, calls)]) > 0.66
