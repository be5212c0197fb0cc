"""Mean average precision of groups by chance: members are exchanged, or pairs drawn."""

from __future__ import annotations

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

__all__ = ["exchange_labels", "exchange_subsets", "mean_precision", "share_pairs"]

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


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


@kernel
def exchange_subsets(similar: Singles, size: int, subsets: int) -> Floats:
    """The same of all subsets of one stratum, in lexicographic order.

    The members of a subset are all positives of each other. There are many subsets of few
    profiles, so similarities are sorted first, and negatives are looked up rather than counted.
    """
    values, slots = np.empty(subsets), np.arange(size)
    ordered = _sorted_rows(similar)
    own, room = np.empty(size, np.float32), make_room(size)
    for which in range(subsets):
        values[which] = _subset_precision(similar, ordered, slots, own, room)
        next_subset(slots, len(similar))
    return values


@kernel
def _sorted_rows(similar: Singles) -> Singles:
    """(G, G - 1) similarities of each profile to all others, ascending."""
    pool = len(similar)
    ordered = np.empty((pool, pool - 1), np.float32)
    for a in range(pool):
        ordered[a, :a] = similar[a, :a]
        ordered[a, a:] = similar[a, a + 1 :]
        ordered[a].sort()
    return ordered


@kernel
def _subset_precision(
    similar: Singles, ordered: Singles, slots: Ints, own: Singles, room: Ladder
) -> float:
    """Mean over members whose positives are the others, and whose negatives are all the rest."""
    if len(slots) < 2 or len(slots) == len(similar):
        return np.nan
    total = 0.0
    for a in slots:
        m = 0
        for b in slots:
            if b != a:
                own[m] = similar[a, b]
                m += 1
        ladder = find_levels(own[:m], room)
        _look_up(ordered[a], ladder)
        total += precision_of(ladder)
    return total / len(slots)


@kernel
def _look_up(ordered: Singles, ladder: Ladder) -> None:
    """Count negatives in, by sorted similarities to them and to the positives."""
    reached = 0
    for d in range(len(ladder.level) - 1, -1, -1):
        at_least = len(ordered) - np.searchsorted(ordered, ladder.level[d])
        more = len(ordered) - np.searchsorted(ordered, ladder.level[d], side="right")
        ladder.tied[d] = at_least - more - ladder.right[d]
        ladder.between[d] = more - reached
        reached = at_least


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
