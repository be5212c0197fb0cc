"""XML that instruments write, parsed without entities, and what OME-XML says of one file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from xml.etree import ElementTree

from poolvox.shared.errors import InputError

__all__ = ["OmeImage", "micrometres", "ome_images", "parse_xml", "strip_namespace"]

# Micrometres in one of each unit; names in lower case, as OME, ImageJ, NGFF and vendors write them.
_UNITS = {
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("pm", "picometer", "picometre"), 1e-6),
    **dict.fromkeys(("å", "angstrom"), 1e-4),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("in", "inch"), 25400.0),
}


def parse_xml(text: str | bytes) -> ElementTree.Element:
    """Parse XML that came with images.

    A document type is refused: it is what entity expansion and external entities need, and no
    instrument writes one.
    """
    if isinstance(text, bytes):
        wide = text[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = text.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError("the XML declares a document type, which may hide an attack: refused")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"the XML cannot be read: {error}") from None


def strip_namespace(tag: str) -> str:
    """Give the local name of an element: schemas differ between versions, names hardly."""
    return tag.rpartition("}")[2]


def micrometres(value: str | float | None, unit: str | None) -> float | None:
    """Convert a length to micrometres; None where it is absent, not positive or has no length.

    Examples
    --------
    >>> micrometres("325", "nm"), micrometres(1, "pixel")
    (0.325, None)
    """
    scale = _UNITS.get((unit or "um").strip().lower().replace("\\u00b5", "µ"))
    try:
        length = float(value) * scale if value is not None and scale else math.nan
    except ValueError:
        return None
    return round(length, 9) if math.isfinite(length) and length > 0 else None


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image of an OME-TIFF: the planes that this very file holds.

    Attributes
    ----------
    sizes : t, c, z planes that are here
    pages : page of each plane, t slowest and z fastest
    """

    name: str
    sizes: tuple[int, int, int]
    pages: tuple[int, ...]
    spacing: dict[str, float]
    channels: tuple[str, ...]


def ome_images(text: str, filename: str, pages: int) -> list[OmeImage]:
    """Read which planes of which images lie in this file of an OME-TIFF set.

    Parameters
    ----------
    text : the OME-XML in the file's description
    filename : name of the file, without folders
    pages : how many pages it has
    """
    root = parse_xml(text)
    own = root.get("UUID")
    found = (_image(image, own, filename, pages) for image in _all(root, "Image"))
    return [image for image in found if image is not None]


def _all(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (child for child in element if strip_namespace(child.tag) == name)


def _image(
    image: ElementTree.Element, own: str | None, filename: str, pages: int
) -> OmeImage | None:
    pixels = next(_all(image, "Pixels"), None)
    if pixels is None:
        return None
    places = _places(pixels, own, filename, pages)
    if not places:
        return None
    axes = [sorted({place[axis] for place in places}) for axis in range(3)]
    order = [(t, c, z) for t, c, z in product(*axes)]
    if set(order) != set(places):
        raise InputError(
            f"the OME metadata promises {len(order)} planes, of which the file holds {len(places)}"
        )
    names = [channel.get("Name") or "" for channel in _all(pixels, "Channel")]
    kept = tuple(names[c] for c in axes[1] if c < len(names)) if all(names) else ()
    return OmeImage(
        name=image.get("Name") or "",
        sizes=(len(axes[0]), len(axes[1]), len(axes[2])),
        pages=tuple(places[place] for place in order),
        spacing=_spacing(pixels),
        channels=kept if len(kept) == len(axes[1]) else (),
    )


def _spacing(pixels: ElementTree.Element) -> dict[str, float]:
    spacing: dict[str, float] = {}
    for axis in "ZYX":
        size = pixels.get(f"PhysicalSize{axis}")
        length = micrometres(size, pixels.get(f"PhysicalSize{axis}Unit"))
        if length is not None:
            spacing[axis.lower()] = length
    return spacing


def _places(
    pixels: ElementTree.Element, own: str | None, filename: str, pages: int
) -> dict[tuple[int, int, int], int]:
    """Map (t, c, z) to the page that holds it, for the planes of this file alone."""
    sizes = {axis: int(pixels.get(f"Size{axis}", "1")) for axis in "TCZ"}
    # RGB channels count their samples in SizeC, but lie in one page.
    for channel in _all(pixels, "Channel"):
        sizes["C"] -= int(channel.get("SamplesPerPixel", "1")) - 1
    order = [axis for axis in pixels.get("DimensionOrder", "XYZCT")[2:] if axis in "TCZ"]
    places: dict[tuple[int, int, int], int] = {}
    for data in _all(pixels, "TiffData"):
        if not _is_here(data, own, filename):
            continue
        start = {axis: int(data.get(f"First{axis}", "0")) for axis in "TCZ"}
        ifd = int(data.get("IFD", "0"))
        rest = pages if data.get("IFD") is None else 1
        for step in range(int(data.get("PlaneCount", rest))):
            place = _advance(start, sizes, order, step)
            if place is None or ifd + step >= pages:
                break
            places[place] = ifd + step
    return places


def _is_here(data: ElementTree.Element, own: str | None, filename: str) -> bool:
    uuid = next(_all(data, "UUID"), None)
    if uuid is None:
        return True
    same_id = own is not None and (uuid.text or "").strip() == own
    return same_id or uuid.get("FileName") == filename


def _advance(
    start: dict[str, int], sizes: dict[str, int], order: list[str], step: int
) -> tuple[int, int, int] | None:
    """Give the plane that comes `step` planes after `start` in the file's order of dimensions."""
    place = dict(start)
    carry = step
    for axis in order:
        carry, place[axis] = divmod(place[axis] + carry, max(sizes[axis], 1))
    return None if carry else (place["T"], place["C"], place["Z"])
