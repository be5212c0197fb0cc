"""Cells of a screen as they look in its sequencing images: measured, and joined with their calls.

The nuclear stain of the first cycle is measured in full. Of the base channels only the mean in a
cell is taken, and it is a `Call_` column, no measurement: which base lights up in a cycle spells
the barcode, so in profiles every guide would stand out by what it is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.folder import Folder, keyed
from poolvox.ops.library import LibrarySpec, load_library
from poolvox.shared.errors import InputError
from poolvox.shared.features import choose_groups, find_objects, measure_objects
from poolvox.shared.features.registry import feature_dictionary
from poolvox.shared.ingest import TileKey
from poolvox.shared.store import Image, open_plate, read_table, write_table

__all__ = [
    "FEATURE_GROUPS",
    "ObjectChannels",
    "collect_objects",
    "describe_objects",
    "measure_cells",
    "measure_tile",
]

FEATURE_GROUPS: Final = ("shape", "intensity", "texture", "radial", "neighbours")
# What is said of a cell, which is no more than the surroundings of its nucleus.
CELL_GROUPS: Final = ("shape",)
LIGHT: Final = "Call_Light"
KEYS: Final = ["Metadata_Plate", "Metadata_Well", "Metadata_Tile", "Metadata_Label"]


@dataclass(frozen=True, slots=True)
class ObjectChannels:
    """How channels are used: names of the nuclear stain and of the bases of the first cycle.

    `stained` is the cycle (from 0) whose stain is measured.
    """

    nuclear: str | None
    bases: tuple[str, ...]
    spacing: tuple[float, float]
    stained: int = 0


def measure_cells(
    images: Mapping[str, NDArray[Any]],
    nuclei: NDArray[np.integer],
    cells: NDArray[np.integer],
    channels: ObjectChannels,
    *,
    groups: Sequence[str] = FEATURE_GROUPS,
) -> pd.DataFrame:
    """Measure the nuclei and cells of a tile.

    Parameters
    ----------
    images : (Y, X) channels of the first cycle by name; base channels may be missing
    nuclei, cells : (Y, X) labels; a cell has the number of its nucleus
    groups : of features, measured on nuclei and the nuclear stain

    Returns
    -------
    One row per nucleus, ascending: `Metadata_Label`, positions, `QC_Border` (cut by the border of
    the tile), `Nuclei_…`, `Cells_…` and `Call_Light_…`, the mean light of each base in the cell
    """
    objects = find_objects(nuclei, spacing=channels.spacing)
    stain = {name: images[name] for name in (channels.nuclear,) if name is not None}
    table = measure_objects(objects, stain, choose_groups(groups, 2), compartment="Nuclei")
    labels = table["Metadata_Label"].to_numpy()
    around = find_objects(cells, spacing=channels.spacing)
    rest = measure_objects(around, {}, choose_groups(CELL_GROUPS, 2), compartment="Cells")
    own = [name for name in rest if not str(name).startswith("Metadata_")]
    rest = rest.set_index("Metadata_Label")[own].reindex(labels)
    for name in channels.bases:
        if name in images:
            rest[f"{LIGHT}_{name}"] = _means(images[name], cells, labels)
    edges = np.concatenate([nuclei[0], nuclei[-1], nuclei[:, 0], nuclei[:, -1]])
    table.insert(1, "QC_Border", np.isin(labels, edges))
    features = [name for name in table if str(name).startswith("Nuclei_")]
    return pd.concat([table, rest.reset_index(drop=True)], axis=1).astype(
        dict.fromkeys([*features, *rest], np.float32)
    )


def _means(
    image: NDArray[Any], cells: NDArray[np.integer], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    places, count = cells.ravel(), int(labels.max(initial=0)) + 1
    sizes = np.bincount(places, minlength=count)[labels]
    light = np.bincount(places, image.ravel(), minlength=count)[labels]
    return np.asarray(light / np.where(sizes > 0, sizes, np.nan))


def measure_tile(
    folder: Folder, tile: TileKey, channels: ObjectChannels, groups: Sequence[str]
) -> dict[str, Any]:
    """Measure the cells of a tile that was aligned and segmented, and write them."""
    field = open_plate(folder.plate)[tile.well][tile.field]
    images = _planes(field, channels.bases, 0)
    if channels.nuclear is not None:
        images |= _planes(field, [channels.nuclear], channels.stained)
    nuclei, cells = (np.asarray(field.labels(name).data) for name in ("nuclei", "cells"))
    table = measure_cells(images, nuclei, cells, channels, groups=groups)
    write_table(keyed(table.copy(), tile), folder.called(str(tile), "objects"))
    return {"cells": len(table)}


def _planes(field: Image, names: Sequence[str], cycle: int) -> dict[str, NDArray[Any]]:
    """Planes of those channels that are stored, of a cycle where there are several."""
    pixels, there = field.image(), field.channels
    if "t" in pixels.dims:
        pixels = pixels.isel(t=cycle)
    wanted = [name for name in names if name in there]
    planes = np.asarray(pixels.isel(c=[there.index(name) for name in wanted]).data)
    return dict(zip(wanted, planes, strict=True))


def collect_objects(
    folder: Folder, tiles: Sequence[TileKey], library: LibrarySpec, cycles: int
) -> dict[str, Any]:
    """Join what was measured with what was called, and write `tables/objects.parquet`.

    One row per cell, in the order of the table of cells. Tiles that were not measured have no rows.
    """
    if not folder.table("cells").exists():
        raise InputError("there is no table of cells: see why calls/plate failed")
    calls = read_table(folder.table("cells"))
    calls["Metadata_Control"] = find_controls(calls, library, cycles)
    parts = {str(tile): folder.called(str(tile), "objects") for tile in tiles}
    tables = [read_table(path) for path in parts.values() if path.exists()]
    full = [table for table in tables if len(table)]
    if not full:
        raise InputError("no cells were measured: see the reasons of the failed tiles")
    measured = pd.concat(full, ignore_index=True)
    features = [name for name in measured if not str(name).startswith("Metadata_")]
    joined = calls.merge(measured[[*KEYS, *features]], on=KEYS, how="inner", validate="1:1")
    for axis in "YX":
        # Until a phenotype image gives a position of its own, both are those of the sequencing.
        joined[f"Metadata_SBS_{axis}"] = joined[f"Metadata_{axis}"]
    write_table(joined, folder.table("objects"))
    taken = [name for name in features if str(name).startswith(("Nuclei_", "Cells_"))]
    return {"objects": len(joined), "features": len(taken)}


def find_controls(calls: pd.DataFrame, library: LibrarySpec, cycles: int) -> NDArray[np.bool_]:
    """Tell which cells carry a control guide, as the library names them."""
    words = load_library(library, cycles)
    found = np.zeros(len(calls), bool)
    for column, names in (("Metadata_Guide", words.guides), ("Metadata_Gene", words.genes)):
        controls = set(names[words.controls]) - set(names[~words.controls]) - {""}
        found |= calls[column].isin(controls).to_numpy()
    return found


def describe_objects(groups: Sequence[str] = FEATURE_GROUPS) -> pd.DataFrame:
    """The feature dictionary of the table of objects."""
    own = pd.DataFrame(
        [
            (
                "Call",
                f"{LIGHT}_{{channel}}",
                "counts",
                "mean over the cell, first cycle",
                "",
                "[0, inf)",
            )
        ],
        columns=["group", "name", "unit", "formula", "reference", "range"],
    )
    parts = []
    for compartment, chosen in (("Nuclei", groups), ("Cells", CELL_GROUPS)):
        part = feature_dictionary(choose_groups(chosen, 2), 2)
        parts.append(part.assign(name=f"{compartment}_" + part["name"]))
    return pd.concat([*parts, own], ignore_index=True)
