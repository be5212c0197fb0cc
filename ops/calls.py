"""From the light of the reads to tables: a tile's reads and cells, then the plate's q-values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from poolvox.ops.cells import call_cells, set_calls
from poolvox.ops.codebook import Codebook
from poolvox.ops.config import OpsConfig
from poolvox.ops.decode import decode_reads, q_values, reads_frame
from poolvox.ops.decoys import make_decoys
from poolvox.ops.folder import Folder, keyed
from poolvox.ops.library import Library, LibrarySpec, load_library
from poolvox.ops.pairs import find_recombined, flag_recombined
from poolvox.ops.parts import load_reads, load_signal
from poolvox.ops.published import call_published
from poolvox.ops.signal import apply_corrections
from poolvox.shared.errors import InputError
from poolvox.shared.ingest import TileKey
from poolvox.shared.store import join_tables, read_table, write_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["call_plate", "decode_tile", "load_codebook"]


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
        calls = decode_reads(signals.loglik, codebook, signal.errors, steady=signals.steady)
        cells, found = call_cells(calls, reads.neighbours, codebook, library, signal.errors)
        called = reads_frame(calls, signals.loglik, codebook, signal.errors)
        if library.paired:
            pairs = find_recombined(signals.loglik, library, calls, signal.errors)
            called = called.join(pairs)
            cells = flag_recombined(cells, called, reads.labels)
        shares = {"untransduced": found.untransduced, "doublets": found.doublets}
    places = {"Metadata_Y": reads.y, "Metadata_X": reads.x, "Metadata_Label": reads.labels}
    frame = pd.DataFrame(places | {"Read_Peak": reads.peak, "Read_SNR": reads.snr}).join(called)
    write_table(keyed(frame, tile), folder.called(name, "reads"))
    for axis, place, scale in zip("YX", reads.centres.T, spacing, strict=True):
        cells[f"Metadata_{axis}"], cells[f"Metadata_{axis}_um"] = place, place * scale
    trusted = bool(read_table(folder.planes(name), ["Align_Trusted"])["Align_Trusted"].all())
    cells["QC_Alignment"], cells["QC_Reason"] = not trusted, "" if trusted else "Alignment"
    write_table(keyed(cells, tile), folder.called(name, "cells"))
    mapped = int((frame["Read_Barcode"] != "").sum())
    return {"reads": len(frame), "mapped": mapped, "cells": len(cells), **shares}


def call_plate(
    folder: Folder, tiles: Sequence[TileKey], config: OpsConfig, cycles: int
) -> dict[str, Any]:
    """Give reads and cells the q-values of the whole plate, and write the tables."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Most of it is text, which need not become objects of Python and text again.
    reads = _together(folder, tiles, "reads")
    strangers = load_signal(folder.signal("plate")).strangers
    library, codebook = load_codebook(config, cycles, strangers)
    cells = _together(folder, tiles, "cells").to_pandas()
    if config.decode.method != "classic":
        score, decoy = reads["Read_Score"].to_numpy(), reads["Read_Decoy"].to_numpy()
        found = pa.array(q_values(score, decoy, ratio=codebook.ratio), from_pandas=False)
        reads = reads.drop_columns(["Read_Score"])
        place = reads.column_names.index("Read_QValue")
        reads = reads.set_column(place, "Read_QValue", found)
        cells = set_calls(cells, library, fdr=config.decode.fdr, ratio=codebook.ratio)
    write_table(reads, folder.table("reads"))
    write_table(cells, folder.table("cells"))
    inside = reads["Metadata_Label"].to_numpy() > 0
    mapped = pc.not_equal(reads["Read_Barcode"], "").to_numpy() & inside
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
def _codebook(
    library: str, cycles: int, seed: int, strangers: str, written: tuple[int, int]
) -> tuple[Library, Codebook]:
    """`written` is not read: it parts a file from what it was before it was edited."""
    found = load_library(LibrarySpec.model_validate_json(library), cycles)
    decoys = make_decoys(found, np.random.default_rng([seed, 0]))
    odd = pd.DataFrame(json.loads(strangers)) if strangers else None
    return found, Codebook.make(found, decoys, odd)


def load_codebook(
    config: OpsConfig, cycles: int, strangers: pd.DataFrame | None = None
) -> tuple[Library, Codebook]:
    """The library cut to the cycles, and its words with decoys; made once per process."""
    odd = "" if strangers is None else json.dumps(strangers.to_dict("list"))
    state = config.library.file.stat()
    written = (state.st_mtime_ns, state.st_size)
    return _codebook(config.library.model_dump_json(), cycles, config.decode.seed, odd, written)


def _together(folder: Folder, tiles: Sequence[TileKey], kind: str) -> pa.Table:
    paths = [folder.called(str(tile), kind) for tile in tiles]
    there = [path for path in paths if path.exists()]
    if not there:
        raise InputError("no tile could be decoded: see the reasons of the failed tiles")
    return join_tables(there)
