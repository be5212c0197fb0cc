"""The chapters of a report on a pooled screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from poolvox.ops.cell_sections import RATES, cell_section, part, share_below, tell_joined
from poolvox.ops.config import OpsConfig, nuclear_channel
from poolvox.ops.folder import Folder
from poolvox.ops.library import Library, load_library
from poolvox.ops.parts import load_signal
from poolvox.ops.signal import Corrections
from poolvox.shared.errors import InputError
from poolvox.shared.ingest import TileKey
from poolvox.shared.ingest.gaps import find_gaps
from poolvox.shared.report.figures import CurveStyle, show_curves, show_histogram, show_montage
from poolvox.shared.report.section import Figure, Section, Table
from poolvox.shared.store import open_plate, read_table

__all__ = ["make_sections"]

# Side of the part of a tile that is shown, in micrometres and in pixels.
SHOWN_UM = 220.0
SHOWN = (96, 512)
# Colours of the bases, as sequencers draw them.
STYLE = CurveStyle(
    colors={"A": "#009E73", "C": "#0072B2", "G": "#000000", "T": "#D55E00"}, from_zero=True
)
KEYS = ["Metadata_Well", "Metadata_Tile"]
MOST_BARCODES = 50


def make_sections(config: OpsConfig) -> list[Section]:
    """Tell what a run found, from its files; chapters without files are left out."""
    folder = Folder(config.output)
    library = _library_of(config, folder)
    makers = (_tiles, _images, _alignment, _signal, _reads)
    found = [section for maker in makers for section in maker(config, folder)]
    found += [*cell_section(config, folder, library), *_library(library), *_left_out(config)]
    return found


def _library_of(config: OpsConfig, folder: Folder) -> Library | None:
    """The library in the cycles that were decoded; None where the file is no longer there."""
    path = folder.signal("plate")
    if not path.exists():
        return None
    try:
        return load_library(config.library, load_signal(path).corrections.cycles)
    except InputError:
        return None


def _library(library: Library | None) -> Iterator[Section]:
    if library is None:
        return
    found = library.report.summary()
    genes = set(library.entries["gene"]) - {""}
    yield Section(
        "Library",
        facts=(
            ("guides", f"{library.entries['guide'].nunique():,}"),
            ("genes", f"{len(genes):,}"),
            ("barcodes of controls", f"{int(library.controls.sum()):,}"),
            ("barcodes, in the cycles read", f"{len(library):,}"),
            ("bases that differ, at least", str(library.report.min_distance)),
        ),
        tables=(Table(found, "What is odd about its rows"),) if len(found) else (),
    )


def _tiles(config: OpsConfig, folder: Folder) -> Iterator[Section]:
    paths = sorted((folder.root / "parts" / "images").glob("*.parquet"))
    keys = ["Metadata_Plate", *KEYS]
    places = [read_table(path, keys).iloc[0].astype(str) for path in paths]
    gaps = find_gaps(TileKey(*place) for place in places)
    if gaps:
        yield Section(
            "Missing tiles",
            "These tiles have no files, or failed. Nobody says how many tiles a well should have: "
            "the wells are held against each other, and the tiles against their numbers.",
            tables=(Table(pd.DataFrame(gaps, columns=["Place", "Tiles"]), "Places"),),
        )


def _images(config: OpsConfig, folder: Folder) -> Iterator[Section]:
    if config.store.images == "none" or not (folder.plate.exists()):
        return
    plate = open_plate(folder.plate)
    fields = [plate[well][tile] for well in plate.wells for tile in plate[well].tiles]
    field = next((field for field in fields if field.exists and field.complete), None)
    if field is None:
        return
    image = field.image()
    window = {axis: _middle(image.sizes[axis], field.spacing[axis]) for axis in "yx"}
    shown = image.isel(window).isel(t=[0, -1]).to_numpy()
    names = [str(name) for name in image["c"].to_numpy()]
    labels = field.labels("cells").isel(window).to_numpy()
    # Outlines would hide the reads, which lie at the borders of cells.
    outlined = [None if k in _bases(config, names) else labels for k in range(len(names))]
    planes = [shown[t, c] for t in (0, -1) for c in range(len(names))]
    titles = [f"{when}, {name}" for when in ("first cycle", "last cycle") for name in names]
    titles = [t if plane.any() else f"{t}: none" for t, plane in zip(titles, planes, strict=True)]
    outlines = "; outlines are cells" if labels.any() else ""
    caption = (
        f"The middle of tile {field.path.name} of well {field.path.parent.parent.name}"
        f"{field.path.parent.name}, aligned{outlines}."
    )
    figure = show_montage(
        planes,
        caption,
        titles=titles,
        labels=outlined * 2,
        spacing=(field.spacing["y"], field.spacing["x"]),
        columns=len(names),
    )
    yield Section("Sequencing images", figures=(figure,))


def _alignment(config: OpsConfig, folder: Folder) -> Iterator[Section]:
    paths = sorted((folder.root / "parts" / "images").glob("*.parquet"))
    if not paths:
        return
    planes = pd.concat([read_table(path) for path in paths], ignore_index=True)
    seen = planes[np.isfinite(planes["Align_Residual"])]
    by_cycle = seen.groupby("Align_Cycle")["Align_Residual"]
    drift = np.hypot(planes["Align_ShiftY"], planes["Align_ShiftX"])
    curves = {
        "median": (by_cycle.median().index, by_cycle.median()),
        "95th percentile": (by_cycle.quantile(0.95).index, by_cycle.quantile(0.95)),
    }
    bad = planes[~planes["Align_Trusted"].astype(bool)]
    tables = []
    if len(bad):
        columns = [*KEYS, "Align_Cycle", "Align_Channel", "Align_Residual", "Align_Reason"]
        tables.append(Table(bad[columns].reset_index(drop=True), "Planes that are not trusted"))
    yield Section(
        "Alignment",
        "Every plane is aligned to the first cycle. What is left is measured on reads and nuclei "
        "that took no part in finding the transform.",
        facts=(
            ("planes", f"{len(planes):,}"),
            ("residual of 95 % of planes", f"{seen['Align_Residual'].quantile(0.95):.2f} pixels"),
            ("largest drift", f"{drift.max():.1f} pixels"),
            ("planes not trusted", f"{len(bad):,}"),
        ),
        tables=tuple(tables),
        figures=(
            show_curves(
                curves,
                f"What is left; tiles beyond {config.align.max_residual:g} pixels are flagged.",
                x="cycle",
                y="residual",
                y_unit="pixels",
                style=CurveStyle(from_zero=True),
            ),
        ),
    )


def _signal(config: OpsConfig, folder: Folder) -> Iterator[Section]:
    path = folder.signal("plate")
    if not path.exists():
        return
    signal = load_signal(path)
    corrections, model = signal.corrections, signal.errors
    cycles = np.arange(1, corrections.cycles + 1)
    steady = model.steady * (1 - model.mapped)
    gains = {
        channel: (cycles, corrections.gain[:, k] / corrections.gain[0, k])
        for k, channel in enumerate(corrections.channels)
    }
    bases = {base: (cycles, corrections.composition[:, k]) for k, base in enumerate("ACGT")}
    yield Section(
        "Signal",
        "Found from the light of the reads alone, without a look at the library.",
        facts=(
            ("reads in the estimate", f"{corrections.reads:,}"),
            ("phasing per cycle", f"{corrections.phasing:.2%}"),
            ("pre-phasing per cycle", f"{corrections.prephasing:.2%}"),
            ("wrong bases per read and cycle", f"{model.substitution.mean():.2%}"),
            ("spots of one colour in every cycle, no reads", f"{steady:.1%}"),
            *((("order of the channels", signal.order),) if signal.order else ()),
            *_tell_strangers(signal.strangers),
        ),
        tables=(_crosstalk(corrections),),
        figures=(
            show_curves(
                gains,
                "Brightness of each channel over that in the first cycle.",
                x="cycle",
                y="brightness",
                style=STYLE,
            ),
            show_curves(bases, "Share of each base.", x="cycle", y="share of reads", style=STYLE),
        ),
    )


def _tell_strangers(strangers: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Frequent sequences that are not in the library, such as a vector without insert."""
    for name, share in zip(strangers["sequence"], strangers["share"]):
        yield f"not in the library: {name}", f"{share:.1%} of the reads"


