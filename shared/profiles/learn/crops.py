"""Small images of single objects, all of one size in micrometres, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.shared.errors import InputError

__all__ = ["CropSettings", "Padding", "crop_objects"]

Floats32 = NDArray[np.float32]
Padding = Literal["edge", "zero"]

# Smoothing before pixels are left out, in new pixels per old one beyond the first.
ANTIALIAS: Final = 0.5


@dataclass(frozen=True, slots=True)
class CropSettings:
    """What a crop shows.

    Attributes
    ----------
    size_um : side of the crop; along z as well
    pixels : pixels along every side; None keeps the stored pixels, whose size may differ by axis
    masked : everything outside of the object itself is 0
    padding : what lies beyond the border of the image: the nearest pixel (`edge`), or 0
    """

    size_um: float
    pixels: int | None = None
    masked: bool = False
    padding: Padding = "edge"

    def shape(self, spacing: Sequence[float]) -> tuple[int, ...]:
        """Pixels along the axes of a crop of images with this spacing.

        Examples
        --------
        >>> CropSettings(20.0).shape((2.0, 0.5, 0.5)), CropSettings(20.0, 32).shape((0.5, 0.5))
        ((10, 40, 40), (32, 32))
        """
        if self.pixels is not None:
            return (self.pixels,) * len(spacing)
        return tuple(max(1, round(self.size_um / step)) for step in spacing)


def crop_objects(
    image: NDArray[Any],
    centres: NDArray[np.floating],
    *,
    spacing: Sequence[float],
    settings: CropSettings,
    labels: NDArray[np.integer] | None = None,
    ids: Sequence[int] | NDArray[np.integer] | None = None,
) -> Floats32:
    """Cut one crop per object out of an image.

    Stored pixels are taken as they are, around the pixel nearest the middle; at another size they
    are interpolated linearly around the exact centre, after smoothing if the new pixels are larger.

    Parameters
    ----------
    image : (C, Y, X) or (C, Z, Y, X) array
    centres : (N, 2) or (N, 3) positions in pixels, the first pixel being 0
    spacing : micrometres per pixel along the space axes
    labels, ids : label image of the space axes, and the label of every object; for masked crops

    Returns
    -------
    (N, Y, X, C) or (N, Z, Y, X, C) array, channels last

    Examples
    --------
    >>> image = np.arange(36.0).reshape(1, 6, 6)
    >>> crop_objects(image, [[3, 3]], spacing=(1, 1), settings=CropSettings(3.0))[0, :, :, 0]
    array([[14., 15., 16.],
           [20., 21., 22.],
           [26., 27., 28.]], dtype=float32)
    """
    places = np.asarray(centres, np.float64).reshape(len(centres), image.ndim - 1)
    _check(image, places, spacing, settings, labels, ids)
    shape = settings.shape(spacing)
    steps = _steps(settings, spacing)
    smooth = [_smoothed(channel, steps) for channel in image] if settings.pixels else list(image)
    found = np.empty((len(places), *shape, len(image)), np.float32)
    for row, place in enumerate(places):
        grid = _grid(place, shape, steps, whole=settings.pixels is None)
        for c, channel in enumerate(smooth):
            found[row, ..., c] = _sample(channel, grid, settings.padding)
        if settings.masked and labels is not None and ids is not None:
            own = _nearest(labels, grid) == ids[row]
            found[row] *= own[..., None]
    return found


def _steps(settings: CropSettings, spacing: Sequence[float]) -> tuple[float, ...]:
    """Stored pixels per pixel of the crop, along every axis."""
    if settings.pixels is None:
        return (1.0,) * len(spacing)
    return tuple(settings.size_um / settings.pixels / step for step in spacing)


def _grid(
    place: NDArray[np.float64], shape: Sequence[int], steps: Sequence[float], *, whole: bool
) -> list[NDArray[np.float64]]:
    """Positions along every axis that the crop looks at."""
    grid = []
    for middle, size, step in zip(place, shape, steps, strict=True):
        offsets = (np.arange(size) - (size - 1) / 2) * step
        # A half pixel goes up, also where the middle lies between two.
        first = np.floor(middle + offsets[0] + 0.5)
        grid.append(first + np.arange(size) if whole else middle + offsets)
    return grid


def _smoothed(channel: NDArray[Any], steps: Sequence[float]) -> NDArray[Any]:
    widths = [ANTIALIAS * max(step - 1, 0) for step in steps]
    if not any(widths):
        return channel
    return np.asarray(ndimage.gaussian_filter(channel.astype(np.float32), widths, mode="nearest"))


def _sample(channel: NDArray[Any], grid: Sequence[NDArray[np.float64]], padding: Padding) -> Any:
    """Linear interpolation, one axis after the other; whole positions cost no arithmetic."""
    values: NDArray[Any] = channel
    for axis, at in enumerate(grid):
        low = np.floor(at).astype(np.intp)
        weight = (at - low).astype(np.float32)
        before = _take(values, low, axis, padding)
        if weight.any():
            shaped = weight.reshape([-1 if k == axis else 1 for k in range(values.ndim)])
            before = before + shaped * (_take(values, low + 1, axis, padding) - before)
        values = before
    return values


def _take(
    values: NDArray[Any], places: NDArray[np.intp], axis: int, padding: Padding
) -> NDArray[np.float32]:
    size = values.shape[axis]
    taken = np.take(values, np.clip(places, 0, size - 1), axis=axis).astype(np.float32)
    if padding == "zero":
        inside = (places >= 0) & (places < size)
        taken *= inside.reshape([-1 if k == axis else 1 for k in range(values.ndim)])
    return taken


def _nearest(labels: NDArray[np.integer], grid: Sequence[NDArray[np.float64]]) -> NDArray[Any]:
    """Labels at the pixels nearest the positions; 0 outside of the image."""
    places = [np.floor(at + 0.5).astype(np.intp) for at in grid]
    inside = [(at >= 0) & (at < size) for at, size in zip(places, labels.shape)]
    held = [np.clip(at, 0, size - 1) for at, size in zip(places, labels.shape)]
    within = np.meshgrid(*inside, indexing="ij", sparse=True)
    return np.where(reduce(np.logical_and, within), labels[np.ix_(*held)], 0)


def _check(
    image: NDArray[Any],
    places: NDArray[np.float64],
    spacing: Sequence[float],
    settings: CropSettings,
    labels: NDArray[np.integer] | None,
    ids: Any,
) -> None:
    if image.ndim not in (3, 4) or len(spacing) != image.ndim - 1:
        raise InputError(
            f"crops need an image of (C, Y, X) or (C, Z, Y, X) and a spacing for its space axes, "
            f"got shape {image.shape} and spacing {tuple(spacing)}"
        )
    if not np.isfinite(places).all():
        raise InputError(
            f"{int((~np.isfinite(places).all(axis=1)).sum())} objects have no position: crops need "
            "one for each; leave the others out"
        )
    if settings.masked and (labels is None or ids is None or labels.shape != image.shape[1:]):
        raise InputError("masked crops need the label image, of the image's shape, and the labels")
