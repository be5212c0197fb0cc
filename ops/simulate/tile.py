"""One simulated tile in memory, with the truth about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.simulate.optics import (
    expose,
    make_scenery,
    plane_transforms,
    spot_peak,
    stamp_spots,
)
from poolvox.ops.simulate.params import ScreenParams
from poolvox.ops.simulate.reads import (
    RUN_ON,
    codes_to_sequences,
    make_library,
    read_intensities,
    sequences_to_codes,
)
from poolvox.ops.simulate.scene import Cells, place_cells, place_reads, reads_per_cell
from poolvox.shared.imaging.warp import Transform

__all__ = ["Truth", "simulate_tile"]

# Cells and reads beyond the tile come into view with drift, so the scene is wider by this.
MARGIN = 24
SPOT_SIZE_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class Truth:
    """What is on a tile.

    Parameters
    ----------
    library : sgRNA, gene_symbol, barcode
    cells : label, y, x (pixels of the first cycle), nucleus_area, reads, barcode, guide and gene
        (empty when it was not transduced), barcode_2, guide_2, gene_2 (empty unless it carries
        two), recombined (it joins the barcodes of two guides, and so carries neither)
    reads : y, x (pixels of the first cycle), label (0: no cell on the tile), barcode, peak (counts
        at a gain of 1), sigma
    shifts : cycle and channel (from 1), shift_y and shift_x at the centre of the tile, rotation
        (degrees), scale
    nuclei, bodies : (Y, X) labels of the first cycle
    """

    library: pd.DataFrame
    cells: pd.DataFrame
    reads: pd.DataFrame
    shifts: pd.DataFrame
    nuclei: NDArray[np.int32]
    bodies: NDArray[np.int32]
    scene: Cells
    transforms: list[list[Transform]]


def simulate_tile(
    params: ScreenParams,
    rng: np.random.Generator,
    *,
    library: pd.DataFrame | None = None,
    blank: tuple[int, ...] = (),
    blurred: tuple[int, ...] = (),
) -> tuple[NDArray[np.uint16], Truth]:
    """Simulate one tile.

    Parameters
    ----------
    library : made from `params.guides` if not given
    blank, blurred : cycles, from 1, that come out black, and out of focus

    Returns
    -------
    images : (cycle, channel, Y, X) array, channels as `params.channels`
    truth : what is on it

    Examples
    --------
    >>> from poolvox.ops.simulate import preset
    >>> images, truth = simulate_tile(preset("clean"), np.random.default_rng(0))
    >>> images.shape
    (9, 5, 512, 512)
    """
    if library is None:
        library = make_library(params.guides, params.cycles, rng)
    margin = MARGIN + int(np.ceil(params.camera.drift))
    scene = place_cells(params.layout, margin, rng)
    owner, guide = _transduce(scene, len(library), params, rng)
    partner = _recombine(owner, guide, len(library), params, rng)
    reads, light = _light_up(scene, owner, (guide, partner), library, params, rng)
    shape = params.layout.shape
    transforms = plane_transforms(shape, params.cycles, len(params.channels), params.camera, rng)
    images = _photograph(scene, reads, light, transforms, params, rng, blank, blurred)
    carried = _carried(owner, guide, partner, library, len(scene.y))
    return images, _truth(scene, owner, carried, reads, library, transforms, params)


def _transduce(
    scene: Cells, guides: int, params: ScreenParams, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cell (label) and guide of every read."""
    layout, count = params.layout, len(scene.y)
    first = rng.integers(0, guides, count)
    second = (first + rng.integers(1, guides, count)) % guides
    fate = rng.random(count)
    number = reads_per_cell(count, layout, rng)
    number[fate < layout.untransduced] = 0
    double = fate > 1 - layout.doublets
    number[double] = np.maximum(number[double], 2)
    owner = np.repeat(np.arange(1, count + 1), number)
    # The reads of a cell with two barcodes carry them by turns, begun at random.
    turn = np.arange(len(owner)) - np.repeat(np.cumsum(number) - number, number)
    other = double[owner - 1] & ((turn + rng.integers(0, 2, count)[owner - 1]) % 2 == 1)
    return owner, np.where(other, second[owner - 1], first[owner - 1])


