"""What is measured of a stack that was segmented in windows, part by part.

Each unit does a share of the parts, and holds one at a time with the view of the tissue. The tables
are those of a stack in memory; organoids are measured on the voxels on which they were found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.organoid3d.gathering import Gathered, gather_tables, joined
from poolvox.organoid3d.large import Large, share_of
from poolvox.organoid3d.models import read_model
from poolvox.organoid3d.parts import Part, Region, lay_parts, measure_part, region_margin
from poolvox.organoid3d.stored import Source, label_source
from poolvox.organoid3d.survey import Light, pool_stack
from poolvox.organoid3d.volumes import read_drawn, read_known
from poolvox.shared.engine.plan import Unit
from poolvox.shared.store import Image, open_image, read_table, write_table

__all__ = ["gather_objects", "plan_objects"]

MEASURED = ("nuclei", "cells", "nuclei_pairs", "cells_pairs")


def plan_objects(
    large: Large, shape: Sequence[int], params: Mapping[str, Any], needs: str
) -> list[Unit]:
    """Lay out the units that measure, but for the last, which makes the tables.

    Parameters
    ----------
    shape : (Z, Y, X)
    params : all that tells how is measured
    needs : key of the unit that ends the segmentation
    """
    count = large.shares(shape)
    return [
        Unit(
            key=f"measure/{large.name}-{number:05d}",
            step="measure",
            call=partial(measure_share, large, number=number, shares=count),
            params=params,
            needs=(needs,),
            outputs=tuple(_measured(large, number, table) for table in MEASURED),
            memory=large.worked(shape),
            where=dict(large.volume.where),
        )
        for number in range(count)
    ]


def measure_share(large: Large, number: int, shares: int) -> dict[str, Any]:
    """Measure the objects of a share of the parts."""
    image, settings = open_image(large.image), large.config.measuring()
    spread, diameter = large.read_tissue(), _diameter(large)
    sources = {name: Source(image, name) for name in large.channels}
    nuclei, cells = (label_source(image, name) for name in ("nuclei", "cells"))
    mine = share_of(_parts(large, nuclei.shape), number, shares)
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


def gather_objects(large: Large) -> dict[str, pd.DataFrame]:
    """Tables of a stack that was measured, as those of stacks in memory."""
    image, config = open_image(large.image), large.config
    drawn, known, spread = read_drawn(large.volume), read_known(large.volume), large.read_tissue()
    shape = known.frame.shape
    parts = {
        name: joined([read_table(_measured(large, k, name)) for k in range(large.shares(shape))])
        for name in MEASURED
    }
    sure = pd.Series(drawn.probability.astype(float), index=drawn.labels)
    views = _Views(image, large.channels, spread.factors)
    threshold = read_model(config.nuclei.model).prob
    stack = Gathered(shape, spread, views, sure, threshold)
    return gather_tables(parts, stack, config.measuring())


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


def _measured(large: Large, number: int, table: str) -> Path:
    return large.work / "measured" / f"{table}-{number:05d}.parquet"
