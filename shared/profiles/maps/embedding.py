"""Maps: principal components, also of tables larger than memory, and UMAP on top of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.similarity import content_order
from poolvox.shared.profiles.tables.columns import chosen_features, feature_matrix

__all__ = ["Principal", "embed", "fit_principal", "map_method"]

Floats = NDArray[np.float64]
Method = Literal["auto", "pca", "umap"]

# Components that UMAP starts from, rows that it needs, and rows from which it shows more than PCA:
# to load and compile it takes half a minute.
BEFORE_UMAP: Final = 50
NEIGHBOURS: Final = 15
UMAP_ROWS: Final = 30
UMAP_WORTH: Final = 200


@dataclass(frozen=True, slots=True)
class Principal:
    """Principal components.

    Parameters
    ----------
    mean : (F,)
    axes : (F, K) of unit length, widest first; the largest part of each is positive
    variance : (K,) along each
    total : variance in all directions
    """

    mean: Floats
    axes: Floats
    variance: Floats
    total: float

    def transform(self, values: NDArray[np.floating]) -> Floats:
        """(N, K) coordinates; a missing value stands where the mean is."""
        centred = np.nan_to_num(values - self.mean, nan=0.0, posinf=0.0, neginf=0.0)
        coordinates: Floats = centred @ self.axes
        return coordinates


def fit_principal(parts: Iterable[NDArray[np.floating]], components: int) -> Principal:
    """Find the principal components of a table that comes in parts, in one pass.

    Only sums are kept, so the result is that of the whole table however it is cut. Missing and
    infinite values are left out: every covariance is that of the rows which have both values.

    Parameters
    ----------
    parts : (n, F) arrays
    components : how many are wanted; there may be fewer

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = rng.standard_normal((1000, 3)) * [3, 1, 0.1]
    >>> found = fit_principal([table[:400], table[400:]], 2)
    >>> np.abs(found.axes).round(1).T.tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    sums: _Sums | None = None
    for part in parts:
        sums = _Sums.of(part, sums.shift if sums is not None else None) + sums
    if sums is None or not sums.count.any():
        raise InputError("there is no value to find principal components of")
    mean, covariance = sums.moments()
    variance, axes = np.linalg.eigh(covariance)
    keep = np.argsort(-variance, kind="stable")[:components]
    axes = axes[:, keep]
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(len(keep))] < 0, -1.0, 1.0)
    return Principal(mean, axes, np.maximum(variance[keep], 0.0), float(np.trace(covariance)))


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums around `shift`, (F, F) each: of the first of two values in the rows that have both, of
    their products, and how many rows those are.
    """

    shift: Floats
    total: Floats
    product: Floats
    count: Floats

    @classmethod
    def of(cls, part: NDArray[np.floating], shift: Floats | None) -> _Sums:
        known = np.isfinite(part)
        if shift is None:
            number = np.maximum(known.sum(axis=0), 1)
            shift = np.where(known, part, 0.0).sum(axis=0, dtype=np.float64) / number
        values = np.where(known, part - shift, 0.0)
        square = (part.shape[1],) * 2
        if known.all():
            total = np.broadcast_to(values.sum(axis=0)[:, None], square)
            count = np.full(square, float(len(part)))
        else:
            there = known.astype(np.float64)
            total, count = values.T @ there, there.T @ there
        return cls(shift, total, values.T @ values, count)

    def __add__(self, other: _Sums | None) -> _Sums:
        if other is None:
            return self
        return _Sums(
            self.shift,
            self.total + other.total,
            self.product + other.product,
            self.count + other.count,
        )

    def moments(self) -> tuple[Floats, Floats]:
        """Mean and covariance."""
        count = np.maximum(self.count, 1)
        mean = self.total / count
        return self.shift + np.diagonal(mean), self.product / count - mean * mean.T


def embed(
    frame: pd.DataFrame,
    *,
    features: Sequence[str] | None = None,
    method: Method = "auto",
    components: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """Place profiles on a map.

    Parameters
    ----------
    method : `pca`; `umap`, on the first 50 principal components, by cosine; `auto` takes UMAP
        where the extra `embed` is installed and there are at least 200 profiles
    seed : of UMAP; the order of the rows makes no difference

    Returns
    -------
    `Embed_1`, `Embed_2`, … on the index of `frame`. Of few profiles the last ones are 0. A missing
    measurement is taken as the mean of its column
    """
    if method not in get_args(Method):
        raise ValueError(f"no method {method!r}: expected one of {', '.join(get_args(Method))}")
    if components < 1:
        raise ValueError(f"a map needs at least one component, got {components}")
    names = chosen_features(frame, features)
    if not names or not len(frame):
        raise InputError(f"{len(frame)} profiles with {len(names)} features make no map")
    values = feature_matrix(frame, names)
    order = content_order(values)
    use_umap = map_method(method, len(frame)) == "umap"
    if use_umap and len(frame) < UMAP_ROWS:
        raise InputError(f"UMAP needs at least {UMAP_ROWS} profiles, got {len(frame)}: use pca")
    wanted = max(BEFORE_UMAP, components) if use_umap else components
    found = fit_principal([values[order]], wanted).transform(values[order])
    if use_umap:
        found = _umap(found, components, seed)
    places = np.zeros((len(frame), components))
    places[order, : found.shape[1]] = found[:, :components]
    columns = [f"Embed_{k + 1}" for k in range(components)]
    return pd.DataFrame(places, index=frame.index, columns=columns)


def map_method(method: Method, rows: int) -> Literal["pca", "umap"]:
    """Which method is meant for so many profiles, where `auto` is asked for."""
    if method != "auto":
        return method
    return "umap" if rows >= UMAP_WORTH and find_spec("umap") is not None else "pca"


def _umap(points: Floats, components: int, seed: int) -> Floats:
    try:
        with _without_tensorflow():
            from umap import UMAP
    except ImportError as error:
        raise InputError(
            "UMAP needs the package umap-learn: pip install 'poolvox[embed]', or use pca"
        ) from error
    # A point at the origin has no direction, so it has no cosine either.
    metric = "cosine" if (points != 0).any(axis=1).all() else "euclidean"
    model: Any = UMAP(
        n_components=components,
        n_neighbors=min(NEIGHBOURS, len(points) - 1),
        metric=metric,
        random_state=seed,
        n_jobs=1,  # more threads would give other numbers each time
    )
    return np.asarray(model.fit_transform(points.astype(np.float32)), dtype=np.float64)


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Keep umap-learn from loading it, notes on the screen and all, for what is not used here."""
    name = "tensorflow"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        yield
    finally:
        del sys.modules[name]
