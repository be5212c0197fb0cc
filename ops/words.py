"""Sequences as numbers: two bits per base, packed into one 64-bit word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

__all__ = ["BASES", "WordIndex", "decode_words", "encode", "nearest_distance", "pack"]

BASES = "ACGT"

# Up to this length one bit per possible word tells at once that a word is not there (2 MB).
EXACT_FILTER_LENGTH = 12
# Distances above this are reported as this plus one: nobody corrects that many errors.
FAR = 2

Codes = NDArray[np.uint8]
Words = NDArray[np.uint64]

_MIX = np.uint64(0x9E3779B97F4A7C15)


def encode(sequences: Sequence[str]) -> Codes:
    """Numbers 0 to 3 of sequences of one length, (sequence, base).

    Examples
    --------
    >>> encode(["ACGT"]).tolist()
    [[0, 1, 2, 3]]
    """
    letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(len(sequences), -1)
    table = np.zeros(256, np.uint8)
    for code, base in enumerate(BASES):
        table[ord(base)] = code
    return table[letters]


def decode_words(codes: NDArray[np.integer]) -> NDArray[np.object_]:
    """Letters of (n, length) numbers 0 to 3; the opposite of `encode`."""
    codes = np.ascontiguousarray(codes)
    if codes.shape[1] == 0:
        return np.full(len(codes), "", object)
    letters = np.frombuffer(BASES.encode(), np.uint8)[codes]
    return (
        np.ascontiguousarray(letters).view(f"S{codes.shape[1]}").ravel().astype(str).astype(object)
    )


def pack(codes: Codes) -> Words:
    """One number per sequence of at most 32 bases; the first base has the lowest bits."""
    words = np.zeros(len(codes), np.uint64)
    for i in range(codes.shape[1]):
        words |= codes[:, i].astype(np.uint64) << np.uint64(2 * i)
    return words


class WordIndex:
    """Where a word stands in a list of different words: a bit filter, then open addressing.

    Parameters
    ----------
    words : (n,) different packed words of `length` bases
    """

    def __init__(self, words: Words, length: int) -> None:
        """Fill filter and table."""
        size = 1 << max(4, int(np.ceil(np.log2(2 * max(len(words), 1)))))
        bits = 2 * min(length, EXACT_FILTER_LENGTH)
        self.exact = length <= EXACT_FILTER_LENGTH
        self.filter = np.zeros(max(1, (1 << bits) >> 3), np.uint8)
        self.keys = np.zeros(size, np.uint64)
        self.values = np.full(size, -1, np.int32)
        _fill(words, self.filter, self.exact, self.keys, self.values)

    def find(self, words: Words) -> NDArray[np.int32]:
        """Index of each word, -1 where it is not there."""
        found: NDArray[np.int32] = _find_all(words, self.filter, self.exact, self.keys, self.values)
        return found


def nearest_distance(codes: Codes, others: Codes | None = None) -> NDArray[np.int64]:
    """Hamming distance of each word to the nearest of `others` (or of the rest), at most 3.

    Parameters
    ----------
    codes : (n, length) different words
    others : (m, length) different words
    """
    target = codes if others is None else others
    index = WordIndex(pack(target), codes.shape[1])
    distances: NDArray[np.int64] = _nearest(
        pack(codes),
        codes.shape[1],
        others is None,
        index.filter,
        index.exact,
        index.keys,
        index.values,
    )
    return distances


@njit(cache=True, nogil=True, inline="always")
def _slot(word, exact, bits):  # type: ignore[no-untyped-def]
    """Bit of the filter that a word has."""
    if exact:
        return word
    return (word * uint64(0x9E3779B97F4A7C15)) >> uint64(64 - bits)


@njit(cache=True, nogil=True)
def lookup(word, filter_, exact, keys, values):  # type: ignore[no-untyped-def]
    """Index of a packed word, or -1."""
    bits = 24
    slot = _slot(word, exact, bits)
    if not (filter_[slot >> uint64(3)] >> (slot & uint64(7))) & 1:
        return -1
    mask = uint64(len(keys) - 1)
    at = ((word * uint64(0x9E3779B97F4A7C15)) >> uint64(20)) & mask
    while values[at] >= 0:
        if keys[at] == word:
            return values[at]
        at = (at + uint64(1)) & mask
    return -1


@njit(cache=True, nogil=True)
def _fill(words, filter_, exact, keys, values):  # type: ignore[no-untyped-def]
    mask = uint64(len(keys) - 1)
    for i in range(len(words)):
        word = words[i]
        slot = _slot(word, exact, 24)
        filter_[slot >> uint64(3)] |= 1 << (slot & uint64(7))
        at = ((word * uint64(0x9E3779B97F4A7C15)) >> uint64(20)) & mask
        while values[at] >= 0:
            at = (at + uint64(1)) & mask
        keys[at] = word
        values[at] = i


@njit(cache=True, nogil=True)
def _find_all(words, filter_, exact, keys, values):  # type: ignore[no-untyped-def]
    found = np.empty(len(words), np.int32)
    for i in range(len(words)):
        found[i] = lookup(words[i], filter_, exact, keys, values)
    return found


@njit(cache=True, nogil=True)
def _nearest(words, length, same, filter_, exact, keys, values):  # type: ignore[no-untyped-def]
    """Distance 0 (unless `same`), 1, 2, or 3 for anything farther."""
    out = np.full(len(words), 3, np.int64)
    for i in range(len(words)):
        word = words[i]
        if not same and lookup(word, filter_, exact, keys, values) >= 0:
            out[i] = 0
            continue
        best = 3
        for p in range(length):
            for a in range(1, 4):
                one = word ^ (uint64(a) << uint64(2 * p))
                if lookup(one, filter_, exact, keys, values) >= 0:
                    best = 1
                    break
                if best > 2:
                    for q in range(p + 1, length):
                        for b in range(1, 4):
                            two = one ^ (uint64(b) << uint64(2 * q))
                            if lookup(two, filter_, exact, keys, values) >= 0:
                                best = 2
            if best == 1:
                break
        out[i] = best
    return out
