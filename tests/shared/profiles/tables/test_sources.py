"""Tables of other tools, text, and frames of dask give the same profiles as our own Parquet."""

import gzip

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles import ProfilesConfig, feature_columns, make_profiles
from poolvox.shared.profiles.tables.datasets import ObjectTables
from poolvox.shared.profiles.tables.sources import gather_tables
from poolvox.shared.store import read_table, write_table

CONFIG = ProfilesConfig(hits={"enabled": False}, quality={"rules": ()}, select={"operations": ()})
RNG = np.random.default_rng(2)
IMAGES, EACH = 6, 20


@pytest.fixture(scope="module")
def spreadsheets():
    """Nuclei, cells and cytoplasms of six images, two wells, as CellProfiler exports them."""
    image = np.repeat(np.arange(1, IMAGES + 1), EACH)
    number = np.tile(np.arange(1, EACH + 1), IMAGES)
    nuclei = pd.DataFrame({"ImageNumber": image, "ObjectNumber": number})
    nuclei["AreaShape_Area"] = RNG.integers(50, 90, len(nuclei))
    nuclei["Location_Center_X"] = RNG.uniform(0, 99, len(nuclei))
    # Cells are numbered otherwise than their nuclei, and the last of each image lacks one.
    cells = pd.DataFrame({"ImageNumber": image, "ObjectNumber": number})
    cells["Intensity_MeanIntensity_DNA"] = RNG.normal(1, 0.1, len(cells))
    cells["Parent_Nuclei"] = np.where(number == EACH, 0, EACH - number)
    cytoplasm = pd.DataFrame({"ImageNumber": image, "ObjectNumber": number})
    cytoplasm["Texture_Entropy_DNA_3_00_256"] = RNG.normal(5, 1, len(cells))
    cytoplasm["Parent_Cells"] = number
    cytoplasm["Parent_Nuclei"] = cells.Parent_Nuclei
    images = pd.DataFrame({"ImageNumber": np.arange(1, IMAGES + 1)})
    images["Metadata_Plate"] = "P1"
    images["Metadata_Well"] = ["A01"] * 3 + ["A02"] * 3
    images["Count_Cells"] = EACH
    images["FileName_DNA"] = "dna.tif"
    experiment = pd.DataFrame({"Key": ["CellProfiler_Version"], "Value": ["4.2.6"]})
    named = {"Nuclei": nuclei, "Cells": cells, "Cytoplasm": cytoplasm, "Image": images}
    return named | {"Experiment": experiment}


@pytest.mark.parametrize("names", [["cell_id"], ["field", "cell_id"]])
def test_an_index_of_numbers_names_rows(tmp_path, names):
    frame = pd.DataFrame({"Metadata_Well": ["A1", "A1", "B1"], "Cells_Area": [1.0, 2.0, 4.0]})
    # No row numbers: pandas 3 takes those for a range, which is no column.
    levels = [pd.Index([7, 9, 8], name=name) for name in names]
    frame.set_index(levels).to_parquet(tmp_path / "a.parquet")
    frame.to_parquet(tmp_path / "b.parquet")
    indexed, plain = (ObjectTables((tmp_path / f"{name}.parquet",)) for name in "ab")
    assert indexed.features == plain.features == ("Cells_Area",)
    assert set(indexed.keys) == {"Metadata_Well", *names}
    assert indexed.frame(indexed.keys)["cell_id"].tolist() == [7, 9, 8]


@pytest.mark.parametrize("begin", ["", "MyExpt_"])
def test_cellprofilers_folder_is_joined(spreadsheets, tmp_path, begin):
    for name, frame in spreadsheets.items():
        frame.to_csv(tmp_path / f"{begin}{name}.csv", index=False)
    made = make_profiles(tmp_path, CONFIG, tmp_path / "out")
    objects = read_table(made.paths["objects"])
    assert len(objects) == IMAGES * EACH
    features = feature_columns(objects)
    assert {"Nuclei_AreaShape_Area", "Cells_Intensity_MeanIntensity_DNA"} < set(features)
    assert len(features) == 4
    # One cell of an image has no nucleus; the others have the one that their table names.
    assert objects.Nuclei_AreaShape_Area.isna().sum() == IMAGES
    area = spreadsheets["Nuclei"].AreaShape_Area.to_numpy().reshape(IMAGES, EACH)
    first = objects[objects.Metadata_ImageNumber == 1].sort_values(
        "Metadata_Cytoplasm_ObjectNumber"
    )
    found = first.Nuclei_AreaShape_Area.to_numpy()[:-1]
    assert np.corrcoef(found, area[0, EACH - 2 :: -1])[0, 1] == pytest.approx(1)
    assert read_table(made.paths["wells"]).Metadata_Well.tolist() == ["A01", "A02"]
    assert not list((tmp_path / "out").glob(".*"))


