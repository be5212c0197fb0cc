"""Screens in two and three colours, from raw files to called cells."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from poolvox.ops.config import OpsConfig
from poolvox.ops.judge import match_cells, score_cells
from poolvox.ops.parts import load_signal
from poolvox.ops.pipeline import pipeline
from poolvox.ops.sections import make_sections
from poolvox.ops.simulate import Guides, in_colours, preset, simulate_screen
from poolvox.shared.config import load_config
from poolvox.shared.engine import Options, run_plan
from poolvox.shared.store import read_table

CALLING = ("images", "signal", "decode", "calls")
SIDE = 288


def simulated(out, colours):
    """One tile with the exposures, phasing and spread of light of a real screen."""
    params = preset("default")
    return simulate_screen(
        out,
        replace(
            params,
            seed=4,
            tiles=1,
            chemistry=in_colours(params.chemistry, colours),
            layout=replace(
                params.layout, shape=(SIDE, SIDE), cells=170, reads=4.0, untransduced=0.2
            ),
            guides=Guides(genes=20, guides_per_gene=3, controls=6),
        ),
    )


def called(config):
    """Settings of a run, and its cells beside the truth."""
    settings = load_config(config, OpsConfig)
    summary = run_plan(pipeline.plan(settings), settings.output, options=Options(1, steps=CALLING))
    assert not summary.failed
    cells = read_table(settings.output / "tables" / "cells.parquet")
    truth = pd.read_parquet(config.parent / "truth" / "cells.parquet")
    return settings, match_cells(cells, truth, (SIDE, SIDE))


@pytest.mark.parametrize(
    ("colours", "chemistry"), [(2, "two-colour"), (3, "three-colour(dark: G)")]
)
def test_a_screen_with_a_dark_base_is_called(colours, chemistry, tmp_path):
    config = simulated(tmp_path, colours)
    assert yaml.safe_load(config.read_text())["chemistry"] == chemistry
    settings, cells = called(config)
    score = score_cells(cells)
    assert score["precision"] > 0.97
    assert score["recall"] > 0.8
    signal = load_signal(settings.output / "parts" / "signal" / "plate.json")
    assert signal.chemistry.dark == "G"
    assert signal.corrections.phasing == pytest.approx(0.02, abs=0.006)
    assert len(make_sections(settings)) > 3


def test_the_order_of_two_colours_is_found(tmp_path):
    config = simulated(tmp_path, 2)
    for path in sorted(tmp_path.rglob("raw/**/*.tif")):
        image = tifffile.imread(path)[[0, 2, 1]]
        tifffile.imwrite(path, image, imagej=True, metadata={"axes": "CYX"})
    values = yaml.safe_load(config.read_text())
    values["raw"]["sbs"]["channels"] = ["DAPI", "auto", "auto"]
    config.write_text(yaml.safe_dump(values))
    settings, cells = called(config)
    assert score_cells(cells)["f1"] > 0.85
    signal = load_signal(settings.output / "parts" / "signal" / "plate.json")
    assert signal.chemistry.channels == ("AT", "AC")
    assert "confirmed" in signal.order
    assert np.array_equal(signal.chemistry.code[0], [1, 1])
