"""Planted debris, clumps, bad fields and outliers get flags; all rows stay."""

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import ConfigError, InputError
from poolvox.shared.features import choose_groups, find_objects, measure_objects
from poolvox.shared.profiles import Record, count_objects, flag_quality
from poolvox.shared.profiles.normalise.rules import read_rules

TILES, CELLS = 30, 40


@pytest.fixture
def objects():
    rng = np.random.default_rng(2)
    rows = TILES * CELLS
    frame = pd.DataFrame(
        {
            "Metadata_Plate": "P1",
            "Metadata_Well": "A1",
            "Metadata_Tile": np.repeat(np.arange(TILES).astype(str), CELLS),
            "Nuclei_Shape_Area_um2": rng.normal(100, 10, rows),
            "Nuclei_Shape_Solidity": rng.normal(0.95, 0.01, rows),
            "Nuclei_Texture_Contrast_DNA_1um": rng.normal(50, 4, rows),
            "Nuclei_Intensity_Max_DNA": rng.normal(1000, 50, rows),
            "Cells_Shape_Area_um2": rng.normal(300, 30, rows),
        }
    )
    frame["Nuclei_Intensity_Quantile_DNA_99"] = frame.Nuclei_Intensity_Max_DNA - 20
    frame.loc[0, ["Nuclei_Shape_Area_um2", "Nuclei_Shape_Solidity"]] = 30, 0.8
    frame.loc[1, ["Nuclei_Shape_Area_um2", "Nuclei_Shape_Solidity"]] = 250, 0.8
    frame.loc[2, "Nuclei_Shape_Area_um2"] = 250
    frame.loc[3, "Nuclei_Shape_Area_um2"] = np.nan
    blurred = frame.Metadata_Tile == "7"
    frame.loc[blurred, "Nuclei_Texture_Contrast_DNA_1um"] /= 2
    clipped = (frame.Metadata_Tile == "8") & (frame.index % 2 == 0)
    tops = ["Nuclei_Intensity_Max_DNA", "Nuclei_Intensity_Quantile_DNA_99"]
    frame.loc[clipped, tops] = 65535
    nearly_empty = (frame.Metadata_Tile == "9") & (frame.index % CELLS > 2)
    return frame[~nearly_empty & (rng.random(rows) > 0.05)].copy()


def test_what_is_off_is_flagged_with_its_reason(objects):
    record = Record()
    found = flag_quality(objects, record=record)
    assert len(found) == len(objects)
    flags = {n for n in found if n.startswith("QC_")}
    assert flags == {
        *("QC_Debris", "QC_Clump", "QC_FieldBlank", "QC_FieldBlurred", "QC_FieldSaturated"),
        "QC_Reason",
    }
    for place, flag in ((0, "QC_Debris"), (1, "QC_Clump")):
        if place in found.index:
            assert found.index[found[flag]].tolist() == [place]
    for tile, flag in (
        ("7", "QC_FieldBlurred"),
        ("8", "QC_FieldSaturated"),
        ("9", "QC_FieldBlank"),
    ):
        assert set(found.loc[found[flag], "Metadata_Tile"]) == {tile}
        assert found.loc[found.Metadata_Tile == tile, flag].all()
    assert found.loc[found.Metadata_Tile == "8", "QC_Reason"].iloc[0] == "FieldSaturated"
    assert found.loc[~found.filter(regex="QC_[^R]").any(axis=1), "QC_Reason"].eq("").all()
    numbers = record.frame.set_index("name")["value"]
    assert numbers["QC_FieldBlurred"] == found.QC_FieldBlurred.sum()
    assert "QC_Debris" not in objects


def small_nuclei(gain, dtype, fields=4, side=12):
    """Measurements of nuclei of about 80 pixels, 144 in each field."""
    rng = np.random.default_rng(3)
    at = np.arange(side * 12) % 12 - 5.5
    bump = np.clip(1.2 - (at[:, None] ** 2 + at**2) / 40, 0, None)
    label = np.kron(np.arange(1, side**2 + 1).reshape(side, side), np.ones((12, 12), int))
    label = np.where(bump > 0.55, label, 0)
    tables = []
    for field in range(fields):
        bright = np.kron(rng.uniform(0.6, 1.0, (side, side)), np.ones((12, 12)))
        image = rng.poisson(gain * bright * bump + 5)
        image = np.clip(image, 0, np.iinfo(dtype).max).astype(dtype)
        groups = choose_groups(["shape", "intensity"], 2)
        found = measure_objects(
            find_objects(label, spacing=(1.0, 1.0)), {"DNA": image}, groups, compartment="Nuclei"
        )
        tables.append(found.assign(Metadata_Plate="P1", Metadata_Tile=str(field)))
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize(
    ("gain", "dtype", "saturated"),
    [
        (3, np.uint8, 0.0),
        (20, np.uint8, 0.0),
        (120, np.uint8, 0.0),
        (120, np.uint16, 0.0),
        (600, np.uint8, 1.0),
    ],
)
def test_few_grey_levels_are_no_saturation(gain, dtype, saturated):
    nuclei = small_nuclei(gain, dtype)
    found = flag_quality(nuclei, rules=["fields", "clipped"])
    assert found["QC_FieldSaturated"].mean() == saturated
    assert abs(found["QC_Saturated"].mean() - saturated) < 0.02


