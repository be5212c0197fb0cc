"""From a folder's file names to a pattern, where no instrument is known by them.

Names are cut into wells, names of dyes, numbers, and the text between them. Files whose text is
the same form a group; what varies in a group is given a field by the word before it, by its
agreement with another part of the name, or, where one thing alone is left, by what must be there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from poolvox.shared.ingest.pattern import normalise

__all__ = ["NameGroup", "group_names"]

_WELL = r"(?:(?<![A-Za-z0-9])|(?<=[Ww]ell))[A-P](?:0?[1-9]|1[0-9]|2[0-4])(?![A-Za-z0-9])"
_DYE = (
    r"(?<![A-Za-z0-9])(?:DAPI|Hoechst(?:[ -]?\d+)?|[EY]?GFP|[RYC]FP|mCherry|tdTomato|FITC|TRITC|"
    r"Cy[2357](?:\.5)?|AF\d{3}|A(?:488|532|555|568|594|647|680|750)|Alexa ?\d{3}|Texas ?Red|ConA|"
    r"Phalloidin|WGA|Mito|ER|AGP|RNA|DNA|BF|Brightfield)(?![A-Za-z0-9])"
)
_PIECE = re.compile(rf"(?P<well>{_WELL})|(?P<dye>{_DYE})|(?P<number>\d+)", re.UNICODE)
_WORD = re.compile(r"([^\W\d_]+)[-_ .#=(]*$")
_MAGNIFICATION = re.compile(r"[xX](?![A-Za-z0-9])")

# Fields by the word before a number, the likeliest first; `c` and `t` depend on the experiment.
_WORDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("tile", "site", "s", "field", "fov", "f", "fld", "scene"), ("tile",)),
    **dict.fromkeys(("pos", "position", "point", "p", "xy", "series"), ("tile",)),
    **dict.fromkeys(("cycle", "cyc", "round", "rnd", "r", "sbs", "seq"), ("cycle",)),
    **dict.fromkeys(("time", "timepoint", "frame"), ("cycle",)),
    **dict.fromkeys(("channel", "chan", "ch", "w", "wv", "wavelength"), ("channel",)),
    **dict.fromkeys(("z", "zstep", "plane", "slice", "zslice"), ("z",)),
    **dict.fromkeys(("organoid", "org", "object", "obj", "spheroid"), ("organoid",)),
    **dict.fromkeys(("plate", "plateid"), ("plate",)),
    **dict.fromkeys(("well",), ("well",)),
}
_BY_PIPELINE: dict[str, dict[str, tuple[str, ...]]] = {
    "ops": {"c": ("cycle", "channel"), "t": ("tile", "cycle")},
    "organoid3d": {"c": ("channel",), "t": ("cycle",)},
}
# Fields that are left out of the pattern where they have one value only.
_OPTIONAL = frozenset({"cycle", "channel", "z", "plate"})


@dataclass(frozen=True, slots=True)
class NameGroup:
    """Files that share one pattern, relative to the folder."""

    pattern: str
    names: tuple[str, ...]
    fields: frozenset[str]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Slot:
    """One varying place of a group's names."""

    kind: str
    word: str
    values: list[str]
    text: str = ""
    field: str = ""

    @property
    def constant(self) -> bool:
        return len(set(self.values)) == 1


@dataclass(slots=True)
class _Assigned:
    """Which fields are given, and what had to be left open."""

    slots: dict[str, _Slot] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def group_names(names: Iterable[str], pipeline: str) -> list[NameGroup]:
    """Group names that differ only in their numbers, wells and dyes; largest group first."""
    groups: defaultdict[tuple[str, ...], list[tuple[str, list[str]]]] = defaultdict(list)
    for name in names:
        skeleton, values = _cut(name)
        groups[skeleton].append((name, values))
    found = [_group(skeleton, members, pipeline) for skeleton, members in groups.items()]
    return sorted(found, key=lambda group: (-len(group.names), group.pattern))


def _cut(name: str) -> tuple[tuple[str, ...], list[str]]:
    """Give the texts and kinds of a name in turn, and the values of the kinds."""
    skeleton: list[str] = []
    values: list[str] = []
    end = 0
    for piece in _PIECE.finditer(name):
        kind = piece.lastgroup or ""
        if kind == "number" and _MAGNIFICATION.match(name, piece.end()):
            continue
        skeleton += [name[end : piece.start()], kind]
        values.append(piece.group())
        end = piece.end()
    return (*skeleton, name[end:]), values


