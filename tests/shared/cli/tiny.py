"""A small but real pipeline: bright pixels of each tile are counted and gathered in a table."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from poolvox.shared.config import RunConfig
from poolvox.shared.engine import Unit
from poolvox.shared.engine.pipeline import Check
from poolvox.shared.ingest import RawSpec, TileKey, scan
from poolvox.shared.report.figures import show_image
from poolvox.shared.report.plates import show_plate
from poolvox.shared.report.section import Section, Table
from poolvox.shared.store import read_table, write_table

BRIGHT = 1000
TILES = [(well, tile) for well in ("A1", "A2", "B1") for tile in (1, 2)]


class TinyConfig(RunConfig):
    raw: RawSpec
    threshold: float = 500.0
    crash: bool = False


class TinyPipeline:
    name = "tiny"
    steps = ("count", "gather")
    config_model = TinyConfig

    def plan(self, config: TinyConfig) -> list[Unit]:
        if config.crash:
            raise RuntimeError("planted: the plan has a bug")
        manifest = scan(config.raw, config.output.parent, config.plate)
        counts = [_count_unit(config, manifest, key) for key in manifest.tiles]
        table = config.output / "tables" / "counts.parquet"
        parts = [unit.outputs[0] for unit in counts]
        gather = Unit(
            "gather/plate",
            "gather",
            partial(gather_counts, parts, table),
            needs=tuple(unit.key for unit in counts),
            outputs=(table,),
            tolerant=True,
        )
        return [*counts, gather]

    def problems(self, config: TinyConfig) -> list[tuple[str, str]]:
        manifest = scan(config.raw, config.output.parent, config.plate)
        return [(str(key), reason) for key, reason in manifest.bad.items()]

    def sections(self, config: TinyConfig) -> list[Section]:
        table = read_table(config.output / "tables" / "counts.parquet")
        by_well = table.groupby("Metadata_Well")["Count"].sum()
        picture = np.add.outer(np.arange(64.0), np.arange(64.0))
        return [
            Section(
                "Bright pixels <b>per tile</b>",
                text="Pixels above the threshold.\n\nEach is counted once.",
                facts=(("pixels", str(table["Count"].sum())),),
                tables=(Table(table, "Counts of the tiles", "tables/counts.parquet"),),
                figures=(
                    show_plate(by_well.to_dict(), "Bright pixels per well", label="pixels"),
                    show_image(picture, "A ramp", spacing=(0.5, 0.5)),
                ),
            )
        ]

    def template(self, folder: Path) -> str:
        return (
            "pipeline: tiny\noutput: out  # the folder of the run\n"
            f"raw: {{files: '{folder}/{{well}}_{{tile}}.tif', pixel_size: 1.0}}\n"
        )

    def simulate(self, out: Path, *, seed: int) -> Path:
        raw = out / "raw"
        truth = write_raw(raw, np.random.default_rng(seed))
        truth.to_csv(out / "truth.csv", index=False)
        config = out / "tiny.yaml"
        config.write_text(self.template(Path("raw")))
        return config

    def judge(self, config: TinyConfig) -> list[Check]:
        table = read_table(config.output / "tables" / "counts.parquet")
        truth = pd.read_csv(config.output.parent / "truth.csv")
        found = table["Count"].to_numpy() == truth["count"].to_numpy()
        return [Check("tiles counted right", float(found.mean()), 1.0)]


def write_raw(folder: Path, rng: np.random.Generator) -> pd.DataFrame:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for well, tile in TILES:
        image = rng.integers(0, 100, (48, 48)).astype(np.uint16)
        count = int(rng.integers(5, 50))
        image.flat[rng.choice(image.size, count, replace=False)] = BRIGHT
        tifffile.imwrite(folder / f"{well}_{tile}.tif", image)
        rows.append((well, tile, count))
    return pd.DataFrame(rows, columns=["well", "tile", "count"])


def count_tile(manifest, key: TileKey, threshold: float, part: Path) -> dict:
    count = int((manifest.read(key) > threshold).sum())
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(str(count))
    return {"count": count, "warnings": ["few bright pixels"] if count < 10 else []}


def gather_counts(parts: list[Path], table: Path) -> dict:
    there = [part for part in parts if part.exists()]
    names = [part.stem.split("-") for part in there]
    frame = pd.DataFrame(names, columns=["Metadata_Plate", "Metadata_Well", "Metadata_Tile"])
    frame["Count"] = [int(part.read_text()) for part in there]
    table.parent.mkdir(parents=True, exist_ok=True)
    write_table(frame, table)
    return {"tiles": len(frame)}


def _count_unit(config: TinyConfig, manifest, key: TileKey) -> Unit:
    part = config.output / "parts" / f"{key}.txt"
    return Unit(
        f"count/{key}",
        "count",
        partial(count_tile, manifest, key, config.threshold, part),
        params={"threshold": config.threshold},
        inputs=manifest.files_of(key),
        outputs=(part,),
        where={"plate": key.plate, "well": key.well, "tile": key.tile},
    )


pipeline = TinyPipeline()
