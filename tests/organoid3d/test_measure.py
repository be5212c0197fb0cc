"""Tables of a small planted organoid: every part is there, named and described."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from poolvox.organoid3d.graph import EDGE_KINDS
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


def test_every_column_of_every_table_is_in_the_dictionary(stack):
    nuclei, tissue, images = stack
    images = images | {"dye": images["marker"] ** 2}
    settings = MeasureSettings()
    given = {"spacing": SPACING, "settings": settings}
    table = measure_nuclei(nuclei, images, tissue=tissue, **given)
    whole = measure_organoids(nuclei, tissue, table, images, **given)
    edges = tabulate_edges(nuclei, **given)
    names = describe_features(settings)["name"]
    assert not names.duplicated().any()
    places = {r"\{channel\}": "(marker|dye)", r"\{channel2\}": "(marker|dye)"}
    places |= {r"\{feature\}": ".+", r"\{steps\}": "[123]"}
    pattern = "|".join(re.escape(name) for name in names)
    for mark, stands_for in places.items():
        pattern = pattern.replace(mark, stands_for)
    columns = [*table, *whole, *edges]
    measured = [c for c in columns if not str(c).startswith("Metadata_")]
    stems = ("Nuclei_", "Organoids_")
    plain = [c for c in measured if not re.fullmatch(f"(Nuclei_|Organoids_)?({pattern})", c)]
    assert plain == []
    assert all(c.startswith((*stems, "Edge_")) for c in measured)
    # Every feature of a nucleus is summed up.
    for kind in ("Median", "MAD", "P10", "P90", "DepthSlope"):
        summed = [f"Organoids_Nuclei{kind}_{c.removeprefix('Nuclei_')}" for c in table][7:]
        assert set(summed) <= set(whole), kind


def test_coefficients_of_harmonics_on_request(stack):
    nuclei, tissue, images = stack
    settings = MeasureSettings(groups=("harmonics: {degree: 4, coefficients: true}",))
    given = {"spacing": SPACING, "settings": settings}
    table = measure_nuclei(nuclei, images, tissue=tissue, **given)
    whole = measure_organoids(nuclei, tissue, table, images, **given)
    for found, compartment in ((table, "Nuclei"), (whole, "Organoids")):
        names = [f"l{n}m{m}" for n in range(5) for m in range(-n, n + 1)]
        columns = [f"{compartment}_Harmonics_Coefficient_um_{name}" for name in names]
        assert found[columns].notna().all(axis=None)
    # Of degree 0 the coefficient is that of a ball of the mean radius.
    first = whole["Organoids_Harmonics_Coefficient_um_l0m0"] / np.sqrt(4 * np.pi)
    assert first.to_numpy() == pytest.approx([21, 14], rel=0.03)


def test_neighbours_are_asked_for_any_feature(stack):
    nuclei, tissue, images = stack
    settings = MeasureSettings(
        groups=("shape", "intensity", "graph"), of_neighbours=("Intensity_Std", "Shape_Solidity")
    )
    table = measure_nuclei(nuclei, images, spacing=SPACING, tissue=tissue, settings=settings)
    found = [c.split("NeighbourMean_")[1] for c in table if "NeighbourMean" in c]
    assert found == ["Shape_Solidity", "Intensity_Std_marker"]


TISSUES = {
    "everywhere": lambda shape: Tissue(np.ones(shape, np.uint16)),
    "nowhere": lambda shape: Tissue(np.zeros(shape, np.int64)),
    "hollow throughout": lambda shape: Tissue(np.ones(shape, int), np.ones(shape, int)),
    "a plane": lambda shape: Tissue(np.arange(shape[0])[:, None, None] + np.zeros(shape, int) == 2),
    "two, and cells": lambda shape: Tissue(
        np.arange(shape[2]) // 6 + np.ones(shape, np.int32),
        cells=np.ones(shape, np.int32),
    ),
}


@pytest.mark.parametrize("where", TISSUES)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_and_flat_nuclei_in_odd_tissue_get_numbers_or_nan(count, where):
    shape = (5, 10, 12)
    nuclei = np.zeros(shape, np.uint64)
    parts = [np.s_[2, 3, 3], np.s_[2, 5:8, 2], np.s_[2, 1:4, 6:9], np.s_[0, 8:, 8:], np.s_[3, 6, 6]]
    for number, part in enumerate(parts[:count]):
        nuclei[part] = 2**62 + number
    tissue = TISSUES[where](shape)
    if tissue.organoids.dtype == bool:
        tissue = Tissue(tissue.organoids.astype(np.int32))
    settings = MeasureSettings(groups=("shape", "harmonics", "intensity", "graph", "position"))
    given = {"spacing": SPACING, "settings": settings}
    images = {"marker": np.ones(shape)}
    for edges in EDGE_KINDS:
        given["settings"] = replace(settings, edges=edges)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = measure_nuclei(nuclei, images, tissue=tissue, **given)
            whole = measure_organoids(nuclei, tissue, table, images, **given)
            tabulate_edges(nuclei, mask=tissue.solid, **given)
        assert table["Metadata_Label"].tolist() == [2**62 + k for k in range(count)]
        held = tissue.organoids[tissue.organoids > 0]
        assert whole["Metadata_Label"].tolist() == np.unique(held).tolist()
        for found in (table, whole):
            values = found.drop(columns="Metadata_Label").astype(float)
            assert [name for name in values if np.isinf(values[name]).any()] == []


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
