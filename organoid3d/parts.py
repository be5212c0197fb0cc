"""Objects of a stored stack measured part by part, by the code that measures a stack in memory.

Every nucleus, and the cell that has its label, belongs to the part its centre lies in. A part is
read with all that is measured of its nuclei, and no object is cut that belongs to it. What needs
all objects, such as the tissue graph, is kept for `poolvox.organoid3d.gathering`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.organoid3d.blocks import Box
from poolvox.organoid3d.cells import find_parents
from poolvox.organoid3d.graph import measure_contacts
from poolvox.organoid3d.graph.edges import touching
from poolvox.organoid3d.measure import MeasureSettings
from poolvox.organoid3d.position import measure_positions
from poolvox.organoid3d.qc import FIRST_STOP, measure_forms
from poolvox.organoid3d.spread import TissuePart
from poolvox.shared.features import Objects, find_objects, measure_objects

__all__ = ["KEPT", "Part", "Region", "lay_parts", "measure_part", "region_margin"]

Labels = NDArray[np.integer]
Spacing = tuple[float, float, float]

# Voxels of a part without its margin.
PART = 4_000_000
# Begins the names of columns that are no features, but what later steps need of an object.
KEPT = "Part_"
# Directions to the surface are taken this many diameters round a centre.
AROUND = 1.5
# Options of groups that tell how far round an object they look, micrometres.
LOOKS = ("background_um", "gap_um")


@dataclass(frozen=True, slots=True)
class Part:
    """Nuclei that are measured together: their (N,) labels, and the box that is read for them."""

    labels: NDArray[np.int64]
    box: Box


@dataclass(frozen=True, slots=True)
class Region:
    """What was read for a part.

    Attributes
    ----------
    nuclei, cells : (z, y, x) labels, those of other parts included
    images : channels by name
    tissue : that the nuclei lie in
    """

    nuclei: Labels
    cells: Labels
    images: Mapping[str, NDArray[Any]]
    tissue: TissuePart

    @property
    def origin(self) -> NDArray[np.int64]:
        """(3,) its first voxel in the stack."""
        return np.array(self.tissue.box.start)


@dataclass(frozen=True, slots=True)
class Margin:
    """Voxels that what is measured of a nucleus depends on: round its box, and its centre."""

    box: NDArray[np.int64]
    centre: NDArray[np.float64]


def region_margin(
    settings: MeasureSettings, spacing: Spacing, *, reach: float, diameter: float
) -> Margin:
    """How far round nuclei a part is read.

    Parameters
    ----------
    reach : of cells, micrometres
    diameter : of a typical nucleus, micrometres
    """
    options = [group.options for group in settings.engine_groups()]
    seen = max(float(getattr(o, name, 0.0)) for o in (*options, None) for name in LOOKS)
    far = max(reach + seen, 2 * settings.reach)
    steps = np.asarray(spacing)
    return Margin(np.ceil(far / steps).astype(np.int64) + 2, AROUND * diameter / steps + 1)


def lay_parts(
    labels: NDArray[np.int64],
    centres: NDArray[np.float64],
    ends: NDArray[np.int64],
    shape: Sequence[int],
    *,
    margin: Margin,
) -> list[Part]:
    """Parts of a stack that have nuclei, in raster order; one without any if there are none.

    Parameters
    ----------
    labels, centres : (N,) and (N, 3) array, voxels
    ends : (N, 3, 2) array, first voxel along each axis, and the first beyond
    """
    if not len(labels):
        z, y, x = (min(2, n) for n in shape)
        return [Part(labels, Box((0, 0, 0), (z, y, x)))]
    sides = list(shape)
    while np.prod(sides) > PART:
        axis = int(np.argmax(sides))
        sides[axis] = -(-sides[axis] // 2)
    counts = [-(-n // side) for n, side in zip(shape, sides, strict=True)]
    place = np.ravel_multi_index(tuple((centres // sides).astype(int).T), tuple(counts))
    parts = []
    for number in np.unique(place):
        mine = np.flatnonzero(place == number)
        around = centres[mine]
        first = np.minimum(ends[mine, :, 0] - margin.box, np.floor(around - margin.centre))
        last = np.maximum(ends[mine, :, 1] + margin.box, np.ceil(around + margin.centre) + 1)
        low = np.maximum(first.min(axis=0), 0).astype(int).tolist()
        high = np.minimum(last.max(axis=0), shape).astype(int).tolist()
        box = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        parts.append(Part(np.sort(labels[mine]), box))
    return parts


def measure_part(
    part: Part, region: Region, spacing: Spacing, settings: MeasureSettings, *, diameter: float
) -> dict[str, pd.DataFrame]:
    """Measure the nuclei of a part and their cells.

    Parameters
    ----------
    diameter : of the ball with the mean volume of the whole stack's nuclei, micrometres

    Returns
    -------
    `nuclei` and `cells`, one row per label, positions in the stack, columns of features and such
    that begin with `Part_`; `nuclei_pairs` and `cells_pairs`, contacts of those with others
    """
    nuclei, tissue = (
        _chosen(find_objects(region.nuclei, spacing=spacing), part.labels),
        region.tissue,
    )
    tables = {
        "nuclei": _measured(nuclei, region, settings, "Nuclei"),
        "cells": _measured(
            _chosen(find_objects(region.cells, spacing=spacing), part.labels),
            region,
            settings,
            "Cells",
        ),
    }
    parent, inside = find_parents(nuclei, tissue.organoids)
    solid = find_parents(nuclei, tissue.solid)[0]
    found = {"Parent": parent, "Inside": inside, "Solid": solid}
    tables["nuclei"] = tables["nuclei"].assign(
        **{f"{KEPT}{name}": values.to_numpy() for name, values in found.items()}
    )
    if "position" in settings.split()[1]:
        places = measure_positions(nuclei, tissue, spacing=spacing, diameter=diameter)
        places = places.add_prefix("Nuclei_Position_").reset_index(drop=True)
        tables["nuclei"] = pd.concat([tables["nuclei"], places], axis=1)
    for name, labels, reach in (
        ("nuclei", region.nuclei, settings.reach if settings.edges == "contact" else 0.0),
        ("cells", region.cells, 0.0),
    ):
        met = touching(labels, reach, spacing=spacing)
        own = met.objects.reindex(part.labels)
        bare = own
        if reach:
            bare = measure_contacts(labels, spacing=spacing).objects.reindex(part.labels)
        kept = {"Contact": bare["contact"], "Free": bare["free"], "Surface": own["surface"]}
        tables[name] = tables[name].assign(
            **{f"{KEPT}{column}": values.to_numpy() for column, values in kept.items()}
        )
        mine = met.pairs["source"].isin(part.labels)
        tables[f"{name}_pairs"] = met.pairs[mine].reset_index(drop=True)
    return tables


def _measured(
    objects: Objects, region: Region, settings: MeasureSettings, compartment: str
) -> pd.DataFrame:
    """Features of objects by themselves, and what flags are raised by."""
    table = measure_objects(
        objects, region.images, settings.engine_groups(), compartment=compartment
    )
    origin = region.origin
    for axis, first, step in zip("ZYX", origin.tolist(), objects.spacing.tolist(), strict=True):
        place = table[f"Metadata_{axis}"].to_numpy() + first
        table[f"Metadata_{axis}"], table[f"Metadata_{axis}_um"] = place, place * step
    alone = _without(objects.labels, objects.ids)
    forms = measure_forms(alone, spacing=objects.spacing.tolist()).reindex(objects.ids)
    for name, first in zip(FIRST_STOP, np.repeat(origin, 2), strict=True):
        forms[name] = forms[name].to_numpy() + first
    forms = forms.add_prefix(KEPT).reset_index(drop=True)
    return pd.concat([table, forms], axis=1)


def _without(labels: Labels, kept: NDArray[np.integer]) -> Labels:
    """Labels with those of other parts taken away."""
    table = np.zeros(int(labels.max(initial=0)) + 1, labels.dtype)
    table[kept] = kept
    alone: Labels = table[labels]
    return alone


def _chosen(objects: Objects, labels: NDArray[np.int64]) -> Objects:
    """Only some of the objects, among all the others."""
    rows = np.flatnonzero(np.isin(objects.ids, labels))
    layout = objects.layout
    first, last = layout.runs[rows], layout.runs[rows + 1]
    counts = last - first
    runs = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    take = np.arange(runs[-1]) + np.repeat(first - runs[:-1], counts)
    voxels = np.diff(layout.voxels)[rows]
    chosen = layout._replace(
        start=layout.start[take],
        length=layout.length[take],
        runs=runs,
        voxels=np.concatenate([[0], np.cumsum(voxels)]).astype(np.int64),
        box=layout.box[rows],
    )
    return Objects(objects.ids[rows], objects.labels, chosen, objects.ndim, objects.threads)
