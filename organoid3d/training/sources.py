"""Annotated stacks of users: which files belong together, and what is in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.imaging.cleanup import whole_labels
from poolvox.shared.ingest.readers import describe, is_image, read_planes

__all__ = ["AnnotatedStack", "Source", "find_sources", "read_source"]

Triple = tuple[float, float, float]
Use = Literal["", "train", "test"]

TABLES = (".csv", ".tsv")
VOXEL_COLUMNS = ("voxel_z", "voxel_y", "voxel_x")
# Ends that names of label files may have beyond those of their stacks.
LABEL_ENDS = ("", "_labels", "_label", "_nuclei", "_masks", "_mask")
# A network cannot learn from objects of fewer voxels: they hold no shape.
LEAST_VOXELS = 8


@dataclass(frozen=True, slots=True)
class Source:
    """A stack and its labels on disk.

    Attributes
    ----------
    stack, labels : TIFF files or OME-Zarr images
    voxel_size : (z, y, x), micrometres; None: from the files
    use : `train` or `test` where the user decided
    channel : of the stack, where it has several
    """

    stack: Path
    labels: Path
    voxel_size: Triple | None = None
    use: Use = ""
    channel: int | str | None = None

    @property
    def name(self) -> str:
        """Name of the stack without its ends."""
        return _stem(self.stack)


@dataclass(frozen=True, slots=True)
class AnnotatedStack:
    """A stack in memory: (Z, Y, X) image and labels, and the voxel size in micrometres."""

    image: NDArray[np.float32]
    labels: NDArray[np.int32]
    spacing: Triple


def find_sources(
    stacks: Path,
    labels: Path | None = None,
    *,
    voxel_size: Triple | None = None,
    channel: int | str | None = None,
) -> list[Source]:
    """Pair stacks with labels.

    Parameters
    ----------
    stacks : a file, a folder of files, or a table (CSV) with the columns stack and labels, paths
        relative to it, and optionally voxel_z, voxel_y, voxel_x in micrometres and use, which is
        train or test; a row that is there twice counts twice
    labels : a file or folder; files have the names of their stacks, or those and `_labels`
    voxel_size : (z, y, x), micrometres, of all stacks
    channel : of the nuclei, by number from 0 or by name, where stacks have several
    """
    if stacks.suffix.lower() in TABLES:
        if labels is not None:
            raise InputError(f"{stacks.name} is a table, which names the labels: leave {labels}")
        return _from_table(stacks, voxel_size, channel)
    if labels is None:
        raise InputError(f"{stacks} is no table: give its labels as well, a file or a folder")
    for path in (stacks, labels):
        if not path.exists():
            raise InputError(f"there is no {path}: give files or folders of stacks and labels")
    if not _is_folder(stacks) and not _is_folder(labels):
        return [Source(stacks, labels, voxel_size, channel=channel)]
    if not (_is_folder(stacks) and _is_folder(labels)):
        raise InputError(f"{stacks} and {labels} must be two files or two folders")
    pairs = _paired(_images(stacks), _images(labels), stacks, labels)
    return [Source(stack, label, voxel_size, channel=channel) for stack, label in pairs]


def read_source(source: Source) -> AnnotatedStack:
    """Read a stack and its labels, and refuse what nothing can be learnt from."""
    image, own = _read_stack(source.stack, source.channel)
    labels, other = _read_stack(source.labels, None)
    spacing = source.voxel_size or _voxel(own) or _voxel(other)
    if spacing is None:
        raise InputError(
            f"neither {source.stack.name} nor {source.labels.name} tells its voxel size: give "
            "--voxel-size z,y,x in micrometres"
        )
    if image.shape != labels.shape:
        raise InputError(
            f"{source.stack.name} is {image.shape}, its labels {source.labels.name} are "
            f"{labels.shape}: they must be of the same field, z, y, x"
        )
    if not np.isfinite(image).all():
        raise InputError(f"{source.stack.name} has values that are not finite: mend it first")
    return AnnotatedStack(image.astype(np.float32), _whole(labels, source), spacing)


def _is_folder(path: Path) -> bool:
    """Whether it is a folder of files, and not an OME-Zarr image, which is a folder as well."""
    marks = (".zattrs", "zarr.json", ".zgroup")
    return path.is_dir() and not any((path / mark).exists() for mark in marks)


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if is_image(p.name) and not p.name.startswith("."))


def _paired(
    stacks: Sequence[Path], labels: Sequence[Path], *folders: Path
) -> list[tuple[Path, Path]]:
    if not stacks:
        raise InputError(f"{folders[0]} holds no TIFF files or OME-Zarr images")
    beside = folders[0].resolve() == folders[1].resolve()
    known = {_stem(path): path for path in labels}
    found = {stack: _labels_of(stack, known, beside=beside) for stack in stacks}
    # Where labels lie beside their stacks, what is labels of another is no stack.
    taken = {label for label in found.values() if label is not None} if beside else set()
    lone = [stack.name for stack, label in found.items() if label is None and stack not in taken]
    if lone:
        raise InputError(
            f"{len(lone)} of {len(stacks) - len(taken)} stacks have no labels of their name in "
            f"{folders[1]}: {_listed(lone)}; {_listed([p.name for p in labels])} are there"
        )
    return [(stack, label) for stack, label in found.items() if label is not None]


def _labels_of(stack: Path, known: Mapping[str, Path], *, beside: bool) -> Path | None:
    names = [_stem(stack) + end for end in (LABEL_ENDS[1:] if beside else LABEL_ENDS)]
    return next((known[name] for name in names if name in known), None)


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _stem(path: Path) -> str:
    name = path.name
    for end in (".ome.tif", ".ome.tiff", ".ome.zarr"):
        if name.lower().endswith(end):
            return name[: -len(end)]
    return path.stem


def _from_table(path: Path, voxel_size: Triple | None, channel: int | str | None) -> list[Source]:
    if not path.exists():
        raise InputError(f"there is no {path}")
    table = pd.read_csv(path, sep=None, engine="python")
    missing = [name for name in ("stack", "labels") if name not in table]
    if missing or table.empty:
        what = f"lacks the columns {', '.join(missing)}" if missing else "has no rows"
        raise InputError(f"{path} {what}: one row per stack, with the columns stack and labels")
    return [_from_row(row, path.parent, voxel_size, channel) for _, row in table.iterrows()]


def _from_row(
    row: pd.Series[Any], folder: Path, voxel_size: Triple | None, channel: int | str | None
) -> Source:
    stack, labels = (folder / str(row[name]) for name in ("stack", "labels"))
    for file in (stack, labels):
        if not file.exists():
            raise InputError(f"there is no {file}, which the table names")
    steps = [float(row[name]) for name in VOXEL_COLUMNS if name in row and pd.notna(row[name])]
    if steps and (len(steps) != 3 or not all(math.isfinite(s) and s > 0 for s in steps)):
        raise InputError(f"{stack.name}: {', '.join(VOXEL_COLUMNS)} must be three micrometres")
    use = "" if pd.isna(row.get("use")) else str(row["use"]).strip()
    if use not in ("", "train", "test"):
        raise InputError(f"{stack.name}: use is {use!r}, expected train or test")
    own: Triple | None = (steps[0], steps[1], steps[2]) if steps else voxel_size
    return Source(stack, labels, own, use, channel)  # type: ignore[arg-type]


def _voxel(spacing: dict[str, float]) -> Triple | None:
    if not all(axis in spacing for axis in "zyx"):
        return None
    return spacing["z"], spacing["y"], spacing["x"]


def _read_stack(path: Path, channel: int | str | None) -> tuple[NDArray[Any], dict[str, float]]:
    """Read the (Z, Y, X) array of a file, whose other axes are of one step or the channel."""
    header = describe(path)
    scene = header.scenes[0]
    if scene.fault or len(header.scenes) > 1:
        raise InputError(f"{path.name}: {scene.fault or 'several images in one file'}")
    planes = read_planes(path, header.kind, scene, range(math.prod(scene.lead)))
    array = np.stack(planes).reshape(scene.shape)
    axes = scene.axes.replace("i", "z") if "z" not in scene.axes else scene.axes
    if "c" in axes and channel is not None:
        array = array.take(_channel(channel, header.channels, path), axis=axes.index("c"))
        axes = axes.replace("c", "")
    one = tuple(n for n, axis in enumerate(axes) if axis not in "zyx" and array.shape[n] == 1)
    array = array.squeeze(one)
    if array.ndim != 3:
        many = " and several channels: give --channel" if "c" in axes else ""
        raise InputError(f"{path.name} has axes {axes} of {scene.shape}{many}; expected z, y, x")
    return array, dict(header.spacing)


def _channel(channel: int | str, names: Iterable[str], path: Path) -> int:
    names = list(names)
    if isinstance(channel, int) or str(channel).isdigit():
        return int(channel)
    if channel not in names:
        raise InputError(f"{path.name} has no channel {channel!r}: {_listed(names)}")
    return names.index(channel)


def _whole(labels: NDArray[Any], source: Source) -> NDArray[np.int32]:
    labels = whole_labels(labels, source.labels.name)
    if labels.min(initial=0) < 0:
        raise InputError(f"{source.labels.name} holds negative labels: 0 is background")
    names, counts = np.unique(labels, return_counts=True)
    large = names[(names > 0) & (counts >= LEAST_VOXELS)]
    if not len(large):
        raise InputError(
            f"{source.labels.name} holds no object of {LEAST_VOXELS} voxels or more: nothing can "
            "be learnt from it; leave the pair out"
        )
    order = np.zeros(len(names), np.int32)
    order[np.isin(names, large)] = np.arange(1, len(large) + 1)
    found: NDArray[np.int32] = order[np.searchsorted(names, labels)]
    return found
