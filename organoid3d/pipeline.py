"""The `organoid3d` pipeline: what the command runs for organoid z-stacks.

Steps: `stacks` (one unit per stack: segment, measure, store), `tables` (the plate's tables) and
`profiles` (organoids, wells, treatments).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from poolvox.organoid3d.config import (
    Organoid3dConfig,
    cell_channel,
    nuclear_channel,
    tissue_channels,
)
from poolvox.organoid3d.profiles import profile_plate
from poolvox.shared.engine.pipeline import Check
from poolvox.shared.engine.plan import Unit
from poolvox.shared.errors import InputError
from poolvox.shared.features import group_tokens
from poolvox.shared.ingest import Manifest, TileKey, scan
from poolvox.shared.report.section import Section
from poolvox.shared.store import create_plate, read_table, write_table
from poolvox.shared.store.plate import parse_well

if TYPE_CHECKING:
    from poolvox.organoid3d.large import Large

__all__ = ["TABLES", "Folder", "OrganoidPipeline", "pipeline"]

TABLES = ("organoids", "nuclei", "cells", "edges")
DICTIONARY = "features.csv"
# Blocks of the configuration that what is done to a stack does not depend on.
APART = frozenset({"output", "engine", "raw", "pipeline", "profiles", "windows"})
# Bytes of a unit beside its stack: code and tables.
OVERHEAD = 350 * 2**20
# Bytes per voxel of one channel at the peak: float copies, labels, distances.
BYTES_PER_VOXEL = 90


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files of a run lie."""

    root: Path

    @property
    def plate(self) -> Path:
        """Stacks and labels."""
        return self.root / "stacks.zarr"

    def part(self, stack: str, table: str) -> Path:
        """A table of one stack."""
        return self.root / "parts" / table / f"{stack}.parquet"

    def facts(self, stack: str) -> Path:
        """What was found out about one stack."""
        return self.root / "parts" / "facts" / f"{stack}.json"

    def table(self, name: str) -> Path:
        """A table of the whole run."""
        return self.root / "tables" / f"{name}.parquet"

    @property
    def dictionary(self) -> Path:
        """What the columns of the tables mean."""
        return self.root / "tables" / DICTIONARY


class OrganoidPipeline:
    """Organoid stacks, as `poolvox.shared.engine.pipeline.Pipeline` describes it."""

    name = "organoid3d"
    steps = ("stacks", "tables", "profiles")
    config_model = Organoid3dConfig

    def plan(self, config: Organoid3dConfig) -> list[Unit]:
        """Lay out one unit per stack, and the tables."""
        manifest = scan(config.raw.stacks, Path("/"), config.plate)
        spacing = _check(config, manifest)
        folder = Folder(config.output)
        units = []
        for tile in manifest.tiles:
            units += _stack_units(folder, manifest, tile, spacing, config)
        units.append(_table_unit(folder, manifest.tiles, config))
        units.append(_profile_unit(folder, config))
        return units

    def problems(self, config: Organoid3dConfig) -> list[tuple[str, str]]:
        """Stacks with bad files, and why."""
        manifest = scan(config.raw.stacks, Path("/"), config.plate)
        return [(str(tile), reason) for tile, reason in manifest.bad.items()]

    def sections(self, config: Organoid3dConfig) -> list[Section]:
        """Tell the report what happened, from the files of the run."""
        from poolvox.organoid3d.sections import make_sections
        from poolvox.shared.profiles.sections import profile_sections

        fdr = config.profiles.hits.fdr
        return [*make_sections(config), *profile_sections(config.output / "profiles", fdr=fdr)]

    def template(self, folder: Path) -> str:
        """Write a commented configuration for the raw files in `folder`."""
        from poolvox.organoid3d.template import write_template

        return write_template(folder)

    def simulate(self, out: Path, *, seed: int) -> Path:
        """Write a small plate of simulated organoids."""
        from poolvox.organoid3d.judge import simulate_demo

        return simulate_demo(out, seed=seed)

    def judge(self, config: Organoid3dConfig) -> list[Check]:
        """Compare a finished run of simulated organoids with their truth."""
        from poolvox.organoid3d.judge import judge_run

        return judge_run(config)

    def train(self, stacks: Path, labels: Path | None, out: Path, **options: Any) -> Any:
        """Train a network on annotated stacks; see `poolvox.organoid3d.train.train_files`."""
        from poolvox.organoid3d.train import train_files

        return train_files(stacks, labels, out, **options)


