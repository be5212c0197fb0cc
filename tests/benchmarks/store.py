"""Cost of writing a large image with its pyramid: poolvox, ome-zarr and ngio, in one run.

    python -m tests.benchmarks.store                # 2 GiB of uint16, 4 levels above level 0
    python -m tests.benchmarks.store --size 128     # MiB; quick

All read the same zarr array from disk, lazily, and write NGFF 0.5 with chunks of 512 and shards of
2048 pixels, each with its own codec and its own way of halving (`--same-codec`: ours for all).
Each runs in a process of its own; counted are the CPU seconds after its imports, and the peak of
its memory above what the imports took. Seconds depend on the machine: compare the ratios.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

CHUNKS, SHARDS = (1, 512, 512), (1, 2048, 2048)
LEVELS_ABOVE = 4
CHANNELS = 4
MIB = 2**20

# The targets that the project set itself.
MOST_OF = {"ome-zarr": 0.35, "ngio": 0.6}
MOST_MEMORY = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2048, help="MiB of the large image")
    parser.add_argument("--same-codec", action="store_true", help="our codec for all writers")
    parser.add_argument("--dir", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, source, target = options.child
        print(json.dumps(measure(name, Path(source), Path(target), options.same_codec)))
        return
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        compare(Path(folder), options.size, options.same_codec)


def compare(folder: Path, size: int, same_codec: bool) -> None:
    names = ("poolvox", "ome-zarr", "ngio", "zarr", "dask", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"Python {platform.python_version()}, {versions}")
    source = folder / "source.zarr"
    shape = make_source(source, size)
    print(f"{shape} uint16, {np.prod(shape) * 2 / MIB:.0f} MiB, {LEVELS_ABOVE} levels above it")
    print(f"{'writer':12}{'CPU s':>8}{'peak MB':>9}{'disk MB':>9}{'ours/it':>9}{'target':>8}")
    results = {name: run(name, source, folder, same_codec) for name in WRITERS}
    ours = results["poolvox"]
    for name, result in results.items():
        ratio = ours["cpu"] / result["cpu"]
        target = f"{MOST_OF[name]:.2f}" if name in MOST_OF else ""
        print(row(name, result) + f"{ratio:9.2f}{target:>8}")
    small = folder / "small.zarr"
    make_source(small, max(1, size // 4))
    quarter = run("poolvox", small, folder, same_codec)
    print(row("a quarter", quarter) + f"   (memory must not grow; at most {MOST_MEMORY} MB)")
    missed = [n for n, most in MOST_OF.items() if ours["cpu"] > most * results[n]["cpu"]]
    if ours["peak"] > MOST_MEMORY:
        missed.append("memory")
    print(f"missed: {', '.join(missed)}" if missed else "all targets met")


def row(name: str, result: dict[str, float]) -> str:
    return f"{name:12}{result['cpu']:8.1f}{result['peak']:9.0f}{result['disk']:9.0f}"


def make_source(path: Path, size: int) -> tuple[int, int, int]:
    """Fields as a microscope gives them: smooth structure, shot noise, camera offset."""
    import zarr
    from zarr.codecs import BloscCodec

    side = int((size * MIB / 2 / CHANNELS) ** 0.5) // 512 * 512
    shape = (CHANNELS, max(512, side), max(512, side))
    shards = (1, *(min(2048, -(-n // 512) * 512) for n in shape[1:]))
    codec = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")
    array = zarr.create_array(
        path, shape=shape, dtype="uint16", chunks=CHUNKS, shards=shards, compressors=codec
    )
    rng = np.random.default_rng(0)
    blobs = np.kron(rng.gamma(2.0, 300.0, (32, 32)), np.ones((64, 64)))
    block = (rng.poisson(blobs) + rng.normal(105, 5, blobs.shape)).clip(0).astype("uint16")
    for c in range(shape[0]):
        for y in range(0, shape[1], 2048):
            for x in range(0, shape[2], 2048):
                turned = np.roll(block, (37 * (y // 2048 + c), 91 * (x // 2048)), (0, 1))
                array[c, y : y + 2048, x : x + 2048] = turned[: shape[1] - y, : shape[2] - x]
    return shape


def run(name: str, source: Path, folder: Path, same_codec: bool) -> dict[str, float]:
    target = folder / f"{name}-{source.stem}.zarr"
    command = [sys.executable, "-m", "tests.benchmarks.store", "--child", name]
    command += [str(source), str(target), *(["--same-codec"] if same_codec else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    result["disk"] = sum(f.stat().st_size for f in target.rglob("*") if f.is_file()) / 1e6
    subprocess.run(["rm", "-r", str(target)], check=True)
    return result


def measure(name: str, source: Path, target: Path, same_codec: bool) -> dict[str, float]:
    warnings.simplefilter("ignore")  # of the peers; they are not what is measured
    write = WRITERS[name](source, target, same_codec)
    cpu, memory = cpu_seconds(), resident("VmRSS")
    write()
    return {"cpu": cpu_seconds() - cpu, "peak": (resident("VmHWM") - memory) / 1e3}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident(field: str) -> float:
    """Resident memory of this process, kB; on Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field)))


def our_codec():
    from zarr.codecs import BloscCodec

    from poolvox.shared.store.units import CODEC, CODEC_LEVEL

    return BloscCodec(cname=CODEC, clevel=CODEC_LEVEL, shuffle="bitshuffle", typesize=2)


def poolvox_writer(source: Path, target: Path, same_codec: bool):
    import zarr

    from poolvox.shared.store import create_image

    image = create_image(target)
    array = zarr.open_array(source, mode="r")
    spacing = {"y": 0.65, "x": 0.65}
    return lambda: image.write(array, axes="cyx", spacing=spacing, levels=LEVELS_ABOVE + 1)


def ome_zarr_writer(source: Path, target: Path, same_codec: bool):
    import dask.array as da
    from ome_zarr.writer import write_image

    image = da.from_zarr(str(source), chunks=SHARDS)
    factors = [{"y": 2**i, "x": 2**i} for i in range(1, LEVELS_ABOVE + 1)]
    storage = {"chunks": CHUNKS, "shards": SHARDS}
    storage |= {"compressors": our_codec()} if same_codec else {}
    return lambda: write_image(
        image, str(target), scale_factors=factors, axes="cyx", storage_options=storage
    )


def ngio_writer(source: Path, target: Path, same_codec: bool):
    import dask.array as da
    from ngio import create_empty_ome_zarr

    image = da.from_zarr(str(source), chunks=SHARDS)
    codec = {"compressors": our_codec()} if same_codec else {}

    def write() -> None:
        container = create_empty_ome_zarr(
            str(target),
            shape=image.shape,
            pixelsize=0.65,
            levels=LEVELS_ABOVE + 1,
            axes_names=["c", "y", "x"],
            ngff_version="0.5",
            chunks=CHUNKS,
            shards=SHARDS,
            dtype="uint16",
            **codec,
        )
        level = container.get_image(path="0")
        level.set_array(image)
        level.consolidate()

    return write


WRITERS = {"poolvox": poolvox_writer, "ome-zarr": ome_zarr_writer, "ngio": ngio_writer}


if __name__ == "__main__":
    main()
