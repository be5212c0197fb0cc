"""Kernel that finds the words of a codebook that could have given a read.

The likelihood of a word is a product over cycles, so all words whose likelihood is within a
budget of the best word's are reached by exchanging a few bases; each is looked up in a bit
filter. The budget is set so that a word left out has less than `NEGLIGIBLE` times the weight of
"none of these", whatever the read, or less than `OUTSHONE` times that of the word that the read
shows letter by letter.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from poolvox.ops.words import lookup

__all__ = ["CANDIDATES", "NEGLIGIBLE", "search_words"]

# Candidates that are kept for each read, best first.
CANDIDATES = 6
# A word with less weight than this, relative to "none of these", is not looked for.
NEGLIGIBLE = 1e-2
# Nor is one with less weight than this over that of an exact match.
OUTSHONE = 1e-4
# Words that may be looked at for one read and alignment; above it the budget shrinks.
MAX_WORDS = 20_000
SHRINK_BUDGET = 0.75
# Candidates that are held while a read is searched.
HELD = 64


@njit(cache=True, nogil=True)
def _alternatives(table, cost, place, flip):  # type: ignore[no-untyped-def]
    """Best word, its log-likelihood, and what exchanges of single bases cost, cheapest first."""
    word = uint64(0)
    top = 0.0
    m = 0
    for t in range(table.shape[0]):
        best = 0
        for b in range(1, 4):
            if table[t, b] > table[t, best]:
                best = b
        word |= uint64(best) << uint64(2 * t)
        top += table[t, best]
        for b in range(4):
            if b == best:
                continue
            c = table[t, best] - table[t, b]
            k = m
            while k > 0 and cost[k - 1] > c:
                cost[k], place[k], flip[k] = cost[k - 1], place[k - 1], flip[k - 1]
                k -= 1
            cost[k] = c
            place[k] = t
            flip[k] = uint64(b ^ best) << uint64(2 * t)
            m += 1
    return word, top


@njit(cache=True, nogil=True)
def _hold(found, mass, part, kind, count, index, value):  # type: ignore[no-untyped-def]
    """Add weight to a candidate; the weakest makes room when there are too many."""
    for k in range(count):
        if found[k] == index:
            part[k, kind] += value
            mass[k] += value
            return count
    if count == HELD:
        weak = 0
        for k in range(1, count):
            if mass[k] < mass[weak]:
                weak = k
        if mass[weak] >= value:
            return count
        at = weak
    else:
        at = count
        count += 1
    found[at] = index
    part[at, :] = 0.0
    part[at, kind] = value
    mass[at] = value
    return count


@njit(cache=True, nogil=True)
def _enumerate(  # type: ignore[no-untyped-def]
    table,
    offset,
    lift,
    ends,
    last,
    kind,
    limit,
    filter_,
    exact,
    keys,
    values,
    found,
    mass,
    part,
    count,
):
    """Look up all words of `table` whose log-weight is at least `limit`.

    `lift` is added to the log-weight of each word; `ends` is the base behind each word, and `last`
    how likely the last cycle has each base (for deletions only).
    """
    cycles = table.shape[0]
    top = 0.0
    for t in range(cycles):
        top += max(max(table[t, 0], table[t, 1]), max(table[t, 2], table[t, 3]))
    if top + offset < limit:
        return count, top + offset - limit
    cost = np.empty(3 * cycles)
    place = np.empty(3 * cycles, np.int64)
    flip = np.empty(3 * cycles, np.uint64)
    word, top = _alternatives(table, cost, place, flip)
    budget = top + offset - limit
    spent = np.zeros(cycles + 1)
    words = np.zeros(cycles + 1, np.uint64)
    used = np.zeros(cycles + 1, np.uint64)
    following = np.zeros(cycles + 1, np.int64)
    while True:
        seen = 1
        start = count
        depth = 0
        following[0] = 0
        words[0] = word
        entered = True
        while depth >= 0 and seen <= MAX_WORDS:
            if entered:
                entered = False
                index = lookup(words[depth], filter_, exact, keys, values)
                if index >= 0:
                    weight = top + offset - spent[depth] + lift[index]
                    if kind == 2:
                        end = ends[index]
                        weight += last[end] if end >= 0 else np.log(0.25)
                    count = _hold(found, mass, part, kind, count, index, np.exp(weight))
            i = following[depth]
            if i >= 3 * cycles or depth >= cycles or spent[depth] + cost[i] > budget:
                depth -= 1
                continue
            following[depth] = i + 1
            bit = uint64(1) << uint64(place[i])
            if used[depth] & bit:
                continue
            spent[depth + 1] = spent[depth] + cost[i]
            words[depth + 1] = words[depth] ^ flip[i]
            used[depth + 1] = used[depth] | bit
            following[depth + 1] = i + 1
            depth += 1
            seen += 1
            entered = True
        if seen <= MAX_WORDS or kind > 0:
            return count, budget
        # Start again with less; what was found stays out so that nothing counts twice.
        count = start
        for k in range(count, HELD):
            mass[k] = 0.0
        budget *= SHRINK_BUDGET


@njit(cache=True, nogil=True)
def _shifted(table, place, deletion, out):  # type: ignore[no-untyped-def]
    """The table seen from the barcode when the read lost (or gained) a base at `place`."""
    cycles = table.shape[0]
    for t in range(cycles):
        source = t
        if deletion:
            source = t - 1 if t > place else t
            missing = t == place
        else:
            source = t + 1 if t >= place else t
            missing = source >= cycles
        for b in range(4):
            out[t, b] = 0.0 if missing else table[source, b]


@njit(cache=True, nogil=True)
def search_words(  # type: ignore[no-untyped-def]
    tables, prior, lift, insertion, deletion, ends, filter_, exact, keys, values
):
    """Find the candidates of every read.

    Parameters
    ----------
    tables : (read, cycle, 4) log-probability of each base
    prior : log-prior of a word over the prior of "none of these"; `lift` (word,) is added to it
    insertion, deletion : log-probability of each at one place of a read; -inf for never
    ends : (word,) int8 base behind the word, -1 unknown
    filter_, exact, keys, values : of the index of words

    Returns
    -------
    found : (read, CANDIDATES) int32 words, best first, -1 for none
    mass : (read, CANDIDATES) float32 weight of each over that of "none of these"
    rest : (read,) float32 weight of all other candidates that were held
    shift : (read, 2) share of the best candidate's weight that comes from insertions, deletions
    limits : (read,) log-weight, relative to "none of these", above which all words were looked at
    """
    n, cycles, _ = tables.shape
    found = np.full((n, CANDIDATES), -1, np.int32)
    mass = np.zeros((n, CANDIDATES), np.float32)
    rest = np.zeros(n, np.float32)
    shift = np.zeros((n, 2), np.float32)
    limits = np.empty(n, np.float32)
    hold_found = np.empty(HELD, np.int32)
    hold_mass = np.empty(HELD)
    hold_part = np.zeros((HELD, 3))
    table = np.empty((cycles, 4))
    moved = np.empty((cycles, 4))
    # Weights are relative to "none", under which every word of this length is as likely.
    offset = prior + cycles * np.log(4.0)
    for i in range(n):
        top = 0.0
        word = uint64(0)
        for t in range(cycles):
            best = 0
            for b in range(4):
                table[t, b] = tables[i, t, b]
                if table[t, b] > table[t, best]:
                    best = b
            top += table[t, best]
            word |= uint64(best) << uint64(2 * t)
        limit = np.log(NEGLIGIBLE)
        index = lookup(word, filter_, exact, keys, values)
        if index >= 0:
            limit = max(limit, top + offset + lift[index] + np.log(OUTSHONE))
        count, budget = _enumerate(
            table,
            offset,
            lift,
            ends,
            table[cycles - 1],
            0,
            limit,
            filter_,
            exact,
            keys,
            values,
            hold_found,
            hold_mass,
            hold_part,
            0,
        )
        limits[i] = top + offset - budget
        for kind in range(1, 3):
            rate = insertion if kind == 1 else deletion
            if rate == -np.inf:
                continue
            for place in range(cycles):
                _shifted(table, place, kind == 2, moved)
                extra = offset + rate + (np.log(0.25) if kind == 1 else 0.0)
                count, _ = _enumerate(
                    moved,
                    extra,
                    lift,
                    ends,
                    table[cycles - 1],
                    kind,
                    limit,
                    filter_,
                    exact,
                    keys,
                    values,
                    hold_found,
                    hold_mass,
                    hold_part,
                    count,
                )
        for k in range(min(count, CANDIDATES)):
            best = -1
            for j in range(count):
                if hold_mass[j] > 0 and (
                    best < 0
                    or hold_mass[j] > hold_mass[best]
                    or (hold_mass[j] == hold_mass[best] and hold_found[j] < hold_found[best])
                ):
                    best = j
            if best < 0:
                break
            found[i, k] = hold_found[best]
            mass[i, k] = min(hold_mass[best], 1e30)
            if k == 0:
                shift[i, 0] = hold_part[best, 1] / hold_mass[best]
                shift[i, 1] = hold_part[best, 2] / hold_mass[best]
            hold_mass[best] = -1.0
        for j in range(count):
            if hold_mass[j] > 0:
                rest[i] += hold_mass[j]
    return found, mass, rest, shift, limits
