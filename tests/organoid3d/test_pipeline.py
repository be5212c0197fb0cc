from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from poolvox.organoid3d.config import (
    MEMBRANE,
    NUCLEAR,
    Organoid3dConfig,
    known_stain,
    tissue_options,
)
from poolvox.organoid3d.judge import judge_run
from poolvox.organoid3d.pipeline import pipeline
from poolvox.organoid3d.sections import _fullest_planes, _notes
from poolvox.organoid3d.simulate import Effect, FieldSpec, OrganoidSpec, PlateSpec, simulate_plate
from poolvox.shared.config import load_config
from poolvox.shared.engine.options import Options
from poolvox.shared.engine.run import run_plan
from poolvox.shared.errors import ConfigError, InputError
from poolvox.shared.store import open_plate, read_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("plate")
    spec = PlateSpec(
        wells={"A1": "control", "B1": "treated"},
        effects={"treated": Effect(lumen=1.35, marker=3.0)},
        organoid=OrganoidSpec("cyst", 24, marker_positive=0.8),
        view=FieldSpec(spacing=(2.0, 0.7, 0.7)),
    )
    simulate_plate(spec, out, np.random.default_rng(0))
    (out / "stacks" / "B1_2.ome.tif").write_bytes(b"II*\x00 cut short")
    return out


@pytest.fixture(scope="module")
def config(folder):
    return load_config(folder / "config.yaml", Organoid3dConfig)


@pytest.fixture(scope="module")
def summary(config):
    return run_plan(pipeline.plan(config), config.output, options=Options(workers=1))


def test_a_broken_stack_costs_only_itself(config, summary):
    nuclei = read_table(config.output / "tables" / "nuclei.parquet")
    assert set(nuclei["Metadata_Well"]) == {"A1", "B1"}
    assert set(nuclei["Metadata_Organoid"]) == {"1"}
    assert [name for name, _ in pipeline.problems(config)] == ["P1-B1-2"]


def test_tables_have_keys_parents_and_flags(config, summary):
    nuclei, cells, organoids = (
        read_table(config.output / "tables" / f"{name}.parquet")
        for name in ("nuclei", "cells", "organoids")
    )
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Organoid", "Metadata_Label"]
    for table in (nuclei, cells, organoids):
        assert set(keys) <= set(table.columns[:6])
        assert not table.duplicated(keys).any()
        assert {"QC_BorderXY", "QC_BorderZ", "QC_Reason"} <= set(table)
    assert nuclei[keys].equals(cells[keys])
    assert (nuclei["Metadata_OrganoidLabel"] == 1).mean() > 0.9
    assert organoids["Organoids_Count_Nuclei"].sum() <= len(nuclei)
    assert (organoids["Organoids_Count_Lumens"] >= 1).all()
    assert {"Nuclei_Shape_Volume_um3", "Nuclei_Intensity_Mean_marker"} <= set(nuclei)


def test_nuclei_cells_and_organoids_come_together_in_profiles(config, summary):
    objects = read_table(config.output / "tables" / "objects.parquet")
    nuclei = read_table(config.output / "tables" / "nuclei.parquet")
    assert len(objects) == len(nuclei)
    assert {"Nuclei_Shape_Volume_um3", "Cells_Intensity_Mean_marker"} <= set(objects)
    wells = read_table(config.output / "profiles" / "wells.parquet")
    assert wells["Metadata_Well"].tolist() == ["A1", "B1"]
    bright = wells.set_index("Metadata_Well").filter(like="Cells_Intensity_").mean(axis=1)
    assert bright["B1"] > bright["A1"]


def test_store_holds_stack_and_labels(config, summary):
    image = open_plate(config.output / "stacks.zarr")["A1"]["1"]
    assert image.axes == "czyx"
    assert image.spacing == {"z": 2.0, "y": 0.7, "x": 0.7}
    assert image.label_names == ["cells", "lumens", "nuclei", "organoids"]
    nuclei, cells = (image.labels(name).to_numpy() for name in ("nuclei", "cells"))
    assert (cells[nuclei > 0] == nuclei[nuclei > 0]).all()


def test_demo_passes_its_own_judgement(config, summary):
    assert {check.name: check.got for check in judge_run(config) if not check.passed} == {}


def test_report_has_pictures_and_tables(config, summary):
    sections = pipeline.sections(config)
    assert [s.title for s in sections][:5] == [
        "Segmentation",
        "Counts and sizes",
        "Tissue",
        "Light lost with depth",
        "Quality",
    ]
    assert all(f.png.startswith(b"\x89PNG") for s in sections for f in s.figures)
    (hits,) = [section for section in sections if section.title == "Hits"]
    assert "hits at a false discovery rate of 5%" in dict(hits.facts)
    assert len(sections[0].figures) == 2
    whole = sections[1].tables[1].frame
    assert len(whole) == 2
    assert {"nuclei", "volume (µm³)", "buds", "neighbours, mean"} <= set(whole)
    assert whole.shape[1] <= 12
    assert len(sections[2].figures) == 3
    headline = dict(fact for section in sections for fact in section.headline)
    assert headline["organoids"] == "2"
    assert {"nuclei", "lumens", "nuclei with a flag"} <= set(headline)


