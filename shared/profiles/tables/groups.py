"""Rows that belong together: by plate, well, guide, or any columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.sorting import natural

__all__ = ["Groups", "Layout", "group_rows", "names_of"]

# Below this share of the rows it is cheaper to fetch those that are wanted than to read them all.
_SPARSE: Final = 0.2
# Codes up to it are renumbered by a table of them all, others by sorting.
_TABLE: Final = 2**20


class Layout(NamedTuple):
    """Where compiled loops find the rows of groups.

    Attributes
    ----------
    places : scattered: (N,) place of each row among those of all groups, M for a row of none;
        else (M,) row of each place
    bounds : (G + 1,) where each group begins among the M places
    scattered : rows are read from end to end and put into their places, which is several times
        faster than to fetch them from anywhere; it needs every row to have one place at most
    """

    places: NDArray[np.int32]
    bounds: NDArray[np.int64]
    scattered: bool


@dataclass(frozen=True)
class Groups:
    """Groups of rows, in the natural order of their keys; rows keep their order within.

    Attributes
    ----------
    keys : one row per group; a missing key is a key, and comes last
    codes : (N,) group of every row
    order : (N,) rows, those of one group after those of the one before
    bounds : (G + 1,) where each group begins in `order`
    repeated : a row may be in several groups, or several times in one: samples are
    """

    keys: pd.DataFrame
    codes: NDArray[np.int64]
    order: NDArray[np.int64]
    bounds: NDArray[np.int64]
    repeated: bool = False

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self.keys)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows in each group, (G,)."""
        return np.diff(self.bounds)

    @cached_property
    def layout(self) -> Layout:
        """The same for compiled loops."""
        places, rows = len(self.order), len(self.codes)
        if self.repeated or places < _SPARSE * rows:
            return Layout(self.order.astype(np.int32), self.bounds, False)
        index = np.full(rows, places, np.int32)
        index[self.order] = np.arange(places, dtype=np.int32)
        return Layout(index, self.bounds, True)

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

    def filled(self) -> Groups:
        """Leave out groups without rows."""
        full = np.flatnonzero(self.sizes)
        renumbered = np.full(len(self), -1, np.int64)
        renumbered[full] = np.arange(len(full))
        # Rows of groups that are gone have weight 0 and stand in no order: any code will do.
        codes = np.maximum(renumbered[self.codes], 0)
        keys = self.keys.iloc[full].reset_index(drop=True)
        return Groups(keys, codes, self.order, _bounds(self.sizes[full]))


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
        joint = _renumbered(joint * count + places)
    sizes = np.bincount(joint)
    # Sorting short integers takes a tenth of the time.
    small = joint.astype(np.uint16) if len(sizes) <= 2**16 else joint
    order = np.argsort(small, kind="stable").astype(np.int64)
    bounds = _bounds(sizes)
    keys = frame[names].iloc[order[bounds[:-1]]].reset_index(drop=True)
    return Groups(keys, joint, order, bounds)


def _renumbered(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers 0, 1, … in the same order, without gaps."""
    most = int(codes.max(initial=-1)) + 1
    if most > max(_TABLE, 2 * len(codes)):
        return np.unique(codes, return_inverse=True)[1].astype(np.int64)
    seen = np.zeros(most, bool)
    seen[codes] = True
    return (np.cumsum(seen, dtype=np.int64) - 1)[codes]


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
