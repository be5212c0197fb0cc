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
# Rounds in which the brightness of a read and its bases are found from each other.
ROUNDS = 1


@njit(cache=True, fastmath=FAST)
def _cycle(x, noise, states, lit, relative2, spread, log_scale, loglik, log_amp):  # type: ignore[no-untyped-def]
    """Fill log-likelihood and log-amplitude of the four bases in one cycle of one read."""
    channels = x.shape[0]
    bright = 0.0
    for b in range(4):
        xm = 0.0
        mm = 0.0
        for c in range(channels):
            xm += x[c] * states[b, c] / noise[c] ** 2
            mm += states[b, c] ** 2 / noise[c] ** 2
        if mm > 0 and xm / mm > bright:
            bright = xm / mm
    inverse = 1.0 / spread**2
    for b in range(4):
        xx = 0.0
        xm = 0.0
        mm = 0.0
        norm = 0.0
        for c in range(channels):
            v = noise[c] ** 2 + relative2 * bright**2
            xx += x[c] * x[c] / v
            xm += x[c] * states[b, c] / v
            mm += states[b, c] ** 2 / v
            norm += np.log(v)
        fit = -0.5 * (xx + norm)
        log_a = log_scale
        if lit[b] and mm > 0:
            if xm > 0:
                log_a = np.log(xm / mm)
            log_a = min(max(log_a, log_scale - MAX_LOG_RATIO), log_scale + MAX_LOG_RATIO)
            a = np.exp(log_a)
            for _ in range(NEWTON_STEPS):
                slope = a * xm - a * a * mm - (log_a - log_scale) * inverse
                bend = a * a * mm + inverse + max(0.0, a * a * mm - a * xm)
                step = slope / bend
                log_a += min(max(step, -1.0), 1.0)
                a = np.exp(log_a)
            bend = max(2 * a * a * mm - a * xm, 0.0) + inverse
            fit += a * xm - 0.5 * a * a * mm
            fit -= 0.5 * (log_a - log_scale) ** 2 * inverse
            fit -= 0.5 * np.log(bend * spread**2)
        loglik[b] = fit
        log_amp[b] = log_a


@njit(cache=True, fastmath=FAST)
def _read(x, noise, states, lit, relative2, spread, mean, log_scale, loglik, log_amp):  # type: ignore[no-untyped-def]
    """One pass over the cycles of a read; return its brightness as the bases now tell it."""
    total = PRIOR_CYCLES * mean
    weight = PRIOR_CYCLES
    for t in range(x.shape[0]):
        missing = False
        for c in range(x.shape[1]):
            if not np.isfinite(x[t, c]):
                missing = True
        if missing:
            loglik[t, :] = 0.0
            log_amp[t, :] = log_scale
            continue
        _cycle(x[t], noise[t], states[t], lit, relative2, spread, log_scale, loglik[t], log_amp[t])
        top = loglik[t].max()
        norm = 0.0
        for b in range(4):
            norm += np.exp(loglik[t, b] - top)
        for b in range(4):
            if lit[b]:
                share = np.exp(loglik[t, b] - top) / norm
                total += share * log_amp[t, b]
                weight += share
    return total / weight


@njit(cache=True, fastmath=FAST)
def _unleak(x, states, leak, loglik, log_amp, out):  # type: ignore[no-untyped-def]
    """Take away the light that strands ahead and behind show, by the bases next to each cycle."""
    cycles, channels = x.shape
    for t in range(cycles):
        top = loglik[t].max()
        norm = 0.0
        a = 0.0
        for b in range(4):
            norm += np.exp(loglik[t, b] - top)
        for b in range(4):
            a += np.exp(loglik[t, b] - top) / norm * np.exp(log_amp[t, b])
        for c in range(channels):
            out[t, c] = x[t, c]
        for j in range(cycles):
            if j == t or leak[t, j] < 1e-4:
                continue
            high = loglik[j].max()
            total = 0.0
            for b in range(4):
                total += np.exp(loglik[j, b] - high)
            for b in range(4):
                share = np.exp(loglik[j, b] - high) / total * a * leak[t, j]
                for c in range(channels):
                    out[t, c] -= share * states[t, b, c]


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
    sd = np.empty((cycles, channels))
    leaking = False
    for t in range(cycles):
        for j in range(cycles):
            leaking = leaking or (t != j and leak[t, j] >= 1e-4)
    for i in range(n):
        row = i if len(noise) > 1 else 0
        for t in range(cycles):
            for c in range(channels):
                sd[t, c] = max(noise[row, c] * factor[t, c], 1e-6)
        log_scale = mean
        for _ in range(ROUNDS):
            log_scale = _read(
                x[i], sd, states, lit, relative**2, spread, mean, log_scale, loglik[i], log_amp[i]
            )
        if leaking:
            _unleak(x[i], states, leak, loglik[i], log_amp[i], clean[i])
        log_scale = _read(
            clean[i], sd, states, lit, relative**2, spread, mean, log_scale, loglik[i], log_amp[i]
        )
        scales[i] = log_scale
    return loglik, log_amp, scales, clean
