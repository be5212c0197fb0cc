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
from poolvox.shared.profiles.compare.pairs import Design

__all__ = [
    "Ladder",
    "find_levels",
    "make_room",
    "place_negative",
    "precision_of",
    "rank_block",
]

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
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
def precision_of(ladder: Ladder) -> float:
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
def make_room(size: int) -> Ladder:
    """A ladder that `find_levels` may use the first levels of."""
    return Ladder(
        np.empty(size, np.float32),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
    )


@kernel
def find_levels(values: Singles, room: Ladder) -> Ladder:
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
def place_negative(value: float, ladder: Ladder) -> None:
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
        place_negative(line[row[j]], ladder)
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
    values, room = np.empty(largest, np.float32), make_room(largest)
    most = np.max(design.neg_start[1:] - design.neg_start[:-1])
    own, column = np.empty(most, np.float32), row[design.neg_member].astype(np.int32)
    for q in range(len(queries)):
        i = queries[q]
        line = products[lines[q]]
        m = _positives(i, line, row, design, values)
        if m == 0:
            continue
        ladder = find_levels(values[:m], room)
        if len(ladder.level) <= FEW_LEVELS and design.neg_differ.shape[1] < 2:
            n = _count_negatives(i, line, column, design, own, ladder)
            n -= _uncount_positives(i, line, row, design, ladder)
        else:
            n = _place_negatives(i, line, row, design, ladder)
        positives[q], pairs[q] = m, m + n
        if n:
            precision[q] = precision_of(ladder)
    return precision, positives, pairs