def test_one_spreadsheet_is_enough(spreadsheets, tmp_path):
    path = tmp_path / "MyExpt_Cells.csv"
    spreadsheets["Cells"].to_csv(path, index=False)
    made = make_profiles(path, CONFIG, tmp_path / "out")
    objects = read_table(made.paths["objects"])
    assert [n for n in objects if not n.startswith("Metadata_")] == [
        "Cells_Parent_Nuclei",
        "Cells_Intensity_MeanIntensity_DNA",
    ]
    # Without plates everything is normalised together, which the record tells.
    told = made.record.set_index("name").reason["Metadata_Plate"]
    assert "all objects are normalised together" in told


def test_unrelated_spreadsheets_are_refused(spreadsheets, tmp_path):
    for name in ("Nuclei", "Cells"):
        frame = spreadsheets[name].drop(columns="Parent_Nuclei", errors="ignore")
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(InputError, match=r"\['Cells'\] are no parents of Nuclei|\['Nuclei'\] are"):
        gather_tables(tmp_path, tmp_path / "made")


@pytest.fixture(scope="module")
def pycytominer():
    """Single cells of pycytominer: title-cased compartments, metadata, whole numbers at first."""
    frame = pd.DataFrame({"Metadata_Plate": ["P1", "P2"] * 60, "Metadata_Well": ["A01"] * 120})
    frame["Metadata_Gene"] = np.where(np.arange(120) % 3 == 0, "", "geneA")
    frame["Cells_AreaShape_Area"] = RNG.integers(50, 90, 120) + np.linspace(0, 0.5, 120)
    frame["Nuclei_Texture_Gabor"] = RNG.normal(0, 1, 120)
    frame.loc[3, "Nuclei_Texture_Gabor"] = np.nan
    frame["Cells_Number_Object_Number"] = np.arange(120)
    return frame


def profiles_of(given, out, config=CONFIG):
    paths = make_profiles(given, config, out).paths
    return {n: read_table(paths[n]) for n in ("objects", "wells", "genes")}


def test_text_parquet_dask_and_pandas_give_the_same(pycytominer, tmp_path):
    write_table(pycytominer, tmp_path / "cells.parquet")
    expected = profiles_of(tmp_path / "cells.parquet", tmp_path / "out")
    with gzip.open(tmp_path / "cells.csv.gz", "wt") as file:
        pycytominer.to_csv(file, index=False)
    pycytominer.to_csv(tmp_path / "cells.tsv", index=False, sep="\t")
    lazy = dd.from_pandas(pycytominer, npartitions=7, sort=False)
    whole = ds.dataset(tmp_path / "cells.parquet")
    given = [tmp_path / "cells.csv.gz", tmp_path / "cells.tsv", lazy, whole, pycytominer]
    for number, one in enumerate(given):
        found = profiles_of(one, tmp_path / f"out{number}")
        for name, table in expected.items():
            pd.testing.assert_frame_equal(found[name], table, check_dtype=False)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("semicolons.csv", {"sep": ";"}),
        ("decimals.csv", {"sep": ";", "decimal": ","}),
        ("tabs.csv", {"sep": "\t", "decimal": ","}),
        ("commas.txt", {}),
        ("marked.csv", {"sep": ";", "encoding": "utf-8-sig"}),
        ("rows.csv", {"index": True}),
    ],
)
def test_spreadsheets_of_any_country_are_read(pycytominer, tmp_path, name, how):
    # A name in quotes may hold what parts columns elsewhere.
    table = pycytominer.rename(columns={"Nuclei_Texture_Gabor": "Nuclei_Texture_a,b;c"})
    table.to_csv(tmp_path / name, **({"index": False} | how))
    found = profiles_of(tmp_path / name, tmp_path / "out")["objects"]
    expected = profiles_of(table, tmp_path / "plain")["objects"]
    # Numbers of rows are no measurements.
    assert feature_columns(found) == feature_columns(expected)
    pd.testing.assert_frame_equal(found[list(expected)], expected, check_dtype=False)


