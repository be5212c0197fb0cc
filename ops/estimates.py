"""What stands between light and bases: estimated on the plate and on each well, from a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.ops.calls import load_codebook
from poolvox.ops.chemistry import Chemistry
from poolvox.ops.codebook import find_strangers
from poolvox.ops.config import OpsConfig
from poolvox.ops.folder import Folder
from poolvox.ops.library import Library
from poolvox.ops.orient import ChannelOrder, explain_no_match, find_channel_order
from poolvox.ops.parts import Signal, load_reads, load_signal
from poolvox.ops.rates import fit_error_model
from poolvox.ops.signal import apply_corrections, estimate_corrections
from poolvox.ops.steps import Optics
from poolvox.ops.words import pack
from poolvox.shared.errors import InputError

__all__ = ["estimate_signal"]

# Tiles and reads that the corrections of a plate or well rest on.
SAMPLE_TILES = 48
SAMPLE_READS = 8000
# Where fewer reads than this share match the library exactly, the reason is looked for.
FEW_MAPPED = 0.2


def estimate_signal(
    folder: Folder, tiles: Sequence[str], place: str, config: OpsConfig, optics: Optics
) -> dict[str, Any]:
    """Estimate what stands between light and bases, on the plate (`place` "plate") or a well."""
    sample = _sample(folder, tiles, np.random.default_rng([config.decode.seed, 1]))
    if sample is None:
        raise InputError("no tile has reads: see the reasons of the failed tiles, and the images")
    light, noise = sample
    rng = np.random.default_rng([config.decode.seed, 2])
    plate = None if place == "plate" else load_signal(folder.signal("plate"))
    chemistry = optics.chemistry if plate is None else plate.chemistry
    fallback = None if plate is None else plate.corrections
    corrections = estimate_corrections(
        light, chemistry, rng=rng, noise=noise, fallback=fallback, source=place
    )
    loglik = apply_corrections(light, corrections, noise=noise).loglik
    library = load_codebook(config, light.shape[1])[0]
    if plate is None:
        order = ""
        if optics.find_order:
            found = _find_order(loglik, chemistry, library, rng)
            order, chemistry = str(found), found.chemistry
            corrections = estimate_corrections(light, chemistry, rng=rng, noise=noise, source=place)
            loglik = apply_corrections(light, corrections, noise=noise).loglik
        if _exact(loglik, library) < FEW_MAPPED:
            _refuse_no_match(loglik, library, rng)
        strangers = find_strangers(loglik, library)
    else:
        order, strangers = plate.order, plate.strangers
    codebook = load_codebook(config, light.shape[1], strangers)[1]
    model = fit_error_model(loglik, codebook, rng=rng)
    path = folder.signal(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    signal = Signal(corrections, model, chemistry, strangers, order)
    path.write_text(signal.to_json(), encoding="utf-8")
    return {
        "reads": len(light),
        "source": corrections.source,
        "phasing": corrections.phasing,
        "prephasing": corrections.prephasing,
        "mapped": model.mapped,
        "strangers": strangers["sequence"].tolist(),
        "order": order,
    }


def _find_order(
    loglik: NDArray[np.float32], chemistry: Chemistry, library: Library, rng: np.random.Generator
) -> ChannelOrder:
    found = find_channel_order(loglik, chemistry, library, rng=rng)
    if not found.confirmed:
        reason, _ = explain_no_match(loglik, library, rng=rng)
        raise InputError(f"the order of the channels could not be found ({found}); {reason}")
    return found


def _exact(loglik: NDArray[np.float32], library: Library) -> float:
    """Share of reads that show a word of the library, letter by letter."""
    called = loglik.argmax(axis=2).astype(np.uint8)
    return float(np.isin(pack(called), pack(library.codes)).mean())


def _refuse_no_match(
    loglik: NDArray[np.float32], library: Library, rng: np.random.Generator
) -> None:
    """Stop before every tile is decoded in vain; few reads that do match are no mistake."""
    reason, trials = explain_no_match(loglik, library, rng=rng)
    if trials["trial"].iloc[0] != "as given" or not trials["stands_out"].iloc[0]:
        raise InputError(f"no more reads match the library than by chance; {reason}")


def _sample(
    folder: Folder, tiles: Sequence[str], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Light and relative noise of reads from tiles spread evenly over those that are there."""
    there = [tile for tile in tiles if folder.reads(tile).exists()]
    steps = np.linspace(0, max(len(there) - 1, 0), min(SAMPLE_TILES, len(there)))
    lights, noises = [], []
    for k in np.unique(np.round(steps).astype(int)):
        reads = load_reads(folder.reads(there[k]))
        lights.append(reads.intensity)
        noises.append(reads.relative_noise)
    if not lights or not sum(map(len, lights)):
        return None
    light, noise = np.concatenate(lights), np.concatenate(noises)
    if len(light) > SAMPLE_READS:
        chosen = np.sort(rng.choice(len(light), SAMPLE_READS, replace=False))
        light, noise = light[chosen], noise[chosen]
    return light, noise
