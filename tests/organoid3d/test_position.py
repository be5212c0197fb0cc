"""Positions in planted organoids, and in a published one whose authors' table is known."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

from poolvox.organoid3d.cells import find_parents
from poolvox.organoid3d.position import POSITION_FEATURES, measure_positions
from poolvox.organoid3d.shape import measure_contents
from poolvox.organoid3d.tissue import Tissue
from poolvox.shared.errors import InputError
from poolvox.shared.features import find_objects

DATA = Path(__file__).parents[3] / "shared/data/organoid3d/budding_organoid"
SPACING = (2.0, 0.5, 0.5)


def ball(shape, centre, radius, spacing=SPACING):
    grid = np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing)], indexing="ij")
    return sum((g - c) ** 2 for g, c in zip(grid, centre)) < radius**2


@pytest.fixture(scope="module")
def cyst():
    """An organoid of radius 24 um round a lumen of 10, with nuclei of radius 3 on the z-y plane."""
    shape = (30, 120, 120)
    centre = np.array((29.0, 30.0, 30.0))
    organoid = ball(shape, centre, 24).astype(np.int32)
    lumen = ball(shape, centre, 10).astype(np.int32)
    nuclei = np.zeros(shape, np.int64)
    for label, (angle, radius) in enumerate([(0, 20.5), (90, 17), (180, 13.5), (45, 17)], start=1):
        way = np.array((0.0, np.sin(np.radians(angle)), np.cos(np.radians(angle))))
        nuclei[ball(shape, centre + radius * way, 3)] = label * 10
    return nuclei, organoid, lumen


def test_depth_and_distance_to_the_lumen_are_planted(cyst):
    nuclei, organoid, lumen = cyst
    table = measure_positions(nuclei, Tissue(organoid, lumen), spacing=SPACING)
    assert table.index.tolist() == [10, 20, 30, 40]
    assert table["DepthCentroid_um"].tolist() == pytest.approx([3.5, 7, 10.5, 7], abs=0.5)
    assert table["LumenDistanceMean_um"].tolist() == pytest.approx([10.5, 7, 3.5, 7], abs=0.7)
    assert table["ApicoBasal"].tolist() == pytest.approx([0.25, 0.5, 0.75, 0.5], abs=0.03)
    assert table["Layer"].tolist() == [1, 2, 2, 2]
    assert table["CentreDistance_um"].tolist() == pytest.approx([20.5, 17, 13.5, 17], abs=0.3)


def test_a_nucleus_that_points_outward_has_no_angle_to_the_normal(cyst):
    _, organoid, lumen = cyst
    shape, centre = organoid.shape, np.array((29.0, 30.0, 30.0))
    z, y, x = np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, SPACING)], indexing="ij")
    places = np.stack([z, y, x]) - (centre + np.array((0, 0, 17)))[:, None, None, None]
    outward = (places[0] / 2.5) ** 2 + (places[1] / 2.5) ** 2 + (places[2] / 5) ** 2 < 1
    along = (places[0] / 2.5) ** 2 + (places[1] / 5) ** 2 + (places[2] / 2.5) ** 2 < 1
    for mask, angle in ((outward, 0), (along, 90)):
        table = measure_positions(mask.astype(int), Tissue(organoid, lumen), spacing=SPACING)
        assert table["NormalAngle_degree"][1] == pytest.approx(angle, abs=4)
        assert table["RadialAngle_degree"][1] == pytest.approx(angle, abs=4)


def test_polarity_tells_on_which_side_of_its_cell_a_nucleus_lies(cyst):
    nuclei, organoid, lumen = cyst
    shape, centre = organoid.shape, np.array((29.0, 30.0, 30.0))
    cells = 20 * ball(shape, centre + np.array((0, 19.0, 0)), 5).astype(int)
    table = measure_positions(nuclei, Tissue(organoid, lumen, cells), spacing=SPACING)
    assert table.loc[20, "PolarityCosine"] == pytest.approx(1, abs=0.03)
    assert table.loc[20, "PolarityMagnitude"] == pytest.approx(2 / 5, abs=0.05)
    assert table.loc[[10, 30, 40], "PolarityCosine"].isna().all()


def test_what_is_not_there_is_nan(cyst):
    nuclei, organoid, _ = cyst
    alone = measure_positions(nuclei, Tissue(organoid), spacing=SPACING)
    assert alone["LumenDistanceMean_um"].isna().all()
    nowhere = measure_positions(nuclei, Tissue(np.zeros_like(organoid)), spacing=SPACING)
    assert nowhere.isna().all(axis=None)
    empty = measure_positions(np.zeros_like(nuclei), Tissue(organoid), spacing=SPACING)
    assert list(empty.columns) == [feature.name for feature in POSITION_FEATURES]
    assert len(empty) == 0


def test_touching_organoids_do_not_hide_each_others_surface():
    organoids = np.zeros((12, 40, 80), np.int32)
    organoids[:, 5:35, 5:40], organoids[:, 5:35, 40:75] = 7, 9
    nuclei = np.zeros_like(organoids)
    nuclei[5:7, 19:21, 38:40] = 1
    table = measure_positions(nuclei, Tissue(organoids), spacing=(1, 1, 1))
    assert table["DepthMean_um"][1] == pytest.approx(1.5)


def test_the_border_of_the_image_is_no_surface():
    organoids = np.ones((10, 20, 20), np.int32)
    organoids[:, :, 15:] = 0
    nuclei = np.zeros_like(organoids)
    nuclei[0, 0, 3] = 1
    table = measure_positions(nuclei, Tissue(organoids), spacing=(1, 1, 1))
    assert table["DepthMean_um"][1] == 12


def test_a_parent_is_where_most_of_the_object_lies():
    labels = np.zeros((1, 2, 9), np.int64)
    labels[0, 0, :5], labels[0, 0, 5:], labels[0, 1, :4] = 4, 2**40, 9
    parents = np.zeros_like(labels)
    parents[0, 0, 1:3], parents[0, 0, 3:8] = 8, 3
    objects = find_objects(labels, spacing=1)
    parent, part = find_parents(objects, parents)
    assert parent.to_dict() == {4: 3, 9: 0, 2**40: 3}
    assert part.to_dict() == {4: 0.4, 9: 0.0, 2**40: 0.75}


def test_shapes_must_agree():
    with pytest.raises(InputError, match="one shape"):
        measure_positions(
            np.zeros((2, 3, 4), int), Tissue(np.zeros((2, 3, 5), int)), spacing=(1, 1, 1)
        )


def published(frame):
    """LSTree's own table of its example (Nature Communications 2021, MIT licence)."""
    with h5py.File(DATA / "agg_features.h5") as file:
        nodes, organoid = file["nodes"], file["organoid"]
        blocks = [
            pd.DataFrame(nodes[f"block{k}_values"][:], columns=nodes[f"block{k}_items"][:])
            for k in (0, 1)
        ]
        row = list(organoid["axis1"][:]).index(frame)
        volumes = dict(zip(organoid["axis0"][:], organoid["block0_values"][row]))
    table = pd.concat(blocks, axis=1).rename(columns=bytes.decode)
    table = table[table["mamut_t"] == frame].set_index("label_id").sort_index()
    return table, {name.decode(): value for name, value in volumes.items()}


