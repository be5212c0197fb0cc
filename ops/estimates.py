"""What stands between light and bases: estimated on the plate and on each well, from a sample."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.ops.calls import load_codebook
from poolvox.ops.chemistry import Chemistry
from poolvox.ops.codebook import find_strangers
from poolvox.ops.config import OpsConfig
from poolvox.ops.corrections import Corrections
from poolvox.ops.folder import Folder
from poolvox.ops.library import Library
from poolvox.ops.orient import AS_GIVEN, ChannelOrder, explain_no_match, find_channel_order
from poolvox.ops.parts import Signal, load_light, load_signal
from poolvox.ops.rates import fit_error_model
from poolvox.ops.signal import Signals, apply_corrections, estimate_corrections
from poolvox.ops.steps import Optics
from poolvox.ops.words import pack
from poolvox.shared.engine import cores
from poolvox.shared.errors import InputError

__all__ = ["estimate_signal"]

# Tiles and reads that the corrections of a plate or well rest on.
SAMPLE_TILES = 48
SAMPLE_READS = 5000
# Where fewer reads than this share match the library exactly, the reason is looked for.
FEW_MAPPED = 0.2

Sample = tuple[NDArray[np.float32], NDArray[np.float32]]


def estimate_signal(
    folder: Folder, tiles: Sequence[str], place: str, config: OpsConfig, optics: Optics
) -> dict[str, Any]:
    """Estimate what stands between light and bases, on the plate (`place` "plate") or a well."""
    chosen = _chosen(folder, tiles)
    rng = np.random.default_rng([config.decode.seed, 2])
    if place == "plate":
        signal = _of_plate(folder, chosen, config, optics, rng)
    elif not folder.signal("plate").exists():
        raise InputError("there are no corrections of the plate: see why signal/plate failed")
    else:
        signal = load_signal(folder.signal("plate"))
        # The only well of a plate has shown what it can already.
        if chosen != signal.tiles:
            signal = _of_well(
                _sample(folder, chosen, config, threads=1), signal, place, config, rng
            )
        elif chosen:
            signal = replace(signal, corrections=replace(signal.corrections, source=place))
    path = folder.signal(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(signal.to_json(), encoding="utf-8")
    corrections = signal.corrections
    return {
        "reads": corrections.reads,
        "source": corrections.source,
        "phasing": corrections.phasing,
        "prephasing": corrections.prephasing,
        "mapped": signal.errors.mapped,
        "strangers": signal.strangers["sequence"].tolist(),
        "order": signal.order,
    }


def _of_plate(
    folder: Folder,
    tiles: tuple[str, ...],
    config: OpsConfig,
    optics: Optics,
    rng: np.random.Generator,
) -> Signal:
    # All that follows waits for this unit, and it for all images: it has the workers to itself.
    threads = config.engine.workers or cores()
    light, noise = _sample(folder, tiles, config, threads=threads)
    if not len(light):
        raise InputError("no tile has reads: see the reasons of the failed tiles, and the images")
    chemistry, order = optics.chemistry, ""
    corrections, signals = _corrected(light, noise, chemistry, rng, threads)
    library = load_codebook(config, light.shape[1])[0]
    if optics.find_order:
        found = _find_order(signals.loglik, chemistry, library, rng)
        names = [optics.channels[k] for k in optics.bases]
        order, chemistry = found.told(names), found.chemistry
        corrections, signals = _corrected(light, noise, chemistry, rng, threads)
    if _exact(signals.loglik, library) < FEW_MAPPED:
        _refuse_no_match(signals.loglik, library, rng)
    strangers = find_strangers(signals.loglik, library)
    codebook = load_codebook(config, light.shape[1], strangers)[1]
    errors = fit_error_model(signals.loglik, codebook, rng=rng, steady=signals.steady)
    return Signal(corrections, errors, chemistry, strangers, order, tiles)


def _corrected(
    light: NDArray[np.float32],
    noise: NDArray[np.float32],
    chemistry: Chemistry,
    rng: np.random.Generator,
    threads: int,
) -> tuple[Corrections, Signals]:
    found = estimate_corrections(
        light, chemistry, rng=rng, noise=noise, source="plate", threads=threads
    )
    return found, apply_corrections(light, found, noise=noise, threads=threads)


def _of_well(
    sample: Sample, plate: Signal, place: str, config: OpsConfig, rng: np.random.Generator
) -> Signal:
    """What the reads of a well say; what those of the plate do where the well has too few."""
    light, noise = sample
    if not len(light):
        return plate
    corrections = estimate_corrections(
        light, plate.chemistry, rng=rng, noise=noise, fallback=plate.corrections, source=place
    )
    if corrections is plate.corrections:
        return plate
    signals = apply_corrections(light, corrections, noise=noise)
    codebook = load_codebook(config, light.shape[1], plate.strangers)[1]
    errors = fit_error_model(signals.loglik, codebook, rng=rng, steady=signals.steady)
    return replace(plate, corrections=corrections, errors=errors)


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
    if trials["trial"].iloc[0] != AS_GIVEN or not trials["stands_out"].iloc[0]:
        raise InputError(f"no more reads match the library than by chance; {reason}")


def _chosen(folder: Folder, tiles: Sequence[str]) -> tuple[str, ...]:
    """Tiles spread evenly over those that are there."""
    there = [tile for tile in tiles if folder.reads(tile).exists()]
    steps = np.linspace(0, max(len(there) - 1, 0), min(SAMPLE_TILES, len(there)))
    return tuple(there[k] for k in np.unique(np.round(steps).astype(int)))


def _sample(folder: Folder, tiles: Sequence[str], config: OpsConfig, *, threads: int) -> Sample:
    """Light and relative noise of reads of the tiles."""
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(load_light, map(folder.reads, tiles)))
    if not parts:
        return np.zeros((0, 1, 1), np.float32), np.zeros((0, 1), np.float32)
    light, noise = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(light) > SAMPLE_READS:
        rng = np.random.default_rng([config.decode.seed, 1])
        kept = np.sort(rng.choice(len(light), SAMPLE_READS, replace=False))
        light, noise = light[kept], noise[kept]
    return light, noise
