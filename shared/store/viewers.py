"""What the viewers of OME-Zarr open and what they leave out, as rules on a store's facts.

From the readers' sources and issue trackers as of November 2026 (napari-ome-zarr 0.10, vizarr of
April 2026, MoBIE's HCS helper, ngio 1.1, Bio-Formats with OMEZarrReader).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from poolvox.shared.store.axes import letters, parse_axes

__all__ = ["Facts", "ImageFacts", "Verdict", "judge"]

AS_04: Final = "write it as NGFF 0.4 (in the config, store: {ngff: '0.4'})"
MOBIE_FIELD: Final = re.compile(r"[A-Z]/[0-9]+/[0-9]+")
# napari makes each declared but empty well as an array of zeros.
MANY_EMPTY_WELLS: Final = 100


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One image: its metadata, the shapes of the levels present, labels -> has image-label."""

    path: Path
    ome: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    labels: Mapping[str, bool] = field(default_factory=dict)

    @property
    def axes(self) -> str:
        """One letter each."""
        return letters(parse_axes(self.ome["multiscales"][0].get("axes")))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the viewers' rules look at."""

    root: Path
    kind: str
    ngff: str
    ome: Mapping[str, Any]
    images: tuple[ImageFacts, ...]

    @property
    def labelled(self) -> bool:
        """Whether any image has labels."""
        return any(image.labels for image in self.images)

    @property
    def whole(self) -> bool:
        """Whether there are images, and each has all its levels."""
        promised = (len(image.ome["multiscales"][0].get("datasets", ())) for image in self.images)
        present = (len(image.shapes) for image in self.images)
        return bool(self.images) and all(a == b > 0 for a, b in zip(promised, present))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a viewer opens the store, and what it will not show unless something changes."""

    viewer: str
    opens: bool
    limits: tuple[str, ...] = ()

    def text(self, width: int = 0) -> str:
        """One line."""
        state = "opens" if self.opens else "does not open it"
        return f"{self.viewer:{width}}  {state}" + "".join(f"; {limit}" for limit in self.limits)


def judge(facts: Facts) -> tuple[Verdict, ...]:
    """One verdict per viewer."""
    return tuple(_verdict(name, facts) for name in VIEWERS)


def _verdict(viewer: str, facts: Facts) -> Verdict:
    if not facts.whole:
        missing = "no images" if not facts.images else "arrays that the metadata name are missing"
        return Verdict(viewer, False, (f"{missing}: mend the errors above first",))
    refusals, limits = VIEWERS[viewer]
    refused = tuple(refusals(facts))
    return Verdict(viewer, not refused, refused or tuple(limits(facts)))


def _none(facts: Facts) -> Iterator[str]:
    yield from ()


def _napari_refuses(facts: Facts) -> Iterator[str]:
    ranks = {len(image.shapes[0]) for image in facts.images}
    if facts.kind == "plate" and len(ranks) > 1:
        yield f"images of {sorted(ranks)} dimensions: keep them in plates of their own"


def _napari_limits(facts: Facts) -> Iterator[str]:
    unmarked = sorted({n for i in facts.images for n, marked in i.labels.items() if not marked})
    if unmarked:
        yield f"skips labels {', '.join(unmarked)}: they need an image-label block"
    if facts.kind != "plate":
        return
    fields = _fields_by_well(facts)
    first = fields[min(fields)]
    if any(len(paths) > 1 for paths in fields.values()):
        yield f"shows field {first[0]} of each well only: open a well's fields one by one"
    without = [well for well, paths in fields.items() if first[0] not in paths]
    if without:
        yield f"fails on wells without field {first[0]} ({', '.join(sorted(without)[:5])})"
    if len({image.shapes[0] for image in facts.images}) > 1:
        yield "assumes one shape for all images; here they differ, and tiles are cut or misplaced"
    plate = facts.ome["plate"]
    empty = len(plate.get("rows", ())) * len(plate.get("columns", ())) - len(fields)
    if empty > MANY_EMPTY_WELLS:
        yield f"draws {empty} empty wells, which is slow"


def _vizarr_limits(facts: Facts) -> Iterator[str]:
    if facts.labelled and facts.ngff != "0.4":
        yield f"never shows labels of 0.5: {AS_04}"
    elif facts.labelled and facts.kind == "plate":
        yield "shows labels only when a single field is opened"
    if facts.labelled and any(len(image.shapes) < 2 for image in facts.images):
        yield "needs labels of several levels: write more levels"
    if any("omero" not in image.ome for image in facts.images):
        yield "guesses channels and contrast, and shows no labels: add an omero block"
    acquisitions = facts.ome.get("plate", {}).get("acquisitions", [])
    if any(entry.get("id") == 0 for entry in acquisitions) and len(acquisitions) > 1:
        yield "takes acquisition 0 for none: number acquisitions from 1"


def _mobie_refuses(facts: Facts) -> Iterator[str]:
    if facts.ngff != "0.4":
        yield f"reads 0.4 only: {AS_04}"
    if facts.kind != "plate":
        return
    if facts.root.suffix != ".zarr":
        yield "the store's name must end in .zarr: rename the folder"
    paths = [image.path.relative_to(facts.root).as_posix() for image in facts.images]
    odd = [path for path in paths if not MOBIE_FIELD.fullmatch(path)]
    if odd:
        yield f"expects paths such as A/1/0 (one capital, digits, digits), not {odd[0]}"


def _bioformats_refuses(facts: Facts) -> Iterator[str]:
    if facts.ngff != "0.4":
        yield f"reads 0.4 only, and with it OMERO and QuPath: {AS_04}"


def _bioformats_limits(facts: Facts) -> Iterator[str]:
    if len(facts.images) > 96:
        yield f"imports {len(facts.images)} images slowly"


def _ngio_limits(facts: Facts) -> Iterator[str]:
    rows = {image.axes for image in facts.images if not image.axes.endswith("yx")}
    if rows:
        yield f"expects axes in the order tczyx, here {', '.join(sorted(rows))}"


def _fields_by_well(facts: Facts) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for image in facts.images:
        well = image.path.parent.relative_to(facts.root).as_posix()
        fields.setdefault(well, []).append(image.path.name)
    return fields


Rule = Callable[[Facts], Iterator[str]]

# Viewer -> what keeps it from opening the store, and what it opens but does not show.
VIEWERS: Final[Mapping[str, tuple[Rule, Rule]]] = {
    "napari": (_napari_refuses, _napari_limits),
    "vizarr": (_none, _vizarr_limits),
    "MoBIE": (_mobie_refuses, _none),
    "ngio": (_none, _ngio_limits),
    "Bio-Formats": (_bioformats_refuses, _bioformats_limits),
}
