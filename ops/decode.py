"""From the likelihood of bases to a posterior over the library for every read.

A read shows a word of the library, with wrong bases and at times one base lost or gained, or
something else ("none of these", any sequence as likely as any other). The rates of all of these
are found from the reads by expectation and maximisation over library and decoys together, without
telling them apart; so the decoys stay a fair count of the errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.codebook import Codebook, find_strangers
from poolvox.ops.search import search_words
from poolvox.ops.words import BASES, decode_words
from poolvox.shared.errors import InputError

__all__ = [
    "Codebook",
    "ErrorModel",
    "ReadCalls",
    "base_probabilities",
    "decode_reads",
    "find_strangers",
    "fit_error_model",
    "q_values",
    "reads_frame",
]

# Reads that take part in the fit of the error model, and its rounds at most; they end when no rate
# changes by more than `SETTLED`.
FIT_READS = 1500
FIT_ROUNDS = 10
SETTLED = 0.002
# Rates where the fit starts, and the bounds they keep.
START_SUBSTITUTION, SUBSTITUTION_BOUNDS = 0.02, (1e-4, 0.5)
START_INDEL, INDEL_BOUNDS = 2e-3, (1e-6, 0.05)
START_MAPPED, MAPPED_BOUNDS = 0.6, (0.01, 0.99)
# Reads with equal shares of the bases that hold the background's; and the bound of its logarithm.
BACKGROUND_READS, MAX_LOG_BACKGROUND = 20.0, 60.0
# Where words are a larger share of all sequences, a background cannot be told from frequent words.
CROWDED = 0.02
# A read is called only when its best word is more likely than all else together.
MIN_POSTERIOR = 0.5
# Quality of a base as a phred score is at most this.
MAX_QUALITY = 60

Light = NDArray[np.float32]


@dataclass(frozen=True)
class ErrorModel:
    """What goes wrong between a word and a read.

    Parameters
    ----------
    substitution : (cycle,) probability that a base tells nothing
    insertion, deletion : probability that a read gained, or lost, one base
    mapped : probability that a read shows a word of library or decoys
    background : (cycle, 4) share of the bases in reads that show none of these; empty for equal
        shares. Spots that are not reads have the bases of the noisiest channels.
    """

    substitution: NDArray[np.float64]
    insertion: float = START_INDEL
    deletion: float = START_INDEL
    mapped: float = START_MAPPED
    background: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def start(cls, cycles: int) -> ErrorModel:
        """Where the fit starts."""
        return cls(np.full(cycles, START_SUBSTITUTION))


@dataclass(frozen=True)
class ReadCalls:
    """What each read may show.

    Parameters
    ----------
    candidates : (read, 6) words of the codebook, best first, -1 for none
    odds : (read, 6) weight of each over that of "none of these"
    rest : (read,) weight of all further words
    score : (read,) posterior of the best word among library, decoys and none; decides q-values
    posterior : (read,) posterior of the best word among those of its kind and none
    decoy : (read,) whether the best word is a decoy
    limits : (read,) log-weight over "none of these" above which no word was left out
    """

    candidates: NDArray[np.int32]
    odds: Light
    rest: Light
    score: Light
    posterior: Light
    decoy: NDArray[np.bool_]
    shift: Light
    limits: Light

    def __len__(self) -> int:
        return len(self.score)

    @property
    def called(self) -> NDArray[np.bool_]:
        """Reads whose best word is the library's and more likely than all else."""
        found: NDArray[np.bool_] = (
            (self.candidates[:, 0] >= 0) & ~self.decoy & (self.posterior > MIN_POSTERIOR)
        )
        return found


def base_probabilities(loglik: Light, model: ErrorModel) -> Light:
    """Probability of each base in each cycle, with the chance that the cycle tells nothing."""
    share = np.exp(loglik - loglik.max(axis=2, keepdims=True))
    share /= share.sum(axis=2, keepdims=True)
    wrong = model.substitution.astype(np.float32)[None, :, None]
    mixed: Light = (1 - wrong) * share + wrong / 4
    return mixed


