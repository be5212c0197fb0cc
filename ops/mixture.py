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
# The first guess of the amplitude is no smaller than this share of the read's brightness, and no
# larger than the brightness over it.
LEAST_RATIO = 0.02
# Weight of the population's brightness against that of the read itself, in cycles.
PRIOR_CYCLES = 0.5
# A base whose log-likelihood is this far below the best does not matter.
NEGLIGIBLE = 25.0
# Less light of a neighbouring base than this is not worth taking away.
LEAST_LEAK = 1e-4


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
def _products(light, i, t, noise2, states, relative2, xm, mm):  # type: ignore[no-untyped-def]
    """Fill light times state, and state squared, of the bases, over the variance of the noise.

    Returns the log-likelihood of darkness.
    """
    channels = light.shape[2]
    xm[:], mm[:] = 0.0, 0.0
    for c in range(channels):
        inverse = 1.0 / noise2[t, c]
        for b in range(4):
            weight = states[t, b, c] * inverse
            xm[b] += light[i, t, c] * weight
            mm[b] += states[t, b, c] * weight
    bright = 0.0
    for b in range(4):
        if mm[b] > 0 and xm[b] > bright * mm[b]:
            bright = xm[b] / mm[b]
    floor = relative2 * bright * bright
    xx, volume = 0.0, 1.0
    xm[:], mm[:] = 0.0, 0.0
    for c in range(channels):
        v = noise2[t, c] + floor
        inverse = 1.0 / v
        xx += light[i, t, c] * light[i, t, c] * inverse
        volume *= v
        for b in range(4):
            weight = states[t, b, c] * inverse
            xm[b] += light[i, t, c] * weight
            mm[b] += states[t, b, c] * weight
    return -0.5 * (xx + np.log(volume))


@njit(cache=True, nogil=True, fastmath=FAST)
def _cycle(light, i, t, model, brightness, out, work):  # type: ignore[no-untyped-def]
    """Fill log-likelihood and amplitude of the four bases in one cycle of one read."""
    noise2, states, _, relative2, inverse, _ = model
    scale, log_scale = brightness
    loglik, log_amp = out
    xm, mm, log_a, amp = work
    dark = _products(light, i, t, noise2, states, relative2, xm, mm)
    _amplitudes(xm, mm, scale, log_scale, inverse, amp, log_a)
    top = -np.inf
    for b in range(4):
        fit = dark
        if mm[b] > 0:
            up, fall = amp[b] * xm[b], amp[b] * amp[b] * mm[b]
            off = log_a[b] - log_scale
            bend = max(2 * fall - up, 0.0) / inverse + 1.0
            fit += up - 0.5 * (fall + off * off * inverse + np.log(bend))
        else:
            amp[b], log_a[b] = 0.0, log_scale
        loglik[i, t, b], log_amp[i, t, b] = fit, log_a[b]
        top = max(top, fit)
    return top


@njit(cache=True, nogil=True, fastmath=FAST)
def _read(light, i, model, log_scale, out, share, amp, work):  # type: ignore[no-untyped-def]
    """One pass over the cycles of a read; return its brightness as the bases now tell it.

    `share` (cycle, 4) and `amp` (cycle,) are filled with the posterior and mean amplitude.
    """
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
        top = _cycle(light, i, t, model, (scale, log_scale), out, work)
        norm = 0.0
        for b in range(4):
            below = loglik[i, t, b] - top
            share[t, b] = np.exp(below) if below > -NEGLIGIBLE else 0.0
            norm += share[t, b]
        amp[t] = 0.0
        for b in range(4):
            share[t, b] /= norm
            if lit[b]:
                total += share[t, b] * log_amp[i, t, b]
                weight += share[t, b]
                amp[t] += share[t, b] * work[3][b]
            else:
                amp[t] += share[t, b] * scale
    return total / weight


@njit(cache=True, nogil=True, fastmath=FAST)
def _unleak(light, i, states, leak, share, amp):  # type: ignore[no-untyped-def]
    """Take away the light that strands ahead and behind show, by the bases next to each cycle."""
    for t in range(light.shape[1]):
        for j in range(light.shape[1]):
            if j == t or leak[t, j] < LEAST_LEAK:
                continue
            for b in range(4):
                part = share[j, b] * amp[t] * leak[t, j]
                for c in range(light.shape[2]):
                    light[i, t, c] -= part * states[t, b, c]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def base_likelihoods(x, noise, factor, states, lit, relative, spread, mean, leak, start):  # type: ignore[no-untyped-def]
    """Log-likelihood of each base in each cycle, and what goes with it.

    Parameters
    ----------
    x : (read, cycle, channel) light over the gain; not-a-number where there is none
    noise : (read or 1, channel) sd of each read; `factor` (cycle, channel) turns it into units of x
    states : (cycle, 4, channel); `lit` (4,) which bases have any light
    relative : noise in proportion to the light; spread : log-sd of the amplitude within a read
    mean : mean log-brightness of reads
    leak : (cycle, cycle) light of the base of cycle j in cycle t, over that of its own base
    start : (read,) log-brightness to begin with; empty for `mean`. With it, and without a leak, a
        single pass is made

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
    share, amp = np.empty((cycles, 4)), np.empty(cycles)
    work = (np.empty(4), np.empty(4), np.empty(4), np.empty(4))
    leaking = False
    for t in range(cycles):
        for j in range(cycles):
            leaking = leaking or (t != j and leak[t, j] >= LEAST_LEAK)
    model = (noise2, states, lit, relative**2, 1.0 / (spread * spread), mean)
    out = (loglik, log_amp)
    for i in range(n):
        row = i if len(noise) > 1 else 0
        for t in range(cycles):
            for c in range(channels):
                noise2[t, c] = max(noise[row, c] * factor[t, c], 1e-6) ** 2
        log_scale = start[i] if len(start) else mean
        if leaking or not len(start):
            log_scale = _read(clean, i, model, log_scale, out, share, amp, work)
        if leaking:
            _unleak(clean, i, states, leak, share, amp)
        scales[i] = _read(clean, i, model, log_scale, out, share, amp, work)
    return loglik, log_amp, scales, clean
