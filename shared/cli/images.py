"""Commands for image files and stores: `convert` and `validate`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolvox.shared.cli.console import Json, Quiet, count, named, say, say_json, show_path
from poolvox.shared.errors import InputError

if TYPE_CHECKING:
    from poolvox.shared.ingest import RawSpec

__all__ = ["convert", "validate"]


def convert(
    raw: Annotated[Path, typer.Argument(metavar="RAW", help="A folder of raw files, or one file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.zarr", help="The store to write.")],
    pattern: Annotated[
        str | None, typer.Option(help="Names below RAW, e.g. 'W-{well}_T-{tile}.tif'.")
    ] = None,
    channels: Annotated[str | None, typer.Option(help="Names in order, e.g. DAPI,marker.")] = None,
    pixel_size: Annotated[
        str | None, typer.Option(help="Micrometres: one number, or z,y,x of a stack.")
    ] = None,
    axes: Annotated[str | None, typer.Option(help="Order in each file, e.g. zcyx.")] = None,
    ngff: Annotated[str, typer.Option(help="Version of OME-Zarr, 0.5 or 0.4.")] = "0.5",
    plate: Annotated[str, typer.Option(help="Name of the plate.")] = "P1",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older store.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Write raw files as an OME-Zarr plate, or one file as an image.

    Ends with 1 if some tiles could not be written.
    """
    from poolvox.shared.engine import Event, show_progress
    from poolvox.shared.ingest import convert as write_store

    version = _one_of(ngff, "0.5", "0.4")
    spec = _spec(raw, pattern=pattern, channels=channels, pixel_size=pixel_size, axes=axes)
    with show_progress(quiet=quiet or as_json) as listen:
        result = write_store(
            raw,
            out,
            spec=spec,
            plate=plate,
            ngff=version,
            overwrite=overwrite,
            progress=lambda done, total: listen(Event("finished", done=done, total=total)),
        )
    failed = [(str(key), reason) for key, reason in result.failed.items()]
    if as_json:
        tiles = [str(key) for key in result.written]
        facts = {"path": str(out), "written": tiles, "failed": dict(failed), "notes": result.notes}
        say_json(facts)
        return 1 if failed else 0
    for note in result.notes:
        say(f"note: {note}")
    if failed:
        say("left out:\n" + named(failed))
    say(f"{count(len(result.written), 'tile')} written to {show_path(out)}")
    return 1 if failed else 0


def validate(
    store: Annotated[Path, typer.Argument(metavar="STORE.zarr", help="A plate, well or image.")],
    as_json: Json = False,
) -> int:
    """Check an OME-Zarr store, and say which viewers will open it. Ends with 1 on errors."""
    from dataclasses import asdict

    from poolvox.shared.store import validate as check_store

    if not store.exists():
        raise InputError(f"there is no store {store}")
    inside = sorted(path.name for path in store.glob("*.zarr"))
    if inside and not store.name.endswith(".zarr"):
        raise InputError(f"{store} is the folder of stores: give one of them, {', '.join(inside)}")
    found = check_store(store)
    if as_json:
        say_json({**asdict(found), "valid": found.valid})
    else:
        say(found.text())
    return 0 if found.valid else 1


def _spec(
    raw: Path,
    *,
    pattern: str | None,
    channels: str | None,
    pixel_size: str | None,
    axes: str | None,
) -> RawSpec | None:
    """Say what the files are, from the options and, for the rest, from the files."""
    given: dict[str, Any] = {}
    if channels:
        given["channels"] = tuple(name.strip() for name in channels.split(","))
    if pixel_size:
        given |= _spacing(pixel_size)
    if axes:
        given["axes"] = axes
    if pattern:
        return _checked({**given, "files": pattern})
    if not given:
        return None
    if not raw.is_dir() or raw.suffix == ".zarr":
        return _checked({**given, "files": "*"})  # the file itself stands for the pattern
    from poolvox.shared.ingest import guess

    found = guess(raw, "organoid3d" if "voxel_size" in given else "ops")
    base: dict[str, Any] = {
        "files": found.files,
        "channels": found.channels,
        "exclude": found.exclude,
    }
    if found.only_in and not channels:
        base["only_in"] = found.only_in
    if found.axes:
        base["axes"] = found.axes
    if not pixel_size and {"y", "x"} <= set(found.spacing):
        order = "zyx" if "z" in found.spacing else "yx"
        name = "voxel_size" if "z" in found.spacing else "pixel_size"
        base[name] = tuple(found.spacing[axis] for axis in order)
    return _checked({**base, **given})


def _spacing(text: str) -> dict[str, Any]:
    numbers: tuple[float, ...] = ()
    with suppress(ValueError):
        numbers = tuple(map(float, text.split(",")))
    if len(numbers) not in (1, 2, 3) or not all(number > 0 for number in numbers):
        message = f"--pixel-size {text}: expected micrometres, as in 0.65 or 2.0,0.5,0.5 (z, y, x)"
        raise InputError(message)
    if len(numbers) == 3:
        return {"voxel_size": numbers}
    return {"pixel_size": numbers if len(numbers) == 2 else numbers[0]}


def _checked(values: dict[str, Any]) -> RawSpec:
    from pydantic import ValidationError

    from poolvox.shared.ingest import RawSpec

    try:
        return RawSpec(**values)
    except ValidationError as error:
        reasons = "; ".join(
            str(mistake["msg"]).removeprefix("Value error, ") for mistake in error.errors()
        )
        raise InputError(f"the options do not fit: {reasons}") from None


def _one_of(value: str, *allowed: str) -> Any:
    if value not in allowed:
        raise InputError(f"--ngff {value}: expected {' or '.join(allowed)}")
    return value
