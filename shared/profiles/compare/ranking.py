"""Average precision of rankings, without ever sorting one.

Only where the positives lie matters: every negative is counted into the gap between two positives
that it falls in. Where negatives and positives are exactly as similar, the precision is the mean
over all orders they could stand in, so that ties favour nobody (McSherry and Najork 2008,
doi:10.1007/978-3-540-78646-7_38).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.kernels import kernel
from poolvox.shared.profiles.compare.chance import next_subset
from poolvox.shared.profiles.compare.pairs import Design

__all__ = [
    "exchange_labels",
    "exchange_subsets",
    "mean_precision",
    "rank_block",
    "share_pairs",
]

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Places = NDArray[np.int32]

# Levels up to which it is faster to compare every negative with each than to search for its place.
FEW_LEVELS: Final = 24


class Ladder(NamedTuple):
    """The different similarities of a profile's positives, and what lies with and above each.

    Attributes
    ----------
    level : (L,) ascending
    right : (L,) positives at each level
    tied : (L,) negatives at each
    between : (L,) negatives above each, below the next
    """

    level: Singles
    right: Ints
    tied: Ints
    between: Ints


@kernel
def _precision_of(ladder: Ladder) -> float:
    """Average precision."""
    seen, found, total = 0, 0, 0.0
    for d in range(len(ladder.level) - 1, -1, -1):
        seen += ladder.between[d]
        r, n = ladder.right[d], ladder.right[d] + ladder.tied[d]
        if n == 1:
            total += (found + 1) / (seen + 1)
        else:
            for i in range(n):
                before = i * (r - 1) / (n - 1)
                total += r / n * (found + 1 + before) / (seen + 1 + i)
        seen += n
        found += r
    return total / found


@kernel
def _room(size: int) -> Ladder:
    """A ladder that `_raise` may use the first levels of."""
    return Ladder(
        np.empty(size, np.float32),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
    )


@kernel
def _raise(values: Singles, room: Ladder) -> Ladder:
    """Distinct values, ascending, and how often each occurs; no negatives yet."""
    values.sort()
    size = 0
    for value in values:
        if size and room.level[size - 1] == value:
            room.right[size - 1] += 1
        else:
            room.level[size] = value
            room.right[size] = 1
            size += 1
    room.tied[:size] = 0
    room.between[:size] = 0
    return Ladder(room.level[:size], room.right[:size], room.tied[:size], room.between[:size])


@kernel
def _place(value: float, ladder: Ladder) -> None:
    """Count a negative in; below all positives it does not matter."""
    level = ladder.level
    if value < level[0]:
        return
    low, high = 0, len(level)
    while low < high:
        middle = (low + high) >> 1
        if level[middle] <= value:
            low = middle + 1
        else:
            high = middle
    if level[low - 1] == value:
        ladder.tied[low - 1] += 1
    else:
        ladder.between[low - 1] += 1


@kernel
def _count(own: Singles, ladder: Ladder) -> None:
    """Count all negatives in, level by level: the processor compares many of them at once."""
    reached = 0
    for d in range(len(ladder.level) - 1, -1, -1):
        level, at_least, more = ladder.level[d], 0, 0
        for k in range(len(own)):
            at_least += own[k] >= level
            more += own[k] > level
        ladder.tied[d] = at_least - more
        ladder.between[d] = more - reached
        reached = at_least


@kernel
def _uncount(value: float, ladder: Ladder) -> None:
    """Take one back that is no negative."""
    for d in range(len(ladder.level) - 1, -1, -1):
        if value > ladder.level[d]:
            ladder.between[d] -= 1
            return
        if value == ladder.level[d]:
            ladder.tied[d] -= 1
            return


@kernel
def _fetch(line: Singles, column: Places, low: int, high: int, own: Singles, at: int) -> None:
    for k in range(low, high):
        own[at + k - low] = line[column[k]]


@kernel
def _differs(one: int, other: int, codes: Ints) -> bool:
    same = 0
    for c in range(codes.shape[1]):
        same += codes[one, c] == codes[other, c]
    return same == 0


@kernel
def _is_positive(i: int, j: int, design: Design) -> bool:
    """Of two profiles of one group of positives."""
    return j != i and _differs(i, j, design.pos_differ)


@kernel
def _positives(i: int, line: Singles, row: Ints, design: Design, values: Singles) -> int:
    """Similarities of a profile's positives; their number."""
    m, group = 0, design.pos_group[i]
    for k in range(design.pos_start[group], design.pos_start[group + 1]):
        j = design.pos_member[k]
        if _is_positive(i, j, design):
            values[m] = line[row[j]]
            m += 1
    return m


