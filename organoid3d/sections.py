"""What the report tells of a run on organoids: pictures, counts, sizes, depth and flags."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.config import Organoid3dConfig, nuclear_channel
from poolvox.organoid3d.folder import Folder
from poolvox.organoid3d.qc import FLAGS
from poolvox.shared.report.figures import (
    show_curves,
    show_histogram,
    show_montage,
)
from poolvox.shared.report.plates import show_plate
from poolvox.shared.report.section import Figure, Section, Table
from poolvox.shared.store import Image, open_plate, read_table

__all__ = ["make_sections", "orthogonal_cuts"]

# Stacks that are shown; a report with all of a plate would not open.
MAX_STACKS = 6
VOLUME = "Nuclei_Shape_Volume_um3"
DEGREE = "Nuclei_Graph_Degree"
DEPTH = "Nuclei_Position_DepthMean_um"
BRIGHTNESS = "Nuclei_Intensity_Mean_"
# What the table of organoids shows of thousands of columns.
ORGANOID_COLUMNS = {
    "Metadata_Well": "well",
    "Metadata_Organoid": "stack",
    "Metadata_Label": "label",
    "Organoids_Count_Nuclei": "nuclei",
    "Organoids_Shape_Volume_um3": "volume (µm³)",
    "Organoids_Shape_Sphericity": "sphericity",
    "Organoids_Filling_LumenFraction": "lumen fraction",
    "Organoids_Filling_Thickness_um": "thickness (µm)",
    "Organoids_Count_Buds": "buds",
    "Organoids_Filling_NucleiDensity_per_um3": "nuclei per µm³",
    "Organoids_Graph_DegreeMean": "neighbours, mean",
}
# Labels that pictures show.
SHOWN = ("nuclei", "cells", "lumens", "organoids")
# What the report calls the facts of a stack.
FACT_COLUMNS = {
    "well": "well",
    "organoid": "stack",
    "organoids": "organoids",
    "nuclei": "nuclei",
    "lumens": "lumens",
    "diameter_um": "nucleus diameter (µm)",
    "scale": "scale (z x y x x)",
    "attenuation_per_um": "loss per µm",
    "attenuation_r2": "r2",
    "corrected": "corrected",
    "attenuation_reason": "why not",
}
COUNTED = ("well", "organoid", "organoids", "nuclei", "lumens", "diameter_um", "scale")
FADED = ("well", "organoid", "attenuation_per_um", "attenuation_r2", "corrected")
# Voxels of a stack that are shown; of larger ones a coarser level of the pyramid is.
MAX_SHOWN = 50_000_000
# Slices of a depth profile, each with as many nuclei; fewer nuclei than this make no slice.
DEPTH_SLICES = 8
MIN_PER_SLICE = 5


def make_sections(config: Organoid3dConfig) -> list[Section]:
    """Make the chapters, from the files of the run alone."""
    folder = Folder(config.output)
    facts = _facts(folder)
    if facts.empty:
        return [Section("Organoids", "No stack was finished, so there is nothing to show.")]
    if not folder.table("nuclei").exists():
        return [_segmentation(config, folder, facts), _depth(facts)]
    organoids = _read(folder, "organoids", (*ORGANOID_COLUMNS, *FLAGS))
    nuclei = _read(folder, "nuclei", (VOLUME, DEGREE, DEPTH, *FLAGS), BRIGHTNESS)
    return [
        _segmentation(config, folder, facts),
        _counts(facts, organoids, nuclei),
        *_tissue(nuclei),
        _depth(facts),
        _quality(organoids, nuclei),
    ]


def orthogonal_cuts(image: Image, channel: str, title: str) -> Figure:
    """Three cuts where they cross most nuclei, with outlines, and what surrounds the nuclei."""
    level = _level(image)
    stack = image.image(level)
    pixels = stack.sel(c=channel).to_numpy() if "c" in stack.dims else stack.to_numpy()
    found = {name: image.labels(name, level).to_numpy() for name in SHOWN}
    z, y, x = _fullest_planes(found["nuclei"])
    steps = stack.attrs["spacing"]
    tall = max(1, round(steps["z"] / steps["y"]))
    cuts: list[tuple[Any, int]] = [(np.s_[z], 1), (np.s_[:, y], tall), (np.s_[:, :, x], tall)]
    # Planes are repeated, so that outlines are as thin along z.
    images = [np.repeat(pixels[cut], times, axis=0) for cut, times in cuts]
    nuclei = [np.repeat(found["nuclei"][cut], times, axis=0) for cut, times in cuts]
    plane, deep = (steps["y"], steps["x"]), steps["z"] / tall
    return show_montage(
        [*images, images[0]],
        f"{title}: nuclei in cuts across z, y and x where these cross most of them; last, the cut "
        "across z with the organoid (orange), its lumens (blue) and cells (green).",
        titles=(*(f"across {axis}" for axis in "zyx"), "organoid, lumens, cells"),
        labels=[*nuclei, [found[name][z] for name in ("organoids", "lumens", "cells")]],
        spacing=[plane, (deep, steps["x"]), (deep, steps["y"]), plane],
        columns=2,
    )


def _fullest_planes(labels: NDArray[Any]) -> list[int]:
    """Of each axis, the plane that crosses most objects; of several the one in their middle."""
    # Labels may be larger than a table of them could be long.
    names, numbers = np.unique(labels, return_inverse=True)
    boxes = ndimage.find_objects(numbers.reshape(labels.shape) + int(names[0] != 0))
    planes = []
    for axis, size in enumerate(labels.shape):
        crossed = np.zeros(size, np.int64)
        for box in boxes:
            crossed[box[axis]] += 1
        fullest = np.flatnonzero(crossed == crossed.max())
        planes.append(int(fullest[len(fullest) // 2]))
    return planes


def _facts(folder: Folder) -> pd.DataFrame:
    paths = sorted((folder.root / "parts" / "facts").glob("*.json"))
    return pd.DataFrame([json.loads(path.read_text(encoding="utf-8")) for path in paths])


def _named(facts: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    return facts[[*columns]].rename(columns=FACT_COLUMNS)


def _level(image: Image) -> int:
    """Finest level of the pyramid that is small enough to be shown whole."""
    sizes = [int(np.prod(image.array(level).shape[-3:])) for level in range(image.levels)]
    return next((k for k, size in enumerate(sizes) if size <= MAX_SHOWN), len(sizes) - 1)


def _read(folder: Folder, name: str, names: tuple[str, ...], stem: str | None = None) -> Any:
    """Those of the columns that the tables have, and those that begin with `stem`."""
    from pyarrow.parquet import read_schema

    path = folder.table(name)
    there = read_schema(path).names
    wanted = [name for name in names if name in there]
    wanted += [name for name in there if stem is not None and name.startswith(stem)]
    table = read_table(path, wanted)
    for flag in (name for name in FLAGS if name in table):
        # Only networks tell how sure they are.
        table[flag] = table[flag].eq(True)
    return table


def _segmentation(config: Organoid3dConfig, folder: Folder, facts: pd.DataFrame) -> Section:
    plate = open_plate(folder.plate)
    figures: list[Figure] = []
    for well in plate.wells:
        for tile in plate[well].tiles:
            image = plate[well][tile]
            if len(figures) < MAX_STACKS and "nuclei" in image.label_names:
                channel = nuclear_channel(config, image.channels)
                figures.append(orthogonal_cuts(image, channel, f"{well}, {tile}"))
    text = "Nuclei, organoids, lumens and cells were looked for in every stack listed below."
    if len(figures) < len(facts):
        text += f" The first {len(figures)} of {len(facts)} stacks are shown."
    notes = _notes(facts)
    found = tuple(
        (name, f"{int(facts[name].sum()):,}") for name in ("organoids", "nuclei", "lumens")
    )
    return Section(
        "Segmentation",
        text,
        tables=(Table(notes, "What is worth knowing of single stacks"),) if len(notes) else (),
        facts=(
            ("stacks", f"{len(facts):,}"),
            *found,
            ("method for nuclei", ", ".join(sorted(set(facts["method"])))),
        ),
        figures=tuple(figures),
        headline=found,
    )


def _notes(facts: pd.DataFrame) -> pd.DataFrame:
    """What was noted, and of which stacks."""
    each = facts[["well", "organoid", "warnings"]].explode("warnings").dropna()
    stacks = each["well"] + ", " + each["organoid"]
    grouped = stacks.groupby(each["warnings"])
    rows = [
        {"note": note, "stacks": len(names), "such as": "; ".join(names[:MAX_STACKS])}
        for note, names in grouped
    ]
    return pd.DataFrame(rows)


def _counts(facts: pd.DataFrame, organoids: pd.DataFrame, nuclei: pd.DataFrame) -> Section:
    figures: list[Figure] = []
    if VOLUME in nuclei:
        diameters = np.cbrt(nuclei[VOLUME] * 6 / np.pi)
        figures.append(
            show_histogram(
                diameters,
                "Diameters of the balls with the nuclei's volumes.",
                label="nucleus diameter",
                unit="µm",
            )
        )
    per_well = {str(well): float(n) for well, n in facts.groupby("well")["nuclei"].sum().items()}
    if len(per_well) > 1:
        figures.append(show_plate(per_well, "Nuclei per well.", label="nuclei"))
    shown = organoids[[name for name in ORGANOID_COLUMNS if name in organoids]]
    shown = shown.rename(columns=ORGANOID_COLUMNS)
    return Section(
        "Counts and sizes",
        tables=(
            Table(
                _named(facts, COUNTED),
                "Stacks: what was found, and the nucleus diameter that was used",
            ),
            Table(shown, "Organoids; the whole table has all features", "tables/organoids.parquet"),
        ),
        figures=tuple(figures),
    )


def _tissue(nuclei: pd.DataFrame) -> list[Section]:
    """Neighbours, and what changes with depth; no section where neither was measured."""
    figures: list[Figure] = []
    degrees = nuclei[DEGREE].dropna() if DEGREE in nuclei else pd.Series(dtype=float)
    if len(degrees):
        counts = degrees.astype(int).value_counts()
        counts = counts.reindex(range(counts.index.min(), counts.index.max() + 1), fill_value=0)
        figures.append(
            show_curves(
                {"nuclei": (counts.index, counts)},
                "Number of neighbours of a nucleus in the tissue graph: "
                f"{degrees.mean():.1f} on average.",
                x="neighbours",
                y="nuclei",
            )
        )
    profile = _by_depth(nuclei)
    if VOLUME in profile:
        figures.append(
            show_curves(
                {"median": (profile[DEPTH], profile[VOLUME])},
                "Volume of nuclei by their depth below the organoid's surface.",
                x="depth below the surface",
                x_unit="µm",
                y="volume",
                y_unit="µm³",
            )
        )
    channels = [name for name in profile if str(name).startswith(BRIGHTNESS)]
    if channels:
        relative = profile[channels] / nuclei[channels].median()
        figures.append(
            show_curves(
                {
                    str(name).removeprefix(BRIGHTNESS): (profile[DEPTH], relative[name])
                    for name in channels
                },
                "Brightness of nuclei by their depth below the organoid's surface: medians over "
                "the channel's median, background included.",
                x="depth below the surface",
                x_unit="µm",
                y="relative brightness",
            )
        )
    text = "All stacks together. Each slice of depth holds as many nuclei."
    return [Section("Tissue", text, figures=tuple(figures))] if figures else []


def _by_depth(nuclei: pd.DataFrame) -> pd.DataFrame:
    """Medians in slices of depth; empty where there are too few nuclei with a depth."""
    if DEPTH not in nuclei:
        return pd.DataFrame()
    known = nuclei[nuclei[DEPTH].notna()]
    slices = min(DEPTH_SLICES, len(known) // MIN_PER_SLICE)
    if slices < 2 or known[DEPTH].nunique() < 2:
        return pd.DataFrame()
    numbers = known[[name for name in known if not str(name).startswith("QC_") and name != DEGREE]]
    place = pd.qcut(known[DEPTH], slices, labels=False, duplicates="drop")
    return numbers.groupby(place).median()


def _depth(facts: pd.DataFrame) -> Section:
    table = _named(facts, (*FADED, "attenuation_reason"))
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
    flagged = nuclei[[flag for flag in FLAGS if flag in nuclei]].any(axis=1)
    return Section(
        "Quality",
        "Objects are flagged, never dropped; an object may carry several flags.",
        tables=(Table(pd.DataFrame(rows), "Flags"),),
        headline=(("nuclei with a flag", f"{int(flagged.sum()):,}"),) if len(nuclei) else (),
    )
