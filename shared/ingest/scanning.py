"""From names and headers to a manifest: who belongs where, and what does not fit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.checks import check_tile, problem, tail
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
    expected = Expected.of(spec)
    pieces, faults, wells = _pieces(reads, expected, plate)
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
    reads: Iterable[_Read], expected: Expected, plate: str
) -> tuple[list[Piece], list[Problem], dict[str, str]]:
    """Give each file its place, and each fault its tile."""
    pieces: list[Piece] = []
    faults: list[Problem] = []
    wells: dict[str, str] = {}
    layouts: dict[Scene, Layout] = {}
    for read in reads:
        scenes = read.header.scenes if read.header else ()
        for number in range(max(len(scenes), 1)):
            piece = _piece(read, number, plate, wells)
            fault = _misfit(read, len(scenes), number, piece)
            if not fault and read.header is not None:
                try:
                    scene = scenes[number]
                    # Files are alike by the thousands: each kind is interpreted once.
                    layout = layouts.get(scene) or interpret(scene, expected)
                    piece = replace(piece, layout=layouts.setdefault(scene, layout))
                except InputError as error:
                    fault = ("axes", str(error))
            pieces.append(piece)
            if fault:
                faults.append(problem(fault[0], piece, f"{tail(piece.path)}: {fault[1]}"))
    return pieces, faults, wells


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
    layout = _common([piece.layout for piece in good if piece.layout])
    header = next(p.header for p in good if p.layout == layout and p.header)
    dtype = _common([p.header.dtype.newbyteorder("=") for p in good if p.header])
    cycles, steps = _cycles(spec, pieces, layout)
    channels, values, selection = _channels(spec, pieces, layout, header)
    pieces = [p for p in pieces if _wanted(p, cycles, values)]
    planes = tuple(sorted({p.z for p in pieces if p.z}, key=natural))
    tiles: defaultdict[TileKey, list[Piece]] = defaultdict(list)
    for piece in pieces:
        tiles[piece.key].append(piece)
    ordered = sorted(tiles, key=lambda key: key.order)
    kept = [f for f in faults if f.key in tiles and _wanted_fault(f, cycles, values)]
    sizes = {**layout.sizes, "t": len(cycles), "c": len(channels)}
    sizes["z"] = len(planes) or layout.sizes["z"]
    spacing, notes = _spacing(spec, good, sizes)
    manifest = Manifest(
        spec=spec,
        tiles=ordered,
        axes=_axes(spec, layout, planes),
        cycles=cycles,
        channels=channels,
        planes=planes,
        spacing=spacing,
        dtype=dtype,
        sizes=sizes,
        pieces={key: tiles[key] for key in ordered},
        faults=kept,
        values=values,
        selection=selection,
        steps=steps,
        notes=notes,
        wells=wells,
    )
    found = [f for key in ordered for f in check_tile(manifest, key, layout, dtype)]
    everything = sorted(kept + found, key=lambda f: (f.key.order, natural(f.path)))
    return replace(manifest, faults=everything)


def _wanted(piece: Piece, cycles: tuple[str, ...], values: tuple[str, ...]) -> bool:
    """Leave out the files of cycles and channels that the specification does not take."""
    return (not piece.cycle or piece.cycle in cycles) and (
        not piece.channel or piece.channel in values
    )


def _wanted_fault(fault: Problem, cycles: tuple[str, ...], values: tuple[str, ...]) -> bool:
    return (not fault.cycle or fault.cycle in cycles) and (
        not fault.channel or fault.channel in values
    )


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


def _channels(
    spec: RawSpec, pieces: list[Piece], layout: Layout, header: Header
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
    """Give the names of the channels, their values in file names, their places in a file."""
    named = {piece.channel for piece in pieces if piece.channel}
    if named:
        there = tuple(sorted(named, key=natural))
        names, places = _choose(spec, there, "in the names of the files")
        return names, tuple(there[place] for place in places), ()
    count = layout.sizes["c"]
    there = header.channels if len(header.channels) == count else ()
    there = there if len(set(there)) == count else tuple(str(number) for number in range(count))
    names, places = _choose(spec, there, "in the files")
    return names, (), tuple(places)


def _choose(
    spec: RawSpec, there: tuple[str, ...], where: str
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Match the channels that the specification names to those that are there."""
    every = tuple(range(len(there)))
    if spec.channels == "auto":
        return there, every
    if isinstance(spec.channels, dict):
        return spec.names or (), tuple(
            _find(value, there, where) for value in spec.channels.values()
        )
    names = spec.names or ()
    if set(names) <= set(there):
        return names, tuple(there.index(name) for name in names)
    if len(names) != len(there):
        raise InputError(
            f"channels names {len(names)} ({', '.join(names)}), but there are {len(there)} {where} "
            f"({', '.join(there)}): name them all, or map names to them"
        )
    return names, every


def _find(value: str, there: tuple[str, ...], where: str) -> int:
    if value in there:
        return there.index(value)
    if value.isdecimal():
        same = [k for k, name in enumerate(there) if name.isdecimal() and int(name) == int(value)]
        if same:
            return same[0]
        if where == "in the files" and int(value) < len(there):
            return int(value)
    raise InputError(f"there is no channel {value!r} {where}: there are {', '.join(there)}")


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
