"""What the light of reads says of the chemistry, once their bases are known with some chance.

The maximisation half of the estimate in `signal`: mean light of the bases, spread of the
amplitudes within a read, noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from poolvox.ops.chemistry import Chemistry
from poolvox.ops.corrections import Corrections

__all__ = ["START_RELATIVE", "START_SPREAD", "amplitude_spread", "mean_light", "noise_levels"]

# Reads of one base in one cycle that count as much as all cycles together.
SHRINK_READS = 40.0
# A base with fewer than this share of all entries has more of the table's colour than of its own.
RARE_SHARE = 0.03
# Rounds in which gains and colours are found from each other.
PRODUCT_ROUNDS = 4
# Where the spread of amplitudes within a read and the noise in proportion to light start, and the
# bounds they keep.
START_SPREAD, SPREAD_BOUNDS = 0.5, (0.1, 1.2)
START_RELATIVE, RELATIVE_BOUNDS = 0.25, (0.03, 0.4)
# No noise is smaller than this share of the light of the median read.
LEAST_NOISE = 0.01
# Reads further from their base than this many sd have less weight in its mean light.
OUTLYING = 2.0
# Median of the square of a standard normal variable.
MEDIAN_CHI2 = 0.4549

Floats = NDArray[np.float64]
Light = NDArray[np.float32]


def mean_light(
    x: Light,
    share: Light,
    log_amp: Light,
    log_scale: Light,
    now: Corrections,
    chemistry: Chemistry,
    strength: float = SHRINK_READS,
) -> Floats:
    """Mean light of each base in each cycle.

    Parameters
    ----------
    x : (read, cycle, channel) light over gain
    share : (read, cycle, 4) posterior of the bases
    log_amp, log_scale : (read, cycle, 4), (read,) log-amplitude of bases, log-brightness of reads
    strength : reads that all cycles together count as in each one of them

    Returns
    -------
    (cycle, 4, channel) array
    """
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
    the chemistry, as the colour of a base that hardly occurs, with a share of all entries: left
    alone, such a base would take over half of another's reads.
    """
    rare = RARE_SHARE * count.sum()
    gain = np.ones((len(states), code.shape[1]))
    for _ in range(PRODUCT_ROUNDS):
        top = np.einsum("tb,tc,tbc->bc", count, gain, states) + rare * code
        colour = top / (np.einsum("tb,tc->bc", count, gain**2) + rare)
        top = np.einsum("tb,bc,tbc->tc", count, colour, states) + SHRINK_READS * gain
        gain = top / (np.einsum("tb,bc->tc", count, colour**2) + SHRINK_READS)
    own = (count / (count + strength))[..., None]
    mixed: Floats = own * states + (1 - own) * gain[:, None, :] * colour
    return mixed


def amplitude_spread(share: Light, log_amp: Light, log_scale: Light, now: Corrections) -> float:
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


def noise_levels(
    x: Light, share: Light, log_amp: Light, noise: Light | None, now: Corrections
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


def _median(values: NDArray[np.floating]) -> float:
    """Upper median of what is finite, several times as fast as numpy's."""
    values = values[np.isfinite(values)]
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle]) if len(values) else 1e-4
