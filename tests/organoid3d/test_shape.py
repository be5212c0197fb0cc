"""Organoids with planted lumens, buds and gradients."""

import numpy as np
import pandas as pd
import pytest

from poolvox.organoid3d.shape import (
    ORGANOID_FEATURES,
    count_buds,
    measure_contents,
    summarise_objects,
)
from poolvox.organoid3d.tissue import Tissue

SPACING = (2.0, 1.0, 1.0)
SHAPE = (40, 80, 80)


def ball(centre, radius):
    z, y, x = np.indices(SHAPE)
    place = (2 * z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    return place < radius**2


def test_a_cyst_is_measured_as_it_was_planted():
    organoids, lumens = 5 * ball((40, 40, 40), 30), 3 * ball((40, 40, 40), 18)
    nuclei = np.zeros(SHAPE, int)
    for label, x in enumerate((16, 64), start=1):
        nuclei[ball((40, 40, x), 4)] = label
    row = measure_contents(nuclei, Tissue(organoids, lumens), spacing=SPACING).loc[5]
    volume = 4 / 3 * np.pi * np.array((30**3, 18**3, 4**3))
    assert row[["Count_Nuclei", "Count_Lumens", "Count_Buds"]].tolist() == [2, 1, 0]
    assert row["Filling_LumenVolume_um3"] == pytest.approx(volume[1], rel=0.02)
    assert row["Filling_LumenFraction"] == pytest.approx(0.216, rel=0.02)
    assert row["Filling_NucleiFraction"] == pytest.approx(
        2 * volume[2] / (volume[0] - volume[1]), rel=0.15
    )
    assert row["Filling_Thickness_um"] == pytest.approx(12, abs=1)


@pytest.mark.parametrize("buds", [0, 1, 3])
def test_buds_are_counted(buds):
    mask = ball((40, 40, 40), 20)
    for place in [(40, 14, 40), (40, 40, 66), (40, 62, 28)][:buds]:
        mask |= ball(place, 8)
    assert count_buds(mask, spacing=SPACING) == buds


def test_blunt_edges_are_no_buds():
    z, y, x = np.indices(SHAPE)
    radius, height = np.hypot(y - 40, x - 40), np.abs(2 * z - 40)
    barrel = (radius < 26) & (height < 26) & (np.hypot(radius, height) < 33)
    assert count_buds(barrel, spacing=SPACING) == 0


def test_empty_organoids_and_fields_have_rows_and_columns():
    nothing = np.zeros(SHAPE, int)
    alone = measure_contents(nothing, Tissue(2 * ball((40, 40, 40), 10)), spacing=SPACING)
    assert alone.loc[2, ["Count_Nuclei", "Count_Lumens"]].tolist() == [0, 0]
    assert np.isnan(alone.loc[2, "Filling_Thickness_um"])
    empty = measure_contents(nothing, Tissue(nothing), spacing=SPACING)
    assert list(empty.columns) == [feature.name for feature in ORGANOID_FEATURES]
    assert len(empty) == 0


def test_summaries_find_the_planted_gradient():
    rng = np.random.default_rng(0)
    parent = pd.Series(np.repeat([1, 2, 0], [40, 30, 10]))
    depth = pd.Series(rng.random(80))
    slope = parent.map({1: 3.0, 2: -2.0, 0: 100.0})
    table = pd.DataFrame(
        {"Nuclei_Shape_Volume_um3": 10 + slope * depth, "Nuclei_Shape_Odd": np.nan}
    )
    table.iloc[5, 0] = np.nan
    found = summarise_objects(table, parent, depth)
    assert found.index.tolist() == [1, 2]
    assert found["Organoids_NucleiDepthSlope_Shape_Volume_um3"].tolist() == pytest.approx([3, -2])
    first = table["Nuclei_Shape_Volume_um3"][:40].dropna()
    assert found.loc[1, "Organoids_NucleiMedian_Shape_Volume_um3"] == first.median()
    mad = (first - first.median()).abs().median()
    assert found.loc[1, "Organoids_NucleiMAD_Shape_Volume_um3"] == pytest.approx(mad)
    assert found["Organoids_NucleiMedian_Shape_Odd"].isna().all()
