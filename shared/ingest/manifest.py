"""What raw files there are, and what is wrong with them, known before any work.

A manifest is made from names and headers alone; each file is opened once. A file that is missing,
doubled, unreadable, truncated, or of another shape or type costs its own tile and nothing else.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.layout import Layout
from poolvox.shared.ingest.readers import Header, read_planes
from poolvox.shared.ingest.spec import AXES, RawSpec
from poolvox.shared.sorting import natural

if TYPE_CHECKING:
    import pandas as pd

    from poolvox.shared.imaging.scratch import Scratch

__all__ = ["Manifest", "Piece", "Problem", "TileKey"]

# Columns that tell where an image belongs.
PLACE = ("plate", "well", "tile", "organoid", "cycle", "channel")
# How many tiles or files a summary names before it only counts them.
NAMED = 5


@dataclass(frozen=True, slots=True)
class TileKey:
    """The place of an image: its plate, well, and tile or organoid."""

    plate: str
    well: str
    tile: str
    organoid: str = ""

    def __str__(self) -> str:
        """Write it as in unit keys: `P1-A1-3`."""
        return "-".join(part for part in (self.plate, self.well, self.field) if part)

    @property
    def field(self) -> str:
        """Name of the field in the well of a plate: letters and digits only."""
        parts = [part for part in (self.tile, self.organoid) if part]
        return "o".join("".join(c for c in part if c.isascii() and c.isalnum()) for part in parts)

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key: natural order of plate, well, tile, organoid."""
        return tuple(natural(p) for p in (self.plate, self.well, self.tile, self.organoid))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a tile.

    Attributes
    ----------
    kind : missing, doubled, shape, dtype, axes, truncated or unreadable
    """

    kind: str
    key: TileKey
    path: str
    reason: str
    cycle: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one file gives to one tile; `cycle`, `channel`, `z` are "" where the file holds all."""

    path: str
    key: TileKey
    cycle: str = ""
    channel: str = ""
    z: str = ""
    header: Header | None = None
    scene: int = 0
    layout: Layout | None = None


