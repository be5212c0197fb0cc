"""The directory of a TIFF file, read without its pixels: in one open, a few small reads.

tifffile decodes the pixels; what is here is the part of the format that a manifest of 100,000
files needs, and the check that the file is as long as its own directory promises.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.imagej import parse_description, plane_labels

__all__ = ["Page", "TiffDirectory", "Truncated", "read_directory"]

# Bytes fetched at once: the directory and description of most files fit in one read.
WINDOW = 16384
# A chain of directories longer than this is a loop or garbage.
MAX_PAGES = 2_000_000
# Labels of planes are read from tags up to this size: overlays drawn by users may take megabytes.
MAX_LABEL_BYTES = 2**16

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION = 254, 256, 257, 258, 259
_PHOTOMETRIC, _DESCRIPTION, _STRIPS, _SAMPLES, _STRIP_BYTES = 262, 270, 273, 277, 279
_X_RESOLUTION, _Y_RESOLUTION, _PLANAR, _TILES, _TILE_BYTES = 282, 283, 284, 324, 325
_FORMAT, _UIC1, _UIC2, _IJ_COUNTS, _IJ_DATA = 339, 33628, 33629, 50838, 50839

_WANTED = frozenset(
    {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION, _STRIPS}
    | {_SAMPLES, _STRIP_BYTES, _X_RESOLUTION, _Y_RESOLUTION, _PLANAR, _TILES, _TILE_BYTES}
    | {_FORMAT, _UIC1, _UIC2, _IJ_COUNTS, _IJ_DATA}
)
# Read from the first page only.
_OF_FIRST = frozenset({_DESCRIPTION, _IJ_COUNTS, _IJ_DATA})
# Letters of `struct` for the types of TIFF tags; rationals are read as pairs.
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii"}
_TYPES |= {11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}


class Truncated(InputError):
    """The file ends before the data that its directory promises."""


@dataclass(frozen=True, slots=True)
class Page:
    """One image of the chain: its size, type and where its data ends."""

    height: int
    width: int
    samples: int
    planar: bool
    rgb: bool
    compressed: bool
    dtype: np.dtype[np.generic]
    start: int
    end: int
    reduced: bool = False

    @property
    def nbytes(self) -> int:
        """Size in bytes of the decoded page."""
        return self.height * self.width * self.samples * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class TiffDirectory:
    """The full-size pages of a file, and the descriptions of its first one.

    Attributes
    ----------
    numbers : place of each page in the chain, in which thumbnails count as well
    contiguous : planes that lie behind the first page without pages of their own, or 0
    labels : what ImageJ calls the planes
    """

    pages: tuple[Page, ...]
    numbers: tuple[int, ...]
    descriptions: tuple[str, ...]
    resolution: tuple[float, float] | None
    size: int
    byteorder: str
    metamorph: Mapping[str, float | str] = field(default_factory=dict)
    contiguous: int = 0
    labels: tuple[str, ...] = ()

    @property
    def skipped(self) -> bool:
        """Whether there are thumbnails or smaller levels between the pages."""
        return self.numbers != tuple(range(len(self.numbers)))


def read_directory(path: Path) -> TiffDirectory:
    """Read the directory of a TIFF file.

    Raises `InputError` for a file that is not a TIFF, `Truncated` for one that ends too early, and
    `OSError` where it cannot be opened.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise Truncated("the file is empty (0 bytes): copy it again")
        return _Reader(file.fileno(), size).directory()


