"""Evaluation of files: TIFF stacks, OME-Zarr labels, tables of centres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.evaluate.labels import Evaluation, evaluate_labels
from poolvox.shared.evaluate.points import PointEvaluation, evaluate_points
from poolvox.shared.evaluate.scores import THRESHOLDS
from poolvox.shared.imaging.cleanup import whole_labels

__all__ = ["evaluate_files", "evaluate_point_files", "read_labels"]


def evaluate_files(
    labels: Path,
    truth: Path,
    *,
    spacing: Sequence[float] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    threshold: float = 0.5,
) -> Evaluation:
    """Compare two files of labels; see `evaluate_labels`.

    Parameters
    ----------
    labels, truth : TIFF files, or OME-Zarr label groups such as `stacks.zarr/A/1/0/labels/nuclei`
    spacing : voxel size, micrometres; by default that of the files, where they have none sizes stay
        in voxels
    """
    (found, own), (true, other) = read_labels(Path(labels)), read_labels(Path(truth))
    return evaluate_labels(
        true,
        found,
        spacing=spacing or own or other,
        thresholds=thresholds,
        threshold=threshold,
    )


def evaluate_point_files(
    labels: Path,
    points: Path,
    *,
    spacing: Sequence[float] | None = None,
    radius: float | None = None,
) -> PointEvaluation:
    """Compare a file of labels with a table of centres.

    Parameters
    ----------
    points : CSV or TSV with the columns z, y, x in voxels, or z_um, y_um, x_um in micrometres
    """
    found, own = read_labels(Path(labels))
    scale = spacing or own
    if scale is None:
        raise InputError(f"{labels} has no voxel size: give it, in micrometres, z y x")
    return evaluate_points(_read_points(Path(points), scale), found, spacing=scale, radius=radius)


def read_labels(path: Path) -> tuple[Any, tuple[float, ...] | None]:
    """Read labels, lazily from OME-Zarr, and their voxel size where the file has one."""
    if not path.exists():
        raise InputError(f"there is no {path}: give a TIFF file or an OME-Zarr label group")
    if path.is_dir():
        return _read_zarr(path)
    try:
        labels = tifffile.imread(path)
    except (tifffile.TiffFileError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as TIFF: {error}") from error
    labels = whole_labels(labels, path.name)
    return np.squeeze(labels) if labels.ndim > 3 else labels, _voxel_size(path, labels.ndim)


def _voxel_size(path: Path, ndim: int) -> tuple[float, ...] | None:
    """Of a TIFF file, micrometres; None where it does not tell all of it."""
    from poolvox.shared.ingest.readers import describe

    try:
        told = describe(path).spacing
    except InputError:
        # Pixels that can be read count, whatever is wrong with what is said about them.
        return None
    axes = "zyx"[-min(ndim, 3) :]
    return tuple(told[axis] for axis in axes) if all(axis in told for axis in axes) else None


def _read_zarr(path: Path) -> tuple[Any, tuple[float, ...] | None]:
    # Imported here: TIFF files are compared without the cost of zarr.
    from poolvox.shared.store import open_image

    image = open_image(path)
    data = image.image().data
    axes, sizes = [axis for axis in "zyx" if axis in image.axes], image.spacing
    spacing = tuple(sizes[axis] for axis in axes) if set(axes) <= set(sizes) else None
    return (data if data.ndim <= 3 else data.squeeze()), spacing


def _read_points(path: Path, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Centres in voxels."""
    if not path.exists():
        raise InputError(f"there is no {path}: give a table with the columns z, y, x")
    table = pd.read_csv(path, sep=None, engine="python")
    table.columns = [str(name).strip().lower() for name in table.columns]
    axes = list("zyx"[-len(spacing) :])
    lengths = [f"{axis}_um" for axis in axes]
    if not set(axes) <= set(table) and set(lengths) <= set(table):
        return np.asarray(table[lengths].to_numpy(float) / np.asarray(spacing, float))
    if not set(axes) <= set(table):
        raise InputError(
            f"{path} needs the columns {', '.join(axes)} in voxels, or {', '.join(lengths)}; got "
            f"{', '.join(table.columns)}"
        )
    return table[axes].to_numpy(float)
