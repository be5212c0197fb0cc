"""What one raw file holds, from its header alone, and the reading of its planes.

A file is described by *scenes*, the images in it: one for most files, one per position where a
whole acquisition is in one file. The planes of a scene are numbered along its leading axes, and
each is read by itself, so that a tile never costs more memory than its own pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError, PoolvoxError
from poolvox.shared.ingest.imagej import channel_names, parse_description
from poolvox.shared.ingest.omexml import micrometres, ome_images, parse_xml, strip_namespace
from poolvox.shared.ingest.tiff import Page, TiffDirectory, read_directory

if TYPE_CHECKING:
    import tifffile

__all__ = ["Header", "Scene", "describe", "is_image", "read_planes"]

TIFF_SUFFIXES = (".tif", ".tiff", ".stk", ".btf", ".tf8", ".tf2", ".flex")


@dataclass(frozen=True, slots=True)
class Scene:
    """One image of a file.

    Attributes
    ----------
    axes : letters of `shape`; beside t, c, z, y, x there are `i` (pages whose meaning the file
        does not tell) and `s` (samples of one pixel)
    pages : page of each plane, in the order of the leading axes; empty where they are in order
    colour : the samples of a pixel are the colours of a picture
    fault : why this image cannot be read, though others of the file can
    place : the well and tile that the file itself gives, as a plate or a list of positions does
    folder : of the image below that of its store, "" where it is the store or the file itself
    """

    axes: str
    shape: tuple[int, ...]
    pages: tuple[int, ...] = ()
    place: tuple[str | None, str | None] = (None, None)
    colour: bool = False
    fault: str = ""
    folder: str = ""

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis."""
        return dict(zip(self.axes, self.shape, strict=True))

    @property
    def lead(self) -> tuple[int, ...]:
        """Lengths of the axes that number the planes: those before the first of y, x, samples."""
        return self.shape[: min(self.axes.index(axis) for axis in "yxs" if axis in self.axes)]

    def in_order(self) -> Scene:
        """Give the scene with its planes as they come in the file."""
        return replace(self, pages=tuple(sorted(self.pages)))


@dataclass(frozen=True, slots=True)
class Header:
    """What a file holds, without its pixels."""

    kind: str
    dtype: np.dtype[Any]
    scenes: tuple[Scene, ...]
    spacing: Mapping[str, float] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    size: int = 0


def is_image(name: str) -> bool:
    """Tell by its name whether poolvox may read a file or folder."""
    return name.lower().endswith((*TIFF_SUFFIXES, ".nd2", ".zarr"))


def describe(path: Path) -> Header:
    """Read the header of a file: TIFF, ND2 by its suffix, or the folder of an OME-Zarr.

    Raises `InputError` with the reason, whatever is wrong with the file.
    """
    try:
        if path.is_dir():
            return _describe_zarr(path)
        if path.suffix.lower() == ".nd2":
            from poolvox.shared.ingest.nikon import describe_nd2

            return describe_nd2(path)
        return describe_tiff(read_directory(path), path.name)
    except PoolvoxError as error:
        raise error if isinstance(error, InputError) else InputError(str(error)) from None
    except PermissionError:
        raise InputError("no permission to read the file: change its mode or owner") from None
    except OSError as error:
        raise InputError(f"the file cannot be opened: {error.strerror or error}") from None
    except Exception as error:
        # A damaged header may break a parser in any way; it costs this file alone.
        raise InputError(f"the header is damaged ({error!r})") from error


def read_planes(path: Path, kind: str, scene: Scene, planes: Iterable[int]) -> list[NDArray[Any]]:
    """Read planes of a scene by their numbers; each is (Y, X), or the last axes the scene has.

    `kind` is that of the file's header.

    Raises `InputError` with the reason where a plane cannot be decoded.
    """
    try:
        if kind == "zarr":
            return _read_zarr(path, scene, planes)
        if kind == "nd2":
            from poolvox.shared.ingest.nikon import read_nd2

            return read_nd2(path, scene, planes)
        return _read_tiff(path, scene, planes)
    except PoolvoxError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:
        # Decoders raise whatever they like on damaged data; each costs its own tile alone.
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise InputError(f"{path}: the pixels cannot be read ({reason})") from error


# --- TIFF -------------------------------------------------------------------------------------


