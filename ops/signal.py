"""From the light of a read to how well each base explains it, with the corrections that takes.

The corrections are found from the light alone, without a look at the library: in every cycle the
reads fall into four groups, one per base, whose mean light (the crosstalk and the gain), noise,
spread, and dependence on the bases before and after (phasing) are estimated together by
expectation and maximisation. The library only sees the result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from poolvox.ops.chemistry import Chemistry
from poolvox.ops.mixture import base_likelihoods
from poolvox.ops.phasing import fit_phasing, leak_matrix
from poolvox.ops.words import BASES
from poolvox.shared.errors import InputError

__all__ = ["Corrections", "Signals", "apply_corrections", "estimate_corrections"]

# Reads that take part in an estimate; more do not make it better, only slower.
MAX_READS = 6000
# A well with fewer reads than this takes the corrections of the plate.
MIN_READS = 300
# Reads of one base in one cycle that count as much as all cycles together.
SHRINK_READS = 40.0
# Rounds of expectation and maximisation. All cycles share the colours of the bases in the first,
# so that no cycle can lose its way; phasing is looked at in the last ones.
ROUNDS = 14
CYCLES_FROM = 6
PHASING_FROM = 8
# Rounds in which gains and colours are found from each other.
PRODUCT_ROUNDS = 4
# Quantile of the light that sets the first guess of the gain.
GAIN_QUANTILE = 0.95
# A cycle's gain in a channel may differ by this factor from channel times cycle at the start.
MAX_GAIN_JUMP = 4.0
# Where the spread of amplitudes within a read and the noise in proportion to light start, and the
# bounds they keep.
START_SPREAD, SPREAD_BOUNDS = 0.5, (0.1, 1.2)
START_RELATIVE, RELATIVE_BOUNDS = 0.25, (0.03, 0.4)
# No noise is smaller than this share of the light of the median read.
LEAST_NOISE = 0.01
# Reads further from their base than this many sd have less weight in its mean light.
OUTLYING = 2.0
# Share of reads, spread evenly over the bases, that is added to what is counted.
EVEN_SHARE = 0.2
# Median of the square of a standard normal variable.
MEDIAN_CHI2 = 0.4549

Floats = NDArray[np.float64]
Light = NDArray[np.float32]


@dataclass(frozen=True)
class Corrections:
    """Everything that stands between the light of a read and its bases.

    Parameters
    ----------
    channels : names of the base channels
    gain : (cycle, channel) light of a read of brightness 1 in the channel's own base
    states : (cycle, base, channel) light of a base in units of `gain`; holds the crosstalk
    noise : (cycle, channel) sd of the noise in units of `gain`, for a read whose own noise is 1
    relative : noise in proportion to the light
    spread : log-sd of the amplitude within a read, from cycle to cycle
    brightness : mean log-brightness of reads
    leak : (cycle, cycle) light of the base of cycle j in cycle t, over that of the base of t
    phasing, prephasing : fraction of strands that fall behind, or run ahead, in a cycle
    composition : (cycle, base) share of reads
    reads : how many reads they rest on
    source : where they come from, such as `well A1` or `plate`
    """

    channels: tuple[str, ...]
    gain: Floats
    states: Floats
    noise: Floats
    relative: float
    spread: float
    brightness: float
    leak: Floats
    phasing: float
    prephasing: float
    composition: Floats
    reads: int
    source: str = ""

    @property
    def cycles(self) -> int:
        """Number of cycles."""
        return len(self.gain)

    @property
    def decay(self) -> Floats:
        """Brightness of each cycle over the first, the mean of all channels; holds exposure jumps."""
        logs = np.log(self.gain).mean(axis=1)
        ratio: Floats = np.exp(logs - logs[0])
        return ratio

    def to_json(self) -> str:
        """As text; the opposite of `from_json`."""
        values = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items()}
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Corrections:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        values["channels"] = tuple(values["channels"])
        arrays = ("gain", "states", "noise", "leak", "composition")
        return cls(**values | {name: np.asarray(values[name], float) for name in arrays})

    def frame(self) -> pd.DataFrame:
        """One row per cycle, base and channel, for tables and figures.

        Columns Correction_Source, Correction_Cycle, Correction_Base, Correction_Channel,
        Correction_Crosstalk (light over that in the brightest channel of the base),
        Correction_Gain, Correction_Noise, Correction_Composition, Correction_Lag and
        Correction_Lead (light of the base before and after).
        """
        t, b, c = (axis.ravel() for axis in np.indices(self.states.shape))
        own = np.maximum(self.states.max(axis=2), 1e-9)
        lag = np.append(0.0, np.diagonal(self.leak, -1))
        lead = np.append(np.diagonal(self.leak, 1), 0.0)
        return pd.DataFrame(
            {
                "Correction_Source": self.source,
                "Correction_Cycle": t + 1,
                "Correction_Base": np.array(list(BASES))[b],
                "Correction_Channel": np.array(self.channels)[c],
                "Correction_Crosstalk": self.states[t, b, c] / own[t, b],
                "Correction_Gain": self.gain[t, c],
                "Correction_Noise": self.noise[t, c],
                "Correction_Composition": self.composition[t, b],
                "Correction_Lag": lag[t],
                "Correction_Lead": lead[t],
            }
        )


@dataclass(frozen=True)
class Signals:
    """What is known of the bases of reads.

    Parameters
    ----------
    loglik : (read, cycle, base) log-likelihood, up to a constant for each read and cycle
    brightness : (read,) in units of the median read
    clean : (read, cycle, channel) light over gain, phasing taken away
    """

    loglik: Light
    brightness: Light
    clean: Light

    def __len__(self) -> int:
        return len(self.loglik)


def apply_corrections(
    bases: Light, corrections: Corrections, *, noise: Light | None = None
) -> Signals:
    """Weigh the four bases in every cycle of every read.

    Parameters
    ----------
    bases : (read, cycle, channel) light over the local background; not-a-number where there is none
    noise : (read,) or (read, channel) sd of each read's noise, if the corrections were estimated
        with it
    """
    _check_shape(bases, corrections.channels)
    if bases.shape[1] != corrections.cycles:
        raise InputError(
            f"reads have {bases.shape[1]} cycles, the corrections {corrections.cycles}: estimate "
            "them from the same cycles"
        )
    loglik, _, log_scale, clean = _likelihoods(bases, corrections, noise)
    return Signals(loglik, np.exp(log_scale - np.float32(corrections.brightness)), clean)


def estimate_corrections(
    bases: Light,
    chemistry: Chemistry,
    *,
    rng: np.random.Generator,
    noise: Light | None = None,
    fallback: Corrections | None = None,
    source: str = "",
) -> Corrections:
    """Find the corrections from the light of reads of one well (or of the plate).

    Parameters
    ----------
    bases : (read, cycle, channel) light over the local background; a sample of reads of many tiles
    chemistry : which base lights up in which channels
    noise : (read,) or (read, channel) sd of each read's noise, where it is known
    fallback : the plate's corrections, taken as they are when there are fewer than 300 reads

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
            f"{int(good.sum())} reads are too few to estimate crosstalk: lower the spot threshold, "
            "or check the images"
        )
    index = np.flatnonzero(good)
    if len(index) > MAX_READS:
        index = np.sort(rng.choice(index, MAX_READS, replace=False))
    sample = bases[index]
    own = None if noise is None else noise[index]
    now = replace(_start(sample, chemistry, own), source=source)
    for round_ in range(ROUNDS):
        now = _step(sample, own, now, chemistry, round_)
    return now


