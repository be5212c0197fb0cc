"""Barcodes that nobody has: as many as the library, and as easy to hit by mistake.

A decoy shares the library's composition in every cycle (its columns are shuffles of the
library's), and lies as far from the library as library words lie from each other. A read that
is wrong then finds a decoy as often as it finds a wrong library word, which makes the reads that
find decoys a count of those that found a wrong word (target-decoy competition,
doi:10.1038/nmeth1019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poolvox.ops.library import Library
from poolvox.ops.words import Codes, nearest_distance, pack

__all__ = ["Decoys", "make_decoys"]

# Shuffles of the columns that are tried, each of the size of the library.
ROUNDS = 40
# With fewer decoys than this per library word, error rates below a few percent cannot be told.
ENOUGH = 0.9


@dataclass(frozen=True)
class Decoys:
    """Decoy words, (word, cycle), and what they are worth.

    `ratio` is the number of decoys over the number of library words; `min_distance` the least
    distance kept to the library. `note` says what could not be matched, or is empty.
    """

    codes: Codes
    ratio: float
    min_distance: int
    note: str = ""

    def __len__(self) -> int:
        return len(self.codes)


def make_decoys(library: Library, rng: np.random.Generator) -> Decoys:
    """Draw as many decoys as `library` has words; fewer only where there is no room for them.

    Distances are matched in the classes 1, 2, and 3 or more: the share of decoys in each, to the
    nearest library word, is that of the library's words to the nearest other.

    Examples
    --------
    >>> import pandas as pd
    >>> from poolvox.ops.library import LibrarySpec, make_library
    >>> table = pd.DataFrame({"barcode": ["ACGTA", "CATGC", "GTCAT", "TGACG"]})
    >>> library = make_library(table, LibrarySpec(file="library.csv"), 5)
    >>> decoys = make_decoys(library, np.random.default_rng(0))
    >>> len(decoys), bool(nearest_distance(decoys.codes, library.codes).min() > 0)
    (4, True)
    """
    codes = library.codes
    wanted = _quota(codes)
    floor = int(np.flatnonzero(wanted)[0]) if wanted.any() else 1
    pools: list[list[Codes]] = [[], [], [], []]
    taken: set[int] = set()
    for _ in range(ROUNDS):
        if all(sum(map(len, pool)) >= want for pool, want in zip(pools, wanted)):
            break
        _collect(codes, pools, wanted, floor, taken, rng)
    chosen = [np.concatenate(pool) if pool else codes[:0] for pool in pools]
    picked = np.concatenate([pool[:want] for pool, want in zip(chosen, wanted)])
    missing = len(codes) - len(picked)
    if missing:
        # No room at the library's own distances: nearer ones are better than none.
        spare = np.concatenate([pool[want:] for pool, want in zip(chosen, wanted)])
        picked = np.concatenate([picked, _fill_up(codes, picked, spare, missing, rng)])
    picked = picked[rng.permutation(len(picked))]
    return _describe(codes, picked, floor)


def _quota(codes: Codes) -> NDArray[np.int64]:
    """How many library words have their nearest other word at distance 0, 1, 2, 3 or more."""
    if len(codes) < 2:
        return np.array([0, 0, 0, len(codes)])
    return np.bincount(nearest_distance(codes), minlength=4)


def _shuffle(codes: Codes, rng: np.random.Generator) -> Codes:
    return rng.permuted(codes, axis=0)


def _collect(
    codes: Codes,
    pools: list[list[Codes]],
    wanted: NDArray[np.int64],
    floor: int,
    taken: set[int],
    rng: np.random.Generator,
) -> None:
    """Sort one shuffle into the classes of distance that still lack decoys."""
    fresh = _shuffle(codes, rng)
    fresh = fresh[np.unique(pack(fresh), return_index=True)[1]]
    fresh = fresh[rng.permutation(len(fresh))]
    distance = nearest_distance(fresh, codes)
    for level in range(max(1, floor), 4):
        lacking = int(wanted[level]) - sum(map(len, pools[level]))
        if lacking <= 0:
            continue
        kept = _apart(fresh[distance == level], floor, pools, taken)[:lacking]
        if len(kept):
            pools[level].append(kept)
            taken.update(pack(kept).tolist())


def _apart(codes: Codes, floor: int, pools: list[list[Codes]], taken: set[int]) -> Codes:
    """Drop what was taken before, and what is nearer than `floor` to another decoy."""
    new = np.array([int(word) not in taken for word in pack(codes)], bool)
    codes = codes[new]
    before = [part for pool in pools for part in pool]
    if len(codes) and before and floor > 1:
        codes = codes[nearest_distance(codes, np.concatenate(before)) >= floor]
    if len(codes) > 1 and floor > 1:
        codes = _thin(codes, floor)
    return codes


def _thin(codes: Codes, floor: int) -> Codes:
    """Drop words, last ones first, until all are `floor` or more apart from each other."""
    near = np.flatnonzero(nearest_distance(codes) < floor)
    keep = np.ones(len(codes), bool)
    keep[near] = False
    rescued: list[int] = []
    for i in near:
        others = codes[rescued]
        if not rescued or np.count_nonzero(others != codes[i], axis=1).min() >= floor:
            rescued.append(int(i))
    keep[rescued] = True
    return codes[keep]


def _fill_up(
    codes: Codes, picked: Codes, spare: Codes, missing: int, rng: np.random.Generator
) -> Codes:
    """Any words outside the library that are not decoys yet."""
    cycles = codes.shape[1]
    drawn = [spare, *(_shuffle(codes, rng) for _ in range(4))]
    if 4**cycles <= 1 << 16:
        every = np.arange(4**cycles)[:, None] >> (2 * np.arange(cycles)) & 3
        drawn.append(rng.permutation(every.astype(np.uint8)))
    pool = np.concatenate(drawn)
    words = pack(pool)
    first = np.zeros(len(pool), bool)
    first[np.unique(words, return_index=True)[1]] = True
    fresh = first & ~np.isin(words, pack(codes)) & ~np.isin(words, pack(picked))
    return pool[fresh][:missing]


def _describe(codes: Codes, picked: Codes, floor: int) -> Decoys:
    ratio = len(picked) / max(len(codes), 1)
    least = int(nearest_distance(picked, codes).min()) if len(picked) else 0
    space = 4 ** codes.shape[1]
    notes = []
    if ratio < ENOUGH:
        notes.append(
            f"only {len(picked)} decoys for {len(codes)} words, since there are {space} words in "
            "all: error rates are coarse"
        )
    elif least < floor:
        notes.append(f"decoys lie {least} from the library, whose words lie {floor} apart")
    if len(codes) * 20 > space:
        notes.append(
            f"the library takes up {len(codes) / space:.0%} of all words of {codes.shape[1]} "
            "bases: a wrong read often is a library word"
        )
    return Decoys(picked, ratio, least, "; ".join(notes))