def describe_tiff(directory: TiffDirectory, filename: str) -> Header:
    """Interpret a TIFF's directory: OME, ImageJ, MetaMorph, tifffile's shape, or bare pages."""
    page = directory.pages[0]
    spacing = _metamorph(directory.metamorph)
    header = Header("tiff", page.dtype, (_bare(directory),), spacing, size=directory.size)
    for text in directory.descriptions:
        if "<OME" in text[:2000]:
            header = _with_ome(header, directory, text, filename)
        elif text.startswith("ImageJ="):
            header = _with_imagej(header, directory, text)
        elif text.startswith('{"shape"'):
            header = _with_shape(header, directory, text)
        elif text.lstrip().startswith("<MetaData"):
            header = replace(header, spacing=_metaxpress(text))
    if directory.skipped and not any(scene.pages for scene in header.scenes):
        scenes = tuple(replace(scene, pages=directory.numbers) for scene in header.scenes)
        header = replace(header, scenes=scenes)
    return header


def _same(pages: tuple[Page, ...]) -> None:
    first = pages[0]
    for number, page in enumerate(pages):
        if (page.height, page.width, page.samples, page.dtype) != (
            first.height,
            first.width,
            first.samples,
            first.dtype,
        ):
            raise InputError(
                f"page {number} is {page.height} x {page.width} {page.dtype}, page 0 is "
                f"{first.height} x {first.width} {first.dtype}: the pages of a file must be alike"
            )


def _bare(directory: TiffDirectory) -> Scene:
    _same(directory.pages)
    page = directory.pages[0]
    count = directory.contiguous or len(directory.pages)
    axes, shape = _plane(page)
    return (
        Scene("i" + axes, (count, *shape), colour=page.rgb)
        if count > 1
        else (Scene(axes, shape, colour=page.rgb))
    )


def _plane(page: Page) -> tuple[str, tuple[int, ...]]:
    """Axes and shape of one decoded page."""
    if page.samples == 1:
        return "yx", (page.height, page.width)
    if page.planar:
        return "syx", (page.samples, page.height, page.width)
    return "yxs", (page.height, page.width, page.samples)


def _with_ome(header: Header, directory: TiffDirectory, text: str, filename: str) -> Header:
    images = ome_images(text, filename, len(directory.pages))
    if not images:
        return header
    axes, shape = _plane(directory.pages[0])
    scenes = tuple(
        Scene(
            "tcz" + axes,
            (*image.sizes, *shape),
            image.pages,
            (None, None),
            directory.pages[0].rgb,
        )
        for image in images
    )
    return replace(header, scenes=scenes, spacing=images[0].spacing, channels=images[0].channels)


def _with_imagej(header: Header, directory: TiffDirectory, text: str) -> Header:
    values = parse_description(text)
    sizes = tuple(int(values.get(name, "1")) for name in ("frames", "slices", "channels"))
    spacing = _imagej_spacing(values, directory.resolution)
    count = directory.contiguous or len(directory.pages)
    if math.prod(sizes) != count or "images" not in values:
        return replace(header, spacing=spacing)
    axes, shape = _plane(directory.pages[0])
    scene = Scene("tzc" + axes, (*sizes, *shape), colour=directory.pages[0].rgb)
    names = channel_names(directory.labels, dict(zip("tzc", sizes)))
    return replace(header, scenes=(scene,), spacing=spacing, channels=names)


def _imagej_spacing(
    values: Mapping[str, str], resolution: tuple[float, float] | None
) -> dict[str, float]:
    unit = values.get("unit")
    if unit is None or micrometres(1.0, unit) is None:
        return {}
    sizes = {"z": values.get("spacing")}
    if resolution is not None:
        sizes.update(y=str(1 / resolution[0]), x=str(1 / resolution[1]))
    lengths = {axis: micrometres(size, unit) for axis, size in sizes.items()}
    return {axis: length for axis, length in lengths.items() if length is not None}


def _with_shape(header: Header, directory: TiffDirectory, text: str) -> Header:
    """Use the shape that tifffile writes: it names no axes, but tells pages from samples."""
    try:
        shape = tuple(int(size) for size in json.loads(text)["shape"])
    except (ValueError, TypeError, KeyError):
        return header
    page = directory.pages[0]
    axes, plane = _plane(page)
    count = directory.contiguous or len(directory.pages)
    if shape[-len(plane) :] != plane or math.prod(shape[: -len(plane)]) != count:
        # All planes lie in one strip behind a single page.
        whole = len(directory.pages) == 1 and shape[-2:] == plane and not page.compressed
        if not whole or page.start + math.prod(shape) * page.dtype.itemsize > directory.size:
            return header
    lead = tuple(size for size in shape[: -len(plane)] if size > 1)
    scene = Scene("i" * len(lead) + axes, (*lead, *plane), colour=page.rgb)
    return replace(header, scenes=(scene,))


