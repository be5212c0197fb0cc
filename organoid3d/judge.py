"""The demo of organoids: what is simulated, and how the result is held against the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from poolvox.organoid3d.config import Organoid3dConfig
from poolvox.organoid3d.simulate import (
    Effect,
    FieldSpec,
    OrganoidSpec,
    PlateSpec,
    simulate_plate,
)
from poolvox.shared.engine.pipeline import Check
from poolvox.shared.evaluate import evaluate_labels
from poolvox.shared.store import open_plate, read_table

__all__ = ["judge_run", "simulate_demo"]


MARKER = "Cells_Intensity_Mean_marker"
LUMEN = "Organoids_Filling_LumenVolume_um3"


def simulate_demo(out: Path, *, seed: int) -> Path:
    """Write four stacks of cysts, half of them with a larger lumen and a brighter marker."""
    spec = PlateSpec(
        effects={"treated": Effect(lumen=1.3, marker=2.5)},
        organoid=OrganoidSpec(kind="cyst", nuclei=40, diameter=10.0),
        view=FieldSpec(spacing=(2.0, 0.6, 0.6)),
    )
    return simulate_plate(spec, out, np.random.default_rng(seed))


def judge_run(config: Organoid3dConfig) -> list[Check]:
    """Compare a run with the truth that lies beside its stacks."""
    truth = _truth_folder(config)
    scores = []
    plate = open_plate(config.output / "stacks.zarr")
    fields = [(well, tile, plate[well][tile]) for well in plate.wells for tile in plate[well].tiles]
    for well, stack, field in fields:
        true = tifffile.imread(truth / f"{well}_{stack}_nuclei.tif")
        cells = tifffile.imread(truth / f"{well}_{stack}_cells.tif")
        body = tifffile.imread(truth / f"{well}_{stack}_organoids.tif") > 0
        hollow = tifffile.imread(truth / f"{well}_{stack}_lumens.tif") > 0
        found = {name: field.labels(name).to_numpy() for name in field.label_names}
        scores.append(
            {
                "nuclei": evaluate_labels(true, found["nuclei"], threshold=0.5).main.f1,
                "cells": evaluate_labels(cells, found["cells"], threshold=0.5).main.f1,
                "organoid": _iou(body, found["organoids"] > 0),
                "lumen": _iou(hollow, found["lumens"] > 0),
            }
        )
    mean = pd.DataFrame(scores).mean()
    checks = [
        Check("F1 of nuclei at IoU 0.5", mean["nuclei"], 0.8),
        Check("F1 of cells at IoU 0.5", mean["cells"], 0.8),
        Check("IoU of organoids", mean["organoid"], 0.85),
        Check("IoU of lumens", mean["lumen"], 0.6),
        Check("marker, treated over control", _effect(config, truth, "cells", MARKER), 1.15),
        Check(
            "lumen volume, treated over control", _effect(config, truth, "organoids", LUMEN), 1.2
        ),
    ]
    # A single well has no other to be found with.
    if (_treatments(truth) == "treated").sum() > 1:
        name = "average precision of treated wells among controls"
        checks.append(Check(name, _separation(config), 0.9))
    return checks


def _truth_folder(config: Organoid3dConfig) -> Path:
    return Path(config.raw.stacks.patterns[0].folder).parent / "truth"


def _effect(config: Organoid3dConfig, truth: Path, table: str, column: str) -> float:
    """Mean of a column in treated wells over that in controls."""
    treatment = _treatments(truth)
    objects = read_table(config.output / "tables" / f"{table}.parquet")
    means = objects[column].groupby(objects["Metadata_Well"].map(treatment)).mean()
    return float(means["treated"]) / float(means["control"])


def _treatments(truth: Path) -> pd.Series[str]:
    """Treatment of every well."""
    table = pd.read_csv(truth.parent / "treatments.csv", dtype=str)
    return table.set_index("well")["treatment"]


def _separation(config: Organoid3dConfig) -> float:
    """How well the profiles of treated wells find each other before controls; 0 without hits."""
    path = config.output / "profiles" / "hits.parquet"
    if not path.is_file():
        return 0.0
    hits = read_table(path, ["Metadata_Treatment", "Hit_MeanAP"]).set_index("Metadata_Treatment")
    return float(hits["Hit_MeanAP"].get("treated", 0.0))


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(a & b)) / max(int(np.count_nonzero(a | b)), 1)
