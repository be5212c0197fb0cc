"""Measurement of label images of any tool: files in, a table and its dictionary out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.features.choice import choose_groups
from poolvox.shared.features.fields import Field, describe_file, find_fields
from poolvox.shared.features.objects import Spacing, find_objects, spacing_of
from poolvox.shared.features.table import Progress, measure_objects, write_feature_dictionary
from poolvox.shared.ingest.readers import Header, Scene, read_planes
from poolvox.shared.store import write_table

__all__ = ["FileOptions", "measure_files"]

SUFFIXES = (".parquet", ".csv")
DICTIONARY = ".features.csv"


@dataclass(frozen=True)
class FileOptions:
    """What to measure, and what the files do not say.

    Attributes
    ----------
    groups : names of groups, with options or not, see `choose_groups`; the common ones if None
    options : options objects of groups
    channels : which channels, where the image names them, else names for all of its channels
    spacing : micrometres per voxel, before that of the files
    compartment : first part of the names of the columns
    threads : that share the objects
    """

    groups: Sequence[str] | None = None
    options: Sequence[Any] = ()
    channels: Sequence[str] | None = None
    spacing: Spacing | None = None
    compartment: str = "Nuclei"
    threads: int = 1


def measure_files(
    image: Path | str,
    labels: Path | str,
    out: Path | str,
    *,
    options: FileOptions | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure the objects of label images and write the table, with its dictionary beside it.

    Parameters
    ----------
    image : TIFF, ND2, OME-Zarr image, or an OME-Zarr plate, every image of which is measured; or a
        pattern of several files such as `stacks/{well}_{organoid}.tif`, whose fields become keys
    labels : file of labels of the same field, the name of labels inside the OME-Zarr, or a pattern
        with the image's fields
    out : table to write, `.parquet` or `.csv`; the dictionary is called `NAME.features.csv`
    progress : called with steps done and steps in all

    Examples
    --------
    >>> measure_files("plate.zarr", "nuclei", "nuclei.parquet")    # doctest: +SKIP
    """
    chosen, target = options or FileOptions(), Path(out)
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(f"{target.name}: tables are written as {' or '.join(SUFFIXES)}")
    fields = list(find_fields(str(image), str(labels)))
    ndim, tables = 0, []
    for number, field in enumerate(fields):
        found, ndim = _measure_field(field, chosen, _part(progress, number, len(fields)))
        tables.append(found)
    table = pd.concat(tables, ignore_index=True)
    _write(table, target)
    beside = target.with_name(target.stem + DICTIONARY)
    write_feature_dictionary(beside, chosen.groups, ndim=ndim, options=chosen.options)
    return table


class _Channels(Mapping[str, NDArray[Any]]):
    """Channels of a field by name, read when they are asked for."""

    def __init__(self, field: Field, names: Mapping[str, int], axes: str) -> None:
        self._field, self._names, self._axes = field, names, axes

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> NDArray[Any]:
        scene, at = self._field.scene, self._names[name]
        if scene.axes.endswith("s"):
            colours: NDArray[Any] = _read(self._field.image, self._field.header, scene)[..., at]
            return colours
        lead = scene.lead
        numbers = np.arange(math.prod(lead)).reshape(lead)
        if "c" in self._axes:
            numbers = np.take(numbers, at, axis=self._axes.index("c"))
        planes = read_planes(
            self._field.image, self._field.header.kind, scene, numbers.reshape(-1).tolist()
        )
        return np.stack(planes) if "z" in self._axes else planes[0]


def _read(path: Path, header: Header, scene: Scene) -> NDArray[Any]:
    planes = read_planes(path, header.kind, scene, range(math.prod(scene.lead)))
    return np.stack(planes).reshape(scene.shape)


