"""What reads are compared with: library, decoys, and strangers that many reads show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.decoys import Decoys
from poolvox.ops.library import Library
from poolvox.ops.search import Lexicon
from poolvox.ops.words import Codes, WordIndex, decode_words, encode, pack

__all__ = ["Codebook", "find_strangers"]

# A sequence outside the library is a stranger when this many reads, and this share, show it.
STRANGER_READS, STRANGER_SHARE = 8, 0.004

Light = NDArray[np.float32]


@dataclass(frozen=True)
class Codebook:
    """Words of library and decoys, indexed for search.

    Words 0 to `targets` - 1 are the library's, then come `decoys` decoys, then strangers: frequent
    sequences of neither, such as a vector without insert, with their shares of the reads. A read
    that shows a stranger shows "none of these".
    """

    words: NDArray[np.object_]
    targets: int
    decoys: int
    strangers: pd.DataFrame
    cycles: int
    ends: NDArray[np.int8]
    index: WordIndex
    indels: bool

    @classmethod
    def make(
        cls,
        library: Library,
        decoys: Decoys | None = None,
        strangers: pd.DataFrame | None = None,
    ) -> Codebook:
        """Index a library, with decoys, and with strangers from `find_strangers`."""
        spare = np.zeros((0, library.cycles), np.uint8)
        others = spare if decoys is None else decoys.codes
        odd = _no_strangers() if strangers is None else strangers
        foreign = (
            encode(odd["sequence"].tolist()).reshape(-1, library.cycles) if len(odd) else spare
        )
        # A decoy that is a stranger would count its reads as errors.
        others = others[~np.isin(pack(others), pack(foreign))]
        codes = np.concatenate([library.codes, others, foreign])
        # Decoys end with the bases that library words end with.
        ends = np.resize(library.next_base, len(library) + len(others))
        ends = np.concatenate([ends, np.full(len(foreign), -1, np.int8)])
        index = WordIndex(pack(codes), library.cycles)
        return cls(
            decode_words(codes),
            len(library),
            len(others),
            odd,
            library.cycles,
            ends,
            index,
            library.contiguous,
        )

    @classmethod
    def of(cls, codes: Codes) -> Codebook:
        """Index bare words, (word, cycle), without decoys; no base is lost or gained."""
        ends = np.full(len(codes), -1, np.int8)
        index = WordIndex(pack(codes), codes.shape[1])
        odd = _no_strangers()
        return cls(decode_words(codes), len(codes), 0, odd, codes.shape[1], ends, index, False)

    def __len__(self) -> int:
        return self.targets + self.decoys

    @property
    def ratio(self) -> float:
        """Decoys per library word."""
        return self.decoys / max(self.targets, 1)

    def lexicon(self, mapped: float, abundance: Sequence[float] = ()) -> Lexicon:
        """The words as the search wants them.

        Parameters
        ----------
        mapped : share of the reads that show a word of library or decoys
        abundance : log-prior of each of these over their mean; empty where all are alike
        """
        own = np.asarray(abundance, float) if len(abundance) else np.zeros(len(self))
        share = self.strangers["share"].to_numpy(float)
        lift = np.concatenate([own, np.log(share) - np.log(mapped / max(len(self), 1))])
        at = self.index
        return Lexicon(lift, self.ends, at.filter, at.exact, at.keys, at.values)


def _no_strangers() -> pd.DataFrame:
    return pd.DataFrame({"sequence": np.array([], object), "reads": [], "share": []})


def find_strangers(loglik: Light, library: Library) -> pd.DataFrame:
    """Sequences outside the library that far too many reads show.

    A neighbour of a library word counts only when it is more frequent than that word; else it is
    that word with a wrong base.

    Returns
    -------
    sequence, reads, share; most frequent first
    """
    called = loglik.argmax(axis=2).astype(np.uint8)
    words, place, counts = np.unique(pack(called), return_index=True, return_counts=True)
    least = max(STRANGER_READS, STRANGER_SHARE * len(called))
    index = WordIndex(pack(library.codes), library.cycles)
    frequent = np.flatnonzero((counts >= least) & (index.find(words) < 0))
    own = np.bincount(
        np.maximum(index.find(words), 0), counts * (index.find(words) >= 0), len(library)
    )
    rows = []
    for i in frequent[np.argsort(-counts[frequent], kind="stable")]:
        near = np.count_nonzero(library.codes != called[place[i]], axis=1) <= 1
        if not near.any() or counts[i] > own[near].max():
            rows.append(
                (decode_words(called[place[i]][None])[0], int(counts[i]), counts[i] / len(called))
            )
    if not rows:
        return _no_strangers()
    return pd.DataFrame(rows, columns=["sequence", "reads", "share"])
