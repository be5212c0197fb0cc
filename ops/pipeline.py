"""The `ops` pipeline: what the command runs for a pooled screen.

Steps: `images` (one unit per tile: align, find reads, segment), `signal` (the plate, then each
well: corrections from the light), `decode` (one unit per tile: reads and cells), `calls` (the
plate: q-values and tables), `measure` (one unit per tile, then the plate: the table of objects) and
`profiles` (the plate: guides, genes, hits).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from poolvox.ops.calls import call_plate, decode_tile
from poolvox.ops.config import OpsConfig, base_channels, nuclear_channel, order_is_open
from poolvox.ops.estimates import estimate_signal
from poolvox.ops.folder import Folder
from poolvox.ops.library import load_library
from poolvox.ops.objects import ObjectChannels, collect_objects, measure_tile
from poolvox.ops.profiles import profile_screen
from poolvox.ops.remarks import describe_screen
from poolvox.ops.steps import Optics, image_tile
from poolvox.shared.engine.pipeline import Check
from poolvox.shared.engine.plan import Unit
from poolvox.shared.errors import ConfigError, InputError
from poolvox.shared.features import group_tokens
from poolvox.shared.ingest import Manifest, TileKey, scan
from poolvox.shared.report.section import Section
from poolvox.shared.store.plate import parse_well

__all__ = ["OpsPipeline", "pipeline"]

# Bytes of a unit beside its images: code, library and tables.
OVERHEAD = 350 * 2**20
# Images of a tile that are in memory at once, over the size of the file: the pixels themselves,
# which stay with the worker until the next tile, and some planes of work.
COPIES = 1.6


class OpsPipeline:
    """Pooled screens, as `poolvox.shared.engine.pipeline.Pipeline` describes it."""

    name = "ops"
    steps: Sequence[str] = ("images", "signal", "decode", "calls", "measure", "profiles")
    config_model: type[Any] = OpsConfig

    def plan(self, config: OpsConfig) -> list[Unit]:
        """Lay out the units of all tiles, wells and the plate."""
        manifest = scan(config.raw.sbs, Path("/"), config.plate)
        optics = _optics(config, manifest)
        # A library that cannot be used is told before hours of images.
        load_library(config.library, max(len(manifest.cycles), 1))
        wells: dict[tuple[str, str], list[TileKey]] = defaultdict(list)
        plates: dict[str, list[TileKey]] = defaultdict(list)
        for tile in manifest.tiles:
            wells[tile.plate, tile.well].append(tile)
            plates[tile.plate].append(tile)
        if len(plates) > 1:
            raise InputError(
                f"the files are of {len(plates)} plates ({', '.join(plates)}), and a run holds "
                f"one: put {{plate}} into output, as in {config.output.name}/{{plate}}, for a run "
                f"of each, or give plate: {next(iter(plates))} for one alone"
            )
        layout = _Layout(config, manifest, optics)
        units = [layout.images(tile) for tile in manifest.tiles]
        units.append(layout.signal("plate", manifest.tiles))
        for (plate, well), tiles in wells.items():
            units.append(layout.signal(f"{plate}-{well}", tiles, well=well))
        units += [layout.decode(tile) for tile in manifest.tiles]
        units.append(layout.calls(manifest.tiles))
        if optics.nuclear is not None:
            units += [layout.measure(tile) for tile in manifest.tiles]
            units += [layout.objects(manifest.tiles), layout.profiles()]
        return units

    def problems(self, config: OpsConfig) -> list[tuple[str, str]]:
        """Tiles with bad files, and why."""
        manifest = scan(config.raw.sbs, Path("/"), config.plate)
        return [(str(tile), reason) for tile, reason in manifest.bad.items()]

    def remarks(self, config: OpsConfig) -> list[tuple[str, str]]:
        """Say how channels, cycles and library are taken."""
        manifest = scan(config.raw.sbs, Path("/"), config.plate)
        library = load_library(config.library, max(len(manifest.cycles), 1))
        optics = _optics(config, manifest)
        return list(describe_screen(manifest, optics, library, config.library))

    def sections(self, config: OpsConfig) -> list[Section]:
        """Tell the report what happened, from the files of the run."""
        from poolvox.ops.sections import make_sections
        from poolvox.shared.profiles.sections import profile_sections

        fdr = config.profiles.hits.fdr
        return [*make_sections(config), *profile_sections(config.output / "profiles", fdr=fdr)]

    def template(self, folder: Path) -> str:
        """Write a commented configuration for the raw files in `folder`."""
        from poolvox.ops.template import write_template

        return write_template(folder)

    def simulate(self, out: Path, *, seed: int) -> Path:
        """Write a small screen that looks like real data."""
        from poolvox.ops.judge import simulate_demo

        return simulate_demo(out, seed=seed)

    def judge(self, config: OpsConfig) -> list[Check]:
        """Compare a finished run of a simulated screen with its truth."""
        from poolvox.ops.judge import judge_run

        return judge_run(config)


class _Layout:
    """Makes the units of one plan."""

    def __init__(self, config: OpsConfig, manifest: Manifest, optics: Optics) -> None:
        self.config, self.manifest, self.optics = config, manifest, optics
        self.folder = Folder(config.output)
        self.cycles = max(len(manifest.cycles), 1)
        self.decode_params: dict[str, Any] = {
            "library": config.library.model_dump(mode="json", exclude={"file"}),
            "method": config.decode.method,
            "seed": config.decode.seed,
            "chemistry": optics.chemistry.table,
            "find_order": optics.find_order,
        }

    def images(self, tile: TileKey) -> Unit:
        """What is done to the pixels of a tile."""
        row, column = parse_well(tile.well)
        name = str(tile)
        params = self.config.model_dump(mode="json", include={"align", "segment", "store"})
        params |= {"channels": self.optics.channels, "bases": self.optics.bases}
        params["absent"] = self.optics.absent
        params["method"] = self.config.decode.method
        return Unit(
            key=f"images/{name}",
            step="images",
            call=partial(
                image_tile, self.folder, self.manifest.only(tile), tile, self.config, self.optics
            ),
            params=params | {"nuclear": self.optics.nuclear, "spacing": self.optics.spacing},
            inputs=self.manifest.files_of(tile),
            outputs=(
                self.folder.plate / row / str(column) / tile.field,
                self.folder.reads(name),
                self.folder.planes(name),
            ),
            memory=int(COPIES * self.manifest.tile_bytes) + OVERHEAD,
            where=_where(tile),
            holds_gil=True,
        )

    def signal(self, place: str, tiles: list[TileKey], *, well: str | None = None) -> Unit:
        """Corrections of the plate or a well; they rest on the tiles that are there."""
        names = [str(tile) for tile in tiles]
        needs = [f"images/{name}" for name in names]
        return Unit(
            key=f"signal/{place}",
            step="signal",
            call=partial(estimate_signal, self.folder, names, place, self.config, self.optics),
            params=self.decode_params,
            inputs=(self.config.library.file,),
            needs=(*needs, "signal/plate") if well else tuple(needs),
            outputs=(self.folder.signal(place),),
            memory=OVERHEAD,
            where={"well": well} if well else {},
            tolerant=True,
            vital=("signal/plate",) if well else (),
        )

    def decode(self, tile: TileKey) -> Unit:
        """Reads and cells of a tile."""
        name = str(tile)
        return Unit(
            key=f"decode/{name}",
            step="decode",
            call=partial(decode_tile, self.folder, tile, self.config, self.optics.spacing),
            params=self.decode_params | {"spacing": self.optics.spacing},
            inputs=(self.config.library.file,),
            needs=(f"images/{name}", f"signal/{tile.plate}-{tile.well}"),
            outputs=(self.folder.called(name, "reads"), self.folder.called(name, "cells")),
            memory=OVERHEAD,
            where=_where(tile),
            holds_gil=True,
        )

    def calls(self, tiles: list[TileKey]) -> Unit:
        """The tables of the plate."""
        return Unit(
            key="calls/plate",
            step="calls",
            call=partial(call_plate, self.folder, tiles, self.config, self.cycles),
            params=self.decode_params | {"fdr": self.config.decode.fdr},
            inputs=(self.config.library.file,),
            needs=tuple(f"decode/{tile}" for tile in tiles),
            outputs=(self.folder.table("reads"), self.folder.table("cells")),
            memory=OVERHEAD + 4 * 2**20 * len(tiles),
            tolerant=True,
        )

    @property
    def channels(self) -> ObjectChannels:
        """Channels that cells are measured in."""
        names, nuclear = self.optics.channels, self.optics.nuclear
        return ObjectChannels(
            None if nuclear is None else names[nuclear],
            tuple(names[k] for k in self.optics.bases),
            self.optics.spacing,
            self.optics.stained,
        )

    def measure(self, tile: TileKey) -> Unit:
        """Features of the cells of a tile."""
        name, groups = str(tile), self.config.features
        return Unit(
            key=f"measure/{name}",
            step="measure",
            call=partial(measure_tile, self.folder, tile, self.channels, groups),
            params={
                "features": group_tokens(groups),
                "channels": self.optics.channels,
                "stained": self.optics.stained,
            },
            needs=(f"images/{name}",),
            outputs=(self.folder.called(name, "objects"),),
            memory=OVERHEAD + int(COPIES * self.manifest.tile_bytes),
            where=_where(tile),
            holds_gil=True,
        )

    def objects(self, tiles: list[TileKey]) -> Unit:
        """The table of what was measured and called."""
        library = self.config.library
        return Unit(
            key="measure/plate",
            step="measure",
            call=partial(collect_objects, self.folder, tiles, library, self.cycles),
            params={"library": library.model_dump(mode="json", exclude={"file"})},
            inputs=(library.file,),
            needs=(*(f"measure/{tile}" for tile in tiles), "calls/plate"),
            outputs=(self.folder.table("objects"),),
            memory=OVERHEAD + 8 * 2**20 * len(tiles),
            tolerant=True,
            vital=("calls/plate",),
        )

    def profiles(self) -> Unit:
        """Guides, genes and hits."""
        options, groups = self.config.profiles, self.config.features
        return Unit(
            key="profiles/plate",
            step="profiles",
            call=partial(
                profile_screen,
                *(self.folder, options, self.channels, groups),
                threads=self.config.engine.workers,
            ),
            params={"profiles": options.model_dump(mode="json"), "features": list(groups)},
            inputs=options.files,
            needs=("measure/plate",),
            outputs=(self.folder.root / "profiles",),
            memory=2 * OVERHEAD,
        )


def _where(tile: TileKey) -> dict[str, str]:
    return {"plate": tile.plate, "well": tile.well, "tile": tile.tile}


def _optics(config: OpsConfig, manifest: Manifest) -> Optics:
    """How the channels are used; refuses what cannot be worked on, before any work."""
    if "t" not in manifest.axes and not config.raw.sbs.cycles:
        raise InputError(
            "the sequencing images have no cycles: put {cycle} where the files' names have it, or "
            "say with `axes` which axis of the files is t"
        )
    spacing = (manifest.spacing.get("y"), manifest.spacing.get("x"))
    if spacing[0] is None or spacing[1] is None:
        raise ConfigError(
            "the files do not say how large a pixel is: give raw.sbs.pixel_size in micrometres"
        )
    bases, chemistry = base_channels(config, manifest.channels)
    nuclear = nuclear_channel(config.segment, manifest.channels)
    names = [
        f"base {bases.index(k) + 1}" if name == "auto" else name
        for k, name in enumerate(manifest.channels)
    ]
    return Optics(
        tuple(names),
        bases,
        nuclear,
        chemistry,
        (spacing[0], spacing[1]),
        order_is_open(config, manifest.channels),
        _absent(manifest, bases, nuclear, learned=config.profiles.embeddings is not None),
    )


def _absent(
    manifest: Manifest, bases: Sequence[int], nuclear: int | None, *, learned: bool
) -> tuple[tuple[int, int], ...]:
    """Images that were not taken; those that a run cannot do without are asked for."""
    absent, cycles = manifest.absent, range(len(manifest.cycles))
    without = next(((t, c) for t, c in absent if c in bases), None)
    if without is not None:
        cycle, base = manifest.cycles[without[0]], manifest.channels[without[1]]
        raise ConfigError(
            f"only_in leaves cycle {cycle} without the base channel {base}: every cycle needs all "
            "of them; leave the cycle out with cycles"
        )
    stain = "" if nuclear is None else manifest.channels[nuclear]
    if nuclear is not None and all((t, nuclear) in absent for t in cycles):
        raise ConfigError(
            f"only_in gives {stain} to none of the cycles {', '.join(manifest.cycles)}: name one, "
            "or give segment.channel: none"
        )
    if learned and (0, nuclear) in absent:
        raise ConfigError(
            f"only_in leaves cycle {manifest.cycles[0]} without {stain}, in which embeddings are "
            "learned: leave profiles.embeddings out"
        )
    return absent


pipeline = OpsPipeline()
