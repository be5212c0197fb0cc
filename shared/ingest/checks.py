"""What is doubled, missing or unlike the rest among the files of a tile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

from poolvox.shared.ingest.layout import Layout
from poolvox.shared.ingest.manifest import Manifest, Piece, Problem, TileKey
from poolvox.shared.ingest.spec import AXES

__all__ = ["check_tile", "explain_lost", "problem", "tail"]


def problem(kind: str, piece: Piece, reason: str) -> Problem:
    """Make a problem of one file."""
    return Problem(kind, piece.key, piece.path, reason, piece.cycle, piece.channel)


def check_tile(
    manifest: Manifest, key: TileKey, layout: Layout, depths: Mapping[str, int]
) -> list[Problem]:
    """Find what is doubled, missing, or unlike the rest in one tile.

    Parameters
    ----------
    layout : of most files
    depths : channels in a file, by cycle; "" stands for all cycles that are not named
    """
    pieces = manifest.pieces[key]
    return [
        *_doubled(pieces),
        *_missing(manifest, key, pieces),
        *_unlike(manifest, pieces, layout, depths),
    ]


def explain_lost(manifest: Manifest, faults: list[Problem]) -> list[Problem]:
    """Say of images that no tile has what to give if they were never taken."""
    there = {(piece.cycle, piece.channel) for own in manifest.pieces.values() for piece in own}
    names = dict(zip(manifest.values, manifest.channels, strict=False))
    explained = []
    for fault in faults:
        if fault.kind == "missing" and fault.cycle and fault.channel in names:
            value = fault.channel
            cycles = ", ".join(t for t in manifest.cycles if (t, value) in there)
            if (fault.cycle, value) not in there:
                advice = f"if it was not imaged there, give only_in: {{{names[value]}: [{cycles}]}}"
                fault = replace(fault, reason=f"{fault.reason}, in no tile: {advice}")
        explained.append(fault)
    return explained


def _doubled(pieces: list[Piece]) -> list[Problem]:
    first: dict[tuple[str, str, str], Piece] = {}
    faults: list[Problem] = []
    for piece in pieces:
        before = first.setdefault((piece.cycle, piece.channel, piece.z), piece)
        if before is not piece:
            names = f"{tail(before.path)} and {tail(piece.path)}"
            place = _place(piece.cycle, piece.channel, [piece.z] if piece.z else [])
            reason = (
                f"two files for {place}: {names}; keep one, or add a field that tells them apart"
            )
            faults.append(problem("doubled", piece, reason))
    return faults


def _missing(manifest: Manifest, key: TileKey, pieces: list[Piece]) -> list[Problem]:
    fields = manifest.fields
    cycles = manifest.cycles if "cycle" in fields else ("",)
    channels = manifest.values or ("",)
    planes = manifest.planes or ("",)
    if manifest.planes and "organoid" in fields:
        planes = _between([piece.z for piece in pieces])
    there = {(piece.cycle, piece.channel, piece.z) for piece in pieces}
    wanted = [pair for pair in product(cycles, channels) if not manifest.lacks(*pair)]
    if len(there) == len(wanted) * len(planes):
        return []
    faults: list[Problem] = []
    for cycle, channel in wanted:
        gone = [z for z in planes if (cycle, channel, z) not in there]
        if gone:
            zs = [] if gone == [""] or len(gone) == len(planes) else gone
            text = f"no file for {_place(cycle, channel, zs)}"
            faults.append(Problem("missing", key, "", text, cycle, channel))
    return faults


def _between(planes: list[str]) -> tuple[str, ...]:
    """Give all plane numbers from the first to the last: an organoid has its own depth."""
    numbers = sorted({int(z) for z in planes})
    return tuple(str(z) for z in range(numbers[0], numbers[-1] + 1))


def _place(cycle: str, channel: str, planes: list[str]) -> str:
    parts = [f"cycle {cycle}"] if cycle else []
    parts += [f"channel {channel}"] if channel else []
    parts += [f"z {', '.join(planes[:8])}{' ...' if len(planes) > 8 else ''}"] if planes else []
    return ", ".join(parts) or "this tile"


def _unlike(
    manifest: Manifest, pieces: list[Piece], layout: Layout, depths: Mapping[str, int]
) -> list[Problem]:
    """Compare each file with the plate, or an organoid's with its first file."""
    wanted = layout.sizes
    own = next((piece.layout for piece in pieces if piece.layout), None)
    if manifest.spec.apart and own is not None:
        wanted = {**wanted, **{axis: own.sizes[axis] for axis in "zyx"}}
    faults: list[Problem] = []
    for piece in pieces:
        if piece.layout is None or piece.header is None:
            continue
        expected = {**wanted, "c": depths.get(piece.cycle, depths[""])}
        if piece.layout.sizes != expected:
            faults.append(problem("shape", piece, _unlike_shape(piece, expected)))
        if piece.header.dtype.newbyteorder("=") != manifest.dtype:
            reason = (
                f"{tail(piece.path)}: the pixels are {piece.header.dtype.name}, those of the "
                f"other files {manifest.dtype.name}: export them as one type"
            )
            faults.append(problem("dtype", piece, reason))
    return faults


def _unlike_shape(piece: Piece, wanted: dict[str, int]) -> str:
    sizes = piece.layout.sizes if piece.layout else {}
    shown = [axis for axis in AXES if sizes[axis] > 1 or wanted[axis] > 1]
    got, expected = (" x ".join(str(of[axis]) for axis in shown) for of in (sizes, wanted))
    return f"{tail(piece.path)}: the image is {got} ({', '.join(shown)}), others are {expected}"


def tail(path: str) -> str:
    """Give a file with its folder, which is what tells two files of one name apart."""
    return os.sep.join(Path(path).parts[-2:])
