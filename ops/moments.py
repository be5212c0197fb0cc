"""What the light of reads says of the chemistry, once their bases are known with some chance.

The maximisation half of the estimate in `signal`: mean light of the bases, spread of the
amplitudes within a read, noise.
"""

from __future__ import annotations

import numpy as np
from numba import njit
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
# No noise is smaller than this share of the light of the median read, and no squared light that no
# base explains smaller than this.
LEAST_NOISE, LEAST_SQUARE = 0.01, 1e-8
# Reads further from their base than this many sd have less weight in its mean light.
OUTLYING = 2.0
# A base with less of the posterior than this adds nothing that counts.
LEAST_SHARE = 1e-4
# A channel takes part in the amplitude of a base from this share of the base's brightest channel.
OWN_CHANNEL = 0.5
# Reads are sorted by amplitude into this many groups to see noise grow with light.
GROUPS = 10
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
    fixed = float(np.median(now.noise)) ** 2
    top, below, count, offset = _light_sums(
        x, share, log_amp, log_scale, now.states, now.relative**2, fixed
    )
    states = top / np.maximum(below, 1e-9)[..., None]
    lit = chemistry.code.any(axis=1)
    # Brightness of a base in a cycle, over that of its read; the mean is the brightness of reads.
    level = offset[:, lit].sum() / max(count[:, lit].sum(), 1e-9)
    brighter = np.exp((offset - level * count) / (count + SHRINK_READS))
    # Light below zero is background taken off too far, not chemistry.
    states = np.maximum(states * brighter[..., None], 0.0)
    states[:, ~lit] = 0.0
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
    light = (now.states**2).sum(axis=2) * (now.states.max(axis=(0, 2)) > 0)
    fixed = float(np.median(now.noise)) ** 2
    # The brightness of the read was found from the same cycles.
    lost = now.cycles / max(now.cycles - 1, 1)
    variance = _spread(share, log_amp, log_scale, light, now.relative**2, fixed, now.spread)
    return float(np.clip(np.sqrt(variance * lost), *SPREAD_BOUNDS))


def noise_levels(
    x: Light, share: Light, log_amp: Light, noise: Light | None, now: Corrections
) -> tuple[float, Floats]:
    """Noise in proportion to the light, and the noise that is left, from what no base explains."""
    unit = np.ones((len(x), 1)) if noise is None else np.asarray(noise, float).reshape(len(x), -1)
    square, amp = _unexplained(x, share, log_amp, now.states)
    relative2 = _proportional(square, amp)
    unit2 = np.broadcast_to(unit**2, (len(x), x.shape[2]))
    floor = _floor(square, amp, unit2, relative2, np.median(amp))
    least = LEAST_NOISE / max(float(np.median(unit)), 1e-9)
    low, high = RELATIVE_BOUNDS
    return float(np.clip(np.sqrt(relative2), low, high)), np.sqrt(np.maximum(floor, least**2))


def _proportional(square: Light, amp: Light) -> float:
    """Slope of the squared light that is left over the squared amplitude, by groups of reads."""
    size, rest = _by_amplitude(square, amp, np.argsort(amp.ravel(), kind="stable"))
    # Each group is known to the same relative precision.
    design = np.stack([np.ones(GROUPS), size], axis=1) / rest[:, None]
    return float(nnls(design, np.ones(GROUPS))[0][1])


@njit(cache=True, nogil=True)
def _light_sums(x, share, log_amp, log_scale, states, relative2, fixed):  # type: ignore[no-untyped-def]
    """Weighted sums of amplitude x light, its square, share, and share x brightness."""
    reads, cycles, channels = x.shape
    top, below = np.zeros(states.shape), np.zeros((cycles, 4))
    count, offset = np.zeros((cycles, 4)), np.zeros((cycles, 4))
    bend = 1 / (OUTLYING * OUTLYING * channels)
    for i in range(reads):
        for t in range(cycles):
            for b in range(4):
                p = share[i, t, b]
                if p < LEAST_SHARE:
                    continue
                count[t, b] += p
                offset[t, b] += p * (log_amp[i, t, b] - log_scale[i])
                a = np.exp(log_amp[i, t, b])
                far = 0.0
                for c in range(channels):
                    far += (x[i, t, c] - a * states[t, b, c]) ** 2
                weight = p * a / (relative2 * a * a + fixed + far * bend)
                below[t, b] += weight * a
                for c in range(channels):
                    top[t, b, c] += weight * x[i, t, c]
    return top, below, count, offset


