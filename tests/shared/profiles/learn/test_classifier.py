import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.learn.classifier import (
    Classifier,
    LearnSettings,
    fit_classifier,
    log_loss,
)
from poolvox.shared.profiles.learn.crossval import calibration, cross_validate
from poolvox.shared.profiles.learn.folds import grouped_folds
from poolvox.shared.profiles.simulate import TableParams, simulate_screen_tables

QUICK = LearnSettings(folds=3, strengths=(0.01, 0.1), repeats=3)


@pytest.fixture(scope="module")
def screen():
    params = TableParams(
        genes=6, controls=2, cells=60, features=48, wells=6, classes=(0.7, 0.2, 0.1)
    )
    tables = simulate_screen_tables(params, np.random.default_rng(4))
    well = tables.objects["Metadata_Plate"] + tables.objects["Metadata_Well"]
    return tables.objects.assign(Metadata_Well=well), tables.cells["class"]


def some(truth, count, seed=0):
    chosen = np.random.default_rng(seed).choice(len(truth), count, replace=False)
    return truth.where(truth.index.isin(chosen), "")


def test_planted_classes_come_back_in_wells_without_labels(screen):
    cells, truth = screen
    unseen = cells["Metadata_Well"].isin(sorted(cells["Metadata_Well"].unique())[-3:])
    labels = some(truth.where(~unseen, ""), 150)
    model = fit_classifier(cells, labels, cells["Metadata_Well"], settings=QUICK)
    called = model.predict(cells[unseen])
    assert (called["Class_Name"] == truth[unseen]).mean() > 0.93
    stated = called["Class_Probability"]
    right = (called["Class_Name"] == truth[unseen]).to_numpy()
    assert abs(stated.mean() - right.mean()) < 0.04


def test_probabilities_sum_to_one_and_depend_on_the_row_alone(screen):
    cells, truth = screen
    model = fit_classifier(cells, some(truth, 90), settings=QUICK)
    whole = model.predict(cells)
    shares = whole.filter(like="Class_P_")
    assert list(shares) == ["Class_P_apoptotic", "Class_P_interphase", "Class_P_mitotic"]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(whole["Class_Probability"], shares.max(axis=1))
    piece = cells.iloc[[900, 3, 77]]
    pd.testing.assert_frame_equal(model.predict(piece), whole.iloc[[900, 3, 77]])


def test_the_order_of_the_cells_does_not_matter(screen):
    cells, truth = screen
    labels = some(truth, 90)
    shuffled = np.random.default_rng(1).permutation(len(cells))
    one = fit_classifier(cells, labels, cells["Metadata_Well"], settings=QUICK)
    two = fit_classifier(
        cells.iloc[shuffled], labels.iloc[shuffled], cells["Metadata_Well"].iloc[shuffled],
        settings=QUICK,
    )  # fmt: skip
    np.testing.assert_allclose(one.coefficients, two.coefficients, atol=1e-4)
    assert one.temperature == pytest.approx(two.temperature, rel=1e-3)


def test_json_keeps_the_classifier(screen):
    cells, truth = screen
    model = fit_classifier(cells, some(truth, 60), settings=QUICK)
    again = Classifier.from_json(model.to_json())
    pd.testing.assert_frame_equal(again.predict(cells.head(9)), model.predict(cells.head(9)))
    with pytest.raises(InputError, match="no classifier"):
        Classifier.from_json('{"classes": []}')


def test_missing_and_constant_features_are_survived(screen):
    cells, truth = screen
    features = [name for name in cells if name.startswith(("Cells_", "Nuclei_"))]
    holes = cells.copy()
    holes[features] = holes[features].mask(np.random.default_rng(2).random((len(cells), 48)) < 0.1)
    holes.loc[5, features[0]] = np.inf
    holes = holes.assign(Cells_Shape_Constant=3.1, Cells_Shape_Empty=np.nan)
    model = fit_classifier(holes, some(truth, 150), settings=QUICK)
    assert not {"Cells_Shape_Constant", "Cells_Shape_Empty"} & set(model.scaler.features)
    called = model.predict(holes)
    assert called["Class_Probability"].notna().all()
    assert (called["Class_Name"] == truth).mean() > 0.9


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([""] * 12, "none"),
        (["a"] * 12, "a: 12"),
        (["a"] * 10 + ["b"] * 2, "b: 2"),
        (["a"] * 11, "11 classes for 12 cells"),
    ],
)
def test_too_few_labels_are_refused(labels, words):
    frame = pd.DataFrame({"Cells_Shape_Area_um2": np.arange(12.0)})
    with pytest.raises(InputError, match=words):
        fit_classifier(frame, pd.Series(labels))


