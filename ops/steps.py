"""What is done to the images of a tile: align, find and measure the reads, segment, store.

Called by the engine, perhaps in another process, with nothing but small things; it reads and writes
files below the run's folder and hands back a few facts for the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.ops.align import AlignedPlanes, Alignment, AlignSettings, align_tile
from poolvox.ops.cells import near_cells
from poolvox.ops.chemistry import Chemistry
from poolvox.ops.config import OpsConfig
from poolvox.ops.counts import as_counts
from poolvox.ops.folder import Folder, keyed
from poolvox.ops.parts import TileReads, save_reads
from poolvox.ops.published import spots_published
from poolvox.ops.qc import inspect_tile
from poolvox.ops.segment import SegmentSettings, segment_cells, segment_nuclei
from poolvox.ops.spots import check_images, find_spots, sample_bases
from poolvox.shared.features import find_objects
from poolvox.shared.imaging.scratch import Scratch
from poolvox.shared.ingest import Manifest, TileKey
from poolvox.shared.store import create_plate, write_table

__all__ = ["Optics", "image_tile"]

# Pixels of the tile that a worker has in its hands.
STACK = Scratch()
# Cells reach this part of a nucleus's diameter beyond it, where nothing else is asked for.
GROW = 0.4


@dataclass(frozen=True, slots=True)
class Optics:
    """How the channels of an image are used: places of bases and nuclei, names, pixel size (um).

    With `find_order` the chemistry is in some order of the channels, and the library tells which.
    Images that were not taken are `absent` (cycle and channel, from 0); the nuclei are those of the
    first cycle that has their stain.
    """

    channels: tuple[str, ...]
    bases: tuple[int, ...]
    nuclear: int | None
    chemistry: Chemistry
    spacing: tuple[float, float]
    find_order: bool = False
    absent: tuple[tuple[int, int], ...] = ()

    @property
    def stained(self) -> int:
        """The cycle (from 0) that nuclei are found in."""
        without = {t for t, c in self.absent if c == self.nuclear}
        return next(t for t in range(len(without) + 1) if t not in without)


def image_tile(
    folder: Folder, manifest: Manifest, tile: TileKey, config: OpsConfig, optics: Optics
) -> dict[str, Any]:
    """Align a tile, find its reads, nuclei and cells, and measure the light of the reads."""
    images = _tile_images(manifest, tile)
    check_images(images)
    looks = inspect_tile(images, bases=optics.bases, nuclear=optics.nuclear, absent=optics.absent)
    alignment = align_tile(
        images,
        bases=optics.bases,
        nuclear=optics.nuclear,
        settings=AlignSettings(
            max_shift=config.align.max_shift, max_residual=config.align.max_residual
        ),
    )
    stack = AlignedPlanes(images, alignment.transforms)
    nuclei, reason = _segment(stack, config, optics)
    cells, cell_reason = nuclei, reason
    if nuclei.any():
        cells = segment_cells(nuclei, _reach(nuclei, config, optics))
    if config.decode.method == "classic":
        spots, bases = spots_published(images, alignment.transforms, optics.bases)
    else:
        spots = find_spots(images, alignment.transforms, optics.bases)
        bases = sample_bases(images, alignment.transforms, spots, optics.bases)
    near = near_cells(cells, spots["y"].to_numpy(), spots["x"].to_numpy(), nuclei=nuclei)
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
        sizes=near.sizes,
        centres=objects.centroids,
        room=near.room,
        area=np.array([near.area]),
    )
    save_reads(reads, folder.reads(str(tile)))
    _write_planes(folder, tile, alignment)
    _write_images(folder, tile, config, optics, stack, nuclei, cells)
    return {
        "reads": len(spots),
        "cells": len(near.labels),
        "residual_px": _finite(alignment.table["residual"].max()),
        "warnings": [
            *(f"cycle {t}: {text}" for t, text in zip(looks["cycle"], looks["reason"]) if text),
            *(text for text in (alignment.reason, cell_reason) if text),
        ],
    }


def _tile_images(manifest: Manifest, tile: TileKey) -> NDArray[Any]:
    """Pixels (cycle, channel, Y, X); the brightest of each place where there are planes in z."""
    images = manifest.read(tile, scratch=STACK)
    axes = manifest.axes
    if "z" in axes:
        images, axes = images.max(axis=axes.index("z")), axes.replace("z", "")
    if "t" not in axes:
        images = images[None]
    return as_counts(images)


def _stain(stack: AlignedPlanes, nuclear: int, cycle: int) -> NDArray[np.uint16]:
    """The nuclear image, on the frame of the first cycle; as it was taken if it is of that."""
    whole = slice(None)
    planes = stack.images[:1, nuclear : nuclear + 1]
    if cycle > 0:
        planes = stack[cycle : cycle + 1, nuclear : nuclear + 1, whole, whole]
    return np.asarray(planes[0, 0])


def _segment(
    stack: AlignedPlanes, config: OpsConfig, optics: Optics
) -> tuple[NDArray[np.int32], str]:
    if optics.nuclear is None:
        return np.zeros(stack.shape[2:], np.int32), ""
    diameter = config.segment.diameter
    settings = SegmentSettings(diameter=diameter / optics.spacing[0] if diameter else None)
    found = segment_nuclei(_stain(stack, optics.nuclear, optics.stained), settings)
    return found.nuclei, found.reason


def _reach(nuclei: NDArray[np.int32], config: OpsConfig, optics: Optics) -> float:
    if config.segment.grow is not None:
        return config.segment.grow / optics.spacing[0]
    areas = np.bincount(nuclei.ravel())[1:]
    return GROW * 2 * float(np.sqrt(np.median(areas) / np.pi))


def _write_planes(folder: Folder, tile: TileKey, alignment: Alignment) -> None:
    names = {n: "Align_" + str(n).title().replace("_", "") for n in alignment.table}
    write_table(keyed(alignment.table.rename(columns=names), tile), folder.planes(str(tile)))


def _write_images(
    folder: Folder,
    tile: TileKey,
    config: OpsConfig,
    optics: Optics,
    stack: AlignedPlanes,
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
) -> None:
    plate = create_plate(
        folder.plate, {tile.well: [tile.field]}, name=tile.plate, ngff=config.store.ngff
    )
    field = plate[tile.well][tile.field]
    spacing = dict(zip("yx", optics.spacing, strict=True))
    if config.store.images == "aligned":
        field.write(stack, axes="tcyx", spacing=spacing, channels=optics.channels)
    elif optics.nuclear is not None:
        # Labels need an image to lie on: the nuclei they were found in.
        plane = _stain(stack, optics.nuclear, optics.stained)
        names = [optics.channels[optics.nuclear]]
        field.write(plane[None], axes="cyx", spacing=spacing, channels=names)
    else:
        return
    field.write_labels("nuclei", nuclei)
    field.write_labels("cells", cells)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
