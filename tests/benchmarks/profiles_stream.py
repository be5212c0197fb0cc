"""Tables larger than memory for the benchmark of profiles: made, read, and worked on."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy as np

MIB = 2**20
FEATURES = 500
PLATES = 10
WELLS = 96
GUIDES = 4_000
BLOCK = 100_000
STEPS = ("annotate and flag", "normalise", "write objects", "find hits")


def make_objects(folder: Path, rows: int) -> int:
    """Write cells in four files of uneven length, packed as most tools do; returns their bytes.

    One block of numbers is drawn; the others are the same moved and stretched feature by feature,
    as plates are, since drawing anew would take longer than all that is measured.
    """
    import pyarrow.parquet as pq

    folder.mkdir()
    rng = np.random.default_rng(1)
    names = [f"Cells_F{i:03}" for i in range(FEATURES)]
    base = _cells(min(BLOCK, rows), rng)
    edges = (np.array([0, 0.2, 0.55, 0.8, 1]) * rows).astype(int)
    start = 0
    for part, stop in enumerate(edges[1:]):
        writer = None
        while start < stop:
            table = _block(base, start, int(min(BLOCK, stop - start)), rows, rng)
            if writer is None:
                keys = [name for name in table.column_names if name not in set(names)]
                writer = pq.ParquetWriter(
                    folder / f"part{part}.parquet",
                    table.schema,
                    compression="snappy",
                    use_dictionary=keys,
                    write_statistics=keys,
                )
            writer.write_table(table)
            start += table.num_rows
        if writer is not None:
            writer.close()
    return sum(path.stat().st_size for path in folder.iterdir())


def _cells(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Measurements that go together by tens, column-major."""
    values = rng.standard_normal((FEATURES, rows), dtype=np.float32).T
    common = values[:, ::10].copy(order="F")
    share = rng.uniform(0, 0.99, FEATURES).astype(np.float32)
    for f in range(FEATURES):
        values[:, f] *= np.sqrt(1 - share[f] ** 2)
        values[:, f] += share[f] * common[:, f // 10]
    return values


def _block(base: np.ndarray, start: int, count: int, rows: int, rng: np.random.Generator) -> object:
    import pyarrow as pa

    number = np.arange(start, start + count)
    guide = rng.integers(0, GUIDES, count)
    columns = {
        "Metadata_Plate": [f"P{p}" for p in number * PLATES // rows],
        "Metadata_Well": [f"A{w}" for w in number * PLATES * WELLS // rows % WELLS],
        "Metadata_Label": number.astype(np.int32),
        "Metadata_Guide": [f"g{g}" for g in guide],
        "Metadata_Gene": [f"gene{g // 4}" for g in guide],
        "Call_Posterior": rng.uniform(0.5, 1, count).astype(np.float32),
    }
    moved = rng.normal(40, 3, FEATURES).astype(np.float32)
    stretched = rng.uniform(8, 10, FEATURES).astype(np.float32)
    for f in range(FEATURES):
        values = base[:count, f] * stretched[f] + moved[f]
        if not f % 50:
            values[: count // 500] = np.nan
        columns[f"Cells_F{f:03}"] = values
    return pa.table(columns)


def drop_cache(folder: Path) -> None:
    """Ask the system to forget the files, so that every reader begins from the disk."""
    os.sync()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_plainly(folder: Path) -> float:
    """Seconds that the bytes take."""
    drop_cache(folder)
    buffer = bytearray(16 * MIB)
    start = time.perf_counter()
    for path in sorted(folder.iterdir()):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def read_bare(source: str) -> dict[str, float]:
    """Decode all columns, row group by row group, on one thread, and keep nothing."""
    import pyarrow.parquet as pq

    drop_cache(Path(source))
    start, before = time.perf_counter(), cpu_seconds()
    for path in sorted(Path(source).iterdir()):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group, use_threads=False)
    return {"wall": time.perf_counter() - start, "cpu": cpu_seconds() - before}


def stream_ours(source: str, out: str, workers: str) -> dict[str, float]:
    """All steps on all objects; without genes there are no hits and maps."""
    from poolvox.shared.profiles import ProfilesConfig, make_profiles
    from poolvox.shared.profiles.config import QualityConfig

    drop_cache(Path(source))
    config = ProfilesConfig(gene="none", quality=QualityConfig(rules=()), memory="8GB")
    spent = dict.fromkeys(STEPS, 0.0)
    last = [cpu_seconds(), ""]

    def note(step: str, share: float) -> None:
        now = cpu_seconds()
        spent[last[1] or step] = spent.get(last[1] or step, 0.0) + now - last[0]
        last[:] = [now, step]

    start, before = time.perf_counter(), cpu_seconds()
    made = make_profiles(source, config, out, threads=int(workers), progress=note)
    return spent | {
        "wall": time.perf_counter() - start,
        "cpu": cpu_seconds() - before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "kept": made.facts["kept"],
        "guides": made.facts["guides"],
        "written": sum(path.stat().st_size for path in Path(out).iterdir()) / 1e6,
    }


def cpu_seconds() -> float:
    """Of this process, on all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
