"""Cost of profiles beside pycytominer and copairs, and of ten million cells.

    python -m tests.benchmarks.profiles                       # 100,000 x 500; average precision
    python -m tests.benchmarks.profiles --quick               # the same, smaller
    python -m tests.benchmarks.profiles --only hits           # false hits of simulated screens
    python -m tests.benchmarks.profiles --only stream         # ten million cells: 41 GB of disk
    python -m tests.benchmarks.profiles --only stream --rows 200000 --workers 2

Features are chosen twice, from data without and with missing values: with them pycytominer takes
much slower ways.
Every tool runs in a process of its own on the same file; counted are CPU seconds after its imports
(and after our loops are compiled), and the peak of memory above what imports and data took. Seconds
depend on the machine: compare the ratios.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.precision import Result, average_precision_section
from tests.benchmarks.profiles_hits import hits_section
from tests.benchmarks.profiles_stream import (
    STEPS,
    cpu_seconds,
    make_objects,
    read_bare,
    read_plainly,
    stream_ours,
)

FEATURES = 500
OURS = ("variance", "correlation", "missing", "outliers", "frequency")
THEIRS = (
    *("variance_threshold", "correlation_threshold", "drop_na_columns", "drop_outliers"),
    "frequency_threshold",
)
# The targets that the project set itself.
NORMALIZE, SELECT, STREAM_MEMORY = 0.4, 0.5, 8.0
# The disk is the limit if it is busy for at least half of the time.
STREAM_DISK = 2.0
SECTIONS = ("normalize", "select", "precision", "hits", "stream")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--only", choices=SECTIONS, help="one section; the last two by name only")
    parser.add_argument("--rows", type=int, default=10_000_000, help="cells of the stream section")
    parser.add_argument("--workers", type=int, default=2, help="threads of the stream section")
    parser.add_argument("--dir", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *values = options.child
        print(json.dumps(CHILDREN[name](*values)))
        return
    names = ("poolvox", "pycytominer", "copairs", "numpy", "pandas", "numba")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"Python {platform.python_version()}, {versions}")
    chosen = (options.only,) if options.only else SECTIONS[:3]
    results: list[Result] = []
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        if {"normalize", "select"} & set(chosen):
            results += compare(Path(folder), 10_000 if options.quick else 100_000, chosen)
        if "precision" in chosen:
            results += average_precision_section(quick=options.quick)
        if "hits" in chosen:
            results += hits_section()
        if "stream" in chosen:
            results += stream(Path(folder), options.rows, options.workers)
    for result in results:
        print(result)
    missed = [result.name for result in results if result.missed]
    print(f"missed: {', '.join(missed)}" if missed else "all targets met")


def compare(folder: Path, rows: int, chosen: tuple[str, ...]) -> list[Result]:
    """Normalise and choose features, with us and with pycytominer."""
    path = folder / "cells.npy"
    np.save(path, cells(rows, np.random.default_rng(0)))
    results = []
    holes = folder / "holes.npy"
    if "select" in chosen:
        np.save(holes, with_holes(np.load(path), np.random.default_rng(1)))
    jobs = (("normalize", path, NORMALIZE, ""), ("select", path, SELECT, ""))
    for name, path, target, kind in (*jobs, ("select", holes, SELECT, ", 1 % missing")):
        if name not in chosen:
            continue
        ours, theirs = (run(f"{name}-{tool}", str(path)) for tool in ("ours", "theirs"))
        note = f"CPU s {ours['cpu']:.2f} / {theirs['cpu']:.2f}"
        note += f", peak MB {ours['peak']:.0f} / {theirs['peak']:.0f}"
        note += f", kept {ours['kept']:.0f} / {theirs['kept']:.0f}"
        label = f"{name} {rows:,} x {FEATURES}{kind}, CPU by pycytominer's"
        results.append(Result(label, ours["cpu"] / theirs["cpu"], target, note))
    return results


def cells(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Measurements that go together by tens, some skewed, none missing, column-major."""
    values = np.empty((rows, FEATURES), np.float32, order="F")
    for start in range(0, FEATURES, 10):
        factor = rng.standard_normal(rows, dtype=np.float32)
        for f in range(start, min(start + 10, FEATURES)):
            share = rng.uniform(0, 0.99)
            noise = rng.standard_normal(rows, dtype=np.float32)
            column = share * factor + np.sqrt(1 - share**2) * noise
            values[:, f] = np.exp(column) if f % 7 == 0 else 40 + 9 * column
    return values