def test_plates_of_other_cameras_have_ceilings_of_their_own():
    clipped = small_nuclei(600, np.uint8)
    other = small_nuclei(600, np.uint16).assign(Metadata_Plate="P2")
    found = flag_quality(pd.concat([clipped, other], ignore_index=True))
    assert (found["QC_FieldSaturated"] == (found["Metadata_Plate"] == "P1")).all()


@pytest.mark.parametrize("name", ["Metadata_Site", "ImageNumber"])
def test_fields_of_cellprofiler_are_fields(objects, name):
    expected = flag_quality(objects, rules=["fields"])
    found = flag_quality(objects.rename(columns={"Metadata_Tile": name}), rules=["fields"])
    assert expected.QC_FieldBlank.any()
    assert found.QC_FieldBlank.equals(expected.QC_FieldBlank)
    assert found.QC_FieldBlurred.equals(expected.QC_FieldBlurred)


def test_flags_that_were_there_stay(objects):
    objects["QC_Edge"] = objects.index == 5
    objects["QC_Reason"] = np.where(objects.index == 5, "Edge", None)
    objects.loc[5, ["Nuclei_Shape_Area_um2", "Nuclei_Shape_Solidity"]] = 20, 0.7
    found = flag_quality(objects)
    assert found.loc[5, "QC_Reason"] == "Edge; Debris"
    assert flag_quality(found).loc[5, "QC_Reason"] == "Edge; Debris"


def test_rules_without_their_measurements_are_left_out_and_said(objects):
    record = Record()
    found = flag_quality(objects, rules=["cellprofiler"], record=record)
    assert [n for n in found if n.startswith("QC_")] == ["QC_Reason"]
    assert record.frame["what"].unique().tolist() == ["skipped"]


def test_too_few_fields_have_no_spread(objects):
    few = objects[objects.Metadata_Tile.isin(["6", "7", "8", "9"])]
    found = flag_quality(few, rules=["fields"])
    assert not found.QC_FieldBlurred.any()


def test_rules_of_ones_own(objects, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "rules:\n  Huge:\n    reason: too large\n"
        "    conditions:\n      - {features: [Nope, '*_Shape_Area_um2'], over: 200}\n"
    )
    found = flag_quality(objects, rules=[str(path)])
    assert found.QC_Huge.sum() == (objects.Nuclei_Shape_Area_um2 > 200).sum()
    path.write_text("rules:\n  Huge:\n    reason: too large\n    conditions: [{features: [A]}]\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml.*above, below, over or under"):
        read_rules([str(path)])
    with pytest.raises(ConfigError, match="no quality rules 'nope': use objects"):
        read_rules(["nope"])


def test_the_forest_finds_what_no_single_measurement_shows(objects):
    rng = np.random.default_rng(0)
    odd = rng.choice(objects.index, 12, replace=False)
    measured = objects.filter(regex="^(Nuclei|Cells)")
    objects.loc[odd, measured.columns] += (
        3 * measured.std() * rng.choice([-1, 1], measured.shape[1])
    )
    found = flag_quality(objects, rules=[], isolation=0.03, rng=np.random.default_rng(1))
    flagged = set(found.index[found.QC_Outlier])
    assert len(flagged & set(odd)) >= 9
    assert len(flagged) == pytest.approx(0.03 * len(objects), abs=2)
    again = flag_quality(objects, rules=[], isolation=0.03, rng=np.random.default_rng(1))
    pd.testing.assert_frame_equal(found, again)
    with pytest.raises(InputError, match="random generator"):
        flag_quality(objects, isolation=0.03)


def test_objects_and_controls_are_counted():
    frame = pd.DataFrame(
        {
            "Metadata_Well": ["A1", "A1", "A2", "A10", "A1"],
            "Metadata_Gene": ["nt", "x", "nt", "x", "nt"],
            "QC_Debris": [True, False, False, False, False],
        }
    )
    counts = count_objects(frame, by="Metadata_Well", controls="Metadata_Gene == 'nt'")
    assert counts.to_numpy().tolist() == [["A1", 3, 2, 1], ["A2", 1, 1, 1], ["A10", 1, 1, 0]]
