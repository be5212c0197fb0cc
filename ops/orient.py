"""Which channel is which base, and why a library does not match: tried, not guessed.

Channels in another order only exchange the names of the four groups into which reads fall, so all
orders are tried on one set of likelihoods. An order is chosen on half of the reads and has to
prove itself on the other half, against decoys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.chemistry import Chemistry
from poolvox.ops.decoys import make_decoys
from poolvox.ops.library import Library
from poolvox.ops.words import BASES, WordIndex, pack

__all__ = ["AS_GIVEN", "ChannelOrder", "explain_no_match", "find_channel_order"]

# The chosen order must match this many times as often as decoys, and as the second-best order.
MARGIN = 3.0
# Standard errors by which the matches of the second half must exceed those of decoys.
MIN_Z = 5.0
# Cycles by which images and library may be out of step.
MAX_SHIFT = 2
COMPLEMENT = (3, 2, 1, 0)
AS_GIVEN = "as given"
# Matching reads, or the library if it is smaller, show at least this part of different words.
LEAST_WORDS = 0.25

Codes = NDArray[np.uint8]
Order = tuple[int, ...]


@dataclass(frozen=True)
class ChannelOrder:
    """The order of the channels that was found.

    Parameters
    ----------
    chemistry : with the channels named by what they turned out to be
    relabel : what is called base i under the order that was given is base `relabel[i]`
    mapped, decoys, second : share of the second half of the reads that match library and decoys
        exactly, and share that the second-best order matches
    confirmed : whether the second half confirms it
    """

    chemistry: Chemistry
    relabel: Order
    mapped: float
    decoys: float
    second: float
    confirmed: bool

    def __str__(self) -> str:
        return self.told()

    def told(self, names: Sequence[str] = ()) -> str:
        """Say it, with the names that the channels have in the images."""
        bases = self.chemistry.channels
        found = ", ".join(f"{name} is {base}" for name, base in zip(names, bases))
        found = found or f"channels are {', '.join(bases)}"
        verdict = "confirmed" if self.confirmed else "not confirmed: give `channels` by hand"
        return (
            f"{found}: {self.mapped:.1%} of the reads that were not used to choose "
            f"match the library, {self.decoys:.1%} decoys, {self.second:.1%} in the next-best "
            f"order; {verdict}"
        )


def find_channel_order(
    loglik: NDArray[np.float32],
    chemistry: Chemistry,
    library: Library,
    *,
    rng: np.random.Generator,
) -> ChannelOrder:
    """Find the order of the base channels from the library.

    Parameters
    ----------
    loglik : (read, cycle, 4) from corrections that were estimated with `chemistry`, whatever order
        it has
    chemistry : a table in any order of its channels
    """
    called = loglik.argmax(axis=2).astype(np.uint8)
    shuffled = rng.permutation(len(called))
    choose, confirm = called[shuffled[::2]], called[shuffled[1::2]]
    options = _relabellings(chemistry)
    index = WordIndex(pack(library.codes), library.cycles)
    rates = [_rate(_relabel(choose, option), index) for option, _ in options]
    ranked = np.argsort(-np.array(rates), kind="stable")
    relabel, found = options[int(ranked[0])]
    decoys = make_decoys(library, rng).codes
    mapped = _rate(_relabel(confirm, relabel), index)
    by_chance = _rate(_relabel(confirm, relabel), WordIndex(pack(decoys), library.cycles))
    second = (
        _rate(_relabel(confirm, options[int(ranked[1])][0]), index) if len(options) > 1 else 0.0
    )
    return ChannelOrder(
        found,
        relabel,
        mapped,
        by_chance,
        second,
        _stands_out(mapped, max(by_chance, second), len(confirm)),
    )


def _relabellings(chemistry: Chemistry) -> list[tuple[Order, Chemistry]]:
    """How the names of the bases change under each order of the channels, the given one first.

    Orders that give the table rows it does not have would need corrections of their own, and are
    left out; the named chemistries have none.
    """
    rows = list(chemistry.table)
    options = []
    for other in chemistry.orders():
        if all(row in other.table for row in rows):
            options.append((tuple(other.table.index(row) for row in rows), other))
    return options


def _relabel(codes: Codes, relabel: Order) -> Codes:
    return np.array(relabel, np.uint8)[codes]


def _rate(codes: Codes, index: WordIndex) -> float:
    return float((index.find(pack(codes)) >= 0).mean()) if len(codes) else 0.0


def _stands_out(rate: float, background: float, reads: int) -> bool:
    error = np.sqrt(max(rate * (1 - rate), 1 / max(reads, 1)) / max(reads, 1))
    return bool(rate >= MARGIN * background and rate - background >= MIN_Z * error)


def explain_no_match(
    loglik: NDArray[np.float32], library: Library, *, rng: np.random.Generator
) -> tuple[str, pd.DataFrame]:
    """Say why so few reads match, after trying what usually is the reason.

    Parameters
    ----------
    loglik : (read, cycle, 4)

    Returns
    -------
    reason : one sentence with what to do
    trials : trial, mapped, decoys (shares of reads), stands_out; best first
    """
    called = loglik.argmax(axis=2).astype(np.uint8)
    decoys = make_decoys(library, rng).codes
    rows = []
    for name, advice, reads, words, others in _trials(called, library.codes, decoys):
        length = reads.shape[1]
        mapped, chance = (
            _rate(reads, WordIndex(np.unique(pack(w)), length)) for w in (words, others)
        )
        clear = _stands_out(mapped, chance, len(reads))
        # Any two libraries may have a word or two in common; what explains it all explains many.
        clear &= name == AS_GIVEN or _many_words(reads, words)
        rows.append((name, mapped, chance, clear, advice))
    trials = pd.DataFrame(rows, columns=["trial", "mapped", "decoys", "stands_out", "advice"])
    excess = (trials["mapped"] - trials["decoys"]) * trials["stands_out"]
    trials = trials.loc[excess.sort_values(ascending=False, kind="stable").index]
    return _reason(trials), trials.drop(columns="advice").reset_index(drop=True)


def _many_words(reads: Codes, words: Codes) -> bool:
    """Whether the reads that match show many different words, as far as they can."""
    own, shown = np.unique(pack(words)), pack(reads)
    matched = shown[np.isin(shown, own)]
    return bool(len(np.unique(matched)) >= LEAST_WORDS * min(len(own), len(matched)))


def _reason(trials: pd.DataFrame) -> str:
    best = trials.iloc[0]
    if not best["stands_out"]:
        return (
            "the reads match the library in no orientation, order of channels or shift of cycles: "
            "is it the library of this experiment, and are the cycles aligned?"
        )
    share = f"{best['mapped']:.1%} of reads match ({best['decoys']:.1%} decoys)"
    return f"{share} {best['trial']}: {best['advice']}"


def _trials(
    called: Codes, words: Codes, decoys: Codes
) -> list[tuple[str, str, Codes, Codes, Codes]]:
    """Name, advice, reads, words and decoys of each trial."""
    flipped = np.array(COMPLEMENT, np.uint8)[called]
    trials = [
        (AS_GIVEN, "nothing is wrong with order and orientation", called),
        ("with the barcodes reversed", "reverse the barcodes of the library", called[:, ::-1]),
        ("with the barcodes complemented", "complement the barcodes of the library", flipped),
        (
            "with the barcodes reverse-complemented",
            "reverse-complement the barcodes of the library",
            flipped[:, ::-1],
        ),
    ]
    out = [
        (name, advice, np.ascontiguousarray(reads), words, decoys) for name, advice, reads in trials
    ]
    for order in permutations(range(4)):
        if order in ((0, 1, 2, 3), COMPLEMENT):
            continue
        swap = ", ".join(f"{BASES[i]} is {BASES[j]}" for i, j in enumerate(order) if i != j)
        advice = "correct the order of `channels`, or set it to auto"
        out.append((f"when {swap}", advice, _relabel(called, order), words, decoys))
    for shift in range(1, min(MAX_SHIFT, called.shape[1] - 4) + 1):
        end = called.shape[1] - shift
        first = "first" if shift == 1 else f"first {shift}"
        cycles, bases = ("cycle", "base") if shift == 1 else ("cycles", "bases")
        out.append(
            (
                f"without the {first} {cycles} of the images",
                "the barcode begins later: leave these cycles out",
                called[:, shift:],
                words[:, :end],
                decoys[:, :end],
            )
        )
        out.append(
            (
                f"without the {first} {bases} of the barcodes",
                "the first cycles are missing: set `library.cycles`",
                called[:, :end],
                words[:, shift:],
                decoys[:, shift:],
            )
        )
    return out
