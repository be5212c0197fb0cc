"""Images and their labels: lazy arrays out, whole write units in."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import DTypeLike

from poolvox.shared.errors import StoreError
from poolvox.shared.store.axes import PIXELS, SPACE, check_axes
from poolvox.shared.store.metadata import NGFF, Document, locked, read_document, require_document
from poolvox.shared.store.multiscales import (
    Multiscales,
    describe_multiscales,
    read_multiscales,
)
from poolvox.shared.store.pyramid import level_factors, level_shapes
from poolvox.shared.store.targets import UNFINISHED, Target, plain_array
from poolvox.shared.store.units import UnitArray, storable

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Image", "create_image", "open_image"]

LABEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def open_image(path: Path | str) -> Image:
    """Open an image group of NGFF 0.4 or 0.5, whoever wrote it.

    Examples
    --------
    >>> open_image("plate.zarr/A/1/0").image(level=1)    # doctest: +SKIP
    """
    image = Image(path)
    read_multiscales(require_document(image.path), image.path)
    return image


def create_image(path: Path | str, *, ngff: NGFF = "0.5") -> Image:
    """An image outside of a plate; nothing is on disk before `write` or `create`."""
    return Image(path, ngff=ngff)


class Image:
    """One OME-Zarr image: a pyramid, its labels and what is known about them.

    Only the path is kept, so an image is cheap to hold and can be sent to other processes.
    """

    def __init__(self, path: Path | str, *, ngff: NGFF | None = None) -> None:
        """Point at an image that is here, or that will be written."""
        self.path = Path(path)
        self._ngff = ngff

    def __repr__(self) -> str:
        """Show the path."""
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def ngff(self) -> NGFF:
        """Version that is written: the one asked for, else that of what is here."""
        document = None if self._ngff else read_document(self.path)
        return self._ngff or (document.ngff if document else "0.5")

    @property
    def exists(self) -> bool:
        """Whether anything was written here, finished or not."""
        return read_document(self.path) is not None

    @property
    def complete(self) -> bool:
        """Whether the image is here and its writing came to its end."""
        document = read_document(self.path)
        return document is not None and UNFINISHED not in document.own

    @property
    def axes(self) -> str:
        """Letters of the axes in the order they are stored, such as `tcyx`."""
        return self._multiscales().letters

    @property
    def spacing(self) -> dict[str, float]:
        """Pixel size of level 0 along every space axis, in micrometres."""
        return self._multiscales().spacing()

    @property
    def levels(self) -> int:
        """Number of levels that the metadata promise."""
        return len(self._multiscales().levels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of level 0."""
        return self.array(0).shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self.array(0).dtype

    @property
    def channels(self) -> list[str]:
        """Names of the channels; numbers where the store has none; empty without a c axis."""
        described = self._multiscales()
        if "c" not in described.letters:
            return []
        return described.channel_names(self.shape[described.letters.index("c")])

    @property
    def meta(self) -> dict[str, Any]:
        """Our own metadata beside those of NGFF: cycles, chemistry."""
        own = require_document(self.path).own
        return {key: value for key, value in own.items() if key != UNFINISHED}

    def array(self, level: int = 0) -> UnitArray:
        """The array of one level, as stored."""
        described = self._multiscales()
        if not 0 <= level < len(described.levels):
            message = f"{self.path} has levels 0 to {len(described.levels) - 1}, not {level}"
            raise StoreError(message)
        place = self.path / described.levels[level].path
        if not place.is_dir():
            there = [entry.path for entry in described.levels if (self.path / entry.path).is_dir()]
            message = (
                f"{self.path}: level {level} ({place.name!r}) is in the metadata, but its array is "
                f"missing; present: {', '.join(there) or 'none'}. Copy it from the original, or "
                "open another level"
            )
            raise StoreError(message)
        array = UnitArray.open(place)
        if len(array.shape) != len(described.axes):
            message = f"{place} has {len(array.shape)} dimensions, its axes are {described.letters}"
            raise StoreError(message)
        return array

    def image(self, level: int = 0) -> xr.DataArray:
        """Pixels of one level, lazily.

        Returns
        -------
        DataArray over dask, one chunk per write unit; space coordinates in micrometres where
        the axis has a size, channel names along c, `spacing` in the attributes
        """
        import xarray as xr

        self._require_complete()
        described = self._multiscales()
        array = self.array(level)
        coords = self._coords(described, level, array.shape)
        attrs = {"spacing": described.spacing(level), "unit": "micrometer", "level": level}
        dims = tuple(described.letters)
        return xr.DataArray(array.lazy(), dims=dims, coords=coords, attrs=attrs)

    def write(
        self,
        data: Any,
        *,
        axes: str | None = None,
        spacing: Mapping[str, float] | None = None,
        channels: Sequence[str] | None = None,
        meta: Mapping[str, Any] | None = None,
        levels: int | None = None,
    ) -> Image:
        """Write pixels, pyramid and metadata; an image that is here already is replaced.

        Parameters
        ----------
        data : numpy, dask or zarr array, or DataArray (its dims and spacing are the defaults);
            read unit by unit, so it may be larger than memory
        axes : letters of the dimensions, in the order of `tczyx`
        spacing : pixel size of the space axes, in micrometres
        channels : one name per channel
        meta : our own metadata, anything JSON can hold
        levels : of the pyramid; by default until y and x fit 512 pixels
        """
        given = axes if axes is not None else "".join(getattr(data, "dims", ()))
        steps = spacing if spacing is not None else getattr(data, "attrs", {}).get("spacing")
        if not given or steps is None:
            raise StoreError("write() needs axes (such as 'cyx') and spacing in micrometres")
        pixels = plain_array(data)
        target = self.create(
            pixels.shape,
            pixels.dtype,
            axes=given,
            spacing=steps,
            channels=channels,
            meta=meta,
            levels=levels,
        )
        target.fill(pixels)
        return self

    def create(
        self,
        shape: Sequence[int],
        dtype: DTypeLike,
        *,
        axes: str,
        spacing: Mapping[str, float],
        channels: Sequence[str] | None = None,
        meta: Mapping[str, Any] | None = None,
        levels: int | None = None,
    ) -> Target:
        """Make the empty image, to be written unit by unit and then finished."""
        shape = tuple(int(n) for n in shape)
        listed = check_axes(axes, len(shape))
        names = _check_channels(channels, shape, axes)
        steps = _check_spacing(spacing, axes)
        if min(shape) < 1:
            raise StoreError(f"{self.path}: cannot store an image of shape {shape}")
        kind = storable(dtype)
        self._clear(shape, axes)
        factors = level_factors(shape, axes, steps, levels)
        document = Document(self.ngff, {}, {**(meta or {}), UNFINISHED: {"channels": names}})
        document.ome["multiscales"] = describe_multiscales(
            listed, steps, factors, document=document, name=self.path.name, method="mean"
        )
        document.write(self.path)
        for level, size in enumerate(level_shapes(shape, factors)):
            UnitArray.create(self.path / str(level), size, kind, axes=axes, ngff=self.ngff)
        return self.target()

    def target(self) -> Target:
        """The unfinished image, to go on writing it, also from another process."""
        return Target(self.path, done=self._register)

    @property
    def label_names(self) -> list[str]:
        """Names of the labels, sorted."""
        document = read_document(self.path / "labels")
        return sorted(map(str, document.ome.get("labels", []))) if document else []

    def labels(self, name: str, level: int = 0) -> xr.DataArray:
        """Labels of one level, lazily, with the axes they are stored with."""
        return self._label_image(name).image(level)

    def write_labels(
        self, name: str, labels: Any, *, meta: Mapping[str, Any] | None = None
    ) -> Image:
        """Write labels over the space axes of the image, with a pyramid of as many levels."""
        pixels = plain_array(labels)
        target = self.create_labels(name, pixels.dtype, meta=meta)
        if tuple(pixels.shape) != target.shape:
            message = f"labels {name!r} have shape {tuple(pixels.shape)}, the image {target.shape}"
            raise StoreError(message)
        target.fill(pixels)
        return self

    def create_labels(
        self, name: str, dtype: DTypeLike, *, meta: Mapping[str, Any] | None = None
    ) -> Target:
        """Make empty labels, to be written unit by unit and then finished."""
        if not LABEL_NAME.fullmatch(name):
            raise StoreError(f"labels {name!r}: expected a name of letters, digits, _ . and -")
        if storable(dtype).kind not in "ui":
            raise StoreError(f"labels {name!r} are {np.dtype(dtype)}: expected integers")
        described = self._multiscales()
        kept = [i for i, a in enumerate(described.letters) if a in SPACE]
        axes = "".join(described.letters[i] for i in kept)
        units = [described.axes[i].unit for i in kept]
        # What counts pixels in the image has no size in its labels either.
        listed = [
            replace(axis, unit=unit) if unit in PIXELS else axis
            for axis, unit in zip(check_axes(axes, len(axes)), units)
        ]
        shapes = [self.array(level).shape for level in range(len(described.levels))]
        shapes = [tuple(shape[i] for i in kept) for shape in shapes]
        ngff = require_document(self.path).ngff
        group = self.path / "labels" / name
        shutil.rmtree(group, ignore_errors=True)
        document = Document(ngff, {}, {**(meta or {}), UNFINISHED: {}})
        document.ome["multiscales"] = describe_multiscales(
            listed,
            described.spacing(),
            described.factors(shapes, axes),
            document=document,
            name=name,
            method="mode",
        )
        document.ome["image-label"] = {"version": ngff, "source": {"image": "../../"}}
        document.write(group)
        for level, size in enumerate(shapes):
            UnitArray.create(group / str(level), size, storable(dtype), axes=axes, ngff=ngff)
        return self.label_target(name)

    def label_target(self, name: str) -> Target:
        """Unfinished labels, to go on writing them."""
        return Target(self.path / "labels" / name, done=self._register_labels)

    def _label_image(self, name: str) -> Image:
        group = self.path / "labels" / name
        if read_document(group) is None:
            there = ", ".join(self.label_names) or "none"
            raise StoreError(f"{self.path} has no labels {name!r}; it has: {there}")
        return Image(group)

    def _multiscales(self) -> Multiscales:
        return read_multiscales(require_document(self.path), self.path)

    def _require_complete(self) -> None:
        if not self.complete:
            message = f"{self.path}: its writing was interrupted; write it again (run resumes it)"
            raise StoreError(message if self.exists else f"{self.path} is not written yet")

    def _coords(self, described: Multiscales, level: int, shape: tuple[int, ...]) -> dict[str, Any]:
        size = dict(zip(described.letters, shape))
        step, start = described.spacing(level), described.offset(level)
        coords: dict[str, Any] = {
            axis: (axis, start[axis] + step[axis] * np.arange(size[axis]), {"units": "micrometer"})
            for axis in step
        }
        if "c" in size:
            coords["c"] = ("c", described.channel_names(size["c"]))
        cycles = require_document(self.path).own.get("cycles")
        plain = [one for one in cycles or () if isinstance(one, int | str)]
        if plain and plain == cycles and len(plain) == size.get("t"):
            coords["t"] = ("t", plain)
        return coords

    def _clear(self, shape: tuple[int, ...], axes: str) -> None:
        """Remove the levels that are here, and labels that would not fit the new pixels."""
        document = read_document(self.path)
        if document is None:
            return
        if document.ngff != self.ngff:
            shutil.rmtree(self.path)
            return
        labels = self.path / "labels"
        if not self._same_grid(document, shape, axes):
            shutil.rmtree(labels, ignore_errors=True)
        # First the mark, then the pixels: killed in between, it still counts as unfinished.
        Document(self.ngff, own={UNFINISHED: {}}).write(self.path)
        for place in self.path.iterdir():
            if place.is_dir() and place != labels:
                shutil.rmtree(place)

    def _same_grid(self, document: Document, shape: tuple[int, ...], axes: str) -> bool:
        try:
            old = dict(zip(read_multiscales(document, self.path).letters, self.shape))
        except StoreError:
            return False
        new = dict(zip(axes, shape))
        return all(old.get(axis) == new.get(axis) for axis in SPACE)

    def _register(self) -> None:
        """Called when the image is finished; fields of a plate enter it then."""

    def _register_labels(self) -> None:
        group = self.path / "labels"
        with locked(group):
            document = Document(require_document(self.path).ngff)
            found = (p.name for p in group.iterdir() if p.is_dir() and Image(p).complete)
            document.ome["labels"] = sorted(found)
            document.write(group)


def _check_channels(channels: Sequence[str] | None, shape: tuple[int, ...], axes: str) -> list[str]:
    count = shape[axes.index("c")] if "c" in axes else 1
    if channels is None:
        return [str(i) for i in range(count)]
    if isinstance(channels, str) or len(channels) != count:
        raise StoreError(f"got channels {channels!r} for {count} channels: give one name for each")
    return [str(name) for name in channels]


def _check_spacing(spacing: Mapping[str, float], axes: str) -> dict[str, float]:
    steps = {}
    for axis in (a for a in axes if a in SPACE):
        step = float(spacing.get(axis, float("nan")))
        if not 0 < step < float("inf"):
            raise StoreError(f"spacing {dict(spacing)}: expected micrometres above 0 for {axis!r}")
        steps[axis] = step
    return steps
