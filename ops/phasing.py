"""Phasing: strands that fall behind or run ahead show the base before or after.

In every cycle a strand stays where it is with probability p, goes on by two bases with
probability q, and by one otherwise; the share of strands at each base after i cycles follows.
p and q are found from how much light of the neighbouring base a cycle has, over what it has of
bases that are not next to it.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["fit_phasing", "leak_matrix", "share_matrix"]

# A base counts when its posterior is at least this.
SURE = 0.9
# Reads from which two groups are compared.
LEAST_PAIRS = 10
# Share of the light of a base that has to be taken for its own, over that of others.
LEAST_CONTRAST = 0.1
# Estimates with fewer reads than this are drawn towards the model.
SHRINK_READS = 400.0
# Above this a read is no longer a read.
MAX_RATE = 0.15
# Rounds at most in which the rates are found, the step of their slopes, and the last move.
SOLVE_ROUNDS, SOLVE_STEP, SOLVED = 30, 1e-5, 1e-6

Floats = NDArray[np.float64]
Shares = NDArray[np.floating]


@njit(cache=True, nogil=True)
def share_matrix(cycles, phasing, prephasing):  # type: ignore[no-untyped-def]
    """Share of strands that show base j in cycle i, (cycle, cycle).

    Examples
    --------
    >>> share_matrix(3, 0.1, 0.0).round(3).tolist()
    [[0.9, 0.0, 0.0], [0.18, 0.81, 0.0], [0.027, 0.243, 0.729]]
    """
    state = np.zeros(cycles + 3)
    state[0] = 1.0
    shares = np.empty((cycles, cycles))
    for cycle in range(cycles):
        moved = phasing * state
        moved[1:] += (1 - phasing - prephasing) * state[:-1]
        moved[2:] += prephasing * state[:-2]
        state = moved
        shares[cycle] = state[1 : cycles + 1]
    return shares


def leak_matrix(cycles: int, phasing: float, prephasing: float, extra: Floats) -> Floats:
    """Light of base j in cycle i over that of base i, with the measured departures `extra`.

    Parameters
    ----------
    extra : (2, cycle) what the lag and the lead of each cycle have above the model
    """
    shares = share_matrix(cycles, phasing, prephasing)
    leak: Floats = shares / np.diagonal(shares)[:, None]
    for t in range(1, cycles):
        leak[t, t - 1] = max(leak[t, t - 1] + extra[0, t], 0.0)
    for t in range(cycles - 1):
        leak[t, t + 1] = max(leak[t, t + 1] + extra[1, t], 0.0)
    return leak


def fit_phasing(
    x: NDArray[np.float32], share: Shares, log_amp: NDArray[np.float32], states: Floats
) -> tuple[float, float, Floats]:
    """Estimate p and q, and how each cycle departs from them.

    Parameters
    ----------
    x : (read, cycle, channel) light over gain, phasing not taken away
    share : (read, cycle, 4) posterior of the bases
    log_amp : (read, cycle, 4) amplitude of each base
    states : (cycle, 4, channel) mean light of the bases

    Returns
    -------
    phasing, prephasing, extra : extra is (2, cycle), departures of lag and lead
    """
    cycles = x.shape[1]
    lag, lead = np.zeros((2, cycles)), np.zeros((2, cycles))
    called = share.argmax(axis=2)
    sure = np.asarray(share.max(axis=2) >= SURE, bool)
    lit = np.asarray(states.max(axis=2) > 0, bool)
    for t in range(cycles):
        amp = np.exp(np.take_along_axis(log_amp[:, t], called[:, t, None], axis=1))
        inverse = np.linalg.pinv(states[t])
        light, answer = (x[:, t] @ inverse) / amp, states[t] @ inverse
        for other, result in ((t - 1, lag), (t + 1, lead)):
            if 0 <= other < cycles:
                both = sure[:, t] & sure[:, other]
                own, near = called[both, t], called[both, other]
                result[:, t] = _gap(light[both], answer, own, near, lit[t], LEAST_PAIRS)
    phasing, prephasing = _solve(lag, lead)
    model = leak_matrix(cycles, phasing, prephasing, np.zeros((2, cycles)))
    expected = np.zeros((2, cycles))
    expected[0, 1:], expected[1, :-1] = np.diagonal(model, -1), np.diagonal(model, 1)
    value, weight = np.stack([lag[0], lead[0]]), np.stack([lag[1], lead[1]])
    return phasing, prephasing, (value - expected) * weight / (weight + SHRINK_READS)


@njit(cache=True, nogil=True)
def _gap(light, answer, own, near, lit, least):  # type: ignore[no-untyped-def]
    """Light that a cycle has of the base of another, over that of its own base; its weight.

    For each pair (own base, third base) the light of the third base is compared between reads
    that have it in the other cycle and reads that do not, so that crosstalk drops out. With fewer
    channels than bases with light, each base answers to the light of others as well.

    Parameters
    ----------
    light : (read, 4) of each base over that of the own; `answer` : (4, 4) what light of 1 of a base
        (row) is taken for; `own`, `near` : (read,) bases of the two cycles; `lit` : (4,) bases with
        light; `least` : reads on each side from which a pair counts
    """
    total, weight = 0.0, 0
    yes, no = np.empty(len(own)), np.empty(len(own))
    for b in range(4):
        for third in range(4):
            if third == b or not lit[third]:
                continue
            having, lacking, others = 0, 0, 0.0
            for i in range(len(own)):
                if own[i] != b:
                    continue
                if near[i] == third:
                    yes[having] = light[i, third]
                    having += 1
                else:
                    no[lacking] = light[i, third]
                    others += answer[near[i], third]
                    lacking += 1
            count = min(having, lacking)
            if count < least:
                continue
            contrast = answer[third, third] - others / lacking
            if contrast > LEAST_CONTRAST:
                # Pairs that tell the bases apart badly are the less certain.
                weight += count * contrast**2
                total += count * contrast * (np.median(yes[:having]) - np.median(no[:lacking]))
    return (total / weight if weight else 0.0), float(weight)


@njit(cache=True, nogil=True)
def _solve(lag, lead):  # type: ignore[no-untyped-def]
    """The p and q whose leak comes nearest to the measured lag and lead.

    Gauss-Newton, with the weights of a soft L1 loss, so that one odd cycle does not pull both.
    """
    rates = np.array([0.01, 0.005])
    cycles = lag.shape[1]
    if cycles < 2 or lag[1].sum() + lead[1].sum() == 0:
        return 0.0, 0.0
    weights = np.sqrt(np.concatenate((lag[1, 1:], lead[1, :-1])))
    values = np.concatenate((lag[0, 1:], lead[0, :-1]))
    for _ in range(SOLVE_ROUNDS):
        here = _neighbour_light(cycles, rates[0], rates[1])
        slope = np.empty((2, len(here)))
        for k in range(2):
            aside = rates.copy()
            aside[k] += SOLVE_STEP
            slope[k] = weights * (_neighbour_light(cycles, aside[0], aside[1]) - here) / SOLVE_STEP
        miss = weights * (values - here)
        soft = 1 / np.sqrt(1 + miss * miss)
        square = (slope * soft) @ slope.T
        square[0, 0] += 1e-9
        square[1, 1] += 1e-9
        move = np.linalg.solve(square, (slope * soft) @ miss)
        before = rates.copy()
        for k in range(2):
            rates[k] = min(max(rates[k] + move[k], 0.0), MAX_RATE)
        if np.abs(rates - before).max() < SOLVED:
            break
    return rates[0], rates[1]


@njit(cache=True, nogil=True)
def _neighbour_light(cycles, phasing, prephasing):  # type: ignore[no-untyped-def]
    """Light of the base before, in each cycle but the first, then after, over that of its own."""
    shares = share_matrix(cycles, phasing, prephasing)
    light = np.empty(2 * (cycles - 1))
    for t in range(cycles - 1):
        light[t] = shares[t + 1, t] / shares[t + 1, t + 1]
        light[cycles - 1 + t] = shares[t, t + 1] / shares[t, t]
    return light