def decode_reads(loglik: Light, codebook: Codebook, model: ErrorModel) -> ReadCalls:
    """Weigh the words of the codebook for every read.

    Parameters
    ----------
    loglik : (read, cycle, 4) log-likelihood of bases A, C, G, T, up to a constant per cycle
    """
    if loglik.shape[1] != codebook.cycles:
        raise InputError(
            f"reads have {loglik.shape[1]} cycles, the library is cut to {codebook.cycles}: make "
            "it with the same cycles"
        )
    probability = base_probabilities(loglik, model)
    prior = np.log(model.mapped) - np.log1p(-model.mapped) - np.log(max(len(codebook), 1))
    rates = [np.log(r / codebook.cycles) for r in (model.insertion, model.deletion)]
    if not codebook.indels:
        rates = [-np.inf, -np.inf]
    index = codebook.index
    found, odds, rest, shift, limits = search_words(
        np.log(probability),
        float(prior),
        codebook.lift(model.mapped),
        float(rates[0]),
        float(rates[1]),
        codebook.ends,
        index.filter,
        index.exact,
        index.keys,
        index.values,
    )
    none = _background(probability, model)
    odds, rest = odds / none[:, None], rest / none
    return _judge(found, odds, rest, shift, limits, codebook)


def _background(probability: Light, model: ErrorModel) -> Light:
    """Weight of "none of these" over that of a sequence of any bases, for every read.

    Half of such reads are any sequence, half are made of the bases of the background.
    """
    if not len(model.background):
        return np.ones(len(probability), np.float32)
    shares = np.asarray(model.background, np.float32)
    likely = np.log(4 * (probability * shares).sum(axis=2)).sum(axis=1)
    weight: Light = (0.5 + 0.5 * np.exp(np.minimum(likely, MAX_LOG_BACKGROUND))).astype(np.float32)
    return weight


def _judge(
    found: NDArray[np.int32],
    odds: Light,
    rest: Light,
    shift: Light,
    limits: Light,
    codebook: Codebook,
) -> ReadCalls:
    found, odds = _fold_strangers(found, odds, rest, codebook)
    best = odds[:, 0].astype(float)
    total = odds.sum(axis=1, dtype=float) + rest
    is_decoy = found >= codebook.targets  # after folding, only decoys are left there
    decoy = is_decoy[:, 0]
    same = np.where(is_decoy == decoy[:, None], odds, 0).sum(axis=1, dtype=float) + rest / 2
    # Real reads show library words only, so each is as likely again as with decoys in the race.
    lift = 1.0 + codebook.ratio
    return ReadCalls(
        candidates=found,
        odds=odds,
        rest=rest,
        score=(best / (1 + total)).astype(np.float32),
        posterior=(lift * best / (1 + lift * same)).astype(np.float32),
        decoy=decoy,
        shift=shift,
        limits=limits,
    )


def _fold_strangers(
    found: NDArray[np.int32], odds: Light, rest: Light, codebook: Codebook
) -> tuple[NDArray[np.int32], Light]:
    """Count strangers to "none of these", which all odds are relative to, and close the gaps."""
    strange = found >= len(codebook)
    if not strange.any():
        return found, odds
    none = 1 + np.where(strange, odds, 0).sum(axis=1, dtype=float)
    rest /= none.astype(np.float32)
    odds = np.where(strange, -1, odds / none[:, None]).astype(np.float32)
    order = np.argsort(-odds, axis=1, kind="stable")
    found = np.take_along_axis(np.where(strange, -1, found), order, axis=1).astype(np.int32)
    return found, np.maximum(np.take_along_axis(odds, order, axis=1), 0).astype(np.float32)


def fit_error_model(loglik: Light, codebook: Codebook, *, rng: np.random.Generator) -> ErrorModel:
    """Find the rates of errors from a sample of reads, blind to which words are decoys."""
    if len(loglik) > FIT_READS:
        loglik = loglik[np.sort(rng.choice(len(loglik), FIT_READS, replace=False))]
    model = ErrorModel.start(codebook.cycles)
    if len(loglik) == 0:
        return model
    for _ in range(FIT_ROUNDS):
        before, model = model, _refit(loglik, codebook, model)
        if np.abs(_rates(model) - _rates(before)).max() < SETTLED:
            break
    return model


def _rates(model: ErrorModel) -> NDArray[np.float64]:
    single = [model.mapped, model.insertion, model.deletion]
    return np.append(single, model.substitution.mean())


def _refit(loglik: Light, codebook: Codebook, model: ErrorModel) -> ErrorModel:
    calls = decode_reads(loglik, codebook, model)
    weight = np.where(calls.candidates[:, 0] >= 0, calls.score, 0).astype(float)
    total = calls.odds.sum(axis=1, dtype=float) + calls.rest
    mapped = float(np.mean(total / (1 + total)))
    straight = weight * (1 - calls.shift.sum(axis=1))
    codes = _codes_of(codebook, calls.candidates[:, 0])
    shown = np.take_along_axis(
        base_probabilities(loglik, model), codes[:, :, None].astype(np.int64), axis=2
    )[..., 0]
    blank = model.substitution / 4 / shown
    # One read's worth of the start keeps the rates of tiny samples finite.
    wrong = (straight[:, None] * blank).sum(axis=0) + START_SUBSTITUTION
    gained, lost = (weight[:, None] * calls.shift).sum(axis=0) + START_INDEL
    reads = weight.sum() + 1.0
    probability = base_probabilities(loglik, model)
    return replace(
        model,
        substitution=np.clip(wrong / (straight.sum() + 1.0), *SUBSTITUTION_BOUNDS),
        insertion=float(np.clip(gained / reads, *INDEL_BOUNDS)),
        deletion=float(np.clip(lost / reads, *INDEL_BOUNDS)),
        mapped=float(np.clip(mapped, *MAPPED_BOUNDS)),
        background=_find_background(probability, 1 / (1 + total), codebook, model),
    )


