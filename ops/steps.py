"""The units of a run: what is done to a tile, to a well, and to the plate.

Each function is called by the engine, perhaps in another process, with nothing but small things;
it reads and writes files below the run's folder and hands back a few facts for the report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.align import Alignment, AlignSettings, align_tile, aligned
from poolvox.ops.cells import call_cells, near_cells, set_calls
from poolvox.ops.chemistry import Chemistry
from poolvox.ops.config import OpsConfig
from poolvox.ops.decode import (
    Codebook,
    decode_reads,
    find_strangers,
    fit_error_model,
    q_values,
    reads_frame,
)
from poolvox.ops.decoys import make_decoys
from poolvox.ops.library import Library, LibrarySpec, load_library
from poolvox.ops.orient import ChannelOrder, explain_no_match, find_channel_order
from poolvox.ops.parts import Signal, TileReads, load_reads, load_signal, save_reads
from poolvox.ops.published import call_published, spots_published
from poolvox.ops.qc import inspect_tile
from poolvox.ops.segment import SegmentSettings, segment_cells, segment_nuclei
from poolvox.ops.signal import apply_corrections, estimate_corrections
from poolvox.ops.spots import check_images, find_spots, sample_bases
from poolvox.ops.words import pack
from poolvox.shared.errors import InputError
from poolvox.shared.features import find_objects
from poolvox.shared.ingest import Manifest, TileKey
from poolvox.shared.store import create_plate, read_table, write_table

__all__ = ["Folder", "Optics", "call_plate", "decode_tile", "estimate_signal", "image_tile"]

# Cells reach this part of a nucleus's diameter beyond it, where nothing else is asked for.
GROW = 0.4
# Tiles and reads that the corrections of a plate or well rest on.
SAMPLE_TILES = 48
SAMPLE_READS = 8000
# Where fewer reads than this share match the library exactly, the reason is looked for.
FEW_MAPPED = 0.2


@dataclass(frozen=True, slots=True)
class Optics:
    """How the channels of an image are used: places of bases and nuclei, names, pixel size (um).

    With `find_order` the chemistry is in some order of the channels, and the library tells which.
    """

    channels: tuple[str, ...]
    bases: tuple[int, ...]
    nuclear: int | None
    chemistry: Chemistry
    spacing: tuple[float, float]
    find_order: bool = False


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files of a run lie."""

    root: Path

    @property
    def plate(self) -> Path:
        """Aligned images and labels."""
        return self.root / "sbs.zarr"

    def reads(self, tile: str) -> Path:
        """Light of the reads of a tile."""
        return self.root / "parts" / "images" / f"{tile}.npz"

    def planes(self, tile: str) -> Path:
        """Alignment of the planes of a tile."""
        return self.root / "parts" / "images" / f"{tile}.parquet"

    def signal(self, place: str) -> Path:
        """Corrections of a well or the plate."""
        return self.root / "parts" / "signal" / f"{place}.json"

    def called(self, tile: str, kind: str) -> Path:
        """Reads or cells of a tile, before the q-values of the plate."""
        return self.root / "parts" / kind / f"{tile}.parquet"

    def table(self, name: str) -> Path:
        """A table of the whole run."""
        return self.root / "tables" / f"{name}.parquet"


