"""Kernels of the light model: how well each base explains the light of a cycle.

A read of brightness s shows in cycle t, where its base is b, the light a * state[t, b] plus noise.
The amplitude a is log-normal round s. The noise has a part that does not depend on the light and a
part in proportion to it (residual crosstalk, neighbours). The amplitude is integrated out with
Laplace's method round its best value, for each base.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Dyes", "base_likelihoods"]

# Missing light is not-a-number, so the compiler may not assume that there is none.
FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
# Steps of Newton's method for the logarithm of the amplitude; its start is the least-squares
# value, and the third step changes the likelihood by less than 0.01.
NEWTON_STEPS = 3
# The first guess of the amplitude is no smaller than this share of the read's brightness, and no
# larger than the brightness over it.
LEAST_RATIO = 0.02
# Weight of the population's brightness against that of the read itself, in cycles.
PRIOR_CYCLES = 0.5
# A base whose log-likelihood is this far below the best does not matter.
NEGLIGIBLE = 25.0
# Degrees of freedom of the residuals.
TAIL = 6.0
# Less light of a neighbouring base than this is not worth taking away.
LEAST_LEAK = 1e-4


class Dyes(NamedTuple):
    """What the light of the bases is like.

    Parameters
    ----------
    factor : (cycle, channel) turns the noise of a read into units of its light over the gain
    states : (cycle, 4, channel) light of each base at an amplitude of 1
    lit : (4,) which bases have any light
    relative : noise in proportion to the light
    spread : log-sd of the amplitude within a read
    mean : mean log-brightness of reads
    leak : (cycle, cycle) light of the base of cycle j in cycle t, over that of its own base
    """

    factor: NDArray[np.float64]
    states: NDArray[np.float64]
    lit: NDArray[np.bool_]
    relative: float
    spread: float
    mean: float
    leak: NDArray[np.float64]


@njit(cache=True, nogil=True, fastmath=FAST, inline="always")
def _exp(x):  # type: ignore[no-untyped-def]
    """Exponential of a step of at most 1, to 0.2 %: what is left is Newton's next step."""
    half, third = 0.5 * x, x * x / 12.0
    return (1.0 + half + third) / (1.0 - half + third)


@njit(cache=True, nogil=True, fastmath=FAST)
def _amplitudes(xm, mm, scale, log_scale, inverse, a, log_a):  # type: ignore[no-untyped-def]
    """Fill the best amplitude of each base, and its logarithm.

    `xm`, `mm` : light times state, and state squared, over the variance of the noise; `inverse` :
    one over the variance of the log-amplitude.
    """
    low, high = scale * LEAST_RATIO, scale / LEAST_RATIO
    for b in range(4):
        a[b] = scale
        if xm[b] > 0 and mm[b] > 0:
            a[b] = min(max(xm[b] / mm[b], low), high)
        log_a[b] = np.log(a[b])
    for _ in range(NEWTON_STEPS):
        for b in range(4):
            up, fall = a[b] * xm[b], a[b] * a[b] * mm[b]
            slope = up - fall - (log_a[b] - log_scale) * inverse
            step = slope / (fall + inverse + max(0.0, fall - up))
            step = min(max(step, -1.0), 1.0)
            log_a[b] += step
            a[b] *= _exp(step)


@njit(cache=True, nogil=True, fastmath=FAST)
def _products(light, noise2, states, leaked, lit, relative2, sums):  # type: ignore[no-untyped-def]
    """Fill light times state, and state squared, of the bases, over the variance of the noise.

    All is of one cycle. The state of a base is its own light and what has leaked in. Returns the
    log-likelihood of darkness.
    """
    channels = light.shape[0]
    xm, mm = sums
    xm[:], mm[:] = 0.0, 0.0
    for c in range(channels):
        inverse = 1.0 / noise2[c]
        for b in range(4):
            state = states[b, c] + leaked[c]
            xm[b] += light[c] * state * inverse
            mm[b] += state * state * inverse
    bright = 0.0
    for b in range(4):
        if lit[b] and mm[b] > 0 and xm[b] > bright * mm[b]:
            bright = xm[b] / mm[b]
    floor = relative2 * bright * bright
    xx, volume = 0.0, 1.0
    xm[:], mm[:] = 0.0, 0.0
    for c in range(channels):
        v = noise2[c] + floor
        inverse = 1.0 / v
        xx += light[c] * light[c] * inverse
        volume *= v
        for b in range(4):
            state = states[b, c] + leaked[c]
            xm[b] += light[c] * state * inverse
            mm[b] += state * state * inverse
    return xx, np.log(volume)


