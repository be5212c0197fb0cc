"""Rules of quality: what they are, and which rows they hold for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import filter as matching
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import model_validator

from poolvox.shared.config import Model, load_config
from poolvox.shared.errors import ConfigError
from poolvox.shared.profiles.normalise import grouped
from poolvox.shared.profiles.tables.columns import Matrix, feature_matrix
from poolvox.shared.profiles.tables.groups import Groups, group_rows

__all__ = ["Condition", "Measured", "Rule", "read_rules", "wanted_features"]

SETS: Final = Path(__file__).parent / "sets" / "quality.yaml"
COUNT: Final = "Count"
SATURATED: Final = "Saturated"
# With fewer members a group has no spread that could be trusted.
FEWEST: Final = 5
# No camera and no type of pixels ends below 255, but for images scaled to 0 to 1.
LEAST_CEILING: Final = 255
UNIT_CEILING: Final = 1.0


class Condition(Model):
    """One comparison.

    Attributes
    ----------
    features : alternatives, of which the first that there is counts; `*` is anything
    above, below : of the robust z within the group
    over, under : of the value
    """

    features: tuple[str, ...]
    above: float | None = None
    below: float | None = None
    over: float | None = None
    under: float | None = None

    @model_validator(mode="after")
    def _compares(self) -> Condition:
        if all(v is None for v in (self.above, self.below, self.over, self.under)):
            raise ValueError("a condition needs above, below, over or under")
        return self

    def find(self, columns: Sequence[str]) -> str | None:
        """The feature that counts among those that there are."""
        for pattern in self.features:
            found = matching(columns, pattern)
            if found:
                return str(found[0])
        return None


class Rule(Model):
    """What is flagged, and why; all conditions must hold."""

    reason: str
    conditions: tuple[Condition, ...]
    level: Literal["object", "field"] = "object"


class RuleSets(Model):
    """The sets that ship with the package."""

    sets: dict[str, dict[str, Rule]]


class RuleFile(Model):
    """Rules of one's own: `rules: {Tiny: {reason: …, conditions: […]}}`."""

    rules: dict[str, Rule]


def read_rules(names: Sequence[str]) -> dict[str, Rule]:
    """Read rules by the name of their set, or from YAML files.

    Raises
    ------
    ConfigError
        for sets that there are not, and for mistakes in files, with their lines
    """
    shipped = load_config(SETS, RuleSets).sets
    found: dict[str, Rule] = {}
    for name in names:
        if name in shipped:
            found |= shipped[name]
        elif Path(name).suffix in (".yaml", ".yml"):
            found |= load_config(Path(name), RuleFile).rules
        else:
            known = ", ".join(shipped)
            raise ConfigError(f"there are no quality rules {name!r}: use {known}, or a YAML file")
    return found


def wanted_features(rules: dict[str, Rule], columns: Sequence[str]) -> list[str]:
    """Name the measurements that the rules look at."""
    offered = [*columns, COUNT, SATURATED]
    found: dict[str, None] = {}
    for rule in rules.values():
        for condition in rule.conditions:
            name = condition.find(offered)
            if name == SATURATED:
                found |= dict.fromkeys(n for pair in clipped_pairs(columns) for n in pair)
            elif name is not None and name != COUNT:
                found[name] = None
    return list(found)


def clipped_pairs(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Columns of each channel's largest value and the quantile next to it."""
    there = set(columns)
    pairs = []
    for name in columns:
        if "_Intensity_Max_" in name:
            near = name.replace("_Intensity_Max_", "_Intensity_Quantile_") + "_99"
            if near in there:
                pairs.append((name, near))
    return pairs


@dataclass(frozen=True)
class Measured:
    """A table as the rules see it: measurements of objects, and of the fields they lie in.

    Attributes
    ----------
    frame : keys and at least the measurements that the rules want
    by : columns of the groups in which a value is far off or not
    field : columns that name a field; without any, all is one field
    """

    frame: pd.DataFrame
    by: tuple[str, ...]
    field: tuple[str, ...]

    def holds(self, rule: Rule) -> NDArray[np.bool_] | None:
        """Rows for which a rule holds, (N,); None where a measurement is not there."""
        fields = group_rows(self.frame, self.field) if rule.level == "field" else None
        found = np.ones(len(self.frame), bool)
        for condition in rule.conditions:
            name = condition.find([*map(str, self.frame.columns), COUNT, SATURATED])
            values = None if name is None else self._values(name)
            if values is None:
                return None
            found &= self._compare(values, condition, fields)
        return found

    def _values(self, name: str) -> NDArray[np.float64] | None:
        if name == COUNT:
            sizes = group_rows(self.frame, self.field)
            return sizes.sizes[sizes.codes].astype(float)
        if name == SATURATED:
            pairs = clipped_pairs([str(c) for c in self.frame.columns])
            if not pairs:
                return None
            groups = group_rows(self.frame, self.by)
            found = np.zeros(len(self.frame), bool)
            for pair in pairs:
                found |= _clipped(feature_matrix(self.frame, list(pair)), groups)
            return found.astype(float)
        return feature_matrix(self.frame, [name])[:, 0].astype(float)

    def _compare(
        self, values: NDArray[np.float64], condition: Condition, fields: Groups | None
    ) -> NDArray[np.bool_]:
        """Compare objects with objects of their group, or fields with fields."""
        keys = self.frame
        if fields is not None:
            values = grouped.group_centres(
                np.asfortranarray(values[:, None]), *fields.layout, grouped.MEAN
            )[:, 0]
            keys = self.frame.iloc[fields.order[fields.bounds[:-1]]]
        found = _within(values, group_rows(keys, self.by), condition)
        return found if fields is None else found[fields.codes]


def _clipped(values: Matrix, groups: Groups) -> NDArray[np.bool_]:
    """Rows whose brightest hundredth lies at the ceiling of the channel, (N,).

    That an object's greatest value is also its 99th percentile says little by itself: it is so
    for most small objects of 8-bit images. All that is clipped has one value, and none is above it.

    Parameters
    ----------
    values : (N, 2) greatest value and 99th percentile of each object
    """
    top, near = values[:, 0], values[:, 1]
    greatest = pd.Series(top).groupby(groups.codes).transform("max").to_numpy()
    ceiling = (greatest >= LEAST_CEILING) | (greatest == UNIT_CEILING)
    return np.asarray(ceiling & (top == greatest) & (near == greatest))


def _within(values: NDArray[np.float64], groups: Groups, condition: Condition) -> NDArray[np.bool_]:
    column = np.asfortranarray(values[:, None])
    centre, spread, count = grouped.fit_scales(column, *groups.layout, grouped.MAD)
    spread[count < FEWEST] = np.nan
    z = np.empty_like(column, order="F")
    grouped.apply_scales(column, groups.codes, centre, spread, z)
    limits = (
        (z[:, 0], condition.above, 1),
        (z[:, 0], condition.below, -1),
        (values, condition.over, 1),
        (values, condition.under, -1),
    )
    found = np.ones(len(values), bool)
    for numbers, limit, sign in limits:
        if limit is not None:
            # Missing compares as false: what is not known is not flagged.
            found &= sign * numbers > sign * limit
    return found
