"""One stack from pixels to labels, and from these to tables, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.organoid3d.cells import find_parents, segment_cells
from poolvox.organoid3d.config import (
    Organoid3dConfig,
    cell_channel,
    nuclear_channel,
    tissue_channels,
    tissue_options,
)
from poolvox.organoid3d.depth import measure_loss
from poolvox.organoid3d.hot import hot_notes, quieten
from poolvox.organoid3d.masks import segment_lumens, segment_organoids
from poolvox.organoid3d.measure import measure_nuclei, measure_organoids, tabulate_edges
from poolvox.organoid3d.nuclei import Nuclei, NucleiRequest, find_prepared
from poolvox.organoid3d.preprocess import Attenuation, check_pixels, prepare_stack
from poolvox.organoid3d.qc import flag_objects, saturated_part
from poolvox.organoid3d.tissue import Tissue
from poolvox.shared.features import find_objects

__all__ = [
    "StackLabels",
    "StackResult",
    "finite",
    "known_or_none",
    "measure_stack",
    "saturated_notes",
    "segment_stack",
    "summarise",
]

Labels = NDArray[np.uint32]
Spacing = tuple[float, float, float]

# More saturated voxels than this are worth a warning.
SATURATED = 0.01


@dataclass(frozen=True, slots=True)
class StackLabels:
    """Labels of a stack, each (Z, Y, X); a cell has the label of its nucleus."""

    NAMES: ClassVar = ("nuclei", "cells", "lumens", "organoids")

    nuclei: Labels
    cells: Labels
    lumens: Labels
    organoids: Labels

    def items(self) -> list[tuple[str, Labels]]:
        """Names and labels."""
        return [(name, getattr(self, name)) for name in self.NAMES]


@dataclass(frozen=True, slots=True)
class StackResult:
    """What was found in a stack, and how.

    Attributes
    ----------
    diameter : of a typical nucleus, micrometres
    attenuation : loss of light with depth, measured on the nuclei
    corrected : nuclei were looked for in a stack corrected for it
    notes : what is worth knowing
    method : what found the nuclei
    probability : (N,) array, how sure a network is of each nucleus; None of other methods
    scale : voxels of the network per voxel of the stack (z, y, x); None of other methods
    threshold : of the probability, below which nothing is a nucleus; None of other methods
    """

    labels: StackLabels
    diameter: float
    attenuation: Attenuation
    corrected: bool
    notes: tuple[str, ...]
    method: str = "classical"
    probability: NDArray[np.float32] | None = None
    scale: Spacing | None = None
    threshold: float | None = None


def segment_stack(
    channels: Mapping[str, NDArray[Any]], spacing: Spacing, config: Organoid3dConfig
) -> StackResult:
    """Find nuclei, organoids, lumens and cells.

    Parameters
    ----------
    channels : (Z, Y, X) arrays by name
    spacing : micrometres
    """
    names = list(channels)
    nuclear = nuclear_channel(config, names)
    used = {nuclear, cell_channel(config, names), *tissue_channels(config, names)}
    quiet, notes = _quiet({name: channels[name] for name in names if name in used})
    shown = {**channels, **quiet}
    prepared = prepare_stack(shown[nuclear], spacing)
    wanted = config.nuclei
    loss = measure_loss(
        prepared.survey,
        spacing,
        correct=config.attenuation == "auto",
        diameter=wanted.diameter,
    )
    found = loss.nuclei
    if loss.corrected or wanted.model != "classical" or not prepared.survey.whole:
        survey = loss.survey
        stack = prepared.stack
        if loss.corrected:
            stack = survey.view.stack if survey.whole else survey.light.deepened(stack.copy())
        request = NucleiRequest(
            wanted.model, wanted.scale, wanted.diameter, survey.view, survey.sample
        )
        found = find_prepared(stack, spacing, request)
    notes += [*prepared.notes, *found.notes]
    notes += saturated_notes({name: saturated_part(image) for name, image in channels.items()})
    light = prepared.survey.light
    # What was cut out is no tissue, though for nuclei it is filled.
    tissue = prepared.stack if light.beyond is None else light.uncut.of(shown[nuclear])
    labels = _surroundings(shown, {nuclear: tissue}, found, spacing, config)
    return StackResult(
        labels,
        found.diameter,
        loss.attenuation,
        loss.corrected,
        tuple(notes),
        found.method,
        found.probability,
        found.scale,
        found.threshold,
    )


def measure_stack(
    channels: Mapping[str, NDArray[Any]],
    labels: StackLabels,
    spacing: Spacing,
    config: Organoid3dConfig,
    *,
    probability: Sequence[float] | NDArray[np.float32] | None = None,
    threshold: float | None = None,
) -> dict[str, pd.DataFrame]:
    """Tables of organoids, nuclei, cells and edges, with parents and flags.

    Parameters
    ----------
    probability : (N,) how sure a network is of each nucleus
    threshold : of the probability, below which the network leaves nuclei out
    """
    settings = config.measuring()
    tissue = Tissue(labels.organoids, labels.lumens, labels.cells)
    objects = find_objects(labels.nuclei, spacing=spacing)
    organoid_of, inside = find_parents(objects, labels.organoids)
    measured = measure_nuclei(objects, channels, spacing=spacing, tissue=tissue, settings=settings)
    sure = None
    if probability is not None:
        sure = pd.Series(probability, index=np.arange(1, len(probability) + 1), dtype=float)
    flags = flag_objects(
        labels.nuclei,
        spacing=spacing,
        inside=inside,
        probability=sure,
        threshold=threshold or 0.0,
    )
    nuclei = _flagged(measured, flags)
    if sure is not None:
        nuclei["Nuclei_Probability"] = nuclei["Metadata_Label"].map(sure)
    # Cells fill the tissue: their neighbours are those they touch.
    touching = replace(settings, edges="contact", reach=0.0)
    cells = measure_nuclei(
        labels.cells, channels, spacing=spacing, settings=touching, compartment="Cells"
    )
    cells = _flagged(cells, flag_objects(labels.cells, spacing=spacing))
    # A cell belongs where its nucleus does.
    for table in (nuclei, cells):
        parent = organoid_of.reindex(table["Metadata_Label"]).fillna(0).astype(np.int64)
        table.insert(1, "Metadata_OrganoidLabel", parent.to_numpy())
    organoids = measure_organoids(
        objects, tissue, measured, channels, spacing=spacing, settings=settings
    )
    held = organoids.set_index("Metadata_Label")["Organoids_Count_Nuclei"]
    flags = flag_objects(labels.organoids, spacing=spacing, sizes=False, held=held)
    edges = tabulate_edges(objects, spacing=spacing, mask=tissue.solid, settings=settings)
    organoids = _flagged(organoids, flags)
    return {"organoids": organoids, "nuclei": nuclei, "cells": cells, "edges": edges}


def _quiet(
    channels: Mapping[str, NDArray[Any]],
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Channels without their hot voxels, and what is said of these."""
    for image in channels.values():
        check_pixels(image)
    quiet = {name: quieten(image) for name, image in channels.items()}
    notes = hot_notes({name: each.count for name, each in quiet.items()})
    return {name: each.pixels for name, each in quiet.items()}, notes


