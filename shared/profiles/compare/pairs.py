"""Which profiles a query should find, and which it should not, told by columns of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError

__all__ = ["Design", "Pairs", "design_pairs"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rules for pairs of profiles, each one or more columns.

    Parameters
    ----------
    pos_sameby, pos_diffby : a positive pair agrees in all of the first and differs in each of the
        second
    neg_sameby, neg_diffby : the same for negative pairs; where neither is given they differ in one
        of `pos_sameby`. A pair that is positive is never negative.

    Examples
    --------
    >>> Pairs("Metadata_Gene", neg_sameby="Metadata_Plate").pos_sameby
    ('Metadata_Gene',)
    """

    pos_sameby: str | Sequence[str]
    pos_diffby: str | Sequence[str] = ()
    neg_sameby: str | Sequence[str] = ()
    neg_diffby: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("pos_sameby", "pos_diffby", "neg_sameby", "neg_diffby"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        if not self.pos_sameby:
            raise ValueError("pos_sameby is empty: name the column that positive pairs agree in")

    @property
    def columns(self) -> list[str]:
        """All columns that the rules read."""
        every = (*self.pos_sameby, *self.pos_diffby, *self.neg_sameby, *self.neg_diffby)
        return list(dict.fromkeys(every))


class Design(NamedTuple):
    """The rules as compiled code reads them: a number for every value, members of every group.

    Attributes
    ----------
    pos_group, neg_group : (N,) number of the group that positives, and negatives, lie in
    pos_start, pos_member : members of group g are `pos_member[pos_start[g]:pos_start[g + 1]]`
    neg_start, neg_member : the same for the groups of negatives, those of one number in the first
        column of `neg_differ` after those of another
    neg_low, neg_high : (N,) where, in `neg_member`, those begin and end that lie in the group of
        each profile and agree with it in that column; nowhere without columns
    pos_differ, neg_differ : (N, C) numbers that differ in every column
    """

    pos_group: Ints
    pos_start: Ints
    pos_member: Ints
    pos_differ: Ints
    neg_group: Ints
    neg_start: Ints
    neg_member: Ints
    neg_low: Ints
    neg_high: Ints
    neg_differ: Ints


def design_pairs(keys: pd.DataFrame, pairs: Pairs) -> Design:
    """Number the keys of profiles, one row each."""
    missing = [name for name in pairs.columns if name not in keys]
    if missing:
        raise InputError(f"pairs are told by columns {missing}, which the profiles do not have")
    empty = [name for name in pairs.columns if keys[name].isna().any()]
    if empty:
        raise InputError(
            f"columns {empty} have missing values: whether such profiles agree cannot be told; "
            "leave them out or name them"
        )
    pos = _number(keys, pairs.pos_sameby)
    neg = _number(keys, pairs.neg_sameby)
    differ = _columns(keys, pairs.neg_diffby)
    if not pairs.neg_sameby and not pairs.neg_diffby:
        differ = pos[:, None]
    start, member = _members(neg, differ)
    agree = _agreeing(neg, start, member, differ)
    return Design(
        pos, *_members(pos), _columns(keys, pairs.pos_diffby), neg, start, member, *agree, differ
    )


def _number(keys: pd.DataFrame, columns: str | Sequence[str]) -> Ints:
    if not columns:
        return np.zeros(len(keys), dtype=np.int64)
    found = keys.groupby(list(columns), sort=False, observed=True).ngroup()
    number: Ints = np.asarray(found, dtype=np.int64)
    return number


def _columns(keys: pd.DataFrame, columns: str | Sequence[str]) -> Ints:
    numbers = [pd.factorize(keys[name])[0].astype(np.int64) for name in columns]
    table = np.empty((len(keys), len(numbers)), dtype=np.int64)
    for k, column in enumerate(numbers):
        table[:, k] = column
    return table


def _members(group: Ints, codes: Ints | None = None) -> tuple[Ints, Ints]:
    """Where members of every group begin, and the members; by their first code, if there are."""
    count = np.bincount(group, minlength=1)
    start = np.zeros(len(count) + 1, dtype=np.int64)
    np.cumsum(count, out=start[1:])
    keys = (group,) if codes is None or not codes.shape[1] else (codes[:, 0], group)
    member: Ints = np.lexsort(keys)
    return start, member


def _agreeing(group: Ints, start: Ints, member: Ints, codes: Ints) -> tuple[Ints, Ints]:
    """Where the members of each profile's group begin and end that have its first code."""
    if not codes.shape[1] or not len(group):
        return start[group], start[group]
    first = codes[member, 0]
    edge = np.flatnonzero((np.diff(first) != 0) | (np.diff(group[member]) != 0)) + 1
    bounds = np.concatenate([[0], edge, [len(member)]])
    run = np.empty(len(member), dtype=np.int64)
    run[member] = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    return bounds[run], bounds[run + 1]