def _measure_field(
    field: Field, options: FileOptions, progress: Progress | None
) -> tuple[pd.DataFrame, int]:
    header = describe_file(field.labels)
    labels = _read(field.labels, header, header.scenes[0])
    # Axes of one step, such as the time and channel of stored labels, say nothing.
    axes = header.scenes[0].axes
    one = tuple(i for i, n in enumerate(labels.shape) if n == 1 and axes[i] not in "yx")
    labels = labels.squeeze(one)
    if labels.ndim not in (2, 3) or "s" in axes:
        raise InputError(
            f"{field.labels.name}: labels have axes {axes} of {header.scenes[0].shape}, expected "
            "one plane or one stack"
        )
    own = {**header.spacing, **field.header.spacing}
    if options.spacing is None and not all(axis in own for axis in "zyx"[-labels.ndim :]):
        raise InputError(
            f"neither {field.image.name} nor {field.labels.name} says how large a voxel is: give "
            f"the spacing in micrometres, {', '.join('zyx'[-labels.ndim :])}"
        )
    spacing = spacing_of(own if options.spacing is None else options.spacing, labels.ndim)
    objects = find_objects(labels, spacing=spacing, threads=options.threads)
    groups = choose_groups(options.groups, labels.ndim, options.options)
    images = _channels(field, labels.shape, options.channels)
    table = measure_objects(
        objects, images, groups, compartment=options.compartment, progress=progress
    )
    for at, (key, value) in enumerate(field.keys(labels.ndim).items()):
        table.insert(at, key, value)
    return table, labels.ndim


def _channels(
    field: Field, shape: tuple[int, ...], wanted: Sequence[str] | None
) -> Mapping[str, NDArray[Any]]:
    """Channels of the image, its axes made out with the help of the labels' shape."""
    scene = field.scene
    axes = scene.axes
    if "i" in axes:
        pages = scene.sizes["i"]
        stack = len(shape) == 3 and "z" not in axes and pages == shape[0]
        axes = axes.replace("i", "z" if stack else "c" if "c" not in axes else "t")
    sizes = dict(zip(axes, scene.shape))
    if sizes.get("t", 1) > 1:
        raise InputError(
            f"{field.image.name} has {sizes['t']} time points: measure one of them at a time"
        )
    found = tuple(
        sizes[axis] for axis in "zyx" if axis in sizes and (axis != "z" or len(shape) > 2)
    )
    if found != shape or (len(shape) == 2 and sizes.get("z", 1) > 1):
        raise InputError(
            f"{field.image.name} has axes {axes} of {scene.shape}, the labels are {shape}: give an "
            "image of the same field"
        )
    count = sizes.get("c", sizes.get("s", 1))
    names = _names(field, count, wanted)
    lead = axes[: len(scene.lead)]
    return _Channels(field, names, lead if len(shape) == 3 else lead.replace("z", "-"))


def _names(field: Field, count: int, wanted: Sequence[str] | None) -> dict[str, int]:
    own = field.header.channels if len(field.header.channels) == count else ()
    if own and wanted is not None:
        unknown = [name for name in wanted if name not in own]
        if not unknown:
            return {name: own.index(name) for name in wanted}
        if len(wanted) != count:
            raise InputError(
                f"{field.image.name} has no channel {', '.join(unknown)}: its channels are "
                f"{', '.join(own)}"
            )
    names = wanted or own or [f"c{i}" for i in range(count)]
    if len(names) != count or len(set(names)) != count:
        raise InputError(
            f"{field.image.name} has {count} channels, got the names {', '.join(names)}: give each "
            "its own name"
        )
    return {name: i for i, name in enumerate(names)}


def _part(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Progress of one of several fields, as if each had as many steps."""
    if progress is None:
        return None
    return lambda done, steps: progress(number * steps + done, count * steps)


def _write(table: pd.DataFrame, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix.lower() == ".parquet":
        write_table(table, target)
        return
    partial = target.with_name(f".{target.name}.partial")
    table.to_csv(partial, index=False, lineterminator="\n")
    partial.replace(target)