@pytest.mark.skipif(not DATA.exists(), reason="the public organoid lies beside the checkout")
@pytest.mark.parametrize("frame", [301, 303])
def test_the_published_distances_and_volumes_come_back(frame):
    nuclei, cells, lumen = (
        tifffile.imread(DATA / f"T0{frame}_{name}_labels.tif")
        for name in ("nuclei", "cell", "lumen")
    )
    expected, volumes = published(frame)
    spacing = (2.0, 0.26, 0.26)
    tissue = Tissue((lumen > 0).astype(np.int32), (lumen == 1).astype(np.int32), cells)
    table = measure_positions(nuclei, tissue, spacing=spacing)
    assert table.index.tolist() == expected.index.tolist()
    for name, other in (("LumenDistance", "lumen"), ("Depth", "basal")):
        found, known = table[f"{name}Mean_um"], expected[f"nuclei_dist_to_{other}_mean"]
        assert found.tolist() == pytest.approx(known.tolist(), rel=1e-6)
    for labels, name in ((nuclei, "nuclei"), (cells, "cell")):
        objects = find_objects(labels, spacing=spacing)
        found = pd.Series(objects.counts * objects.voxel_size, index=objects.ids)
        known = expected[f"{name}_volume"].reindex(found.index).dropna()
        assert len(known) >= len(expected) - 1
        assert found[known.index].tolist() == pytest.approx(known.tolist(), rel=1e-6)
    contents = measure_contents(nuclei, tissue, spacing=spacing).loc[1]
    assert contents["Filling_LumenVolume_um3"] == pytest.approx(volumes["lumen_volume"], rel=1e-6)
    solid = contents["Filling_TissueVolume_um3"]
    assert solid == pytest.approx(volumes["epithelium_volume"], rel=1e-6)