class _Reader:
    """Parses the bytes of one open file; every access is checked against the file's end."""

    def __init__(self, handle: int, size: int) -> None:
        self.handle, self.size = handle, size
        self.start, self.block = 0, b""
        self.order = "<"

    def take(self, offset: int, count: int) -> bytes:
        if offset < 0 or offset + count > self.size:
            raise Truncated(
                f"the file ends at byte {self.size}, but its directory points to byte "
                f"{offset + count}: it was not copied completely"
            )
        if not self.start <= offset <= offset + count <= self.start + len(self.block):
            self.start, self.block = offset, self._fetch(offset, max(count, WINDOW))
        place = offset - self.start
        return self.block[place : place + count]

    def _fetch(self, offset: int, count: int) -> bytes:
        os.lseek(self.handle, offset, os.SEEK_SET)
        parts: list[bytes] = []
        wanted = min(count, self.size - offset)
        while wanted > 0 and (part := os.read(self.handle, wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def directory(self) -> TiffDirectory:
        first, big = self._signature()
        pages: list[Page] = []
        tags: dict[int, tuple[int, ...] | bytes] = {}
        offset, seen = first, set()
        while offset and len(pages) < MAX_PAGES:
            if offset in seen:
                raise InputError("the TIFF directory points back to itself: the file is damaged")
            seen.add(offset)
            entries, offset = self._entries(offset, big=big, first=not pages)
            tags = tags or entries
            pages.append(self._page(entries))
        if not pages:
            raise InputError("the TIFF file holds no image")
        return self._describe(pages, tags)

    def _signature(self) -> tuple[int, bool]:
        head = self.take(0, min(16, self.size))
        orders = {b"II": "<", b"MM": ">"}
        if head[:2] not in orders or len(head) < 8:
            raise InputError(f"this is not a TIFF file: it begins with {head[:4]!r}")
        self.order = orders[head[:2]]
        version = struct.unpack(self.order + "H", head[2:4])[0]
        if version not in (42, 43):
            raise InputError(f"this is not a TIFF file: its version is {version}, not 42 or 43")
        if version == 43:
            return struct.unpack(self.order + "Q", self.take(8, 8))[0], True
        return struct.unpack(self.order + "I", head[4:8])[0], False

    def _entries(
        self, offset: int, *, big: bool, first: bool
    ) -> tuple[dict[int, tuple[int, ...] | bytes], int]:
        number, width, code = (8, 20, "Q") if big else (2, 12, "H")
        count = struct.unpack(self.order + code, self.take(offset, number))[0]
        if count == 0 or count > 4096:
            raise InputError(f"the TIFF directory has {count} entries: the file is damaged")
        inline = 8 if big else 4
        raw = self.take(offset + number, count * width + inline)
        found: dict[int, tuple[int, ...] | bytes] = {}
        layout = struct.Struct(self.order + ("HHQ8s" if big else "HHI4s"))
        for place in range(0, count * width, width):
            tag, kind, length, value = layout.unpack_from(raw, place)
            if tag not in _WANTED or kind not in _TYPES:
                continue
            if tag in _OF_FIRST and not first:
                continue
            if tag in (_IJ_COUNTS, _IJ_DATA) and length > MAX_LABEL_BYTES:
                continue
            if tag == _DESCRIPTION and tag in found:
                tag = -_DESCRIPTION  # tifffile's own beside ImageJ's
            found[tag] = self._value(kind, length, value, inline, tag)
        following = struct.unpack(self.order + ("Q" if big else "I"), raw[-inline:])[0]
        return found, following

    def _value(
        self, kind: int, length: int, value: bytes, inline: int, tag: int
    ) -> tuple[int, ...] | bytes:
        letters = _TYPES[kind]
        size = struct.calcsize("<" + letters) * length
        if tag in (_UIC1, _UIC2):
            where = struct.unpack(self.order + ("Q" if inline == 8 else "I"), value)[0]
            return (length, where)
        if size > inline:
            where = struct.unpack(self.order + ("Q" if inline == 8 else "I"), value)[0]
            value = self.take(where, size)
        if letters == "s":
            return value[:size]
        return struct.unpack(
            f"{self.order}{letters * length if len(letters) > 1 else f'{length}{letters}'}",
            value[:size],
        )

    def _page(self, tags: Mapping[int, tuple[int, ...] | bytes]) -> Page:
        def one(tag: int, default: int) -> int:
            value = tags.get(tag)
            return int(value[0]) if value else default

        height, width, samples = one(_HEIGHT, 0), one(_WIDTH, 0), one(_SAMPLES, 1)
        if not height or not width:
            raise InputError("the TIFF directory gives no image size: the file is damaged")
        tiled = _TILES in tags
        starts = tags.get(_TILES if tiled else _STRIPS, ())
        counts = tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
        if not starts:
            raise InputError("the TIFF directory points to no pixels: the file is damaged")
        dtype = _dtype(tags, self.order)
        planar = samples > 1 and one(_PLANAR, 1) == 2
        if not counts:
            counts = (height * width * samples * dtype.itemsize,)
        return Page(
            height=height,
            width=width,
            samples=samples,
            planar=planar,
            # Writers call three separate planes RGB by default; colour cameras interleave them.
            rgb=one(_PHOTOMETRIC, 1) in (2, 6) and samples >= 3 and not planar,
            compressed=one(_COMPRESSION, 1) != 1,
            dtype=dtype,
            start=int(starts[0]),
            end=max(int(at) + int(n) for at, n in zip(starts, counts)),
            reduced=bool(one(_SUBFILE, 0) & 1),
        )

    def _describe(
        self, pages: list[Page], tags: Mapping[int, tuple[int, ...] | bytes]
    ) -> TiffDirectory:
        texts = [_decode(tags[tag]) for tag in (_DESCRIPTION, -_DESCRIPTION) if tag in tags]
        metamorph: dict[str, float | str] = {}
        contiguous = 0
        if _UIC2 in tags:
            contiguous = int(tags[_UIC2][0])
        elif len(pages) == 1 and texts and texts[0].startswith("ImageJ="):
            contiguous = _imagej_planes(texts[0])
        if _UIC1 in tags:
            metamorph = self._metamorph(int(tags[_UIC1][0]), int(tags[_UIC1][1]))
        self._check_length(pages, contiguous)
        full = [n for n, page in enumerate(pages) if not page.reduced] or list(range(len(pages)))
        return TiffDirectory(
            pages=tuple(pages[number] for number in full),
            numbers=tuple(full),
            descriptions=tuple(texts),
            resolution=_resolution(tags),
            size=self.size,
            byteorder=self.order,
            metamorph=metamorph,
            contiguous=contiguous if contiguous > len(pages) else 0,
            labels=self._labels(tags),
        )

    def _labels(self, tags: Mapping[int, tuple[int, ...] | bytes]) -> tuple[str, ...]:
        counts = tuple(int(count) for count in tags.get(_IJ_COUNTS, ()))
        try:
            return plane_labels(bytes(tags.get(_IJ_DATA, ())), counts, self.order)
        except ValueError:  # of another type than bytes: not ImageJ's, and no loss
            return ()

    def _check_length(self, pages: list[Page], contiguous: int) -> None:
        end = max(page.end for page in pages)
        if contiguous > len(pages) and not pages[0].compressed:
            end = max(end, pages[0].start + contiguous * pages[0].nbytes)
        if end > self.size:
            raise Truncated(
                f"the file ends at byte {self.size}, but its images reach to byte {end}: "
                "it was not copied completely"
            )

    def _metamorph(self, count: int, offset: int) -> dict[str, float | str]:
        """Read the calibration out of MetaMorph's first private tag: pairs of id and value."""
        found: dict[str, float | str] = {}
        if count * 8 > self.size:
            return found
        values = struct.unpack(f"{self.order}{count * 2}I", self.take(offset, count * 8))
        for tag, where in zip(values[::2], values[1::2]):
            if tag in (4, 5) and where >= 8:
                top, bottom = struct.unpack(self.order + "II", self.take(where, 8))
                if bottom:
                    found["x" if tag == 4 else "y"] = top / bottom
            elif tag == 6 and where >= 8:
                length = struct.unpack(self.order + "I", self.take(where, 4))[0]
                if length < 256:
                    found["unit"] = _decode(self.take(where + 4, length))
        return found


def _dtype(tags: Mapping[int, tuple[int, ...] | bytes], order: str) -> np.dtype[np.generic]:
    bits = {int(b) for b in tags.get(_BITS, (1,))}
    kinds = {int(k) for k in tags.get(_FORMAT, (1,))}
    if len(bits) > 1 or len(kinds) > 1:
        raise InputError(f"the samples have different types ({sorted(bits)} bits): not supported")
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(kinds.pop())
    depth = bits.pop()
    # Packed samples, such as 12 bit, are unpacked to the next whole type.
    wide = next((size for size in (8, 16, 32, 64) if depth <= size), 0)
    if kind is None or not wide or (kind == "f" and wide == 8) or depth == 1:
        raise InputError(f"pixels of {depth} bits are not supported: use 8 to 64 bit numbers")
    return np.dtype(f"{order}{kind}{wide // 8}")


def _resolution(tags: Mapping[int, tuple[int, ...] | bytes]) -> tuple[float, float] | None:
    pair: list[float] = []
    for tag in (_Y_RESOLUTION, _X_RESOLUTION):
        value = tags.get(tag)
        if not value or len(value) < 2 or not value[0] or not value[1]:
            return None
        pair.append(int(value[0]) / int(value[1]))
    return pair[0], pair[1]


def _imagej_planes(description: str) -> int:
    count = parse_description(description).get("images", "")
    return int(count) if count.isdecimal() else 1


def _decode(value: tuple[int, ...] | bytes) -> str:
    raw = value if isinstance(value, bytes) else bytes(value)
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