def process_stack(
    folder: Folder,
    manifest: Manifest,
    tile: TileKey,
    spacing: tuple[float, float, float],
    config: Organoid3dConfig,
) -> dict[str, Any]:
    """Segment and measure one stack, and write what was found."""
    # Imported where the work is done: planning needs none of it.
    from poolvox.organoid3d.preprocess import check_axes
    from poolvox.organoid3d.stack import measure_stack, segment_stack, summarise

    pixels = manifest.read(tile)
    # A single plane has no z axis.
    pixels = pixels.reshape(len(manifest.channels), -1, *pixels.shape[-2:])
    if manifest.spec.axes is None:
        check_axes(pixels.shape[1:], spacing)
    channels = dict(zip(manifest.channels, pixels, strict=True))
    result = segment_stack(channels, spacing, config)
    plate = create_plate(
        folder.plate, {tile.well: [tile.field]}, name=tile.plate, ngff=config.store.ngff
    )
    field = plate[tile.well][tile.field]
    kept = (
        manifest.channels
        if config.store.images == "aligned"
        else (nuclear_channel(config, manifest.channels),)
    )
    field.write(
        pixels[[manifest.channels.index(name) for name in kept]],
        axes="czyx",
        spacing=dict(zip("zyx", spacing, strict=True)),
        channels=kept,
    )
    for name, labels in result.labels.items():
        field.write_labels(name, labels)
    for name, table in measure_stack(
        channels,
        result.labels,
        spacing,
        config,
        probability=result.probability,
        threshold=result.threshold,
    ).items():
        write_table(_keyed(table, tile), folder.part(str(tile), name))
    facts = summarise(result)
    _write_json(folder.facts(str(tile)), {"well": tile.well, "organoid": _name(tile), **facts})
    return facts


def finish_stack(folder: Folder, large: Large) -> dict[str, Any]:
    """Write the tables of a stack that was segmented in windows."""
    from poolvox.organoid3d.large_objects import describe_large

    tables, facts = describe_large(large)
    for name, table in tables.items():
        write_table(_keyed(table, large.tile), folder.part(large.name, name))
    where = {"well": large.tile.well, "organoid": _name(large.tile)}
    _write_json(folder.facts(large.name), {**where, **facts})
    return facts


def collect_tables(
    folder: Folder, tiles: Sequence[TileKey], config: Organoid3dConfig
) -> dict[str, Any]:
    """Put the tables of all stacks that were done into one each, and say what they hold."""
    from poolvox.organoid3d.large_objects import joined
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


def _check(config: Organoid3dConfig, manifest: Manifest) -> tuple[float, float, float]:
    """Refuse what cannot be worked on, before any work."""
    from poolvox.organoid3d.nuclei import check_model
    from poolvox.organoid3d.preprocess import check_spacing

    if "t" in manifest.axes:
        raise InputError(
            f"the stacks have {len(manifest.cycles)} time points: organoid3d takes one; give "
            "`cycles: [...]` with the one to take"
        )
    nuclear_channel(config, manifest.channels)
    cell_channel(config, manifest.channels)
    tissue_channels(config, manifest.channels)
    config.measuring()
    check_model(config.nuclei.model)
    return check_spacing(manifest.spacing)


