"""A tiny plan of real units: tiles -> a store and a table each -> one table over all."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from poolvox.shared.engine import Unit

SIZE = 256


def write_raw(folder: Path, tiles: Sequence[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for tile in tiles:
        np.random.default_rng(tile).integers(0, 1000, (SIZE, SIZE), np.uint16).tofile(
            folder / f"{tile}.raw"
        )


def log_call(output: Path, name: str) -> None:
    """One line per call, appended whole, so that calls can be counted across processes."""
    with open(output.parent / "calls.txt", "a") as file:
        file.write(name + "\n")


def calls(output: Path) -> list[str]:
    path = output.parent / "calls.txt"
    names = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(names)


def align(raw: Path, output: Path, tile: int, gain: float, pause: float = 0.0) -> Mapping[str, Any]:
    log_call(output, f"align/{tile}")
    image = np.fromfile(raw / f"{tile}.raw", np.uint16).reshape(SIZE, SIZE)
    store = output / f"images.zarr/{tile}"
    array = zarr.create_array(store, shape=image.shape, chunks=(32, 32), dtype="f4")
    for y in range(0, SIZE, 32):
        array[y : y + 32] = image[y : y + 32] * gain
        time.sleep(pause)
    return {"mean": float(image.mean())}


def measure(output: Path, tile: int, threshold: float) -> Mapping[str, Any]:
    log_call(output, f"measure/{tile}")
    image = zarr.open_array(output / f"images.zarr/{tile}", mode="r")[:]
    y, x = np.nonzero(image > threshold)
    path = output / f"tables/parts/{tile}.parquet"
    pd.DataFrame({"Metadata_Tile": tile, "y": y, "x": x}).to_parquet(path)
    return {"spots": np.int64(y.size)}


def gather(output: Path, tiles: Sequence[int]) -> Mapping[str, Any]:
    log_call(output, "gather")
    parts = [output / f"tables/parts/{tile}.parquet" for tile in tiles]
    frames = [pd.read_parquet(part) for part in parts if part.exists()]
    pd.concat(frames).to_parquet(output / "tables/spots.parquet")
    return {"tiles": len(frames)}


def plan(
    raw: Path,
    output: Path,
    tiles: Sequence[int] = (0, 1, 2),
    *,
    gain: float = 2.0,
    threshold: float = 1900.0,
    pause: float = 0.0,
    swap: Mapping[str, Any] | None = None,
) -> list[Unit]:
    """Lay out the plan; `swap` puts other calls in the place of those of the named units."""
    units = []
    for tile in tiles:
        where = {"plate": "P1", "well": f"A{tile // 2 + 1}", "tile": str(tile)}
        units.append(
            Unit(
                f"align/{tile}",
                "align",
                partial(align, raw, output, tile, gain, pause),
                {"gain": gain},
                (raw / f"{tile}.raw",),
                outputs=(output / f"images.zarr/{tile}",),
                where=where,
            )
        )
        units.append(
            Unit(
                f"measure/{tile}",
                "measure",
                partial(measure, output, tile, threshold),
                {"threshold": threshold},
                needs=(f"align/{tile}",),
                outputs=(output / f"tables/parts/{tile}.parquet",),
                where=where,
            )
        )
    units.append(
        Unit(
            "gather",
            "gather",
            partial(gather, output, tiles),
            needs=tuple(f"measure/{tile}" for tile in tiles),
            outputs=(output / "tables/spots.parquet",),
            where={"plate": "P1"},
            tolerant=True,
        )
    )
    return [
        replace_call(unit, swap[unit.key]) if swap and unit.key in swap else unit for unit in units
    ]


def replace_call(unit: Unit, call: Any) -> Unit:
    from dataclasses import replace

    return replace(unit, call=call)


def contents(output: Path) -> dict[str, bytes]:
    """Every file of the results, without journal and provenance."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and "journal" not in path.parts and path.name != "run.json"
    }


def die_once(mark: Path, call: Any) -> Any:
    """Kill the own process in the first call, after half a file was written."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return call()


def die(mark: Path) -> None:
    with open(mark, "a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def observe_threads(output: Path, name: str) -> Mapping[str, Any]:
    """What the libraries in this worker may use, after one more was loaded."""
    np.ones((4, 4)) @ np.ones((4, 4))
    from threadpoolctl import threadpool_info

    facts = {"pools": [pool["num_threads"] for pool in threadpool_info()]}
    facts["variable"] = os.environ.get("TF_NUM_INTRAOP_THREADS")
    (output / name).write_text(json.dumps(facts))
    return facts


def hold_memory(folder: Path, name: str, size: int) -> None:
    """Write the sum of what runs side by side, as seen from files."""
    (folder / f"{name}.{size}").touch()
    time.sleep(0.03)
    total = sum(int(path.suffix[1:]) for path in folder.glob("*.*"))
    with open(folder / "seen", "a") as file:
        file.write(f"{total}\n")
    time.sleep(0.03)
    (folder / f"{name}.{size}").unlink()


def tell_process() -> Mapping[str, Any]:
    return {"process": os.getpid()}
