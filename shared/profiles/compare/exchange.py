"""The chance of a mean average precision, given that the rankings of a group share their pairs.

If the members of a group are nothing special, any of its negatives could stand in their places.
So the mean is compared with the means of groups of as many profiles, drawn from members and
negatives together. Where that cannot be (a member's negatives are of another kind, or there are
too many), every unordered pair gets a similarity by chance, which both of its rankings share.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.profiles.compare.chance import ENUMERATED, upper_tail
from poolvox.shared.profiles.compare.pairs import Design
from poolvox.shared.profiles.compare.shuffles import (
    exchange_alike,
    exchange_labels,
    exchange_subsets,
    mean_precision,
    rank_rows,
    share_pairs,
)
from poolvox.shared.profiles.compare.similarity import Space

__all__ = ["MeanNull"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Members and negatives of a group up to which profiles are exchanged.
POOL: Final = 3_000
# Draws are added until so many of them are as large as what was seen, or there are enough of them
# (Besag and Clifford 1991, doi:10.1093/biomet/78.2.301).
EXCEEDING: Final = 20
# Profiles are ranked before they are exchanged where each will be drawn more often than this.
RANKED: Final = 4
FIRST: Final = 199


@dataclass(frozen=True, slots=True)
class _Group:
    """A group: its number, the sorted places of its profiles in `space.order`, its score."""

    number: int
    members: Ints
    score: float


@dataclass(frozen=True, slots=True)
class _Case:
    """One null, and the groups that are compared with it.

    Parameters
    ----------
    pattern : (n, n) whether the second member is a positive of the first
    negatives : (n,) how many each member has; read where pairs are drawn
    pool : (G,) members and their negatives, of all groups of the case; empty where pairs are drawn
    stratum : (G,) members are exchanged within it
    """

    pattern: NDArray[np.bool_]
    negatives: Ints
    pool: Ints
    stratum: Ints
    groups: list[_Group] = field(default_factory=list)

    @property
    def seed(self) -> list[int]:
        """Numbers that tell the design apart from others, whatever else there is."""
        return [len(self.pattern), len(self.pool), zlib.crc32(self.negatives.tobytes())]


@dataclass(slots=True)
class MeanNull:
    """Collects groups and then gives each a p-value; groups of one design share their null.

    Parameters
    ----------
    draws : exchanges, or sets of random pairs, where not all can be enumerated
    """

    space: Space
    design: Design
    draws: int
    seed: int
    _cases: dict[tuple[bytes, ...], _Case] = field(default_factory=dict)
    _count: int = 0

    def add(self, members: Ints, score: float, negatives: Ints) -> None:
        """Add a group.

        Parameters
        ----------
        members : (n,) sorted places of its profiles in `space.order`
        score : its mean average precision
        negatives : (n,) how many each has
        """
        group = _Group(self._count, members, score)
        self._count += 1
        if not np.isfinite(score):
            return
        pattern = self._pattern(members)
        pool, stratum = self._pool(members, pattern)
        slots = stratum[np.searchsorted(pool, members)] if len(pool) else negatives
        complete = pattern.sum() == pattern.size - len(pattern)
        slots = np.sort(slots) if complete else slots  # all members are alike
        key = (pattern.tobytes(), pool.tobytes(), slots.tobytes())
        case = self._cases.setdefault(key, _Case(pattern, negatives, pool, stratum))
        case.groups.append(group)

    def p_values(self) -> tuple[Array, list[str]]:
        """p-value of each group and how it was found, in the order they were added."""
        p, kind = np.full(self._count, np.nan), [""] * self._count
        for case in self._cases.values():
            values, how = self._chance(case) if not len(case.pool) else self._exchange(case)
            for group, value in zip(case.groups, values):
                p[group.number], kind[group.number] = value, how
        return p, kind

    def _pattern(self, members: Ints) -> NDArray[np.bool_]:
        codes, group = self.design.pos_differ[members], self.design.pos_group[members]
        same: NDArray[np.bool_] = (codes[:, None] != codes[None]).all(axis=2)
        same &= (group[:, None] == group[None]) & ~np.eye(len(members), dtype=bool)
        return same

    def _pool(self, members: Ints, pattern: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Members and negatives, and the strata; empty where members cannot be exchanged."""
        design, none = self.design, np.empty(0, dtype=np.int64)
        pool = [members]
        for stratum in np.unique(design.neg_group[members]):
            here = members[design.neg_group[members] == stratum]
            codes = design.neg_differ[here]
            alike = pattern[np.ix_(*[np.isin(members, here)] * 2)] | np.eye(len(here), dtype=bool)
            if (codes != codes[0]).any() or not (codes.shape[1] or alike.all()):
                return none, none
            start, stop = design.neg_start[stratum : stratum + 2]
            if codes.shape[1] < 2:
                agreeing = design.neg_high[here[0]] - design.neg_low[here[0]]
                if stop - start - max(agreeing, len(here)) > POOL:
                    return none, none
            others = design.neg_member[start:stop]
            others = others[(design.neg_differ[others] != codes[0]).all(axis=1)]
            pool.append(others[~np.isin(others, members)])
        whole = np.unique(np.concatenate(pool))
        return (whole, design.neg_group[whole]) if len(whole) <= POOL else (none, none)

    def _exchange(self, case: _Case) -> tuple[Array, str]:
        row = self.space.row[self.space.order][case.pool]
        distinct, place = np.unique(row, return_inverse=True)
        similar = self.space.block(distinct, distinct)[np.ix_(place, place)]
        slots = [np.searchsorted(case.pool, group.members) for group in case.groups]
        seen = np.array([self._observe(case, similar, slot) for slot in slots])
        size, pool = len(case.pattern), len(case.pool)
        alike = case.pattern.sum() == size * (size - 1) and not np.ptp(case.stratum)
        subsets = math.comb(pool, size)
        if alike and subsets <= ENUMERATED:
            null = np.sort(exchange_subsets(rank_rows(similar), size, subsets))
            return upper_tail(null, seen, exact=True), "all exchanges"
        ranked = cache(partial(rank_rows, similar))

        def draw(count: int, rng: np.random.Generator) -> Array:
            if alike and count * size > RANKED * pool:
                return exchange_alike(ranked(), size, count, rng)
            return exchange_labels(similar, case.stratum, slots[0], case.pattern, count, rng)

        return self._draw_until(draw, seen, case), "exchanges"

    def _observe(self, case: _Case, similar: NDArray[np.float32], slots: Ints) -> float:
        return mean_precision(similar, case.stratum, slots, case.pattern)

    def _chance(self, case: _Case) -> tuple[Array, str]:
        def draw(count: int, rng: np.random.Generator) -> Array:
            return share_pairs(case.pattern, case.negatives, count, rng)

        return self._draw_until(draw, np.array([g.score for g in case.groups]), case), "pairs"

    def _draw_until(
        self, draw: Callable[[int, np.random.Generator], Array], seen: Array, case: _Case
    ) -> Array:
        """Draw until even the largest mean was often reached, or there are enough draws."""
        rng = np.random.default_rng([self.seed, *case.seed])
        null, count = np.empty(0), min(FIRST, self.draws)
        while True:
            null = np.sort(np.concatenate([null, draw(count, rng)]))
            above = len(null) - np.searchsorted(null, seen.max())
            if above >= EXCEEDING or len(null) >= self.draws:
                return upper_tail(null, seen, exact=False)
            count = min(4 * len(null), self.draws - len(null))