def test_a_table_of_other_features_is_refused(screen):
    cells, truth = screen
    model = fit_classifier(cells, some(truth, 60), settings=QUICK)
    with pytest.raises(InputError, match="lacks 1 of the 48"):
        model.predict(cells.drop(columns=model.scaler.features[0]))


def test_held_out_quality_is_that_of_new_wells(screen):
    cells, truth = screen
    labels = some(truth, 240)
    found = cross_validate(cells, labels, cells["Metadata_Well"], settings=QUICK)
    assert found.facts["accuracy"] > 0.9
    assert found.facts["ece_pvalue"] > 0.01
    assert found.quality["Metadata_Class"].tolist()[-1] == "all"
    assert found.quality["Class_Cells"].tolist()[-1] == 240
    wells = cells.loc[found.predictions.index, "Metadata_Well"]
    assert (found.predictions["Class_Fold"].groupby(wells).nunique() == 1).all()


def test_wells_that_leak_are_not_taken_for_classes():
    rng = np.random.default_rng(3)
    wells = np.repeat(np.arange(12), 20)
    # A feature that tells the wells apart, and classes that are the same share in each.
    frame = pd.DataFrame({"Cells_Intensity_Mean": wells + rng.normal(0, 0.1, 240)})
    frame[[f"Cells_Texture_N{k}" for k in range(5)]] = rng.normal(size=(240, 5))
    classes = pd.Series(np.where(np.arange(240) % 20 < 10, "a", "b"))
    found = cross_validate(frame, classes, pd.Series(wells), settings=QUICK)
    assert found.facts["accuracy"] == pytest.approx(0.5, abs=0.1)
    assert found.facts["log_loss"] < 1.1 * found.facts["log_loss_of_shares"]


def test_importance_is_that_of_the_planted_group():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({f"Cells_{g}_M{k}": rng.normal(size=200) for g in ("Shape", "Texture",
                          "Intensity") for k in range(4)})  # fmt: skip
    score = frame["Cells_Texture_M0"] + frame["Cells_Texture_M1"]
    classes = pd.Series(np.where(score > 0, "up", "down"))
    table = cross_validate(
        frame, classes, pd.Series(np.arange(200) // 10), settings=QUICK
    ).importances
    assert table["Metadata_FeatureGroup"][0] == "Texture"
    assert table["Importance_LogLoss"][0] > 10 * abs(table["Importance_LogLoss"][1:]).max()
    assert table["Importance_Features"].tolist() == [4, 4, 4]


@pytest.mark.parametrize(("stretch", "honest"), [(1.0, True), (3.0, False)])
def test_calibration_error_against_that_of_right_probabilities(stretch, honest):
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 1.5, 1500)
    y = (rng.random(1500) < 1 / (1 + np.exp(-logits))).astype(int)
    stated = 1 / (1 + np.exp(-stretch * logits))
    table, facts = calibration(np.column_stack([1 - stated, stated]), y)
    assert (facts["ece_pvalue"] > 0.05) == honest
    assert (facts["ece"] < 2 * facts["ece_if_right"]) == honest
    assert table["Bin_Cells"].sum() == 1500


def test_folds_keep_groups_whole_and_classes_even():
    rng = np.random.default_rng(7)
    groups, classes = rng.integers(0, 30, 600), rng.choice(3, 600, p=[0.8, 0.15, 0.05])
    folds = grouped_folds(groups, classes, 5)
    assert all(len(np.unique(folds[groups == g])) == 1 for g in range(30))
    shares = np.array([np.bincount(classes[folds == k], minlength=3) for k in range(5)])
    assert (shares.min(axis=0) > 0.5 * shares.mean(axis=0)).all()
    order = rng.permutation(600)
    np.testing.assert_array_equal(grouped_folds(groups[order], classes[order], 5), folds[order])
    with pytest.raises(InputError, match="one group"):
        grouped_folds(np.zeros(9), np.zeros(9, int), 3)


def test_log_loss_is_the_textbooks():
    assert log_loss(np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([0, 1])) == pytest.approx(
        -(np.log(0.5) + np.log(0.8)) / 2
    )
