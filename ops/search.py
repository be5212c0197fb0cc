"""Kernel that finds the words of a codebook that could have given a read.

The likelihood of a word is a product over cycles, so all words whose likelihood is within a
budget of the best word's are reached by exchanging a few bases; each is looked up in a bit
filter. The budget is set so that a word left out has less than `NEGLIGIBLE` times the weight of
"none of these", whatever the read, or less than `OUTSHONE` times that of the word that the read
shows letter by letter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from poolvox.ops.words import lookup

__all__ = ["CANDIDATES", "NEGLIGIBLE", "Lexicon", "Rates", "search_words"]

# Candidates that are kept for each read, best first.
CANDIDATES = 6
# A word with less weight than this, relative to "none of these", is not looked for.
NEGLIGIBLE = 1e-2
# Nor is one with less weight than this over that of an exact match.
OUTSHONE = 1e-4
# Words that may be looked at for one read and alignment. Above it the budget shrinks by a factor,
# this many times at most: a read of which so many words cost nothing tells nothing.
MAX_WORDS = 20_000
SHRINK_BUDGET, SHRINKS = 0.75, 16
# Candidates that are held while a read is searched.
HELD = 64
# Alignments of a read to a word: base by base, with a base too many, with a base too few.
STRAIGHT, INSERTION, DELETION = 0, 1, 2
# Log-probability of a base that nothing is known of.
ANY_BASE = float(np.log(0.25))
# No weight is larger, so that 32 bits hold it.
LARGEST = 1e30


class Lexicon(NamedTuple):
    """The words of a codebook as the kernel wants them.

    Parameters
    ----------
    lift : (word,) log-prior of each word over that of a library word
    ends : (word,) int8 base behind the word, -1 where it is unknown
    filter, exact, keys, values : of the index of the words
    """

    lift: NDArray[np.float64]
    ends: NDArray[np.int8]
    filter: NDArray[np.uint8]
    exact: bool
    keys: NDArray[np.uint64]
    values: NDArray[np.int32]


class Rates(NamedTuple):
    """Log-priors.

    Parameters
    ----------
    word : of a library word over that of "none of these"
    insertion, deletion : of each at one place of a read; -inf for never
    """

    word: float
    insertion: float
    deletion: float


class _View(NamedTuple):
    """A way to align the read: its kind, what it adds to the log-weight, and the last cycle."""

    kind: int
    offset: float
    last: NDArray[np.float64]


class _Work(NamedTuple):
    """What a search writes to.

    Parameters
    ----------
    found, mass, part : (HELD,) candidates of the read, their weight, and (HELD, 3) the weight of
        each kind of alignment
    cost, place, flip : (3 * cycle,) exchanges of single bases, cheapest first
    spent, words, used, following : (cycle + 1,) the stack of exchanges that were made
    moved : (cycle, 4) the table of a read that lost or gained a base
    """

    found: NDArray[np.int32]
    mass: NDArray[np.float64]
    part: NDArray[np.float64]
    cost: NDArray[np.float64]
    place: NDArray[np.int64]
    flip: NDArray[np.uint64]
    spent: NDArray[np.float64]
    words: NDArray[np.uint64]
    used: NDArray[np.uint64]
    following: NDArray[np.int64]
    moved: NDArray[np.float64]


@njit(cache=True, nogil=True)
def _make_work(cycles):  # type: ignore[no-untyped-def]
    return _Work(
        np.empty(HELD, np.int32),
        np.zeros(HELD),
        np.zeros((HELD, 3)),
        np.empty(3 * cycles),
        np.empty(3 * cycles, np.int64),
        np.empty(3 * cycles, np.uint64),
        np.zeros(cycles + 1),
        np.zeros(cycles + 1, np.uint64),
        np.zeros(cycles + 1, np.uint64),
        np.zeros(cycles + 1, np.int64),
        np.empty((cycles, 4)),
    )


@njit(cache=True, nogil=True, inline="always")
def _find(word, lexicon):  # type: ignore[no-untyped-def]
    return lookup(word, lexicon.filter, lexicon.exact, lexicon.keys, lexicon.values)


@njit(cache=True, nogil=True)
def _best_word(table):  # type: ignore[no-untyped-def]
    """The word that a table shows letter by letter, and its log-likelihood."""
    word, top = uint64(0), 0.0
    for t in range(table.shape[0]):
        best = 0
        for b in range(1, 4):
            if table[t, b] > table[t, best]:
                best = b
        word |= uint64(best) << uint64(2 * t)
        top += table[t, best]
    return word, top


@njit(cache=True, nogil=True)
def _peak(table, t):  # type: ignore[no-untyped-def]
    """Log-likelihood of the base that a table shows in a cycle."""
    return max(max(table[t, 0], table[t, 1]), max(table[t, 2], table[t, 3]))


@njit(cache=True, nogil=True)
def _list_exchanges(table, word, work):  # type: ignore[no-untyped-def]
    """Fill in what exchanges of single bases cost, cheapest first."""
    m = 0
    for t in range(table.shape[0]):
        best = (word >> uint64(2 * t)) & uint64(3)
        for b in range(4):
            if uint64(b) == best:
                continue
            cost = table[t, best] - table[t, b]
            k = m
            while k > 0 and work.cost[k - 1] > cost:
                work.cost[k] = work.cost[k - 1]
                work.place[k] = work.place[k - 1]
                work.flip[k] = work.flip[k - 1]
                k -= 1
            work.cost[k] = cost
            work.place[k] = t
            work.flip[k] = (uint64(b) ^ best) << uint64(2 * t)
            m += 1


@njit(cache=True, nogil=True)
def _hold(work, kind, count, index, value):  # type: ignore[no-untyped-def]
    """Add weight to a candidate; the weakest makes room when there are too many."""
    for k in range(count):
        if work.found[k] == index:
            work.part[k, kind] += value
            work.mass[k] += value
            return count
    at = count
    if count == HELD:
        at = work.mass.argmin()
        if work.mass[at] >= value:
            return count
    work.found[at] = index
    work.part[at, :] = 0.0
    work.part[at, kind] = value
    work.mass[at] = value
    return min(count + 1, HELD)


@njit(cache=True, nogil=True)
def _hold_word(index, weight, view, lexicon, work, count):  # type: ignore[no-untyped-def]
    weight += lexicon.lift[index]
    if view.kind == DELETION:
        end = lexicon.ends[index]
        weight += view.last[end] if end >= 0 else ANY_BASE
    return _hold(work, view.kind, count, index, np.exp(weight))


@njit(cache=True, nogil=True)
def _walk_words(top, budget, view, lexicon, work, count):  # type: ignore[no-untyped-def]
    """Look up all words that cost no more than the budget, depth first; tell how many there were.

    The walk begins with `work.words[0]`, of log-weight `top`. Exchanges are made in rising order
    of cost, so that the first one that is too dear ends a branch.
    """
    # The loop is hot: plain arrays are passed on, since a tuple counts references to all of them.
    filter_, exact, keys, values = lexicon.filter, lexicon.exact, lexicon.keys, lexicon.values
    cost, place, flip = work.cost, work.place, work.flip
    spent, words, used, following = work.spent, work.words, work.used, work.following
    cycles, exchanges = len(spent) - 1, len(cost)
    index = lookup(words[0], filter_, exact, keys, values)
    if index >= 0:
        count = _hold_word(index, top, view, lexicon, work, count)
    seen, depth = 1, 0
    following[0] = 0
    while depth >= 0 and seen <= MAX_WORDS:
        i = following[depth]
        if i == exchanges or spent[depth] + cost[i] > budget:
            depth -= 1
            continue
        following[depth] = i + 1
        bit = uint64(1) << uint64(place[i])
        if used[depth] & bit:
            continue
        seen += 1
        word, so_far = words[depth] ^ flip[i], spent[depth] + cost[i]
        index = lookup(word, filter_, exact, keys, values)
        if index >= 0:
            count = _hold_word(index, top - so_far, view, lexicon, work, count)
        # Most words are the last of their branch.
        if depth + 1 < cycles and i + 1 < exchanges and so_far + cost[i + 1] <= budget:
            depth += 1
            spent[depth], words[depth], used[depth] = so_far, word, used[depth - 1] | bit
            following[depth] = i + 1
    return count, seen


@njit(cache=True, nogil=True)
def _search_view(table, limit, view, lexicon, work, count):  # type: ignore[no-untyped-def]
    """Hold all words whose log-weight in one alignment is at least `limit`; how far that went."""
    word, top = _best_word(table)
    top += view.offset
    budget = top - limit
    work.words[0] = word
    _list_exchanges(table, word, work)
    start = count
    for _ in range(SHRINKS):
        count, seen = _walk_words(top, budget, view, lexicon, work, start)
        if seen <= MAX_WORDS or view.kind != STRAIGHT:
            return count, budget
        # Start again with less; what was found stays out so that nothing counts twice.
        work.mass[start:] = 0.0
        budget *= SHRINK_BUDGET
    return start, 0.0


@njit(cache=True, nogil=True)
def _shift(table, place, deletion, out):  # type: ignore[no-untyped-def]
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
def _search_shifted(table, top, limit, offset, rates, lexicon, work, count):  # type: ignore[no-untyped-def]
    """Hold the words that the read shows with a base too many or too few."""
    last, cycles = table[-1], table.shape[0]
    for kind in (INSERTION, DELETION):
        extra = rates.insertion + ANY_BASE if kind == INSERTION else rates.deletion
        if extra == -np.inf:
            continue
        for place in range(cycles):
            # Without the base that is too many, or with the last one pushed out, less is shown.
            lost = _peak(table, place if kind == INSERTION else cycles - 1)
            if top - lost + offset + extra >= limit:
                _shift(table, place, kind == DELETION, work.moved)
                view = _View(kind, offset + extra, last)
                count, _ = _search_view(work.moved, limit, view, lexicon, work, count)
    return count


@njit(cache=True, nogil=True)
def _next_best(work, count):  # type: ignore[no-untyped-def]
    """The heaviest candidate; of equals the first word."""
    best = -1
    for j in range(count):
        if work.mass[j] > 0 and (
            best < 0
            or work.mass[j] > work.mass[best]
            or (work.mass[j] == work.mass[best] and work.found[j] < work.found[best])
        ):
            best = j
    return best


@njit(cache=True, nogil=True)
def _rank(work, count, found, mass, shift):  # type: ignore[no-untyped-def]
    """Fill in the best candidates of a read; return the weight of all others."""
    for k in range(min(count, CANDIDATES)):
        best = _next_best(work, count)
        if best < 0:
            break
        found[k] = work.found[best]
        mass[k] = min(work.mass[best], LARGEST)
        if k == 0:
            shift[0] = work.part[best, INSERTION] / work.mass[best]
            shift[1] = work.part[best, DELETION] / work.mass[best]
        work.mass[best] = -1.0
    rest = 0.0
    for j in range(count):
        rest += max(work.mass[j], 0.0)
    return min(rest, LARGEST)


@njit(cache=True, nogil=True)
def search_words(tables, rates, lexicon):  # type: ignore[no-untyped-def]
    """Find the candidates of every read.

    Parameters
    ----------
    tables : (read, cycle, 4) log-probability of each base, over that of "none of these"
    rates : `Rates`
    lexicon : `Lexicon`

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
    work = _make_work(cycles)
    table = np.empty((cycles, 4))
    # Weights are relative to "none", under which every word of this length is as likely.
    offset = rates.word + cycles * np.log(4.0)
    for i in range(n):
        table[:] = tables[i]
        word, top = _best_word(table)
        limit = np.log(NEGLIGIBLE)
        index = _find(word, lexicon)
        if index >= 0:
            limit = max(limit, top + offset + lexicon.lift[index] + np.log(OUTSHONE))
        count, limits[i] = 0, limit
        if top + offset >= limit:
            view = _View(STRAIGHT, offset, table[-1])
            count, budget = _search_view(table, limit, view, lexicon, work, 0)
            limits[i] = top + offset - budget
        count = _search_shifted(table, top, limit, offset, rates, lexicon, work, count)
        rest[i] = _rank(work, count, found[i], mass[i], shift[i])
    return found, mass, rest, shift, limits
