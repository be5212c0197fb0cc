"""How much units that do the same differ, beyond their cells, and in which directions.

Units of controls tell it. Where there are few, units that were treated alike make up for them: what
a treatment does, it does to all of its units, so what they differ by is chance as well.

A shift of a unit has the covariance `c C + t T`: C is that of cells, and c falls with their number;
T is that of units, and t is 1 for a unit and less for the mean of several. Some guides of a screen
have few cells and some many, so C and T are told apart, each unit weighing by what it says of T.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from poolvox.shared.profiles.hits.baseline import Floats
from poolvox.shared.profiles.hits.kinds import Kinds
from poolvox.shared.profiles.hits.sums import Bools, Ints, UnitSums, all_of, scatter_of

__all__ = ["MIN_UNITS", "Chance", "Noise", "fit_noise"]

# Units of controls, at least, for telling how much units differ.
MIN_UNITS: Final = 4
# Units of controls, or kinds of units, at least, for telling in how many directions they do.
MIN_SCATTER: Final = 8
MIN_KINDS: Final = 4
# Degrees of freedom up to which treated units make up for controls.
ENOUGH: Final = 30
# Degrees of freedom that the belief is worth that units differ alike in all directions.
PRIOR: Final = 10.0
# Units whose pairs tell in how many directions they differ.
PAIRED: Final = 1_000
TINY: Final = 1e-300
# Degrees of freedom that are as good as any number.
KNOWN: Final = 1e9


class Chance(NamedTuple):
    """What squared lengths of shifts are by chance, (U,) each.

    They are sums of squares of unlike sizes, and so about `least` and a multiple of a chi-square
    number with the same mean, variance and skewness (Hall 1983, doi:10.1214/aop/1176993451); its
    mean is known from so many units only, which makes an F distribution of it.

    Attributes
    ----------
    mean, variance : of squared lengths
    least : part that does not vary
    freedom : degrees of freedom of the rest; 1 where units differ along one line
    told_by : degrees of freedom of its mean
    """

    mean: Floats
    variance: Floats
    least: Floats
    freedom: Floats
    told_by: Floats

    def beyond(self, squared: Floats) -> Floats:
        """(U,) chance of squared lengths as large as these, or larger."""
        from scipy.stats import f

        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (squared - self.least) / (self.mean - self.least)
            return np.asarray(f.sf(ratio, self.freedom, self.told_by))


@dataclass(frozen=True, slots=True)
class Noise:
    """What shifts there are by chance.

    Attributes
    ----------
    scale : (D,) factors of the coordinates, with which units differ about alike in all directions
    covariance : (D, D) of cells, C, in scaled coordinates
    between : (D,) variances of units beyond their cells, the diagonal of T, in scaled coordinates
    concentration : sum of the squares of T; the larger, the fewer directions units differ in
    uncertainty : variance of the estimated sum of `between`
    degrees : degrees of freedom that it was told by
    controls : units of controls
    width : sum of the variances of cells, in coordinates as they come
    """

    scale: Floats
    covariance: Floats
    between: Floats
    concentration: float
    uncertainty: float
    degrees: float
    controls: int
    width: float

    @property
    def replicated(self) -> bool:
        """Whether there are enough units of controls to tell how much units differ."""
        return self.controls >= MIN_UNITS

    def chance(self, cells: Floats, units: Floats) -> Chance:
        """Tell the distribution of squared lengths of scaled shifts.

        Parameters
        ----------
        cells : (U,) mean squared length of the shift, before scaling, that is due to cells
        units : (U,) variance of the shift in variances of one unit
        """
        c, t = cells / self.width, units
        own, total = self.covariance, float(self.between.sum())
        twice = own @ own
        both = float((np.diagonal(own) * self.between).sum())
        # Sums of the second and third powers of the variances along the axes of c C + t T; those
        # of T are about equal along as many axes as there seem to be.
        along = self.concentration / total if total else 0.0
        squares = c**2 * np.trace(twice) + 2 * c * t * both + t**2 * self.concentration
        cubes = c**3 * (twice * own).sum() + t**3 * along * self.concentration
        cubes += 3 * c**2 * t * float((np.diagonal(twice) * self.between).sum())
        cubes += 3 * c * t**2 * along * both
        mean = c * np.trace(own) + t * total
        with np.errstate(divide="ignore", invalid="ignore"):
            least = np.maximum(mean - squares**2 / cubes, 0.0)
            freedom = (mean - least) ** 2 / squares
            told = 2 * (mean - least) ** 2 / (t**2 * self.uncertainty)
        told = np.nan_to_num(told, nan=KNOWN).clip(max=KNOWN)
        return Chance(mean, 2 * squares, least, freedom, told)

    def wider(self, more: float) -> Noise:
        """The same with so much more between units, spread as cells are."""
        own = np.diagonal(self.covariance)
        part = more / own.sum()
        root = np.sqrt(self.concentration) + part * np.sqrt((self.covariance**2).sum())
        return replace(self, between=self.between + part * own, concentration=float(root**2))


def fit_noise(sums: UnitSums, control: Bools, group: Ints, covariance: Floats) -> Noise:
    """Tell how units differ, from controls and as far as needed from others.

    Parameters
    ----------
    sums : of all units
    control : (U,) units of controls
    group : (U,) what was done to each unit, by number
    covariance : (D, D) of the controls' cells
    """
    scatter = scatter_of(sums, scatter_of(all_of(sums, control)).item())
    width = float(np.trace(covariance))
    same = np.zeros(int(control.sum()), np.int64)
    own = Kinds.of(sums.take(control), same, scatter[control], width)
    parts, degrees = [own], [own.degrees]
    if own.degrees < ENOUGH:
        # Against the middle of each batch: units of one kind may lie in different ones.
        centred = sums.take(~control).centred(sums)
        other = Kinds.of(centred, group[~control], scatter[~control], width)
        if other.degrees:
            parts.append(other)
            degrees.append(min(ENOUGH - own.degrees, other.degrees))
    share = [one / max(sum(degrees), 1.0) for one in degrees]
    scale, flattery = _scale(parts, share, sum(degrees), covariance)
    covariance = covariance * np.outer(scale, scale)
    # Squared lengths of units that the scale was fitted by are too short.
    parts = [part.scaled(scale * np.sqrt(1 + flattery)) for part in parts]
    between = _mixed([part.between(covariance) for part in parts], share, len(scale))
    noise = Noise(
        scale=scale,
        covariance=covariance,
        between=between,
        concentration=_concentration(parts, covariance, between),
        uncertainty=0.0,
        degrees=sum(degrees),
        controls=len(own.shift),
        width=width,
    )
    return replace(noise, uncertainty=_uncertainty(noise, parts, degrees))


def _mixed(values: list[Floats], share: list[float], directions: int) -> Floats:
    found: Floats = sum((s * one for s, one in zip(share, values)), np.zeros(directions))
    return found


def _scale(
    parts: list[Kinds], share: list[float], degrees: float, covariance: Floats
) -> tuple[Floats, float]:
    """Factors that make directions alike, as far as units can tell.

    Also by what part squared lengths of these units are too short then.
    """
    spread, worth = np.zeros(len(covariance)), 0.0
    for part, own in zip(parts, share):
        if not len(part.shift):
            continue
        rows, weight = part.quiet(covariance), part.weights(covariance)
        seen = (weight[:, None] * part.shift**2)[rows].sum(axis=0)
        spread += own * seen / max(float(seen.sum()), TINY)
        # So many units of equal weight would tell as much.
        worth += own * float(weight.sum() ** 2 / (weight**2).sum()) / len(weight)
    mean, firm = float(spread.mean()), worth * degrees
    if not mean > 0:
        return np.ones_like(spread), 0.0
    shrunk = (firm * spread + PRIOR * mean) / (firm + PRIOR)
    return np.asarray(np.sqrt(mean / shrunk)), 2 / (firm + PRIOR)


def _concentration(parts: list[Kinds], covariance: Floats, between: Floats) -> float:
    """Sum of the squares of T, which the products of units of different kinds tell, or of
    different controls.
    """
    total, trace = float(between.sum()), float(np.trace(covariance))
    squares = float((covariance**2).sum())
    first = np.cumsum([0, *(len(part.sizes) for part in parts)])
    kind = np.concatenate([part.kind + start for part, start in zip(parts, first)])
    shift, cells, units = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("shift", "cells", "units")
    )
    rows = np.unique(np.linspace(0, len(kind) - 1, min(PAIRED, len(kind))).astype(int))
    if len(parts) > 1 and first[-1] >= MIN_KINDS:
        others = kind[rows][:, None] != kind[rows]
    elif len(parts[0].shift) >= MIN_SCATTER:
        rows = rows[rows < len(parts[0].shift)]
        others = ~np.eye(len(rows), dtype=bool)
    else:
        return total**2 * squares / trace**2
    shift, c, t = shift[rows], cells[rows], units[rows]
    weight = others / np.outer(c * trace + t * total, c * trace + t * total) ** 2
    both = float((np.diagonal(covariance) * between).sum())
    rest = squares * np.outer(c, c) + both * (np.outer(c, t) + np.outer(t, c))
    joint = np.outer(t, t)
    found = (weight * joint * ((shift @ shift.T) ** 2 - rest)).sum() / (weight * joint**2).sum()
    return float(np.clip(found, total**2 / len(covariance), total**2))


def _uncertainty(noise: Noise, parts: list[Kinds], degrees: list[float]) -> float:
    """Variance of the sum of the variances of units.

    It is also told for units that differ more than they seem to: where they seem to differ in
    nothing, the more they might.
    """
    more = 0.0
    for _ in range(2):
        wider = noise.wider(np.sqrt(more))
        more = 0.0
        for part, own in zip(parts, degrees):
            if not len(part.shift):
                continue
            chance = wider.chance(part.cells * noise.width, part.units)
            size = part.sizes[part.kind]
            told = (part.units / chance.mean) ** 2
            # Few units do not tell in how many directions they differ.
            few = noise.degrees <= MIN_SCATTER
            spread = np.full(len(told), 2.0) if few else chance.variance / chance.mean**2
            variance = (told * spread * size / (size - 1)).sum() / told.sum() ** 2
            more += own * part.degrees * float(variance)
        more /= max(noise.degrees, 1.0) ** 2
    return more
