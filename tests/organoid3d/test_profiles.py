import numpy as np
import pandas as pd
import pytest

from poolvox.organoid3d.profiles import join_objects, organoid_profiles, profile_plate
from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.learn.hybrid import neighbour_accuracy
from poolvox.shared.profiles.sections import profile_sections
from poolvox.shared.profiles.tables.columns import feature_columns
from poolvox.shared.store import read_table, write_table


def plate(wells=6, nuclei=20, effect=4.0, seed=0):
    """Tables of a plate with one organoid per well; in the wells of row B the marker is bright."""
    rng = np.random.default_rng(seed)
    names = [f"{'AB'[k % 2]}{k // 2 + 1}" for k in range(wells)]
    keys = pd.DataFrame(
        {
            "Metadata_Plate": "P1",
            "Metadata_Well": np.repeat(names, nuclei),
            "Metadata_Organoid": "1",
            "Metadata_Label": np.tile(np.arange(1, nuclei + 1), wells),
        }
    )
    treated = keys["Metadata_Well"].str.startswith("B")
    parents = keys.assign(Metadata_OrganoidLabel=1, QC_Size=False, QC_Reason="")
    shape = rng.normal(100, 9, (len(keys), 4)) + rng.normal(0, 2, (wells, 4)).repeat(nuclei, 0)
    nuclei_table = parents.join(pd.DataFrame(shape).add_prefix("Nuclei_Shape_M"))
    marker = rng.normal(50, 5, (len(keys), 3)) + effect * 5 * treated.to_numpy()[:, None]
    cells = parents.join(pd.DataFrame(marker).add_prefix("Cells_Intensity_M"))
    organoids = keys.groupby("Metadata_Well", as_index=False).first().assign(
        Metadata_Label=1, QC_BorderXY=False, QC_BorderZ=False
    )  # fmt: skip
    organoids["Organoids_Shape_Volume_um3"] = rng.normal(9000, 200, wells)
    organoids["Organoids_NucleiMedian_Shape_M0"] = 1.0
    return nuclei_table, cells, organoids


def test_nuclei_get_their_cell_and_their_organoid():
    nuclei, cells, organoids = plate()
    organoids.loc[organoids["Metadata_Well"] == "A2", "QC_BorderXY"] = True
    cells = cells.sample(frac=1, random_state=0)
    nuclei.loc[3, "Metadata_OrganoidLabel"] = 0
    joined = join_objects(nuclei, cells, organoids)
    assert joined["Metadata_Well"].tolist() == nuclei["Metadata_Well"].tolist()
    np.testing.assert_allclose(
        joined["Cells_Intensity_M0"], cells.sort_index()["Cells_Intensity_M0"], rtol=1e-6
    )
    missing = joined["Organoids_Shape_Volume_um3"].isna()
    assert missing.tolist() == [
        (w == "A2") or k == 3 for k, w in enumerate(joined["Metadata_Well"])
    ]
    assert "Organoids_NucleiMedian_Shape_M0" not in joined
    assert joined["Nuclei_Shape_M0"].dtype == np.float32


@pytest.fixture
def tables(tmp_path):
    for name, table in zip(("nuclei", "cells", "organoids"), plate(), strict=True):
        write_table(table, tmp_path / "tables" / f"{name}.parquet")
    rows = [f"{row}{k},{'control' if row == 'A' else 'drug'}" for k in (1, 2, 3) for row in "AB"]
    (tmp_path / "map.csv").write_text("\n".join(["well,Metadata_Treatment", *rows]) + "\n")
    return tmp_path


def test_treated_wells_separate(tables):
    config = ProfilesConfig.model_validate(
        {"annotate": [{"table": str(tables / "map.csv"), "on": {"Metadata_Well": "well"}}]}
    )
    facts = profile_plate(tables, config)
    assert facts["wells"] == 6
    wells = read_table(tables / "profiles" / "wells.parquet")
    values = wells[feature_columns(wells)].fillna(0).to_numpy()
    assert neighbour_accuracy(values, wells["Metadata_Treatment"], count=1) == 1
    hits = read_table(tables / "profiles" / "hits.parquet")
    assert hits["Metadata_Treatment"].tolist() == ["drug"]
    assert hits["Hit_Units"].tolist() == [3]
    organoids = read_table(tables / "profiles" / "organoids.parquet")
    assert len(organoids) == 6


def test_a_plate_without_treatments_has_profiles_all_the_same(tables):
    facts = profile_plate(tables, ProfilesConfig())
    assert facts["wells"] == 6
    assert not (tables / "profiles" / "hits.parquet").exists()


def test_too_few_nuclei_are_told_and_no_failure(tmp_path):
    for name, table in zip(("nuclei", "cells", "organoids"), plate(2, 3), strict=True):
        write_table(table, tmp_path / "tables" / f"{name}.parquet")
    facts = profile_plate(tmp_path, ProfilesConfig())
    assert facts["warnings"] == ["no profiles: 6 nuclei were found, 20 or more are needed"]
    assert len(read_table(tmp_path / "tables" / "objects.parquet")) == 6


@pytest.mark.parametrize(("passing", "told"), [(0, "all 120"), (5, "115 of 120")])
def test_a_plate_that_quality_control_flags_is_told_and_no_failure(tables, passing, told):
    profile_plate(tables, ProfilesConfig())
    nuclei = read_table(tables / "tables" / "nuclei.parquet")
    write_table(nuclei.assign(QC_Border=nuclei.index >= passing), tables / "tables/nuclei.parquet")
    facts = profile_plate(tables, ProfilesConfig())
    assert facts["flagged"] == 120 - passing
    (warning,) = facts["warnings"]
    assert warning.startswith(f"no profiles: quality control flags {told} objects (QC_Border ")
    record = read_table(tables / "profiles" / "record.parquet")
    assert (record["name"] == "profiles").sum() == 1
    # What an earlier run made must not stay beside it.
    assert not (tables / "profiles" / "wells.parquet").exists()
    (section,) = profile_sections(tables / "profiles")
    assert section.title == "What was dropped"


def test_treatments_stand_in_the_place_of_genes():
    found = organoid_profiles(ProfilesConfig())
    assert (found.gene, found.guide) == ("Metadata_Treatment", "none")
    assert "DMSO" in found.controls
    assert organoid_profiles(ProfilesConfig(gene="dose", controls="0")).controls == ("0",)
