"""Cells and tables of a stack that was segmented in windows.

    cells     grown part by part; each unit does a share of the store
    measure   nuclei and cells, part by part; each unit does a share of the parts
    (stack)   tables and facts of the stack: what needs all objects, and the organoids

A unit holds a part at a time, and the view of the tissue. The tables are those of a stack in
memory; organoids are measured on the voxels on which they were found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.organoid3d.blocks import Box
from poolvox.organoid3d.cells import segment_cells, stain_levels
from poolvox.organoid3d.config import cell_channel, tissue_channels
from poolvox.organoid3d.gathering import Gathered, gather_tables
from poolvox.organoid3d.hot import Quiet, hot_notes
from poolvox.organoid3d.large import Large, NucleiMask
from poolvox.organoid3d.learned import typical_diameter
from poolvox.organoid3d.models import read_model
from poolvox.organoid3d.parts import PART, Part, Region, lay_parts, measure_part, region_margin
from poolvox.organoid3d.stack import finite, known_or_none, saturated_notes
from poolvox.organoid3d.stored import (
    Source,
    boxes_of,
    cut_box,
    finish_labels,
    with_margin,
    write_text,
)
from poolvox.organoid3d.survey import MOST, Light, pool_stack
from poolvox.organoid3d.volumes import OVERHEAD, VIEWED, read_drawn, read_known
from poolvox.shared.engine.plan import Unit
from poolvox.shared.features import group_tokens
from poolvox.shared.store import Image, open_image, read_table, write_table

__all__ = ["describe_large", "joined", "plan_objects"]

# Voxels of a share of the cells, and of the parts that are measured.
SHARE = 64_000_000
# Voxels that cells are grown in at once, without their margin.
GROWN = 4_000_000
# Bytes per voxel of a part that is measured; with its margin it may be this much larger.
MEASURING, WITH_MARGIN = 100, 4
MEASURED = ("nuclei", "cells", "nuclei_pairs", "cells_pairs")


def plan_objects(large: Large, shape: Sequence[int], needs: str) -> list[Unit]:
    """Lay out what follows the unit `needs` that finds the tissue, but for the tables.

    Parameters
    ----------
    shape : (Z, Y, X)
    """
    config, name = large.config, large.name
    voxels = int(np.prod([int(n) for n in shape]))
    count = share_count(shape)
    params = {
        "spacing": large.spacing,
        "channels": list(large.channels),
        "cells": config.cells.model_dump(mode="json"),
    }
    wanted = {"features": group_tokens(config.features), "graph": config.graph.model_dump()}
    shown = OVERHEAD // 2 + VIEWED * min(voxels, MOST)
    worked = MEASURING * min(voxels, WITH_MARGIN * PART)

    def unit(
        key: str, work: Callable[[], Any], needed: Sequence[str], outputs: Sequence[Path]
    ) -> Unit:
        own = params | wanted if key.startswith("measure") else params
        return Unit(
            key=key,
            step="stacks",
            call=work,
            params=own,
            needs=tuple(needed),
            outputs=tuple(outputs),
            memory=shown + worked,
            where=dict(large.volume.where),
        )

    labels = large.image / "labels" / "cells"
    begin = unit(f"cells/{name}", partial(begin_cells, large), [needs], [_levels(large), labels])
    shares = [
        unit(
            f"cells/{name}-{k:05d}",
            partial(grow_cells, large, number=k, shares=count),
            [begin.key],
            [_grown(large, k)],
        )
        for k in range(count)
    ]
    keys = [share.key for share in shares]
    end = unit(f"cells/{name}-all", partial(end_cells, large), keys, [large.work / "cells.txt"])
    measures = [
        unit(
            f"measure/{name}-{k:05d}",
            partial(measure_share, large, number=k, shares=count),
            [end.key],
            [_measured(large, k, table) for table in MEASURED],
        )
        for k in range(count)
    ]
    return [begin, *shares, end, *measures]


def share_count(shape: Sequence[int]) -> int:
    """In how many shares a stack is done."""
    return max(-(-int(np.prod([int(n) for n in shape])) // SHARE), 1)


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
    mine = _share(boxes_of(target), number, shares)
    for box in mine:
        grown = np.zeros(box.shape, np.uint32)
        for part in cut_box(box, GROWN):
            grown[part.slices(box.start)] = grower.grow(part)
        target.write_region(grown, box.start)
    write_text(_grown(large, number), "done")
    return {"boxes": len(mine)}


def end_cells(large: Large) -> dict[str, Any]:
    """Build the pyramid of the cells."""
    finish_labels(open_image(large.image), "cells")
    write_text(large.work / "cells.txt", "done")
    return {}


def measure_share(large: Large, number: int, shares: int) -> dict[str, Any]:
    """Measure the objects of a share of the parts."""
    image, settings = open_image(large.image), large.config.measuring()
    spread, diameter = large.read_tissue(), _diameter(large)
    sources = {name: Source(image, name) for name in large.channels}
    nuclei, cells = (Source(Image(image.path / "labels" / n), None) for n in ("nuclei", "cells"))
    mine = _share(_parts(large, nuclei.shape), number, shares)
    # A share without parts has the columns of the others.
    mine = mine or _parts(large, nuclei.shape, none=True)
    tables = []
    for part in mine:
        at = part.box.slices()
        inside = cells[at]
        images = {name: source[at] for name, source in sources.items()}
        region = Region(nuclei[at], inside, images, spread.within(part.box, inside))
        tables.append(measure_part(part, region, large.spacing, settings, diameter=diameter))
    for name in MEASURED:
        write_table(joined([found[name] for found in tables]), _measured(large, number, name))
    return {"parts": len(mine), "objects": sum(len(part.labels) for part in mine)}


def describe_large(large: Large) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Tables of a stack that is done, as those of stacks in memory, and its facts."""
    image, config = open_image(large.image), large.config
    drawn, known, spread = read_drawn(large.volume), read_known(large.volume), large.read_tissue()
    model, shape = read_model(config.nuclei.model), known.frame.shape
    parts = {
        name: joined([read_table(_measured(large, k, name)) for k in range(share_count(shape))])
        for name in MEASURED
    }
    sure = pd.Series(drawn.probability.astype(float), index=drawn.labels)
    views = _Views(image, large.channels, spread.factors)
    tables = gather_tables(
        parts, Gathered(shape, spread, views, sure, model.prob), config.measuring()
    )
    loss, lumens = known.facts["attenuation"], spread.tissue.lumens
    saturated = json.loads(large.saturated.read_text(encoding="utf-8"))
    notes = [*_hot(large), *known.facts["notes"], *saturated_notes(saturated)]
    why = "as asked for" if config.windows == "always" else "for the memory there is"
    need = f"{large.need / 1e9:.3g} GB"
    notes.append(f"segmented in windows, {why}: as a whole it would need {need}")
    if max(spread.factors) > 1:
        coarse = " x ".join(f"{step:.2g}" for step in spread.wide)
        notes.append(f"organoids and lumens were found and measured on voxels of {coarse} um")
    volumes = drawn.voxels * float(np.prod(large.spacing))
    facts = {
        "nuclei": len(drawn.labels),
        "organoids": len(tables["organoids"]),
        "lumens": 0 if lumens is None else int(lumens.max(initial=0)),
        "diameter_um": known_or_none(typical_diameter(volumes)),
        "method": model.method,
        "scale": " x ".join(f"{factor:.2f}" for factor in known.frame.ratio),
        "attenuation_per_um": known_or_none(loss["rate"]),
        "attenuation_r2": known_or_none(loss["r2"]),
        "attenuation_reason": loss["reason"],
        "corrected": known.facts["corrected"],
        "warnings": notes,
    }
    return tables, facts


