"""Pooled screens: speed, F1 and honesty of the calls, on simulated tiles and on real data.

    python -m tests.benchmarks.ops                        # everything but the peer
    python -m tests.benchmarks.ops --peer PYTHON          # against SCALLOPS, in its own environment
    python -m tests.benchmarks.ops --only calls           # one part; see PARTS
    python -m tests.benchmarks.ops --only segmented --tiles 6 --first 700   # other tiles
    python -m tests.benchmarks.ops --quick                # one tile where there would be three

The environment of the peer is made once: python3.12 -m venv PEER && PEER/bin/pip install
scallops==1.0.1; then give --peer PEER/bin/python. Every number stands beside its target at the end.

`calls` gives the true labels of cells, `segmented` has them found as the pipeline does: what is
merged, split or not seen then counts as a wrong call where it leads to one.

Seconds are of CPU, of one core, after a warm-up; they depend on the machine, so compare the
ratios. Wall-clock time counts for `scaling` only, which wants a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from poolvox.ops.simulate import Truth, preset
from tests.benchmarks.children import cpu_seconds, measured
from tests.benchmarks.real import real_tables
from tests.benchmarks.screens import (
    Screen,
    beside_truth,
    best_of_ours,
    best_of_peer,
    call_tile,
    our_files,
    own_segmentation,
    rate_of_errors,
    recalled,
)

SETTINGS = ("easy", "medium", "hard")
LEAST_F1 = {"easy": 0.99, "medium": 0.985, "hard": 0.97}
RATES = (0.005, 0.01, 0.05, 0.1)
PEER = Path(__file__).parent / "peers" / "scallops_tile.py"
HOW_TO_PEER = (
    "not measured: give --peer PYTHON, made with `python3.12 -m venv PEER && PEER/bin/pip install "
    "scallops==1.0.1`"
)
LEAST_AUC = 0.9
PEER_F1 = {"easy": 0.989, "medium": 0.976, "hard": 0.951}
FASTER, FASTER_FILES = 20.0, 10.0
DECODE_SECONDS, DECODE_MB, TILE_MB = 60.0, 2048.0, 2500.0
HELA_MAPPED, ISS_VALID, ISS_SPOTS = 74.0, 63.1, 500
TWO_WORKERS, LINEAR = 1.8, 1.25
# Sides of the tiles of `scaling`: those of the other parts, and what cameras give.
SIDES = (1024, 2048)


@dataclass(frozen=True)
class Verdict:
    """A number and what it should be: at least `low`, at most `high`."""

    what: str
    measured: float
    low: float = -np.inf
    high: float = np.inf

    def row(self) -> dict[str, object]:
        bounds = [
            f"{sign} {value:g}"
            for sign, value in ((">=", self.low), ("<=", self.high))
            if np.isfinite(value)
        ]
        met = self.low <= self.measured <= self.high
        return {
            "number": self.what,
            "measured": f"{self.measured:.3f}",
            "target": ", ".join(bounds) or "none",
            "verdict": "pass" if met else "MISS",
        }


Verdicts = list[Verdict]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", help="python of an environment with scallops 1.x")
    parser.add_argument("--tiles", type=int, default=3, help="tiles per setting")
    parser.add_argument("--first", type=int, default=100, help="seed of the first tile")
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="only these parts")
    parser.add_argument("--quick", action="store_true", help="one tile per setting")
    parser.add_argument("--side", type=int, nargs="+", help=f"of tiles of `scaling`: {SIDES}")
    parser.add_argument("--folder", help="where runs are written; in memory, disks do not count")
    parser.add_argument("--crowded", action="store_true", help="small cells, unequal exposures")
    options = parser.parse_args()
    options.tiles = 1 if options.quick else options.tiles
    print(f"Python {platform.python_version()}, {platform.machine()}, numpy {np.__version__}")
    options.seeds = range(options.first, options.first + options.tiles)
    verdicts: Verdicts = []
    with threadpool_limits(1):
        for name, part in PARTS.items():
            if not options.only or name in options.only:
                print(f"\n## {name}: {(part.__doc__ or '').splitlines()[0]}", flush=True)
                start, used = time.perf_counter(), cpu_seconds()
                found = attempt(name, part, options)
                show([verdict.row() for verdict in found])
                verdicts += found
                wall, used = time.perf_counter() - start, cpu_seconds() - used
                print(f"({used:.0f} s of CPU, {wall:.0f} s of wall-clock time)", flush=True)
    print("\n## All numbers beside their targets")
    show([verdict.row() for verdict in verdicts])


def attempt(name: str, part: Callable[..., Verdicts], options: argparse.Namespace) -> Verdicts:
    """Perform a part; where it fails it says so, and the others go on."""
    try:
        return part(options)
    except (Exception, SystemExit) as error:
        print(f"failed: {type(error).__name__}: {error}", flush=True)
        return [Verdict(f"{name}: failed", float("nan"), 0.0)]


def show(rows: list[dict[str, object]]) -> None:
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format), flush=True)


def against_peer(options: argparse.Namespace) -> Verdicts:
    """Against SCALLOPS: the same tiles and labels, from arrays in memory to called cells."""
    if not options.peer:
        print(HOW_TO_PEER)
        return []
    verdicts = []
    for setting in SETTINGS:
        screen = Screen.make(setting, crowded=options.crowded)
        images, truth = screen.tile(0)
        call_tile(images, truth.nuclei, truth.bodies, screen)  # warm-up
        rows = [one_against_peer(screen, seed, options.peer) for seed in options.seeds]
        print(f"{setting}: best choices of the peer: {rows[0]['where']}")
        show([{key: row[key] for key in row if key != "where"} for row in rows])
        mean = pd.DataFrame(rows).mean(numeric_only=True)
        print(
            f"{setting}: best F1 {mean['our F1']:.3f} to {mean['peer F1']:.3f} (on an independent "
            f"simulator the peer had {PEER_F1[setting]}); library and decoys, once: "
            f"{screen.seconds:.2f} s"
        )
        memory, files = (mean[f"peer{k}"] / mean[f"ours{k}"] for k in ("", " files"))
        ahead = mean["our F1"] - mean["peer F1"]
        verdicts += [
            Verdict(f"{setting}: times faster than the peer, in memory", memory, FASTER),
            Verdict(f"{setting}: times faster, from files", files, FASTER_FILES),
            Verdict(f"{setting}: best F1 above the peer's by", ahead, 0.0),
        ]
    return verdicts


def one_against_peer(screen: Screen, seed: int, python: str) -> dict[str, object]:
    images, truth = screen.tile(seed)
    table, clock = call_tile(images, truth.nuclei, truth.bodies, screen)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = our_files(folder, screen, images)
        seconds, theirs = run_peer(folder, screen, images, truth, python)
    peer_f1, where = best_of_peer(theirs, truth.cells)
    return {
        "seed": seed,
        "ours": clock.total,
        "peer": seconds["cpu_s"],
        "ratio": seconds["cpu_s"] / clock.total,
        "ours files": ours,
        "peer files": seconds["files_cpu_s"],
        "our F1": best_of_ours(table, truth.cells),
        "peer F1": peer_f1,
        "where": where,
    }


def run_peer(
    folder: Path, screen: Screen, images: np.ndarray, truth: Truth, python: str
) -> tuple[dict[str, float], pd.DataFrame]:
    np.savez(
        folder / "tile.npz",
        images=images,
        labels=truth.bodies,
        bases=list(screen.params.chemistry.channels),
        barcodes=screen.library.words.astype(str),
    )
    command = [python, str(PEER), "tile.npz", "cells.parquet", "cycles"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1]), pd.read_parquet(folder / "cells.parquet")


def calls(options: argparse.Namespace) -> Verdicts:
    """Calls on simulated tiles: F1, stated and true error rate, doublets, seconds per step."""
    verdicts = []
    for setting in SETTINGS:
        screen = Screen.make(setting, crowded=options.crowded)
        images, truth = screen.tile(0)
        call_tile(images, truth.nuclei, truth.bodies, screen)  # warm-up
        tables, truths, clocks = [], [], []
        for seed in options.seeds:
            images, truth = screen.tile(seed)
            table, clock = call_tile(images, truth.nuclei, truth.bodies, screen)
            tables.append(table)
            truths.append(truth.cells)
            clocks.append(clock.seconds)
        verdicts += judge_calls(setting, screen, tables, truths)
        mean = pd.DataFrame(clocks).mean()
        steps = ", ".join(f"{name} {value:.2f}" for name, value in mean.items())
        print(f"{setting}: {mean.sum():.2f} s of CPU per tile: {steps}\n", flush=True)
    return verdicts


def judge_calls(
    setting: str, screen: Screen, tables: list[pd.DataFrame], truths: list[pd.DataFrame]
) -> Verdicts:
    best = float(np.mean([best_of_ours(table, truth) for table, truth in zip(tables, truths)]))
    rows = [
        rate_of_errors(rate, map(beside_truth, recalled(tables, screen, rate), truths))
        for rate in RATES
    ]
    show(rows)
    joined = pd.concat([beside_truth(p, t) for p, t in zip(recalled(tables, screen, 0.01), truths)])
    called = joined[joined["Metadata_Barcode"] != ""]
    two = called["barcode_2"] != ""
    auc = roc_auc_score(two, called["Call_Doublet"]) if two.any() and not two.all() else np.nan
    print(
        f"{setting}: {len(tables)} tiles, {int(two.sum())} doublets in {len(called)} called cells"
    )
    ratios = [
        Verdict(f"{setting}: true over stated FDR at {rate:.1%}", row["true/stated"], 0.5, 2.0)
        for rate, row in zip(RATES, rows)
    ]
    return [
        Verdict(f"{setting}: F1 at the best cut", best, LEAST_F1[setting]),
        Verdict(f"{setting}: F1 at a stated 1 %", rows[1]["F1"], LEAST_F1[setting]),
        *ratios,
        Verdict(f"{setting}: AUC of doublets", float(auc), LEAST_AUC),
    ]


def segmented(options: argparse.Namespace) -> Verdicts:
    """Calls with our own segmentation: F1, stated and true error rate, against simulated cells."""
    verdicts = []
    for setting in ("default", *SETTINGS):
        rows, found = own_segmentation(setting, options.seeds, RATES)
        print(f"{setting}: {len(options.seeds)} tiles, {found:.1%} of the simulated cells found")
        show(rows)
        verdicts += [
            Verdict(
                f"{setting}, own segmentation: true over stated FDR at {rate:.1%}",
                *(row["true/stated"], 0.5, 2.0),
            )
            for rate, row in zip(RATES, rows)
        ]
    return verdicts


def real(options: argparse.Namespace) -> Verdicts:
    """Real data: the HeLa screen and the mouse brain tile."""
    lines, (hela, ahead, iss, gain) = real_tables()
    print("\n".join(lines))
    return [
        Verdict("HeLa: % of reads mapped at the original chain's decoy rate", hela, HELA_MAPPED),
        Verdict("HeLa: % of reads mapped above the original chain", ahead, 0.0),
        Verdict(f"ISS: % valid codes of the {ISS_SPOTS} strongest spots", iss, ISS_VALID),
        Verdict("ISS: % valid codes above our own largest base", gain, 0.0),
    ]


def decode(options: argparse.Namespace) -> Verdicts:
    """Decoding of 10^6 reads against 10^5 barcodes of 12 bases (targets 60 s, 2 GB)."""
    reads, words = (100_000, 10_000) if options.quick else (1_000_000, 100_000)
    result = measured("decode", str(reads), str(words))
    print(
        f"{reads} reads, {words} barcodes and as many decoys: decode {result['decode']:.1f} s of "
        f"CPU, library and decoys {result['library']:.1f} s, {result['called']:.1%} called, "
        f"{result['right']:.2%} of them right, peak {result['peak_mb']:.0f} MB of which input "
        f"{result['input_mb']:.0f} MB"
    )
    return [
        Verdict("decode: seconds of CPU", result["decode"], high=DECODE_SECONDS),
        Verdict("decode: peak MB", result["peak_mb"], high=DECODE_MB),
    ]


def scaling(options: argparse.Namespace) -> Verdicts:
    """More workers and more tiles: wall-clock seconds, CPU seconds and memory of whole runs."""
    repeats = 1 if options.quick else 3
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    verdicts = []
    for side in options.side or SIDES:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            config = write_screen(
                Path(name), tiles=16, made=4 if side <= SIDES[0] else 2, side=side
            )
            verdicts.append(two_workers(config, side, repeats))
            if side <= SIDES[0]:
                verdicts += more_tiles(config)
    return verdicts


def two_workers(config: Path, side: int, repeats: int) -> Verdict:
    """Eight tiles with one and with two workers by turns; the median of the ratios counts."""
    rows, ratios = [], {}
    # Processes take longer, so they are tried on small tiles alone.
    counts = {"threads": repeats} | ({"processes": 1} if side <= SIDES[0] else {})
    for scheduler, count in counts.items():
        values = [str(config), str(config.parent / "out"), "8", str(count), scheduler]
        found = measured("pairs", *values)
        ratios[scheduler] = np.divide(found["wall 1"], found["wall 2"])
        row = {"side": side, "tiles": 8, "scheduler": scheduler}
        for workers in (1, 2):
            for what in ("wall", "cpu"):
                row[f"{what} s, {workers}"] = float(np.median(found[f"{what} {workers}"]))
        row |= {"faster": float(np.median(ratios[scheduler]))}
        rows.append(row | {"switched out": max(found["switched 2"])})
    show(rows)
    print(
        "threads, each pair: " + ", ".join(f"{ratio:.2f}" for ratio in ratios["threads"]) + ". "
        "Processes count with their start, 2 to 3 s each. Switched out: how often threads lost "
        "their core while they could have worked on"
    )
    best = max(float(np.median(one)) for one in ratios.values())
    return Verdict(f"8 tiles of {side} x {side}: times faster with 2 workers", best, TWO_WORKERS)


def more_tiles(config: Path) -> Verdicts:
    """One worker and 4, 8, 16 tiles."""
    grown: list[dict[str, float]] = []
    for tiles in (4, 8, 16):
        one = measured("run", str(config), str(config.parent / "out"), str(tiles))
        row = {"tiles": tiles, "CPU s": one["cpu"], "CPU s per tile": one["cpu"] / tiles}
        grown.append(row | {"peak MB": one["peak_mb"]})
    show(grown)
    time_, peak = (grown[-1][name] / grown[0][name] for name in ("CPU s per tile", "peak MB"))
    return [
        Verdict("seconds per tile, 16 tiles over 4", time_, high=LINEAR),
        Verdict("peak memory of one worker, 16 tiles over 4", peak, high=LINEAR),
    ]


def memory(options: argparse.Namespace) -> Verdicts:
    """Peak memory of one tile of 10 cycles, 5 channels, 2048 x 2048 pixels (target 2500 MB)."""
    side = 512 if options.quick else 2048
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        config = write_screen(root, tiles=1, made=1, side=side, setting="medium", cycles=10)
        one = measured("run", str(config), str(root / "out"), "1")
    print(f"{side} x {side}: peak {one['peak_mb']:.0f} MB, {one['cpu']:.1f} s of CPU")
    return [Verdict("one tile of 10 x 5 x 2048 x 2048: peak MB", one["peak_mb"], high=TILE_MB)]


def write_screen(
    root: Path, *, tiles: int, made: int, side: int, setting: str = "easy", cycles: int = 9
) -> Path:
    """In a process of its own, so that the memory of the simulator is not counted.

    Only `made` tiles are simulated, as dense with cells as the setting is; the others are the same
    files under other names.
    """
    layout = preset(setting).layout
    cells = round(layout.cells * side**2 / np.prod(layout.shape))
    values = {"tiles": tiles, "made": made, "side": side, "cells": cells, "cycles": cycles}
    measured("screen", str(root), json.dumps(values))
    return root / "config.yaml"


PARTS = {
    "peer": against_peer,
    "calls": calls,
    "segmented": segmented,
    "real": real,
    "decode": decode,
    "scaling": scaling,
    "memory": memory,
}

if __name__ == "__main__":
    sys.exit(main())