@kernel
def _uncount_positives(i: int, line: Singles, row: Ints, design: Design, ladder: Ladder) -> int:
    """Take back a profile and its positives, which are no negatives; their number."""
    n, group = 0, design.pos_group[i]
    for k in range(design.pos_start[group], design.pos_start[group + 1]):
        j = design.pos_member[k]
        counted = design.neg_group[j] == design.neg_group[i] and _differs(i, j, design.neg_differ)
        if counted and (j == i or _is_positive(i, j, design)):
            _uncount(line[row[j]], ladder)
            n += 1
    return n


@kernel
def _place_negatives(i: int, line: Singles, row: Ints, design: Design, ladder: Ladder) -> int:
    """Count a profile's negatives in one by one; their number."""
    n, group = 0, design.neg_group[i]
    for k in range(design.neg_start[group], design.neg_start[group + 1]):
        j = design.neg_member[k]
        if j == i or not _differs(i, j, design.neg_differ):
            continue
        if design.pos_group[j] == design.pos_group[i] and _is_positive(i, j, design):
            continue
        _place(line[row[j]], ladder)
        n += 1
    return n


@kernel
def _count_negatives(
    i: int, line: Singles, column: Places, design: Design, own: Singles, ladder: Ladder
) -> int:
    """Count all in that differ from a profile in the one column that there is; their number."""
    group = design.neg_group[i]
    start, stop = design.neg_start[group], design.neg_start[group + 1]
    low, high = design.neg_low[i], design.neg_high[i]
    n = int(low - start + stop - high)
    _fetch(line, column, start, low, own, 0)
    _fetch(line, column, high, stop, own, low - start)
    _count(own[:n], ladder)
    return n


@kernel
def rank_block(
    products: Singles, lines: Ints, queries: Ints, row: Ints, design: Design
) -> tuple[Floats, Ints, Ints]:
    """Average precision, number of positives, and of both, of some queries.

    Parameters
    ----------
    products : (B, U) similarities of distinct profiles
    lines : (Q,) which of the B each query is
    queries : (Q,) profiles
    row : (N,) which of the U each profile is
    """
    precision = np.full(len(queries), np.nan)
    positives, pairs = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.int64)
    largest = np.max(design.pos_start[1:] - design.pos_start[:-1])
    values, room = np.empty(largest, np.float32), _room(largest)
    most = np.max(design.neg_start[1:] - design.neg_start[:-1])
    own, column = np.empty(most, np.float32), row[design.neg_member].astype(np.int32)
    for q in range(len(queries)):
        i = queries[q]
        line = products[lines[q]]
        m = _positives(i, line, row, design, values)
        if m == 0:
            continue
        ladder = _raise(values[:m], room)
        if len(ladder.level) <= FEW_LEVELS and design.neg_differ.shape[1] < 2:
            n = _count_negatives(i, line, column, design, own, ladder)
            n -= _uncount_positives(i, line, row, design, ladder)
        else:
            n = _place_negatives(i, line, row, design, ladder)
        positives[q], pairs[q] = m, m + n
        if n:
            precision[q] = _precision_of(ladder)
    return precision, positives, pairs


@kernel
def _mean_precision(
    similar: Singles, stratum: Ints, slots: Ints, pattern: Bools, taken: Bools
) -> float:
    """Mean over the slots that have a positive and a negative; `taken` marks the slots."""
    size = len(slots)
    values, room = np.empty(size, np.float32), _room(size)
    total, counted = 0.0, 0
    for a in range(size):
        m = 0
        for b in range(size):
            if pattern[a, b]:
                values[m] = similar[slots[a], slots[b]]
                m += 1
        if m == 0:
            continue
        ladder = _raise(values[:m], room)
        n = 0
        for j in range(len(stratum)):
            if stratum[j] == stratum[slots[a]] and not taken[j]:
                n += 1
                _place(similar[slots[a], j], ladder)
        if n:
            total += _precision_of(ladder)
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
def exchange_subsets(similar: Singles, size: int, pattern: Bools, subsets: int) -> Floats:
    """The same of all subsets of one stratum, in lexicographic order."""
    values, pool = np.empty(subsets), len(similar)
    stratum, slots = np.zeros(pool, np.int64), np.arange(size)
    for which in range(subsets):
        taken = np.zeros(pool, np.bool_)
        for a in range(size):
            taken[slots[a]] = True
        values[which] = _mean_precision(similar, stratum, slots, pattern, taken)
        next_subset(slots, pool)
    return values


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
