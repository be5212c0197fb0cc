"""Kernels that share reads out among neighbouring cells and weigh what each cell carries."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["cell_evidence", "local_barcodes", "nearest_labels", "read_totals"]

# Barcodes that are weighed for a cell, and how many of them are tried in pairs.
BARCODES = 4
PAIRED = 3


@njit(cache=True, nogil=True)
def nearest_labels(labels, y, x, reach, most):  # type: ignore[no-untyped-def]
    """Labels within `reach` pixels of each point, nearest first, and their distances.

    The distance is to the nearest pixel of the label, zero inside it.
    """
    n = len(y)
    cells = np.zeros((n, most), np.int32)
    distance = np.full((n, most), np.inf, np.float32)
    span = int(np.ceil(reach))
    for i in range(n):
        row, column = int(np.rint(y[i])), int(np.rint(x[i]))
        for r in range(max(0, row - span), min(labels.shape[0], row + span + 1)):
            for c in range(max(0, column - span), min(labels.shape[1], column + span + 1)):
                label = labels[r, c]
                if label == 0:
                    continue
                d = np.sqrt((r - y[i]) ** 2 + (c - x[i]) ** 2)
                if r == row and c == column:
                    d = 0.0
                if d > reach:
                    continue
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
def read_totals(start, entry_read, density, words, ratios, barcode, rate, stray, ambient):  # type: ignore[no-untyped-def]
    """How much of each read the cells explain, and each cell of its entries.

    Parameters
    ----------
    density : (entry,) reads per pixel at the distance of the read from the cell
    ratios : (read, candidate) likelihood of the candidate over that of any sequence
    stray, ambient : reads per pixel of any sequence, and of any one word of the codebook
    """
    total = np.empty(len(words))
    for r in range(len(words)):
        total[r] = stray
        for k in range(words.shape[1]):
            total[r] += ambient * ratios[r, k]
    own = np.zeros(len(entry_read))
    for c in range(len(start) - 1):
        for e in range(start[c], start[c + 1]):
            r = entry_read[e]
            for g in range(barcode.shape[1]):
                if barcode[c, g] >= 0 and rate[c, g] > 0:
                    own[e] += density[e] * rate[c, g] * _ratio(words, ratios, r, barcode[c, g])
            total[r] += own[e]
    return total, own


@njit(cache=True, nogil=True)
def _evidence(gain, other, m, amount):  # type: ignore[no-untyped-def]
    """Log of the product of (1 + amount * gain / other) over the reads of a cell."""
    logs = 0.0
    product = 1.0
    for i in range(m):
        product *= 1.0 + amount * gain[i] / other[i]
        if product > 1e200:
            logs += np.log(product)
            product = 1.0
    return logs + np.log(product)


@njit(cache=True, nogil=True)
def cell_evidence(  # type: ignore[no-untyped-def]
    start,
    entry_read,
    density,
    words,
    ratios,
    barcode,
    total,
    own,
    amounts,
    expected,
    prior_none,
    prior_one,
    prior_two,
):
    """Posterior of what each cell carries: nothing, one of its barcodes, or two of them.

    Parameters
    ----------
    amounts : reads of a cell over the mean of all cells, equally likely values
    expected : (cell,) reads that a cell with an amount of 1 shows on the tile
    prior_none, prior_one, prior_two : log-priors of nothing, of any one word, of any one pair

    Returns
    -------
    single : (cell, BARCODES) posterior of one barcode alone
    pair : (cell, PAIRED, PAIRED) posterior of two, above the diagonal
    rate : (cell, BARCODES) mean amount of reads with each barcode
    """
    n = len(start) - 1
    single = np.zeros((n, BARCODES))
    pair = np.zeros((n, PAIRED, PAIRED))
    rate = np.zeros((n, BARCODES))
    states = BARCODES + PAIRED * (PAIRED - 1) // 2
    for c in range(n):
        m = start[c + 1] - start[c]
        if m == 0 or barcode[c, 0] < 0:
            continue
        other = np.empty(m)
        gain = np.zeros((BARCODES, m))
        mixed = np.empty(m)
        for i in range(m):
            e = start[c] + i
            r = entry_read[e]
            other[i] = max(total[r] - own[e], 1e-300)
            for g in range(BARCODES):
                if barcode[c, g] >= 0:
                    gain[g, i] = density[e] * _ratio(words, ratios, r, barcode[c, g])
        logs = np.full((states, len(amounts)), -np.inf)
        s = 0
        for g in range(BARCODES):
            for h in range(g, BARCODES):
                if h > g and h >= PAIRED:
                    break
                if barcode[c, h] >= 0:
                    for i in range(m):
                        mixed[i] = gain[g, i] if h == g else 0.5 * (gain[g, i] + gain[h, i])
                    for a in range(len(amounts)):
                        logs[s, a] = _evidence(mixed, other, m, amounts[a])
                        logs[s, a] -= amounts[a] * expected[c] + np.log(len(amounts))
                        logs[s, a] += prior_one if h == g else prior_two
                s += 1
        top = max(prior_none, logs.max())
        norm = np.exp(prior_none - top) + np.exp(logs - top).sum()
        s = 0
        for g in range(BARCODES):
            for h in range(g, BARCODES):
                if h > g and h >= PAIRED:
                    break
                for a in range(len(amounts)):
                    p = np.exp(logs[s, a] - top) / norm
                    if h == g:
                        single[c, g] += p
                        rate[c, g] += p * amounts[a]
                    else:
                        pair[c, g, h] += p
                        rate[c, g] += 0.5 * p * amounts[a]
                        rate[c, h] += 0.5 * p * amounts[a]
                s += 1
    return single, pair, rate
