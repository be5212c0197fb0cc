"""From names and headers to a manifest: who belongs where, and what does not fit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.channels import ChannelPlaces, common_kinds, place_channels
from poolvox.shared.ingest.checks import check_tile, explain_lost, problem, tail
from poolvox.shared.ingest.files import Found, find_files
from poolvox.shared.ingest.layout import Expected, Layout, interpret
from poolvox.shared.ingest.manifest import Manifest, Piece, Problem, TileKey
from poolvox.shared.ingest.pattern import normalise, well_name
from poolvox.shared.ingest.readers import Header, Scene, describe
from poolvox.shared.ingest.spec import AXES, RawSpec
from poolvox.shared.ingest.tiff import Truncated
from poolvox.shared.sorting import natural

__all__ = ["scan"]

# Threads that read headers: they wait for the disk or the network, not for a core.
THREADS = 8
# Files that a thread takes at once: handing each over by itself costs more than reading it.
BATCH = 64
# Relative difference of two pixel sizes that is only rounding.
SAME_SPACING = 0.01


@dataclass(frozen=True, slots=True)
class _Read:
    """A file with its header, or with the reason why there is none."""

    found: Found
    header: Header | None
    kind: str = ""
    reason: str = ""


def scan(
    spec: RawSpec,
    root: Path | str,
    plate: str = "P1",
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Look at all raw files of a specification, without reading pixels.

    Parameters
    ----------
    spec : what the files are
    root : folder that the patterns are relative to
    plate : name of the plate where the pattern has no `{plate}`
    progress : called with the files done and their number

    Raises
    ------
    InputError
        where no file matches, none can be read, or the specification contradicts all of them
    """
    found = find_files(spec, Path(root))
    reads = _read_headers(found, progress)
    pieces, faults, wells = _pieces(reads, spec, plate)
    good = [piece for piece in pieces if piece.layout is not None]
    if not good:
        raise InputError(_none_is_good(faults))
    return _assemble(spec, pieces, good, faults, wells)


def _read_headers(
    found: Sequence[Found], progress: Callable[[int, int], None] | None
) -> list[_Read]:
    reads: list[_Read] = []
    batches = [found[k : k + BATCH] for k in range(0, len(found), BATCH)]
    with ThreadPoolExecutor(THREADS) as pool:
        for batch in pool.map(lambda files: [_read_header(file) for file in files], batches):
            reads += batch
            if progress is not None:
                progress(len(reads), len(found))
    return reads


def _read_header(found: Found) -> _Read:
    try:
        return _Read(found, describe(Path(found.path)))
    except Truncated as error:
        return _Read(found, None, "truncated", str(error))
    except InputError as error:
        return _Read(found, None, "unreadable", str(error))


def _pieces(
    reads: Iterable[_Read], spec: RawSpec, plate: str
) -> tuple[list[Piece], list[Problem], dict[str, str]]:
    """Give each file its place, and each fault its tile."""
    pieces: list[Piece] = []
    faults: list[Problem] = []
    wells: dict[str, str] = {}
    layouts = _Layouts(spec)
    for read in reads:
        scenes = read.header.scenes if read.header else ()
        for number in range(max(len(scenes), 1)):
            piece = _piece(read, number, plate, wells)
            fault = _misfit(read, len(scenes), number, piece)
            if not fault and read.header is not None:
                try:
                    piece = replace(piece, layout=layouts.of(scenes[number], piece.cycle))
                except InputError as error:
                    fault = ("axes", str(error))
            pieces.append(piece)
            if fault:
                faults.append(problem(fault[0], piece, f"{tail(piece.path)}: {fault[1]}"))
    return pieces, faults, wells


class _Layouts:
    """Layouts of scenes; files are alike by the thousands, so each kind is interpreted once."""

    def __init__(self, spec: RawSpec) -> None:
        self._spec = spec
        self._known: dict[tuple[Scene, str], Layout] = {}

    def of(self, scene: Scene, cycle: str) -> Layout:
        key = scene, cycle if self._spec.only_in else ""
        if key not in self._known:
            self._known[key] = interpret(scene, Expected.of(self._spec, key[1]))
        return self._known[key]


def _misfit(read: _Read, scenes: int, number: int, piece: Piece) -> tuple[str, str] | None:
    if read.reason:
        return read.kind, read.reason
    if read.header is not None and read.header.scenes[number].fault:
        return "unreadable", read.header.scenes[number].fault
    if scenes > 1 and {"tile", "organoid"} & set(read.found.values):
        text = f"the file holds {scenes} positions, but its name gives one: leave {{tile}} out"
        return "axes", text
    return None


def _piece(read: _Read, number: int, plate: str, wells: dict[str, str]) -> Piece:
    values = read.found.values
    own = read.header.scenes[number].place if read.header else (None, None)
    written = values.get("well") or own[0]
    if "row" in values:
        written = values["row"] + values["col"]
        well = well_name(values["row"], values["col"])
    else:
        well = well_name(written) if written else "A1"
    wells.setdefault(well, written or "")
    several = read.header is not None and len(read.header.scenes) > 1
    tile = values.get("tile") or own[1] or (str(number + 1) if several else "")
    organoid = normalise("organoid", values.get("organoid", ""))
    key = TileKey(
        values.get("plate", plate),
        well,
        normalise("tile", tile) or ("" if organoid else "0"),
        organoid,
    )
    return Piece(
        read.found.path,
        key,
        cycle=normalise("cycle", values.get("cycle", "")),
        channel=values.get("channel", ""),
        z=normalise("z", values.get("z", "")),
        header=read.header,
        scene=number,
    )


