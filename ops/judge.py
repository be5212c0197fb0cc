"""The demo of a pooled screen: what is simulated, and how the result is held against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from poolvox.ops.config import OpsConfig
from poolvox.ops.simulate import ScreenParams, simulate_screen
from poolvox.shared.engine.pipeline import Check
from poolvox.shared.store import open_plate, read_table

__all__ = ["judge_run", "match_cells", "score_cells", "simulate_demo"]

# A cell that was found is a cell that was simulated within the radius of its nucleus, or within
# this many pixels.
SAME_CELL = 5.0
# Nuclei whose centre is nearer to the border than this, in pixels, are cut by it.
BORDER = 6.0
PLACE = ["well", "tile"]


def simulate_demo(out: Path, *, seed: int) -> Path:
    """Write a screen of two wells and six tiles whose reads map as in real data."""
    params = ScreenParams(seed=seed, wells=("A1", "B2"), tiles=3)
    layout = replace(params.layout, reads=4.0, untransduced=0.2)
    return simulate_screen(out, replace(params, layout=layout))


def judge_run(config: OpsConfig) -> list[Check]:
    """Compare the cells of a run with the truth that lies beside its library."""
    truth = config.library.file.parent / "truth"
    cells = read_table(config.output / "tables" / "cells.parquet")
    reads = read_table(config.output / "tables" / "reads.parquet")
    plate = open_plate(config.output / "sbs.zarr")
    shape = plate[plate.wells[0]][0].shape[-2:]
    matched = match_cells(cells, pd.read_parquet(truth / "cells.parquet"), shape)
    score = score_cells(matched)
    inside = reads[reads["Metadata_Label"] > 0]
    mapped = (inside["Read_Barcode"] != "").mean()
    decoys = inside["Read_Decoy"] & (inside["Read_Posterior"] > 0.5)
    return [
        Check("cells found", (matched["Metadata_Label"] > 0).mean(), 0.9),
        Check("F1 of cell calls", score["f1"], 0.9),
        Check("called cells that are right", score["precision"], 0.97),
        Check("reads in cells that map", float(mapped), 0.6),
        Check("reads in cells not mapped to decoys", 1 - float(decoys.mean()), 0.98),
    ]


def match_cells(
    cells: pd.DataFrame, truth: pd.DataFrame, shape: Sequence[int] | None = None
) -> pd.DataFrame:
    """Give every simulated cell the one that was found in its place.

    Parameters
    ----------
    cells : a run's cells, with keys, positions, `Metadata_Barcode`
    truth : simulated cells: well, tile, y, x, barcode, barcode_2
    shape : rows and columns of a tile, if cells that its border cuts are to be left out: the truth
        has only those whose centre lies on the tile

    Returns
    -------
    The truth with the columns of the found cell (label 0 and empty barcode where there is none),
    and a row without y and x for each other found cell: a piece of a nucleus carries what the
    nucleus does, what lies on no nucleus carries nothing.
    """
    parts = []
    found_tiles = dict(list(cells.groupby(["Metadata_Well", "Metadata_Tile"])))
    for place, there in truth.groupby(PLACE):
        found = found_tiles.get((str(place[0]), str(place[1])))
        parts.append(_match_tile(there.reset_index(drop=True), found))
    matched = pd.concat(parts, ignore_index=True)
    if shape is None:
        return matched
    # Cut after matching: a centre that is found beside where it is may lie across the line.
    found_at = matched[["Metadata_Y", "Metadata_X"]].to_numpy()
    places = np.where(matched[["y"]].isna(), found_at, matched[["y", "x"]].to_numpy())
    return matched[_inside(places, shape)].reset_index(drop=True)


def _inside(places: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.bool_]:
    below = np.asarray(shape) - BORDER
    return np.asarray(((places >= BORDER) & (places < below)).all(axis=1))


def _match_tile(truth: pd.DataFrame, found: pd.DataFrame | None) -> pd.DataFrame:
    names = ["Metadata_Label", "Metadata_Barcode", "Metadata_Y", "Metadata_X"]
    blank: dict[str, Any] = {
        "Metadata_Label": 0,
        "Metadata_Barcode": "",
        "Metadata_Y": np.nan,
        "Metadata_X": np.nan,
    }
    if found is None or not len(found):
        return truth.assign(**blank)
    tree = cKDTree(found[["Metadata_Y", "Metadata_X"]].to_numpy())
    far, row = tree.query(truth[["y", "x"]].to_numpy())
    near = far < _radii(truth)
    # Of two simulated cells in one place the nearer has it.
    order = np.argsort(far, kind="stable")
    first = np.zeros(len(truth), bool)
    first[order[np.unique(row[order], return_index=True)[1]]] = True
    held = near & first
    table = truth.assign(**blank)
    for name in names:
        table.loc[held, name] = found[name].to_numpy()[row[held]]
    lone = found.iloc[np.setdiff1d(np.arange(len(found)), row[held])]
    barcodes = _barcodes_under(lone[["Metadata_Y", "Metadata_X"]].to_numpy(), truth)
    return pd.concat([table, lone[names].assign(**barcodes)], ignore_index=True)


def _radii(truth: pd.DataFrame) -> NDArray[np.float64]:
    area = truth.get("nucleus_area", pd.Series(0.0, truth.index))
    return np.maximum(SAME_CELL, np.sqrt(area.to_numpy(float) / np.pi))


def _barcodes_under(places: NDArray[np.float64], truth: pd.DataFrame) -> dict[str, Any]:
    """Barcodes of the simulated nuclei at places, empty where there is none."""
    far, row = cKDTree(truth[["y", "x"]].to_numpy()).query(places)
    there = far < _radii(truth)[row]
    names = ["barcode", "barcode_2"]
    return {name: np.where(there, truth[name].to_numpy()[row], "") for name in names}


def score_cells(matched: pd.DataFrame) -> dict[str, float]:
    """Precision, recall and F1 of calls; of a cell with two barcodes either is right.

    A cell that carries a barcode and is not called right is missed, one that is called wrong counts
    against the precision as well.
    """
    called = matched["Metadata_Barcode"] != ""
    right = called & (
        (matched["Metadata_Barcode"] == matched["barcode"])
        | (matched["Metadata_Barcode"] == matched["barcode_2"])
    )
    carrying = int((matched["barcode"] != "").sum())
    precision = right.sum() / max(called.sum(), 1)
    recall = right.sum() / max(carrying, 1)
    f1 = 2 * right.sum() / max(called.sum() + carrying, 1)
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
