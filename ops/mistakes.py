"""What lies between the word that a read carries and the bases that it shows.

A read shows a word of the library, with wrong bases and at times one base lost or gained, or
something else, "none of these". Half of what is none of these may be any sequence. Of the rest
little is known beforehand: spots that are not reads have the bases of the noisiest channels, and
they lie in heaps in the same cells. A few backgrounds, each with a composition of its own in every
cycle, stand for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ErrorModel", "base_probabilities", "none_weights", "start_backgrounds"]

# Rates where the fit starts.
START_SUBSTITUTION = 0.02
START_INDEL = 2e-3
START_MAPPED = 0.6
# A background starts with this share of the bases of one kind, and of what is none of these.
START_LEANING, START_SHARE = 0.7, 0.15
# Share of what is none of these whose light is alike in every cycle, where the fit starts.
START_STEADY = 0.1
# Bound of the log-weight of a background.
MAX_LOG_BACKGROUND = 60.0

Light = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorModel:
    """Rates of what goes wrong.

    Parameters
    ----------
    substitution : (cycle,) probability that a base tells nothing
    insertion, deletion : probability that a read gained, or lost, one base
    mapped : probability that a read shows a word of library or decoys
    background : a row for each background: its share of the reads that show no word, then the
        shares of A, C, G, T in the first cycle, the second, …; what is left has any sequence
    abundance : (word,) log of how frequent each word is over the mean; empty where all are alike
    steady : share of the reads that show no word whose light is alike in every cycle
    """

    substitution: NDArray[np.float64]
    insertion: float = START_INDEL
    deletion: float = START_INDEL
    mapped: float = START_MAPPED
    background: tuple[tuple[float, ...], ...] = ()
    abundance: tuple[float, ...] = ()
    steady: float = START_STEADY

    @classmethod
    def start(cls, cycles: int) -> ErrorModel:
        """Where the fit starts."""
        return cls(np.full(cycles, START_SUBSTITUTION))


def base_probabilities(loglik: Light, model: ErrorModel) -> Light:
    """Probability of each base in each cycle, with the chance that the cycle tells nothing."""
    share = np.exp(loglik - loglik.max(axis=2, keepdims=True))
    share /= share.sum(axis=2, keepdims=True)
    wrong = model.substitution.astype(np.float32)[None, :, None]
    mixed: Light = (1 - wrong) * share + wrong / 4
    return mixed


def start_backgrounds(cycles: int) -> tuple[tuple[float, ...], ...]:
    """One background for each base, leaning towards it."""
    leaning = np.full((4, 4), (1 - START_LEANING) / 3)
    np.fill_diagonal(leaning, START_LEANING)
    return tuple((START_SHARE, *np.tile(row, cycles).tolist()) for row in leaning)


def none_weights(probability: Light, model: ErrorModel, steady: Light | None = None) -> Floats:
    """Weight of each kind of "none of these" over that of any sequence, for every read.

    Parameters
    ----------
    steady : (read,) see `steady_odds`; where it is not known, nothing is said to be

    Returns
    -------
    (2 + background, read) array: any sequence, steady light, the backgrounds; the sum over the
    kinds is what counts
    """
    weights = np.zeros((2 + len(model.background), len(probability)))
    weights[0] = 1 - sum(row[0] for row in model.background)
    for k, (share, *bases) in enumerate(model.background, 2):
        shares = np.asarray(bases, np.float32).reshape(-1, 4)
        shown = np.einsum("ntb,tb->nt", probability, 4 * shares)
        likely = np.log(shown).sum(axis=1, dtype=float)
        weights[k] = share * np.exp(np.minimum(likely, MAX_LOG_BACKGROUND))
    if steady is not None:
        weights *= 1 - model.steady
        weights[1] = model.steady * np.exp(np.minimum(steady.astype(float), MAX_LOG_BACKGROUND))
    return weights
