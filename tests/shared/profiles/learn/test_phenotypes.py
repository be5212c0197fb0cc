import numpy as np
import pandas as pd
import pytest

from poolvox.shared.profiles.learn.classifier import Classifier
from poolvox.shared.profiles.learn.labelling import read_labels, write_labels
from poolvox.shared.profiles.learn.phenotypes import (
    LearnConfig,
    learn_classes,
    learn_step,
    suggest_cells,
)
from poolvox.shared.profiles.learn.suggestions import choose_cells, uncertainty
from poolvox.shared.profiles.simulate import TableParams, simulate_screen_tables
from poolvox.shared.profiles.tables.datasets import ObjectTables
from poolvox.shared.store import read_table, write_table


@pytest.fixture(scope="module")
def screen():
    params = TableParams(genes=6, controls=2, cells=50, features=40, classes=(0.8, 0.13, 0.07))
    tables = simulate_screen_tables(params, np.random.default_rng(8))
    return tables.objects, tables.cells["class"].to_numpy()


@pytest.fixture
def labels(screen, tmp_path):
    cells, truth = screen
    rows = np.random.default_rng(0).choice(len(cells), 150, replace=False)
    return write_labels(cells.iloc[rows].assign(Class=truth[rows]), tmp_path / "labels.csv")


def config(path, **changes):
    return LearnConfig(labels=path, **{"folds": 3, "suggest": 10} | changes)


def test_from_a_label_file_to_the_classes_of_all_cells(screen, labels):
    cells, truth = screen
    found = learn_classes(cells, config(labels))
    assert found.classes.index.equals(cells.index)
    assert (found.classes["Class_Name"].to_numpy() == truth).mean() > 0.93
    assert found.facts["accuracy"] > 0.9
    assert found.notes == []
    assert set(found.tables) == {
        "classifier_quality", "calibration", "importances", "label_report", "to_label",
    }  # fmt: skip
    again = learn_classes(cells, config(labels))
    pd.testing.assert_frame_equal(again.classes, found.classes)
    pd.testing.assert_frame_equal(again.tables["to_label"], found.tables["to_label"])


def test_the_step_on_files_says_the_same(screen, labels, tmp_path):
    cells, _ = screen
    paths = [write_table(part, tmp_path / f"{k}.parquet")
             for k, part in enumerate((cells[:400], cells[400:]))]  # fmt: skip
    learned, written = learn_step(ObjectTables(tuple(paths)), config(labels), tmp_path / "out")
    table = read_table(written["classes"])
    whole = learn_classes(cells, config(labels))
    assert table["Class_Name"].tolist() == whole.classes["Class_Name"].tolist()
    np.testing.assert_allclose(
        table["Class_P_mitotic"], whole.classes["Class_P_mitotic"], atol=1e-6
    )
    assert learned.facts == pytest.approx(whole.facts)
    again = Classifier.from_json(written["classifier"].read_text())
    assert again.predict(cells.head(5))["Class_Name"].tolist() == table["Class_Name"][:5].tolist()
    assert read_labels(tmp_path / "out" / "to_label.csv").empty


def test_what_to_label_next_is_a_file_to_fill_in(screen, labels, tmp_path):
    cells, truth = screen
    first = learn_classes(cells, config(labels)).tables["to_label"]
    assert len(first) == 10
    asked = first.assign(Class=truth[_rows(cells, first)])
    both = pd.concat([read_labels(labels), asked], ignore_index=True)
    found = learn_classes(cells, config(write_labels(both, tmp_path / "more.csv")))
    assert found.tables["label_report"]["Label_Status"].eq("same").sum() == 160
    assert not set(_rows(cells, found.tables["to_label"])) & set(_rows(cells, both))


def test_labels_of_one_well_fall_back_to_tiles_and_to_cells(screen, tmp_path):
    cells, truth = screen
    one = np.flatnonzero((cells["Metadata_Plate"] + cells["Metadata_Well"]) == "P1A1")
    path = write_labels(cells.iloc[one].assign(Class=truth[one]), tmp_path / "well.csv")
    found = learn_classes(cells, config(path, suggest=0))
    assert "judged by Metadata_Tile" in found.notes[0]
    bare = cells.drop(columns=["Metadata_Tile"]).assign(Metadata_Label=np.arange(len(cells)))
    path = write_labels(bare.iloc[one].assign(Class=truth[one]), tmp_path / "bare.csv")
    assert "judged on single cells" in learn_classes(bare, config(path, suggest=0)).notes[0]


def test_flagged_cells_are_predicted_only(screen, labels):
    cells, _ = screen
    flags = np.arange(len(cells)) % 2 == 0
    found = learn_classes(cells.assign(QC_Blurred=flags), config(labels))
    assert found.facts["cells"] < 150
    assert found.classes["Class_Name"].notna().all()
    assert not flags[_rows(cells, found.tables["to_label"])].any()


def test_labels_that_are_no_help_are_told(screen, tmp_path):
    cells, _ = screen
    rows = np.arange(0, len(cells), 6)
    noise = np.random.default_rng(1).choice(["a", "b"], len(rows))
    path = write_labels(cells.iloc[rows].assign(Class=noise), tmp_path / "noise.csv")
    path.write_text(path.read_text() + "P9,A1,1,5,0,0,a\n")
    found = learn_classes(cells, config(path, suggest=0))
    assert any("1 labels are of fields" in note for note in found.notes)
    shares = found.facts["log_loss_of_shares"]
    told = any("no better than the shares" in note for note in found.notes)
    assert told == (found.facts["log_loss"] > shares)
    assert found.facts["log_loss"] > 0.97 * shares


def test_first_cells_are_asked_for_without_a_classifier(screen):
    cells, _ = screen
    found = suggest_cells(cells, 12, seed=3)
    assert len(found) == 12
    assert found["Class"].eq("").all()
    assert not found.duplicated(["Metadata_Plate", "Metadata_Well", "Metadata_Tile",
                                 "Metadata_Label"]).any()  # fmt: skip


def test_uncertain_cells_come_first_and_not_all_from_one_heap():
    rng = np.random.default_rng(0)
    # Two heaps of toss-ups, far apart, one of them ten times larger; and 3000 sure cells.
    heaps = [rng.normal(at, 0.1, (n, 2)) for at, n in ((0, 300), (9, 30), (-9, 3000))]
    points = np.concatenate(heaps)
    p = np.concatenate([np.full(330, 0.5), np.full(3000, 0.99)])
    chosen = choose_cells(points, np.column_stack([p, 1 - p]), 6, rng=rng)
    assert len(set(chosen)) == 6
    assert ((chosen >= 300) & (chosen < 330)).any()
    assert (chosen < 300).any()
    assert (chosen < 330).sum() >= 4
    assert uncertainty(np.column_stack([p, 1 - p]))[chosen].argmax() == 0


def test_no_more_cells_than_there_are():
    rng = np.random.default_rng(0)
    free = np.array([True, False, True, False])
    assert sorted(choose_cells(rng.normal(size=(4, 2)), None, 9, free=free, rng=rng)) == [0, 2]


def _rows(cells, table):
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Tile", "Metadata_Label"]
    places = pd.Series(range(len(cells)), index=pd.MultiIndex.from_frame(cells[keys]))
    return places.loc[list(table[keys].itertuples(index=False, name=None))].to_numpy()
