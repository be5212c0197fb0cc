"""Kernels of the light model: how well each base explains the light of a cycle.

A read of brightness s shows in cycle t, where its base is b, the light a * state[t, b] plus noise.
The amplitude a is log-normal round s. The noise has a part that does not depend on the light and a
part in proportion to it (residual crosstalk, neighbours). The amplitude is integrated out with
Laplace's method round its best value, for each base.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["base_likelihoods"]

# Missing light is not-a-number, so the compiler may not assume that there is none.
FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
# Steps of Newton's method for the logarithm of the amplitude; its start is the least-squares
# value, and the third step changes the likelihood by less than 0.01.
NEWTON_STEPS = 3
# The amplitude stays within this factor (as a logarithm) of the read's brightness.
MAX_LOG_RATIO = 4.0
# Weight of the population's brightness against that of the read itself, in cycles.
PRIOR_CYCLES = 0.5
# Less light of a neighbouring base than this is not worth taking away.
LEAST_LEAK = 1e-4


@njit(cache=True, fastmath=FAST, inline="always")
def _exp(x):  # type: ignore[no-untyped-def]
    """Exponential of a step of at most 1, to 0.2 %: what is left is Newton's next step."""
    half, third = 0.5 * x, x * x / 12.0
    return (1.0 + half + third) / (1.0 - half + third)


@njit(cache=True, fastmath=FAST)
def _cycle(x, noise2, states, lit, relative2, spread, log_scale, loglik, log_amp, amp):  # type: ignore[no-untyped-def]
    """Fill log-likelihood and amplitude of the four bases in one cycle of one read."""
    channels = x.shape[0]
    bright = 0.0
    for b in range(4):
        xm, mm = 0.0, 0.0
        for c in range(channels):
            weight = states[b, c] / noise2[c]
            xm += x[c] * weight
            mm += states[b, c] * weight
        if mm > 0 and xm > bright * mm:
            bright = xm / mm
    floor = relative2 * bright * bright
    xx, volume = 0.0, 1.0
    for c in range(channels):
        v = noise2[c] + floor
        xx += x[c] * x[c] / v
        volume *= v
    dark = -0.5 * (xx + np.log(volume))
    variance = spread * spread
    inverse = 1.0 / variance
    for b in range(4):
        fit, log_a, a = dark, log_scale, 0.0
        if lit[b]:
            xm, mm = 0.0, 0.0
            for c in range(channels):
                weight = states[b, c] / (noise2[c] + floor)
                xm += x[c] * weight
                mm += states[b, c] * weight
            if mm > 0:
                if xm > 0:
                    log_a = np.log(xm / mm)
                log_a = min(max(log_a, log_scale - MAX_LOG_RATIO), log_scale + MAX_LOG_RATIO)
                a = np.exp(log_a)
                for _ in range(NEWTON_STEPS):
                    fall = a * a * mm
                    slope = a * xm - fall - (log_a - log_scale) * inverse
                    step = slope / (fall + inverse + max(0.0, fall - a * xm))
                    step = min(max(step, -1.0), 1.0)
                    log_a += step
                    a *= _exp(step)
                fall = a * a * mm
                bend = max(2 * fall - a * xm, 0.0) + inverse
                fit += a * xm - 0.5 * fall - 0.5 * (log_a - log_scale) ** 2 * inverse
                fit -= 0.5 * np.log(bend * variance)
        loglik[b] = fit
        log_amp[b] = log_a
        amp[b] = a


@njit(cache=True, fastmath=FAST)
def _read(  # type: ignore[no-untyped-def]
    x, noise2, states, lit, relative2, spread, mean, log_scale, loglik, log_amp, share, amp
):
    """One pass over the cycles of a read; return its brightness as the bases now tell it.

    `share` (cycle, 4) and `amp` (cycle,) are filled with the posterior and mean amplitude.
    """
    total = PRIOR_CYCLES * mean
    weight = PRIOR_CYCLES
    each = np.empty(4)
    for t in range(x.shape[0]):
        missing = False
        for c in range(x.shape[1]):
            if not np.isfinite(x[t, c]):
                missing = True
        if missing:
            loglik[t, :] = 0.0
            log_amp[t, :] = log_scale
            share[t, :] = 0.25
            amp[t] = np.exp(log_scale)
            continue
        _cycle(
            x[t],
            noise2[t],
            states[t],
            lit,
            relative2,
            spread,
            log_scale,
            loglik[t],
            log_amp[t],
            each,
        )
        top = max(max(loglik[t, 0], loglik[t, 1]), max(loglik[t, 2], loglik[t, 3]))
        norm = 0.0
        for b in range(4):
            share[t, b] = np.exp(loglik[t, b] - top)
            norm += share[t, b]
        amp[t] = 0.0
        for b in range(4):
            share[t, b] /= norm
            if lit[b]:
                total += share[t, b] * log_amp[t, b]
                weight += share[t, b]
                amp[t] += share[t, b] * each[b]
            else:
                amp[t] += share[t, b] * np.exp(log_scale)
    return total / weight


@njit(cache=True, fastmath=FAST)
def _unleak(x, states, leak, share, amp, out):  # type: ignore[no-untyped-def]
    """Take away the light that strands ahead and behind show, by the bases next to each cycle."""
    cycles, channels = x.shape
    for t in range(cycles):
        for c in range(channels):
            out[t, c] = x[t, c]
        for j in range(cycles):
            if j == t or leak[t, j] < LEAST_LEAK:
                continue
            for b in range(4):
                part = share[j, b] * amp[t] * leak[t, j]
                for c in range(channels):
                    out[t, c] -= part * states[t, b, c]


@njit(cache=True, fastmath=FAST, error_model="numpy")
def base_likelihoods(x, noise, factor, states, lit, relative, spread, mean, leak):  # type: ignore[no-untyped-def]
    """Log-likelihood of each base in each cycle, and what goes with it.

    Parameters
    ----------
    x : (read, cycle, channel) light over the gain; not-a-number where there is none
    noise : (read or 1, channel) sd of each read; `factor` (cycle, channel) turns it into units of x
    states : (cycle, 4, channel); `lit` (4,) which bases have any light
    relative : noise in proportion to the light; spread : log-sd of the amplitude within a read
    mean : mean log-brightness of reads
    leak : (cycle, cycle) light of the base of cycle j in cycle t, over that of its own base

    Returns
    -------
    loglik, log_amp : (read, cycle, 4) float32; log_scale : (read,) float32; clean : like x, the
        leak taken away
    """
    n, cycles, channels = x.shape
    loglik = np.empty((n, cycles, 4), np.float32)
    log_amp = np.empty((n, cycles, 4), np.float32)
    scales = np.empty(n, np.float32)
    clean = x.copy()
    noise2 = np.empty((cycles, channels))
    share = np.empty((cycles, 4))
    amp = np.empty(cycles)
    relative2 = relative**2
    leaking = False
    for t in range(cycles):
        for j in range(cycles):
            leaking = leaking or (t != j and leak[t, j] >= LEAST_LEAK)
    for i in range(n):
        row = i if len(noise) > 1 else 0
        for t in range(cycles):
            for c in range(channels):
                noise2[t, c] = max(noise[row, c] * factor[t, c], 1e-6) ** 2
        fixed = (noise2, states, lit, relative2, spread, mean)
        filled = (loglik[i], log_amp[i], share, amp)
        log_scale = _read(x[i], *fixed, mean, *filled)
        if leaking:
            _unleak(x[i], states, leak, share, amp, clean[i])
        log_scale = _read(clean[i], *fixed, log_scale, *filled)
        scales[i] = log_scale
    return loglik, log_amp, scales, clean
