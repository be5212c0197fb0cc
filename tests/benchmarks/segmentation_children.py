"""What `organoid3d_segmentation.py` measures in a process of its own: memory and whole runs.

python -m tests.benchmarks.segmentation_children NAME VALUE …      # prints JSON
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

MIB = 2**20
SPACING = {"z": 2.0, "y": 1.0, "x": 1.0}
PATTERN = (64, 256, 256)
# Shape of the large store: 2 Gvoxel.
LARGE = (512, 2048, 2048)
# Bytes of a window: all stores take several.
WINDOW = 300_000_000


def measured(name: str, *values: str) -> dict[str, float]:
    """Run one of `CHILDREN` and hand back what it says, with its peak of memory."""
    command = [sys.executable, "-m", "tests.benchmarks.segmentation_children", name, *values]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} {values} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def make_store(root: str, mvoxel: str) -> dict[str, float]:
    """A stack of soft balls, as large as asked, that repeats one pattern."""
    from poolvox.shared.store.images import create_image

    # 4 Mvoxel the pattern; twice as many along y and x in turn, then along z.
    times = {8: (1, 1, 2), 16: (1, 2, 2), 32: (1, 2, 4), 128: (2, 4, 4), 256: (2, 4, 8)}
    image = create_image(Path(root) / "stack.zarr")
    pixels = Repeated(pattern(), times[int(mvoxel)])
    image.write(pixels, axes="zyx", spacing=SPACING)
    return {}


def segment_store(root: str, model: str, workers: str, scheduler: str) -> dict[str, float]:
    """A whole run, from nothing."""
    from poolvox.shared.engine import Options

    shutil.rmtree(Path(root) / "journal", ignore_errors=True)
    shutil.rmtree(Path(root) / "work", ignore_errors=True)
    # A worker has a thread for every core there is: one core for each, or they compare unlike.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(workers)])
    options = Options(workers=int(workers), scheduler=scheduler)
    cpu = [cpu_seconds()]
    frame, seconds = run(root, model, options, ("frame",)), time.perf_counter()
    cpu.append(cpu_seconds())
    run(root, model, options, ("windows",))
    windows = time.perf_counter() - seconds
    cpu.append(cpu_seconds())
    summary = run(root, model, options, ())
    cpu.append(cpu_seconds())
    if frame.failed or summary.failed:
        raise SystemExit(str(summary.failed))
    parts = dict(zip(("cpu_frame", "cpu_windows", "cpu_labels"), np.diff(cpu).tolist()))
    return {"windows": windows, "cpu": cpu[-1] - cpu[0], **parts, **labels_of(root)}


def resume_store(root: str, model: str) -> dict[str, float]:
    """The same after some of its files were lost."""
    from poolvox.shared.engine import Options

    for path in sorted((Path(root) / "work" / "windows").iterdir())[::2]:
        path.unlink()
    summary = run(root, model, Options(workers=1), ())
    return {"reused": len(summary.reused), **labels_of(root)}


def large_store(root: str, model: str) -> dict[str, float]:
    """Plan 2 Gvoxel and do the first windows."""
    from poolvox.organoid3d.volumes import Volume, plan_volume
    from poolvox.shared.engine import Options, run_plan
    from poolvox.shared.store.images import create_image

    image = create_image(Path(root) / "stack.zarr")
    target = image.create(LARGE, np.uint8, axes="zyx", spacing=SPACING)
    block = Repeated(pattern(), (8, 8, 8))
    unit = target.unit
    # The rest stays empty; reading it costs as much.
    for k in range(2):
        start = k * unit[2]
        part = tuple(slice(a, a + n) for a, n in zip((0, 0, start), unit))
        target.write_region(block[part], (0, 0, start))
    target.finish()
    volume = Volume(image.path, Path(root) / "work", model=model, scale=1.0, window=WINDOW)
    start = time.process_time()
    units = plan_volume(volume)
    planned = time.process_time() - start
    firsts = [unit for unit in units if unit.step == "frame"]
    firsts += [unit for unit in units if unit.step == "windows"][:2]
    summary = run_plan(firsts, Path(root), options=Options(workers=1))
    return {
        "mvoxel": float(np.prod(LARGE)) / 1e6,
        "units": len(units),
        "plan": planned,
        "done": len(summary.done) - 1,
    }


class Repeated:
    """An array that repeats a pattern, made as it is read."""

    def __init__(self, pattern: np.ndarray, times: tuple[int, int, int]) -> None:
        self._pattern = pattern
        self.shape = tuple(n * t for n, t in zip(pattern.shape, times))
        self.dtype = pattern.dtype
        self.ndim = 3

    def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray:
        places = [
            np.arange(*part.indices(n)) % m
            for part, n, m in zip(region, self.shape, self._pattern.shape)
        ]
        return self._pattern[np.ix_(*places)]


def pattern() -> np.ndarray:
    """Soft balls of 10 voxels, 5 planes tall, in a jittered lattice: 196 in 4 Mvoxel."""
    rng = np.random.default_rng(0)
    image = np.zeros(PATTERN, np.float32)
    grid = np.indices((9, 17, 17)) - np.reshape([4, 8, 8], (3, 1, 1, 1))
    ball = np.exp(-((np.linalg.norm(grid * np.reshape([2, 1, 1], (3, 1, 1, 1)), axis=0) / 5) ** 4))
    for z in range(4, PATTERN[0] - 8, 15):
        for y in range(4, PATTERN[1] - 20, 36):
            for x in range(4, PATTERN[2] - 20, 36):
                a, b, c = np.array([z, y, x]) + rng.integers(-2, 3, 3)
                a, b, c = max(a, 0), max(b, 0), max(c, 0)
                part = image[a : a + 9, b : b + 17, c : c + 17]
                cut = ball[: part.shape[0], : part.shape[1], : part.shape[2]]
                np.maximum(part, rng.uniform(0.6, 1) * cut, out=part)
    noisy = 20 + 200 * image + rng.normal(0, 3, PATTERN)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def run(root: str, model: str, options, steps: tuple[str, ...]):
    from dataclasses import replace

    from poolvox.organoid3d.volumes import Volume, plan_volume
    from poolvox.shared.engine import run_plan

    volume = Volume(
        Path(root) / "stack.zarr", Path(root) / "work", model=model, scale=1.0, window=WINDOW
    )
    return run_plan(plan_volume(volume), Path(root), options=replace(options, steps=steps))


def labels_of(root: str) -> dict[str, float]:
    """Number of labels, and a sum that tells one label image from another."""
    from poolvox.shared.store.images import open_image

    array = open_image(Path(root) / "stack.zarr").labels("nuclei").data
    total, most = 0, 0
    for number in range(array.numblocks[0]):
        part = np.asarray(array.blocks[number]).astype(np.uint64).ravel()
        weights = np.arange(1, part.size + 1, dtype=np.uint64) * np.uint64(2 * number + 1)
        total = (total + int((part * weights).sum(dtype=np.uint64))) % 2**52
        most = max(most, int(part.max()))
    return {"sum": total, "nuclei": most}


def cpu_seconds() -> float:
    """Of this process and of those it waited for."""
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


CHILDREN = {f.__name__: f for f in (make_store, segment_store, resume_store, large_store)}

if __name__ == "__main__":
    told = CHILDREN[sys.argv[1]](*sys.argv[2:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    print(json.dumps({**told, "mib": peak}))
