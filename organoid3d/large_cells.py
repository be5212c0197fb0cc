"""Cells of a stack that is segmented in windows, and what its segmentation found out.

Cells are grown part by part; each unit does a share of the store. A unit holds a part at a time,
and the view of the tissue.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.blocks import Box
from poolvox.organoid3d.cells import segment_cells, stain_levels
from poolvox.organoid3d.config import cell_channel, tissue_channels
from poolvox.organoid3d.hot import Quiet, hot_notes
from poolvox.organoid3d.large import Large, NucleiMask, share_of
from poolvox.organoid3d.learned import typical_diameter
from poolvox.organoid3d.models import read_model
from poolvox.organoid3d.stack import finite, known_or_none, saturated_notes
from poolvox.organoid3d.stored import (
    Source,
    boxes_of,
    cut_box,
    finish_labels,
    label_source,
    with_margin,
    write_text,
)
from poolvox.organoid3d.survey import Light, pool_stack
from poolvox.organoid3d.volumes import read_drawn, read_known
from poolvox.shared.engine.plan import Unit
from poolvox.shared.store import Image, open_image

__all__ = ["describe_large", "end_cells", "plan_cells"]

# Voxels that cells are grown in at once, without their margin.
GROWN = 4_000_000


def plan_cells(large: Large, shape: Sequence[int], needs: str) -> list[Unit]:
    """Lay out the units that grow cells, but for the last, which ends the segmentation.

    Parameters
    ----------
    shape : (Z, Y, X)
    needs : key of the unit that finds the tissue
    """
    name, count = large.name, large.shares(shape)
    params = {
        "spacing": large.spacing,
        "channels": list(large.channels),
        "cells": large.config.cells.model_dump(mode="json"),
    }
    begin = Unit(
        key=f"cells/{name}",
        step="segment",
        call=partial(begin_cells, large),
        params=params,
        needs=(needs,),
        outputs=(_levels(large), large.image / "labels" / "cells"),
        memory=large.worked(shape),
        where=dict(large.volume.where),
    )
    shares = [
        replace(
            begin,
            key=f"cells/{name}-{number:05d}",
            call=partial(grow_cells, large, number=number, shares=count),
            needs=(begin.key,),
            outputs=(_grown(large, number),),
        )
        for number in range(count)
    ]
    return [begin, *shares]


def begin_cells(large: Large) -> dict[str, Any]:
    """Find out how dark and bright the cells' stain is, and make the empty labels."""
    image, config = open_image(large.image), large.config
    cell, levels, excess = cell_channel(config, large.channels), None, None
    if cell is not None:
        spread = large.read_tissue()
        stain = Quiet.of(Source(image, cell))
        excess = stain.excess
        levels = stain_levels(
            pool_stack(stain, Light(), spread.factors),
            pool_stack(NucleiMask(image), Light(), spread.factors) >= 0.5,
            spacing=spread.wide.tolist(),
            mask=spread.tissue.solid > 0,
            reach=config.cells.reach,
        )
    write_text(_levels(large), json.dumps({"levels": levels, "excess": excess}))
    image.create_labels("cells", np.uint32)
    return {"levels": levels}


def grow_cells(large: Large, number: int, shares: int) -> dict[str, Any]:
    """Grow the cells of a share of the store."""
    image = open_image(large.image)
    target = image.label_target("cells")
    grower = _Grower(large, image)
    mine = share_of(boxes_of(target), number, shares)
    for box in mine:
        grown = np.zeros(box.shape, np.uint32)
        for part in cut_box(box, GROWN):
            grown[part.slices(box.start)] = grower.grow(part)
        target.write_region(grown, box.start)
    write_text(_grown(large, number), "done")
    return {"boxes": len(mine)}


def end_cells(large: Large) -> None:
    """Build the pyramid of the cells."""
    finish_labels(open_image(large.image), "cells")


def describe_large(large: Large) -> dict[str, Any]:
    """Facts of a stack that is segmented, as those of stacks in memory."""
    config = large.config
    drawn, known, spread = read_drawn(large.volume), read_known(large.volume), large.read_tissue()
    loss, tissue = known.facts["attenuation"], spread.tissue
    saturated = json.loads(large.saturated.read_text(encoding="utf-8"))
    notes = [*_hot(large), *known.facts["notes"], *saturated_notes(saturated)]
    why = "as asked for" if config.windows == "always" else "for the memory there is"
    need = f"{large.need / 1e9:.3g} GB"
    notes.append(f"segmented in windows, {why}: as a whole it would need {need}")
    if max(spread.factors) > 1:
        coarse = " x ".join(f"{step:.2g}" for step in spread.wide)
        notes.append(f"organoids and lumens were found and measured on voxels of {coarse} um")
    volumes = drawn.voxels * float(np.prod(large.spacing))
    return {
        "nuclei": len(drawn.labels),
        "organoids": int(tissue.organoids.max(initial=0)),
        "lumens": 0 if tissue.lumens is None else int(tissue.lumens.max(initial=0)),
        "diameter_um": known_or_none(typical_diameter(volumes)),
        "method": read_model(config.nuclei.model).method,
        "scale": " x ".join(f"{factor:.2f}" for factor in known.frame.ratio),
        "attenuation_per_um": known_or_none(loss["rate"]),
        "attenuation_r2": known_or_none(loss["r2"]),
        "attenuation_reason": loss["reason"],
        "corrected": known.facts["corrected"],
        "warnings": notes,
    }


def _hot(large: Large) -> list[str]:
    """What is said of hot voxels in the other channels than the nuclei's."""
    image, config, nuclear = open_image(large.image), large.config, large.volume.channel
    used = {cell_channel(config, large.channels), *tissue_channels(config, large.channels)}
    shown = {n: Quiet.of(Source(image, n)) for n in large.channels if n in used - {nuclear}}
    return hot_notes({name: each.count() for name, each in shown.items()})


class _Grower:
    """Cells of any part of a stored stack."""

    def __init__(self, large: Large, image: Image) -> None:
        self._options, self._spacing = large.config.cells, large.spacing
        self._tissue = large.read_tissue()
        self._nuclei = label_source(image, "nuclei")
        cell = cell_channel(large.config, large.channels)
        known = json.loads(_levels(large).read_text(encoding="utf-8"))
        self._stain = None if cell is None else Quiet(Source(image, cell), known["excess"])
        levels = known["levels"]
        self._levels = None if levels is None else (levels[0], levels[1])
        # Whose cells reach into a part, and who stands in their way.
        reach = 2 * self._options.reach
        self._margin = [int(np.ceil(reach / step)) + 2 for step in large.spacing]

    def grow(self, box: Box) -> NDArray[np.uint32]:
        region = with_margin(box, self._margin, self._nuclei.shape)
        nuclei = self._nuclei[region.slices()]
        if not nuclei.any():
            return np.zeros(box.shape, np.uint32)
        cells = segment_cells(
            nuclei,
            spacing=self._spacing,
            mask=self._tissue.within(region, nuclei).solid > 0,
            image=None if self._stain is None else finite(self._stain[region.slices()]),
            stain=self._options.stain,
            reach=self._options.reach,
            levels=self._levels,
        )
        return cells[box.slices(region.start)]


def _levels(large: Large) -> Path:
    return large.work / "levels.json"


def _grown(large: Large, number: int) -> Path:
    return large.work / "cells" / f"{number:05d}.txt"