def test_report_says_of_which_stacks_a_note_is():
    facts = pd.DataFrame(
        {
            "well": ["A1", "A1", "B2"],
            "organoid": ["1", "2", "1"],
            "warnings": [["blank", "thin"], [], ["thin"]],
        }
    )
    assert _notes(facts).to_numpy().tolist() == [
        ["blank", 1, "A1, 1"],
        ["thin", 2, "A1, 1; B2, 1"],
    ]
    assert _notes(facts.iloc[1:2]).empty


def test_report_of_nothing(tmp_path, config):
    nothing = config.model_copy(update={"output": tmp_path})
    assert "nothing to show" in pipeline.sections(nothing)[0].text


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"nuclei": {"channel": "DAPI"}}, ConfigError, "nuclei.channel"),
        ({"nuclei": {"model": "some/folder"}}, InputError, "is no folder: give default"),
        ({"cells": {"channel": "actin"}}, ConfigError, "cells.channel"),
        ({"organoids": {"channels": ["actin"]}}, ConfigError, "organoids.channels"),
        ({"features": ["shapes"]}, Exception, "shapes"),
    ],
)
def test_plan_refuses_what_cannot_be_done(config, change, error, message):
    data = config.model_dump() | change
    with pytest.raises(error, match=message):
        pipeline.plan(Organoid3dConfig.model_validate(data))


def test_missing_voxel_size_is_an_error(tmp_path):
    tifffile.imwrite(tmp_path / "A1_1.tif", np.zeros((5, 8, 8), np.uint16), metadata=None)
    raw = {"stacks": {"files": str(tmp_path / "{well}_{organoid}.tif"), "axes": "zyx"}}
    config = Organoid3dConfig(output=tmp_path / "run", raw=raw, nuclei={"channel": "auto"})
    with pytest.raises(InputError, match="voxel size is missing"):
        pipeline.plan(config)


def test_template_runs(folder, tmp_path, summary):
    text = pipeline.template(folder / "stacks")
    path = Path(tmp_path / "config.yaml")
    path.write_text(text, encoding="utf-8")
    made = load_config(path, Organoid3dConfig)
    assert len(pipeline.plan(made)) >= 3
    assert made.cells.channel == "membrane"


@pytest.mark.parametrize(
    ("channels", "nuclear", "membrane"),
    [
        (["Hoechst 33342", "E-cadherin (AF488)"], "Hoechst 33342", "E-cadherin (AF488)"),
        (["DAPI", "DAPI-2", "ZO1"], "DAPI", "ZO1"),
        (["w1DAPI", "w2F-actin", "w3GFP"], "w1DAPI", "w2F-actin"),
        (["H2B-mCherry", "GFP"], "H2B-mCherry", None),
        # Two that may be it, and a word that only holds such a name: the user must say.
        (["Nuclei raw", "Nuclei deconvolved", "unactinic"], None, None),
    ],
)
def test_stains_are_known_by_their_names(channels, nuclear, membrane):
    assert known_stain(channels, NUCLEAR) == nuclear
    assert known_stain(channels, MEMBRANE) == membrane


def test_nuclei_alone_have_cytoplasm_that_no_channel_shows(config):
    data = config.model_dump() | {"cells": {"channel": "none"}}
    alone = Organoid3dConfig.model_validate(data)
    organoid, lumen = tissue_options(alone, ["nuclei", "membrane"], 10.0)
    assert organoid.rim == lumen.rim == 2.5
    assert tissue_options(alone, ["nuclei"], float("nan"))[0].rim == 0
    bounded = Organoid3dConfig.model_validate(data | {"cells": {"channel": "membrane"}})
    assert [made.rim for made in tissue_options(bounded, ["nuclei", "membrane"], 10.0)] == [0, 0]
    assert tissue_options(bounded, ["nuclei", "membrane"], 10.0)[1].membrane == 1
    filled = {"cells": {"channel": "membrane", "stain": "cytoplasm"}}
    filling = Organoid3dConfig.model_validate(data | filled)
    assert tissue_options(filling, ["nuclei", "membrane"], 10.0)[1].membrane is None
    given = Organoid3dConfig.model_validate(data | {"organoids": {"rim": 1.0}})
    assert [made.rim for made in tissue_options(given, ["nuclei"], 10.0)] == [1, 1]


def test_the_report_cuts_where_most_nuclei_are_seen():
    labels = np.zeros((12, 9, 9), np.int64)
    labels[1, 2, 2] = 2**40
    labels[6:11, 4, 6:8] = 3
    labels[8:12, 7, 7] = 9
    assert _fullest_planes(labels) == [9, 4, 7]
    assert _fullest_planes(np.zeros((4, 6, 8), np.int64)) == [2, 3, 4]
