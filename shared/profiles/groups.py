"""Rows that belong together: by plate, well, guide, or any columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.sorting import natural

__all__ = ["Groups", "group_rows", "names_of"]


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of rows, in the natural order of their keys; rows keep their order within.

    Attributes
    ----------
    keys : one row per group; a missing key is a key, and comes last
    codes : (N,) group of every row
    order : (N,) rows, those of one group after those of the one before
    bounds : (G + 1,) where each group begins in `order`
    """

    keys: pd.DataFrame
    codes: NDArray[np.int64]
    order: NDArray[np.int64]
    bounds: NDArray[np.int64]

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self.keys)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows in each group, (G,)."""
        return np.diff(self.bounds)

    @property
    def labels(self) -> list[str]:
        """What to call each group in a message."""
        if not self.keys.shape[1]:
            return ["all rows"] * len(self.keys)
        return [" ".join(map(str, row)) for row in self.keys.itertuples(index=False, name=None)]

    def only(self, rows: NDArray[np.bool_]) -> Groups:
        """Keep some rows; groups that are left without any stay, empty."""
        order = self.order[rows[self.order]]
        sizes = np.bincount(self.codes[order], minlength=len(self))
        return Groups(self.keys, self.codes, order, _bounds(sizes))


def names_of(by: str | Sequence[str] | None) -> list[str]:
    """Name the columns that one name, several or none stand for."""
    return [] if by is None else [by] if isinstance(by, str) else list(by)


def group_rows(frame: pd.DataFrame, by: str | Sequence[str] | None) -> Groups:
    """Group the rows by their values in some columns; without columns they are one group."""
    names = names_of(by)
    absent = [name for name in names if name not in frame.columns]
    if absent:
        there = ", ".join(str(name) for name in frame.columns if str(name).startswith("Metadata_"))
        raise InputError(f"cannot group by {absent}: the table has the keys {there or 'none'}")
    joint = np.zeros(len(frame), np.int64)
    for name in names:
        places, count = _ranks(frame[name])
        # Renumbered after each column, so that the product of their sizes cannot overflow.
        joint = np.unique(joint * count + places, return_inverse=True)[1].astype(np.int64)
    _, first, codes = np.unique(joint, return_index=True, return_inverse=True)
    codes = codes.astype(np.int64)
    keys = frame[names].iloc[first].reset_index(drop=True)
    order = np.argsort(codes, kind="stable").astype(np.int64)
    return Groups(keys, codes, order, _bounds(np.bincount(codes, minlength=len(keys))))


def _bounds(sizes: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _ranks(column: pd.Series[Any]) -> tuple[NDArray[np.int64], int]:
    """Place of each value among the different ones in natural order; missing comes last."""
    codes, uniques = pd.factorize(column)
    values = list(uniques)
    if all(isinstance(value, str) for value in values):
        order = sorted(range(len(values)), key=lambda i: natural(values[i]))
    else:
        order = sorted(range(len(values)), key=lambda i: _any_order(values[i]))
    rank = np.empty(len(values) + 1, np.int64)
    rank[order] = np.arange(len(values))
    rank[-1] = len(values)
    return rank[codes], len(values) + 1


def _any_order(value: Any) -> tuple[int, Any]:
    """Numbers before words, where a column holds both."""
    return (1, natural(value)) if isinstance(value, str) else (0, value)