def _crosstalk(corrections: Corrections) -> Table:
    states = corrections.states.mean(axis=0)
    relative = states / np.maximum(states.max(axis=1, keepdims=True), 1e-9)
    frame = pd.DataFrame(relative, columns=list(corrections.channels)).round(3)
    frame.insert(0, "base", list("ACGT"))
    # In the order of the channels, so that each base's own light is on the diagonal.
    frame = frame.iloc[np.argsort(states.argmax(axis=1), kind="stable")].reset_index(drop=True)
    return Table(
        frame, "Crosstalk: light of each base over that in its brightest channel, all cycles"
    )


def _reads(config: OpsConfig, folder: Folder) -> Iterator[Section]:
    path = folder.table("reads")
    if not path.exists():
        return
    columns = ["Metadata_Label", "Read_Barcode", "Read_QValue", "Read_Decoy", "Read_Posterior"]
    reads = read_table(path, [*columns, "Read_SNR"])
    without = config.segment.channel == "none"
    judged = reads if without else reads[reads["Metadata_Label"] > 0]
    which = "reads" if without else "reads in cells"
    mapped = judged["Read_Barcode"] != ""
    decoys = judged["Read_Decoy"] & (judged["Read_Posterior"] > 0.5)
    named = judged.loc[mapped, "Read_Barcode"]
    inside = ("reads in cells", f"{len(judged):,} ({part(len(judged), len(reads))})")
    yield Section(
        "Reads",
        "Decoys are as many words as the library has, of the same composition and distance, that "
        "no cell carries: what maps to them by chance tells how many library reads do. On good "
        "screens 60 to 90 % of the reads in cells map; far fewer point to focus, alignment, the "
        "order of the channels or the library.",
        facts=(
            ("reads", f"{len(reads):,}"),
            *(() if without else (inside,)),
            (f"{which} that map", part(int(mapped.sum()), len(judged))),
            (f"{which} that map to decoys", part(int(decoys.sum()), len(judged))),
            *tell_joined(path, config),
        ),
        tables=(_frequent(named, config, folder.signal("plate")),) if without else (),
        figures=_read_figures(judged, mapped, which),
        headline=((f"{which} that map", part(int(mapped.sum()), len(judged))),),
    )


