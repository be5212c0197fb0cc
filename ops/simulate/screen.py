"""A simulated screen on disk: raw TIFF files, library, configuration, and the truth beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import yaml
from numpy.typing import NDArray

from poolvox.ops.chemistry import resolve_chemistry
from poolvox.ops.simulate.params import BASES, ScreenParams
from poolvox.ops.simulate.phenotype import (
    choose_hits,
    phenotype_channels,
    phenotype_transform,
    simulate_phenotype,
)
from poolvox.ops.simulate.reads import decay_profile, make_library, mixing_matrix, phasing_matrix
from poolvox.ops.simulate.tile import Truth, simulate_tile
from poolvox.shared.errors import ConfigError

__all__ = ["simulate_screen"]

# Chemistries that a configuration names instead of listing their table.
NAMED = ("four-colour", *(f"three-colour(dark: {base})" for base in BASES), "two-colour")
SBS_FILES = "raw/c{cycle}/W-{well}_T-{tile}_C-{cycle}.tif"
PHENOTYPE_FILES = "raw/pheno/W-{well}_T-{tile}.tif"


def simulate_screen(out: Path | str, params: ScreenParams | None = None) -> Path:
    """Write a screen as a microscope would, and what is true of it.

    Parameters
    ----------
    out : folder; made if it is not there
    params : what to simulate

    Returns
    -------
    Path of a configuration that `poolvox run` takes. Beside it lie `raw/`, `library.csv` and
    `truth/` (cells, reads, shifts of all tiles, mixing, phasing, and gains with decay).
    """
    params = params or ScreenParams()
    out = Path(out)
    (out / "truth").mkdir(parents=True, exist_ok=True)
    # Every tile has a generator of its own, so that a screen with more tiles begins with these.
    library = make_library(params.guides, params.cycles, np.random.default_rng([params.seed, 0]))
    _listed(library).to_csv(out / "library.csv", index=False)
    hits = choose_hits(
        library,
        params.phenotype.hits if params.phenotype else 0,
        np.random.default_rng([params.seed, 1]),
    )
    tables: dict[str, list[pd.DataFrame]] = {}
    for index, (well, tile) in enumerate(_tiles(params)):
        rng = np.random.default_rng([params.seed, 2, index])
        for name, table in _write_tile(out, well, tile, library, hits, params, rng).items():
            tables.setdefault(name, []).append(table)
    for name, parts in tables.items():
        pd.concat(parts, ignore_index=True).to_parquet(out / "truth" / f"{name}.parquet")
    _write_chemistry(out / "truth", params)
    pd.DataFrame({"gene": hits}).to_parquet(out / "truth" / "hits.parquet")
    return _write_config(out, params)


def _listed(library: pd.DataFrame) -> pd.DataFrame:
    """The library as its users have it: a guide with two barcodes has a column for each."""
    return library.drop(columns="barcode") if "barcode_b" in library else library


def _tiles(params: ScreenParams) -> list[tuple[str, str]]:
    return [(well, str(tile)) for well in params.wells for tile in range(1, params.tiles + 1)]


def _write_tile(
    out: Path,
    well: str,
    tile: str,
    library: pd.DataFrame,
    hits: list[str],
    params: ScreenParams,
    rng: np.random.Generator,
) -> dict[str, pd.DataFrame]:
    faults, name = params.faults, f"{well}/{tile}"
    images, truth = simulate_tile(
        params,
        rng,
        library=library,
        blank=_cycles(faults.blank_cycles, name),
        blurred=_cycles(faults.blurred_cycles, name),
    )
    if name not in faults.missing_tiles:
        dropped = _cycles(faults.dropped_cycles, name)
        for cycle in sorted(set(range(1, params.cycles + 1)) - set(dropped)):
            path = out / SBS_FILES.format(cycle=cycle, well=well, tile=tile)
            _write_tiff(path, images[cycle - 1], params.channels, params.camera.pixel_size)
    tables = {"cells": truth.cells, "reads": truth.reads, "shifts": truth.shifts}
    if params.phenotype is not None:
        tables |= _write_phenotype(out, well, tile, truth, hits, params, rng)
    place = {"well": well, "tile": tile}
    return {key: _keyed(table, place) for key, table in tables.items()}


def _keyed(table: pd.DataFrame, place: dict[str, str]) -> pd.DataFrame:
    keys = pd.DataFrame({key: [value] * len(table) for key, value in place.items()})
    return pd.concat([keys, table.reset_index(drop=True)], axis=1)


def _cycles(listed: tuple[tuple[str, int], ...], name: str) -> tuple[int, ...]:
    return tuple(cycle for tile, cycle in listed if tile == name)


def _write_phenotype(
    out: Path,
    well: str,
    tile: str,
    truth: Truth,
    hits: list[str],
    params: ScreenParams,
    rng: np.random.Generator,
) -> dict[str, pd.DataFrame]:
    assert params.phenotype is not None
    image, cells = simulate_phenotype(truth, params, hits, rng)
    size = params.camera.pixel_size / params.phenotype.magnification
    path = out / PHENOTYPE_FILES.format(well=well, tile=tile)
    _write_tiff(path, image, phenotype_channels(params), size)
    transform = phenotype_transform(params.phenotype, params.layout.shape)
    (yy, yx), (xy, xx) = transform.matrix
    values = (yy, yx, xy, xx, *transform.shift)
    names = ("yy", "yx", "xy", "xx", "shift_y", "shift_x")
    return {"phenotype_cells": cells, "phenotype_transforms": pd.DataFrame([values], columns=names)}


def _write_tiff(
    path: Path, image: NDArray[np.uint16], channels: tuple[str, ...], pixel_size: float
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        image,
        imagej=True,
        resolution=(1 / pixel_size, 1 / pixel_size),
        metadata={"axes": "CYX", "unit": "um", "Labels": list(channels)},
    )


def _write_chemistry(folder: Path, params: ScreenParams) -> None:
    chemistry, cycles = params.chemistry, params.cycles
    channels = list(chemistry.channels)
    mixing = pd.DataFrame(mixing_matrix(chemistry), index=channels, columns=channels)
    mixing.rename_axis("dye").reset_index().to_parquet(folder / "mixing.parquet")
    shares = phasing_matrix(cycles, chemistry.phasing, chemistry.prephasing)
    names = [f"base_{j + 1}" for j in range(shares.shape[1])]
    phasing = pd.DataFrame(shares, columns=names)
    phasing.insert(0, "cycle", np.arange(1, cycles + 1))
    phasing.to_parquet(folder / "phasing.parquet")
    gains = pd.DataFrame(np.outer(decay_profile(cycles, chemistry), chemistry.gains))
    gains.columns = pd.Index(channels)
    gains.insert(0, "cycle", np.arange(1, cycles + 1))
    gains.to_parquet(folder / "gains.parquet")


def _write_config(out: Path, params: ScreenParams) -> Path:
    raw: dict[str, object] = {
        "sbs": {
            "files": SBS_FILES,
            "channels": list(params.channels),
            "pixel_size": params.camera.pixel_size,
        }
    }
    if params.phenotype is not None:
        raw["phenotype"] = {
            "files": PHENOTYPE_FILES,
            "channels": list(phenotype_channels(params)),
            "pixel_size": params.camera.pixel_size / params.phenotype.magnification,
        }
    config = {
        "pipeline": "ops",
        "output": "run",
        "raw": raw,
        "library": {
            "file": "library.csv",
            **_barcode_block(params),
            "guide": "sgRNA",
            "gene": "gene_symbol",
            "controls": "nontargeting",
        },
        "chemistry": _chemistry_block(params),
        "decode": {"fdr": 0.01},
    }
    path = out / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def _barcode_block(params: ScreenParams) -> dict[str, object]:
    second = params.guides.second
    if not second:
        return {"barcode": "barcode"}
    cycles = [list(range(1, count + 1)) for count in (params.cycles - second, second)]
    return {"barcode": ["barcode_a", "barcode_b"], "cycles": cycles}


def _chemistry_block(params: ScreenParams) -> object:
    """The name of a chemistry where it has one, else its table."""
    chemistry = params.chemistry
    lit = [tuple(float(dye > 0) for dye in row) for row in chemistry.code]
    for name in NAMED:
        try:
            if resolve_chemistry(name, chemistry.channels).table == tuple(lit):
                return name
        except ConfigError:
            continue
    return {
        base: [channel for channel, dye in zip(chemistry.channels, row) if dye]
        for base, row in zip(BASES, chemistry.code)
    }
