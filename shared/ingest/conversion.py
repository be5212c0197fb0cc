"""Raw files to an OME-Zarr plate, or a single file to an image, one tile at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from poolvox.shared.errors import InputError, StoreError
from poolvox.shared.ingest.guessing import guess
from poolvox.shared.ingest.manifest import Manifest, TileKey
from poolvox.shared.ingest.names import group_names
from poolvox.shared.ingest.scanning import scan
from poolvox.shared.ingest.spec import RawSpec

__all__ = ["Conversion", "convert"]

# Marker by which a folder is known for an OME-Zarr store that may be replaced.
_MARKERS = ("zarr.json", ".zgroup", ".zattrs")


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of the tiles: those written, and those left out with their reasons."""

    path: Path
    written: tuple[TileKey, ...]
    failed: dict[TileKey, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Say in plain text what was written and what was not."""
        lines = [f"{len(self.written)} tiles written to {self.path}"]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"left out {key}: {reason}" for key, reason in self.failed.items()]
        return "\n".join(lines)


def convert(
    raw: Path | str | Sequence[Path],
    out: Path | str,
    *,
    spec: RawSpec | None = None,
    plate: str = "P1",
    ngff: Literal["0.5", "0.4"] = "0.5",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write raw files as an OME-Zarr plate, or as an image if it is one file of one position.

    Parameters
    ----------
    raw : a folder, a file, or several files of one folder
    out : the store to write, absent or, with `overwrite`, an older store
    spec : what the files are, its patterns relative to `raw` (or to the file's folder); guessed
        from the folder where it is not given
    plate : name of the plate
    progress : called with the tiles done and their number

    Raises
    ------
    InputError
        where nothing can be converted, or the pixel size is unknown
    StoreError
        where `out` is there already
    """
    root, spec, notes = _source(raw, spec)
    manifest = scan(spec, root, plate)
    _require_spacing(manifest)
    _require_one_plate(manifest)
    target = Path(out)
    _prepare(target, manifest, overwrite=overwrite)
    single = len(manifest.tiles) == 1 and not _has_place(spec)
    write = _write_image if single else _write_plate
    written, failed = write(manifest, target, ngff, progress or _silent)
    if not written:
        raise InputError(f"no tile could be converted; e.g. {next(iter(failed.values()))}")
    told = [n for n in (*notes, *manifest.notes) if n not in failed.values()]
    return Conversion(target, tuple(written), failed, tuple(told))


def _silent(done: int, total: int) -> None:
    """Stand in where nobody watches."""


def _source(
    raw: Path | str | Sequence[Path], spec: RawSpec | None
) -> tuple[Path, RawSpec, tuple[str, ...]]:
    """Find folder and specification of what is to be converted."""
    if not isinstance(raw, Path | str):
        return _of_files([Path(path) for path in raw], spec)
    path = Path(raw)
    if not path.exists():
        raise InputError(f"there is no {path}")
    if path.is_file() or path.suffix == ".zarr":
        given = spec.model_dump() if spec is not None else {}
        return path.parent, RawSpec(**{**given, "files": _literal(path.name)}), ()
    if spec is not None:
        return path, spec, ()
    found = guess(path, "ops")
    notes = tuple(note for note in found.notes if "pixel size" not in note)
    made = RawSpec(
        files=found.files,
        channels=found.channels,
        only_in=found.only_in,
        axes=found.axes,
        exclude=found.exclude,
    )
    return path, _with_spacing(made, found.spacing), notes


def _with_spacing(spec: RawSpec, spacing: dict[str, float]) -> RawSpec:
    """Use what the instrument's metadata tell, which the files may not repeat."""
    known = [axis for axis in "zyx" if axis in spacing]
    if known == ["z", "y", "x"]:
        voxel = tuple(spacing[axis] for axis in known)
        return RawSpec(**{**spec.model_dump(), "voxel_size": voxel})
    if "y" in known and "x" in known:
        return RawSpec(**{**spec.model_dump(), "pixel_size": (spacing["y"], spacing["x"])})
    return spec


def _of_files(paths: list[Path], spec: RawSpec | None) -> tuple[Path, RawSpec, tuple[str, ...]]:
    if not paths:
        raise InputError("no file to convert is given")
    parents = [str(path.resolve().parent) for path in paths]
    root = Path(os.path.commonpath(parents))
    if spec is not None:
        return root, spec, ()
    if len(paths) == 1:
        return _source(paths[0], None)
    names = [path.resolve().relative_to(root).as_posix() for path in paths]
    groups = group_names(names, "ops")
    if len(groups) > 1 or not groups[0].fields:
        raise InputError(
            f"the names of the {len(paths)} files do not tell where they belong: give a pattern, "
            "such as {well}_{tile}.tif"
        )
    return root, RawSpec(files=groups[0].pattern), groups[0].notes


def _literal(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}").replace("*", "?")


def _has_place(spec: RawSpec) -> bool:
    return bool({"well", "row", "tile", "organoid"} & set(spec.patterns[0].fields))


def _require_one_plate(manifest: Manifest) -> None:
    """Make sure that there is something to write, and that each tile gets its own name."""
    if len(manifest.bad) == len(manifest.tiles):
        raise InputError(f"no tile can be converted; e.g. {next(iter(manifest.bad.values()))}")
    plates = sorted({key.plate for key in manifest.tiles})
    if len(plates) > 1:
        raise InputError(
            f"the files are of {len(plates)} plates ({', '.join(plates[:4])}): convert each by "
            "itself, with the plate's name in the pattern"
        )
    _wells(manifest.tiles)


def _require_spacing(manifest: Manifest) -> None:
    unknown = [axis for axis, size in manifest.spacing.items() if size is None]
    if unknown:
        name = "voxel_size (--pixel-size z,y,x)" if "z" in unknown else "pixel_size (--pixel-size)"
        raise InputError(
            f"the files do not say their spacing along {', '.join(unknown)}: give {name} in "
            "micrometres"
        )


def _prepare(target: Path, manifest: Manifest, *, overwrite: bool) -> None:
    """Make sure that nothing but an older store is replaced, and no raw file is in it."""
    if not target.exists():
        return
    if not overwrite:
        raise StoreError(f"{target} is there already: choose another name, or overwrite it")
    if not any((target / marker).exists() for marker in _MARKERS):
        raise StoreError(f"{target} is not an OME-Zarr store: it is not overwritten")
    whole = target.resolve()
    paths = {path for key in manifest.tiles for path in manifest.files_of(key)}
    # Of files one per folder is enough to see; a store is a folder itself.
    places = {path if path.is_dir() else path.parent for path in paths}
    if any(place.resolve().is_relative_to(whole) for place in places):
        raise StoreError(f"{target} holds the raw files themselves: it is not overwritten")
    shutil.rmtree(target)


def _write_image(
    manifest: Manifest,
    target: Path,
    ngff: Literal["0.5", "0.4"],
    progress: Callable[[int, int], None],
) -> tuple[list[TileKey], dict[TileKey, str]]:
    from poolvox.shared.store import create_image

    key = manifest.tiles[0]
    _write(manifest, key, create_image(target, ngff=ngff))
    progress(1, 1)
    return [key], {}


def _write_plate(
    manifest: Manifest,
    target: Path,
    ngff: Literal["0.5", "0.4"],
    progress: Callable[[int, int], None],
) -> tuple[list[TileKey], dict[TileKey, str]]:
    """Write tile after tile; one that cannot be read is left out, with its reason."""
    from poolvox.shared.store import create_plate

    failed = dict(manifest.bad)
    for key in manifest.tiles:
        if key not in failed and manifest.shape_of(key) != manifest.shape:
            failed[key] = f"the image is {manifest.shape_of(key)}, others are {manifest.shape}"
    good = [key for key in manifest.tiles if key not in failed]
    if not good:
        return [], failed
    plate = create_plate(target, _wells(good), name=good[0].plate, ngff=ngff)
    written: list[TileKey] = []
    for done, key in enumerate(good, 1):
        try:
            _write(manifest, key, plate[key.well][key.field])
            written.append(key)
        except InputError as error:
            failed[key] = str(error)
        progress(done, len(good))
    return written, failed


def _wells(keys: Iterable[TileKey]) -> dict[str, list[str]]:
    wells: dict[str, list[str]] = {}
    for key in keys:
        wells.setdefault(key.well, []).append(key.field)
    twice = [well for well, fields in wells.items() if len(set(fields)) != len(fields)]
    if twice:
        raise InputError(
            f"two tiles of well {twice[0]} would get one name in the store: rename them"
        )
    return wells


def _write(manifest: Manifest, key: TileKey, image: Any) -> None:
    pixels = manifest.read(key)
    try:
        image.write(
            pixels,
            axes=manifest.axes,
            spacing={axis: manifest.spacing[axis] for axis in "zyx" if axis in manifest.axes},
            channels=list(manifest.channels),
            meta={"cycles": list(manifest.cycles)} if "t" in manifest.axes else None,
        )
    except OSError as error:
        raise StoreError(f"{image.path} cannot be written: {error.strerror or error}") from error
