"""Kernels that share reads out among neighbouring cells and weigh what each cell carries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "Entries",
    "Others",
    "Priors",
    "cell_evidence",
    "cell_gains",
    "local_barcodes",
    "nearest_labels",
    "read_totals",
]

# Barcodes that are weighed for a cell, and how many of them are tried in pairs.
BARCODES = 4
PAIRED = 3


class Entries(NamedTuple):
    """The reads of a tile by cell.

    Parameters
    ----------
    start : (cell + 1,) where the entries of each cell begin
    read, density : (entry,) the read, and reads per pixel at its distance from the cell
    words, ratios : (read, candidate) -1 for none, likelihood over that of any sequence
    barcode : (cell, BARCODES) words that are weighed for each cell, -1 for none
    """

    start: NDArray[np.int64]
    read: NDArray[np.int64]
    density: NDArray[np.float64]
    words: NDArray[np.int32]
    ratios: NDArray[np.float64]
    barcode: NDArray[np.int32]


class Priors(NamedTuple):
    """Chances of a cell with nothing, with any one word, with any one pair of words."""

    none: float
    one: float
    two: float


class Others(NamedTuple):
    """Chances that a cell shows its barcodes without carrying them; arrays are (cell, BARCODES).

    Parameters
    ----------
    glow, unseen : that the barcode is glow, and that it is of a cell that has no label
    apart : the product of two is the chance that the cell is two that were found as one, each with
        a barcode of its own
    """

    glow: NDArray[np.float64]
    unseen: NDArray[np.float64]
    apart: NDArray[np.float64]


@njit(cache=True, nogil=True)
def nearest_labels(labels, y, x, reach, most):  # type: ignore[no-untyped-def]
    """Labels within `reach` pixels of each point, nearest first, and their distances.

    The distance is to the nearest pixel of the label, zero inside it.
    """
    n = len(y)
    cells = np.zeros((n, most), np.int32)
    distance = np.full((n, most), np.inf, np.float32)
    span = int(np.ceil(reach))
    height, width = labels.shape
    for i in range(n):
        row, column = int(np.rint(y[i])), int(np.rint(x[i]))
        inside = 0
        if 0 <= row < height and 0 <= column < width:
            inside = labels[row, column]
        if inside > 0:
            cells[i, 0], distance[i, 0] = inside, 0.0
        for r in range(max(0, row - span), min(height, row + span + 1)):
            for c in range(max(0, column - span), min(width, column + span + 1)):
                label = labels[r, c]
                if label == 0 or label == inside:
                    continue
                square = (r - y[i]) ** 2 + (c - x[i]) ** 2
                if square > reach * reach:
                    continue
                d = np.sqrt(square)
                known = -1
                for k in range(most):
                    if cells[i, k] == label:
                        known = k
                if known < 0 and distance[i, most - 1] > d:
                    known = most - 1
                    cells[i, known] = label
                    distance[i, known] = np.inf
                if known < 0 or distance[i, known] <= d:
                    continue
                distance[i, known] = d
                while known > 0 and (
                    distance[i, known - 1] > d
                    or (distance[i, known - 1] == d and cells[i, known - 1] > label)
                ):
                    cells[i, known] = cells[i, known - 1]
                    distance[i, known] = distance[i, known - 1]
                    cells[i, known - 1] = label
                    distance[i, known - 1] = d
                    known -= 1
    return cells, distance


@njit(cache=True, nogil=True)
def local_barcodes(start, entry_read, entry_weight, words, ratios):  # type: ignore[no-untyped-def]
    """The barcodes that weigh most in each cell, best first, and their first rates.

    Parameters
    ----------
    start : (cell + 1,) where the entries of a cell begin
    entry_read, entry_weight : read of each entry, and what its distance earns it
    words : (read, candidate) -1 for none; ratios : weight of each candidate
    """
    n = len(start) - 1
    barcode = np.full((n, BARCODES), -1, np.int32)
    rate = np.zeros((n, BARCODES))
    for c in range(n):
        size = (start[c + 1] - start[c]) * words.shape[1]
        seen = np.empty(size, np.int32)
        weight = np.zeros(size)
        m = 0
        for e in range(start[c], start[c + 1]):
            r = entry_read[e]
            total = 1.0
            for k in range(words.shape[1]):
                total += ratios[r, k]
            for k in range(words.shape[1]):
                if words[r, k] < 0:
                    break
                at = -1
                for j in range(m):
                    if seen[j] == words[r, k]:
                        at = j
                if at < 0:
                    at = m
                    seen[m] = words[r, k]
                    m += 1
                weight[at] += entry_weight[e] * ratios[r, k] / total
        for g in range(min(m, BARCODES)):
            best = -1
            for j in range(m):
                if weight[j] >= 0 and (
                    best < 0
                    or weight[j] > weight[best]
                    or (weight[j] == weight[best] and seen[j] < seen[best])
                ):
                    best = j
            barcode[c, g] = seen[best]
            rate[c, g] = weight[best]
            weight[best] = -1.0
    return barcode, rate


@njit(cache=True, nogil=True, inline="always")
def _ratio(words, ratios, r, word):  # type: ignore[no-untyped-def]
    for k in range(words.shape[1]):
        if words[r, k] == word:
            return ratios[r, k]
    return 0.0


@njit(cache=True, nogil=True)
def read_totals(tile, rate, stray, ambient):  # type: ignore[no-untyped-def]
    """How much of each read the cells explain, and each cell of its entries.

    Parameters
    ----------
    tile : `Entries`
    rate : (cell, BARCODES) reads with each barcode over those of the mean cell
    stray : (read,) reads per pixel of any sequence where each read lies
    ambient : reads per pixel of any one word of the codebook
    """
    words, ratios = tile.words, tile.ratios
    total = stray.copy()
    for r in range(len(words)):
        for k in range(words.shape[1]):
            total[r] += ambient * ratios[r, k]
    own = np.zeros(len(tile.read))
    for c in range(len(tile.start) - 1):
        for e in range(tile.start[c], tile.start[c + 1]):
            r = tile.read[e]
            for g in range(BARCODES):
                word = tile.barcode[c, g]
                if word >= 0 and rate[c, g] > 0:
                    own[e] += tile.density[e] * rate[c, g] * _ratio(words, ratios, r, word)
            total[r] += own[e]
    return total, own


@njit(cache=True, nogil=True)
def _evidence(gain, amount):  # type: ignore[no-untyped-def]
    """Log of the product of (1 + amount * gain) over the reads of a cell."""
    logs, product = 0.0, 1.0
    for value in gain:
        product *= 1.0 + amount * value
        if product > 1e200:
            logs += np.log(product)
            product = 1.0
    return logs + np.log(product)


@njit(cache=True, nogil=True)
def cell_gains(c, tile, total, own):  # type: ignore[no-untyped-def]
    """(barcode, read) how much likelier each barcode of a cell makes its reads than all else."""
    first = tile.start[c]
    gain = np.zeros((BARCODES, tile.start[c + 1] - first))
    for i in range(gain.shape[1]):
        e = first + i
        r = tile.read[e]
        other = max(total[r] - own[e], 1e-300)
        for g in range(BARCODES):
            if tile.barcode[c, g] >= 0:
                ratio = _ratio(tile.words, tile.ratios, r, tile.barcode[c, g])
                gain[g, i] = tile.density[e] * ratio / other
    return gain


@njit(cache=True, nogil=True)
def _prior(g, h, priors, others):  # type: ignore[no-untyped-def]
    """Chance that a cell shows one word or two, whether it carries them or they are not its own."""
    if g == h:
        return priors.one + priors.none * (others.glow[g] + others.unseen[g])
    first, second = others.glow[g] + others.unseen[g], others.glow[h] + others.unseen[h]
    one = priors.one * (first + second + others.apart[g] * others.apart[h])
    return priors.two + one + priors.none * first * second


@njit(cache=True, nogil=True)
def _weigh_states(gain, known, amounts, expected, priors, others, logs):  # type: ignore[no-untyped-def]
    """Fill in the log-weight (barcode, barcode, amount) of one barcode alone, and of two."""
    logs[:] = -np.inf
    for g in range(BARCODES):
        for h in range(g, BARCODES):
            if known[h] < 0 or (h > g and h >= PAIRED):
                continue
            mixed = gain[g] if h == g else 0.5 * (gain[g] + gain[h])
            prior = np.log(_prior(g, h, priors, others) / len(amounts))
            for a in range(len(amounts)):
                logs[g, h, a] = _evidence(mixed, amounts[a]) - amounts[a] * expected + prior


@njit(cache=True, nogil=True)
def _tell_apart(chance, priors, others, found):  # type: ignore[no-untyped-def]
    """Fill in what a cell carries and what is not its own, from the chances of what it shows.

    Returns the chance that two cells, or one with two barcodes, are where the cell is.
    """
    single, pair, shown, strange = found
    glow, unseen, apart = others
    doubled = 0.0
    for g in range(BARCODES):
        alone = chance[g, g].sum() / _prior(g, g, priors, others)
        single[g] += alone * priors.one
        shown[g] += alone * priors.none * glow[g]
        strange[g] += alone * priors.none * unseen[g]
        for h in range(g + 1, PAIRED):
            both = chance[g, h].sum() / _prior(g, h, priors, others)
            pair[g, h] = both * priors.two
            # Of two cells found as one either may be the one that is meant.
            either = 0.5 * both * priors.one * apart[g] * apart[h]
            beside = priors.one * (unseen[g] + unseen[h]) + priors.none * unseen[g] * unseen[h]
            doubled += pair[g, h] + 2 * either + both * beside
            for k, other in ((g, h), (h, g)):
                elsewhere = both * (priors.one + priors.none * (glow[k] + unseen[k]))
                single[k] += both * priors.one * (glow[other] + unseen[other]) + either
                shown[other] += elsewhere * glow[other]
                strange[other] += elsewhere * unseen[other] + either
    return doubled


@njit(cache=True, nogil=True)
def cell_evidence(tile, total, own, expected, amounts, priors, others):  # type: ignore[no-untyped-def]
    """Posterior of what each cell carries: nothing, one of its barcodes, or two of them.

    Parameters
    ----------
    tile : `Entries`
    total, own : from `read_totals`
    expected : (cell,) reads that a cell with an amount of 1 shows on the tile
    amounts : reads of a cell over the mean of all cells, equally likely values
    priors, others : `Priors`, `Others`

    Returns
    -------
    single : (cell, BARCODES) posterior of one barcode alone
    pair : (cell, PAIRED, PAIRED) posterior of two, above the diagonal
    rate : (cell, BARCODES) mean amount of reads with each barcode
    shown, strange : (cell, BARCODES) posterior that the barcode is glow, and an unseen cell's
    doubled : (cell,) posterior that the cell carries two barcodes, or is two cells
    """
    n = len(tile.start) - 1
    single, rate = np.zeros((n, BARCODES)), np.zeros((n, BARCODES))
    shown, strange = np.zeros((n, BARCODES)), np.zeros((n, BARCODES))
    pair, doubled = np.zeros((n, PAIRED, PAIRED)), np.zeros(n)
    logs = np.empty((BARCODES, BARCODES, len(amounts)))
    nothing = np.log(priors.none)
    for c in range(n):
        if tile.start[c + 1] == tile.start[c] or tile.barcode[c, 0] < 0:
            continue
        gain = cell_gains(c, tile, total, own)
        there = Others(others.glow[c], others.unseen[c], others.apart[c])
        _weigh_states(gain, tile.barcode[c], amounts, expected[c], priors, there, logs)
        top = max(nothing, logs.max())
        chance = np.exp(logs - top)
        chance /= np.exp(nothing - top) + chance.sum()
        doubled[c] = _tell_apart(chance, priors, there, (single[c], pair[c], shown[c], strange[c]))
        for g in range(BARCODES):
            rate[c, g] += (chance[g, g] * amounts).sum()
            for h in range(g + 1, PAIRED):
                half = 0.5 * (chance[g, h] * amounts).sum()
                rate[c, g] += half
                rate[c, h] += half
    return single, pair, rate, shown, strange, doubled
