"""What the report tells of a run on organoids: pictures, counts, sizes, depth and flags."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from poolvox.organoid3d.config import Organoid3dConfig, nuclear_channel
from poolvox.organoid3d.pipeline import Folder
from poolvox.organoid3d.qc import FLAGS
from poolvox.shared.report.figures import show_histogram, show_montage, show_plate
from poolvox.shared.report.section import Figure, Section, Table
from poolvox.shared.store import Image, open_plate, read_table

__all__ = ["make_sections", "orthogonal_cuts"]

# Stacks that are shown; a report with all of a plate would not open.
MAX_STACKS = 6
VOLUME = "Nuclei_Shape_Volume_um3"


def make_sections(config: Organoid3dConfig) -> list[Section]:
    """Make the chapters, from the files of the run alone."""
    folder = Folder(config.output)
    facts = _facts(folder)
    if facts.empty or not folder.table("nuclei").exists():
        return [Section("Organoids", "No stack was finished, so there is nothing to show.")]
    tables = {name: read_table(folder.table(name)) for name in ("organoids", "nuclei")}
    return [
        _segmentation(config, folder, facts),
        _counts(facts, tables["organoids"], tables["nuclei"]),
        _depth(facts),
        _quality(tables["organoids"], tables["nuclei"]),
    ]


def orthogonal_cuts(image: Image, channel: str, title: str) -> Figure:
    """Three cuts through the middle of the nuclei, with their outlines."""
    stack = image.image()
    pixels = stack.sel(c=channel).to_numpy() if "c" in stack.dims else stack.to_numpy()
    labels = image.labels("nuclei").to_numpy()
    lumens = image.labels("organoids").to_numpy()
    where = np.argwhere(labels > 0)
    middle = where.mean(axis=0) if len(where) else np.array(pixels.shape) / 2
    z, y, x = (round(float(m)) for m in middle)
    spacing = image.spacing
    tall = max(1, round(spacing["z"] / spacing["y"]))
    cuts: list[tuple[Any, int]] = [(np.s_[z], 1), (np.s_[:, y], tall), (np.s_[:, :, x], tall)]
    # Planes are repeated so that depth is drawn to scale.
    images = [np.repeat(pixels[cut], times, axis=0) for cut, times in cuts]
    outlines = [np.repeat(labels[cut], times, axis=0) for cut, times in cuts]
    bodies = [np.repeat(lumens[cut], times, axis=0) for cut, times in cuts]
    return show_montage(
        [*images, images[0]],
        f"{title}: cuts across z, y and x through the middle of the nuclei with their outlines, "
        "and the organoid's outline.",
        titles=("z", "y", "x", "organoid"),
        labels=[*outlines, bodies[0]],
        spacing=(spacing["y"], spacing["x"]),
        columns=4,
    )


def _facts(folder: Folder) -> pd.DataFrame:
    paths = sorted((folder.root / "parts" / "facts").glob("*.json"))
    return pd.DataFrame([json.loads(path.read_text(encoding="utf-8")) for path in paths])


def _segmentation(config: Organoid3dConfig, folder: Folder, facts: pd.DataFrame) -> Section:
    plate = open_plate(folder.plate)
    figures: list[Figure] = []
    for well in plate.wells:
        for tile in plate[well].tiles:
            image = plate[well][tile]
            if len(figures) < MAX_STACKS and "nuclei" in image.label_names:
                channel = nuclear_channel(config, image.channels)
                figures.append(orthogonal_cuts(image, channel, f"{well}, {tile}"))
    notes = sorted({note for notes in facts["warnings"] for note in notes})
    text = "Nuclei, organoids, lumens and cells were found in every stack that is listed below. "
    text += f"The first {len(figures)} of {len(facts)} stacks are shown. "
    text += ("Notes: " + "; ".join(notes) + ".") if notes else ""
    return Section(
        "Segmentation",
        text,
        facts=(
            ("stacks", str(len(facts))),
            ("organoids", str(int(facts["organoids"].sum()))),
            ("nuclei", str(int(facts["nuclei"].sum()))),
            ("lumens", str(int(facts["lumens"].sum()))),
            ("method for nuclei", config.nuclei.model),
        ),
        figures=tuple(figures),
    )


def _counts(facts: pd.DataFrame, organoids: pd.DataFrame, nuclei: pd.DataFrame) -> Section:
    columns = ["well", "organoid", "organoids", "nuclei", "lumens", "diameter_um"]
    figures: list[Figure] = []
    if VOLUME in nuclei:
        diameters = np.cbrt(nuclei[VOLUME] * 6 / np.pi)
        figures.append(
            show_histogram(
                diameters,
                "Diameters of the balls with the nuclei's volumes.",
                label="nucleus diameter",
                unit="um",
            )
        )
    per_well = {str(well): float(n) for well, n in facts.groupby("well")["nuclei"].sum().items()}
    figures.append(show_plate(per_well, "Nuclei per well.", label="nuclei"))
    shown = ("Metadata_", "Organoids_Count", "Organoids_Lumen")
    kept = [column for column in map(str, organoids) if column.startswith(shown)]
    kept += [c for c in ("Organoids_Shape_Volume_um3",) if c in organoids]
    return Section(
        "Counts and sizes",
        tables=(
            Table(facts[columns], "Stacks: what was found, and the nucleus diameter that was used"),
            Table(organoids[kept], "Organoids"),
        ),
        figures=tuple(figures),
    )


def _depth(facts: pd.DataFrame) -> Section:
    columns = ["well", "organoid", "attenuation_per_um", "attenuation_r2", "corrected"]
    table = facts[[*columns, "attenuation_reason"]]
    done = int(facts["corrected"].sum())
    return Section(
        "Light lost with depth",
        "Measured on the nuclei: the logarithm of their intensity over the background against "
        "their depth, by a robust line. It is used only where the fit explains enough. Nuclei "
        f"were looked for in a corrected stack in {done} of {len(facts)} stacks; measurements of "
        "intensity are of the stacks as they are.",
        tables=(Table(table, "Loss per micrometre and r2 of the fit, per stack"),),
    )


def _quality(organoids: pd.DataFrame, nuclei: pd.DataFrame) -> Section:
    rows: list[dict[str, Any]] = []
    for name, table in (("organoids", organoids), ("nuclei", nuclei)):
        for flag, meaning in FLAGS.items():
            if flag in table:
                count = int(table[flag].sum())
                part = count / max(len(table), 1)
                rows.append(
                    {"objects": name, "flag": flag, "meaning": meaning, "count": count}
                    | {"part": f"{part:.1%}"}
                )
    return Section(
        "Quality",
        "Objects are flagged, never dropped; an object may carry several flags.",
        tables=(Table(pd.DataFrame(rows), "Flags"),),
    )