def _check_shape(bases: Light, channels: Sequence[str]) -> None:
    if bases.ndim != 3 or bases.shape[2] != len(channels):
        raise InputError(
            f"bases have shape {bases.shape}, expected (reads, cycles, {len(channels)}) for "
            f"channels {', '.join(channels)}: correct `channels` or `chemistry`"
        )


def _likelihoods(
    bases: Light, corrections: Corrections, noise: Light | None
) -> tuple[Light, Light, Light, Light]:
    """Log-likelihood and log-amplitude of bases, log-brightness of reads, light without phasing."""
    x = np.ascontiguousarray(bases / corrections.gain.astype(np.float32), np.float32)
    channels = x.shape[2]
    own = np.ones((1, channels), np.float32)
    if noise is not None:
        column = noise if noise.ndim == 2 else noise[:, None]
        own = np.ascontiguousarray(np.broadcast_to(column, (len(x), channels)), np.float32)
    result: tuple[Light, Light, Light, Light] = base_likelihoods(
        x,
        own,
        corrections.noise,
        corrections.states,
        corrections.states.max(axis=(0, 2)) > 0,
        corrections.relative,
        corrections.spread,
        corrections.brightness,
        corrections.leak,
    )
    return result


def _start(bases: Light, chemistry: Chemistry, noise: Light | None) -> Corrections:
    """A first guess: gains from a high quantile, no crosstalk, no phasing."""
    cycles, channels = bases.shape[1:]
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
    """A high quantile of each cycle and channel, held near (cycle) x (channel)."""
    high = np.quantile(bases, GAIN_QUANTILE, axis=0).astype(float)
    top = float(high.max())
    logs = np.log(np.maximum(high, 1e-3 * max(top, 1e-9)))
    model = np.median(logs, axis=1, keepdims=True) + np.median(
        logs - np.median(logs, axis=1, keepdims=True), axis=0, keepdims=True
    )
    bound = np.log(MAX_GAIN_JUMP)
    gain: Floats = np.exp(model + np.clip(logs - model, -bound, bound))
    return gain


