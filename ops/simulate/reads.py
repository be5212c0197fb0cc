"""From the sequences of reads to the light of each of them in every cycle and channel."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.simulate.params import BASES, CROSSTALK, Chemistry, Guides
from poolvox.shared.errors import InputError

__all__ = [
    "decay_profile",
    "make_library",
    "mixing_matrix",
    "phasing_matrix",
    "read_intensities",
    "sequences_to_codes",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

GUIDE_LENGTH = 20
# Bases behind the barcode, for strands that run ahead of the last cycle.
RUN_ON = 2


def make_library(guides: Guides, cycles: int, rng: np.random.Generator) -> pd.DataFrame:
    """Guides with barcodes of `cycles` bases that differ from each other in `min_distance` or more.

    Returns
    -------
    Columns sgRNA, gene_symbol and barcode; the genes of the controls are called nontargeting. Where
    guides have two barcodes, `barcode` is both in a row, and barcode_a and barcode_b are its parts.
    """
    targeting = guides.genes * guides.guides_per_gene
    total = targeting + guides.controls
    codes = _apart(total, cycles - guides.second, guides.min_distance, rng)
    if guides.second:
        second = _apart(total, guides.second, guides.min_distance, rng)
        parts = {"barcode_a": codes_to_sequences(codes), "barcode_b": codes_to_sequences(second)}
        codes = np.hstack([codes, second])
    else:
        parts = {}
    genes = [f"GENE{1 + i // guides.guides_per_gene:03d}" for i in range(targeting)]
    return pd.DataFrame(
        {
            "sgRNA": codes_to_sequences(rng.integers(0, 4, (total, GUIDE_LENGTH))),
            "gene_symbol": genes + ["nontargeting"] * guides.controls,
            "barcode": codes_to_sequences(codes),
            **parts,
        }
    )


def _apart(total: int, cycles: int, distance: int, rng: np.random.Generator) -> Codes:
    kept = np.empty((total, cycles), np.int64)
    n = 0
    for candidate in rng.integers(0, 4, (200 * total, cycles)):
        if n == total:
            return kept
        if n == 0 or np.count_nonzero(kept[:n] != candidate, axis=1).min() >= distance:
            kept[n] = candidate
            n += 1
    raise InputError(
        f"{total} barcodes of {cycles} bases at distance {distance} do not fit: "
        "use more cycles, fewer guides or a smaller distance"
    )


def codes_to_sequences(codes: Codes) -> list[str]:
    """Letters of (n, length) numbers 0 to 3."""
    letters = np.frombuffer(BASES.encode(), "S1")[codes]
    return [row.tobytes().decode() for row in letters]


def sequences_to_codes(sequences: list[str]) -> Codes:
    """Numbers 0 to 3 of sequences of one length, (n, length)."""
    letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(len(sequences), -1)
    table = np.zeros(256, np.int64)
    for code, base in enumerate(BASES):
        table[ord(base)] = code
    return table[letters]


def mixing_matrix(chemistry: Chemistry) -> Floats:
    """Light of each dye (row) in each channel (column), over that in its own."""
    if chemistry.mixing is not None:
        return np.asarray(chemistry.mixing, float)
    if set(chemistry.channels) <= set(BASES):
        rows = [BASES.index(channel) for channel in chemistry.channels]
        return np.asarray(CROSSTALK, float)[np.ix_(rows, rows)]
    return np.eye(len(chemistry.channels))


def phasing_matrix(cycles: int, phasing: float, prephasing: float) -> Floats:
    """Share of the strands that show base j in cycle i, (cycles, cycles + RUN_ON).

    In each cycle a strand stays where it is, goes on by one base, or by two. A strand that has
    not begun shows nothing.
    """
    positions = cycles + RUN_ON + 1
    state = np.zeros(positions)
    state[0] = 1.0
    shares = np.empty((cycles, positions - 1))
    for cycle in range(cycles):
        moved = phasing * state
        moved[1:] += (1 - phasing - prephasing) * state[:-1]
        moved[2:] += prephasing * state[:-2]
        state = moved
        shares[cycle] = state[1:]
    return shares


def decay_profile(cycles: int, chemistry: Chemistry) -> Floats:
    """Brightness of each cycle, with geometric mean 1."""
    logs = np.zeros(cycles)
    before, after = (np.log1p(-loss) for loss in chemistry.decay)
    for cycle in range(1, cycles):
        raised = cycle + 1 == chemistry.exposure_cycle
        step = np.log(chemistry.exposure_jump) if raised else 0.0
        logs[cycle] = logs[cycle - 1] + step
        logs[cycle] += before if cycle + 1 < chemistry.exposure_cycle else after
    profile: Floats = np.exp(logs - logs.mean())
    return profile


def read_intensities(
    sequences: Codes, chemistry: Chemistry, cycles: int, rng: np.random.Generator
) -> Floats:
    """Peak of every read in every cycle and channel, in units of the median read, gains apart.

    Parameters
    ----------
    sequences : (n, cycles + RUN_ON) numbers 0 to 3

    Returns
    -------
    (n, cycle, channel) array
    """
    n = len(sequences)
    shares = phasing_matrix(cycles, chemistry.phasing, chemistry.prephasing)
    dyes = np.asarray(chemistry.code, float)[sequences]
    shown = np.einsum("ij,njd->nid", shares, dyes)
    light = shown @ mixing_matrix(chemistry)
    between = chemistry.read_spread * rng.standard_normal((n, 1))
    within = chemistry.cycle_spread * rng.standard_normal((n, cycles))
    brightness = np.exp(between + within) * decay_profile(cycles, chemistry)
    return np.asarray(light * brightness[:, :, None])
