"""Simulated tiles, our chain from arrays to called cells, and scores, for `ops.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile

from poolvox.ops.align import align_tile
from poolvox.ops.cells import call_cells, near_cells, set_calls
from poolvox.ops.chemistry import Chemistry, resolve_chemistry
from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import decode_reads
from poolvox.ops.decoys import make_decoys
from poolvox.ops.judge import match_cells, score_cells
from poolvox.ops.library import Library, LibrarySpec, make_library
from poolvox.ops.parts import TileReads
from poolvox.ops.rates import fit_error_model
from poolvox.ops.segment import segment_cells, segment_nuclei
from poolvox.ops.signal import apply_corrections, estimate_corrections
from poolvox.ops.simulate import Chemistry as Dyes
from poolvox.ops.simulate import Layout, ScreenParams, Truth, preset, simulate_tile
from poolvox.ops.simulate.reads import make_library as simulate_library
from poolvox.ops.spots import find_spots, sample_bases
from poolvox.ops.steps import GROW
from poolvox.shared.features import find_objects

SPEC = LibrarySpec(
    file="library.csv",
    barcode="barcode",
    guide="sgRNA",
    gene="gene_symbol",
    controls="nontargeting",
)
NUCLEAR, BASES = 0, (1, 2, 3, 4)
# Small cells, unequal exposures: reads crowd as on a real screen, which is beyond the peer.
CROWDED = {"nucleus_area": Layout().nucleus_area, "spacing": Layout().spacing}
EXPOSURE = Dyes().gains


@dataclass(frozen=True)
class Screen:
    """What is made once for all tiles of a screen, and the seconds of CPU that it takes."""

    params: ScreenParams
    table: pd.DataFrame
    library: Library
    codebook: Codebook
    chemistry: Chemistry
    seconds: float

    @classmethod
    def make(cls, setting: str, *, crowded: bool = False) -> Screen:
        params = preset(setting)
        if crowded:
            layout = replace(params.layout, **CROWDED)
            chemistry = replace(params.chemistry, gains=EXPOSURE)
            params = replace(params, layout=layout, chemistry=chemistry)
        table = simulate_library(params.guides, params.cycles, np.random.default_rng(0))
        start = time.process_time()
        library = make_library(table, SPEC, params.cycles)
        codebook = Codebook.make(library, make_decoys(library, np.random.default_rng(0)))
        seconds = time.process_time() - start
        chemistry = resolve_chemistry("four-colour", params.chemistry.channels)
        return cls(params, table, library, codebook, chemistry, seconds)

    def tile(self, seed: int) -> tuple[np.ndarray, Truth]:
        return simulate_tile(self.params, np.random.default_rng([1, seed]), library=self.table)


class Clock:
    """Seconds of CPU of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, step: str, function: Callable[..., Any], *values: Any, **named: Any) -> Any:
        start = time.process_time()
        result = function(*values, **named)
        self.seconds[step] = self.seconds.get(step, 0.0) + time.process_time() - start
        return result

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def call_tile(
    images: np.ndarray, nuclei: np.ndarray, cells: np.ndarray, screen: Screen
) -> tuple[pd.DataFrame, Clock]:
    """Align, find, measure, correct, decode and call one tile, as the pipeline does."""
    clock = Clock()
    rng = np.random.default_rng(0)
    alignment = clock("align", align_tile, images, bases=BASES, nuclear=NUCLEAR)
    spots = clock("find reads", find_spots, images, alignment.transforms, BASES)
    bases = clock("measure", sample_bases, images, alignment.transforms, spots, BASES)
    places = (spots[name].to_numpy() for name in ("y", "x"))
    near = clock("near cells", near_cells, cells, *places, nuclei=nuclei)
    centres = clock("near cells", find_objects, nuclei, spacing=1.0).centroids
    reads = TileReads(
        *(spots[name].to_numpy(np.float32) for name in ("y", "x", "peak", "snr")),
        intensity=bases.intensity,
        noise=bases.noise,
        near=near.cells,
        distance=near.distance,
        cells=near.labels,
        sizes=near.sizes,
        centres=centres,
        room=near.room,
        area=np.array([near.area]),
    )
    light, noise = np.nan_to_num(reads.intensity), reads.relative_noise
    corrections = clock(
        "corrections", estimate_corrections, light, screen.chemistry, rng=rng, noise=noise
    )
    signals = clock("signals", apply_corrections, light, corrections, noise=noise)
    steady, codebook = signals.steady, screen.codebook
    model = clock("error model", fit_error_model, signals.loglik, codebook, rng=rng, steady=steady)
    calls = clock("decode", decode_reads, signals.loglik, codebook, model, steady=steady)
    table, _ = clock(
        "cells", call_cells, calls, reads.neighbours, screen.codebook, screen.library, model
    )
    return table, clock