def image_tile(
    folder: Folder, manifest: Manifest, tile: TileKey, config: OpsConfig, optics: Optics
) -> dict[str, Any]:
    """Align a tile, find its reads, nuclei and cells, and measure the light of the reads."""
    images = _tile_images(manifest, tile)
    check_images(images)
    looks = inspect_tile(images, bases=optics.bases, nuclear=optics.nuclear)
    alignment = align_tile(
        images,
        bases=optics.bases,
        nuclear=optics.nuclear,
        settings=AlignSettings(
            max_shift=config.align.max_shift, max_residual=config.align.max_residual
        ),
    )
    nuclei, reason = _segment(images, config, optics)
    cells, cell_reason = nuclei, reason
    if nuclei.any():
        cells = segment_cells(nuclei, _reach(nuclei, config, optics))
    if config.decode.method == "classic":
        spots, bases = spots_published(images, alignment.transforms, optics.bases)
    else:
        spots = find_spots(images, alignment.transforms, optics.bases)
        bases = sample_bases(images, alignment.transforms, spots, optics.bases)
    near = near_cells(cells, spots["y"].to_numpy(), spots["x"].to_numpy())
    objects = find_objects(nuclei, spacing=1.0)
    y, x, peak, snr = (spots[name].to_numpy(np.float32) for name in ("y", "x", "peak", "snr"))
    reads = TileReads(
        y=y,
        x=x,
        peak=peak,
        snr=snr,
        intensity=bases.intensity,
        noise=bases.noise,
        near=near.cells,
        distance=near.distance,
        cells=near.labels,
        centres=objects.centroids,
        room=near.room,
        area=np.array([near.area]),
    )
    save_reads(reads, folder.reads(str(tile)))
    _write_planes(folder, tile, alignment)
    _write_images(folder, tile, config, optics, images, alignment, nuclei, cells)
    return {
        "reads": len(spots),
        "cells": len(near.labels),
        "residual_px": _finite(alignment.table["residual"].max()),
        "warnings": [
            *(f"cycle {t}: {text}" for t, text in zip(looks["cycle"], looks["reason"]) if text),
            *(text for text in (alignment.reason, cell_reason) if text),
        ],
    }


