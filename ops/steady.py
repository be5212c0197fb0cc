"""Light that looks alike in every cycle: what glows by itself and is taken for reads.

The chemistry of a cycle changes the colour of a read, but not that of dust and autofluorescence.
A spot is compared with one colour of its own, the same in all cycles, as it is with the four bases;
only a word of one base all through looks like that.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.ops.mixture import LEAST_RATIO, TAIL, Dyes

__all__ = ["steady_odds"]

# What spots are given that have no light, or too few cycles to tell: they are not of one colour.
UNTOLD, LEAST_CYCLES = -1000.0, 3
# No cycle tells more of a colour than two that tell a base for sure: a read that lies on glow has
# cycles in which no base fits.
MOST_GAIN = 2 * np.log(4.0)
# Odds that cannot rise above this any more are not looked at further: they weigh nothing.
ENOUGH = -40.0

Light = NDArray[np.float32]


def steady_odds(x: Light, noise: Light, dyes: Dyes, loglik: Light, scales: Light) -> Light:
    """Log of how much likelier the light is of one colour than of any sequence of bases.

    Parameters
    ----------
    x : (read, cycle, channel) light over the gain; not-a-number where there is none
    noise : (read, channel) sd of each read
    loglik, scales : of the bases (read, cycle, 4), and log-brightness (read,), by
        `base_likelihoods` from the same light

    Returns
    -------
    (read,) the colour, which is fitted, is paid for as by Schwarz (doi:10.1214/aos/1176344136)
    """
    found: Light = _steady(x, noise, dyes, loglik, scales)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _steady(x, noise, dyes, loglik, scales):  # type: ignore[no-untyped-def]
    n, cycles, channels = x.shape
    odds = np.empty(n, np.float32)
    colour, v = np.empty(channels), np.empty(channels)
    inverse = 1.0 / (dyes.spread * dyes.spread)
    for i in range(n):
        seen = _colour(x[i], colour)
        if seen < LEAST_CYCLES:
            odds[i] = UNTOLD
            continue
        total = -0.5 * (channels - 1) * np.log(seen)
        for t in range(cycles):
            if not np.isfinite(x[i, t].sum()):
                continue
            volume = _noise(x[i, t], noise[i], dyes, t, v)
            any_base = 0.0
            top = loglik[i, t].max()
            for b in range(4):
                any_base += 0.25 * np.exp(loglik[i, t, b] - top)
            gain = _fit(x[i, t], colour, v, scales[i], inverse) - 0.5 * volume
            total += min(gain - top - np.log(any_base), MOST_GAIN)
            if total + (cycles - 1 - t) * MOST_GAIN < ENOUGH:
                break
        odds[i] = total
    return odds


@njit(cache=True, nogil=True, error_model="numpy")
def _colour(x, colour):  # type: ignore[no-untyped-def]
    """Fill the mean colour over the cycles, 1 in its brightest channel; return their number."""
    colour[:] = 0.0
    seen = 0
    for t in range(len(x)):
        if np.isfinite(x[t].sum()):
            seen += 1
            for c in range(len(colour)):
                colour[c] += x[t, c]
    brightest = colour.max()
    if brightest <= 0:
        return 0
    for c in range(len(colour)):
        colour[c] = max(colour[c], 0.0) / brightest
    return seen


@njit(cache=True, nogil=True, error_model="numpy")
def _noise(x, noise, dyes, t, v):  # type: ignore[no-untyped-def]
    """Fill the variance that the bases are weighed with in a cycle; return its log-determinant."""
    for c in range(len(v)):
        v[c] = max(noise[c] * dyes.factor[t, c], 1e-6) ** 2
    bright = 0.0
    for b in range(4):
        xm, mm = 0.0, 0.0
        for c in range(len(v)):
            xm += x[c] * dyes.states[t, b, c] / v[c]
            mm += dyes.states[t, b, c] ** 2 / v[c]
        if dyes.lit[b] and mm > 0 and xm > bright * mm:
            bright = xm / mm
    volume = 0.0
    for c in range(len(v)):
        v[c] += (dyes.relative * bright) ** 2
        volume += np.log(v[c])
    return volume


@njit(cache=True, nogil=True, error_model="numpy")
def _fit(x, colour, v, log_scale, inverse):  # type: ignore[no-untyped-def]
    """Log-likelihood of light of a colour, but for the volume of the noise."""
    xx, xm, mm = 0.0, 0.0, 0.0
    for c in range(len(v)):
        xx += x[c] * x[c] / v[c]
        xm += x[c] * colour[c] / v[c]
        mm += colour[c] * colour[c] / v[c]
    scale = np.exp(log_scale)
    amplitude = min(max(xm / mm, scale * LEAST_RATIO), scale / LEAST_RATIO)
    left = xx + amplitude * (amplitude * mm - 2 * xm)
    off = np.log(amplitude) - log_scale
    bend = max(2 * amplitude * amplitude * mm - amplitude * xm, 0.0) / inverse + 1.0
    fit = -0.5 * (off * off * inverse + np.log(bend))
    return fit - 0.5 * (TAIL + len(v)) * np.log(1 + max(left, 0.0) / TAIL)
