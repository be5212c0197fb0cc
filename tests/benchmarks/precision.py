"""Average precision against copairs, and at the size of a screen: CPU time and memory of one run.

    python -m tests.benchmarks.precision [--quick]

Every measurement is a process of its own on one thread. Memory is what is added to what the
process held when packages were loaded, kernels compiled and the profiles made. Ours gives p-values
as well, which copairs' average precision does not. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

MIB = 2**20
GIB_MB = 1024
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
REPLICATES = 6


@dataclass(frozen=True)
class Result:
    """A number that was asked to be at most `target`."""

    name: str
    value: float
    target: float
    note: str = ""

    @property
    def missed(self) -> bool:
        return not self.value <= self.target

    def __str__(self) -> str:
        verdict = "MISSED" if self.missed else "ok"
        return (
            f"{self.name:<58} {self.value:>9.3g}  (at most {self.target:g}: {verdict}) {self.note}"
        )


def profiles(count: int, features: int) -> pd.DataFrame:
    """Groups of six; every third has something in common."""
    rng = np.random.default_rng(0)
    group = np.arange(count) // REPLICATES
    common = rng.standard_normal((group.max() + 1, features))
    common[np.arange(len(common)) % 3 > 0] = 0
    values = rng.standard_normal((count, features)) + 0.5 * common[group]
    frame = pd.DataFrame(values.astype(np.float32), columns=[f"F{k}" for k in range(features)])
    return frame.assign(Metadata_Gene=group.astype(str))


def ours(frame: pd.DataFrame) -> np.ndarray:
    from poolvox.shared.profiles.compare.pairs import Pairs
    from poolvox.shared.profiles.compare.precision import average_precision

    return average_precision(frame, Pairs("Metadata_Gene"))["Map_Precision"].to_numpy()


def of_copairs(frame: pd.DataFrame) -> np.ndarray:
    from copairs.map import average_precision

    found = average_precision(
        frame[["Metadata_Gene"]],
        frame.drop(columns="Metadata_Gene").to_numpy(),
        pos_sameby=["Metadata_Gene"],
        pos_diffby=[],
        neg_sameby=[],
        neg_diffby=["Metadata_Gene"],
        progress_bar=False,
    )
    return found["average_precision"].to_numpy()


def mean_ours(frame: pd.DataFrame) -> np.ndarray:
    from poolvox.shared.profiles.compare.precision import mean_average_precision

    return mean_average_precision(frame, by="Metadata_Gene")["Map_Score"].to_numpy()


CHILDREN = {"ours": ours, "copairs": of_copairs, "mean": mean_ours}


def child(which: str, count: int, features: int, path: str) -> None:
    work = CHILDREN[which]
    work(profiles(120, 5))
    frame = profiles(count, features)
    before, start = _held_mb(), time.process_time()
    found = work(frame)
    cpu = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    np.save(path, found)
    print(json.dumps({"cpu": cpu, "added_mb": max(peak - before, 1.0), "peak_mb": peak}))


def measured(which: str, count: int, features: int, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.precision", "--child", which]
    command += [str(count), str(features), str(path)]
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{which} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def average_precision_section(*, quick: bool = False) -> list[Result]:
    """Against copairs; then the time and memory of 100,000 profiles."""
    count, features = (1200, 40) if quick else (6000, 100)
    large = 12_000 if quick else 100_000
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.npy" for name in CHILDREN]
        mine = measured("ours", count, features, paths[0])
        theirs = measured("copairs", count, features, paths[1])
        differ = float(np.abs(np.load(paths[0]) - np.load(paths[1])).max())
        screen = measured("mean", large, features, paths[2])
    size = f"{count} x {features}"
    note = f"{mine['cpu']:.2f} against {theirs['cpu']:.2f} CPU s"
    memory = f"{mine['added_mb']:.0f} against {theirs['added_mb']:.0f} MB"
    return [
        Result(
            f"average precision {size}, time over copairs'", mine["cpu"] / theirs["cpu"], 0.1, note
        ),
        Result(
            f"average precision {size}, memory over copairs'",
            mine["added_mb"] / theirs["added_mb"],
            0.2,
            memory,
        ),
        Result(f"average precision {size}, largest difference", differ, 1e-4),
        Result(
            f"mAP with p-values of {large} x {features}, peak in GiB",
            screen["peak_mb"] / GIB_MB,
            8,
            f"{screen['cpu']:.0f} CPU s",
        ),
    ]


def _held_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes; ratios mean little")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        which, count, features, path = given.child
        child(which, int(count), int(features), path)
        return 0
    results = average_precision_section(quick=given.quick)
    for result in results:
        print(result)
    return int(any(result.missed for result in results))


if __name__ == "__main__":
    sys.exit(main())