@njit(cache=True, nogil=True, fastmath=FAST)
def _cycle(light, place, model, leaked, brightness, out, work):  # type: ignore[no-untyped-def]
    """Fill log-likelihood and amplitude of the four bases in one cycle of one read."""
    i, t = place
    noise2, states, lit, relative2, inverse, _ = model
    scale, log_scale = brightness
    loglik, log_amp = out
    xm, mm, log_a, amp = work
    square, volume = _products(
        light[i, t], noise2[t], states[t], leaked[t], lit, relative2, (xm, mm)
    )
    _amplitudes(xm, mm, scale, log_scale, inverse, amp, log_a)
    top = -np.inf
    for b in range(4):
        left, fit = square, -0.5 * volume
        if mm[b] > 0:
            up, fall = amp[b] * xm[b], amp[b] * amp[b] * mm[b]
            off = log_a[b] - log_scale
            bend = max(2 * fall - up, 0.0) / inverse + 1.0
            left += fall - 2 * up
            fit -= 0.5 * (off * off * inverse + np.log(bend))
        else:
            amp[b] = scale
        # Light of neighbours makes residuals far from normal (Student's t).
        fit -= 0.5 * (TAIL + light.shape[2]) * np.log(1 + max(left, 0.0) / TAIL)
        loglik[i, t, b] = fit
        # What leaks in tells too little of the amplitude of a dark base.
        log_amp[i, t, b] = log_a[b] if lit[b] else log_scale
        top = max(top, fit)
    return top


@njit(cache=True, nogil=True, fastmath=FAST)
def _read(light, i, model, log_scale, out, state, work):  # type: ignore[no-untyped-def]
    """One pass over the cycles of a read; return its brightness as the bases now tell it.

    `state` holds what leaks (cycle, channel), and is filled with the posterior (cycle, 4) and the
    mean amplitude (cycle,).
    """
    leaked, share, amp = state
    lit, mean = model[2], model[5]
    loglik, log_amp = out
    total, weight = PRIOR_CYCLES * mean, PRIOR_CYCLES
    scale = np.exp(log_scale)
    for t in range(light.shape[1]):
        missing = False
        for c in range(light.shape[2]):
            missing |= not np.isfinite(light[i, t, c])
        if missing:
            loglik[i, t, :], log_amp[i, t, :] = 0.0, log_scale
            share[t, :], amp[t] = 0.25, scale
            continue
        top = _cycle(light, (i, t), model, leaked, (scale, log_scale), out, work)
        norm = 0.0
        for b in range(4):
            below = loglik[i, t, b] - top
            share[t, b] = np.exp(below) if below > -NEGLIGIBLE else 0.0
            norm += share[t, b]
        amp[t] = 0.0
        for b in range(4):
            share[t, b] /= norm
            amp[t] += share[t, b] * work[3][b]
            if lit[b]:
                total += share[t, b] * log_amp[i, t, b]
                weight += share[t, b]
    return total / weight


@njit(cache=True, nogil=True, fastmath=FAST)
def _leak_light(states, leak, share, leaked):  # type: ignore[no-untyped-def]
    """Fill the light (cycle, channel) that strands ahead and behind show at an amplitude of 1."""
    leaked[:] = 0.0
    for t in range(len(states)):
        for j in range(len(states)):
            if j == t or leak[t, j] < LEAST_LEAK:
                continue
            for b in range(4):
                part = share[j, b] * leak[t, j]
                for c in range(leaked.shape[1]):
                    leaked[t, c] += part * states[t, b, c]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def base_likelihoods(x, noise, dyes, start):  # type: ignore[no-untyped-def]
    """Log-likelihood of each base in each cycle, and what goes with it.

    Parameters
    ----------
    x : (read, cycle, channel) light over the gain; not-a-number where there is none
    noise : (read, channel) sd of each read
    dyes : `Dyes`
    start : (read,) log-brightness to begin with; empty for `dyes.mean`. With it, and without a
        leak, a single pass is made

    Returns
    -------
    loglik, log_amp : (read, cycle, 4) float32; log_scale : (read,) float32; clean : like x, the
        leak taken away
    """
    n, cycles, channels = x.shape
    factor, states, lit, leak = dyes.factor, dyes.states, dyes.lit, dyes.leak
    loglik = np.empty((n, cycles, 4), np.float32)
    log_amp = np.empty((n, cycles, 4), np.float32)
    scales = np.empty(n, np.float32)
    clean = np.empty_like(x)
    noise2 = np.empty((cycles, channels))
    share, amp, leaked = np.empty((cycles, 4)), np.empty(cycles), np.zeros((cycles, channels))
    work = (np.empty(4), np.empty(4), np.empty(4), np.empty(4))
    leaking = False
    for t in range(cycles):
        for j in range(cycles):
            leaking = leaking or (t != j and leak[t, j] >= LEAST_LEAK)
    spread = 1.0 / (dyes.spread * dyes.spread)
    model = (noise2, states, lit, dyes.relative**2, spread, dyes.mean)
    out, state = (loglik, log_amp), (leaked, share, amp)
    for i in range(n):
        for t in range(cycles):
            for c in range(channels):
                noise2[t, c] = max(noise[i, c] * factor[t, c], 1e-6) ** 2
        log_scale = start[i] if len(start) else dyes.mean
        leaked[:] = 0.0
        if leaking or not len(start):
            log_scale = _read(x, i, model, log_scale, out, state, work)
        if leaking:
            _leak_light(states, leak, share, leaked)
        scales[i] = _read(x, i, model, log_scale, out, state, work)
        for t in range(cycles):
            for c in range(channels):
                clean[i, t, c] = x[i, t, c] - amp[t] * leaked[t, c]
    return loglik, log_amp, scales, clean
