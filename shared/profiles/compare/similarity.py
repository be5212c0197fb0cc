"""How alike profiles are, block by block: the matrix of all pairs is never held.

Rows are first put in an order that depends on their content alone, and equal rows become one.
So equal profiles are exactly equally similar to anything, and no result depends on the order in
which the profiles came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.kernels import kernel
from poolvox.shared.profiles.tables.columns import feature_matrix

__all__ = [
    "Metric",
    "Neighbours",
    "Space",
    "content_order",
    "find_neighbours",
    "neighbours",
    "similarities",
]

Metric = Literal["cosine", "abs_cosine", "correlation", "euclidean", "mahalanobis"]

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]

# Memory of one block of similarities, in bytes.
BLOCK_BYTES: Final = 2**26
# Length below which a row points nowhere, as a part of the longest.
ZERO: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Space:
    """Vectors whose products rank pairs as the metric does.

    Parameters
    ----------
    left, right : (U, D) of the U distinct profiles; `left @ right.T` is the cosine, or minus half
        the squared distance
    row : (N,) place of each profile among them; -1 where it has no similarity to anything
    order : profiles that have one, by content; equal ones in the order they came
    """

    left: Floats
    right: Floats
    row: Rows
    order: Rows
    metric: Metric

    @classmethod
    def of(
        cls,
        values: NDArray[np.floating],
        metric: Metric = "cosine",
        *,
        reference: Rows | None = None,
    ) -> Space:
        """Prepare (N, F) profiles.

        Profiles with a missing or infinite value have no similarity, nor have those of zero length
        (cosine) or without any spread (correlation).

        Parameters
        ----------
        reference : rows whose covariance the Mahalanobis distance is by; all where not given
        """
        if metric not in get_args(Metric):
            raise ValueError(f"no metric {metric!r}: expected one of {', '.join(get_args(Metric))}")
        raw = np.ascontiguousarray(values, dtype=np.float64)
        known = np.flatnonzero(np.isfinite(raw).all(axis=1))
        order = known[content_order(raw[known])]
        points = raw[order]
        if metric == "mahalanobis" and len(points):
            points = _whiten(points, np.isin(order, reference) if reference is not None else None)
        scaled, usable = _scaled(points, metric)
        order = order[usable]
        single: Floats = scaled[usable].astype(np.float32)
        again = content_order(single)
        order, single = order[again], single[again]
        first = np.ones(len(single), dtype=bool)
        first[1:] = (single[1:] != single[:-1]).any(axis=1)
        row = np.full(len(raw), -1, dtype=np.intp)
        row[order] = np.cumsum(first) - 1
        return cls(*_sides(single[first], metric), row, order, metric)

    def block(self, rows: slice | Rows, columns: slice | Rows = slice(None)) -> Floats:
        """(R, C) products of distinct profiles."""
        product: Floats = self.left[rows] @ self.right[columns].T
        return np.abs(product) if self.metric == "abs_cosine" else product

    def blocks(self, rows: Rows | None = None) -> Iterator[tuple[Rows, Floats]]:
        """(B,) distinct profiles and their (B, U) products, for all or some of them."""
        wanted = np.arange(len(self.left)) if rows is None else rows
        size = max(1, BLOCK_BYTES // (4 * max(len(self.left), 1)))
        for start in range(0, len(wanted), size):
            part = wanted[start : start + size]
            yield part, self.block(part)

    def readable(self, products: Floats) -> Floats:
        """Cosines and correlations as they are; distances d as 1 / (1 + d)."""
        if self.metric in ("euclidean", "mahalanobis"):
            distance = np.sqrt(np.maximum(-2 * products, 0))
            near: Floats = np.reciprocal(1 + distance)
            return near
        return np.clip(products, -1, 1)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The most similar others of each profile, best first.

    Parameters
    ----------
    index : (N, K); -1 where there are fewer
    value : (N, K) similarities; NaN where there are fewer
    """

    index: Rows
    value: Floats


def similarities(
    values: NDArray[np.floating], metric: Metric = "cosine", *, reference: Rows | None = None
) -> Floats:
    """(N, N) similarities of a small set, of NaN where there is none; see `Space.of`."""
    space = Space.of(values, metric, reference=reference)
    matrix = np.full((len(values), len(values)), np.nan, dtype=np.float32)
    has = space.row >= 0
    whole = space.readable(space.block(slice(None)))
    matrix[np.ix_(has, has)] = whole[np.ix_(space.row[has], space.row[has])]
    return matrix