def _step(
    bases: Light, noise: Light | None, now: Corrections, chemistry: Chemistry, round_: int
) -> Corrections:
    """One round: bases from corrections, then corrections from bases."""
    loglik, log_amp, log_scale, clean = _likelihoods(bases, now, noise)
    share = _posterior(loglik, now.composition)
    strength = SHRINK_READS if round_ >= CYCLES_FROM else np.inf
    states = _new_states(clean, share, log_amp, log_scale, now, chemistry, strength)
    spread = _new_spread(share, log_amp, log_scale, now)
    relative, floor = _new_noise(clean, share, log_amp, noise, now)
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


def _posterior(loglik: Light, composition: Floats) -> Floats:
    logs = loglik + np.log(composition)
    share = np.exp(logs - logs.max(axis=2, keepdims=True))
    posterior: Floats = share / share.sum(axis=2, keepdims=True)
    return posterior


def _new_states(
    x: Light,
    share: Floats,
    log_amp: Light,
    log_scale: Light,
    now: Corrections,
    chemistry: Chemistry,
    strength: float,
) -> Floats:
    """Mean light of each base in each cycle: its direction, then its size."""
    amp = np.exp(log_amp)
    variance = (now.relative * amp) ** 2 + float(np.median(now.noise)) ** 2
    far = np.stack(
        [((x - amp[..., b, None] * now.states[:, b]) ** 2).sum(axis=2) for b in range(4)], axis=2
    )
    weight = share / variance / (1 + far / variance / (OUTLYING**2 * x.shape[2]))
    top = np.einsum("ntb,ntc->tbc", weight * amp, x)
    states = top / np.maximum((weight * amp**2).sum(axis=0), 1e-9)[..., None]
    # Brightness of a base in a cycle, over that of its read.
    count = share.sum(axis=0)
    offset = (share * (log_amp - log_scale[:, None, None])).sum(axis=0) / (count + SHRINK_READS)
    # Light below zero is background taken off too far, not chemistry.
    states = np.maximum(states * np.exp(offset)[..., None], 0.0)
    states[:, ~chemistry.code.any(axis=1)] = 0.0
    return _shrink_states(states, count, chemistry.code, strength)


