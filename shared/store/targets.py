"""Images being written: level 0 unit by unit, then the pyramid and the final metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import StoreError
from poolvox.shared.store.axes import SPACE
from poolvox.shared.store.metadata import Document, require_document
from poolvox.shared.store.multiscales import describe_channels, read_multiscales
from poolvox.shared.store.pyramid import build_pyramid, halve_labels, halve_means
from poolvox.shared.store.units import Region, UnitArray, storable, tiling

__all__ = ["UNFINISHED", "Target", "plain_array"]

# Stands in our metadata until an image is whole, so an interrupted write is recognised.
UNFINISHED: Final = "unfinished"

# Share of the pixels, in per cent, that a viewer may show as black or white at first.
WINDOW_PERCENTILES: Final = (0.5, 99.8)
SAMPLES, SAMPLE_SIDE = 9, 512


class Target:
    """An image or labels between `create` and `finish`.

    Several processes may write regions of one target, each its own units; one of them, or the
    process that made it, calls `finish` when all are done.
    """

    def __init__(self, path: Path, *, done: Callable[[], None]) -> None:
        """Go on with the unfinished image at `path`; `done` is called at its end."""
        self.path = path
        self._done = done
        document = require_document(path)
        if UNFINISHED not in document.own:
            raise StoreError(f"{path} is finished: call create() to replace it")
        described = read_multiscales(document, path)
        self.axes = described.letters
        self._arrays = [UnitArray.open(path / level.path) for level in described.levels]
        self._factors = described.factors([array.shape for array in self._arrays])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of level 0."""
        return self._arrays[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self._arrays[0].dtype

    @property
    def unit(self) -> tuple[int, ...]:
        """Size of a write unit: regions begin at its multiples."""
        return self._arrays[0].unit

    def write_region(self, block: NDArray[Any], origin: tuple[int, ...]) -> None:
        """Write whole units of level 0.

        Parameters
        ----------
        block : array with the dimensions of the image
        origin : place of its first pixel
        """
        self._arrays[0].write(np.asarray(block), tuple(int(o) for o in origin))

    def read_region(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Read from level 0 what was written so far; 0 elsewhere."""
        return self._arrays[0].read(region)

    def finish(self) -> None:
        """Build the pyramid from level 0 and write the final metadata; may be repeated."""
        document = require_document(self.path)
        if len(self._arrays) > 1:
            build_pyramid(self._arrays, self._factors, reduce=_reducer(document))
        self._complete(document)

    def fill(self, source: Any) -> None:
        """Write level 0 from an array, reading it once, with the pyramid; then finish."""
        document = require_document(self.path)
        build_pyramid(
            self._arrays,
            self._factors,
            reduce=_reducer(document),
            source=lambda region: _pixels(source, region),
        )
        self._complete(document)

    def _complete(self, document: Document) -> None:
        # `get`: finishing twice is allowed, and then the mark is gone.
        channels = document.own.pop(UNFINISHED, {}).get("channels")
        if channels:
            windows = [self._window(index) for index in range(len(channels))]
            document.ome["omero"] = describe_channels(channels, windows, _span(self.dtype))
        document.write(self.path)
        self._done()

    def _window(self, channel: int) -> tuple[float, float]:
        """What to show of a channel at first, from samples of the smallest level."""
        smallest = self._arrays[-1]
        place = {"c": channel, "t": 0}
        planes = [n if axis in SPACE else 1 for axis, n in zip(self.axes, smallest.shape)]
        step = [SAMPLE_SIDE if axis in "yx" else 1 for axis in self.axes]
        samples = list(tiling(tuple(planes), tuple(step)))
        # Some of the samples: even the smallest level of a deep stack may not fit memory.
        chosen = np.linspace(0, len(samples) - 1, min(len(samples), SAMPLES)).astype(int)
        pixels = [smallest.read(self._at(samples[i], place)).ravel() for i in chosen]
        return _shown(np.concatenate(pixels))

    def _at(self, region: Region, place: Mapping[str, int]) -> Region:
        fixed = {axis: slice(at, at + 1) for axis, at in place.items()}
        return tuple(fixed.get(axis, part) for axis, part in zip(self.axes, region))


def _shown(pixels: NDArray[Any]) -> tuple[float, float]:
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    if finite.size == 0:
        return (0.0, 1.0)
    start, end = (float(v) for v in np.percentile(finite, WINDOW_PERCENTILES))
    if finite.dtype.kind in "ui":
        start, end = float(round(start)), float(round(end))
    return (start, end) if end > start else (start, start + 1.0)


def plain_array(data: Any) -> Any:
    """The array inside a DataArray; others as they are, lists as numpy arrays."""
    inner = data.data if hasattr(data, "dims") else data
    return inner if hasattr(inner, "shape") and hasattr(inner, "dtype") else np.asarray(inner)


def _pixels(source: Any, region: tuple[slice, ...]) -> NDArray[Any]:
    block = np.asarray(source[region])
    return block.astype(storable(block.dtype), copy=False)


def _reducer(document: Document) -> Any:
    return halve_labels if "image-label" in document.ome else halve_means


def _span(dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype.kind == "f":
        return (0.0, 1.0)
    return (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
