"""What instruments write beside their images: names of channels, pixel size, step along z.

Each reader takes the folder of an acquisition and gives what it finds; a file that is absent or
damaged gives nothing, and the images' own headers are asked instead.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.omexml import micrometres, parse_xml, strip_namespace

__all__ = ["READERS", "Acquisition", "Position", "read_cellvoyager", "read_harmony"]
__all__ += ["read_metaxpress", "read_micromanager"]

# A folder of one acquisition is not searched deeper than this for the instrument's files.
DEPTH = 3
# Longest file of an instrument that is read, in bytes.
LARGEST = 2**30


@dataclass(frozen=True, slots=True)
class Position:
    """Where the stage was for one image, in micrometres; z None where it is not told."""

    well: str
    tile: str
    y: float
    x: float
    z: float | None = None


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What an instrument tells of its images.

    Attributes
    ----------
    channels : names by what stands in the files' names
    pixel_size, z_step : micrometres
    positions : stage positions of the images, each well and tile once
    notes : what could not be read
    """

    channels: Mapping[str, str] = field(default_factory=dict)
    pixel_size: float | None = None
    z_step: float | None = None
    positions: tuple[Position, ...] = ()
    notes: tuple[str, ...] = ()


def read_harmony(folder: Path) -> Acquisition:
    """Read `Index.idx.xml` or `Index.xml` of Opera Phenix and Operetta (Harmony)."""
    path = next(_find(folder, ("Index.idx.xml", "Index.xml")), None)
    root, notes = _root(path)
    if root is None:
        return Acquisition(notes=notes)
    channels: dict[str, str] = {}
    sizes: list[float] = []
    positions: dict[tuple[str, str], Position] = {}
    heights: dict[tuple[str, str, str], set[float]] = {}
    for element in root.iter():
        values = _children(element)
        if "ChannelName" in values:
            key = element.get("ChannelID") or values.get("ChannelID", ("", None))[0]
            channels.setdefault(key, values["ChannelName"][0])
        size = micrometres(*values.get("ImageResolutionX", (None, None)))
        sizes += [size] if size else []
        if {"Row", "Col", "FieldID"} <= set(values):
            _harmony_place(values, positions, heights)
    return Acquisition(
        channels={key: name for key, name in channels.items() if key},
        pixel_size=sizes[0] if sizes else None,
        z_step=_step(heights.values()),
        positions=tuple(positions.values()),
        notes=notes,
    )


def _harmony_place(
    values: Mapping[str, tuple[str, str | None]],
    positions: dict[tuple[str, str], Position],
    heights: dict[tuple[str, str, str], set[float]],
) -> None:
    """Add one image's place; lengths are in metres where no unit is named."""
    from poolvox.shared.ingest.pattern import well_name

    well = well_name(values["Row"][0], values["Col"][0])
    tile = values["FieldID"][0]
    x, y = (_length(values.get(f"Position{axis}")) for axis in "XY")
    z = _length(values.get("AbsPositionZ")) or _length(values.get("PositionZ"))
    if x is not None and y is not None:
        # The stage's y points up, an image's y down.
        positions.setdefault((well, tile), Position(well, tile, -y, x, z))
    height = _length(values.get("PositionZ"))
    if height is not None:
        channel = values.get("ChannelID", ("", None))[0]
        heights.setdefault((well, tile, channel), set()).add(round(height, 3))


def read_cellvoyager(folder: Path) -> Acquisition:
    """Read `MeasurementDetail.mrf` and `MeasurementData.mlf` of CellVoyager instruments."""
    detail, notes = _root(next(_find(folder, ("MeasurementDetail.mrf",)), None))
    data, more = _root(next(_find(folder, ("MeasurementData.mlf",)), None))
    size: float | None = None
    for element in detail.iter() if detail is not None else ():
        if strip_namespace(element.tag) == "MeasurementChannel" and size is None:
            size = micrometres(_attribute(element, "HorizontalPixelDimension"), "um")
    positions: dict[tuple[str, str], Position] = {}
    heights: dict[tuple[str, str, str], set[float]] = {}
    for element in data.iter() if data is not None else ():
        if strip_namespace(element.tag) == "MeasurementRecord":
            _cellvoyager_place(element, positions, heights)
    return Acquisition(
        channels=_cellvoyager_channels(folder),
        pixel_size=size,
        z_step=_step(heights.values()),
        positions=tuple(positions.values()),
        notes=(*notes, *more),
    )