def _recombine(
    owner: NDArray[np.int64],
    guide: NDArray[np.int64],
    guides: int,
    params: ScreenParams,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Guide that the second barcode of every read belongs to: its own, but in some cells."""
    if not params.guides.second or not params.guides.recombined:
        return guide
    cells = int(owner.max(initial=0)) + 1
    joined = rng.random(cells) < params.guides.recombined
    step = rng.integers(1, guides, cells)
    # Cells with two guides are left as they are, so that all reads of a cell that joins do.
    low, high = np.full(cells, guides), np.full(cells, -1)
    np.minimum.at(low, owner, guide)
    np.maximum.at(high, owner, guide)
    joined &= low == high
    return np.where(joined[owner], (guide + step[owner]) % guides, guide)


def _light_up(
    scene: Cells,
    owner: NDArray[np.int64],
    guide: tuple[NDArray[np.int64], NDArray[np.int64]],
    library: pd.DataFrame,
    params: ScreenParams,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Position and sequence of every read, and its peaks (n, cycle, channel) at a gain of 1.

    `guide` holds the guides of the first and of the second barcode of each read.
    """
    y, x = place_reads(scene, owner, params.layout.spill, rng)
    strays = rng.poisson(params.layout.stray * len(owner))
    wide = np.array(scene.bodies.shape)
    loose = rng.random((strays, 2)) * wide - scene.margin
    barcodes = sequences_to_codes(library["barcode"].tolist())[:, : params.cycles]
    first = params.cycles - params.guides.second
    shown = np.hstack([barcodes[guide[0], :first], barcodes[guide[1], first:]])
    codes = np.concatenate([shown, rng.integers(0, 4, (strays, params.cycles))])
    run_on = rng.integers(0, 4, (len(codes), RUN_ON))
    chemistry = params.chemistry
    light = read_intensities(np.hstack([codes, run_on]), chemistry, params.cycles, rng)
    light *= spot_peak(params.camera, chemistry)
    sigma = params.camera.psf * np.exp(SPOT_SIZE_SPREAD * rng.standard_normal(len(codes)))
    table = {
        "y": np.concatenate([y, loose[:, 0]]),
        "x": np.concatenate([x, loose[:, 1]]),
        "label": np.concatenate([owner, np.zeros(strays, np.int64)]),
        "barcode": codes_to_sequences(codes),
        "peak": light.max(axis=2).mean(axis=1),
        "sigma": sigma,
    }
    return pd.DataFrame(table), light


def _photograph(
    scene: Cells,
    reads: pd.DataFrame,
    light: NDArray[np.float64],
    transforms: list[list[Transform]],
    params: ScreenParams,
    rng: np.random.Generator,
    blank: tuple[int, ...],
    blurred: tuple[int, ...],
) -> NDArray[np.uint16]:
    shape, channels = params.layout.shape, params.channels
    scenery = make_scenery(scene, params.camera, rng)
    points, sigma = reads[["y", "x"]].to_numpy(), reads["sigma"].to_numpy()
    images = np.zeros((params.cycles, len(channels), *shape), np.uint16)
    nuclear = len(channels) - len(params.chemistry.channels)
    for t in range(params.cycles):
        if t + 1 in blank:
            continue
        for c in range(len(channels)):
            base = None if c < nuclear else c - nuclear
            spots = np.zeros(shape, np.float32)
            if base is not None:
                y, x = transforms[t][c].apply(points).T
                spots = stamp_spots(y, x, light[:, t, base], sigma, shape)
            images[t, c] = expose(
                scenery,
                spots,
                transforms[t][c],
                camera=params.camera,
                gain=1.0 if base is None else params.chemistry.gains[base],
                cycle=t,
                channel=base,
                blurred=t + 1 in blurred,
                rng=rng,
            )
    return images


def _truth(
    scene: Cells,
    owner: NDArray[np.int64],
    carried: pd.DataFrame,
    reads: pd.DataFrame,
    library: pd.DataFrame,
    transforms: list[list[Transform]],
    params: ScreenParams,
) -> Truth:
    """Keep what lies on the tile and number its cells from 1."""
    shape = params.layout.shape
    height, width = shape
    inside = scene.inside(shape)
    number = np.concatenate([[0], np.where(inside, np.cumsum(inside), 0)])
    window = np.s_[scene.margin : scene.margin + height, scene.margin : scene.margin + width]
    kept = reads.assign(label=number[reads["label"].to_numpy()])
    y, x = kept["y"], kept["x"]
    kept = kept[(y > -0.5) & (x > -0.5) & (y < height - 0.5) & (x < width - 0.5)]
    cells = pd.DataFrame({"label": np.arange(1, inside.sum() + 1)})
    cells["y"], cells["x"] = scene.y[inside], scene.x[inside]
    area = np.bincount(scene.nuclei.ravel(), minlength=len(number))[1:]
    cells["nucleus_area"] = area[inside]
    cells["reads"] = np.bincount(owner, minlength=len(number))[1:][inside]
    cells = cells.join(carried[inside].reset_index(drop=True))
    return Truth(
        library=library,
        cells=cells,
        reads=kept.reset_index(drop=True),
        shifts=_shifts(transforms, shape),
        nuclei=number[scene.nuclei[window]].astype(np.int32),
        bodies=number[scene.bodies[window]].astype(np.int32),
        scene=scene,
        transforms=transforms,
    )


def _carried(
    owner: NDArray[np.int64],
    guide: NDArray[np.int64],
    partner: NDArray[np.int64],
    library: pd.DataFrame,
    count: int,
) -> pd.DataFrame:
    """Barcode, guide and gene of every cell, and of its second barcode; none where they joined."""
    first, last = np.full(count, -1), np.full(count, -1)
    first[owner[::-1] - 1] = guide[::-1]
    for index, barcode in zip(owner - 1, guide):
        if barcode != first[index]:
            last[index] = barcode
    recombined = np.zeros(count, bool)
    recombined[owner[guide != partner] - 1] = True
    first[recombined] = -1
    columns = {"barcode": "barcode", "guide": "sgRNA", "gene": "gene_symbol"}
    table: dict[str, NDArray[np.generic]] = {}
    for end, index in (("", first), ("_2", last)):
        for name, source in columns.items():
            values = np.append(library[source].to_numpy(object), "")
            table[name + end] = values[index]
    return pd.DataFrame(table | {"recombined": recombined})


def _shifts(transforms: list[list[Transform]], shape: tuple[int, int]) -> pd.DataFrame:
    centre = (np.array(shape) - 1) / 2
    rows = [
        (t + 1, c + 1, *(each.apply(centre[None])[0] - centre), each.rotation, each.scale)
        for t, cycle in enumerate(transforms)
        for c, each in enumerate(cycle)
    ]
    names = ["cycle", "channel", "shift_y", "shift_x", "rotation", "scale"]
    return pd.DataFrame(rows, columns=names)
