"""Cost of profiles beside pycytominer and copairs, and of ten million cells.

    python -m tests.benchmarks.profiles                       # 100,000 x 500; average precision
    python -m tests.benchmarks.profiles --quick               # the same, smaller
    python -m tests.benchmarks.profiles --only stream         # ten million cells: 45 GB of disk
    python -m tests.benchmarks.profiles --only stream --rows 200000

Nothing is missing in what is compared: with missing values pycytominer takes much slower ways.
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
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.precision import Result, average_precision_section

MIB, GIB = 2**20, 2**30
FEATURES = 500
PLATES = 10
WELLS = 96
GUIDES = 4_000
OURS = ("variance", "correlation", "missing", "outliers", "frequency")
THEIRS = (
    *("variance_threshold", "correlation_threshold", "drop_na_columns", "drop_outliers"),
    "frequency_threshold",
)
# The targets that the project set itself.
NORMALIZE, SELECT, STREAM_MEMORY = 0.4, 0.5, 8.0
SECTIONS = ("normalize", "select", "precision", "stream")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--only", choices=SECTIONS, help="one section; stream is run by name only")
    parser.add_argument("--rows", type=int, default=10_000_000, help="cells of the stream section")
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
        if "stream" in chosen:
            results += stream(Path(folder), options.rows)
    for result in results:
        print(result)
    missed = [result.name for result in results if result.missed]
    print(f"missed: {', '.join(missed)}" if missed else "all targets met")


def compare(folder: Path, rows: int, chosen: tuple[str, ...]) -> list[Result]:
    """Normalise and choose features, with us and with pycytominer."""
    path = folder / "cells.npy"
    np.save(path, cells(rows, np.random.default_rng(0)))
    results = []
    for name, target in (("normalize", NORMALIZE), ("select", SELECT)):
        if name not in chosen:
            continue
        ours, theirs = (run(f"{name}-{tool}", str(path)) for tool in ("ours", "theirs"))
        note = f"CPU s {ours['cpu']:.2f} / {theirs['cpu']:.2f}"
        note += f", peak MB {ours['peak']:.0f} / {theirs['peak']:.0f}"
        note += f", kept {ours['kept']:.0f} / {theirs['kept']:.0f}"
        label = f"{name} {rows:,} x {FEATURES}, CPU by pycytominer's"
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


def stream(folder: Path, rows: int) -> list[Result]:
    """Normalise, choose and aggregate a table larger than memory, beside reading it."""
    source = folder / "objects"
    source.mkdir()
    size = make_objects(source, rows)
    drop_cache(source)
    plain = read_plainly(source)
    drop_cache(source)
    found = run("stream", str(source), str(folder / "out"))
    gb = size / 1e9
    print(
        f"{rows:,} cells x {FEATURES}: {gb:.1f} GB read plainly in {plain:.0f} s "
        f"({size / 1e6 / plain:.0f} MB/s); all steps {found['wall']:.0f} s wall, "
        f"{found['cpu']:.0f} s CPU ({size / 1e6 / found['wall']:.0f} MB/s of input, "
        f"{found['moved'] / 1e6 / found['wall']:.0f} MB/s read and written); {found['kept']:.0f} "
        f"features kept, {found['guides']:.0f} guides"
    )
    for step in ("normalise", "write objects", "aggregate"):
        print(f"  {step:16}{found[step]:8.0f} s wall")
    label = f"stream {rows:,} x {FEATURES}, peak GB"
    return [Result(label, found["peak"] / 1024, STREAM_MEMORY)]


def make_objects(folder: Path, rows: int) -> int:
    """Write cells in four files of uneven length; returns their bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"Cells_F{i:03}" for i in range(FEATURES)]
    rng = np.random.default_rng(1)
    edges = (np.array([0, 0.2, 0.55, 0.8, 1]) * rows).astype(int)
    block = 100_000
    start = 0
    for part, stop in enumerate(edges[1:]):
        writer = None
        while start < stop:
            count = int(min(block, stop - start))
            number = np.arange(start, start + count)
            guide = rng.integers(0, GUIDES, count)
            keys = {
                "Metadata_Plate": [f"P{p}" for p in number * PLATES // rows],
                "Metadata_Well": [f"A{w}" for w in number * PLATES * WELLS // rows % WELLS],
                "Metadata_Label": number.astype(np.int32),
                "Metadata_Guide": [f"g{g}" for g in guide],
                "Metadata_Gene": [f"gene{g // 4}" for g in guide],
                "Call_Posterior": rng.uniform(0.5, 1, count).astype(np.float32),
            }
            values = cells(count, rng)
            values[: count // 500, ::50] = np.nan
            columns = keys | {name: values[:, f] for f, name in enumerate(names)}
            table = pa.table(columns)
            if writer is None:
                path = folder / f"part{part}.parquet"
                writer = pq.ParquetWriter(
                    path, table.schema, compression="zstd", use_dictionary=list(keys)
                )
            writer.write_table(table)
            start += count
        if writer is not None:
            writer.close()
    return sum(path.stat().st_size for path in folder.iterdir())


def drop_cache(folder: Path) -> None:
    """Ask the system to forget the files, so that both begin from the disk."""
    os.sync()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_plainly(folder: Path) -> float:
    buffer = bytearray(16 * MIB)
    start = time.perf_counter()
    for path in sorted(folder.iterdir()):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def stream_ours(source: str, out: str) -> dict[str, float]:
    from poolvox.shared.profiles.config import ProfilesConfig, QualityConfig
    from poolvox.shared.profiles.recipe import make_profiles

    # Without genes there are no hits and maps: what is measured is the work on all objects.
    config = ProfilesConfig(gene="none", quality=QualityConfig(rules=()), memory="8GB")
    spent: dict[str, float] = {}
    last = [time.perf_counter()]

    def note(step: str, share: float) -> None:
        now = time.perf_counter()
        if share > 0:
            spent[step] = spent.get(step, 0.0) + now - last[0]
        last[0] = now

    start, before = time.perf_counter(), cpu_seconds()
    made = make_profiles(source, config, out, progress=note)
    sizes = {name: path.stat().st_size for name, path in made.paths.items()}
    read = sum(path.stat().st_size for path in Path(source).iterdir())
    return {
        "wall": time.perf_counter() - start,
        "cpu": cpu_seconds() - before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "kept": made.facts["kept"],
        "guides": made.facts["guides"],
        # Measurements are read twice; objects are written once and read once, for guides and wells.
        "moved": 2 * read + 2 * sizes["objects"],
        "normalise": spent.get("normalise", 0.0),
        "write objects": spent.get("write objects", 0.0),
        "aggregate": spent.get("aggregate", 0.0),
    }


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


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


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
}

if __name__ == "__main__":
    main()
