"""The one write primitive: a write unit (a shard, or a chunk where there are none) has one writer.

Two writers inside one unit read, change and write the same file, and one change is lost without a
word. So a block is written only if it covers whole units, and everything above plans by units.
"""

from __future__ import annotations

import copy
import itertools
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import BloscCodec
from zarr.storage import LocalStore, MemoryStore, StorePath

from poolvox.shared.errors import StoreError
from poolvox.shared.store.encoding import UnitFiles
from poolvox.shared.store.metadata import NGFF, read_array_document, write_array_document

__all__ = ["Layout", "Region", "UnitArray", "plan_layout", "storable", "tiling"]

Region = tuple[slice, ...]

# Side of a chunk, what a viewer fetches, in pixels.
CHUNK_SIDE: Final = 512
# Without shards every chunk is a file: larger ones keep their number bearable.
UNSHARDED_SIDE: Final = 1024
SHARD_SIDE: Final = 2048
SHARD_BYTES: Final = 8 * 2**20

# Measured on aligned sequencing images (uint16), CPU seconds to write 64 MiB, size, and seconds to
# read: lz4 5 with bitshuffle 0.06, 49 %, 0.05; zstd 1 with bitshuffle 0.15, 45 %, 0.10; zstd 1 with
# shuffle 0.12, 44 %, 0.09; zstd 3 0.24, 44 %, 0.09; zarr's own default (zstd without shuffle) 0.24,
# 53 %. Labels become 1 to 3 % with any. Writing is most of what a run does besides computing.
CODEC: Final = "lz4"
CODEC_LEVEL: Final = 5


@dataclass(frozen=True, slots=True)
class Layout:
    """Chunks, and shards of whole chunks (None: every chunk is a file of its own)."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None

    @property
    def unit(self) -> tuple[int, ...]:
        """What one writer writes at once."""
        return self.shards or self.chunks


def plan_layout(shape: tuple[int, ...], axes: str, dtype: DTypeLike, ngff: NGFF) -> Layout:
    """Choose chunks and shards for an array; time and channel are never joined in one unit.

    Every side is the whole axis or a power of two, so the units of a pyramid's levels nest.
    """
    item = np.dtype(dtype).itemsize
    side = UNSHARDED_SIDE if ngff == "0.4" else CHUNK_SIDE
    size = dict(zip(axes, shape))
    chunk = {axis: min(size[axis], side) if axis in "yx" else 1 for axis in axes}
    if "z" in size:
        depth = max(1, side * side // (chunk["y"] * chunk["x"]))
        chunk["z"] = min(size["z"], 1 << (depth.bit_length() - 1))
    chunks = tuple(chunk[axis] for axis in axes)
    if ngff == "0.4":
        return Layout(chunks, None)
    room = SHARD_BYTES // item
    shard = dict(chunk)
    for axis in "yx":
        shard[axis] = _grown(chunk[axis], size[axis], min(SHARD_SIDE, math.isqrt(room)))
    if "z" in size:
        shard["z"] = _grown(chunk["z"], size["z"], room // (shard["y"] * shard["x"]))
    return Layout(chunks, tuple(shard[axis] for axis in axes))


def _grown(side: int, size: int, most: int) -> int:
    """Double `side` until it covers `size` or would exceed `most`."""
    while side < size and 2 * side <= most:
        side *= 2
    return side


@lru_cache(maxsize=64)
def _document(
    shape: tuple[int, ...], dtype: np.dtype[Any], axes: str, ngff: NGFF
) -> Mapping[str, Any]:
    """Metadata of an empty array as zarr writes them; the fields of a plate have the same."""
    layout = plan_layout(shape, axes, dtype, ngff)
    common: dict[str, Any] = {"shape": shape, "dtype": dtype, "fill_value": 0}
    common |= {"store": MemoryStore(), "chunks": layout.chunks}
    if ngff == "0.4":
        codec = Blosc(cname=CODEC, clevel=CODEC_LEVEL, shuffle=Blosc.BITSHUFFLE)
        keys = {"name": "v2", "separator": "/"}
        kind = {"zarr_format": 2, "chunk_key_encoding": keys, "compressors": codec}
    else:
        size = dtype.itemsize
        blosc = BloscCodec(typesize=size, cname=CODEC, clevel=CODEC_LEVEL, shuffle="bitshuffle")
        kind = {"zarr_format": 3, "shards": layout.shards, "compressors": blosc}
        kind |= {"dimension_names": tuple(axes)}
    return zarr.create_array(**common, **kind).metadata.to_dict()


def storable(dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype under which values are stored: native byte order, masks as uint8."""
    found = np.dtype(dtype)
    if found.kind == "b":
        return np.dtype("uint8")
    if found.kind not in "uif":
        raise StoreError(f"cannot store pixels of dtype {found}: expected integers or floats")
    return found.newbyteorder("=")