def _surroundings(
    channels: Mapping[str, NDArray[Any]],
    prepared: Mapping[str, NDArray[np.float32]],
    found: Nuclei,
    spacing: Spacing,
    config: Organoid3dConfig,
) -> StackLabels:
    """Organoids, lumens and cells of known nuclei; `prepared` channels show the tissue better."""
    names, nuclei = list(channels), found.labels
    shown = tissue_channels(config, names)
    tissue = [prepared[n] if n in prepared else finite(channels[n]) for n in shown]
    organoid_options, lumen_options = tissue_options(config, names, found.diameter)
    organoids = segment_organoids(tissue, spacing=spacing, nuclei=nuclei, options=organoid_options)
    lumens = segment_lumens(
        tissue, organoids, spacing=spacing, nuclei=nuclei, options=lumen_options
    )
    cell = cell_channel(config, names)
    cells = segment_cells(
        nuclei,
        spacing=spacing,
        mask=(organoids > 0) & (lumens == 0),
        image=None if cell is None else finite(channels[cell]),
        stain=config.cells.stain,
        reach=config.cells.reach,
    )
    return StackLabels(nuclei, cells, lumens, organoids)


def saturated_notes(parts: Mapping[str, float]) -> list[str]:
    """What is said of channels of which too large a part is saturated."""
    return [
        f"{name}: {part:.1%} of the voxels are saturated"
        for name, part in parts.items()
        if part > SATURATED
    ]


def finite(image: NDArray[Any]) -> NDArray[np.float32]:
    """A channel with 0 for what is not finite."""
    return np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _flagged(table: pd.DataFrame, flags: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, flags.reindex(table["Metadata_Label"]).reset_index(drop=True)], axis=1)


def summarise(result: StackResult) -> dict[str, Any]:
    """Small facts for the journal and the report."""
    loss = result.attenuation
    return {
        "nuclei": int(result.labels.nuclei.max()),
        "organoids": int(result.labels.organoids.max()),
        "lumens": int(result.labels.lumens.max()),
        "diameter_um": known_or_none(result.diameter),
        "method": result.method,
        "scale": " x ".join(f"{factor:.2f}" for factor in result.scale or ()),
        "attenuation_per_um": known_or_none(loss.rate),
        "attenuation_r2": known_or_none(loss.r2),
        "attenuation_reason": loss.reason,
        "corrected": result.corrected,
        "warnings": list(result.notes),
    }


def known_or_none(value: float) -> float | None:
    """A number as it is written to facts: None instead of NaN."""
    return float(value) if np.isfinite(value) else None
