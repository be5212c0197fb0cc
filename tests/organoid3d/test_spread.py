import numpy as np
import pandas as pd
import pytest

from poolvox.organoid3d.blocks import Box
from poolvox.organoid3d.measure import MeasureSettings
from poolvox.organoid3d.parts import lay_parts, region_margin
from poolvox.organoid3d.position import measure_positions
from poolvox.organoid3d.spread import SpreadTissue
from poolvox.organoid3d.tissue import Tissue

SPACING = np.array([1.0, 0.5, 0.5])
FACTORS = (1, 2, 3)
SHAPE = (24, 59, 88)
WHOLE = Box((0, 0, 0), SHAPE)


def ball(shape, spacing, start, centre, radius):
    grid = np.indices(shape) + np.reshape(start, (3, 1, 1, 1))
    away = grid * np.reshape(spacing, (3, 1, 1, 1)) - np.reshape(centre, (3, 1, 1, 1))
    return np.linalg.norm(away, axis=0) < radius


@pytest.fixture(scope="module")
def spread():
    """Two organoids, one with a lumen, on a view; in micrometres they lie as `full` has them."""
    coarse = tuple(-(-n // f) for n, f in zip(SHAPE, FACTORS))
    start = (np.array(FACTORS) - 1) / 2 / FACTORS
    organoids, lumens = full(coarse, SPACING * FACTORS, start)
    return SpreadTissue(Tissue(organoids, lumens), FACTORS, SPACING)


def full(shape=SHAPE, spacing=SPACING, start=(0, 0, 0)):
    organoids = ball(shape, spacing, start, (12, 15, 13), 11).astype(np.uint32)
    organoids[ball(shape, spacing, start, (12, 14, 34), 8)] = 2
    return organoids, ball(shape, spacing, start, (12, 15, 13), 4).astype(np.uint32)


@pytest.fixture(scope="module")
def nuclei():
    labels = np.zeros(SHAPE, np.uint32)
    places = [(5, 10, 13), (12, 15, 6), (12, 22, 15), (18, 15, 16), (12, 14, 34), (15, 10, 36)]
    for number, place in enumerate(places, 1):
        labels[ball(SHAPE, SPACING, (0, 0, 0), place, 2.0)] = number
    return labels


def test_a_view_spread_out_is_nearly_the_tissue(spread, nuclei):
    organoids, lumens = full()
    part = spread.within(WHOLE, nuclei)
    assert part.organoids.shape == SHAPE
    assert (part.organoids == organoids).mean() > 0.97
    truth = Tissue(organoids, lumens, nuclei)
    found, expected = (
        measure_positions(nuclei, tissue, spacing=SPACING.tolist()) for tissue in (part, truth)
    )
    for name in ("DepthMean_um", "DepthCentroid_um", "LumenDistanceMean_um", "CentreDistance_um"):
        assert found[name].to_numpy() == pytest.approx(expected[name], abs=1.0, nan_ok=True), name
    assert found["LumenDistanceMean_um"].isna().tolist() == [False] * 4 + [True] * 2
    assert found["PolarityMagnitude"].to_numpy() == pytest.approx(0, abs=1e-9)


def test_parts_tell_what_the_whole_tells(spread, nuclei, monkeypatch):
    monkeypatch.setattr("poolvox.organoid3d.parts.PART", 20_000)
    spacing = (1.0, 0.5, 0.5)
    whole = measure_positions(nuclei, spread.within(WHOLE, nuclei), spacing=spacing, diameter=4.0)
    labels = np.arange(1, 7)
    places = [np.argwhere(nuclei == n) for n in labels]
    parts = lay_parts(
        labels,
        np.array([place.mean(axis=0) for place in places]),
        np.stack([[place.min(axis=0), place.max(axis=0) + 1] for place in places]).swapaxes(1, 2),
        SHAPE,
        margin=region_margin(MeasureSettings(), spacing, reach=1.0, diameter=4.0),
    )
    assert len(parts) > 2
    rows = []
    for part in parts:
        inside = nuclei[part.box.slices()]
        tissue = spread.within(part.box, inside)
        found = measure_positions(inside, tissue, spacing=spacing, diameter=4.0)
        rows.append(found.loc[part.labels])
        assert part.box.shape != SHAPE
    pd.testing.assert_frame_equal(pd.concat(rows).sort_index(), whole, rtol=1e-6)
