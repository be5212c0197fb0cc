"""Reads with a known answer: library, cells, light with crosstalk, phasing, decay and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from poolvox.ops.chemistry import Chemistry, resolve_chemistry
from poolvox.ops.library import Library, LibrarySpec, make_library
from poolvox.ops.simulate.params import Chemistry as Light
from poolvox.ops.simulate.params import ScreenParams, preset
from poolvox.ops.simulate.reads import make_library as draw_library
from poolvox.ops.simulate.reads import read_intensities
from poolvox.ops.simulate.scene import place_cells, place_reads
from poolvox.ops.simulate.tile import _transduce
from poolvox.ops.words import decode_words, pack

MARGIN = 24


def library_of(count: int, cycles: int, rng: np.random.Generator, *, extra: int = 0) -> Library:
    """Random different words; `extra` bases behind the cycles."""
    codes = rng.integers(0, 4, (2 * count, cycles + extra)).astype(np.uint8)
    first = np.sort(np.unique(pack(codes[:, :cycles]), return_index=True)[1])[:count]
    assert len(first) == count
    table = pd.DataFrame({"barcode": decode_words(codes[first])})
    return make_library(table, LibrarySpec(file="library.csv"), cycles)


def loglik_of(codes, rng, *, sure=6.0, spread=2.0):
    """Log-likelihoods of reads that show `codes`: the right base leads by about `sure`."""
    loglik = rng.standard_normal((*codes.shape, 4)) * 0.5
    lead = sure + spread * rng.standard_normal(codes.shape)
    np.put_along_axis(loglik, codes[..., None].astype(int), lead[..., None], axis=2)
    return loglik.astype(np.float32)


def light_of(codes, light: Light, rng, *, snr=30.0):
    """(read, cycle, channel) light of sequences (read, cycle + 2) with noise of sd 1 at gain 1."""
    cycles = codes.shape[1] - 2
    shown = read_intensities(codes, light, cycles, rng) * snr
    noisy = shown + rng.standard_normal(shown.shape)
    return (noisy * np.asarray(light.gains)).astype(np.float32)


def four_colours(channels="GTAC") -> Chemistry:
    return resolve_chemistry("four-colour", list(channels))


@dataclass
class Tile:
    """One tile of reads, and what its cells carry (index into the library, -1 for nothing)."""

    params: ScreenParams
    library: Library
    bases: np.ndarray
    y: np.ndarray
    x: np.ndarray
    guide: np.ndarray
    nuclei: np.ndarray
    first: np.ndarray
    second: np.ndarray


def tile_of(name: str, seed: int, *, size: int = 512) -> Tile:
    """A quarter of a benchmark tile, crowded as real cells are, reads taken from the scene."""
    params, real = preset(name), preset("default")
    share = size**2 / (params.layout.shape[0] * params.layout.shape[1])
    layout = replace(
        params.layout,
        shape=(size, size),
        cells=round(params.layout.cells * share),
        nucleus_area=real.layout.nucleus_area,
        spacing=real.layout.spacing,
    )
    params, rng = replace(params, layout=layout), np.random.default_rng(seed)
    table = draw_library(params.guides, params.cycles, rng)
    library = make_library(
        table, LibrarySpec(file="l.csv", guide="sgRNA", gene="gene_symbol"), params.cycles
    )
    scene = place_cells(layout, MARGIN, rng)
    owner, guide = _transduce(scene, len(table), params, rng)
    y, x = place_reads(scene, owner, layout.spill, rng)
    light = replace(params.chemistry, phasing=0.01, gains=real.chemistry.gains)
    codes = np.hstack([library.codes[guide], rng.integers(0, 4, (len(guide), 2))])
    bases = light_of(codes, light, rng, snr=params.camera.snr)
    seen = (y >= 0) & (x >= 0) & (y < size - 1) & (x < size - 1)
    inside = scene.inside(layout.shape)
    number = np.concatenate([[0], np.where(inside, np.cumsum(inside), 0)])
    window = np.s_[MARGIN : MARGIN + size, MARGIN : MARGIN + size]
    first, second = _carried(number[owner], guide, int(inside.sum()))
    return Tile(
        params, library, bases[seen], y[seen], x[seen], guide[seen],
        number[scene.nuclei[window]].astype(np.int32), first, second,
    )  # fmt: skip


def _carried(owner, guide, cells):
    first, second = np.full(cells + 1, -1), np.full(cells + 1, -1)
    for cell, barcode in zip(owner, guide, strict=True):
        if first[cell] < 0:
            first[cell] = barcode
        elif first[cell] != barcode:
            second[cell] = barcode
    first[0] = second[0] = -1
    return first, second
