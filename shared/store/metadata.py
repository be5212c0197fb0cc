"""The metadata files of OME-Zarr groups, 0.4 and 0.5, read and written as plain JSON.

A plate of thousands of fields has thousands of them: through zarr that takes minutes, as plain
files seconds. Every file is written beside its place and renamed, so a reader sees the old
document or the new one.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

from poolvox.shared.errors import StoreError
from poolvox.shared.store.form import check_form

__all__ = [
    "NGFF",
    "OWN",
    "Document",
    "locked",
    "read_array_document",
    "read_document",
    "require_document",
    "write_array_document",
    "write_json",
]

NGFF = Literal["0.4", "0.5"]

# Our own facts stand beside `ome`, where NGFF leaves room: tiles, cycles, chemistry.
OWN: Final = "poolvox"

# Longer than any change of a metadata file takes; a lock that outlives it lost its owner.
LOCK_SECONDS: Final = 10.0
LOCK_NAME: Final = ".poolvox.lock"


@dataclass(frozen=True, slots=True)
class Document:
    """The metadata of one group: what NGFF defines, ours, and what others put beside it."""

    ngff: NGFF
    ome: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)

    def write(self, group: Path) -> None:
        """Make `group` a group with this metadata."""
        group.mkdir(parents=True, exist_ok=True)
        own = {OWN: self.own} if self.own else {}
        if self.ngff == "0.4":
            write_json(group / ".zattrs", {**self.ome, **self.others, **own})
            write_json(group / ".zgroup", {"zarr_format": 2})
            return
        ome = {"ome": {"version": "0.5", **self.ome}} if self.ome else {}
        attributes = {**ome, **self.others, **own}
        node = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        write_json(group / "zarr.json", node)


def read_document(group: Path) -> Document | None:
    """Read the metadata of a group; None where there is no group."""
    if (group / "zarr.json").is_file():
        return _read_v3(group)
    if not any((group / name).is_file() for name in (".zgroup", ".zattrs")):
        return None
    attributes = _read_json(group / ".zattrs") if (group / ".zattrs").is_file() else {}
    own = attributes.pop(OWN, {})
    names = ("multiscales", "omero", "plate", "well", "labels", "image-label")
    known = {key: attributes.pop(key) for key in (*names, LAYOUT) if key in attributes}
    check_form(known, own, group / ".zattrs")
    return Document("0.4", known, own, attributes)


LAYOUT: Final = "bioformats2raw.layout"


def require_document(group: Path) -> Document:
    """Read the metadata of a group that must be there."""
    if "://" in str(group) or str(group).startswith(("http:", "s3:")):
        raise StoreError(f"{group}: only stores on a disk can be opened; download it first")
    document = read_document(group)
    if document is None:
        wrong = "is not an OME-Zarr group" if group.exists() else "does not exist"
        raise StoreError(f"{group} {wrong}: expected a folder with zarr.json or .zgroup")
    return document


def write_array_document(path: Path, document: Mapping[str, Any]) -> None:
    """Make the folder `path` an array with this metadata, of zarr format 2 or 3."""
    if document["zarr_format"] == 3:
        write_json(path / "zarr.json", document)
        return
    rest = dict(document)
    write_json(path / ".zattrs", rest.pop("attributes", {}))
    write_json(path / ".zarray", rest)


def read_array_document(path: Path) -> dict[str, Any] | None:
    """Read the metadata of an array; None where there is no array."""
    if (path / "zarr.json").is_file():
        return _read_json(path / "zarr.json")
    if not (path / ".zarray").is_file():
        return None
    attributes = _read_json(path / ".zattrs") if (path / ".zattrs").is_file() else {}
    return {**_read_json(path / ".zarray"), "attributes": attributes}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `path` whole or not at all."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def locked(group: Path) -> Iterator[None]:
    """Be the only one, on any host, that changes the metadata of `group`.

    A file made with `O_EXCL` works on network file systems where `flock` does not. A lock left
    by a killed process is taken over after `LOCK_SECONDS`.
    """
    group.mkdir(parents=True, exist_ok=True)
    lock = group / LOCK_NAME
    token = uuid.uuid4().hex
    seen, since = "", time.monotonic()
    while not _take(lock, token):
        held = _holder(lock)
        if held != seen:
            seen, since = held, time.monotonic()
        elif held and time.monotonic() - since > LOCK_SECONDS:
            # Renaming is atomic: of several that wait only one removes the stale lock.
            _discard(lock)
        time.sleep(0.005)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _take(lock: Path, token: str) -> bool:
    try:
        with lock.open("x") as file:
            file.write(token)
    except FileExistsError:
        return False
    return True


def _holder(lock: Path) -> str:
    try:
        return lock.read_text() or "unnamed"
    except FileNotFoundError:
        return ""


def _discard(lock: Path) -> None:
    aside = lock.with_name(f"{lock.name}.{uuid.uuid4().hex}.partial")
    try:
        os.rename(lock, aside)
    except FileNotFoundError:
        return
    aside.unlink(missing_ok=True)


def _read_v3(group: Path) -> Document:
    node = _read_json(group / "zarr.json")
    if node.get("node_type") != "group":
        raise StoreError(f"{group} is an array: open the image group that holds it")
    attributes = node.get("attributes", {})
    if not isinstance(attributes, dict):
        raise StoreError(f"{group}/zarr.json: attributes is {attributes!r:.60}, expected an object")
    ome, own = attributes.pop("ome", {}), attributes.pop(OWN, {})
    check_form(ome, own, group / "zarr.json")
    # 0.5 is the only released version on zarr 3 so far; later ones keep this layout.
    return Document("0.5", ome, own, attributes)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is not valid JSON ({error}): restore it, or write the image again"
        raise StoreError(message) from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} holds {type(value).__name__}: expected a JSON object")
    return cast("dict[str, Any]", value)