def _cellvoyager_place(
    record: ElementTree.Element,
    positions: dict[tuple[str, str], Position],
    heights: dict[tuple[str, str, str], set[float]],
) -> None:
    from poolvox.shared.ingest.pattern import well_name

    row, column, tile, channel = (
        _attribute(record, name) for name in ("Row", "Column", "FieldIndex", "Ch")
    )
    # Records of errors have no place; only images are of type IMG.
    if _attribute(record, "Type") != "IMG" or not (row and column and tile):
        return
    well = well_name(row, column)
    x, y, z = (_number(_attribute(record, axis)) for axis in "XYZ")
    if x is not None and y is not None:
        positions.setdefault((well, tile), Position(well, tile, -y, x, z))
    if z is not None:
        heights.setdefault((well, tile, channel or ""), set()).add(round(z, 3))


def _cellvoyager_channels(folder: Path) -> dict[str, str]:
    """Read the dyes out of the measurement's settings, by channel number."""
    names: dict[str, str] = {}
    for path in _find(folder, ("*.mes",)):
        root, _ = _root(path)
        for element in root.iter() if root is not None else ():
            if strip_namespace(element.tag) == "Channel":
                number = _attribute(element, "Ch")
                name = _attribute(element, "Target") or _attribute(element, "Fluorophore")
                if number and name:
                    names.setdefault(number, name)
    return names


def read_metaxpress(folder: Path) -> Acquisition:
    """Read the names of the wavelengths out of the `.HTD` file of ImageXpress."""
    names: dict[str, str] = {}
    for path in _find(folder, ("*.HTD", "*.htd")):
        text = path.read_text("latin-1")
        for row in csv.reader(text.splitlines(), skipinitialspace=True):
            if len(row) >= 2 and row[0].startswith("WaveName") and row[1].strip():
                names.setdefault(row[0].removeprefix("WaveName"), row[1].strip())
    return Acquisition(channels=names)


def read_micromanager(folder: Path) -> Acquisition:
    """Read `metadata.txt` of Micro-Manager, in the forms of versions 1.4 and 2."""
    for path in _find(folder, ("*metadata.txt",)):
        if path.stat().st_size > LARGEST:
            continue
        try:
            content = json.loads(path.read_text("utf-8", errors="replace"))
        except ValueError:
            return Acquisition(notes=(f"{path.name} is not complete: it was not used",))
        return _micromanager(content if isinstance(content, dict) else {})
    return Acquisition()


def _micromanager(content: dict[str, Any]) -> Acquisition:
    summary = content.get("Summary")
    summary = summary if isinstance(summary, dict) else {}
    names = summary.get("ChNames") or []
    frames = (value for key, value in content.items() if key != "Summary")
    frame = next((value for value in frames if isinstance(value, dict)), {})
    sizes = [summary.get("PixelSize_um"), frame.get("PixelSizeUm"), frame.get("PixelSize_um")]
    lengths = [micrometres(size, "um") for size in sizes if isinstance(size, int | float)]
    step = summary.get("z-step_um")
    return Acquisition(
        channels={str(number): str(name) for number, name in enumerate(names)},
        pixel_size=next((length for length in lengths if length), None),
        z_step=micrometres(abs(step), "um") if isinstance(step, int | float) else None,
    )


def _find(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """Look for the instrument's files in the folder and, one level after another, below it."""
    for depth in range(DEPTH + 1):
        for name in names:
            yield from sorted(folder.glob("*/" * depth + name))


def _root(path: Path | None) -> tuple[ElementTree.Element | None, tuple[str, ...]]:
    if path is None:
        return None, ()
    try:
        if path.stat().st_size > LARGEST:
            return None, (f"{path.name} is larger than {LARGEST} bytes: it was not used",)
        return parse_xml(path.read_bytes()), ()
    except (InputError, OSError) as error:
        return None, (f"{path.name} was not used: {error}",)


def _children(element: ElementTree.Element) -> dict[str, tuple[str, str | None]]:
    """Give text and unit of an element's children by name."""
    return {
        strip_namespace(child.tag): ((child.text or "").strip(), child.get("Unit"))
        for child in element
    }


def _attribute(element: ElementTree.Element, name: str) -> str | None:
    return next((v for key, v in element.attrib.items() if strip_namespace(key) == name), None)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _length(value: tuple[str, str | None] | None) -> float | None:
    """Convert a signed length to micrometres."""
    number = _number(value[0]) if value else None
    scale = micrometres(1.0, value[1] or "m") if value else None
    return number * scale if number is not None and scale else None


def _step(heights: Iterable[set[float]]) -> float | None:
    """Give the step between planes: the median difference of the heights of one field."""
    for planes in heights:
        ordered = sorted(planes)
        if len(ordered) > 1:
            steps = sorted(b - a for a, b in pairwise(ordered))
            return round(steps[len(steps) // 2], 3)
    return None


READERS: dict[str, Callable[[Path], Acquisition]] = {
    "harmony": read_harmony,
    "cellvoyager": read_cellvoyager,
    "imagexpress": read_metaxpress,
    "micromanager": read_micromanager,
}