def tiling(shape: tuple[int, ...], step: tuple[int, ...]) -> Iterator[Region]:
    """Cut `shape` into regions of at most `step`, in C order.

    Examples
    --------
    >>> [region[0].stop for region in tiling((5,), (2,))]
    [2, 4, 5]
    """
    ranges = (range(0, size, by) for size, by in zip(shape, step))
    for starts in itertools.product(*ranges):
        yield tuple(slice(a, min(a + by, n)) for a, by, n in zip(starts, step, shape))


class UnitArray:
    """An array on disk that is only written in whole units.

    Examples
    --------
    >>> array = UnitArray.create(path, (4096, 4096), "uint16", axes="yx")    # doctest: +SKIP
    >>> array.write(block, (0, 2048))                                        # doctest: +SKIP
    """

    def __init__(self, array: zarr.Array[Any], path: Path) -> None:
        """Wrap an array; use `create` or `open`."""
        self._array = array
        self._files = UnitFiles.of(array, path)
        self.path = path

    @classmethod
    def create(
        cls,
        path: Path,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        *,
        axes: str,
        ngff: NGFF = "0.5",
    ) -> UnitArray:
        """Make an empty array at `path`; whatever was there is removed."""
        document = _document(tuple(shape), storable(dtype), axes, ngff)
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
        write_array_document(path, document)
        return cls._of(path, document)

    @classmethod
    def open(cls, path: Path) -> UnitArray:
        """Open an array of any writer; a missing one is a StoreError."""
        document = read_array_document(path)
        if document is None:
            raise StoreError(f"{path} is missing: expected an array with zarr.json or .zarray")
        try:
            return cls._of(path, document)
        except Exception as error:
            raise StoreError(f"{path} cannot be opened as a zarr array: {error}") from error

    @classmethod
    def _of(cls, path: Path, document: Mapping[str, Any]) -> UnitArray:
        # Zarr opens through an event loop that all threads of a process share.
        place = StorePath(LocalStore(path))
        return cls(zarr.Array.from_dict(place, copy.deepcopy(dict(document))), path)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along every axis."""
        return tuple(self._array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return np.dtype(self._array.dtype)

    @property
    def unit(self) -> tuple[int, ...]:
        """Size of a write unit along every axis."""
        return tuple(self._array.shards or self._array.chunks)

    @property
    def storage(self) -> tuple[int, tuple[str | None, ...] | None, str]:
        """Zarr format, dimension names (v3) and the separator in chunk names."""
        metadata = self._array.metadata
        if metadata.zarr_format == 2:
            return 2, None, metadata.dimension_separator
        separator = str(getattr(metadata.chunk_key_encoding, "separator", "/"))
        return 3, metadata.dimension_names, separator

    def read(self, region: Any) -> NDArray[Any]:
        """Read a region: a slice for every axis, or whatever else numpy takes."""
        if self._files and isinstance(region, tuple) and len(region) == len(self.shape):
            bounds = [p.indices(n) for p, n in zip(region, self.shape) if isinstance(p, slice)]
            if len(bounds) == len(region) and all(by == 1 for *_, by in bounds):
                ranges = tuple(slice(a, max(a, b)) for a, b, _ in bounds)
                return self._files.read(ranges, self.dtype)
        return np.asarray(self._array[region])

    def write(self, block: NDArray[Any], origin: tuple[int, ...]) -> None:
        """Write whole units; only at the far borders of the array may a block end inside one.

        Parameters
        ----------
        block : array of the store's dimensions
        origin : place of its first element, in pixels
        """
        self._check(block, origin)
        # Unit by unit: zarr encodes all that one assignment touches at the same time, and its
        # memory would grow with the block.
        for part in tiling(block.shape, self.unit):
            start = tuple(o + p.start for o, p in zip(origin, part))
            if self._files:
                self._files.write(block[part].astype(self.dtype, copy=False), start)
            else:
                place = tuple(slice(o, o + p.stop - p.start) for o, p in zip(start, part))
                self._array[place] = block[part]

    def _check(self, block: NDArray[Any], origin: tuple[int, ...]) -> None:
        unit, shape = self.unit, self.shape
        what = f"a block of shape {block.shape} at origin {tuple(origin)}"
        if block.ndim != len(shape) or len(origin) != len(shape):
            raise StoreError(f"{what} does not fit an array of shape {shape} ({self.path})")
        ends = tuple(o + n for o, n in zip(origin, block.shape))
        if any(o < 0 or end > size for o, end, size in zip(origin, ends, shape)):
            raise StoreError(f"{what} reaches outside the array of shape {shape} ({self.path})")
        inside = (end % u and end != size for end, u, size in zip(ends, unit, shape))
        if any(o % u for o, u in zip(origin, unit)) or any(inside):
            message = (
                f"{what} does not cover whole write units of {unit} ({self.path}): start at "
                f"multiples of the unit and end at one or at the border {shape}"
            )
            raise StoreError(message)
        if not np.can_cast(block.dtype, self.dtype, "same_kind") and block.dtype.kind != "b":
            raise StoreError(f"{what} is {block.dtype}, {self.path} is {self.dtype}: convert it")

    def lazy(self) -> Any:
        """A dask array with one chunk per write unit."""
        import dask.array as da

        return da.from_zarr(self._array, chunks=self.unit)
