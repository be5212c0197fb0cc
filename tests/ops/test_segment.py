from pathlib import Path

import numpy as np
import pytest
import tifffile

from poolvox.ops.segment import SegmentSettings, segment_cells, segment_nuclei
from poolvox.ops.simulate import preset, simulate_tile
from poolvox.shared.errors import InputError

NUCLEI = Path(__file__).parents[2] / "../shared/data/ops/nuclei2d"


def f1(labels, truth):
    table = np.zeros((truth.max() + 1, labels.max() + 1))
    np.add.at(table, (truth.ravel(), labels.ravel()), 1)
    union = table.sum(1)[1:, None] + table.sum(0)[None, 1:] - table[1:, 1:]
    hits = np.sum(table[1:, 1:] / np.maximum(union, 1) > 0.5)
    present = np.sum(table.sum(1)[1:] > 0) + np.sum(table.sum(0)[1:] > 0)
    return 2 * hits / max(present, 1)


@pytest.fixture(scope="module")
def tile():
    return simulate_tile(preset("default"), np.random.default_rng(0))


def test_simulated_nuclei_are_found(tile):
    images, truth = tile
    found = segment_nuclei(images[0, 0])
    assert f1(found.nuclei, truth.nuclei) > 0.93
    assert found.diameter == pytest.approx(np.sqrt(4 / np.pi * 89), rel=0.15)
    assert not found.reason


@pytest.mark.parametrize("image", [np.zeros((64, 64), np.uint16), np.full((64, 64), 300)])
def test_an_empty_image_has_no_nuclei_and_says_so(image):
    found = segment_nuclei(image)
    assert found.nuclei.shape == image.shape
    assert not found.nuclei.any()
    assert "stand out" in found.reason


def test_noise_has_no_nuclei():
    found = segment_nuclei(np.random.default_rng(0).normal(200, 8, (256, 256)))
    assert not found.nuclei.any()
    assert found.reason


def test_cells_hold_their_nuclei_and_reach_no_further(tile):
    images, _ = tile
    nuclei = segment_nuclei(images[0, 0]).nuclei
    cells = segment_cells(nuclei, 4)
    assert np.array_equal(cells[nuclei > 0], nuclei[nuclei > 0])
    assert (cells > 0).sum() > 1.5 * (nuclei > 0).sum()
    assert np.array_equal(segment_cells(nuclei, 0), nuclei)


def test_result_does_not_depend_on_offset_and_gain(tile):
    image = tile[0][0, 0].astype(float)
    once, again = segment_nuclei(image), segment_nuclei(3 * image + 1000)
    assert f1(once.nuclei, again.nuclei) > 0.99


def test_given_diameter_is_used():
    y, x = np.mgrid[:60, :60]
    disk = 100 + 900.0 * (np.hypot(y - 30, x - 30) < 10)
    found = segment_nuclei(disk, SegmentSettings(diameter=20))
    assert found.diameter == 20
    assert found.nuclei.max() == 1


@pytest.mark.parametrize("image", [np.zeros((3, 4, 5)), np.full((9, 9), np.nan)])
def test_bad_images_are_refused(image):
    with pytest.raises(InputError):
        segment_nuclei(image)


@pytest.mark.skipif(not NUCLEI.exists(), reason="public nuclei (BBBC038, CC0) are not here")
def test_real_nuclei():
    scores = [
        f1(
            segment_nuclei(tifffile.imread(path)).nuclei,
            tifffile.imread(NUCLEI / "labels" / path.name),
        )
        for path in sorted((NUCLEI / "images").glob("*.tif"))
    ]
    assert np.median(scores) > 0.85
