import numpy as np
import pandas as pd
import pytest

from poolvox.ops.folder import Folder
from poolvox.ops.library import LibrarySpec
from poolvox.ops.objects import (
    ObjectChannels,
    collect_objects,
    describe_objects,
    find_controls,
    measure_cells,
)
from poolvox.ops.profiles import profile_screen
from poolvox.shared.errors import InputError
from poolvox.shared.ingest import TileKey
from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.tables.columns import feature_columns
from poolvox.shared.store import read_table, write_table

CHANNELS = ObjectChannels("DAPI", ("G", "T"), (1.3, 1.3))


@pytest.fixture
def tile():
    nuclei = np.zeros((40, 40), np.int32)
    nuclei[5:15, 5:15], nuclei[20:30, 30:40] = 2, 7
    cells = nuclei.copy()
    cells[3:17, 3:17], cells[18:32, 28:40] = 2, 7
    images = {
        "DAPI": np.where(nuclei > 0, 100 * nuclei, 10).astype(np.uint16),
        "G": np.where(cells == 2, 50, 0).astype(np.uint16),
        "T": np.full((40, 40), 9, np.uint16),
    }
    return images, nuclei, cells


def test_nuclei_and_cells_are_measured_in_micrometres(tile):
    table = measure_cells(*tile, CHANNELS, groups=["shape", "intensity"])
    assert table["Metadata_Label"].tolist() == [2, 7]
    assert table["QC_Border"].tolist() == [False, True]
    np.testing.assert_allclose(table["Nuclei_Shape_Area_um2"], 100 * 1.69, rtol=1e-6)
    np.testing.assert_allclose(table["Cells_Shape_Area_um2"], [196 * 1.69, 168 * 1.69], rtol=1e-6)
    np.testing.assert_allclose(table["Nuclei_Intensity_Mean_DAPI"], [200, 700])
    assert table["Call_Light_G"].tolist() == [50, 0]
    assert table["Call_Light_T"].tolist() == [9, 9]
    assert set(table.dtypes[5:]) - {np.dtype(float)} == {np.dtype(np.float32)}


def test_a_tile_without_cells_or_without_bases(tile):
    images, nuclei, cells = tile
    empty = measure_cells(images, nuclei * 0, cells * 0, CHANNELS, groups=["shape"])
    assert len(empty) == 0
    assert "Call_Light_G" in empty
    bare = measure_cells({"DAPI": images["DAPI"]}, nuclei, cells, CHANNELS, groups=["shape"])
    assert not [name for name in bare if name.startswith("Call_Light")]


def test_the_light_of_bases_spells_the_barcode_and_is_no_measurement(tile):
    table = measure_cells(*tile, CHANNELS, groups=["shape", "intensity"])
    light = {"Call_Light_G", "Call_Light_T"}
    assert light < set(table)
    assert not light & set(feature_columns(table))


def test_the_dictionary_describes_every_column(tile):
    table = measure_cells(*tile, CHANNELS, groups=["shape", "intensity", "texture"])
    told = set(describe_objects(["shape", "intensity", "texture"])["name"])
    names = {
        name.replace("_DAPI", "_{channel}").replace("_G", "_{channel}").replace("_T", "_{channel}")
        if "_Shape_" not in name
        else name
        for name in table
        if name.startswith(("Nuclei_Shape", "Cells_Shape", "Call_Light"))
    }
    assert names <= told


@pytest.fixture
def run(tmp_path, tile):
    folder = Folder(tmp_path)
    tiles = [TileKey("P1", "A1", "1"), TileKey("P1", "A1", "2"), TileKey("P1", "B1", "1")]
    library = pd.DataFrame(
        {"barcode": ["ACGT", "CATG", "GTCA"], "sgRNA": ["g1", "c1", "g2"],
         "gene": ["x", "nontargeting", "y"]}
    )  # fmt: skip
    library.to_csv(tmp_path / "library.csv", index=False)
    table = measure_cells(*tile, CHANNELS, groups=["shape"])
    calls = []
    for place in tiles:
        keys = {"Metadata_Plate": "P1", "Metadata_Well": place.well, "Metadata_Tile": place.tile}
        cells = table[["Metadata_Label", "Metadata_Y", "Metadata_X"]].assign(**keys)
        calls.append(cells.assign(Metadata_Guide=["c1", "g1"], Metadata_Gene=["nontargeting", "x"],
                                  Call_Posterior=0.9))  # fmt: skip
        if place.well == "A1":
            write_table(table.assign(**keys), folder.called(str(place), "objects"))
    write_table(pd.concat(calls, ignore_index=True), folder.table("cells"))
    spec = LibrarySpec(file=tmp_path / "library.csv", guide="sgRNA", gene="gene")
    return folder, tiles, spec


def test_what_was_measured_and_called_comes_together(run):
    folder, tiles, spec = run
    assert collect_objects(folder, tiles, spec, 4)["objects"] == 4
    objects = read_table(folder.table("objects"))
    assert objects["Metadata_Guide"].tolist() == ["c1", "g1"] * 2
    assert objects["Metadata_Control"].tolist() == [True, False] * 2
    assert objects["Metadata_SBS_Y"].equals(objects["Metadata_Y"])
    assert objects["Nuclei_Shape_Area_um2"].notna().all()
    assert objects["Metadata_Tile"].tolist() == ["1", "1", "2", "2"]


def test_nothing_measured_is_told(run):
    folder, tiles, spec = run
    with pytest.raises(InputError, match="no cells were measured"):
        collect_objects(folder, tiles[2:], spec, 4)


def test_cells_that_were_not_called_are_no_controls(run):
    _, _, spec = run
    calls = pd.DataFrame({"Metadata_Guide": ["", "c1"], "Metadata_Gene": ["", "nontargeting"]})
    assert find_controls(calls, spec, 4).tolist() == [False, True]


def test_too_few_cells_for_profiles_are_told_and_no_failure(run):
    folder, tiles, spec = run
    collect_objects(folder, tiles, spec, 4)
    facts = profile_screen(folder, ProfilesConfig(), CHANNELS, ["shape"])
    assert facts["warnings"] == ["no profiles: 4 cells were measured, 20 or more are needed"]


def test_a_screen_that_is_flagged_whole_is_told_and_no_failure(run):
    folder, tiles, spec = run
    collect_objects(folder, tiles, spec, 4)
    objects = read_table(folder.table("objects"))
    many = pd.concat([objects] * 6, ignore_index=True).assign(QC_Border=True)
    write_table(many, folder.table("objects"))
    facts = profile_screen(folder, ProfilesConfig(), CHANNELS, ["shape"])
    assert facts["flagged"] == facts["objects"] == 24
    (warning,) = facts["warnings"]
    assert warning.startswith("no profiles: quality control flags all 24 objects (QC_Border 24")
