"""From the likelihood of bases to a posterior over the library for every read.

The words that could have given a read are weighed, library and decoys alike, against "none of
these"; `mistakes` tells how likely a word is to be read with errors, `rates` finds how frequent
these are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.codebook import Codebook
from poolvox.ops.mistakes import ErrorModel, base_probabilities, none_weights
from poolvox.ops.search import Rates, search_words
from poolvox.ops.words import BASES, decode_words
from poolvox.shared.errors import InputError

__all__ = ["ReadCalls", "codes_of", "decode_reads", "q_values", "reads_frame"]

# A read is called only when its best word is more likely than all else together.
MIN_POSTERIOR = 0.5
# Quality of a base as a phred score is at most this.
MAX_QUALITY = 60
# Reads that are decoded at a time, which bounds the memory.
BLOCK = 1 << 16

Light = NDArray[np.float32]


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
    shift : (read, 2) share of the best word's weight that comes from bases gained, and lost
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


def decode_reads(
    loglik: Light, codebook: Codebook, model: ErrorModel, *, steady: Light | None = None
) -> ReadCalls:
    """Weigh the words of the codebook for every read.

    Parameters
    ----------
    loglik : (read, cycle, 4) log-likelihood of bases A, C, G, T, up to a constant per cycle
    steady : (read,) log-odds that the light is alike in every cycle, see `steady_odds`
    """
    if loglik.shape[1] != codebook.cycles:
        raise InputError(
            f"reads have {loglik.shape[1]} cycles, the library is cut to {codebook.cycles}: make "
            "it with the same cycles"
        )
    starts = range(0, max(len(loglik), 1), BLOCK)
    blocks = [slice(start, start + BLOCK) for start in starts]
    parts = [
        _decode_block(loglik[b], codebook, model, None if steady is None else steady[b])
        for b in blocks
    ]
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(ReadCalls)]
    return ReadCalls(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _decode_block(
    loglik: Light, codebook: Codebook, model: ErrorModel, steady: Light | None
) -> ReadCalls:
    probability = base_probabilities(loglik, model)
    prior = np.log(model.mapped) - np.log1p(-model.mapped) - np.log(max(len(codebook), 1))
    indels = [np.log(r / codebook.cycles) for r in (model.insertion, model.deletion)]
    rates = Rates(float(prior), *(indels if codebook.indels else (-np.inf, -np.inf)))
    found, odds, rest, shift, limits = search_words(
        np.log(probability), rates, codebook.lexicon(model.mapped, model.abundance)
    )
    none = none_weights(probability, model, steady).sum(axis=0).astype(np.float32)
    return _judge(found, odds / none[:, None], rest / none, shift, limits, codebook)


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


def codes_of(codebook: Codebook, words: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Bases of words of a codebook by their numbers, (word, cycle)."""
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
    differ = (codes_of(codebook, best) != bases).sum(axis=1)
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
