"""What is planted in simulated object tables is there."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.profiles.simulate import TableParams, simulate_plate, simulate_screen_tables
from poolvox.shared.profiles.tables.columns import feature_columns

PARAMS = TableParams(genes=8, controls=4, cells=120, features=20, factors=6)
CALM = replace(PARAMS, plate_shift=0.0, plate_scale=0.0, well_shift=0.0, uncalled=0.0)


def test_the_table_is_one_that_a_run_leaves():
    screen = simulate_screen_tables(replace(PARAMS, constant=2), np.random.default_rng(0))
    objects = screen.objects
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Tile", "Metadata_Label"]
    assert list(objects.columns[:4]) == keys
    assert not objects.duplicated(keys).any()
    assert feature_columns(objects) == [*screen.features]
    assert len(screen.features) == 22
    assert len(objects) == len(screen.cells)
    assert set(objects["Metadata_Guide"]) == set(screen.library["Metadata_Guide"]) | {""}
    assert (objects["Metadata_Guide"] == "").mean() == pytest.approx(0.1, abs=0.03)
    assert ((objects["Metadata_Gene"] == "") == (objects["Metadata_Guide"] == "")).all()
    assert len(screen.active) == 2


def test_same_seed_same_table():
    one, two = (simulate_screen_tables(PARAMS, np.random.default_rng(3)) for _ in range(2))
    pd.testing.assert_frame_equal(one.objects, two.objects)
    other = simulate_screen_tables(PARAMS, np.random.default_rng(4))
    assert len(other.objects) != len(one.objects) or not other.objects.equals(one.objects)


def test_calls_are_right_as_often_as_they_say():
    screen = simulate_screen_tables(
        replace(PARAMS, cells=600, uncalled=0.0), np.random.default_rng(1)
    )
    right = screen.objects["Metadata_Guide"] == screen.cells["guide"]
    said = screen.objects["Call_Posterior"]
    for low, high in ((0.0, 0.9), (0.9, 0.99), (0.99, 1.0)):
        part = said.between(low, high)
        assert right[part].mean() == pytest.approx(said[part].mean(), abs=0.03)
    accepted = screen.objects["Call_QValue"] <= 0.02
    assert 1 - right[accepted].mean() == pytest.approx(0.02, abs=0.01)


def test_active_guides_lie_where_their_family_does():
    params = replace(CALM, cells=800, effect=3.0, classes=(1.0,))
    screen = simulate_screen_tables(params, np.random.default_rng(2))
    names = screen.features
    values = screen.objects[names]
    control = screen.cells["guide"].str.startswith("nontargeting")
    standard = (values - values[control].median()) / values[control].std()
    shift = standard.groupby(screen.cells["guide"]).median()
    for row in screen.guides.itertuples():
        # A fifth of the features is skewed, so directions agree and lengths do so roughly.
        along = shift.loc[row.guide].to_numpy()
        if row.active:
            planted = screen.directions[row.family]
            assert np.corrcoef(along, planted)[0, 1] > 0.9
        else:
            assert np.abs(along).max() < 0.35


def test_plates_classes_and_debris_are_there():
    params = replace(PARAMS, plate_shift=2.0, outliers=0.05, missing=0.02, cells=300)
    screen = simulate_screen_tables(params, np.random.default_rng(0))
    values = screen.objects[screen.features]
    assert values.isna().to_numpy().mean() == pytest.approx(0.02, abs=0.005)
    assert screen.cells["outlier"].mean() == pytest.approx(0.05, abs=0.01)
    share = screen.cells["class"].value_counts(normalize=True)
    assert share["mitotic"] == pytest.approx(0.1, abs=0.02)
    assert screen.shifts.shape == (2, 20)
    middle = values.groupby(screen.objects["Metadata_Plate"]).median()
    moved = (middle.loc["P2"] - middle.loc["P1"]).to_numpy()
    planted = screen.shifts[1] - screen.shifts[0]
    assert (np.sign(moved) == np.sign(planted))[np.abs(planted) > 0.5].all()


def test_doses_have_wells_of_their_own():
    params = replace(PARAMS, plates=1, guides=3)
    plate = simulate_plate(params, np.random.default_rng(0), doses=(0.1, 1.0, 10.0))
    wells = plate.objects.drop_duplicates(["Metadata_Plate", "Metadata_Well"])
    assert len(wells) == 8 * 3 * 3 + 4
    per_well = plate.objects.groupby("Metadata_Well")[["Metadata_Treatment", "Metadata_Dose"]]
    assert (per_well.nunique() == 1).all(axis=None)
    vehicle = plate.objects["Metadata_Treatment"] == "vehicle"
    assert (plate.objects["Metadata_Dose"][vehicle] == 0).all()
    assert set(plate.library["Metadata_Treatment"]) == set(wells["Metadata_Treatment"])


def test_a_screen_may_hold_nothing_active():
    screen = simulate_screen_tables(replace(PARAMS, active=0.0), np.random.default_rng(0))
    assert screen.active == set()
    assert screen.guides["effect"].eq(0).all()