def _group(
    skeleton: tuple[str, ...], members: list[tuple[str, list[str]]], pipeline: str
) -> NameGroup:
    texts, kinds = list(skeleton[::2]), skeleton[1::2]
    slots = [
        _Slot(kind, _word(texts[: k + 1]), [values[k] for _, values in members])
        for k, kind in enumerate(kinds)
    ]
    _split_false_wells(slots, texts)
    assigned = _Assigned()
    for slot in slots:
        _assign(slot, assigned, pipeline)
    _assign_rest(slots, assigned, pipeline)
    pieces = [_escape(texts[0])]
    for slot, text in zip(slots, texts[1:], strict=True):
        pieces += [slot.text or _escape(slot.values[0]), _escape(text)]
    return NameGroup(
        "".join(pieces),
        tuple(name for name, _ in members),
        frozenset(assigned.slots),
        tuple(assigned.notes),
    )


def _word(texts: list[str]) -> str:
    found = _WORD.search(texts[-1])
    return found.group(1).lower() if found else ""


def _split_false_wells(slots: list[_Slot], texts: list[str]) -> None:
    """Keep one well per name; others, such as the channel `C1` after `A1`, are number slots."""
    wells = [k for k, slot in enumerate(slots) if slot.kind == "well"]
    if not wells:
        return
    best = max(wells, key=lambda k: _rank(slots[k], k))
    for k in wells:
        letters = {value[0] for value in slots[k].values}
        numbers = [value[1:] for value in slots[k].values]
        same = [normalise("well", v) for v in slots[k].values] == [
            normalise("well", v) for v in slots[best].values
        ]
        # `C1` to `C5` alone are far more often channels than wells.
        channels = k == best and letters <= {"C"} and len(wells) == 1 and len(set(numbers)) > 1
        if (k != best and not same and len(letters) == 1) or channels:
            letter = letters.pop()
            folder = texts[k][-1:] in ("", "/") and texts[k + 1].startswith("/")
            word = "plate" if letter == "P" and folder else letter.lower()
            slots[k].kind, slots[k].word, slots[k].values = "number", word, numbers
            texts[k] += letter


def _rank(slot: _Slot, place: int) -> tuple[int, bool, int, int]:
    """Order candidates for the well: many rows, a letter that means nothing else, many values."""
    letters = {value[0] for value in slot.values}
    return len(letters), not letters <= set("CFPT"), len(set(slot.values)), -place


def _assign(slot: _Slot, assigned: _Assigned, pipeline: str) -> None:
    """Give a slot the field that its kind or the word before it says."""
    for name, other in assigned.slots.items():
        if [normalise(name, v) for v in slot.values] == [normalise(name, v) for v in other.values]:
            if not slot.constant:
                slot.text = f"{{{name}}}"
            return
    if slot.kind == "well":
        wanted: tuple[str, ...] = ("well",)
    elif slot.kind == "dye":
        wanted = ("channel",)
    else:
        words = {**_WORDS, **_BY_PIPELINE.get(pipeline, {})}
        wanted = words.get(slot.word, ())
    free = [name for name in wanted if name not in assigned.slots]
    if not free or (slot.constant and free[0] in _OPTIONAL):
        return
    slot.field, slot.text = free[0], f"{{{free[0]}}}"
    assigned.slots[free[0]] = slot


def _assign_rest(slots: list[_Slot], assigned: _Assigned, pipeline: str) -> None:
    """Give the one open number to the tile or organoid; leave others open, and say so."""
    place = "organoid" if pipeline == "organoid3d" else "tile"
    for slot in slots:
        if slot.text or slot.constant:
            continue
        shown = ", ".join(sorted(set(slot.values))[:4])
        if not {"tile", "organoid"} & set(assigned.slots) and slot.kind == "number":
            slot.field, slot.text = place, f"{{{place}}}"
            assigned.slots[place] = slot
            assigned.notes.append(f"the numbers {shown} are taken for the {place}: check it")
        else:
            slot.text = "{_}"
            assigned.notes.append(f"it is unclear what {shown} in the names are: they are ignored")


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}").replace("*", "?")
