"""How much units that do the same differ, beyond their cells, and in which directions.

Units of controls tell it. Where there are few, units that were treated alike make up for them: what
a treatment does, it does to all of its units, so what they differ by is chance as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from poolvox.shared.profiles.hits.baseline import Floats
from poolvox.shared.profiles.hits.sums import (
    MIN_CELLS,
    Bools,
    Ints,
    UnitSums,
    all_of,
    compare_sums,
    scatter_of,
)

__all__ = ["ENOUGH", "MIN_UNITS", "Noise", "fit_noise"]

# Units of controls, at least, for telling how much units differ.
MIN_UNITS: Final = 4
# Units of controls, or kinds of units, at least, for telling in how many directions they do.
MIN_SCATTER: Final = 8
MIN_KINDS: Final = 4
# Degrees of freedom up to which treated units make up for controls.
ENOUGH: Final = 30
# Degrees of freedom that the belief is worth that units differ alike in all directions.
PRIOR: Final = 10.0


@dataclass(frozen=True, slots=True)
class Noise:
    """What shifts there are by chance.

    Attributes
    ----------
    scale : (D,) factors of the coordinates, with which units differ about alike in all directions
    between : variance, per scaled direction, between units that do the same, beyond their cells
    total : the same with that of their cells
    freedom : number of directions that squared lengths of scaled shifts come from (Box 1954,
        doi:10.1214/aoms/1177728786)
    degrees : degrees of freedom of each direction that `between` was told by
    controls : units of controls
    """

    scale: Floats
    between: float
    total: float
    freedom: float
    degrees: float
    controls: int

    @property
    def replicated(self) -> bool:
        """Whether there are enough units of controls to tell how much units differ."""
        return self.controls >= MIN_UNITS

    @property
    def told_by(self) -> float:
        """Degrees of freedom of `total`; few units do not tell in how many directions they are."""
        return self.degrees * (self.freedom if self.degrees > MIN_SCATTER else 1.0)

    @property
    def flattery(self) -> float:
        """By what part squared lengths are too long, since the scale was fitted by few units."""
        return 2 * self.degrees / (self.degrees + PRIOR) ** 2


def fit_noise(sums: UnitSums, control: Bools, group: Ints, covariance: Floats) -> Noise:
    """Tell how units differ, from controls and as far as needed from others.

    Parameters
    ----------
    sums : of all units
    control : (U,) units of controls
    group : (U,) what was done to each unit, by number
    covariance : (D, D) of the controls' cells
    """
    scatter = _known_scatter(sums, control)
    own = _Kinds.of(sums.take(control), np.zeros(int(control.sum()), np.int64), scatter[control])
    degrees = float(own.degrees.sum())
    lacking, parts = max(ENOUGH - degrees, 0.0), [own]
    if lacking:
        # Against the middle of each batch: units of one kind may lie in different ones.
        centred = sums.take(~control).centred(sums)
        parts.append(_Kinds.of(centred, group[~control], scatter[~control]))
    borrowed = min(lacking, float(parts[-1].degrees.sum())) if lacking else 0.0
    told = max(degrees + borrowed, 1.0)
    weight = (degrees / told, borrowed / told)
    flat = np.ones(sums.total.shape[2])
    scale = _scale(_mixed([part.spread(flat) for part in parts], weight), told)
    total = float(_mixed([part.spread(scale) for part in parts], weight).mean())
    cells = float(_mixed([part.by_cells(scale) for part in parts], weight).mean())
    between = max(total - cells, 0.0) if len(own.shift) >= MIN_UNITS else 0.0
    freedom = _freedom(parts if borrowed else [own], scale, covariance)
    return Noise(scale, between, total, freedom, told, len(own.shift))


def _mixed(values: list[Floats], weight: tuple[float, ...]) -> Floats:
    found: Floats = sum((w * one for w, one in zip(weight, values)), np.zeros(1))
    return found


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Units against the others of their kind.

    Attributes
    ----------
    shift : (R, D) from the others
    chance : (R,) mean squared length that is due to cells
    kind : (R,) number, 0, 1, …
    """

    shift: Floats
    chance: Floats
    kind: Ints

    @classmethod
    def of(cls, sums: UnitSums, kind: Ints, scatter: Floats) -> _Kinds:
        joint = sums.joined(kind, int(kind.max(initial=-1)) + 1)
        found = compare_sums(sums, joint.take(kind).without(sums), scatter, scatter)
        known = (sums.count.sum(axis=1) >= MIN_CELLS) & np.isfinite(found.chance)
        known &= np.bincount(kind[known], minlength=len(joint.count))[kind] > 1
        renumbered = np.unique(kind[known], return_inverse=True)[1].astype(np.int64)
        return cls(found.shift[known], found.chance[known], renumbered)

    @property
    def degrees(self) -> Floats:
        """(K,) of each kind."""
        return np.bincount(self.kind).astype(np.float64) - 1

    def spread(self, scale: Floats) -> Floats:
        """(D,) variance between units of one kind in each scaled direction, cells included.

        Of several kinds it is the median that counts: some may hold units that differ more, such
        as guides of which not all work. How it is shared out tells the half that differs least.
        """
        if not len(self.shift):
            return np.zeros_like(scale)
        found = self._means((self.shift * scale) ** 2)
        whole, middle = found.sum(axis=1), np.median(found.sum(axis=1))
        quiet = whole <= middle
        shared = np.average(found[quiet], axis=0, weights=self.degrees[quiet])
        if len(found) == 1:
            return np.asarray(shared, np.float64)
        # The median of a chi-square number lies below its mean.
        freedom = len(scale) * float(np.median(self.degrees))
        middle /= (1 - 2 / (9 * freedom)) ** 3
        return np.asarray(shared * (middle / shared.sum()), np.float64)

    def by_cells(self, scale: Floats) -> Floats:
        """(D,) the part of it that is due to cells."""
        if not len(self.shift):
            return np.zeros_like(scale)
        chance = float(np.median(self._means(self.chance[:, None])) / len(scale))
        return np.full(len(scale), chance * float((scale**2).mean()))

    def _means(self, values: Floats) -> Floats:
        """(K, …) means over units of a kind, for the distance from the mean of the kind."""
        total = np.zeros((int(self.kind.max()) + 1, values.shape[1]))
        np.add.at(total, self.kind, values)
        size = np.bincount(self.kind)[:, None]
        return np.asarray(total * (size - 1) / size**2, np.float64)


