"""Is a store what NGFF 0.4 or 0.5 says, is it whole, and which viewers will open it?"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from poolvox.shared.errors import StoreError
from poolvox.shared.store.axes import parse_axes
from poolvox.shared.store.images import Image
from poolvox.shared.store.metadata import Document, read_document, require_document
from poolvox.shared.store.targets import UNFINISHED
from poolvox.shared.store.units import UnitArray
from poolvox.shared.store.viewers import Facts, ImageFacts, Verdict, judge

__all__ = ["Problem", "Validation", "validate"]

Severity = Literal["error", "warning"]

# Of the 0.4 and 0.5 schemas.
ALPHANUMERIC: Final = re.compile(r"[A-Za-z0-9]+")
HEX_COLOR: Final = re.compile(r"[0-9A-Fa-f]{6}")
AXIS_RANK: Final = {"time": 0, "channel": 1, None: 1, "space": 2}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong (error) or that a reader may stumble over (warning)."""

    severity: Severity
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Validation:
    """What `validate` found."""

    path: Path
    kind: str
    ngff: str
    problems: tuple[Problem, ...]
    viewers: tuple[Verdict, ...]

    @property
    def valid(self) -> bool:
        """No errors; warnings are allowed."""
        return not any(problem.severity == "error" for problem in self.problems)

    def text(self) -> str:
        """All of it as plain lines."""
        errors = sum(problem.severity == "error" for problem in self.problems)
        verdict = "valid" if self.valid else f"{errors} error{'s' if errors > 1 else ''}"
        lines = [f"{self.path}: {self.kind}, OME-Zarr {self.ngff}: {verdict}"]
        lines += [f"  {p.severity} {p.where}: {p.message}" for p in self.problems]
        width = max(len(verdict.viewer) for verdict in self.viewers)
        return "\n".join([*lines, *(f"  {verdict.text(width)}" for verdict in self.viewers)])


def validate(path: Path | str) -> Validation:
    """Check a plate, an image or a label: metadata, arrays, and what viewers need.

    Examples
    --------
    >>> print(validate("plate.zarr").text())    # doctest: +SKIP
    """
    root = Path(path)
    document = require_document(root)
    check = _Check(root)
    kind = _kind_of(document)
    if kind == "plate":
        images = list(check.plate(document))
    elif kind == "well":
        images = list(check.well(root, document, several=False))
    elif kind == "image":
        images = [check.image(root, document)]
    else:
        check.error(root, "holds no plate, well or image: give the folder of one")
        images = []
    facts = Facts(root, kind, document.ngff, document.ome, tuple(images))
    return Validation(root, kind, document.ngff, tuple(check.problems), judge(facts))


def _kind_of(document: Document) -> str:
    keys = {"plate": "plate", "well": "well", "multiscales": "image"}
    return next((kind for key, kind in keys.items() if key in document.ome), "group")


