"""What is done again after a change, and that it is what a run from nothing gives."""

import json

import numpy as np
import pytest
import tifffile

from poolvox.organoid3d.config import Organoid3dConfig
from poolvox.organoid3d.pipeline import pipeline
from poolvox.organoid3d.simulate import FieldSpec, OrganoidSpec, simulate_field
from poolvox.shared.engine import Options, read_status, run_plan, verify_run

MEASURING = ["measure", "tables", "profiles"]
ALL = ["segment", *MEASURING]
CONFIG = {
    "pipeline": "organoid3d",
    "nuclei": {"model": "classical"},
    "features": ["shape", "intensity", "graph"],
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two stacks of a few nuclei, with a membrane."""
    folder = tmp_path_factory.mktemp("raw")
    for number in (1, 2):
        spec = FieldSpec((OrganoidSpec("solid", 6, 12.0),), (2.0, 0.8, 0.8))
        field = simulate_field(spec, np.random.default_rng(number))
        pixels = np.stack([field.image[field.channels.index(n)] for n in ("nuclei", "marker")])
        tifffile.imwrite(folder / f"A1_{number}.tif", pixels, metadata={"axes": "CZYX"})
    return folder


def made(output, raw, **changes):
    stacks = {"files": str(raw / "{well}_{organoid}.tif"), "axes": "czyx"}
    stacks |= {"channels": ["nuclei", "marker"], "voxel_size": [2.0, 0.8, 0.8]}
    return Organoid3dConfig.model_validate(
        CONFIG | changes | {"output": output, "raw": {"stacks": stacks}}
    )


def run(config, **options):
    chosen = Options(workers=1, **options)
    summary = run_plan(pipeline.plan(config), config.output, options=chosen)
    assert not summary.failed
    return list(dict.fromkeys(key.split("/")[0] for key in summary.done))


def tables(config):
    paths = sorted((config.output / "tables").iterdir())
    assert len(paths) == 6
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def first(tmp_path_factory, raw):
    config = made(tmp_path_factory.mktemp("runs") / "first", raw)
    assert run(config) == ALL
    return config


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({}, []),
        ({"windows": "never"}, []),
        ({"profiles": {"hits": {"fdr": 0.1}}}, ["profiles"]),
        ({"features": ["shape", {"intensity": {"background_um": 1.0}}]}, MEASURING),
        ({"graph": {"edges": "contact", "reach": 2.0}}, MEASURING),
        ({"cells": {"reach": 4.0}}, ALL),
        ({"nuclei": {"model": "classical", "diameter": 11.0}}, ALL),
        ({"store": {"images": "none"}}, ALL),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else "",
)
def test_only_what_depends_on_a_change_is_done_again(first, raw, tmp_path, changes, again):
    changed = made(first.output, raw, **changes)
    assert run(changed) == again
    fresh = made(tmp_path / "fresh", raw, **changes)
    assert run(fresh) == ALL
    assert tables(changed) == tables(fresh)
    assert verify_run(first.output) == []
    run(first)


def test_stacks_of_which_the_nuclei_alone_are_kept_are_measured_in_all_channels(
    first, raw, tmp_path
):
    config = made(tmp_path / "none", raw, store={"images": "none"})
    run(config)
    assert tables(config) == tables(first)


def test_a_run_that_stops_after_the_segmentation_shows_it_and_goes_on(first, raw, tmp_path):
    config = made(tmp_path / "run", raw)
    assert run(config, steps=("segment",)) == ["segment"]
    sections = pipeline.sections(config)
    assert [section.title for section in sections] == ["Segmentation", "Light lost with depth"]
    assert len(sections[0].figures) == 2
    assert read_status(config.output).steps["measure"].pending == 2
    assert run(config) == MEASURING
    assert tables(config) == tables(first)


def test_tables_have_no_rows_of_a_stack_whose_segmentation_fails_later(raw, tmp_path):
    config = made(tmp_path / "run", raw)
    run(config)
    facts = config.output / "parts" / "facts" / "P1-A1-2.json"
    assert json.loads(facts.read_text())["nuclei"] > 0
    broken = tmp_path / "raw"
    broken.mkdir()
    (broken / "A1_1.tif").write_bytes((raw / "A1_1.tif").read_bytes())
    (broken / "A1_2.tif").write_bytes((raw / "A1_2.tif").read_bytes()[:3000])
    summary = run_plan(pipeline.plan(made(config.output, broken)), config.output)
    assert list(summary.failed) == ["segment/P1-A1-2"]
    assert list(summary.skipped) == ["measure/P1-A1-2"]
    alone = made(tmp_path / "alone", raw)
    run(alone, only=("A1/1",))
    assert tables(config) == tables(alone)
    assert not facts.exists()
