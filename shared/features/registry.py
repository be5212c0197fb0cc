"""Groups of features: what there is, what each needs, and the dictionary made from it.

A group is a function that measures all objects at once, registered together with the
description of every feature it returns. The engine names the columns and the dictionary from
the same description, so the two cannot part. Users register groups of their own the same way,
in a module that `poolvox.shared.features.extensions` finds by the name of the group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import ConfigError
from poolvox.shared.features.extensions import import_group, installed_groups, split_path

__all__ = [
    "Feature",
    "Group",
    "Needs",
    "feature_dictionary",
    "get_group",
    "group_names",
    "register",
]

Needs = Literal["objects", "images", "pairs"]
Measure = Callable[..., Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Feature:
    """One measurement, or one per parameter.

    Attributes
    ----------
    name : what stands in the column, with its unit where it has one, such as `Volume_um3`
    unit : `um`, `um2`, `um3`, `degree`, `intensity`, `count`, or empty for a plain number
    formula : how it is computed, in words and symbols; deviations from other programs too
    reference : paper (DOI) or standard the definition is from
    range : values that can occur, such as `[0, 1]`
    parameters : suffixes of the columns, if there is one column per parameter
    """

    name: str
    unit: str
    formula: str
    reference: str = ""
    range: str = "(-inf, inf)"
    parameters: tuple[str, ...] = ()

    def columns(self, channels: tuple[str, ...] = ()) -> list[str]:
        """Names of its columns, without compartment and group."""
        stem = "_".join((self.name, *channels))
        return [f"{stem}_{parameter}" for parameter in self.parameters] or [stem]


@dataclass(frozen=True)
class Group:
    """A registered group; `measure` and `describe` take the options as their last argument."""

    name: str
    measure: Measure
    describe: Callable[[int, Any], tuple[Feature, ...]]
    needs: Needs
    dims: tuple[int, ...]
    options: Any = None
    common: bool = True

    @property
    def key(self) -> str:
        """The name by which configurations and users choose the group."""
        return self.name.lower()


_GROUPS: dict[str, Group] = {}


def register(
    name: str,
    *,
    features: Iterable[Feature] | Callable[[int, Any], tuple[Feature, ...]],
    needs: Needs = "objects",
    dims: tuple[int, ...] = (2, 3),
    options: Any = None,
    common: bool = True,
) -> Callable[[Measure], Measure]:
    """Register the decorated function as a group of features.

    Parameters
    ----------
    name : as it stands in columns, such as `Shape`; chosen in lower case
    features : what it returns, or a function of the number of axes and the options that says so
    needs : `objects`: called with (objects, options); `images`: once per channel with
        (objects, signal, options); `pairs`: once per pair with (objects, first, second, options)
    dims : numbers of axes it works for
    options : default options, a frozen dataclass
    common : whether it is measured unless groups are chosen

    Examples
    --------
    >>> @register("Reach", features=[Feature("Voxels", "count", "number of voxels")], common=False)
    ... def reach(objects, options):
    ...     return {"Voxels": objects.counts.astype(float)}
    >>> get_group("reach").name
    'Reach'
    """
    fixed = None if callable(features) else tuple(features)

    def describe(ndim: int, chosen: Any) -> tuple[Feature, ...]:
        return features(ndim, chosen) if callable(features) else fixed or ()

    def keep(function: Measure) -> Measure:
        group = Group(name, function, describe, needs, dims, options, common)
        _keep(group)
        return function

    return keep


def _keep(group: Group) -> None:
    """Enter a group, in place of an older one of the user's, but of none of this package."""
    before = _GROUPS.get(group.key)
    if before is not None and before.measure.__module__ != group.measure.__module__:
        own = before.measure.__module__.startswith("poolvox.")
        if own:
            raise ConfigError(
                f"there is a group of features {group.name!r} in poolvox: give yours another name"
            )
    _GROUPS[group.key] = group


def group_names(ndim: int | None = None, *, common: bool = False) -> list[str]:
    """Names of the registered groups, of those for `ndim` axes, or of the common ones only."""
    groups = _GROUPS.values()
    return [g.key for g in groups if (ndim is None or ndim in g.dims) and (g.common or not common)]


def get_group(name: str, options: Any = None) -> Group:
    """The group of that name, with `options` in place of its defaults if given.

    Parameters
    ----------
    name : of a group that is registered, or that can be found and imported: `module:group`,
        `file.py:group`, or an entry point of the group `poolvox.features`
    """
    group = _find(name)
    if options is None:
        return group
    if not isinstance(options, type(group.options)):
        wanted = type(group.options).__name__ if group.options is not None else "no options"
        raise ConfigError(
            f"group {name!r} got {type(options).__name__} as options: it takes {wanted}"
        )
    return replace(group, options=options)


def _find(name: str) -> Group:
    place, own = split_path(name)
    if place or own.lower() not in _GROUPS:
        own = import_group(name)
    if own.lower() in _GROUPS:
        return _GROUPS[own.lower()]
    if place:
        raise ConfigError(f"{place} registers no group of features {own!r}")
    known = sorted({*_GROUPS, *installed_groups()})
    near = get_close_matches(own.lower(), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise ConfigError(f"there is no group of features {own!r}: {hint}")


def feature_dictionary(groups: Iterable[Group], ndim: int) -> pd.DataFrame:
    """Describe every feature of `groups`, one row for each column they make.

    The columns are group, name, unit, formula, reference and range.

    `name` is the column's name without the compartment, `{channel}` standing for any channel.
    """
    channels = {"objects": (), "images": ("{channel}",), "pairs": ("{channel}", "{channel2}")}
    rows = [
        (group.name, f"{group.name}_{column}", f.unit, f.formula, f.reference, f.range)
        for group in groups
        for f in group.describe(ndim, group.options)
        for column in f.columns(channels[group.needs])
    ]
    return pd.DataFrame(rows, columns=["group", "name", "unit", "formula", "reference", "range"])