def _known_scatter(sums: UnitSums, control: Bools) -> Floats:
    """(U,) scatter of cells; units of so few that they show none have that of the controls."""
    outer = scatter_of(all_of(sums, control)).item()
    scatter = scatter_of(sums)
    return np.where(np.isfinite(scatter), scatter, outer)


def _scale(spread: Floats, degrees: float) -> Floats:
    """Factors that make directions alike, as far as so many degrees of freedom can tell."""
    mean = float(spread.mean())
    if not mean > 0:
        return np.ones_like(spread)
    shrunk = (degrees * spread + PRIOR * mean) / (degrees + PRIOR)
    return np.asarray(np.sqrt(mean / shrunk))


def _freedom(parts: list[_Kinds], scale: Floats, covariance: Floats) -> float:
    """Directions that units differ in: the trace of their covariance, squared, over that of its
    square, which the products of units of different kinds tell, or of different controls.
    """
    shift = np.concatenate([part.shift for part in parts]) * scale
    first = np.cumsum([0, *(part.kind.max(initial=-1) + 1 for part in parts)])
    kind = np.concatenate([part.kind + start for part, start in zip(parts, first)])
    if len(parts) > 1 and kind.max(initial=-1) + 1 >= MIN_KINDS:
        others = kind[:, None] != kind[None]
    elif len(parts[0].shift) >= MIN_SCATTER:
        shift = parts[0].shift * scale
        others = ~np.eye(len(shift), dtype=bool)
    else:
        cells = covariance * np.outer(scale, scale)
        return float(np.trace(cells)) ** 2 / float((cells**2).sum())
    products = shift @ shift.T
    found = float(np.diagonal(products).mean() ** 2 / (products[others] ** 2).mean())
    return min(found, float(len(scale)))