def with_holes(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One value in a hundred missing, in every feature."""
    for column in values.T:
        column[rng.integers(0, len(column), len(column) // 100)] = np.nan
    return values


def frame_of(path: str) -> pd.DataFrame:
    values = np.load(path)
    frame = pd.DataFrame(values, columns=[f"Cells_F{i:03}" for i in range(values.shape[1])])
    frame.insert(0, "Metadata_Plate", "P1")
    return frame


def normalize_ours(path: str) -> dict[str, float]:
    from poolvox.shared.profiles import normalize

    frame = frame_of(path)
    normalize(frame.head(100))  # compiled
    return measured(lambda: normalize(frame, method="mad_robustize"))


def normalize_theirs(path: str) -> dict[str, float]:
    import pycytominer

    frame = frame_of(path)
    names = list(frame.columns[1:])
    return measured(lambda: pycytominer.normalize(frame, features=names, method="mad_robustize"))


def select_ours(path: str) -> dict[str, float]:
    from poolvox.shared.profiles import select_features

    frame = frame_of(path)
    select_features(frame.head(100), operations=OURS)  # compiled
    return measured(lambda: select_features(frame, operations=OURS))


def select_theirs(path: str) -> dict[str, float]:
    import pycytominer

    frame = frame_of(path)
    names = list(frame.columns[1:])
    return measured(
        lambda: pycytominer.feature_select(frame, features=names, operation=list(THEIRS))
    )


def stream(folder: Path, rows: int, workers: int) -> list[Result]:
    """Normalise, choose and aggregate a table larger than memory, beside reading it."""
    needed = 2 * rows * FEATURES * 4 * 1.02
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(f"needs {needed / 1e9:.0f} GB of disk, {folder} has {free / 1e9:.0f} free")
    source = folder / "objects"
    size = make_objects(source, rows) / 1e6
    plain = read_plainly(source)
    bare = run("bare", str(source))
    found = run("stream", str(source), str(folder / "out"), str(workers))
    print(f"{rows:,} cells x {FEATURES}, {size:,.0f} MB: the disk reads {size / plain:.0f} MB/s")
    for name, one in (("pyarrow reads", bare), (f"all steps, {workers} threads", found)):
        speed = f"{size / one['cpu']:.0f} MB per CPU s, {size / one['wall']:.0f} MB/s"
        print(f"  {name:22} {one['cpu']:7.1f} CPU s, {one['wall']:7.1f} s: {speed}")
    for step in STEPS:
        print(f"    {step:20} {found[step]:7.1f} CPU s")
    kept = f"{found['kept']:.0f} features kept, {found['guides']:.0f} guides"
    print(f"  {found['cpu'] / bare['cpu']:.1f} times the CPU of reading it once; {kept}")
    # The table is read twice, and what is kept is written.
    moved = 2 * size + found["written"]
    label = f"stream {rows:,} x {FEATURES}"
    return [
        Result(f"{label}, peak GB", found["peak"] / 1024, STREAM_MEMORY),
        Result(
            f"{label}, time by the disk's for the same bytes",
            found["wall"] / (moved * plain / size),
            STREAM_DISK,
            f"{moved / found['wall']:.0f} MB/s of {size / plain:.0f}",
        ),
    ]


def measured(work) -> dict[str, float]:
    warnings.simplefilter("ignore")  # of the peers; they are not what is measured
    cpu, memory = cpu_seconds(), resident("VmRSS")
    result = work()
    used = cpu_seconds() - cpu
    return {"cpu": used, "peak": (resident("VmHWM") - memory) / 1e3, "kept": result.shape[1] - 1}


def run(name: str, *values: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.profiles", "--child", name, *values]
    # One thread each: what is compared is work, not how it is shared out.
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | dict.fromkeys(threads, "1")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def resident(field: str) -> float:
    """Resident memory of this process, kB; on Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field)))


CHILDREN = {
    "normalize-ours": normalize_ours,
    "normalize-theirs": normalize_theirs,
    "select-ours": select_ours,
    "select-theirs": select_theirs,
    "stream": stream_ours,
    "bare": read_bare,
}

if __name__ == "__main__":
    main()