@dataclass(frozen=True)
class Manifest:
    """The raw files of one specification, by tile; made by `scan`.

    Attributes
    ----------
    tiles : places in natural order, also those with problems
    axes : axes of every array that `read` gives, out of `tczyx`; c, y and x are always there
    cycles, channels : names along t and c
    planes : values of `{z}` in the names, in order; empty where files hold z themselves
    values : what stands for the channels in the files' names, where each has files of its own
    selection : by cycle, numbers of the channels within a file that holds several, -1 for one that
        the cycle lacks; "" stands for all cycles that are not named
    spacing : micrometres by axis; None where neither file nor configuration says it
    notes : what is worth knowing but stops nothing
    """

    spec: RawSpec
    tiles: list[TileKey]
    axes: str
    cycles: tuple[str, ...]
    channels: tuple[str, ...]
    planes: tuple[str, ...]
    spacing: dict[str, float | None]
    dtype: np.dtype[Any]
    sizes: dict[str, int]
    pieces: dict[TileKey, list[Piece]] = field(repr=False)
    faults: list[Problem] = field(repr=False)
    values: tuple[str, ...] = ()
    selection: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    wells: dict[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def fields(self) -> frozenset[str]:
        """The fields that the names of the files have."""
        return frozenset(self.spec.patterns[0].fields)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a tile's array, in the order of `axes`."""
        return tuple(self.sizes[axis] for axis in self.axes)

    @property
    def tile_bytes(self) -> int:
        """Bytes of one tile's decoded pixels."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Bytes of all tiles' decoded pixels."""
        return self.tile_bytes * len(self.tiles)

    def lacks(self, cycle: str, value: str) -> bool:
        """Whether a cycle was imaged without the channel that `value` stands for in the names."""
        names = dict(zip(self.values, self.channels, strict=False))
        return value in names and self.spec.lacks(names[value], cycle)

    @property
    def absent(self) -> tuple[tuple[int, int], ...]:
        """Places along t and c of the images that were not taken; `read` gives zeros for them."""
        return tuple(
            (t, c)
            for t, cycle in enumerate(self.cycles)
            for c, channel in enumerate(self.channels)
            if self.spec.lacks(channel, cycle)
        )

    @cached_property
    def bad(self) -> dict[TileKey, str]:
        """The tiles that cannot be read, and why."""
        reasons: defaultdict[TileKey, list[str]] = defaultdict(list)
        for fault in self.faults:
            reasons[fault.key].append(fault.reason)
        return {key: _first(texts) for key, texts in reasons.items()}

    @cached_property
    def problems(self) -> pd.DataFrame:
        """One row per problem, in the order of the tiles."""
        import pandas as pd

        columns = ["kind", *PLACE, "path", "reason"]
        rows = [(f.kind, *_four(f.key), f.cycle, f.channel, f.path, f.reason) for f in self.faults]
        return pd.DataFrame(rows, columns=columns, dtype=object)

    @cached_property
    def files(self) -> pd.DataFrame:
        """One row per file and tile: place, path and size in bytes."""
        import pandas as pd

        columns = [*PLACE, "z", "path", "bytes"]
        rows = [
            (*_four(key), p.cycle, p.channel, p.z, p.path, p.header.size if p.header else 0)
            for key in self.tiles
            for p in self.pieces[key]
        ]
        return pd.DataFrame(rows, columns=columns)

    def files_of(self, tile: TileKey) -> tuple[Path, ...]:
        """Give the files of a tile, each once, in natural order; of a stored plate its image."""
        return tuple(Path(path) for path in dict.fromkeys(map(_source, self.pieces[tile])))

    def shape_of(self, tile: TileKey) -> tuple[int, ...]:
        """Shape of one tile's array; organoids of a plate may differ in it."""
        sizes = dict(self.sizes)
        layouts = [piece.layout for piece in self.pieces[tile] if piece.layout]
        if layouts:
            own = layouts[0].sizes
            sizes.update(y=own["y"], x=own["x"])
            sizes["z"] = len(self._planes_of(tile)) or own["z"]
        return tuple(sizes[axis] for axis in self.axes)

    def only(self, tile: TileKey) -> Manifest:
        """Give the manifest of one tile: small enough to be sent to another process.

        What was found for all tiles, such as shape, cycles and channels, stays as it is.
        """
        pieces = [_alone(piece) for piece in self.pieces[tile]]
        faults = [fault for fault in self.faults if fault.key == tile]
        wells = {tile.well: self.wells[tile.well]} if tile.well in self.wells else {}
        return replace(self, tiles=[tile], pieces={tile: pieces}, faults=faults, wells=wells)

    def read(
        self,
        tile: TileKey,
        *,
        cycles: Sequence[str] | None = None,
        channels: Sequence[str] | None = None,
        planes: range | None = None,
        scratch: Scratch | None = None,
    ) -> NDArray[Any]:
        """Read the pixels of a tile.

        Parameters
        ----------
        tile : one of `tiles`
        cycles, channels : names of those to read, in the wished order; all where not given
        planes : places along z of those to read, ascending by 1; all where not given
        scratch : where the pixels shall lie; they stay until its next use

        Returns
        -------
        array with the axes `axes`, in the machine's byte order

        Raises
        ------
        InputError
            with the reason, where a file of the tile is missing or bad
        """
        if tile not in self.pieces:
            raise InputError(
                f"there is no tile {tile}: the first of {len(self.tiles)} is {self.tiles[0]}"
            )
        if tile in self.bad:
            raise InputError(f"tile {tile}: {self.bad[tile]}")
        wanted_t = _places(cycles, self.cycles, "cycle")
        wanted_c = _places(channels, self.channels, "channel")
        z_values = self._planes_of(tile)
        sizes = dict(zip(self.axes, self.shape_of(tile), strict=True))
        wanted_z = range(sizes.get("z", 1)) if planes is None else planes
        shape = (len(wanted_t), len(wanted_c), len(wanted_z), sizes["y"], sizes["x"])
        dtype = self.dtype.newbyteorder("=")
        full = np.empty(shape, dtype) if scratch is None else scratch.array(shape, dtype)
        for t, c in self.absent:
            if t in wanted_t and c in wanted_c:
                full[wanted_t.index(t), wanted_c.index(c)] = 0
        for piece in self.pieces[tile]:
            self._place(piece, full, wanted_t, wanted_c, wanted_z, z_values)
        return full.reshape([n for axis, n in zip(AXES, full.shape) if axis in self.axes])

    def summary(self) -> str:
        """Describe in plain text what there is and what is wrong with it."""
        bad = len(self.bad)
        lines = [
            f"{len(self.tiles)} tiles in {len({(k.plate, k.well) for k in self.tiles})} wells, "
            f"{len(self.files)} files, {self.bytes / 2**30:.2f} GiB of pixels",
            f"{len(self.cycles)} cycles: {', '.join(self.cycles)}" if "t" in self.axes else "",
            f"{len(self.channels)} channels: {', '.join(self.channels)}",
            f"each tile {' x '.join(map(str, self.shape))} ({', '.join(self.axes)}) "
            f"{self.dtype.name}, {self.tile_bytes / 2**20:.1f} MiB",
            "spacing in micrometres: "
            + ", ".join(
                f"{a} {'unknown' if s is None else f'{s:g}'}" for a, s in self.spacing.items()
            ),
            *(f"note: {note}" for note in self.notes),
            f"{bad} tiles have problems and will be skipped" if bad else "no problems found",
        ]
        return "\n".join([line for line in lines if line] + _grouped(self.faults))

    def _planes_of(self, tile: TileKey) -> tuple[str, ...]:
        if not self.planes or "organoid" not in self.fields:
            return self.planes
        return tuple(sorted({p.z for p in self.pieces[tile]}, key=natural))

    def _place(
        self,
        piece: Piece,
        full: NDArray[Any],
        wanted_t: list[int],
        wanted_c: list[int],
        wanted_z: range,
        z_values: tuple[str, ...],
    ) -> None:
        """Read what one file gives to the array of its tile, plane by plane."""
        assert piece.layout is not None
        names = {"t": piece.cycle, "c": piece.channel}
        # Pairs of the place in the array and the place in the file, along t, c, z.
        at_t = self._along(names["t"], self.cycles, self.steps, wanted_t)
        selection = self.selection.get(piece.cycle, self.selection.get("", ()))
        at_c = self._along(names["c"], self.values, selection, wanted_c)
        depth = piece.layout.sizes["z"]
        every = [(z_values.index(piece.z), 0)] if piece.z else [(k, k) for k in range(depth)]
        at_z = [(wanted_z.index(z), inside) for z, inside in every if z in wanted_z]
        places = [((t, c, z), (ft, fc, fz)) for t, ft in at_t for c, fc in at_c for z, fz in at_z]
        if not places:
            return
        blocks = _planes(piece, [inside for _, inside in places])
        for (outside, _), block in zip(places, blocks, strict=True):
            full[outside] = block

    @staticmethod
    def _along(
        name: str, names: tuple[str, ...], inside: tuple[int, ...], wanted: list[int]
    ) -> list[tuple[int, int]]:
        if name:
            return [(k, 0) for k, place in enumerate(wanted) if names[place] == name]
        places = [(k, inside[place] if inside else 0) for k, place in enumerate(wanted)]
        return [pair for pair in places if pair[1] >= 0]


def _source(piece: Piece) -> str:
    """Path of what a piece is read from."""
    folder = piece.header.scenes[piece.scene].folder if piece.header else ""
    return f"{piece.path}/{folder}" if folder else piece.path


def _alone(piece: Piece) -> Piece:
    """Leave out what the header says of the file's other scenes."""
    if piece.header is None or len(piece.header.scenes) == 1:
        return piece
    header = replace(piece.header, scenes=piece.header.scenes[piece.scene :][:1])
    return replace(piece, header=header, scene=0)


def _four(key: TileKey) -> tuple[str, str, str, str]:
    return key.plate, key.well, key.tile, key.organoid


def _planes(piece: Piece, inside: list[tuple[int, int, int]]) -> list[NDArray[Any]]:
    """Read the (Y, X) planes at the given (t, c, z) of a file."""
    layout, header = piece.layout, piece.header
    assert layout is not None
    assert header is not None
    scene = header.scenes[piece.scene]
    scene = scene.in_order() if layout.pages_in_order else scene
    path = Path(piece.path)
    if layout.axes.endswith("yx") and scene.axes.endswith("yx") and "s" not in scene.axes:
        lead = layout.axes[:-2]
        numbers = [_ravel([at["tcz".index(axis)] for axis in lead], layout.shape) for at in inside]
        return read_planes(path, header.kind, scene, numbers)
    every = read_planes(path, header.kind, scene, range(math.prod(scene.lead)))
    whole = np.stack(every).reshape(layout.shape)
    present = [axis for axis in AXES if axis in layout.axes]
    ordered = whole.transpose([layout.axes.index(axis) for axis in present])
    ordered = ordered.reshape([layout.sizes[axis] for axis in AXES])
    return [ordered[at] for at in inside]


def _ravel(place: list[int], shape: tuple[int, ...]) -> int:
    """Number a plane, the last of the leading axes running fastest."""
    number = 0
    for at, size in zip(place, shape[:-2], strict=True):
        number = number * size + at
    return number


def _places(wanted: Sequence[str] | None, names: tuple[str, ...], what: str) -> list[int]:
    if wanted is None:
        return list(range(len(names)))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise InputError(f"there is no {what} {unknown[0]!r}: there are {', '.join(names)}")
    return [names.index(name) for name in wanted]


def _first(reasons: list[str]) -> str:
    more = f" (and {len(reasons) - 1} more problems)" if len(reasons) > 1 else ""
    return reasons[0] + more


def _grouped(faults: list[Problem]) -> list[str]:
    counts = Counter(fault.kind for fault in faults)
    lines: list[str] = []
    for kind, count in counts.most_common():
        lines.append(f"{kind}: {count}")
        named = [fault for fault in faults if fault.kind == kind][:NAMED]
        lines += [f"  {fault.key}: {fault.reason}" for fault in named]
        lines += [f"  ... and {count - NAMED} more"] if count > NAMED else []
    return lines