def _metamorph(values: Mapping[str, float | str]) -> dict[str, float]:
    unit = str(values.get("unit", ""))
    lengths = {a: micrometres(values[a], unit) for a in "yx" if unit and a in values}
    return {axis: length for axis, length in lengths.items() if length is not None}


def _metaxpress(text: str) -> dict[str, float]:
    """Read the calibration from the properties that MetaXpress writes into its TIFF files."""
    try:
        root = parse_xml(text)
    except InputError:
        # Free text of the user may break the XML; the pixels are as good as before.
        return {}
    props = {e.get("id"): e.get("value") for e in root.iter() if strip_namespace(e.tag) == "prop"}
    if props.get("spatial-calibration-state") not in (None, "on"):
        return {}
    unit = props.get("spatial-calibration-units")
    lengths = {
        axis: micrometres(props.get(f"spatial-calibration-{axis}"), unit) for axis in "yx" if unit
    }
    return {axis: length for axis, length in lengths.items() if length is not None}


def _read_tiff(path: Path, scene: Scene, planes: Iterable[int]) -> list[NDArray[Any]]:
    import tifffile

    wanted = [scene.pages[plane] if scene.pages else plane for plane in planes]
    # With its metadata tifffile would open the other files of an OME set as well.
    with tifffile.TiffFile(path, is_ome=False, is_imagej=False) as tif:
        count = len(tif.pages)
        if max(wanted) >= count:
            return [_contiguous(tif, scene, plane) for plane in wanted]
        return [tif.pages[plane].asarray() for plane in wanted]


def _contiguous(tif: tifffile.TiffFile, scene: Scene, plane: int) -> NDArray[Any]:
    """Read a plane that lies behind the first page without a page of its own."""
    page = tif.pages.first
    shape = tuple(size for axis, size in zip(scene.axes, scene.shape) if axis in "yxs")
    dtype = np.dtype(page.dtype).newbyteorder(tif.byteorder)
    offset = page.dataoffsets[0] + plane * math.prod(shape) * dtype.itemsize
    tif.filehandle.seek(offset)
    raw = tif.filehandle.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(raw, dtype).reshape(shape)


# --- OME-Zarr ---------------------------------------------------------------------------------


def _describe_zarr(path: Path) -> Header:
    from poolvox.shared.store import open_image, open_plate

    try:
        plate = open_plate(path)
    except PoolvoxError:
        return _zarr_header([_zarr_scene(lambda: open_image(path), (None, None), path)])
    scenes = [
        _zarr_scene(partial(_field, plate, well, tile), (well, tile), path)
        for well in plate.wells
        for tile in plate[well].tiles
    ]
    if not scenes:
        raise InputError("the plate holds no image")
    return _zarr_header(scenes)


def _field(plate: Any, well: str, tile: str) -> Any:
    return plate[well][tile]


def _zarr_scene(
    open_it: Callable[[], Any], place: tuple[str | None, str | None], store: Path
) -> tuple[Scene, Any]:
    """Describe one image of a store; a damaged one costs itself alone."""
    try:
        image = open_it()
        image.image()
        folder = "" if place[0] is None else image.path.relative_to(store).as_posix()
        return Scene(image.axes, tuple(image.shape), place=place, folder=folder), image
    except PoolvoxError as error:
        return Scene("yx", (0, 0), place=place, fault=str(error)), None


def _zarr_header(scenes: list[tuple[Scene, Any]]) -> Header:
    image = next((image for _, image in scenes if image is not None), None)
    if image is None:
        raise InputError(scenes[0][0].fault)
    return Header(
        "zarr",
        np.dtype(image.dtype),
        tuple(scene for scene, _ in scenes),
        {axis: float(size) for axis, size in image.spacing.items() if axis in "zyx"},
        tuple(str(name) for name in image.channels),
    )


def _read_zarr(path: Path, scene: Scene, planes: Iterable[int]) -> list[NDArray[Any]]:
    from poolvox.shared.store import open_image, open_plate

    well, tile = scene.place
    image = open_image(path) if well is None or tile is None else open_plate(path)[well][tile]
    data = image.image().data
    lead, wanted = scene.lead, list(planes)
    if wanted == list(range(math.prod(lead))):
        # At once: a shard may hold many planes, and would be decoded for each of them.
        return list(np.asarray(data).reshape(-1, *scene.shape[len(lead) :]))
    return [np.asarray(data[np.unravel_index(plane, lead) if lead else ...]) for plane in wanted]