def beside_truth(table: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Truth of the cells with what was called; labels are the same in both."""
    called = table.set_index("Metadata_Label").reindex(truth["label"])
    joined = truth.reset_index(drop=True).join(called.reset_index(drop=True))
    for name in ("Metadata_Barcode", "Call_Barcode"):
        if name in joined:
            joined[name] = joined[name].fillna("")
    return joined


def best_of_ours(table: pd.DataFrame, truth: pd.DataFrame) -> float:
    """Highest F1 over all cuts of the q-value."""
    joined = beside_truth(table, truth)
    usable = (joined["Call_Barcode"] != "") & ~joined["Call_Decoy"].fillna(False).astype(bool)
    usable &= ~joined["Call_Tied"].fillna(False).astype(bool)
    right = usable & (
        (joined["Call_Barcode"] == joined["barcode"])
        | (joined["Call_Barcode"] == joined["barcode_2"])
    )
    q = joined["Call_QValue"].to_numpy(float)
    carrying = int((joined["barcode"] != "").sum())
    cuts = np.unique(q[usable])
    scores = [
        2 * int((right & (q <= cut)).sum()) / (int((usable & (q <= cut)).sum()) + carrying)
        for cut in cuts
    ]
    return max(scores, default=0.0)


def best_of_peer(table: pd.DataFrame, truth: pd.DataFrame) -> tuple[float, str]:
    """Highest F1 over all choices, and over the least reads of a cell, and where it is."""
    best = (0.0, "")
    for choice, cells in table.groupby(["channels", "crosstalk", "mismatches", "threshold"]):
        for least in (1, 2):
            kept = cells[(cells["barcode_count_0"] >= least) & (cells["label"] > 0)]
            kept = kept.rename(columns={"label": "Metadata_Label", "barcode_0": "Metadata_Barcode"})
            kept = kept[["Metadata_Label", "Metadata_Barcode"]]
            score = score_cells(beside_truth(kept, truth))["f1"]
            if score > best[0]:
                aligned, method, mismatches, threshold = choice
                where = (
                    f"peak > {threshold:.3g}, {mismatches} mismatches, {method}, reads >= {least}"
                )
                best = (score, where + (", channels aligned" if aligned else ""))
    return best


def recalled(tables: list[pd.DataFrame], screen: Screen, fdr: float) -> list[pd.DataFrame]:
    """Call the cells of several tiles together, as the pipeline does for a plate."""
    together = pd.concat(tables, keys=range(len(tables)), names=["seed"])
    called = set_calls(
        together.reset_index("seed"), screen.library, fdr=fdr, ratio=screen.codebook.ratio
    )
    return [part for _, part in called.groupby("seed", sort=True)]


def segment_tile(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei and cells as the pipeline finds them."""
    nuclei = segment_nuclei(images[0, NUCLEAR]).nuclei
    areas = np.bincount(nuclei.ravel())[1:]
    return nuclei, segment_cells(nuclei, GROW * 2 * float(np.sqrt(np.median(areas) / np.pi)))


def our_files(folder: Path, screen: Screen, images: np.ndarray) -> float:
    """Seconds of CPU of one tile from its files, with our own segmentation, to called cells."""
    (folder / "cycles").mkdir()
    for cycle, planes in enumerate(images):
        tifffile.imwrite(folder / "cycles" / f"{cycle:02d}.tif", planes)
    segment_tile(images)  # compiled code is loaded once
    start = time.process_time()
    files = sorted((folder / "cycles").iterdir())
    stack = np.stack([tifffile.imread(file) for file in files])
    call_tile(stack, *segment_tile(stack), screen)
    return time.process_time() - start


def rate_of_errors(rate: float, joined: Iterable[pd.DataFrame]) -> dict[str, float]:
    """What is true of the cells that are called at a stated rate, from cells beside their truth."""
    parts = list(joined)
    pooled = score_cells(pd.concat(parts))
    wrong = 1 - pooled["precision"]
    return {
        "stated FDR": rate,
        "true FDR": wrong,
        "true/stated": wrong / rate,
        "recall": pooled["recall"],
        "F1": float(np.mean([score_cells(part)["f1"] for part in parts])),
    }


def own_segmentation(
    setting: str, seeds: Sequence[int], rates: Sequence[float]
) -> tuple[list[dict[str, float]], float]:
    """`rate_of_errors` of tiles whose cells we found, and the share of cells that were."""
    screen = Screen.make(setting)
    tables, truths = [], []
    for seed in seeds:
        images, truth = screen.tile(seed)
        nuclei, cells = segment_tile(images)
        table, _ = call_tile(images, nuclei, cells, screen)
        centres = find_objects(nuclei, spacing=1.0).centroids
        table["Metadata_Y"], table["Metadata_X"] = centres.T
        tables.append(table.assign(Metadata_Well="A1", Metadata_Tile=str(seed)))
        truths.append(truth.cells.assign(well="A1", tile=str(seed)))
    shape = screen.params.layout.shape

    def matched(rate: float) -> list[pd.DataFrame]:
        parts = recalled(tables, screen, rate)
        return [match_cells(part, truth, shape) for part, truth in zip(parts, truths)]

    there = pd.concat(matched(rates[0])).dropna(subset="y")
    rows = [rate_of_errors(rate, matched(rate)) for rate in rates]
    return rows, float((there["Metadata_Label"] > 0).mean())
