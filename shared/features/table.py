"""From a label image and its channels to one table, a row per object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from poolvox.shared.errors import PoolvoxError
from poolvox.shared.features.channels import Signal, read_signal
from poolvox.shared.features.choice import choose_groups
from poolvox.shared.features.kernels import Floats
from poolvox.shared.features.objects import Objects, Spacing, find_objects
from poolvox.shared.features.registry import Group, feature_dictionary

__all__ = ["Progress", "measure", "measure_objects", "write_feature_dictionary"]

# Steps done, and steps in all.
Progress = Callable[[int, int], None]


def measure(
    labels: ArrayLike,
    images: Mapping[str, ArrayLike] | None = None,
    *,
    spacing: Spacing,
    groups: Iterable[str] | None = None,
    compartment: str = "Nuclei",
    options: Iterable[Any] = (),
    threads: int = 1,
) -> pd.DataFrame:
    """Measure every object of a label image.

    Parameters
    ----------
    labels : (Y, X) or (Z, Y, X) integers, 0 is background
    images : channels by name, each of the labels' shape; values that are not finite are ignored
    spacing : micrometres per voxel, in the order of the axes, or by axis name
    groups : names of the groups to measure (see `group_names`), with options or not, such as
        `texture: {levels: 64}`, and groups of your own (see `register` and `get_group`); the
        common ones if not given
    compartment : first part of the names of the columns
    options : options objects of groups, such as `TextureOptions(levels=64)`
    threads : threads that share the objects; the result does not depend on it

    Returns
    -------
    DataFrame with one row per label, ascending: `Metadata_Label`, positions in voxels and in
    micrometres, then `{compartment}_{Group}_{Measurement}[_{Channel}[_{Channel2}]][_{parameter}]`.
    What cannot be measured is NaN.

    Examples
    --------
    >>> table = measure([[0, 4, 4], [0, 4, 4]], spacing=0.5, groups=["shape"])
    >>> table.loc[0, ["Metadata_Label", "Nuclei_Shape_Area_um2"]].tolist()
    [4.0, 1.0]
    """
    objects = find_objects(labels, spacing=spacing, threads=threads)
    chosen = choose_groups(groups, objects.ndim, options)
    return measure_objects(objects, images or {}, chosen, compartment=compartment)


def measure_objects(
    objects: Objects,
    images: Mapping[str, ArrayLike],
    groups: Iterable[Group],
    *,
    compartment: str = "Nuclei",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure objects that were found before; see `measure`.

    Parameters
    ----------
    images : channels by name; each is asked for once
    progress : called with the steps done and all steps, a step being a group of one channel
    """
    columns = dict(_positions(objects))
    steps = list(_steps(images, list(groups)))
    kept: dict[str, Signal] = {}
    pairs = bool(steps) and steps[-1][0].needs == "pairs"
    for done, (group, names) in enumerate(steps):
        for name in set(kept) - set(names):
            if pairs:
                kept[name].shelve()
            else:
                del kept[name]
        for name in names:
            if name not in kept:
                kept[name] = read_signal(name, images[name], objects)
        found = group.measure(objects, *(kept[name] for name in names), group.options)
        columns.update(_named(found, group, objects, compartment, names))
        if progress is not None:
            progress(done + 1, len(steps))
    return pd.DataFrame(columns)


def _steps(
    images: Mapping[str, ArrayLike], groups: list[Group]
) -> Iterable[tuple[Group, tuple[str, ...]]]:
    """Groups with the channels of each call: those of the objects, of channels, of pairs."""
    yield from ((group, ()) for group in groups if group.needs == "objects")
    single = [group for group in groups if group.needs == "images"]
    yield from ((group, (name,)) for name in images for group in single)
    pairs = [group for group in groups if group.needs == "pairs"]
    yield from product(pairs, combinations(images, 2))


def write_feature_dictionary(
    path: str | Path,
    groups: Iterable[str] | None = None,
    *,
    ndim: int,
    options: Iterable[Any] = (),
) -> Path:
    """Write what the columns of a table mean as CSV: name, unit, formula, reference and range.

    Parameters
    ----------
    path : the CSV file, usually beside the table
    groups, options : as they were given to `measure`
    ndim : number of axes of the labels, 2 or 3
    """
    target = Path(path)
    table = feature_dictionary(choose_groups(groups, ndim, options), ndim)
    partial = target.with_name(f".{target.name}.partial")
    table.to_csv(partial, index=False, lineterminator="\n")
    partial.replace(target)
    return target


def _positions(objects: Objects) -> Iterable[tuple[str, Any]]:
    yield "Metadata_Label", objects.ids
    axes = "ZYX"[-objects.ndim :]
    for axis, values in zip(axes, objects.centroids.T):
        yield f"Metadata_{axis}", values
    for axis, values, scale in zip(axes, objects.centroids.T, objects.spacing):
        yield f"Metadata_{axis}_um", values * scale


def _named(
    found: Mapping[str, Any],
    group: Group,
    objects: Objects,
    compartment: str,
    channels: tuple[str, ...],
) -> dict[str, Floats]:
    """Columns of one group; it must return what it was registered with, no more and no less."""
    features = group.describe(objects.ndim, group.options)
    if {feature.name for feature in features} != set(found):
        odd = sorted({feature.name for feature in features} ^ set(found))
        raise PoolvoxError(
            f"group {group.name!r} and its description differ in {', '.join(odd)}: "
            "describe every feature that the function returns"
        )
    columns: dict[str, Floats] = {}
    for feature in features:
        values = np.array(found[feature.name], dtype=np.float64).reshape(
            len(objects), max(1, len(feature.parameters))
        )
        # What overflows cannot be measured.
        values[np.isinf(values)] = np.nan
        names = feature.columns(channels)
        for name, column in zip(names, values.T, strict=True):
            columns[f"{compartment}_{group.name}_{name}"] = np.ascontiguousarray(column)
    return columns
