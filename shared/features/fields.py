"""Which images are measured with which labels: a file, the images of a plate, or a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.pattern import Pattern, normalise, well_name
from poolvox.shared.ingest.readers import Header, Scene, describe
from poolvox.shared.sorting import natural
from poolvox.shared.store import open_image

__all__ = ["Field", "describe_file", "find_fields"]

# What tells images apart, in the order of the columns.
KEYS = ("plate", "well", "tile", "organoid", "cycle")


@dataclass(frozen=True)
class Field:
    """One image and its labels.

    Attributes
    ----------
    image, labels : where they are
    header, scene : what the image's file says of itself, and of this image in it
    named : what the file's name says of plate, well, tile or organoid
    """

    image: Path
    header: Header
    scene: Scene
    labels: Path
    named: Mapping[str, str]

    def keys(self, ndim: int) -> dict[str, str]:
        """Columns that tell this image from the others; images of stacks are organoids."""
        found = dict(self.named)
        well, tile = self.scene.place
        if well is not None and tile is not None:
            name = "tile" if ndim == 2 else "organoid"
            found = {"plate": self.image.stem, **found, "well": well, name: tile}
        return {f"Metadata_{key.capitalize()}": found[key] for key in KEYS if key in found}


def find_fields(image: str, labels: str) -> Iterator[Field]:
    """Find the images that are meant, each with its labels.

    Parameters
    ----------
    image : a file, an OME-Zarr plate, or a pattern of files such as `{well}_{organoid}.tif`
    labels : a file, the name of labels inside the OME-Zarr, or a pattern with the same fields
    """
    if "{" not in image or Path(image).exists():
        yield from _fields_of(Path(image), labels, {})
        return
    pattern = Pattern(image)
    folder = Path(pattern.folder)
    found = [
        (path.relative_to(folder).as_posix(), path)
        for path in folder.glob("/".join(_wild(part) for part in pattern.variable))
    ]
    matched = 0
    for name, path in sorted(found, key=lambda pair: natural(pair[0])):
        values = pattern.match(name)
        if values is None:
            continue
        matched += 1
        named = {field: normalise(field, text) for field, text in values.items()}
        if "row" in named:
            named["well"] = well_name(named["row"], named["col"])
        yield from _fields_of(path, _labels_of(labels, values), named)
    if not matched:
        raise InputError(f"no file is called like {image}: look at the folder and the pattern")


def _wild(part: str) -> str:
    """What finds all that a part of a pattern may stand for, and more."""
    if "**" in part:
        return "**"
    return "*" if any(letter in part for letter in "{*?") else glob.escape(part)


def _labels_of(labels: str, values: Mapping[str, str]) -> str:
    if "{" not in labels:
        return labels
    pattern = Pattern(labels)
    missing = [field for field in pattern.fields if field not in values]
    if missing:
        raise InputError(
            f"the pattern of the labels has {{{missing[0]}}}, that of the images has not"
        )
    return os.path.join(pattern.folder, pattern.format(values))


def _fields_of(image: Path, labels: str, named: dict[str, str]) -> Iterator[Field]:
    header = describe_file(image)
    inside = header.kind == "zarr" and not Path(labels).exists()
    if len(header.scenes) > 1 and not inside:
        raise InputError(
            f"{image.name} holds {len(header.scenes)} images, {labels} is one file of labels: "
            "give the name of the labels inside the plate"
        )
    if not inside and not Path(labels).exists():
        raise InputError(f"there is no {labels}: give a file of labels")
    for scene in header.scenes:
        if scene.fault:
            raise InputError(f"{image.name}: {scene.fault}")
        where = Path(labels)
        if inside:
            group = _group(image, scene)
            names = open_image(group).label_names
            if labels not in names:
                known = ", ".join(names) or "none"
                raise InputError(f"{group} has no labels {labels!r} (there are: {known})")
            where = group / "labels" / labels
        yield Field(image, header, scene, where, named)


def _group(image: Path, scene: Scene) -> Path:
    from poolvox.shared.store import open_plate

    well, tile = scene.place
    if well is None or tile is None:
        return image
    return Path(open_plate(image)[well][tile].path)


def describe_file(path: Path) -> Header:
    """What a file says of itself; a file that is missing or broken is an `InputError`."""
    if not path.exists():
        raise InputError(f"there is no {path}: give a TIFF, ND2 or OME-Zarr")
    try:
        return describe(path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error