def _stack_units(
    folder: Folder,
    manifest: Manifest,
    tile: TileKey,
    spacing: tuple[float, float, float],
    config: Organoid3dConfig,
) -> list[Unit]:
    """What is done for one stack; the last of the units is called like the stack."""
    from poolvox.organoid3d.large import Large, is_large, plan_large
    from poolvox.organoid3d.large_objects import plan_objects
    from poolvox.organoid3d.survey import MOST

    row, column = parse_well(tile.well)
    name = str(tile)
    image = folder.plate / row / str(column) / tile.field
    sizes = dict(zip(manifest.axes, manifest.shape_of(tile), strict=True))
    planes = sizes.get("z", 1)
    voxels = planes * sizes["y"] * sizes["x"]
    memory = OVERHEAD + BYTES_PER_VOXEL * voxels + 2 * manifest.tile_bytes
    params = config.model_dump(mode="json", exclude=set(APART))
    params |= {
        "spacing": spacing,
        "channels": list(manifest.channels),
        "network": _network(config),
        "features": group_tokens(config.features),
    }
    where = {"plate": tile.plate, "well": tile.well, "tile": _name(tile)}
    if is_large(config, planes, memory):
        work = folder.root / "parts" / "windows" / name
        large = Large(tile, image, work, spacing, config, memory, manifest.channels)
        before = plan_large(large, manifest)
        objects = plan_objects(large, (planes, sizes["y"], sizes["x"]), before[-1].key)
        last = Unit(
            key=f"stacks/{name}",
            step="stacks",
            call=partial(finish_stack, folder, large),
            params=params,
            needs=tuple(unit.key for unit in objects),
            outputs=(*(folder.part(name, table) for table in TABLES), folder.facts(name)),
            memory=OVERHEAD + BYTES_PER_VOXEL * min(voxels, MOST),
            where=where,
        )
        return [*before, *objects, last]
    return [
        Unit(
            key=f"stacks/{name}",
            step="stacks",
            call=partial(process_stack, folder, manifest.only(tile), tile, spacing, config),
            params=params,
            inputs=manifest.files_of(tile),
            outputs=(image, *(folder.part(name, table) for table in TABLES), folder.facts(name)),
            memory=memory,
            where=where,
        )
    ]


def _table_unit(folder: Folder, tiles: Sequence[TileKey], config: Organoid3dConfig) -> Unit:
    return Unit(
        key="tables/plate",
        step="tables",
        call=partial(collect_tables, folder, tiles, config),
        params={"features": list(config.features)},
        needs=tuple(f"stacks/{tile}" for tile in tiles),
        outputs=(*(folder.table(name) for name in TABLES), folder.dictionary),
        memory=OVERHEAD,
        tolerant=True,
    )


def _profile_unit(folder: Folder, config: Organoid3dConfig) -> Unit:
    options = config.profiles
    return Unit(
        key="profiles/plate",
        step="profiles",
        call=partial(profile_plate, folder.root, options, threads=config.engine.workers),
        params={"profiles": options.model_dump(mode="json")},
        inputs=options.files,
        needs=("tables/plate",),
        outputs=(folder.table("objects"), folder.root / "profiles"),
        memory=2 * OVERHEAD,
    )


def _network(config: Organoid3dConfig) -> str | None:
    """What tells one network from another, though its folder keeps its name."""
    from poolvox.organoid3d.nuclei import check_model

    model = check_model(config.nuclei.model)
    return None if model is None else model.digest()


def _keyed(table: pd.DataFrame, tile: TileKey) -> pd.DataFrame:
    keys = {
        "Metadata_Plate": tile.plate,
        "Metadata_Well": tile.well,
        "Metadata_Organoid": _name(tile),
    }
    keyed = table.copy()
    for place, (name, value) in enumerate(keys.items()):
        keyed.insert(place, name, pd.Series([value] * len(keyed), dtype=object))
    return keyed


def _name(tile: TileKey) -> str:
    return tile.organoid or tile.tile or tile.field


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{path.name}.partial")
    partial_path.write_text(json.dumps(facts, indent=1, sort_keys=True), encoding="utf-8")
    partial_path.replace(path)


pipeline = OrganoidPipeline()
