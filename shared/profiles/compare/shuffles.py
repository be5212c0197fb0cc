"""Mean average precision of groups by chance: members are exchanged, or pairs drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel
from poolvox.shared.profiles.compare.chance import next_subset
from poolvox.shared.profiles.compare.ranking import (
    Ladder,
    find_levels,
    make_room,
    place_negative,
    precision_of,
)

__all__ = [
    "Ranked",
    "exchange_alike",
    "exchange_labels",
    "exchange_subsets",
    "mean_precision",
    "rank_rows",
    "share_pairs",
]

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Places = NDArray[np.int32]


@kernel
def _mean_precision(
    similar: Singles, stratum: Ints, slots: Ints, pattern: Bools, taken: Bools
) -> float:
    """Mean over the slots that have a positive and a negative; `taken` marks the slots."""
    size = len(slots)
    values, room = np.empty(size, np.float32), make_room(size)
    total, counted = 0.0, 0
    for a in range(size):
        m = 0
        for b in range(size):
            if pattern[a, b]:
                values[m] = similar[slots[a], slots[b]]
                m += 1
        if m == 0:
            continue
        ladder = find_levels(values[:m], room)
        n = 0
        for j in range(len(stratum)):
            if stratum[j] == stratum[slots[a]] and not taken[j]:
                n += 1
                place_negative(similar[slots[a], j], ladder)
        if n:
            total += precision_of(ladder)
            counted += 1
    return total / counted if counted else np.nan


@kernel
def mean_precision(similar: Singles, stratum: Ints, slots: Ints, pattern: Bools) -> float:
    """Mean average precision of the members that `slots` name; see `exchange_labels`."""
    taken = np.zeros(len(stratum), np.bool_)
    for slot in slots:
        taken[slot] = True
    return _mean_precision(similar, stratum, slots, pattern, taken)


@kernel
def exchange_labels(
    similar: Singles,
    stratum: Ints,
    slots: Ints,
    pattern: Bools,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Mean average precision with the members replaced by others of their strata, drawn at random.

    Parameters
    ----------
    similar : (G, G) similarities of the members and their negatives
    stratum : (G,) members are exchanged within it, and have their negatives in it
    slots : (n,) the members
    pattern : (n, n) whether the second is a positive of the first
    """
    values = np.empty(draws)
    size, pool = len(slots), len(stratum)
    for which in range(draws):
        taken = np.zeros(pool, np.bool_)
        drawn = np.empty(size, np.int64)
        for a in range(size):
            j = rng.integers(0, pool)
            while taken[j] or stratum[j] != stratum[slots[a]]:
                j = rng.integers(0, pool)
            taken[j] = True
            drawn[a] = j
        values[which] = _mean_precision(similar, stratum, drawn, pattern, taken)
    return values


class Ranked(NamedTuple):
    """Similarities of profiles as numbers of others that come first: negatives need no counting.

    Attributes
    ----------
    before : (G, G) how many others are more like the first profile than the second is
    upto : (G, G) how many are at least as like it, by the number of those that are more like it
    """

    before: Places
    upto: Places


@kernel
def rank_rows(similar: Singles) -> Ranked:
    """Rank all others by their similarity to each profile, (G, G); the diagonal is not read."""
    pool = len(similar)
    before, upto = np.zeros((pool, pool), np.int32), np.zeros((pool, pool), np.int32)
    for a in range(pool):
        row = similar[a].copy()
        row[a] = -np.inf  # last of all, and so before nobody
        order = np.argsort(row)[::-1]
        first = 0
        for k in range(pool - 1):
            if row[order[k]] != row[order[first]]:
                first = k
            before[a, order[k]] = first
            upto[a, first] = k + 1
    return Ranked(before, upto)


@kernel
def exchange_alike(ranked: Ranked, size: int, draws: int, rng: np.random.Generator) -> Floats:
    """As `exchange_labels`, of members in one stratum that are all positives of each other."""
    values, pool = np.empty(draws), len(ranked.before)
    own, room = np.empty(size, np.float32), make_room(size)
    taken, drawn = np.zeros(pool, np.bool_), np.empty(size, np.int64)
    for which in range(draws):
        for a in range(size):
            j = rng.integers(0, pool)
            while taken[j]:
                j = rng.integers(0, pool)
            taken[j] = True
            drawn[a] = j
        values[which] = _alike_precision(ranked, drawn, own, room)
        for j in drawn:
            taken[j] = False
    return values


@kernel
def exchange_subsets(ranked: Ranked, size: int, subsets: int) -> Floats:
    """The same of all subsets of so many members, in lexicographic order."""
    values, slots = np.empty(subsets), np.arange(size)
    own, room = np.empty(size, np.float32), make_room(size)
    for which in range(subsets):
        values[which] = _alike_precision(ranked, slots, own, room)
        next_subset(slots, len(ranked.before))
    return values


@kernel
def _alike_precision(ranked: Ranked, slots: Ints, own: Singles, room: Ladder) -> float:
    """Mean over members whose positives are the others, and whose negatives are all the rest."""
    if len(slots) < 2 or len(slots) == len(ranked.before):
        return np.nan
    total = 0.0
    for a in slots:
        m = 0
        for b in slots:
            if b != a:
                own[m] = -ranked.before[a, b]
                m += 1
        ladder = find_levels(own[:m], room)
        _look_up(ranked.upto[a], ladder)
        total += precision_of(ladder)
    return total / len(slots)


@kernel
def _look_up(upto: Places, ladder: Ladder) -> None:
    """Count negatives in; levels are places of positives, negative so that the best is last."""
    reached = 0
    for d in range(len(ladder.level) - 1, -1, -1):
        before = int(-ladder.level[d])
        ladder.tied[d] = upto[before] - before - ladder.right[d]
        ladder.between[d] = before - reached
        reached = upto[before]


@kernel
def share_pairs(pattern: Bools, negatives: Ints, draws: int, rng: np.random.Generator) -> Floats:
    """Mean average precision when every unordered pair is as similar as chance has it.

    The similarity of two members is one number, which both rankings share: that is what makes
    their precisions depend on each other.

    Parameters
    ----------
    pattern : (n, n) whether the second is a positive of the first
    negatives : (n,) negatives of each member
    """
    size = len(pattern)
    values = np.empty(draws)
    similar, own = np.empty((size, size)), np.empty(size)
    for which in range(draws):
        for a in range(size):
            for b in range(a):
                similar[a, b] = similar[b, a] = rng.random()
        total, counted = 0.0, 0
        for a in range(size):
            m = 0
            for b in range(size):
                if pattern[a, b]:
                    own[m] = similar[a, b]
                    m += 1
            if m == 0 or negatives[a] == 0:
                continue
            ordered = np.sort(own[:m])
            left, above, last, precision = negatives[a], 0, 1.0, 0.0
            for k in range(m):
                level = ordered[m - 1 - k]
                between = rng.binomial(left, (last - level) / last) if left else 0
                left, above, last = left - between, above + between, level
                precision += (k + 1) / (k + 1 + above)
            total += precision / m
            counted += 1
        values[which] = total / counted if counted else np.nan
    return values
