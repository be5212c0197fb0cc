"""One configuration of several plates stands for a run of each."""

import pytest

from poolvox.shared.config import Model, RunConfig
from poolvox.shared.errors import ConfigError
from poolvox.shared.ingest import RawSpec
from poolvox.shared.ingest.plates import split_plates


class Raw(Model):
    sbs: RawSpec
    phenotype: RawSpec | None = None


class Config(RunConfig):
    pipeline: str = "some"
    raw: Raw | RawSpec


def config(folder, files="{plate}/{well}.tif", *, output="out/{plate}", **more):
    for plate in ("P10", "P2", "a {b}"):
        (folder / plate).mkdir(exist_ok=True)
        (folder / plate / "A1.tif").touch()
    raw = {"sbs": {"files": f"{folder}/{files}"}}
    return Config.model_validate({"output": str(folder / output), "raw": raw, **more})


def told(configs, folder):
    return [
        (c.plate, c.output.relative_to(folder).as_posix(), c.raw.sbs.files[len(str(folder)) + 1 :])
        for c in configs
    ]


def test_each_plate_gets_its_folder_and_its_files(tmp_path):
    assert told(split_plates(config(tmp_path)), tmp_path) == [
        ("P2", "out/P2", "P2/{well}.tif"),
        ("P10", "out/P10", "P10/{well}.tif"),
        ("a {b}", "out/a {b}", "a {{b}}/{well}.tif"),
    ]


def test_one_plate_is_chosen_by_its_name(tmp_path):
    chosen = config(tmp_path, "{plate:2}/{well}.tif", output="out", plate="P2")
    assert told(split_plates(chosen), tmp_path) == [("P2", "out", "P2/{well}.tif")]
    with pytest.raises(ConfigError, match=r"plate is 'P3', the files are of P2, P10, a \{b\}"):
        split_plates(config(tmp_path, plate="P3"))


def test_a_configuration_that_says_nothing_of_plates_stays_as_it_is(tmp_path):
    several = config(tmp_path, output="out")
    assert split_plates(several) == [several]
    single = config(tmp_path, "P2/{well}.tif", output="out", plate="mine")
    assert split_plates(single) == [single]
    named = config(tmp_path, "P2/{well}.tif")
    assert told(split_plates(named), tmp_path) == [("P1", "out/P1", "P2/{well}.tif")]


def test_several_patterns_and_kinds_of_images_are_of_one_plate(tmp_path):
    files = [f"{tmp_path}/{{plate}}/{{well}}.tif", f"{tmp_path}/{{plate}}/late/{{well}}.tif"]
    raw = {"sbs": {"files": files}, "phenotype": {"files": "pheno/{plate}_{well}.tif"}}
    first = split_plates(config(tmp_path, raw=raw))[0].raw
    assert [text[len(str(tmp_path)) + 1 :] for text in first.sbs.files] == [
        "P2/{well}.tif",
        "P2/late/{well}.tif",
    ]
    assert first.phenotype.files == "pheno/P2_{well}.tif"