def _shrink_states(states: Floats, count: Floats, code: Floats, strength: float) -> Floats:
    """Draw the light of bases towards (gain of cycle and channel) x (colour of the base).

    A base of a cycle counts with its reads, the product with `strength` reads, and the table of
    the chemistry, as the colour of a base that hardly occurs, with SHRINK_READS.
    """
    gain = np.ones((len(states), code.shape[1]))
    for _ in range(PRODUCT_ROUNDS):
        top = np.einsum("tb,tc,tbc->bc", count, gain, states) + SHRINK_READS * code
        colour = top / (np.einsum("tb,tc->bc", count, gain**2) + SHRINK_READS)
        top = np.einsum("tb,bc,tbc->tc", count, colour, states) + SHRINK_READS * gain
        gain = top / (np.einsum("tb,bc->tc", count, colour**2) + SHRINK_READS)
    own = (count / (count + strength))[..., None]
    mixed: Floats = own * states + (1 - own) * gain[:, None, :] * colour
    return mixed


def _new_spread(share: Floats, log_amp: Light, log_scale: Light, now: Corrections) -> float:
    """Log-sd of the amplitude within a read, with what of it the noise hides."""
    lit = now.states.max(axis=(0, 2)) > 0
    amp = np.exp(log_amp[..., lit])
    light = (now.states[:, lit] ** 2).sum(axis=2)
    noise = float(np.median(now.noise)) ** 2 + (now.relative * amp) ** 2
    hidden = 1.0 / (amp**2 * light / noise + 1.0 / now.spread**2)
    square = (log_amp[..., lit] - log_scale[:, None, None]) ** 2 + hidden
    # The brightness of the read was found from the same cycles.
    lost = now.cycles / max(now.cycles - 1, 1)
    variance = float((share[..., lit] * square).sum() / share[..., lit].sum()) * lost
    return float(np.clip(np.sqrt(variance), *SPREAD_BOUNDS))


def _new_noise(
    x: Light, share: Floats, log_amp: Light, noise: Light | None, now: Corrections
) -> tuple[float, Floats]:
    """Noise in proportion to the light, and the noise that is left, from what no base explains."""
    best = share.argmax(axis=2)
    rows, columns = np.indices(best.shape)
    state = now.states[columns, best]
    lit = state.max(axis=2) > 0
    amp = np.where(lit, np.exp(log_amp[rows, columns, best]), 0.0)
    residual = (x - amp[..., None] * state) ** 2 / MEDIAN_CHI2
    # The amplitude was fitted to the same light, mostly to the brightest channels.
    residual[(state >= 0.5 * state.max(axis=2)[..., None]) & lit[..., None]] = np.nan
    unit = np.ones((len(x), 1)) if noise is None else np.asarray(noise, float).reshape(len(x), -1)
    relative2 = _proportional(residual, amp)
    left = (residual - relative2 * amp[..., None] ** 2) / unit[:, None, :] ** 2
    left[amp > np.median(amp)] = np.nan
    floor = np.empty(x.shape[1:])
    for c in range(x.shape[2]):
        pooled = _median(left[..., c])
        for t in range(x.shape[1]):
            enough = np.isfinite(left[:, t, c]).sum() >= SHRINK_READS
            floor[t, c] = _median(left[:, t, c]) if enough else pooled
    least = LEAST_NOISE / max(_median(unit), 1e-9)
    low, high = RELATIVE_BOUNDS
    return float(np.clip(np.sqrt(relative2), low, high)), np.sqrt(np.maximum(floor, least**2))


def _proportional(residual: Floats, amp: Floats) -> float:
    """Slope of the squared residual over the squared amplitude, from the medians of its deciles."""
    edges = np.quantile(amp, np.linspace(0, 1, 11))
    group = np.clip(np.searchsorted(edges, amp, side="right") - 1, 0, 9)
    size = np.array([_median(amp[group == k]) ** 2 for k in range(10)])
    rest = np.array([max(_median(residual[group == k]), 1e-8) for k in range(10)])
    # Each decile is known to the same relative precision.
    design = np.stack([np.ones(10), size], axis=1) / rest[:, None]
    return float(nnls(design, np.ones(10))[0][1])


def _median(values: Floats) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else 1e-4
