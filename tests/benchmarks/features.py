"""Speed and memory of the features against scikit-image and cp_measure, in CPU time of one run.

    python -m tests.benchmarks.features [--quick] [--only PART]

Everything runs on one thread; numba's kernels are compiled before the clock starts. Every line
with a target says what was asked and found. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from poolvox.organoid3d.measure import (
    MeasureSettings,
    measure_nuclei,
    measure_organoids,
    tabulate_edges,
)
from poolvox.organoid3d.tissue import Tissue
from poolvox.shared.features import find_objects, group_names
from tests.benchmarks.features_peers import plane_peers, volume_peers
from tests.benchmarks.features_scenes import (
    CELLS,
    NUCLEI,
    SPACING_2D,
    SPACING_3D,
    Report,
    corner,
    cpu,
    ours,
    scene,
)


def volumes(report: Report, count: int = 1000, shape: tuple[int, ...] = (64, 512, 512)) -> None:
    """All tables of a stack of nuclei, and shape and intensity against scikit-image."""
    labels, images = scene(shape, SPACING_3D, count, NUCLEI, 2)
    engine = group_names(3)
    lean = [name for name in engine if name not in ("granularity", "curvature")]
    what = f"3D, {count} nuclei in {' x '.join(map(str, shape))}, 2 channels"
    for name in engine:
        spent = ours(labels, images, SPACING_3D, [name]) * 1e3 / count
        print(f"     {what}: {name:40s} {spent:9.3f} ms/object")
    tables(*corner(labels, images, 140), engine)
    for groups, name, target in (
        (engine, "all tables", 12),
        (lean, "all without granularity, curvature", 5),
    ):
        spent = tables(labels, images, groups)
        parts = ", ".join(f"{part} {value * 1e3 / count:.3f}" for part, value in spent.items())
        print(f"     {what}: {parts} ms/object")
        total = sum(spent.values()) * 1e3 / count
        report.line(f"{what}: {name}", total, "ms/object", target, True)
    one = {"c0": images["c0"]}
    fast = ours(labels, one, SPACING_3D, ["shape", "intensity"])
    slow = skimage_table(labels, one["c0"], SPACING_3D)
    report.line(f"{what}: shape, intensity", slow / fast, "x regionprops_table", 5, False)


def skimage_table(labels, image, spacing) -> float:
    from skimage.measure import regionprops_table

    names = (
        "area", "bbox", "centroid", "extent", "equivalent_diameter_area", "euler_number",
        "solidity", "inertia_tensor_eigvals", "intensity_mean", "intensity_min",
        "intensity_max", "intensity_std",
    )  # fmt: skip
    return cpu(lambda: regionprops_table(labels, image, properties=names, spacing=spacing))


def tissue_of(labels) -> Tissue:
    """An organoid round all nuclei but those at its sides, with a lumen."""
    mask = np.ones(labels.shape, np.int32)
    mask[:, :8], mask[:, -8:], mask[:, :, :8], mask[:, :, -8:] = 0, 0, 0, 0
    lumen, half = np.zeros_like(mask), labels.shape[1] // 2
    inner = np.s_[20:40, half - 30 : half + 30, half - 30 : half + 30]
    lumen[inner] = labels[inner] == 0
    return Tissue(mask, lumen)


def tables(labels, images, groups, tissue: Tissue | None = None) -> dict[str, float]:
    """CPU seconds of the tables that a run of the organoid pipeline measures, part by part.

    Nuclei: the groups, harmonics, graph and positions. Organoid: its own shape, intensity and
    harmonics, contents, graph, summaries. Nothing is known beforehand but the label images.
    """
    tissue, kept = tissue or tissue_of(labels), {}
    settings = MeasureSettings(groups=(*groups, "graph", "position"))

    def nuclei() -> None:
        kept["objects"] = find_objects(labels, spacing=SPACING_3D)
        kept["table"] = measure_nuclei(
            kept["objects"], images, spacing=SPACING_3D, tissue=tissue, settings=settings
        )

    def organoid() -> None:
        nuclei, table = kept["objects"], kept["table"]
        measure_organoids(nuclei, tissue, table, images, spacing=SPACING_3D, settings=settings)

    def edges() -> None:
        mask = tissue.solid
        tabulate_edges(kept["objects"], spacing=SPACING_3D, mask=mask, settings=settings)

    return {"nuclei": cpu(nuclei), "organoid": cpu(organoid), "edges": cpu(edges)}


def tiles(report: Report) -> None:
    """All groups of a tile of cells."""
    labels, images = scene((2048, 2048), SPACING_2D, 3000, CELLS, 4)
    for name in group_names(2):
        spent = ours(labels, images, SPACING_2D, [name])
        print(f"     2D, 3000 cells, 4 channels: {name:45s} {spent:9.3f} CPU s")
    spent = ours(labels, images, SPACING_2D, group_names(2))
    report.line("2D, 3000 cells of 2048 x 2048, 4 channels: all groups", spent, "CPU s", 6, True)


def memory(report: Report) -> None:
    """Peak of a fresh process over the images and labels that it is given."""
    cases = {
        "3D, nuclei": (scene((64, 384, 384), SPACING_3D, 500, NUCLEI, 2), "nuclei"),
        "3D, all tables": (scene((64, 384, 384), SPACING_3D, 500, NUCLEI, 2), "tables"),
        "2D, cells": (scene((2048, 2048), SPACING_2D, 3000, CELLS, 4), "cells"),
    }
    for what, ((labels, images), child) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.npz"
            np.savez(path, labels=labels, **images)
            command = [sys.executable, "-m", "tests.benchmarks.features_memory", child, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        peak = json.loads(done.stdout)["bytes"]
        share = peak / (labels.size * len(images))
        report.line(f"{what}: memory over the images", share, "bytes/voxel/channel", 12, True)


PARTS = {
    "volumes": volumes,
    "tiles": tiles,
    "memory": memory,
    "peers3d": volume_peers,
    "peers2d": plane_peers,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the nuclei, no peers")
    parser.add_argument("--only", choices=PARTS, action="append", help="only these parts")
    given = parser.parse_args()
    report, spent = Report(), {}
    if given.quick:
        volumes(report, 100, (64, 160, 160))
        return int(report.missed > 0)
    for name, part in PARTS.items():
        if not given.only or name in given.only:
            print(f"{name}: {(part.__doc__ or '').strip()}", flush=True)
            spent[name] = cpu(lambda part=part: part(report))
    print("CPU seconds: " + ", ".join(f"{name} {value:.0f}" for name, value in spent.items()))
    return int(report.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