def estimate_signal(
    folder: Folder, tiles: Sequence[str], place: str, config: OpsConfig, optics: Optics
) -> dict[str, Any]:
    """Estimate what stands between light and bases, on the plate (`place` "plate") or a well."""
    sample = _sample(folder, tiles, np.random.default_rng([config.decode.seed, 1]))
    if sample is None:
        raise InputError("no tile has reads: see the reasons of the failed tiles, and the images")
    light, noise = sample
    rng = np.random.default_rng([config.decode.seed, 2])
    plate = None if place == "plate" else load_signal(folder.signal("plate"))
    chemistry = optics.chemistry if plate is None else plate.chemistry
    fallback = None if plate is None else plate.corrections
    corrections = estimate_corrections(
        light, chemistry, rng=rng, noise=noise, fallback=fallback, source=place
    )
    loglik = apply_corrections(light, corrections, noise=noise).loglik
    library = load_codebook(config, light.shape[1])[0]
    if plate is None:
        order = ""
        if optics.find_order:
            found = _find_order(loglik, chemistry, library, rng)
            order, chemistry = str(found), found.chemistry
            corrections = estimate_corrections(light, chemistry, rng=rng, noise=noise, source=place)
            loglik = apply_corrections(light, corrections, noise=noise).loglik
        if _exact(loglik, library) < FEW_MAPPED:
            _refuse_no_match(loglik, library, rng)
        strangers = find_strangers(loglik, library)
    else:
        order, strangers = plate.order, plate.strangers
    codebook = load_codebook(config, light.shape[1], strangers)[1]
    model = fit_error_model(loglik, codebook, rng=rng)
    path = folder.signal(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    signal = Signal(corrections, model, chemistry, strangers, order)
    path.write_text(signal.to_json(), encoding="utf-8")
    return {
        "reads": len(light),
        "source": corrections.source,
        "phasing": corrections.phasing,
        "prephasing": corrections.prephasing,
        "mapped": model.mapped,
        "strangers": strangers["sequence"].tolist(),
        "order": order,
    }


def decode_tile(
    folder: Folder, tile: TileKey, config: OpsConfig, spacing: tuple[float, float]
) -> dict[str, Any]:
    """Decode the reads of a tile and call its cells."""
    name = str(tile)
    reads = load_reads(folder.reads(name))
    signal = load_signal(folder.signal(f"{tile.plate}-{tile.well}"))
    library, codebook = load_codebook(config, reads.intensity.shape[1], signal.strangers)
    shares: dict[str, Any] = {}
    if config.decode.method == "classic":
        called, cells = call_published(reads, signal.chemistry, library, codebook)
    else:
        signals = apply_corrections(reads.intensity, signal.corrections, noise=reads.relative_noise)
        calls = decode_reads(signals.loglik, codebook, signal.errors)
        cells, found = call_cells(calls, reads.neighbours, codebook, library, signal.errors)
        called = reads_frame(calls, signals.loglik, codebook, signal.errors)
        shares = {"untransduced": found.untransduced, "doublets": found.doublets}
    places = {"Metadata_Y": reads.y, "Metadata_X": reads.x, "Metadata_Label": reads.labels}
    frame = pd.DataFrame(places | {"Read_Peak": reads.peak, "Read_SNR": reads.snr}).join(called)
    write_table(_keyed(frame, tile), folder.called(name, "reads"))
    for axis, place, scale in zip("YX", reads.centres.T, spacing, strict=True):
        cells[f"Metadata_{axis}"], cells[f"Metadata_{axis}_um"] = place, place * scale
    write_table(_keyed(cells, tile), folder.called(name, "cells"))
    mapped = int((frame["Read_Barcode"] != "").sum())
    return {"reads": len(frame), "mapped": mapped, "cells": len(cells), **shares}


def call_plate(
    folder: Folder, tiles: Sequence[TileKey], config: OpsConfig, cycles: int
) -> dict[str, Any]:
    """Give reads and cells the q-values of the whole plate, and write the tables."""
    reads = _together(folder, tiles, "reads")
    strangers = load_signal(folder.signal("plate")).strangers
    library, codebook = load_codebook(config, cycles, strangers)
    cells = _together(folder, tiles, "cells")
    if config.decode.method != "classic":
        score, decoy = reads.pop("Read_Score").to_numpy(), reads["Read_Decoy"].to_numpy()
        reads["Read_QValue"] = q_values(score, decoy, ratio=codebook.ratio)
        cells = set_calls(cells, library, fdr=config.decode.fdr, ratio=codebook.ratio)
    write_table(reads, folder.table("reads"))
    write_table(cells, folder.table("cells"))
    inside = reads["Metadata_Label"] > 0
    mapped = (reads["Read_Barcode"] != "") & inside
    called = cells["Metadata_Barcode"] != ""
    return {
        "reads": len(reads),
        "reads_in_cells": int(inside.sum()),
        "mapped_in_cells": int(mapped.sum()),
        "cells": len(cells),
        "called": int(called.sum()),
        "guides": int(cells.loc[called, "Metadata_Guide"].nunique()),
    }


@lru_cache(maxsize=4)
def _codebook(library: str, cycles: int, seed: int, strangers: str) -> tuple[Library, Codebook]:
    found = load_library(LibrarySpec.model_validate_json(library), cycles)
    decoys = make_decoys(found, np.random.default_rng([seed, 0]))
    odd = pd.DataFrame(json.loads(strangers)) if strangers else None
    return found, Codebook.make(found, decoys, odd)


def load_codebook(
    config: OpsConfig, cycles: int, strangers: pd.DataFrame | None = None
) -> tuple[Library, Codebook]:
    """The library cut to the cycles, and its words with decoys; made once per process."""
    odd = "" if strangers is None else json.dumps(strangers.to_dict("list"))
    return _codebook(config.library.model_dump_json(), cycles, config.decode.seed, odd)


def _tile_images(manifest: Manifest, tile: TileKey) -> NDArray[Any]:
    """Pixels (cycle, channel, Y, X); the brightest of each place where there are planes in z."""
    images = manifest.read(tile)
    axes = manifest.axes
    if "z" in axes:
        images, axes = images.max(axis=axes.index("z")), axes.replace("z", "")
    if "t" not in axes:
        images = images[None]
    return images.astype(np.uint16) if images.dtype == np.uint8 else images


def _segment(
    images: NDArray[np.uint16], config: OpsConfig, optics: Optics
) -> tuple[NDArray[np.int32], str]:
    if optics.nuclear is None:
        return np.zeros(images.shape[2:], np.int32), ""
    diameter = config.segment.diameter
    settings = SegmentSettings(diameter=diameter / optics.spacing[0] if diameter else None)
    found = segment_nuclei(images[0, optics.nuclear], settings)
    return found.nuclei, found.reason


def _reach(nuclei: NDArray[np.int32], config: OpsConfig, optics: Optics) -> float:
    if config.segment.grow is not None:
        return config.segment.grow / optics.spacing[0]
    areas = np.bincount(nuclei.ravel())[1:]
    return GROW * 2 * float(np.sqrt(np.median(areas) / np.pi))


def _write_planes(folder: Folder, tile: TileKey, alignment: Alignment) -> None:
    names = {n: "Align_" + str(n).title().replace("_", "") for n in alignment.table}
    write_table(_keyed(alignment.table.rename(columns=names), tile), folder.planes(str(tile)))


def _write_images(
    folder: Folder,
    tile: TileKey,
    config: OpsConfig,
    optics: Optics,
    images: NDArray[np.uint16],
    alignment: Alignment,
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
) -> None:
    plate = create_plate(
        folder.plate, {tile.well: [tile.field]}, name=tile.plate, ngff=config.store.ngff
    )
    field = plate[tile.well][tile.field]
    spacing = dict(zip("yx", optics.spacing, strict=True))
    if config.store.images == "aligned":
        stack = aligned(images, alignment.transforms)
        field.write(stack, axes="tcyx", spacing=spacing, channels=optics.channels)
    elif optics.nuclear is not None:
        # Labels need an image to lie on: the nuclei they were found in.
        plane, names = images[0, optics.nuclear], [optics.channels[optics.nuclear]]
        field.write(plane[None], axes="cyx", spacing=spacing, channels=names)
    else:
        return
    field.write_labels("nuclei", nuclei)
    field.write_labels("cells", cells)


def _find_order(
    loglik: NDArray[np.float32], chemistry: Chemistry, library: Library, rng: np.random.Generator
) -> ChannelOrder:
    found = find_channel_order(loglik, chemistry, library, rng=rng)
    if not found.confirmed:
        reason, _ = explain_no_match(loglik, library, rng=rng)
        raise InputError(f"the order of the channels could not be found ({found}); {reason}")
    return found


def _exact(loglik: NDArray[np.float32], library: Library) -> float:
    """Share of reads that show a word of the library, letter by letter."""
    called = loglik.argmax(axis=2).astype(np.uint8)
    return float(np.isin(pack(called), pack(library.codes)).mean())


def _refuse_no_match(
    loglik: NDArray[np.float32], library: Library, rng: np.random.Generator
) -> None:
    """Stop before every tile is decoded in vain; few reads that do match are no mistake."""
    reason, trials = explain_no_match(loglik, library, rng=rng)
    if trials["trial"].iloc[0] != "as given" or not trials["stands_out"].iloc[0]:
        raise InputError(f"no more reads match the library than by chance; {reason}")


def _sample(
    folder: Folder, tiles: Sequence[str], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Light and relative noise of reads from tiles spread evenly over those that are there."""
    there = [tile for tile in tiles if folder.reads(tile).exists()]
    steps = np.linspace(0, max(len(there) - 1, 0), min(SAMPLE_TILES, len(there)))
    lights, noises = [], []
    for k in np.unique(np.round(steps).astype(int)):
        reads = load_reads(folder.reads(there[k]))
        lights.append(reads.intensity)
        noises.append(reads.relative_noise)
    if not lights or not sum(map(len, lights)):
        return None
    light, noise = np.concatenate(lights), np.concatenate(noises)
    if len(light) > SAMPLE_READS:
        chosen = np.sort(rng.choice(len(light), SAMPLE_READS, replace=False))
        light, noise = light[chosen], noise[chosen]
    return light, noise


def _together(folder: Folder, tiles: Sequence[TileKey], kind: str) -> pd.DataFrame:
    paths = [folder.called(str(tile), kind) for tile in tiles]
    tables = [read_table(path) for path in paths if path.exists()]
    if not tables:
        raise InputError("no tile could be decoded: see the reasons of the failed tiles")
    return pd.concat(tables, ignore_index=True)


def _keyed(frame: pd.DataFrame, tile: TileKey) -> pd.DataFrame:
    keys: Mapping[str, str] = {
        "Metadata_Plate": tile.plate,
        "Metadata_Well": tile.well,
        "Metadata_Tile": tile.tile,
    }
    for place, (name, value) in enumerate(keys.items()):
        frame.insert(place, name, value)
    return frame


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
