"""The `organoid3d` pipeline: what the command runs for organoid z-stacks.

Steps: `segment` (one unit per stack: find nuclei, organoids, lumens and cells, and store them with
the stack), `measure` (one unit per stack: features and the tissue graph, from what is stored),
`tables` (the plate's tables) and `profiles` (organoids, wells, treatments). Stacks that are done in
windows have many units in the first two steps.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from poolvox.organoid3d.config import (
    Organoid3dConfig,
    cell_channel,
    nuclear_channel,
    tissue_channels,
)
from poolvox.organoid3d.folder import TABLES, Folder, stack_name
from poolvox.organoid3d.profiles import profile_plate
from poolvox.organoid3d.steps import (
    collect_tables,
    end_large,
    gather_large,
    measure_tile,
    segment_tile,
    stores_all,
)
from poolvox.shared.engine.pipeline import Check
from poolvox.shared.engine.plan import Unit
from poolvox.shared.errors import InputError
from poolvox.shared.features import group_tokens
from poolvox.shared.ingest import Manifest, TileKey, scan
from poolvox.shared.report.section import Section

__all__ = ["OrganoidPipeline", "pipeline"]

# Blocks of the configuration that tell what is measured of a stack.
MEASURED = frozenset({"features", "graph"})
# Blocks that what is found in a stack does not depend on.
APART = frozenset({"output", "engine", "raw", "pipeline", "profiles", "windows"}) | MEASURED
# Bytes of a unit beside its stack: code and tables.
OVERHEAD = 350 * 2**20
# Bytes per voxel of a stack at the peak: float copies, labels, distances; and of what is held while
# a network looks at windows.
BYTES_PER_VOXEL, SHOWN = 90, 30
# Bytes per voxel of a stack that is measured with its labels.
MEASURING = 90


class OrganoidPipeline:
    """Organoid stacks, as `poolvox.shared.engine.pipeline.Pipeline` describes it."""

    name = "organoid3d"
    steps = ("segment", "measure", "tables", "profiles")
    config_model = Organoid3dConfig

    def plan(self, config: Organoid3dConfig) -> list[Unit]:
        """Lay out the units of all stacks and the plate."""
        manifest = scan(config.raw.stacks, Path("/"), config.plate)
        layout = _Layout(config, manifest, _check(config, manifest))
        units = [unit for tile in manifest.tiles for unit in layout.stack(tile)]
        return [*units, layout.tables(), layout.profiles()]

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


class _Layout:
    """Makes the units of one plan."""

    def __init__(
        self, config: Organoid3dConfig, manifest: Manifest, spacing: tuple[float, float, float]
    ) -> None:
        from poolvox.organoid3d.nuclei import check_model

        self.config, self.manifest, self.spacing = config, manifest, spacing
        self.folder = Folder(config.output)
        self.model = check_model(config.nuclei.model)
        self.found = config.model_dump(mode="json", exclude=set(APART)) | {
            "spacing": spacing,
            "channels": list(manifest.channels),
            # What tells one network from another, though its folder keeps its name.
            "network": None if self.model is None else self.model.digest(),
        }
        self.wanted = config.model_dump(mode="json", include=set(MEASURED)) | {
            "features": group_tokens(config.features)
        }

    def stack(self, tile: TileKey) -> list[Unit]:
        """What is done for a stack; the last units of its steps are called like it."""
        from poolvox.organoid3d.large import is_large

        sizes = dict(zip(self.manifest.axes, self.manifest.shape_of(tile), strict=True))
        shape = (sizes.get("z", 1), sizes["y"], sizes["x"])
        need = self.need(shape)
        if is_large(self.config, shape[0], need):
            return self.in_windows(tile, shape, need)
        return self.in_memory(tile, shape, need)

    def need(self, shape: tuple[int, int, int]) -> int:
        """Bytes that the segmentation of a stack takes in memory."""
        from poolvox.organoid3d import volumes

        voxels, pixels = int(np.prod(shape)), 2 * self.manifest.tile_bytes
        if self.model is None:
            return OVERHEAD + BYTES_PER_VOXEL * voxels + pixels
        looking = volumes.network_memory(self.model, shape) + SHOWN * voxels
        return max(looking, volumes.OVERHEAD + BYTES_PER_VOXEL * voxels) + pixels

    def in_memory(self, tile: TileKey, shape: tuple[int, int, int], need: int) -> list[Unit]:
        """Units of a stack that is held as a whole, in so many bytes."""
        name, files = str(tile), self.manifest.files_of(tile)
        given = (self.folder, self.manifest.only(tile), tile, self.spacing, self.config)
        segment = Unit(
            key=f"segment/{name}",
            step="segment",
            call=partial(segment_tile, *given),
            params=self.found,
            inputs=files,
            outputs=(self.folder.image(tile), self.folder.facts(name), self.folder.certainty(name)),
            memory=need,
            where=_where(tile),
        )
        measure = Unit(
            key=f"measure/{name}",
            step="measure",
            call=partial(measure_tile, *given),
            params=self.wanted,
            inputs=() if stores_all(self.config) else files,
            needs=(segment.key,),
            outputs=self.folder.parts(name),
            memory=OVERHEAD + MEASURING * int(np.prod(shape)) + 2 * self.manifest.tile_bytes,
            where=_where(tile),
        )
        return [segment, measure]

    def in_windows(self, tile: TileKey, shape: tuple[int, int, int], need: int) -> list[Unit]:
        """Units of a stack that is never held as a whole, as it would need so many bytes."""
        from poolvox.organoid3d.large import Large, plan_large
        from poolvox.organoid3d.large_cells import plan_cells
        from poolvox.organoid3d.large_objects import plan_objects
        from poolvox.organoid3d.survey import MOST

        name, folder = str(tile), self.folder
        image, work, channels = folder.image(tile), folder.windows(name), self.manifest.channels
        large = Large(tile, image, work, self.spacing, self.config, need, channels)
        before = plan_large(large, self.manifest, shape)
        before += plan_cells(large, shape, before[-1].key)
        segment = Unit(
            key=f"segment/{name}",
            step="segment",
            call=partial(end_large, folder, large),
            params=self.found,
            needs=tuple(unit.key for unit in before),
            outputs=(folder.facts(name),),
            memory=OVERHEAD + BYTES_PER_VOXEL * min(int(np.prod(shape)), MOST),
            where=_where(tile),
        )
        shares = plan_objects(large, shape, self.wanted, segment.key)
        measure = replace(
            segment,
            key=f"measure/{name}",
            step="measure",
            call=partial(gather_large, folder, large),
            params=self.wanted,
            needs=tuple(unit.key for unit in shares),
            outputs=folder.parts(name),
        )
        return [*before, segment, *shares, measure]

    def tables(self) -> Unit:
        """The tables of the plate."""
        tiles = self.manifest.tiles
        return Unit(
            key="tables/plate",
            step="tables",
            call=partial(collect_tables, self.folder, tiles, self.config),
            params={"features": list(self.config.features)},
            needs=tuple(f"measure/{tile}" for tile in tiles),
            outputs=(*(self.folder.table(name) for name in TABLES), self.folder.dictionary),
            memory=OVERHEAD,
            tolerant=True,
        )

    def profiles(self) -> Unit:
        """Organoids, wells and treatments."""
        options, root = self.config.profiles, self.folder.root
        return Unit(
            key="profiles/plate",
            step="profiles",
            call=partial(profile_plate, root, options, threads=self.config.engine.workers),
            params={"profiles": options.model_dump(mode="json")},
            inputs=options.files,
            needs=("tables/plate",),
            outputs=(self.folder.table("objects"), root / "profiles"),
            memory=2 * OVERHEAD,
        )


def _where(tile: TileKey) -> dict[str, str]:
    return {"plate": tile.plate, "well": tile.well, "tile": stack_name(tile)}


pipeline = OrganoidPipeline()
