"""The files of write units: what zarr writes and reads, without zarr's way there.

Zarr cuts every access into jobs for an event loop and a pool of threads that all threads of a
process share. A unit that is at hand as a whole needs neither, nor does a region that is read: they
are encoded and decoded in the thread that asks, in half the time, and several threads do not wait
for each other. The files are as zarr's own; arrays with other codecs than ours are left to zarr.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from poolvox.shared.errors import StoreError

__all__ = ["UnitFiles"]

# Stands in a shard's index for a chunk that holds nothing but zeros and is not stored.
EMPTY: Final = 2**64 - 1
# Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4).
CRC32C: Final = 0x82F63B78

SHUFFLES: Final = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}

# In the names of files that are being written: no two writers have one.
_WRITER: Final = uuid.uuid4().hex
_COUNT: Final = itertools.count()

Block = NDArray[Any]
Region = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class UnitFiles:
    """Writes whole units of one array, and reads regions of it.

    Parameters
    ----------
    root : folder of the array
    chunks, unit : shapes of a chunk and of a write unit, which are equal where there are no shards
    codec : compresses a chunk
    sharded : whether a unit is a shard of chunks with an index
    names : gives a unit's file, by its place in the grid of units
    folders : those that are there, as far as we know
    """

    root: Path
    chunks: tuple[int, ...]
    unit: tuple[int, ...]
    codec: Blosc
    sharded: bool
    names: Any
    folders: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, array: zarr.Array[Any], root: Path) -> UnitFiles | None:
        """Those of an array; None if they must be left to zarr itself."""
        meta = array.metadata
        plain = sys.byteorder == "little" and not meta.fill_value and array.order == "C"
        if not plain or array.dtype.kind not in "uif" or not array.dtype.isnative:
            return None
        chunks = tuple(array.chunks)
        if meta.zarr_format == 2:
            own = isinstance(meta.compressor, Blosc) and not meta.filters
            name = meta.encode_chunk_key
            return cls(root, chunks, chunks, meta.compressor, False, name) if own else None
        codec = _shard_codec(meta.codecs)
        if codec is None:
            return None
        name = meta.chunk_key_encoding.encode_chunk_key
        return cls(root, chunks, tuple(array.shards or chunks), codec, True, name)

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks of a unit along every axis."""
        return tuple(u // c for u, c in zip(self.unit, self.chunks))

    def write(self, block: Block, origin: Sequence[int]) -> None:
        """Write one unit; at the far borders of the array the block is smaller than the unit."""
        place = tuple(o // u for o, u in zip(origin, self.unit))
        path = os.path.join(self.root, self.names(place))
        data = self._shard(block) if self.sharded else self._chunk(block)
        if data is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        folder = os.path.dirname(path)
        if folder not in self.folders:
            os.makedirs(folder, exist_ok=True)
            self.folders.add(folder)
        # A reader finds the old unit or the new one; what a killed writer leaves is no chunk.
        partial = f"{path}.{_WRITER}{next(_COUNT):x}.partial"
        try:
            _write_file(partial, data)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
            raise

    def read(self, region: Region, dtype: np.dtype[Any]) -> Block:
        """Read a region inside the array; zeros where nothing was written."""
        found = np.zeros([part.stop - part.start for part in region], dtype)
        for place in _places(region, self.unit):
            path = self.root / self.names(place)
            try:
                self._read_unit(path, _within(region, place, self.unit), region, found)
            except FileNotFoundError:
                continue
            except (RuntimeError, ValueError) as error:
                raise StoreError(
                    f"{path} is damaged ({error}): restore it, or write the image again"
                ) from error
        return found

    def _read_unit(self, path: Path, inside: Region, region: Region, found: Block) -> None:
        """Copy what a unit has of a region; `inside` is the part of the region that it covers."""
        with path.open("rb") as file:
            index = self._index(file) if self.sharded else None
            for place in _places(inside, self.chunks):
                if index is None:
                    data = file.read()
                else:
                    start, size = index[tuple(map(operator.mod, place, self.grid))].tolist()
                    if start == EMPTY:
                        continue
                    file.seek(start)
                    data = file.read(size)
                whole = np.frombuffer(self.codec.decode(data), found.dtype).reshape(self.chunks)
                part = _within(inside, place, self.chunks)
                corner = [p * c for p, c in zip(place, self.chunks)]
                target = _moved(part, [side.start for side in region])
                found[target] = whole[_moved(part, corner)]

    def _index(self, file: BinaryIO) -> NDArray[np.uint64]:
        """Where the chunks of a shard are: first byte and size of each."""
        size = 16 * math.prod(self.grid)
        if file.seek(0, os.SEEK_END) < size + 4:
            raise ValueError("it is cut off")
        file.seek(-size - 4, os.SEEK_END)
        tail = file.read()
        if _crc32c(tail[:size]) != int.from_bytes(tail[size:], "little"):
            raise ValueError("the checksum of its index is wrong")
        return np.frombuffer(tail[:size], "<u8").reshape(*self.grid, 2)

    def _chunk(self, block: Block) -> bytes | None:
        """A compressed chunk, zeros beyond the border; None if there is nothing else in it."""
        from poolvox.shared.store.kernels import copy_block

        whole = np.empty(self.chunks, block.dtype)
        # As whole numbers, so that a zero with a sign is kept.
        bits = f"u{block.itemsize}"
        if not copy_block(_planes(block.view(bits)), _planes(whole.view(bits))):
            return None
        data: bytes = self.codec.encode(whole)
        return data

    def _shard(self, block: Block) -> bytes | None:
        index = np.full((*self.grid, 2), EMPTY, "<u8")
        parts: list[bytes] = []
        end = 0
        for place in np.ndindex(*self.grid):
            part = block[tuple(slice(p * c, (p + 1) * c) for p, c in zip(place, self.chunks))]
            data = self._chunk(part) if part.size else None
            if data is not None:
                parts.append(data)
                index[place] = end, len(data)
                end += len(data)
        if not parts:
            return None
        tail = index.tobytes()
        return b"".join([*parts, tail, _crc32c(tail).to_bytes(4, "little")])


def _write_file(path: str, data: bytes) -> None:
    """Write a new file, in a third of the system calls that `open` takes."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
    finally:
        os.close(file)


def _places(region: Region, size: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Boxes of that size, by their place in the grid of them, that a region touches."""
    return itertools.product(
        *(range(part.start // n, -(-part.stop // n)) for part, n in zip(region, size))
    )


def _within(region: Region, place: Sequence[int], size: Sequence[int]) -> Region:
    """The part of a region that lies in a box of the grid."""
    return tuple(
        slice(max(part.start, p * n), min(part.stop, (p + 1) * n))
        for part, p, n in zip(region, place, size)
    )


def _moved(region: Region, origin: Sequence[int]) -> Region:
    """A region as seen from a point."""
    return tuple(slice(part.start - o, part.stop - o) for part, o in zip(region, origin))


def _planes(block: Block) -> Block:
    """As (k, y, x)."""
    return block.reshape(-1, *((1, 1, *block.shape)[-2:]))


def _shard_codec(codecs: Sequence[Any]) -> Blosc | None:
    """The codec of the chunks, if shards are made as `UnitArray.create` makes them."""
    match codecs:
        case [
            ShardingCodec(
                codecs=[BytesCodec(), BloscCodec() as inner],
                index_codecs=[BytesCodec(), Crc32cCodec()],
                index_location=location,
            )
        ] if getattr(location, "value", location) == "end":
            return _blosc(inner)
    return None


def _blosc(codec: BloscCodec) -> Blosc | None:
    cname, shuffle = (getattr(v, "value", v) for v in (codec.cname, codec.shuffle))
    if shuffle not in SHUFFLES:
        return None
    return Blosc(cname=cname, clevel=codec.clevel, shuffle=SHUFFLES[shuffle])


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (CRC32C if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE: Final = _table()


def _crc32c(data: bytes) -> int:
    """Checksum of a shard's index, a few hundred bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