def find_neighbours(
    values: NDArray[np.floating],
    count: int,
    metric: Metric = "cosine",
    *,
    reference: Rows | None = None,
) -> Neighbours:
    """Find the `count` most similar others of each of (N, F) profiles, exactly.

    Of equally similar ones the first by content come first.
    """
    if count < 1:
        raise ValueError(f"a profile needs at least one neighbour, got count={count}")
    space = Space.of(values, metric, reference=reference)
    index = np.full((len(values), count), -1, dtype=np.intp)
    value = np.full((len(values), count), np.nan, dtype=np.float32)
    row = space.row[space.order]
    start = np.searchsorted(row, np.arange(len(space.left) + 1))
    for part, products in space.blocks():
        queries = np.arange(start[part[0]], start[part[-1] + 1])
        best, found = _top(products, row, queries, part[0], count)
        index[space.order[queries]] = np.where(best >= 0, space.order[best], -1)
        value[space.order[queries]] = space.readable(found)
    return Neighbours(index, value)


def neighbours(
    frame: pd.DataFrame,
    *,
    name: str,
    features: Sequence[str] | None = None,
    metric: Metric = "cosine",
    count: int = 10,
) -> pd.DataFrame:
    """Table of the most similar others of each profile, such as genes.

    Parameters
    ----------
    frame : one row per profile
    name : column that names them

    Returns
    -------
    by name and rank: `name`, `Metadata_Neighbour`, `Similarity_Rank` from 1, `Similarity_Value`;
    profiles without a similarity (see `Space.of`) have no rows
    """
    if name not in frame:
        raise InputError(f"no column {name!r} names the profiles; there are: {list(frame)[:20]}")
    frame = frame.sort_values(name, kind="stable")
    names = frame[name].to_numpy()
    found = find_neighbours(feature_matrix(frame, features), count, metric)
    here, rank = np.nonzero(found.index >= 0)
    return pd.DataFrame(
        {
            name: names[here],
            "Metadata_Neighbour": names[found.index[here, rank]],
            "Similarity_Rank": rank + 1,
            "Similarity_Value": found.value[here, rank],
        }
    )


def content_order(rows: NDArray[np.floating]) -> Rows:
    """Order of rows that depends on nothing but their values."""
    if not rows.size:
        return np.arange(len(rows))
    clean = np.ascontiguousarray(np.where(np.isnan(rows), np.inf, rows) + 0.0)
    whole = clean.view(np.dtype((np.void, clean.shape[1] * clean.itemsize))).ravel()
    return np.argsort(whole, kind="stable")


def _whiten(points: NDArray[np.float64], chosen: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Turn points so that their distances are by the shrunk covariance of the chosen ones."""
    from sklearn.covariance import ledoit_wolf

    base = points if chosen is None else points[chosen]
    if len(base) < 2:
        raise InputError(f"a covariance needs at least two complete profiles, got {len(base)}")
    covariance, _ = ledoit_wolf(base)
    spread, axes = np.linalg.eigh(covariance)
    keep = spread > spread[-1] * ZERO
    whitened: NDArray[np.float64] = (points - base.mean(axis=0)) @ axes[:, keep]
    whitened /= np.sqrt(spread[keep])
    return whitened


def _scaled(
    points: NDArray[np.float64], metric: Metric
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    if metric in ("euclidean", "mahalanobis"):
        # Near the origin, squared lengths lose nothing.
        centre = points.mean(axis=0) if len(points) else 0.0
        return points - centre, np.ones(len(points), dtype=bool)
    largest = np.abs(points).max(axis=1, initial=0.0)
    points = points / np.where(largest > 0, largest, 1.0)[:, None]
    if metric == "correlation":
        points = points - points.mean(axis=1, keepdims=True) if points.shape[1] else points
    length = np.sqrt(np.einsum("nf,nf->n", points, points))
    usable = length > ZERO
    return points / np.where(usable, length, 1.0)[:, None], usable


def _sides(points: Floats, metric: Metric) -> tuple[Floats, Floats]:
    if metric not in ("euclidean", "mahalanobis"):
        return points, points
    half = (-0.5 * np.einsum("nf,nf->n", points, points, dtype=np.float64)).astype(np.float32)
    one = np.ones_like(half)
    return np.column_stack([points, half, one]), np.column_stack([points, one, half])


@kernel
def _top(
    products: Floats, row: Rows, queries: Rows, offset: int, count: int
) -> tuple[Rows, Floats]:
    """The best of each query, kept sorted while going through all others once."""
    best = np.full((len(queries), count), -1, np.intp)
    found = np.full((len(queries), count), np.nan, np.float32)
    for q in range(len(queries)):
        query = queries[q]
        line = products[row[query] - offset]
        held = 0
        for j in range(len(row)):
            value = line[row[j]]
            if j == query or (held == count and not value > found[q, count - 1]):
                continue
            k = held if held < count else count - 1
            while k > 0 and found[q, k - 1] < value:
                found[q, k] = found[q, k - 1]
                best[q, k] = best[q, k - 1]
                k -= 1
            found[q, k] = value
            best[q, k] = j
            held = min(held + 1, count)
    return best, found
