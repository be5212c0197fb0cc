import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles import feature_columns, key_columns
from poolvox.shared.profiles.tables.columns import (
    feature_matrix,
    flagged_rows,
    match,
    with_features,
)
from poolvox.shared.profiles.tables.groups import group_rows


@pytest.fixture
def cytotable():
    return pd.DataFrame(
        {
            "Metadata_ImageNumber": [1, 1, 2],
            "Metadata_Well": ["A1", "A1", "A10"],
            "Image_Metadata_Plate": [7, 7, 7],
            "Image_FileName_DNA": ["a.tif", "a.tif", "b.tif"],
            "Image_Count_Nuclei": [2, 2, 1],
            "ObjectNumber": [1, 2, 1],
            "label": [1, 2, 1],
            "cell_id": [11, 12, 13],
            "Nuclei_Number_Object_Number": [1, 2, 1],
            "Cells_Parent_Nuclei": [1, 2, 1],
            "Cells_AreaShape_Area": [10, 20, 30],
            "Nuclei_Intensity_Mean_DNA": pd.array([0.5, None, 0.7], dtype="Float32"),
            "QC_Debris": [False, True, False],
            "Metadata_cqc_large.is_outlier": [False, False, True],
            "Call_Posterior": [0.9, 0.8, 0.7],
            "Cells_Touching": [True, False, True],
        }
    )


def test_measurements_are_told_from_keys(cytotable):
    assert feature_columns(cytotable) == ["Cells_AreaShape_Area", "Nuclei_Intensity_Mean_DNA"]
    assert "Image_Count_Nuclei" in feature_columns(cytotable, image=True)
    assert "Image_Metadata_Plate" not in feature_columns(cytotable, image=True)
    assert set(key_columns(cytotable)) | set(feature_columns(cytotable)) == set(cytotable)


def test_matrix_takes_missing_of_any_kind_and_keeps_precision(cytotable):
    values = feature_matrix(cytotable)
    assert values.dtype == np.float64  # 64-bit integers
    assert np.isnan(values[1, 1])
    small = cytotable.astype({"Cells_AreaShape_Area": "int16"})
    assert feature_matrix(small).dtype == np.float32
    assert values.flags.f_contiguous


@pytest.mark.parametrize("name", ["Cells_Touching", "Metadata_Well"])
def test_what_is_no_number_is_refused(cytotable, name):
    with pytest.raises(InputError, match="not numbers"):
        feature_matrix(cytotable, [name])


def test_names_that_are_wrong_are_told(cytotable):
    with pytest.raises(InputError, match="Cells_Nope"):
        feature_matrix(cytotable, ["Cells_Nope"])
    doubled = pd.concat([cytotable, cytotable[["ObjectNumber"]]], axis=1)
    with pytest.raises(InputError, match=r"ObjectNumber.*twice"):
        feature_columns(doubled)
    with pytest.raises(InputError, match="Metadata_Nope"):
        match(cytotable, "Metadata_Nope == 1")


def test_rows_are_chosen_by_query_or_mask_whatever_the_index(cytotable):
    cytotable.index = [5, 5, 5]
    assert match(cytotable, "Metadata_Well == 'A1'").tolist() == [True, True, False]
    assert match(cytotable, pd.array([True, None, False], dtype="boolean")).tolist() == [
        True,
        False,
        False,
    ]
    assert flagged_rows(cytotable).tolist() == [False, True, True]
    with pytest.raises(InputError, match="table of 3"):
        match(cytotable, [True])


def test_groups_come_in_natural_order_and_missing_is_one():
    frame = pd.DataFrame({"Metadata_Well": ["A10", "A2", None, "A10", "A1"], "n": [1, 1, 2, 3, 1]})
    groups = group_rows(frame, "Metadata_Well")
    assert groups.keys["Metadata_Well"].tolist()[:3] == ["A1", "A2", "A10"]
    assert groups.sizes.tolist() == [1, 1, 2, 1]
    assert groups.order.tolist() == [4, 1, 0, 3, 2]
    assert len(group_rows(frame, None)) == 1
    assert len(group_rows(frame.iloc[:0], "Metadata_Well")) == 0
    categories = frame.astype({"Metadata_Well": "category"})
    assert (
        group_rows(categories, ["Metadata_Well", "n"]).codes
        == group_rows(frame, ["Metadata_Well", "n"]).codes
    ).all()


def test_many_keys_are_joined_to_measurements_without_a_copy_of_them():
    frame = pd.DataFrame({f"Metadata_{i}": [1, 2] for i in range(300)} | {"f": [0.0, 1.0]})
    values = np.zeros((2, 1), np.float32)
    table = with_features(frame, ["f"], values)  # pandas warns of tables in fragments
    assert list(table) == list(frame)
    assert np.shares_memory(table["f"].to_numpy(), values)
    table["Metadata_0"] = 7
    assert frame["Metadata_0"].tolist() == [1, 2]
