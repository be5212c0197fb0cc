import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.learn.labelling import (
    match_labels,
    number_objects,
    read_labels,
    write_labels,
)

PIXEL = 0.5


def field(well, tile, places, first=1):
    y, x = np.array(places, float).T
    return pd.DataFrame(
        {
            "Metadata_Plate": "P1",
            "Metadata_Well": well,
            "Metadata_Tile": tile,
            "Metadata_Label": np.arange(first, first + len(y)),
            "Metadata_Y": y,
            "Metadata_X": x,
            "Metadata_Y_um": y * PIXEL,
            "Metadata_X_um": x * PIXEL,
        }
    )


@pytest.fixture
def objects():
    grid = [(20 * k, 20 * m) for k in range(4) for m in range(4)]
    return pd.concat([field("A1", "1", grid), field("A1", "2", grid), field("B10", "1", grid)],
                     ignore_index=True)  # fmt: skip


def labels_of(objects, rows, names):
    return objects.iloc[rows].assign(Class=names).reset_index(drop=True)


def test_a_file_comes_back(tmp_path, objects):
    cells = labels_of(objects, [0, 17, 40], ["mitotic", "round, bright", "ünknown"])
    found = read_labels(write_labels(cells, tmp_path / "labels.csv"))
    assert found["Class"].tolist() == ["mitotic", "round, bright", "ünknown"]
    assert found["Metadata_Tile"].tolist() == ["1", "2", "1"]
    assert found["Metadata_Label"].tolist() == [1, 2, 9]
    assert match_labels(found, objects).counts == {"same": 3}


def test_rows_to_fill_in_are_no_labels(tmp_path, objects):
    path = write_labels(objects.head(3), tmp_path / "to_label.csv")
    assert read_labels(path).empty
    text = path.read_text().replace("0.0,0.0,\n", "0.0,0.0,mitotic\n")
    path.write_text(text)
    assert read_labels(path)["Class"].tolist() == ["mitotic"]


def test_labels_survive_a_new_segmentation(objects):
    labels = labels_of(objects, [0, 5, 30], ["a", "b", "a"])
    rng = np.random.default_rng(0)
    again = objects.copy()
    again[["Metadata_Y_um", "Metadata_X_um"]] += rng.uniform(-1, 1, (len(objects), 2))
    again["Metadata_Label"] = rng.permutation(len(objects)) + 100
    again = again.sample(frac=1, random_state=1)
    found = match_labels(labels, again)
    assert found.counts == {"moved": 3}
    named = found.classes[found.classes != ""]
    assert sorted(named.index) == [0, 5, 30]
    assert named.loc[[0, 5, 30]].tolist() == ["a", "b", "a"]
    assert (found.report["Label_Distance_um"] < 1.5).all()
    assert found.report["Label_Object"].tolist() == again.loc[[0, 5, 30], "Metadata_Label"].tolist()


def test_wells_are_the_same_however_they_are_written(objects):
    labels = labels_of(objects, [0, 17, 40], ["a", "b", "a"])
    wells = labels["Metadata_Well"].map({"A1": "A01", "B10": "b10"})
    assert match_labels(labels.assign(Metadata_Well=wells), objects).counts == {"same": 3}


def test_labels_that_may_mean_several_fields_are_refused(objects):
    labels = labels_of(objects, [0, 17], ["a", "b"])
    with pytest.raises(InputError, match="which Metadata_Tile they mean"):
        match_labels(labels.drop(columns="Metadata_Tile"), objects)
    # A plate that all objects share need not be named.
    assert match_labels(labels.drop(columns="Metadata_Plate"), objects).counts == {"same": 2}


def test_objects_may_be_numbered_by_cellprofiler(objects):
    theirs = objects.rename(columns={"Metadata_Label": "Metadata_Cells_ObjectNumber"})
    assert number_objects(theirs)["Metadata_Label"].equals(objects["Metadata_Label"])
    assert number_objects(objects) is objects
    with pytest.raises(InputError, match="which the table lacks: add the number"):
        number_objects(objects.drop(columns="Metadata_Label"))


def test_lost_labels_and_lost_fields_are_told(objects):
    labels = labels_of(objects, [0, 5, 40], ["a", "b", "a"])
    gone = objects.drop(index=[5])
    gone = gone[gone["Metadata_Well"] != "B10"]
    found = match_labels(labels, gone)
    assert found.report["Label_Status"].tolist() == ["same", "lost", "no field"]
    assert (found.classes != "").sum() == 1


def test_a_number_that_now_lies_elsewhere_is_not_believed(objects):
    labels = labels_of(objects, [3], ["a"])
    renumbered = objects.assign(Metadata_Label=objects["Metadata_Label"].to_numpy()[::-1])
    found = match_labels(labels, renumbered)
    assert found.classes.iloc[3] == "a"
    assert found.counts == {"moved": 1}


def test_doubles_count_once_and_conflicts_not_at_all(objects):
    labels = labels_of(objects, [2, 2, 7, 7, 7, 9], ["a", "a", "a", "b", "a", "b"])
    found = match_labels(labels, objects)
    assert found.counts == {"same": 2, "duplicate": 1, "conflict": 3}
    assert found.classes.iloc[[2, 7, 9]].tolist() == ["a", "", "b"]


def test_without_positions_numbers_are_taken(objects):
    bare = labels_of(objects, [4, 20], ["a", "b"])[["Metadata_Well", "Metadata_Tile",
                                                    "Metadata_Label", "Class"]]  # fmt: skip
    bare.loc[len(bare)] = ["A1", "1", 99, "b"]
    found = match_labels(bare, objects)
    assert found.report["Label_Status"].tolist() == ["same", "same", "lost"]
    assert found.classes.iloc[[4, 20]].tolist() == ["a", "b"]


def test_objects_without_any_row_are_survived(objects):
    found = match_labels(labels_of(objects, [1], ["a"]), objects.head(0))
    assert found.counts == {"no field": 1}
    assert found.classes.empty


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Metadata_Well,Class\nA1,a\n", "no column Metadata_Label"),
        ("Metadata_Label\n1\n", "no column Class"),
        ("Metadata_Label,Class\n1,a\nx,b\n", "row 3: Metadata_Label is 'x'"),
        ("", "no CSV table"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, words):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_labels(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        read_labels(tmp_path / "none.csv")