@njit(cache=True, nogil=True)
def _spread(share, log_amp, log_scale, light, relative2, fixed, spread):  # type: ignore[no-untyped-def]
    """Mean square of the log-amplitude about the read's, over bases that have light."""
    total, weight = 0.0, 0.0
    for i in range(share.shape[0]):
        for t in range(share.shape[1]):
            for b in range(4):
                p = share[i, t, b]
                if p < LEAST_SHARE or light[t, b] == 0:
                    continue
                a = np.exp(log_amp[i, t, b])
                known = a * a * light[t, b] / (fixed + relative2 * a * a) + 1 / (spread * spread)
                off = log_amp[i, t, b] - log_scale[i]
                total += p * (off * off + 1 / known)
                weight += p
    return total / max(weight, 1e-9)


@njit(cache=True, nogil=True)
def _unexplained(x, share, log_amp, states):  # type: ignore[no-untyped-def]
    """Square of the light that the best base leaves, in units of its median, and the amplitude.

    NaN in the channels that the amplitude was fitted to.
    """
    reads, cycles, channels = x.shape
    square = np.empty(x.shape, np.float32)
    amp = np.zeros((reads, cycles), np.float32)
    for i in range(reads):
        for t in range(cycles):
            best = np.argmax(share[i, t])
            brightest = np.max(states[t, best])
            a = np.exp(log_amp[i, t, best]) if brightest > 0 else 0.0
            amp[i, t] = a
            for c in range(channels):
                own = brightest > 0 and states[t, best, c] >= OWN_CHANNEL * brightest
                left = x[i, t, c] - a * states[t, best, c]
                square[i, t, c] = np.nan if own else left * left / MEDIAN_CHI2
    return square, amp


@njit(cache=True, nogil=True)
def _by_amplitude(square, amp, order):  # type: ignore[no-untyped-def]
    """Squared amplitude, and median square of what is left, of groups of rising amplitude."""
    size, rest = np.empty(GROUPS), np.full(GROUPS, LEAST_SQUARE)
    cycles, channels = square.shape[1:]
    flat = amp.ravel()
    values = np.empty((len(order) // GROUPS + 1) * channels, np.float32)
    for k in range(GROUPS):
        first, last = k * len(order) // GROUPS, (k + 1) * len(order) // GROUPS
        count = 0
        for place in order[first:last]:
            for c in range(channels):
                values[count] = square[place // cycles, place % cycles, c]
                count += not np.isnan(values[count])
        size[k] = flat[order[(first + last) // 2]] ** 2
        if count:
            rest[k] = max(np.median(values[:count]), LEAST_SQUARE)
    return size, rest


@njit(cache=True, nogil=True)
def _floor(square, amp, unit2, relative2, middle):  # type: ignore[no-untyped-def]
    """Variance per cycle and channel that is left in dim entries, for a read with noise 1.

    Where a cycle has too few of them, that of all cycles.
    """
    reads, cycles, channels = square.shape
    floor, lone = np.empty((cycles, channels)), np.empty(reads)
    pool = np.empty(reads * cycles)
    for c in range(channels):
        pooled = 0
        few = np.zeros(cycles, np.bool_)
        for t in range(cycles):
            count = 0
            for i in range(reads):
                a = amp[i, t]
                if a <= middle and not np.isnan(square[i, t, c]):
                    lone[count] = (square[i, t, c] - relative2 * a * a) / unit2[i, c]
                    count += 1
            pool[pooled : pooled + count] = lone[:count]
            pooled += count
            few[t] = count < SHRINK_READS
            if not few[t]:
                floor[t, c] = np.median(lone[:count])
        if few.any():
            level = np.median(pool[:pooled]) if pooled else LEAST_SQUARE
            for t in range(cycles):
                if few[t]:
                    floor[t, c] = level
    return floor