class _Check:
    """Walks a store and collects what is wrong with it."""

    def __init__(self, root: Path) -> None:
        """Begin with no problems."""
        self.root = root
        self.problems: list[Problem] = []

    def error(self, place: Path, message: str) -> None:
        """Note a breach of the specification or a part that is missing."""
        self._note("error", place, message)

    def warn(self, place: Path, message: str) -> None:
        """Note what the specification recommends, or what a reader may stumble over."""
        self._note("warning", place, message)

    def _note(self, severity: Severity, place: Path, message: str) -> None:
        where = str(place.relative_to(self.root)) if place != self.root else "."
        self.problems.append(Problem(severity, where, message))

    def document(self, group: Path) -> Document | None:
        """Read the metadata of a group below the root; damaged ones cost that group alone."""
        try:
            return read_document(group)
        except StoreError as error:
            self.error(group, str(error).removeprefix(f"{group}/"))
            return None

    def plate(self, document: Document) -> Iterator[ImageFacts]:
        """Check a plate and all below it."""
        plate = document.ome["plate"]
        names = {}
        for key in ("rows", "columns"):
            names[key] = [str(entry.get("name", "")) for entry in plate.get(key, ())]
            wrong = [name for name in names[key] if not ALPHANUMERIC.fullmatch(name)]
            if not names[key] or wrong or len(set(names[key])) < len(names[key]):
                self.error(self.root, f"plate.{key} must be different alphanumeric names: {wrong}")
        numbers = [entry.get("id") for entry in plate.get("acquisitions", [])]
        if any(not isinstance(n, int) or n < 0 for n in numbers) or len({*numbers}) < len(numbers):
            self.error(self.root, f"acquisition ids must be different whole numbers: {numbers}")
        if not plate.get("wells"):
            self.error(self.root, "plate.wells is empty: nothing was written, or nothing finished")
        for entry in plate.get("wells") or []:
            yield from self._plate_well(entry, names, numbers, document)
        self._undone_wells(document)

    def _plate_well(
        self,
        entry: Mapping[str, Any],
        names: Mapping[str, list[str]],
        numbers: list[Any],
        plate: Document,
    ) -> Iterator[ImageFacts]:
        path = str(entry.get("path", ""))
        group = self.root / path
        try:
            row, column = (
                names[key][entry[index]]
                for key, index in (("rows", "rowIndex"), ("columns", "columnIndex"))
            )
        except (KeyError, IndexError, TypeError):
            self.error(self.root, f"well {path!r}: rowIndex and columnIndex must point into lists")
        else:
            if path != f"{row}/{column}":
                self.error(self.root, f"well {path!r} is indexed as {row}/{column}")
        document = self.document(group)
        if document is None or "well" not in document.ome:
            self.error(group, "is listed in the plate, but is no well: its metadata are missing")
            return
        if document.ngff != plate.ngff:
            self.error(group, f"is NGFF {document.ngff} in a plate of {plate.ngff}")
        yield from self.well(group, document, several=len(numbers) > 1, numbers=numbers)

    def _undone_wells(self, document: Document) -> None:
        listed = {entry.get("path") for entry in document.ome["plate"].get("wells") or []}
        for path in document.own.get("wells", []):
            if path not in listed:
                self.warn(self.root / path, "was planned, but no field of it was finished")

    def well(
        self, group: Path, document: Document, *, several: bool, numbers: list[Any] | None = None
    ) -> Iterator[ImageFacts]:
        """Check a well and its fields."""
        images = document.ome["well"].get("images") or []
        if not images:
            self.error(group, "well.images is empty")
        for entry in images:
            path = str(entry.get("path", ""))
            if not ALPHANUMERIC.fullmatch(path):
                self.error(group, f"field path {path!r} must be letters and digits only")
            if several and entry.get("acquisition") not in (numbers or []):
                self.error(group, f"field {path!r} needs an acquisition out of {numbers}")
            field = self.document(group / path)
            if field is None or "multiscales" not in field.ome:
                self.error(group / path, "is listed in the well, but is no image")
                continue
            yield self.image(group / path, field)
        there = {str(entry.get("path")) for entry in images}
        tiles = document.own.get("tiles", [])
        undone = [str(tile["name"]) for tile in tiles if tile["path"] not in there]
        if undone:
            shown = ", ".join(undone[:10]) + (" ..." if len(undone) > 10 else "")
            counts = f"{len(undone)} of {len(tiles)}"
            self.warn(group, f"{counts} planned tiles are not finished: {shown}")

    def image(self, group: Path, document: Document) -> ImageFacts:
        """Check an image, its arrays and its labels."""
        shapes = self._multiscale(group, document)
        if "omero" in document.ome:
            self._omero(group, document.ome["omero"])
        labels = self.document(group / "labels")
        names = [str(name) for name in labels.ome.get("labels", [])] if labels else []
        levels = len(document.ome["multiscales"][0].get("datasets", ()))
        kinds = {name: self._labels(group / "labels" / name, levels) for name in names}
        return ImageFacts(group, document.ome, tuple(shapes), kinds)

    def _multiscale(self, group: Path, document: Document) -> list[tuple[int, ...]]:
        if UNFINISHED in document.own:
            self.error(group, "its writing was interrupted: write it again (run resumes it)")
        blocks = document.ome["multiscales"]
        if document.ngff == "0.4" and blocks and blocks[0].get("version") != "0.4":
            self.warn(group, f"multiscales.version is {blocks[0].get('version')!r}, not '0.4'")
        if document.ngff == "0.5" and document.ome.get("version") != "0.5":
            self.warn(group, f"ome.version is {document.ome.get('version')!r}, not '0.5'")
        try:
            image = Image(group)
            described = image._multiscales()
            axes = parse_axes(blocks[0].get("axes"))
        except (StoreError, KeyError, TypeError, AttributeError) as error:
            self.error(group, f"multiscales cannot be read: {error}")
            return []
        self._axes(group, blocks[0], axes)
        self._transforms(group, blocks[0])
        shapes = []
        for level in range(len(described.levels)):
            try:
                array = image.array(level)
            except StoreError as error:
                self.error(group, str(error).removeprefix(f"{group}: "))
                continue
            shapes.append(array.shape)
            self._array(array, document, [axis.name for axis in axes])
        if any(a > b for low, high in itertools.pairwise(shapes) for a, b in zip(high, low)):
            self.error(group, f"levels must go from large to small: {shapes}")
        return shapes

    def _axes(self, group: Path, block: Mapping[str, Any], axes: tuple[Any, ...]) -> None:
        if not isinstance(block.get("axes"), list) or isinstance(block["axes"][0], str):
            self.error(group, "multiscales.axes must be a list of {name, type}")
            return
        kinds = [axis.kind for axis in axes]
        names = [axis.name for axis in axes]
        ranks = [AXIS_RANK.get(kind, 1) for kind in kinds]
        counts = {rank: ranks.count(rank) for rank in (0, 1, 2)}
        if len(set(names)) < len(names):
            self.error(group, f"axes have the same name twice: {names}")
        if ranks != sorted(ranks):
            self.error(group, f"axes {names} must go time, channel, space")
        if counts[0] > 1 or counts[1] > 1 or counts[2] not in (2, 3):
            self.error(group, f"axes {kinds}: expected 2 or 3 space, at most 1 time, 1 channel")
        for axis in axes:
            if axis.kind == "space" and axis.unit is None:
                self.warn(group, f"axis {axis.name!r} has no unit; taken as micrometres")

    def _transforms(self, group: Path, block: Mapping[str, Any]) -> None:
        for entry in block["datasets"]:
            kinds = [one.get("type") for one in entry.get("coordinateTransformations", [])]
            if kinds not in (["scale"], ["scale", "translation"]):
                message = (
                    f"level {entry.get('path')!r}: expected a scale, then at most a translation"
                )
                self.error(group, f"{message}; got {kinds}")

    def _array(self, array: UnitArray, document: Document, names: list[str]) -> None:
        kind, found, separator = array.storage
        if kind != (2 if document.ngff == "0.4" else 3):
            self.error(array.path, f"is zarr v{kind} in an NGFF {document.ngff} image")
        if document.ngff == "0.5" and list(found or []) != names:
            self.error(array.path, f"dimension_names are {found}, the axes are {names}")
        if document.ngff == "0.4" and separator != "/":
            self.warn(array.path, f"dimension separator is {separator!r}; most readers expect '/'")

    def _omero(self, group: Path, omero: Any) -> None:
        channels = omero.get("channels") if isinstance(omero, Mapping) else None
        for index, channel in enumerate(channels or []):
            if not HEX_COLOR.fullmatch(str(channel.get("color", ""))):
                self.error(group, f"omero channel {index}: color must be 6 hexadecimal digits")
            missing = {"min", "max", "start", "end"} - {*(channel.get("window") or {})}
            if missing:
                self.error(group, f"omero channel {index}: window lacks {sorted(missing)}")
        if not channels:
            self.error(group, "omero has no channels")

    def _labels(self, group: Path, levels: int) -> bool:
        """Check one label; whether it has an `image-label` block."""
        document = self.document(group)
        if document is None or "multiscales" not in document.ome:
            self.error(group, "is listed in labels, but is no image")
            return False
        shapes = self._multiscale(group, document)
        own = len(document.ome["multiscales"][0].get("datasets", ()))
        if own != levels:
            self.warn(group, f"has {own} levels, the image {levels}: make them equal")
        if shapes and Image(group).dtype.kind not in "ui":
            self.error(group, f"labels must be integers, these are {Image(group).dtype}")
        if "image-label" not in document.ome:
            self.warn(group, "has no image-label block; some viewers skip it")
            return False
        return True
