"""The rates of errors, found from the reads by expectation and maximisation.

Library and decoys are weighed together, without telling them apart; so the decoys stay a fair count
of the errors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import ReadCalls, codes_of, decode_reads
from poolvox.ops.mistakes import (
    START_INDEL,
    START_SUBSTITUTION,
    ErrorModel,
    base_probabilities,
    none_weights,
    start_backgrounds,
)

__all__ = ["fit_error_model"]

# Reads that take part in the fit, and in its first round, which is far off anyway; its rounds at
# most. They end when no rate changes by more than `SETTLED`.
FIT_READS, FIRST_READS = 1200, 400
FIT_ROUNDS = 10
SETTLED = 0.002
SUBSTITUTION_BOUNDS = (1e-4, 0.5)
INDEL_BOUNDS = (1e-6, 0.05)
MAPPED_BOUNDS = (0.01, 0.99)
# Reads with equal shares of the bases that hold a background's composition, and reads that hold
# its share of what is none of these.
BACKGROUND_READS, BACKGROUND_SHARE = 20.0, 1.0
# Where words are a larger share of all sequences, a background cannot be told from words that are
# frequent; there each word has a frequency of its own, held by this many reads at the mean.
CROWDED, ABUNDANCE_READS = 0.02, 1.0

Light = NDArray[np.float32]
Floats = NDArray[np.float64]


def fit_error_model(
    loglik: Light, codebook: Codebook, *, rng: np.random.Generator, steady: Light | None = None
) -> ErrorModel:
    """Find the rates of errors from a sample of reads, blind to which words are decoys.

    Parameters
    ----------
    loglik, steady : see `decode_reads`
    """
    if len(loglik) > FIT_READS:
        kept = np.sort(rng.choice(len(loglik), FIT_READS, replace=False))
        loglik, steady = loglik[kept], None if steady is None else steady[kept]
    model = ErrorModel.start(codebook.cycles)
    if len(loglik) == 0:
        return model
    every = max(len(loglik) // FIRST_READS, 1)
    first = None if steady is None else steady[::every]
    model = _refit(loglik[::every], first, codebook, model)
    for _ in range(FIT_ROUNDS - 1):
        before, model = model, _refit(loglik, steady, codebook, model)
        if np.abs(_summary(model) - _summary(before)).max() < SETTLED:
            break
    return model


def _summary(model: ErrorModel) -> Floats:
    single = [model.mapped, model.insertion, model.deletion]
    return np.append(single, model.substitution.mean())


def _refit(
    loglik: Light, steady: Light | None, codebook: Codebook, model: ErrorModel
) -> ErrorModel:
    calls = decode_reads(loglik, codebook, model, steady=steady)
    probability = base_probabilities(loglik, model)
    total = calls.odds.sum(axis=1, dtype=float) + calls.rest
    mapped = float(np.mean(total / (1 + total)))
    model = _refit_bases(calls, probability, codebook, model)
    crowded = len(codebook) > CROWDED * 4.0**codebook.cycles
    if not crowded and not model.background:
        model = replace(model, background=start_backgrounds(codebook.cycles))
    model = _refit_none(probability, steady, 1 / (1 + total), model)
    if crowded:
        model = replace(model, abundance=_find_abundance(calls, total, codebook))
    return replace(model, mapped=float(np.clip(mapped, *MAPPED_BOUNDS)))


def _refit_bases(
    calls: ReadCalls, probability: Light, codebook: Codebook, model: ErrorModel
) -> ErrorModel:
    """Rates of bases that are wrong, gained and lost, from the best word of every read."""
    weight = np.where(calls.candidates[:, 0] >= 0, calls.score, 0).astype(float)
    straight = weight * (1 - calls.shift.sum(axis=1))
    codes = codes_of(codebook, calls.candidates[:, 0])
    shown = np.take_along_axis(probability, codes[:, :, None].astype(np.int64), axis=2)[..., 0]
    blank = model.substitution / 4 / shown
    # One read's worth of the start keeps the rates of tiny samples finite.
    wrong = (straight[:, None] * blank).sum(axis=0) + START_SUBSTITUTION
    gained, lost = (weight[:, None] * calls.shift).sum(axis=0) + START_INDEL
    reads = weight.sum() + 1.0
    return replace(
        model,
        substitution=np.clip(wrong / (straight.sum() + 1.0), *SUBSTITUTION_BOUNDS),
        insertion=float(np.clip(gained / reads, *INDEL_BOUNDS)),
        deletion=float(np.clip(lost / reads, *INDEL_BOUNDS)),
    )


def _refit_none(
    probability: Light, steady: Light | None, none: Floats, model: ErrorModel
) -> ErrorModel:
    """Shares of the kinds of "none of these", from the chance `none` that a read is one."""
    weights = none_weights(probability, model, steady)
    parts = weights / weights.sum(axis=0) * none
    held = BACKGROUND_SHARE * (len(model.background) + 1)
    if steady is not None:
        share = (parts[1].sum() + BACKGROUND_SHARE) / (parts.sum() + 2 * held)
        model = replace(model, steady=float(share))
    unsteady = parts.sum() - parts[1].sum()
    rows = []
    for (_, *bases), part in zip(model.background, parts[2:]):
        # A read weighs by the background's own view of its bases.
        shares = probability * np.asarray(bases, np.float32).reshape(-1, 4)
        shares /= shares.sum(axis=2, keepdims=True)
        count = np.einsum("n,ntb->tb", part, shares) + BACKGROUND_READS / 4
        composition = count / count.sum(axis=1, keepdims=True)
        share = (part.sum() + BACKGROUND_SHARE) / (unsteady + 2 * held)
        rows.append((float(share), *composition.ravel().tolist()))
    return replace(model, background=tuple(rows))


def _find_abundance(calls: ReadCalls, total: Floats, codebook: Codebook) -> tuple[float, ...]:
    """Log-frequency of every word of library and decoys over the mean."""
    chance = calls.odds / (1 + total)[:, None]
    held = calls.candidates >= 0
    seen = np.bincount(calls.candidates[held], chance[held], minlength=len(codebook))
    count = seen + ABUNDANCE_READS
    return tuple(np.log(count / count.mean()).tolist())
