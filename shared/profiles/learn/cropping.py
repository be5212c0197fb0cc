"""Crops of the objects of a table out of a plate, field by field, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.ingest import TileKey
from poolvox.shared.profiles.learn.crops import CropSettings, Floats32, crop_objects
from poolvox.shared.store import Image, Plate

__all__ = ["CropSource", "measure_levels"]

# Quantiles of a channel that become 0 and 1, so that a network sees numbers of one size.
LEVELS: Final = (0.01, 0.999)
# Fields that the levels of a plate rest on.
LEVEL_FIELDS: Final = 32


@dataclass(frozen=True)
class CropSource:
    """Where crops come from.

    Attributes
    ----------
    plate : images and labels
    objects : one row per object: well, tile or organoid, label and position in pixels
    channels : their names, in the order of the crops' last axis
    labels : name of the label image, for masked crops
    levels : what becomes 0 and 1 of every channel, see `measure_levels`; None keeps the values
    cycle : place along t, for images that have one
    """

    plate: Plate
    objects: pd.DataFrame
    channels: tuple[str, ...]
    settings: CropSettings
    labels: str = "cells"
    levels: Mapping[str, tuple[float, float]] | None = None
    cycle: int = 0

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.objects)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one crop: (Y, X, C) or (Z, Y, X, C)."""
        if not len(self.objects):
            raise InputError("there are no objects to crop")
        image = self._image(next(iter(self.fields())))
        return (*self.settings.shape(tuple(image.spacing.values())), len(self.channels))

    def fields(self) -> dict[tuple[str, str], NDArray[np.intp]]:
        """Rows of the objects of every field, by well and tile, in the order of the table."""
        wells = self.objects["Metadata_Well"].astype(str).to_numpy()
        places = pd.DataFrame({"well": wells, "tile": _tiles(self.objects)})
        indices: dict[Any, Any] = places.groupby(["well", "tile"], sort=False).indices
        return {(str(w), str(t)): np.asarray(rows, np.intp) for (w, t), rows in indices.items()}

    def batches(self, size: int = 256) -> Iterator[tuple[NDArray[np.intp], Floats32]]:
        """Rows of the table and their crops; one field is in memory at a time."""
        for key, rows in self.fields().items():
            image = self._image(key)
            pixels = self._pixels(image)
            masks = None
            if self.settings.masked:
                masks = np.asarray(image.labels(self.labels).data)
            spacing = tuple(image.spacing.values())
            axes = [f"Metadata_{axis.upper()}" for axis in image.spacing]
            self._require(axes)
            for start in range(0, len(rows), size):
                chosen = rows[start : start + size]
                part = self.objects.iloc[chosen]
                crops = crop_objects(
                    pixels,
                    part[axes].to_numpy(float),
                    spacing=spacing,
                    settings=self.settings,
                    labels=masks,
                    ids=part["Metadata_Label"].to_numpy(),
                )
                yield chosen, self._levelled(crops)

    def sample(self, count: int, rng: np.random.Generator, *, size: int = 256) -> Floats32:
        """Crops of so many objects, drawn at random; all where there are fewer."""
        total = min(count, len(self.objects))
        rows = np.sort(rng.choice(len(self.objects), total, replace=False))
        some = CropSource(
            self.plate,
            self.objects.iloc[rows],
            self.channels,
            self.settings,
            self.labels,
            self.levels,
            self.cycle,
        )
        found = np.empty((total, *self.shape), np.float32)
        for chosen, crops in some.batches(size):
            found[chosen] = crops
        return found

    def _image(self, key: tuple[str, str]) -> Image:
        well, tile = key
        image = self.plate[well][tile]
        if not {axis for axis in image.axes if axis in "zyx"} <= set(image.spacing):
            raise InputError(f"{image.path} does not say how large a pixel is, only counts them")
        return image

    def _pixels(self, image: Image) -> NDArray[Any]:
        """(C, [Z,] Y, X) of the wanted channels."""
        return _channels(image, self.channels, self.cycle, level=0)

    def _levelled(self, crops: Floats32) -> Floats32:
        if self.levels is None:
            return crops
        low, high = (
            np.array([self.levels[name][k] for name in self.channels], np.float32) for k in (0, 1)
        )
        scaled: Floats32 = (crops - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
        return scaled

    def _require(self, axes: Sequence[str]) -> None:
        absent = [name for name in (*axes, "Metadata_Label") if name not in self.objects]
        if absent:
            raise InputError(f"the objects have no {', '.join(absent)}: crops need positions")


def measure_levels(
    plate: Plate, fields: Sequence[tuple[str, str]], channels: Sequence[str], *, cycle: int = 0
) -> dict[str, tuple[float, float]]:
    """Dark and bright level of every channel: medians over fields of quantiles of the field.

    One pair for the whole plate, so that wells that are brighter stay so. The smallest level of
    the pyramids is read.
    """
    step = np.unique(np.linspace(0, len(fields) - 1, min(LEVEL_FIELDS, len(fields))).astype(int))
    found = []
    for well, tile in (fields[k] for k in step):
        image = plate[well][tile]
        pixels = _channels(image, channels, cycle, level=image.levels - 1)
        found.append(np.quantile(pixels.reshape(len(channels), -1), LEVELS, axis=1))
    low, high = np.median(found, axis=0)
    return {
        name: (float(dark), float(bright) if bright > dark else float(dark) + 1.0)
        for name, dark, bright in zip(channels, low, high, strict=True)
    }


def _channels(image: Image, channels: Sequence[str], cycle: int, *, level: int) -> NDArray[Any]:
    there = image.channels
    unknown = [name for name in channels if name not in there]
    if unknown or not channels:
        raise InputError(
            f"{image.path} has the channels {', '.join(there)}, not {', '.join(unknown) or 'none'}"
        )
    pixels = image.image(level)
    if "t" in pixels.dims:
        pixels = pixels.isel(t=cycle)
    wanted = [there.index(name) for name in channels]
    return np.asarray(pixels.isel(c=wanted).data)


def _tiles(objects: pd.DataFrame) -> NDArray[np.object_]:
    """Names of the fields in the plate: those of tiles, organoids, or both."""
    tiles, organoids = (
        objects[name].astype(str) if name in objects else pd.Series([""] * len(objects))
        for name in ("Metadata_Tile", "Metadata_Organoid")
    )
    names = {pair: TileKey("", "", *pair).field for pair in set(zip(tiles, organoids, strict=True))}
    return np.array([names[pair] for pair in zip(tiles, organoids, strict=True)], dtype=object)
