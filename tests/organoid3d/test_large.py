import json
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import tifffile

from poolvox.organoid3d.config import Organoid3dConfig
from poolvox.organoid3d.pipeline import pipeline
from poolvox.shared.config import load_config
from poolvox.shared.engine import Options, run_plan
from poolvox.shared.errors import ConfigError
from poolvox.shared.store import open_plate, read_table
from tests.organoid3d.networks import balls_image, write_model

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SHAPE = (16, 64, 76)
NAMES = ("nuclei", "organoids", "lumens", "cells")
TABLES = ("nuclei", "cells", "organoids", "edges")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = write_model(tmp_path_factory.mktemp("models") / "hand")
    facts = json.loads((folder / "poolvox.json").read_text())
    (folder / "poolvox.json").write_text(json.dumps(facts | {"refine": True}))
    return folder


def stack(kind):
    """Nuclei that fade with depth, as they come from different microscopes, and membranes."""
    image = balls_image(SHAPE, 40, seed=3)
    fading = np.exp(-0.02 * 2.0 * np.arange(SHAPE[0]))[:, None, None]
    pixels = (image * fading * 3000 + 200).clip(0, 60_000)
    noise = np.random.default_rng(1).normal(0, 20, SHAPE)
    shells = np.clip(image, 0, 1) * (1 - np.clip(image, 0, 1)) * 2000 + 300 + noise
    if kind == "dark":
        broken = (2 - pixels / 4000).astype(np.float32)
        broken[5, 10:14, 20:30] = np.nan
        return np.stack([broken, shells.astype(np.float32)], axis=1)
    both = np.stack([pixels, shells], axis=1).astype(np.uint16)
    # A camera's hot pixels, the same for all channels and planes.
    both[..., 9::17, 5::19] = 65535
    return both


def write_run(folder, pixels, model, **changes):
    (folder / "stacks").mkdir(parents=True)
    axes = {"axes": "ZCYX"}
    tifffile.imwrite(folder / "stacks" / "A1_1.tif", pixels, imagej=False, metadata=axes)
    settings = {"windows": "always", "features": ["shape"]} | changes
    lines = "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
    (folder / "config.yaml").write_text(
        "pipeline: organoid3d\noutput: out\n"
        "raw: {stacks: {files: 'stacks/{well}_{organoid}.tif', channels: [nuclei, membrane], "
        "voxel_size: [2, 1, 1], axes: zcyx}}\n"
        f"nuclei: {{model: {model}, scale: 1}}\n{lines}"
    )
    return load_config(folder / "config.yaml", Organoid3dConfig)


def labels_of(config):
    image = open_plate(config.output / "stacks.zarr")["A1"]["1"]
    return {name: image.labels(name).to_numpy() for name in NAMES}


def run(config, **options):
    chosen = Options(**options, steps=("tables",))
    summary = run_plan(pipeline.plan(config), config.output, options=chosen)
    assert not summary.failed
    return summary


# Everything in many small pieces: shares, slabs, windows, and write units of few pixels.
PIECES = (
    ("poolvox.organoid3d.volumes", "SHARE", 30_000),
    ("poolvox.organoid3d.volumes", "DRAWN", 30_000),
    ("poolvox.organoid3d.stored", "AT_ONCE", 1),
    ("poolvox.organoid3d.survey", "SLAB", 5 * SHAPE[1] * SHAPE[2]),
    ("poolvox.organoid3d.large", "SLAB", 1),
    ("poolvox.organoid3d.large", "WINDOW_BYTES", 1_500_000),
    ("poolvox.organoid3d.large", "SHARE", 30_000),
    ("poolvox.organoid3d.large_cells", "GROWN", 30_000),
    ("poolvox.organoid3d.parts", "PART", 10_000),
    ("poolvox.shared.store.units", "SHARD_BYTES", 4 * 64 * 64 * 8),
    ("poolvox.shared.store.units", "CHUNK_SIDE", 64),
)


@pytest.fixture(scope="module", autouse=True)
def in_pieces():
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in PIECES:
            patch.setattr(f"{module}.{name}", value)
        yield


# What is asked for in either case: all that tells a part from the whole.
WANTED = {
    "plain": {
        "features": [
            "shape",
            "harmonics",
            "intensity",
            "radial",
            "neighbours",
            "graph",
            "position",
        ],
        "cells": {"reach": 4.0},
    },
    "dark": {
        "features": ["intensity", "texture", "colocalisation", "graph"],
        "graph": {"edges": "contact", "reach": 3.0},
        "cells": {"channel": "membrane", "reach": 5.0},
        "organoids": {"channels": ["nuclei"]},
    },
}


@pytest.fixture(scope="module", params=["plain", "dark"])
def both(request, tmp_path_factory, model):
    """One stack as a whole, and in windows by two workers."""
    folder, pixels = tmp_path_factory.mktemp("runs"), stack(request.param)
    wanted = WANTED[request.param]
    whole = write_run(folder / "whole", pixels, model, windows="never", **wanted)
    parts = write_run(folder / "parts", pixels, model, **wanted)
    run(whole, workers=1)
    summary = run(parts, workers=2)
    for step in ("windows", "draw", "measure"):
        assert sum(key.startswith(f"{step}/P1-A1-1-") for key in summary.done) == 3
    return whole, parts


