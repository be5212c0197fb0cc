"""What `ops.py` measures in a process of its own: memory, whole runs, and large inputs.

python -m tests.benchmarks.children NAME VALUE …      # prints JSON
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

MIB = 2**20
# Steps of a screen up to called cells.
CALLING = ("images", "signal", "decode", "calls")


def measured(name: str, *values: str) -> dict[str, Any]:
    """Run one of `CHILDREN` and hand back what it says, with its peak of memory."""
    command = [sys.executable, "-m", "tests.benchmarks.children", name, *values]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} {values} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def make_screen(root: str, values: str) -> dict[str, float]:
    from poolvox.ops.simulate import preset, simulate_screen

    given = json.loads(values)
    params = preset("easy")
    side = given["side"]
    layout = replace(params.layout, shape=(side, side), cells=given["cells"])
    simulate_screen(
        root, replace(params, layout=layout, tiles=given["made"], cycles=given["cycles"])
    )
    _repeat_tiles(Path(root) / "raw", given["made"], given["tiles"])
    return {}


def _repeat_tiles(raw: Path, made: int, tiles: int) -> None:
    """Link the files of the tiles that were made under the numbers of more tiles."""
    for tile in range(made, tiles):
        for path in raw.rglob(f"*_T-{tile % made + 1}_*"):
            name = path.name.replace(f"_T-{tile % made + 1}_", f"_T-{tile + 1}_")
            path.with_name(name).hardlink_to(path)


def whole_run(config: str, out: str, tiles: str) -> dict[str, float]:
    """A run of the first tiles of a screen with one worker, after a warm-up."""
    go = _runs(config, out)
    go(1, 1)
    return go(int(tiles), 1)


def run_pairs(
    config: str, out: str, tiles: str, repeats: str, scheduler: str
) -> dict[str, list[float]]:
    """Runs with one and with two workers by turns, so that what else the machine does hits both."""
    go = _runs(config, out)
    go(1, 1)  # compiled code is loaded once per process, and most screens have more tiles
    found: dict[str, list[float]] = {}
    for _ in range(int(repeats)):
        for workers in (1, 2):
            for name, value in go(int(tiles), workers, scheduler).items():
                found.setdefault(f"{name} {workers}", []).append(value)
    return found


def _runs(config: str, out: str) -> Callable[..., dict[str, float]]:
    """What runs the first tiles of a screen in an empty folder, and tells seconds."""
    from poolvox.ops.config import OpsConfig
    from poolvox.ops.pipeline import pipeline
    from poolvox.shared.config import load_config
    from poolvox.shared.engine import Options, run_plan

    def go(tiles: int, workers: int, scheduler: str = "threads") -> dict[str, float]:
        shutil.rmtree(out, ignore_errors=True)
        given = [f"output={out}", f"engine.workers={workers}"]
        settings = load_config(Path(config), OpsConfig, overrides=given)
        only = tuple(f"tile={k + 1}" for k in range(tiles))
        options = Options(workers, scheduler=scheduler, only=only, steps=CALLING)
        start, before, switched = time.perf_counter(), cpu_seconds(), switches()
        summary = run_plan(pipeline.plan(settings), settings.output, options=options)
        if summary.failed:
            raise SystemExit(f"units failed: {dict(summary.failed)}")
        wall, cpu = time.perf_counter() - start, cpu_seconds() - before
        return {"wall": wall, "cpu": cpu, "switched": float(switches() - switched)}

    return go


def large_decode(reads: str, words: str) -> dict[str, float]:
    """Reads with wrong bases, a quarter of them of no barcode at all."""
    import pandas as pd

    from poolvox.ops.codebook import Codebook
    from poolvox.ops.decode import decode_reads
    from poolvox.ops.decoys import make_decoys
    from poolvox.ops.library import make_library
    from poolvox.ops.mistakes import ErrorModel
    from poolvox.ops.words import decode_words
    from tests.benchmarks.screens import SPEC

    rng, cycles = np.random.default_rng(0), 12
    codes = np.unique(rng.integers(0, 4, (int(words), cycles), dtype=np.uint8), axis=0)
    names = decode_words(codes)
    table = pd.DataFrame({"barcode": names, "sgRNA": names, "gene_symbol": names})
    start = time.process_time()
    library = make_library(table, SPEC, cycles)
    codebook = Codebook.make(library, make_decoys(library, rng))
    prepared = time.process_time() - start
    few = np.zeros((100, cycles, 4), np.float32)
    decode_reads(few, codebook, ErrorModel.start(cycles))  # warm-up
    loglik, word = _reads(int(reads), library.codes, rng)
    start = time.process_time()
    calls = decode_reads(loglik, codebook, ErrorModel.start(cycles))
    seconds = time.process_time() - start
    called = calls.called
    right = calls.candidates[called, 0] == word[called]
    return {
        "decode": seconds,
        "library": prepared,
        "called": float(called.mean()),
        "right": float(right.mean()),
        "input_mb": loglik.nbytes / MIB,
    }


def _reads(
    count: int, codes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    cycles = codes.shape[1]
    word = rng.integers(0, len(codes), count)
    word[rng.random(count) < 0.25] = -1
    loglik = np.empty((count, cycles, 4), np.float32)
    for part in np.array_split(np.arange(count), max(count // 50_000, 1)):
        shown = np.where(
            word[part, None] >= 0, codes[word[part]], rng.integers(0, 4, (len(part), cycles))
        )
        light = 0.35 * rng.standard_normal((len(part), cycles, 4), dtype=np.float32)
        light += np.arange(4) == shown[..., None]
        loglik[part] = light / 0.35**2
    return loglik, word


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def switches() -> int:
    """How often this process had to leave a core to others: few times on a quiet machine."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def peak_mb() -> float:
    """The largest of this process and its children; kB on Linux."""
    whom = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in whom) * 1024 / MIB


CHILDREN = {"screen": make_screen, "run": whole_run, "pairs": run_pairs, "decode": large_decode}

if __name__ == "__main__":
    print(json.dumps(CHILDREN[sys.argv[1]](*sys.argv[2:]) | {"peak_mb": peak_mb()}))
