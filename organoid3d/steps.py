"""What is done to a stack: segmented and stored, then measured from what is stored; and the tables.

Called by the engine, perhaps in another process, with nothing but small things; it reads and writes
files below the run's folder and hands back a few facts for the report. Stacks that are done in
windows come here for their last unit of each step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from numpy.typing import NDArray

from poolvox.organoid3d.config import Organoid3dConfig, nuclear_channel
from poolvox.organoid3d.folder import TABLES, Folder, keyed, stack_name
from poolvox.organoid3d.stored import Source, label_source, write_text
from poolvox.shared.errors import InputError
from poolvox.shared.ingest import Manifest, TileKey
from poolvox.shared.store import create_plate, open_image, read_table, write_table

if TYPE_CHECKING:
    from poolvox.organoid3d.large import Large
    from poolvox.organoid3d.stack import StackResult

__all__ = [
    "collect_tables",
    "end_large",
    "gather_large",
    "measure_tile",
    "segment_tile",
    "stores_all",
]

Spacing = tuple[float, float, float]


def segment_tile(
    folder: Folder, manifest: Manifest, tile: TileKey, spacing: Spacing, config: Organoid3dConfig
) -> dict[str, Any]:
    """Segment a stack, and write it with its labels and what was found out."""
    # Imported where the work is done: planning needs none of it.
    from poolvox.organoid3d.preprocess import check_axes
    from poolvox.organoid3d.stack import segment_stack, summarise

    pixels = _read_raw(manifest, tile)
    if manifest.spec.axes is None:
        check_axes(pixels.shape[1:], spacing)
    result = segment_stack(dict(zip(manifest.channels, pixels, strict=True)), spacing, config)
    _write_stack(folder, manifest, tile, spacing, config, pixels, result)
    sure, name = result.probability, str(tile)
    certainty = {
        "probability": None if sure is None else sure.tolist(),
        "threshold": result.threshold,
    }
    write_text(folder.certainty(name), json.dumps(certainty))
    return _write_facts(folder, tile, summarise(result))


def measure_tile(
    folder: Folder, manifest: Manifest, tile: TileKey, spacing: Spacing, config: Organoid3dConfig
) -> dict[str, Any]:
    """Measure a stack that was segmented, in the pixels that the raw files have."""
    from poolvox.organoid3d.stack import StackLabels, measure_stack

    image, name = open_image(folder.image(tile)), str(tile)
    if stores_all(config):
        channels = {channel: Source(image, channel)[:] for channel in manifest.channels}
    else:
        channels = dict(zip(manifest.channels, _read_raw(manifest, tile), strict=True))
    labels = StackLabels(**{kind: label_source(image, kind)[:] for kind in StackLabels.NAMES})
    certainty = json.loads(folder.certainty(name).read_text(encoding="utf-8"))
    tables = measure_stack(channels, labels, spacing, config, **certainty)
    return _write_parts(folder, tile, tables)


def stores_all(config: Organoid3dConfig) -> bool:
    """Whether stacks are stored with all their channels."""
    return config.store.images == "aligned"


def end_large(folder: Folder, large: Large) -> dict[str, Any]:
    """Finish the labels of a stack that was segmented in windows, and write what was found out."""
    from poolvox.organoid3d.large_cells import describe_large, end_cells

    end_cells(large)
    return _write_facts(folder, large.tile, describe_large(large))


def gather_large(folder: Folder, large: Large) -> dict[str, Any]:
    """Write the tables of a stack that was measured in parts."""
    from poolvox.organoid3d.large_objects import gather_objects

    return _write_parts(folder, large.tile, gather_objects(large))


def collect_tables(
    folder: Folder, tiles: Sequence[TileKey], config: Organoid3dConfig
) -> dict[str, Any]:
    """Put the tables of all stacks that were done into one each, and say what they hold."""
    from poolvox.organoid3d.gathering import joined
    from poolvox.organoid3d.measure import describe_features

    rows = {}
    for name in TABLES:
        paths = [folder.part(str(tile), name) for tile in tiles]
        parts = [read_table(path) for path in paths if path.exists()]
        if not parts:
            continue
        table = joined(parts)
        write_table(table, folder.table(name))
        rows[name] = len(table)
    if not rows:
        raise InputError("no stack was finished: there is nothing to put into tables")
    describe_features(config.measuring()).to_csv(folder.dictionary, index=False)
    return rows


def _read_raw(manifest: Manifest, tile: TileKey) -> NDArray[Any]:
    """Pixels (channel, Z, Y, X) of a stack; a single plane has no z axis in its file."""
    pixels = manifest.read(tile)
    return pixels.reshape(len(manifest.channels), -1, *pixels.shape[-2:])


def _write_stack(
    folder: Folder,
    manifest: Manifest,
    tile: TileKey,
    spacing: Spacing,
    config: Organoid3dConfig,
    pixels: NDArray[Any],
    result: StackResult,
) -> None:
    """Write pixels and labels to the plate; labels need an image to lie on."""
    plate = create_plate(
        folder.plate, {tile.well: [tile.field]}, name=tile.plate, ngff=config.store.ngff
    )
    field = plate[tile.well][tile.field]
    kept, names = slice(None), manifest.channels
    if not stores_all(config):
        names = (nuclear_channel(config, manifest.channels),)
        first = manifest.channels.index(names[0])
        kept = slice(first, first + 1)
    field.write(
        pixels[kept],
        axes="czyx",
        spacing=dict(zip("zyx", spacing, strict=True)),
        channels=names,
    )
    for name, labels in result.labels.items():
        field.write_labels(name, labels)


def _write_facts(folder: Folder, tile: TileKey, facts: dict[str, Any]) -> dict[str, Any]:
    where = {"well": tile.well, "organoid": stack_name(tile)}
    text = json.dumps({**where, **facts}, indent=1, sort_keys=True)
    write_text(folder.facts(str(tile)), text)
    return facts


def _write_parts(
    folder: Folder, tile: TileKey, tables: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    for name, table in tables.items():
        write_table(keyed(table, tile), folder.part(str(tile), name))
    return {name: len(table) for name, table in tables.items()}