def test_windows_of_a_run_give_the_labels_of_the_whole_stack(both):
    whole, parts = (labels_of(config) for config in both)
    assert whole["nuclei"].max() > 25
    for name in NAMES:
        differ = np.count_nonzero(whole[name] != parts[name])
        # Where the stain says nothing, it is chance to which of two cells a voxel goes.
        assert differ <= (1e-3 * np.count_nonzero(whole[name]) if name == "cells" else 0), name


def test_facts_of_windows_are_those_of_the_whole_stack(both):
    paths = [config.output / "parts" / "facts" / "P1-A1-1.json" for config in both]
    expected, facts = (json.loads(path.read_text()) for path in paths)
    assert facts["corrected"]
    for name in ("nuclei", "organoids", "lumens", "diameter_um", "attenuation_per_um", "scale"):
        assert facts[name] == pytest.approx(expected[name]), name
    hot, rest = (
        [note for note in each["warnings"] if ("hot voxel" in note) == told]
        for each, told in ((facts, True), (facts, False))
    )
    assert sorted(hot) == sorted(note for note in expected["warnings"] if "hot voxel" in note)
    assert any("segmented in windows" in note for note in rest)


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_windows_are_those_of_the_whole_stack(both, name):
    expected, found = (read_table(c.output / "tables" / f"{name}.parquet") for c in both)
    assert len(expected) > 0
    if (both[1].cells.channel, name) == ("membrane", "cells"):
        numbers = expected.select_dtypes("number").columns
        assert list(found) == list(expected)
        equal = np.isclose(found[numbers], expected[numbers], equal_nan=True)
        assert equal.mean() > 0.95
        assert np.median(equal.mean(axis=1)) == 1
    else:
        pd.testing.assert_frame_equal(found, expected, rtol=1e-6, atol=1e-6)


def test_the_report_shows_stacks_in_windows(both):
    section = pipeline.sections(both[1])[0]
    assert section.title == "Segmentation"
    assert len(section.figures) == 1
    assert section.tables[0].frame["note"].str.contains("segmented in windows").any()


@pytest.mark.slow
@pytest.mark.parametrize("both", ["plain"], indirect=True)
def test_a_run_that_was_killed_goes_on_and_gives_the_same(tmp_path, model, both):
    killed = write_run(tmp_path / "killed", stack("plain"), model, **WANTED["plain"])
    code = (
        "import importlib, sys\n"
        "from pathlib import Path\n"
        f"for module, name, value in {PIECES}:\n"
        "    setattr(importlib.import_module(module), name, value)\n"
        "from poolvox.organoid3d.config import Organoid3dConfig\n"
        "from poolvox.organoid3d.pipeline import pipeline\n"
        "from poolvox.shared.config import load_config\n"
        "from poolvox.shared.engine import Options, run_plan\n"
        "config = load_config(Path(sys.argv[1]), Organoid3dConfig)\n"
        "run_plan(pipeline.plan(config), config.output, options=Options(workers=1))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "killed" / "config.yaml")]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    middle = killed.output / "parts" / "windows" / "P1-A1-1" / "cells" / "00001.txt"
    until = time.monotonic() + 120
    while not middle.exists() and time.monotonic() < until:
        assert child.poll() is None
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    summary = run(killed, workers=2)
    assert any(key.startswith("windows/") for key in summary.reused)
    assert "measure/P1-A1-1" in summary.done
    expected, found = labels_of(both[0]), labels_of(killed)
    assert all((found[name] == expected[name]).all() for name in NAMES)
    tables = [
        read_table(config.output / "tables" / "nuclei.parquet") for config in (both[1], killed)
    ]
    assert tables[0].equals(tables[1])


def test_a_change_of_what_is_measured_leaves_the_windows_alone(tmp_path, model):
    pixels = stack("plain")
    config = write_run(tmp_path / "first", pixels, model)
    run(config, workers=1)
    labels = labels_of(config)
    changed = write_run(tmp_path / "again", pixels, model, features=["shape", "graph"])
    again = changed.model_copy(update={"output": config.output})
    done = run(again, workers=1).done
    assert {key.split("/")[0] for key in done} == {"measure", "tables"}
    assert sum(key.startswith("measure/") for key in done) == 4
    run(changed, workers=1)
    assert all((labels[name] == found).all() for name, found in labels_of(again).items())
    for name in TABLES:
        paths = [each.output / "tables" / f"{name}.parquet" for each in (again, changed)]
        assert paths[0].read_bytes() == paths[1].read_bytes(), name


def test_stacks_are_large_where_memory_is_short(tmp_path, model):
    config = write_run(tmp_path, stack("plain"), model, windows="auto")
    assert sum(unit.step == "segment" for unit in pipeline.plan(config)) == 1
    small = config.model_copy(
        update={"engine": config.engine.model_copy(update={"memory": "300MB"})}
    )
    units = pipeline.plan(small)
    assert sum(unit.step == "segment" for unit in units) > 1
    assert {unit.where["well"] for unit in units if unit.step == "segment"} == {"A1"}
    # A plane or two are segmented in 2D, and the classical method needs the whole stack.
    thin = write_run(tmp_path / "thin", stack("plain")[:2], model)
    assert sum(unit.step == "segment" for unit in pipeline.plan(thin)) == 1
    classical = config.model_copy(
        update={
            "windows": "always",
            "nuclei": config.nuclei.model_copy(update={"model": "classical", "scale": "auto"}),
        }
    )
    with pytest.raises(ConfigError, match="needs a network"):
        pipeline.plan(classical)