def _find_background(
    probability: Light, none: NDArray[np.float64], codebook: Codebook, model: ErrorModel
) -> tuple[tuple[float, ...], ...]:
    """Shares of the bases in reads that show no word, from the chance `none` that each is one."""
    if len(codebook) > CROWDED * 4.0**codebook.cycles:
        return ()
    # Reads of the background weigh by its own view of their bases.
    shares = probability * (np.asarray(model.background) if model.background else 1.0)
    shares = shares / shares.sum(axis=2, keepdims=True)
    count = np.einsum("n,ntb->tb", none, shares) + BACKGROUND_READS / 4
    background = count / count.sum(axis=1, keepdims=True)
    return tuple(tuple(float(v) for v in row) for row in background)


def _codes_of(codebook: Codebook, words: NDArray[np.int32]) -> NDArray[np.uint8]:
    letters = codebook.words[np.maximum(words, 0)].astype(f"S{codebook.cycles}")
    table = np.zeros(256, np.uint8)
    for code, base in enumerate(BASES):
        table[ord(base)] = code
    return table[np.frombuffer(letters.tobytes(), np.uint8).reshape(len(words), codebook.cycles)]


def q_values(
    score: NDArray[np.floating], decoy: NDArray[np.bool_], *, ratio: float = 1.0
) -> NDArray[np.float64]:
    """Least rate of false ones among all that score at least as high, by counting decoys.

    Of the targets with a score of at least s, (decoys with such a score + 1) / `ratio` are expected
    to be false. Equal scores have equal q-values. Decoys get the q-value of their score.

    Parameters
    ----------
    ratio : decoys per target word

    Examples
    --------
    >>> q_values(np.array([3.0, 2.0, 1.0]), np.array([False, False, True])).tolist()
    [0.5, 0.5, 1.0]
    """
    if len(score) == 0:
        return np.zeros(0)
    levels, place = np.unique(-score, return_inverse=True)
    decoys = np.cumsum(np.bincount(place, weights=decoy, minlength=len(levels)))
    targets = np.cumsum(np.bincount(place, weights=~decoy, minlength=len(levels)))
    rate = (decoys + 1) / max(ratio, 1e-9) / np.maximum(targets, 1)
    lowest = np.minimum.accumulate(rate[::-1])[::-1]
    return np.minimum(lowest, 1.0)[place]


def reads_frame(
    calls: ReadCalls, loglik: Light, codebook: Codebook, model: ErrorModel
) -> pd.DataFrame:
    """The `Read_*` columns of `reads.parquet`, and Read_Score, Read_Second, Read_Mismatches.

    `Read_Score` is what q-values over several tiles are made of: `q_values(Read_Score,
    Read_Decoy)`. The q-values here are those of these reads alone.
    """
    probability = base_probabilities(loglik, model)
    bases = probability.argmax(axis=2).astype(np.uint8)
    error = 1 - probability.max(axis=2).astype(float)
    quality = np.minimum(-10 * np.log10(np.maximum(error, 1e-9)), MAX_QUALITY)
    best = calls.candidates[:, 0]
    names = np.append(codebook.words, "")
    barcode = np.where(calls.called, names[best], "")
    differ = (_codes_of(codebook, best) != bases).sum(axis=1)
    table = {
        "Read_Sequence": decode_words(bases),
        "Read_Barcode": barcode,
        "Read_Posterior": np.where(best >= 0, calls.posterior, np.nan).astype(np.float32),
        "Read_QValue": q_values(calls.score, calls.decoy, ratio=codebook.ratio),
        "Read_Decoy": calls.decoy,
        "Read_Score": calls.score,
        "Read_Second": names[calls.candidates[:, 1]],
        "Read_Mismatches": np.where(best >= 0, differ, np.nan).astype(np.float32),
    }
    columns = {
        f"Read_Quality_{t + 1}": quality[:, t].astype(np.float32) for t in range(bases.shape[1])
    }
    return pd.DataFrame(table | columns)
