"""From the light of a read to how well each base explains it, with the corrections that takes.

The corrections are found from the light alone, without a look at the library: in every cycle the
reads fall into four groups, one per base, whose mean light (the crosstalk and the gain), noise,
spread, and dependence on the bases before and after (phasing) are estimated together by
expectation and maximisation. The library only sees the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.ops.chemistry import Chemistry
from poolvox.ops.corrections import Corrections
from poolvox.ops.mixture import Dyes, base_likelihoods
from poolvox.ops.moments import (
    START_RELATIVE,
    START_SPREAD,
    amplitude_spread,
    mean_light,
    noise_levels,
)
from poolvox.ops.phasing import fit_phasing, leak_matrix
from poolvox.ops.steady import steady_odds
from poolvox.shared.errors import InputError

__all__ = ["Corrections", "Signals", "apply_corrections", "estimate_corrections"]

# Reads that take part in an estimate; with six times as many the F1 of cells is the same to 0.002.
MAX_READS = 1000
# A well with fewer reads than this takes the corrections of the plate.
MIN_READS = 300
# Rounds of expectation and maximisation, at most. In the first ones a cycle leans on the colours of
# all cycles, so that none loses its way; phasing is looked at in the last ones. They end when the
# light of no base changes by more than a share of that of a typical one.
ROUNDS = 16
CYCLES_FROM = 3
PHASING_FROM = 4
SETTLED = 0.02
# In the first rounds every so many-th read takes part.
EARLY_STEP = 3
# Reads that are worth a thread of their own.
SHARE_READS = 250
# Quantile of the light that sets the first guess of the gain.
GAIN_QUANTILE = 0.95
GAIN_ROUNDS = 3
# An entry is pure when its second channel has less than this share of the light of its first, and
# the first is no dimmer than this.
PURE, DIM = 0.6, 0.3
# Pure entries, and share of reads, from which a channel counts as seen in a cycle. One that is
# never seen shows crosstalk; its own light is taken to be this many times as bright.
SEEN_READS, SEEN_SHARE, SILENT_FACTOR = 15, 0.008, 2.0
# Share of reads, spread evenly over the bases, that is added to what is counted.
EVEN_SHARE = 0.2

Floats = NDArray[np.float64]
Light = NDArray[np.float32]
# Log-likelihood and log-amplitude of bases, log-brightness of reads, light without phasing.
Found = tuple[Light, Light, Light, Light]


@dataclass(frozen=True)
class Signals:
    """What is known of the bases of reads.

    Parameters
    ----------
    loglik : (read, cycle, base) log-likelihood, up to a constant for each read and cycle
    brightness : (read,) in units of the median read
    clean : (read, cycle, channel) light over gain, phasing taken away
    steady : (read,) see `steady_odds`
    """

    loglik: Light
    brightness: Light
    clean: Light
    steady: Light

    def __len__(self) -> int:
        return len(self.loglik)


def apply_corrections(
    bases: Light, corrections: Corrections, *, noise: Light | None = None, threads: int = 1
) -> Signals:
    """Weigh the four bases in every cycle of every read.

    Parameters
    ----------
    bases : (read, cycle, channel) light over the local background; not-a-number where there is none
    noise : (read,) or (read, channel) sd of each read's noise, if the corrections were estimated
        with it
    threads : that share the reads; they change no result
    """
    _check_shape(bases, corrections.channels)
    if bases.shape[1] != corrections.cycles:
        raise InputError(
            f"reads have {bases.shape[1]} cycles, the corrections {corrections.cycles}: estimate "
            "them from the same cycles"
        )
    x, own, dyes = _inputs(bases, corrections, noise)
    nothing = np.empty(0, np.float32)
    loglik, _, log_scale, clean = _shared(x, own, dyes, nothing, threads)
    steady = steady_odds(x, own, dyes, loglik, log_scale)
    return Signals(loglik, np.exp(log_scale - np.float32(corrections.brightness)), clean, steady)


def estimate_corrections(
    bases: Light,
    chemistry: Chemistry,
    *,
    rng: np.random.Generator,
    noise: Light | None = None,
    fallback: Corrections | None = None,
    source: str = "",
    threads: int = 1,
) -> Corrections:
    """Find the corrections from the light of reads of one well (or of the plate).

    Parameters
    ----------
    bases : (read, cycle, channel) light over the local background; a sample of reads of many tiles
    chemistry : which base lights up in which channels
    noise : (read,) or (read, channel) sd of each read's noise, where it is known
    fallback : the plate's corrections, taken as they are when there are fewer than 300 reads
    threads : that share the reads; they change no result

    Raises
    ------
    InputError
        There are too few reads and nothing to fall back on, or the number of channels is wrong.
    """
    _check_shape(bases, chemistry.channels)
    good = np.isfinite(bases).all(axis=(1, 2)) & (bases.max(axis=(1, 2)) > 0)
    if good.sum() < MIN_READS and fallback is not None:
        return fallback
    if good.sum() < 4 * len(chemistry.channels):
        raise InputError(
            f"only {int(good.sum())} of {len(bases)} reads have light in every cycle, too few to "
            "estimate crosstalk: look at the images for blank cycles, and whether `channels` names "
            "the base channels"
        )
    index = np.flatnonzero(good)
    if len(index) > MAX_READS:
        index = np.sort(rng.choice(index, MAX_READS, replace=False))
    sample = bases[index]
    own = None if noise is None else noise[index]
    now = replace(_start(sample, chemistry, own), source=source)
    start: Light | None = None
    for round_ in range(ROUNDS):
        before = now
        if round_ in (0, CYCLES_FROM):
            every, start = (EARLY_STEP if round_ < CYCLES_FROM else 1), None
            taken, its = sample[::every], None if own is None else own[::every]
        found = _likelihoods(taken, now, its, start, threads=threads)
        now, start = _step(taken, its, now, chemistry, round_, found), found[2]
        if round_ > PHASING_FROM and np.abs(now.states - before.states).max() < SETTLED:
            break
    return now


def _check_shape(bases: Light, channels: Sequence[str]) -> None:
    if bases.ndim != 3 or bases.shape[2] != len(channels):
        raise InputError(
            f"bases have shape {bases.shape}, expected (reads, cycles, {len(channels)}) for "
            f"channels {', '.join(channels)}: correct `channels` or `chemistry`"
        )


def _likelihoods(
    bases: Light,
    corrections: Corrections,
    noise: Light | None,
    start: Light | None = None,
    *,
    threads: int,
) -> Found:
    """What the light says of the bases, with these corrections.

    `start` is the log-brightness that the round before has found.
    """
    x, own, dyes = _inputs(bases, corrections, noise)
    first = np.empty(0, np.float32) if start is None else start
    return _shared(x, own, dyes, first, threads)


def _inputs(
    bases: Light, corrections: Corrections, noise: Light | None
) -> tuple[Light, Light, Dyes]:
    """Light over the gain, noise of the reads, and what the light of the bases is like."""
    x = np.ascontiguousarray(bases / corrections.gain.astype(np.float32), np.float32)
    column = np.float32(1) if noise is None else noise.reshape(len(x), -1)
    own = np.ascontiguousarray(np.broadcast_to(column, (len(x), x.shape[2])), np.float32)
    dyes = Dyes(
        corrections.noise,
        corrections.states,
        corrections.states.max(axis=(0, 2)) > 0,
        corrections.relative,
        corrections.spread,
        corrections.brightness,
        corrections.leak,
    )
    return x, own, dyes


def _shared(x: Light, own: Light, dyes: Dyes, first: Light, threads: int) -> Found:
    """Likelihoods of reads, which the threads share."""

    def work(rows: slice) -> Found:
        found: Found = base_likelihoods(x[rows], own[rows], dyes, first[rows])
        return found

    threads = min(threads, len(x) // SHARE_READS)
    if threads < 2:
        return work(slice(None))
    cuts = np.linspace(0, len(x), threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(work, map(slice, cuts, cuts[1:])))
    loglik, log_amp, log_scale, clean = map(np.concatenate, zip(*parts))
    return loglik, log_amp, log_scale, clean


def _start(bases: Light, chemistry: Chemistry, noise: Light | None) -> Corrections:
    """A first guess: gains from a high quantile, no crosstalk, no phasing."""
    cycles = bases.shape[1]
    gain = _first_gain(bases)
    x = bases / gain
    typical = 1.0 if noise is None else float(np.median(noise))
    low = np.maximum(np.quantile(np.abs(x), 0.25, axis=0), 1e-3)
    return Corrections(
        channels=chemistry.channels,
        gain=gain,
        states=np.repeat(chemistry.code[None], cycles, axis=0),
        noise=low / max(typical, 1e-9),
        relative=START_RELATIVE,
        spread=START_SPREAD,
        brightness=float(np.median(np.log(np.maximum(x.max(axis=2).mean(axis=1), 1e-6)))),
        leak=np.eye(cycles),
        phasing=0.0,
        prephasing=0.0,
        composition=np.full((cycles, 4), 0.25),
        reads=len(bases),
    )


def _first_gain(bases: Light) -> Floats:
    """Light of each cycle and channel, from the entries in which the channel outshines all others.

    A high quantile is no more than the start: that of a channel that hardly ever lights up shows
    the crosstalk of the others.
    """
    high = np.quantile(bases, GAIN_QUANTILE, axis=0).astype(float)
    gain: Floats = np.maximum(high, 1e-3 * max(float(high.max()), 1e-9))
    for _ in range(GAIN_ROUNDS):
        least = max(SEEN_READS, SEEN_SHARE * len(bases))
        gain = _fill_gain(gain, _pure_light(bases, gain, least))
    return gain


@njit(cache=True, nogil=True)
def _pure_light(bases, gain, least):  # type: ignore[no-untyped-def]
    """Median light over gain of the pure entries of each cycle and channel; NaN where too few."""
    reads, cycles, channels = bases.shape
    level = np.full((cycles, channels), np.nan)
    values, count = np.empty((channels, reads)), np.empty(channels, np.int64)
    for t in range(cycles):
        count[:] = 0
        for i in range(reads):
            x = bases[i, t] / gain[t]
            best = np.argmax(x)
            pure = x[best] > DIM
            for c in range(channels):
                pure &= c == best or x[c] < PURE * x[best]
            if pure:
                values[best, count[best]] = x[best]
                count[best] += 1
        for c in range(channels):
            if count[c] >= least:
                level[t, c] = np.median(values[c, : count[c]])
    return level


def _fill_gain(gain: Floats, level: Floats) -> Floats:
    """Gain times level; where a channel was not seen, (cycle) x (channel) of those that were."""
    if not np.isfinite(level).any():
        return gain
    new = np.log(gain * level / np.nanmedian(level))
    silent = ~np.isfinite(new).any(axis=0)
    new[:, silent] = np.log(gain[:, silent] * SILENT_FACTOR)
    # A cycle in which no channel was seen is as bright as the others.
    cycle, seen = np.zeros(len(new)), np.isfinite(new).any(axis=1)
    cycle[seen] = np.nanmedian((new - np.nanmedian(new, axis=0))[seen], axis=1)
    model = cycle[:, None] + np.nanmedian(new - cycle[:, None], axis=0)
    filled: Floats = np.exp(np.where(np.isfinite(new), new, model))
    return filled


def _step(
    bases: Light,
    noise: Light | None,
    now: Corrections,
    chemistry: Chemistry,
    round_: int,
    found: Found,
) -> Corrections:
    """The second half of a round: corrections from what was found about the bases."""
    loglik, log_amp, log_scale, clean = found
    share = _posterior(loglik, np.log(now.composition))
    early = {} if round_ >= CYCLES_FROM else {"strength": len(bases) / 4}
    states = mean_light(clean, share, log_amp, log_scale, now, chemistry, **early)
    spread = amplitude_spread(share, log_amp, log_scale, now)
    relative, floor = noise_levels(clean, share, log_amp, noise, now)
    if round_ < CYCLES_FROM:
        relative = max(relative, START_RELATIVE)
    counts = share.sum(axis=0)
    leak, phasing, prephasing = now.leak, now.phasing, now.prephasing
    if round_ >= PHASING_FROM:
        x = (bases / now.gain).astype(np.float32)
        phasing, prephasing, extra = fit_phasing(x, share, log_amp, states)
        leak = leak_matrix(now.cycles, phasing, prephasing, extra)
    return replace(
        now,
        states=states,
        spread=spread,
        relative=relative,
        noise=floor,
        brightness=float(np.mean(log_scale)),
        composition=(counts / len(bases) + EVEN_SHARE / 4) / (1 + EVEN_SHARE),
        leak=leak,
        phasing=phasing,
        prephasing=prephasing,
    )


@njit(cache=True, nogil=True)
def _posterior(loglik, prior):  # type: ignore[no-untyped-def]
    """Shares of the bases, (read, cycle, 4), from their log-likelihood and log-prior."""
    share = np.empty_like(loglik)
    for i in range(len(loglik)):
        for t in range(loglik.shape[1]):
            top, total = -np.inf, 0.0
            for b in range(4):
                top = max(top, loglik[i, t, b] + prior[t, b])
            for b in range(4):
                share[i, t, b] = np.exp(loglik[i, t, b] + prior[t, b] - top)
                total += share[i, t, b]
            for b in range(4):
                share[i, t, b] /= total
    return share
