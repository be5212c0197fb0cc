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
from scipy.optimize import least_squares

__all__ = ["fit_phasing", "leak_matrix", "share_matrix"]

# A base counts when its posterior is at least this.
SURE = 0.9
# Reads from which two groups are compared.
LEAST_PAIRS = 10
# Estimates with fewer reads than this are drawn towards the model.
SHRINK_READS = 400.0
# Above this a read is no longer a read.
MAX_RATE = 0.15

Floats = NDArray[np.float64]
Shares = NDArray[np.floating]


def share_matrix(cycles: int, phasing: float, prephasing: float) -> Floats:
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
        light = (x[:, t] @ np.linalg.pinv(states[t])) / amp
        for other, result in ((t - 1, lag), (t + 1, lead)):
            if 0 <= other < cycles:
                both = sure[:, t] & sure[:, other]
                result[:, t] = _gap(
                    light[both], called[both, t], called[both, other], lit[t], LEAST_PAIRS
                )
    phasing, prephasing = _solve(lag, lead)
    model = leak_matrix(cycles, phasing, prephasing, np.zeros((2, cycles)))
    expected = np.zeros((2, cycles))
    expected[0, 1:], expected[1, :-1] = np.diagonal(model, -1), np.diagonal(model, 1)
    value, weight = np.stack([lag[0], lead[0]]), np.stack([lag[1], lead[1]])
    return phasing, prephasing, (value - expected) * weight / (weight + SHRINK_READS)


@njit(cache=True)
def _gap(light, own, near, lit, least):  # type: ignore[no-untyped-def]
    """Light that a cycle has of the base of another, over that of its own base; its weight.

    For each pair (own base, third base) the light of the third base is compared between reads
    that have it in the other cycle and reads that do not, so that crosstalk drops out.

    Parameters
    ----------
    light : (read, 4) of each base over that of the own; `own`, `near` : (read,) bases of the two
        cycles; `lit` : (4,) bases with light; `least` : reads on each side from which a pair counts
    """
    total, weight = 0.0, 0
    yes, no = np.empty(len(own)), np.empty(len(own))
    for b in range(4):
        for third in range(4):
            if third == b or not lit[third]:
                continue
            having, lacking = 0, 0
            for i in range(len(own)):
                if own[i] != b:
                    continue
                if near[i] == third:
                    yes[having] = light[i, third]
                    having += 1
                else:
                    no[lacking] = light[i, third]
                    lacking += 1
            count = min(having, lacking)
            if count >= least:
                total += count * (np.median(yes[:having]) - np.median(no[:lacking]))
                weight += count
    return (total / weight if weight else 0.0), float(weight)


def _solve(lag: Floats, lead: Floats) -> tuple[float, float]:
    """The p and q whose leak comes nearest to the measured lag and lead."""
    cycles = lag.shape[1]
    if cycles < 2 or lag[1].sum() + lead[1].sum() == 0:
        return 0.0, 0.0
    weights = np.sqrt(np.concatenate([lag[1, 1:], lead[1, :-1]]))
    values = np.concatenate([lag[0, 1:], lead[0, :-1]])

    def miss(rates: Floats) -> Floats:
        leak = leak_matrix(cycles, float(rates[0]), float(rates[1]), np.zeros((2, cycles)))
        model = np.concatenate([np.diagonal(leak, -1), np.diagonal(leak, 1)])
        return np.asarray(weights * (model - values))

    found = least_squares(miss, (0.01, 0.005), bounds=(0.0, MAX_RATE), loss="soft_l1")
    return float(found.x[0]), float(found.x[1])