def _hot(large: Large) -> list[str]:
    """What is said of hot voxels in the other channels than the nuclei's."""
    image, config, nuclear = open_image(large.image), large.config, large.volume.channel
    used = {cell_channel(config, large.channels), *tissue_channels(config, large.channels)}
    shown = {n: Quiet.of(Source(image, n)) for n in large.channels if n in used - {nuclear}}
    return hot_notes({name: each.count() for name, each in shown.items()})


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; those without rows do not change the types of the others."""
    full = [table for table in tables if len(table)] or list(tables[:1])
    return pd.concat(full, ignore_index=True)


class _Views(Mapping[str, NDArray[Any]]):
    """Channels of an image on the voxels of its tissue, made when they are asked for."""

    def __init__(
        self, image: Image, channels: Sequence[str], factors: tuple[int, int, int]
    ) -> None:
        self._image, self._channels, self._factors = image, channels, factors

    def __getitem__(self, name: str) -> NDArray[Any]:
        source = Source(self._image, name)
        if max(self._factors) == 1:
            return source[:]
        return pool_stack(source, Light(), self._factors)

    def __iter__(self) -> Iterator[str]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)


class _Grower:
    """Cells of any part of a stored stack."""

    def __init__(self, large: Large, image: Image) -> None:
        self._options, self._spacing = large.config.cells, large.spacing
        self._tissue = large.read_tissue()
        self._nuclei = Source(Image(image.path / "labels" / "nuclei"), None)
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


def _diameter(large: Large) -> float:
    """Of the ball with the nuclei's mean volume, micrometres."""
    voxels = read_drawn(large.volume).voxels
    volume = float(voxels.mean() * np.prod(large.spacing)) if len(voxels) else 0.0
    return float(np.cbrt(6 / np.pi * volume))


def _parts(large: Large, shape: Sequence[int], *, none: bool = False) -> list[Part]:
    """Parts with nuclei; or one without any."""
    drawn = read_drawn(large.volume)
    ends = np.stack([drawn.first, drawn.last + 1], axis=2)
    some = slice(0) if none else slice(None)
    margin = region_margin(
        large.config.measuring(),
        large.spacing,
        reach=large.config.cells.reach,
        diameter=_diameter(large),
    )
    return lay_parts(drawn.labels[some], drawn.centres[some], ends[some], shape, margin=margin)


def _share(things: list[Any], number: int, count: int) -> list[Any]:
    return things[number * len(things) // count : (number + 1) * len(things) // count]


def _levels(large: Large) -> Path:
    return large.work / "levels.json"


def _grown(large: Large, number: int) -> Path:
    return large.work / "cells" / f"{number:05d}.txt"


def _measured(large: Large, number: int, table: str) -> Path:
    return large.work / "measured" / f"{table}-{number:05d}.parquet"
