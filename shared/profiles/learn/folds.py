"""Folds of labelled cells that keep a well, or a guide, together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError

__all__ = ["grouped_folds"]


def grouped_folds(
    groups: NDArray[Any], classes: NDArray[np.integer], folds: int, *, seed: int = 0
) -> NDArray[np.int64]:
    """Number of the fold of every cell: groups stay whole, classes are spread evenly.

    Groups go, the largest first, into the fold where the classes come out most even. The order
    of the cells does not matter; groups of equal size are taken in an order that the seed tells.

    Parameters
    ----------
    groups : (N,) names or numbers of groups
    classes : (N,) numbers of classes
    folds : how many at most; no more than there are groups

    Examples
    --------
    >>> folds = grouped_folds(np.array(list("aabbccdd")), np.array([0, 1] * 4), 2)
    >>> [int((folds == k).sum()) for k in range(2)]
    [4, 4]
    """
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise InputError(
            f"all labelled cells are of one group ({names[0] if len(names) else 'none'}): label "
            "cells of another well or guide as well, or leave the groups out"
        )
    counts = np.zeros((len(names), int(classes.max()) + 1))
    np.add.at(counts, (members, classes), 1)
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    filled = np.zeros((min(folds, len(names)), counts.shape[1]))
    places = np.empty(len(names), np.int64)
    for group in order:
        # The sum of squares is least where shares are even.
        cost = (2 * filled * shares[group]).sum(axis=1)
        places[group] = np.lexsort((filled.sum(axis=1), cost))[0]
        filled[places[group]] += shares[group]
    return places[members]