def test_an_index_that_pandas_stored_is_no_measurement(pycytominer, tmp_path):
    halves = pd.concat([pycytominer.iloc[:60], pycytominer.iloc[:60]])
    halves.to_parquet(tmp_path / "cells.parquet")
    found = profiles_of(tmp_path / "cells.parquet", tmp_path / "out")
    found["objects"] = found["objects"].drop(columns="__index_level_0__")
    expected = profiles_of(halves, tmp_path / "plain")
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table)


def test_frames_with_odd_columns_and_keys_in_the_index(pycytominer, tmp_path):
    expected = profiles_of(pycytominer, tmp_path / "plain")
    keys = ["Metadata_Plate", "Metadata_Well"]
    found = profiles_of(pycytominer.set_index(keys), tmp_path / "index")
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name][list(table)], table)
    # As a spreadsheet hands them over: some names are numbers, and one column holds notes.
    mixed = pycytominer.assign(Metadata_Gene=[7, "geneA", None] * 40, Notes=[1.5, "blurred"] * 60)
    made = make_profiles(mixed, CONFIG, tmp_path / "mixed")
    assert read_table(made.paths["genes"]).Metadata_Gene.tolist() == ["7", "geneA"]
    told = made.record.set_index("name").reason
    assert told["Notes"] == "holds text, so it is no measurement"
    with pytest.raises(InputError, match=r"columns \['Notes'\] of the frame occur twice"):
        make_profiles(pd.concat([mixed, mixed[["Notes"]]], axis=1), CONFIG, tmp_path / "twice")


def test_frames_that_arrow_reads(pycytominer, tmp_path):
    expected = profiles_of(pycytominer, tmp_path / "plain")
    table = pa.Table.from_pandas(pycytominer, preserve_index=False)
    place = table.column_names.index("Metadata_Plate")
    views = table.set_column(place, "Metadata_Plate", table["Metadata_Plate"].cast("string_view"))
    for number, given in enumerate((table, views)):
        found = profiles_of(given, tmp_path / str(number))
        for name, one in expected.items():
            pd.testing.assert_frame_equal(found[name], one)


def test_names_of_cytotable_are_known(pycytominer, tmp_path):
    long = pycytominer.rename(
        columns={
            "Metadata_Plate": "Image_Metadata_Plate",
            "Metadata_Well": "Image_Metadata_Well",
            "Cells_Number_Object_Number": "Metadata_Cells_Number_Object_Number",
        }
    )
    write_table(long, tmp_path / "converted.parquet")
    write_table(pycytominer, tmp_path / "cells.parquet")
    expected = profiles_of(tmp_path / "cells.parquet", tmp_path / "out")
    found = profiles_of(tmp_path / "converted.parquet", tmp_path / "other")
    pd.testing.assert_frame_equal(found["wells"], expected["wells"])


@pytest.mark.parametrize("text", ["", "Metadata_Well,Cells_A\nA1,1\nA2,1,7\n"])
def test_broken_text_is_told(tmp_path, text):
    (tmp_path / "cells.csv").write_text(text)
    with pytest.raises(InputError, match=r"cells\.csv .*(read|table)"):
        gather_tables(tmp_path / "cells.csv", tmp_path / "made")


def test_text_is_told_by_its_own_name(tmp_path):
    (tmp_path / "cells.csv").write_bytes("Metadata_Gene,Cells_A\ncontrôle,1\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"cells\.csv is not written in UTF-8: save it so"):
        gather_tables(tmp_path / "cells.csv", tmp_path / "made")
    (tmp_path / "cells.csv").write_text("Metadata_Gene,Cells_A\n")
    with pytest.raises(InputError, match=r"no objects in cells\.csv"):
        make_profiles(tmp_path / "cells.csv", CONFIG, tmp_path / "out")