def _read_figures(
    judged: pd.DataFrame, mapped: pd.Series[bool], which: str
) -> tuple[Figure, Figure]:
    share = {
        "library": (RATES * 100, share_below(judged["Read_QValue"], ~judged["Read_Decoy"])),
        "decoys": (RATES * 100, share_below(judged["Read_QValue"], judged["Read_Decoy"])),
    }
    return (
        show_curves(
            share,
            f"Share of the {which} that map, by the rate of false ones accepted.",
            x="false discovery rate",
            x_unit="%",
            y="share of reads",
            style=CurveStyle(from_zero=True, log_x=True),
        ),
        show_histogram(
            {"mapped": judged.loc[mapped, "Read_SNR"], "not": judged.loc[~mapped, "Read_SNR"]},
            f"Brightness of the {which}.",
            label="signal-to-noise ratio in the sum of all planes",
        ),
    )


def _frequent(barcodes: pd.Series[str], config: OpsConfig, signal: Path) -> Table:
    """Reads of each barcode, the most frequent first."""
    counts = barcodes.value_counts().head(MOST_BARCODES).rename_axis("barcode")
    frame = counts.rename("reads").reset_index()
    if len(frame):
        words = load_library(config.library, load_signal(signal).corrections.cycles)
        names = pd.DataFrame({"guide": words.guides, "gene": words.genes}, index=words.words)
        frame = frame.join(names, on="barcode")
    return Table(
        frame, f"Barcodes with most reads, {MOST_BARCODES} at most", "tables/reads.parquet"
    )


def _left_out(config: OpsConfig) -> Iterator[Section]:
    if config.raw.phenotype is not None:
        yield Section(
            "Phenotype",
            "The configuration names phenotype images. This version does not join them to the "
            "cells yet, so they were not looked at.",
        )


def _bases(config: OpsConfig, names: list[str]) -> set[int]:
    nuclear = nuclear_channel(config.segment, tuple(names))
    return set(range(len(names))) - {nuclear} if nuclear is not None else set()


def _middle(size: int, spacing: float) -> slice:
    shown = int(np.clip(SHOWN_UM / spacing, *SHOWN))
    start = max((size - shown) // 2, 0)
    return slice(start, min(start + shown, size))