def _none_is_good(faults: list[Problem]) -> str:
    common = Counter(fault.reason for fault in faults).most_common(1)[0][0]
    return f"none of the {len(faults)} files can be used; e.g. {common}"


def _assemble(
    spec: RawSpec,
    pieces: list[Piece],
    good: list[Piece],
    faults: list[Problem],
    wells: dict[str, str],
) -> Manifest:
    kinds = common_kinds(spec, good)
    layout = kinds[""][0]
    dtype = _common([p.header.dtype.newbyteorder("=") for p in good if p.header])
    cycles, steps = _cycles(spec, pieces, layout)
    _require_cycles(spec, cycles)
    places = place_channels(spec, pieces, kinds)
    wanted = _Wanted(spec, cycles, places)
    pieces = [piece for piece in pieces if wanted.holds(piece.cycle, piece.channel)]
    planes = tuple(sorted({p.z for p in pieces if p.z}, key=natural))
    tiles: defaultdict[TileKey, list[Piece]] = defaultdict(list)
    for piece in pieces:
        tiles[piece.key].append(piece)
    ordered = sorted(tiles, key=lambda key: key.order)
    kept = [f for f in faults if f.key in tiles and wanted.holds(f.cycle, f.channel)]
    sizes = {**layout.sizes, "t": len(cycles), "c": len(places.names)}
    sizes["z"] = len(planes) or layout.sizes["z"]
    spacing, notes = _spacing(spec, good, sizes)
    manifest = Manifest(
        spec=spec,
        tiles=ordered,
        axes=_axes(spec, layout, planes),
        cycles=cycles,
        channels=places.names,
        planes=planes,
        spacing=spacing,
        dtype=dtype,
        sizes=sizes,
        pieces={key: tiles[key] for key in ordered},
        faults=kept,
        values=places.values,
        selection=places.selection,
        steps=steps,
        notes=notes,
        wells=wells,
    )
    depths = {cycle: kind.sizes["c"] for cycle, (kind, _) in kinds.items()}
    found = [f for key in ordered for f in check_tile(manifest, key, layout, depths)]
    found = explain_lost(manifest, found)
    everything = sorted(kept + found, key=lambda f: (f.key.order, natural(f.path)))
    return replace(manifest, faults=everything)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The cycles and channels that the specification takes."""

    spec: RawSpec
    cycles: tuple[str, ...]
    places: ChannelPlaces

    def holds(self, cycle: str, channel: str) -> bool:
        """Whether it takes what a file's name says; "" where the name does not say it."""
        if cycle and cycle not in self.cycles:
            return False
        if not channel:
            return True
        if channel not in self.places.values:
            return False
        name = self.places.names[self.places.values.index(channel)]
        return not self.spec.lacks(name, cycle)


def _common(values: Sequence[Any]) -> Any:
    """Give the most frequent value; of equally frequent ones the first."""
    return Counter(values).most_common(1)[0][0]


def _axes(spec: RawSpec, layout: Layout, planes: tuple[str, ...]) -> str:
    fields, given = spec.patterns[0].fields, spec.axes or ""
    has_t = "cycle" in fields or layout.sizes["t"] > 1 or "t" in given
    has_z = bool(planes) or layout.sizes["z"] > 1 or "z" in given or spec.voxel_size is not None
    kept = {"t": has_t, "c": True, "z": has_z, "y": True, "x": True}
    return "".join(axis for axis in AXES if kept[axis])


def _cycles(
    spec: RawSpec, pieces: list[Piece], layout: Layout
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Name the cycles, and give their places within a file that holds several."""
    named = {piece.cycle for piece in pieces if piece.cycle}
    if named:
        there = tuple(sorted(named, key=natural))
    else:
        there = tuple(str(number + 1) for number in range(layout.sizes["t"]))
    if spec.cycles is None:
        return there, tuple(range(len(there)))
    wanted = tuple(normalise("cycle", name) for name in spec.cycles)
    missing = [name for name in wanted if name not in there]
    if not named and missing and len(wanted) == len(there):
        return wanted, tuple(range(len(there)))
    if missing:
        raise InputError(
            f"cycles names {missing[0]!r}, of which there is no file; there are {', '.join(there)}"
        )
    return wanted, tuple(there.index(name) for name in wanted)


def _require_cycles(spec: RawSpec, cycles: tuple[str, ...]) -> None:
    named = [normalise("cycle", name) for own in spec.only_in.values() for name in own]
    missing = [name for name in named if name not in cycles]
    if missing and spec.cycles is None:
        raise InputError(
            f"only_in names cycle {missing[0]!r}, of which there is no file; there are "
            f"{', '.join(cycles)}"
        )


def _spacing(
    spec: RawSpec, good: list[Piece], sizes: dict[str, int]
) -> tuple[dict[str, float | None], tuple[str, ...]]:
    notes: list[str] = []
    spacing: dict[str, float | None] = {}
    for axis in "zyx":
        lengths = [p.header.spacing[axis] for p in good if p.header and axis in p.header.spacing]
        own = _common(lengths) if lengths else None
        given = spec.spacing.get(axis)
        if given is not None and own is not None and abs(own / given - 1) > SAME_SPACING:
            notes.append(
                f"the files say {own:g} micrometres along {axis}, the configuration {given:g}, "
                "which is used"
            )
        if len({round(length, 6) for length in lengths}) > 1:
            notes.append(f"the files differ in their spacing along {axis}: {own:g} is used")
        spacing[axis] = own if given is None else given
    if sizes["z"] == 1 and spacing["z"] is None:
        del spacing["z"]
    return spacing, tuple(notes)
