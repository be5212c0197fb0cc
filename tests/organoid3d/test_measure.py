"""Tables of a small planted organoid: every part is there, named and described."""

import numpy as np
import pandas as pd
import pytest

from poolvox.organoid3d.measure import (
    MeasureSettings,
    describe_features,
    measure_nuclei,
    measure_organoids,
    tabulate_edges,
)
from poolvox.organoid3d.tissue import Tissue
from poolvox.shared.errors import ConfigError

SPACING = (2.0, 1.0, 1.0)
SETTINGS = MeasureSettings(groups=("shape", "intensity", "graph", "position"))


def ball(centre, radius, shape=(24, 60, 120)):
    z, y, x = np.indices(shape)
    return (2 * z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < radius**2


@pytest.fixture(scope="module")
def stack():
    """Two organoids: a cyst of eight nuclei round a lumen, and a solid one of three."""
    organoids = ball((24, 30, 30), 21) * 3 + ball((24, 30, 90), 14) * 8
    lumens = ball((24, 30, 30), 8).astype(int)
    nuclei = np.zeros(organoids.shape, np.int64)
    for label in range(8):
        angle = label * np.pi / 4
        nuclei[ball((24, 30 + 14 * np.sin(angle), 30 + 14 * np.cos(angle)), 4)] = label + 1
    for label, x in enumerate((84, 90, 96), start=20):
        nuclei[ball((24, 30, x), 2.9)] = label
    marker = nuclei * 10.0 + 5
    return nuclei, Tissue(organoids, lumens), {"marker": marker}


def test_tables_of_nuclei_and_organoids_belong_together(stack):
    nuclei, tissue, images = stack
    table = measure_nuclei(nuclei, images, spacing=SPACING, tissue=tissue, settings=SETTINGS)
    assert table["Metadata_Label"].tolist() == [*range(1, 9), 20, 21, 22]
    assert (table["Nuclei_Graph_Degree"] >= 1).all()
    assert table["Nuclei_Position_LumenDistanceMean_um"][:8].notna().all()
    assert table["Nuclei_Position_LumenDistanceMean_um"][8:].isna().all()
    assert "Nuclei_Graph_NeighbourMean_Intensity_Mean_marker" in table
    whole = measure_organoids(nuclei, tissue, table, images, spacing=SPACING, settings=SETTINGS)
    assert whole["Metadata_Label"].tolist() == [3, 8]
    assert whole["Organoids_Count_Nuclei"].tolist() == [8, 3]
    assert whole["Organoids_Graph_Nodes"].tolist() == [8, 3]
    median = whole["Organoids_NucleiMedian_Shape_Volume_um3"]
    assert median[0] == table["Nuclei_Shape_Volume_um3"][:8].median()
    assert whole["Organoids_Graph_MoranI_Intensity_Mean_marker"].notna().all()


def test_every_column_is_in_the_dictionary(stack):
    nuclei, tissue, images = stack
    table = measure_nuclei(nuclei, images, spacing=SPACING, tissue=tissue, settings=SETTINGS)
    names = describe_features(SETTINGS)["name"]
    known = {name.replace("{channel}", "marker") for name in names}
    stems = tuple(name.split("{feature}")[0] for name in names if "{feature}" in name)
    measured = [str(c).removeprefix("Nuclei_") for c in table if not str(c).startswith("Metadata")]
    assert [n for n in measured if n not in known and not n.startswith(stems)] == []
    assert not names.duplicated().any()


def test_nothing_to_measure_gives_empty_tables():
    nothing = np.zeros((6, 10, 10), int)
    tissue = Tissue(nothing)
    table = measure_nuclei(nothing, spacing=SPACING, tissue=tissue, settings=SETTINGS)
    whole = measure_organoids(nothing, tissue, table, spacing=SPACING, settings=SETTINGS)
    assert len(table) == len(whole) == 0
    assert len(tabulate_edges(nothing, spacing=SPACING)) == 0


def test_an_organoid_without_nuclei_keeps_its_row():
    organoids = ball((24, 30, 30), 15).astype(int)
    nothing = np.zeros_like(organoids)
    table = measure_nuclei(nothing, spacing=SPACING, tissue=Tissue(organoids), settings=SETTINGS)
    whole = measure_organoids(nothing, Tissue(organoids), table, spacing=SPACING, settings=SETTINGS)
    assert whole["Organoids_Count_Nuclei"].tolist() == [0]


def test_edges_have_keys_and_lengths(stack):
    nuclei, *_ = stack
    edges = tabulate_edges(nuclei, spacing=SPACING, settings=MeasureSettings(edges="knn"))
    assert list(edges.columns[:2]) == ["Metadata_Source", "Metadata_Target"]
    pair = edges[(edges["Metadata_Source"] == 20) & (edges["Metadata_Target"] == 21)]
    assert pair["Edge_Distance_um"].tolist() == [pytest.approx(6, abs=0.2)]


def test_unknown_groups_are_refused():
    with pytest.raises(ConfigError, match="no group of features 'colour'"):
        measure_nuclei(
            np.zeros((3, 3, 3), int), spacing=SPACING, settings=MeasureSettings(groups=("colour",))
        )


def test_results_do_not_depend_on_the_order_of_channels(stack):
    nuclei, tissue, images = stack
    more = {"other": images["marker"] * 2, **images}
    first = measure_nuclei(nuclei, more, spacing=SPACING, tissue=tissue, settings=SETTINGS)
    second = measure_nuclei(
        nuclei, dict(reversed(more.items())), spacing=SPACING, tissue=tissue, settings=SETTINGS
    )
    pd.testing.assert_frame_equal(first[sorted(first)], second[sorted(second)])
