"""From a folder's file names to a pattern, where no instrument is known by them.

Names are cut into wells, names of dyes, numbers, and the text between them. Files whose text is
the same form a group; what varies in a group is given a field by the word before it, by its
agreement with another part of the name, or, where one thing alone is left, by what must be there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from poolvox.shared.ingest.pattern import normalise
from poolvox.shared.sorting import natural

__all__ = ["NameGroup", "group_names", "is_derived"]

_WELL = r"(?:(?<![A-Za-z0-9])|(?<=[Ww]ell)|(?<=Point))[A-P](?:0?[1-9]|1[0-9]|2[0-4])(?![A-Za-z0-9])"
_DYE = (
    r"(?<![A-Za-z0-9])(?:DAPI|Hoechst(?:[ -]?\d+)?|[EY]?GFP|[RYC]FP|mCherry|tdTomato|FITC|TRITC|"
    r"Cy[2357](?:\.5)?|AF\d{3}|A(?:488|532|555|568|594|647|680|750)|Alexa ?\d{3}|Texas ?Red|ConA|"
    r"Phalloidin|WGA|Mito|ER|AGP|RNA|DNA|BF|Brightfield)(?![A-Za-z0-9])"
)
_DATE = r"(?<!\d)20\d\d-[01]\d-[0-3]\d(?!\d)"
# MetaMorph writes number and name of the wavelength together: `_w1DAPI_`.
_WAVE = r"(?<=_)[wW]\d[A-Za-z][A-Za-z0-9 ]{1,24}(?=[_.])"
_PIECE = re.compile(
    rf"(?P<date>{_DATE})|(?P<well>{_WELL})|(?P<dye>{_WAVE}|{_DYE})|(?P<number>\d+)", re.UNICODE
)
# Bases stand for channels where most of them stand alone in some name.
_BASE = r"(?<![A-Za-z0-9])[ACGT](?![A-Za-z0-9])"
_PIECE_OR_BASE = re.compile(_PIECE.pattern.replace("|(?P<dye>", rf"|(?P<dye>{_BASE}|"), re.UNICODE)
MOST_BASES = 3
_WORD = re.compile(r"([^\W\d_]+)[-_ .#=(]*$")
_MAGNIFICATION = re.compile(r"[xX](?![A-Za-z0-9])")

# Fields by the word before a number, the likeliest first; `c` and `t` depend on the experiment.
_WORDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("tile", "site", "s", "field", "fov", "f", "fld", "scene"), ("tile",)),
    **dict.fromkeys(("pos", "position", "point", "xy", "series"), ("tile",)),
    "p": ("tile", "plate"),
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


# Words of files that were made from images.
_DERIVED = re.compile(r"(?:label|mask|segmentation|outline|illum|flatfield|darkfield|prediction)")
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_WORDS_ONLY = re.compile(r"(?:[^\W_]|-)+")
# From so many files without a common form on, each is a place of its own.
MANY = 3

# Names with their values, by the text and kinds that they share.
_Groups = defaultdict[tuple[str, ...], list[tuple[str, list[str]]]]
# A form of names, the number of values before one of its words, and the word.
_Worded = tuple[tuple[str, ...], int, str]


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
    in_folder: bool = False

    @property
    def constant(self) -> bool:
        return len(set(self.values)) == 1


@dataclass(slots=True)
class _Assigned:
    """Which fields are given, and what had to be left open."""

    slots: dict[str, _Slot] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def group_names(names: Iterable[str], pipeline: str) -> list[NameGroup]:
    """Group names that differ only in numbers, wells, dyes; images before labels, many first."""
    groups: _Groups = defaultdict(list)
    names = list(names)
    piece = _PIECE_OR_BASE if pipeline == "ops" and _has_bases(names) else _PIECE
    for name in names:
        skeleton, values = _cut(name, piece)
        groups[skeleton].append((name, values))
    groups, alone = _without_singles(_join_channels(groups))
    found = [_group(skeleton, members, pipeline) for skeleton, members in groups.items()]
    found += [_own_places(folder, ending, each, pipeline) for (folder, ending), each in alone]
    return sorted(found, key=lambda g: (is_derived(g.pattern), -len(g.names), g.pattern))


def _has_bases(names: Iterable[str]) -> bool:
    return len({base for name in names for base in re.findall(_BASE, name)}) >= MOST_BASES


def is_derived(name: str) -> bool:
    """Tell by its words whether a file was made from images: labels, masks, corrections."""
    return _DERIVED.search(name.lower()) is not None


def _join_channels(groups: _Groups) -> _Groups:
    """Join groups that differ in one word of the file's name: the words are channels."""
    shared: defaultdict[tuple[str, ...], list[_Worded]] = defaultdict(list)
    for skeleton in groups:
        if "dye" not in skeleton[1::2] and not is_derived("".join(skeleton[::2])):
            for key, worded in _words_of(skeleton):
                shared[key].append(worded)
    joined: _Groups = defaultdict(list, groups)
    for key, parts in shared.items():
        values = [sorted(v for _, v in joined.get(skeleton, [])) for skeleton, _, _ in parts]
        if len(parts) > 1 and values[0] and values[0][0] and all(v == values[0] for v in values):
            for skeleton, place, word in parts:
                for name, own in joined.pop(skeleton):
                    joined[key].append((name, [*own[:place], word, *own[place:]]))
    return joined


def _words_of(skeleton: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], _Worded]]:
    """Cut each word of the file's name out in turn, but not its ending."""
    for place in range(0, len(skeleton), 2):
        text = skeleton[place]
        if any("/" in later for later in skeleton[place + 2 :: 2]):
            continue
        for word in _LETTERS.finditer(text, text.rfind("/") + 1):
            head, tail = text[: word.start()], text[word.end() :]
            if tail or place < len(skeleton) - 1:
                key = (*skeleton[:place], head, "word", tail, *skeleton[place + 1 :])
                yield key, (skeleton, place // 2, word.group())


def _without_singles(
    groups: _Groups,
) -> tuple[_Groups, list[tuple[tuple[str, str], list[str]]]]:
    """Take out files that are alike in nothing but their folder: each is a place of its own."""
    singles: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for members in groups.values():
        name, _ = members[0]
        folder, slash, last = name.rpartition("/")
        stem, dot, ending = last.rpartition(".")
        if len(members) == 1 and _WORDS_ONLY.fullmatch(stem) and not is_derived(last):
            singles[folder + slash, dot + ending].append(name)
    alone = [(key, sorted(each)) for key, each in singles.items() if len(each) >= MANY]
    taken = {name for _, each in alone for name in each}
    left = {key: each for key, each in groups.items() if each[0][0] not in taken}
    return defaultdict(list, left), alone


def _own_places(folder: str, ending: str, names: list[str], pipeline: str) -> NameGroup:
    place = "organoid" if pipeline == "organoid3d" else "tile"
    note = f"the files have names of their own: each is taken for {'an' * (place[0] == 'o') or 'a'}"
    pattern = f"{_escape(folder)}{{{place}}}{_escape(ending)}"
    return NameGroup(pattern, tuple(names), frozenset({place}), (f"{note} {place}",))


def _cut(name: str, pieces: re.Pattern[str]) -> tuple[tuple[str, ...], list[str]]:
    """Give the texts and kinds of a name in turn, and the values of the kinds."""
    skeleton: list[str] = []
    values: list[str] = []
    end = 0
    for piece in pieces.finditer(name):
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
    for k, slot in enumerate(slots):
        slot.in_folder = any("/" in text for text in texts[k + 1 :])
    _split_false_wells(slots, texts)
    assigned = _Assigned()
    _assign_rows(slots, texts, assigned)
    # What varies tells more than what does not, and a `p` is a plate where tiles have their own.
    for slot in sorted(slots, key=lambda slot: (slot.constant, slot.word == "p")):
        if not slot.field:
            _assign(slot, assigned, pipeline)
    _assign_rest(slots, assigned, pipeline)
    if pipeline == "organoid3d":
        _times_are_places(slots, assigned)
    pieces = [_escape(texts[0])]
    for slot, text in zip(slots, texts[1:], strict=True):
        pieces += [slot.text or _escape(slot.values[0]), _escape(text)]
    return NameGroup(
        "".join(pieces),
        tuple(name for name, _ in members),
        frozenset(assigned.slots),
        tuple(assigned.notes),
    )


def _assign_rows(slots: list[_Slot], texts: list[str], assigned: _Assigned) -> None:
    """Take `r01c02` for row and column, where no well is named otherwise."""
    if any(slot.kind == "well" for slot in slots):
        return
    for k, (row, column) in enumerate(pairwise(slots)):
        if row.word == "r" and texts[k].lower().endswith("r") and texts[k + 1].lower() == "c":
            for slot, name in ((row, "row"), (column, "col")):
                slot.field, slot.text = name, f"{{{name}}}"
                assigned.slots[name] = slot
            return


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
    elif slot.kind in ("dye", "word"):
        wanted = ("channel",)
        if slot.kind == "word":
            shown = ", ".join(sorted(set(slot.values)))
            assigned.notes.append(f"the words {shown} are taken for channels: check it")
    else:
        words = {**_WORDS, **_BY_PIPELINE.get(pipeline, {})}
        wanted = words.get(slot.word, ())
    free = [name for name in wanted if name not in assigned.slots]
    if not free or (slot.constant and free[0] in _OPTIONAL):
        return
    slot.field, slot.text = free[0], f"{{{free[0]}}}"
    assigned.slots[free[0]] = slot


def _assign_rest(slots: list[_Slot], assigned: _Assigned, pipeline: str) -> None:
    """Give the tile or organoid the open number that tells most; say of others what is unclear."""
    place = "organoid" if pipeline == "organoid3d" else "tile"
    still = [slot for slot in slots if not slot.text and not slot.constant]
    for slot in [slot for slot in still if _follows(slot, assigned)]:
        # The number of a channel beside its name, say: it adds nothing.
        slot.text = "{_}"
        still.remove(slot)
    numbers = [slot for slot in still if slot.kind == "number"]
    if numbers and not {"tile", "organoid"} & set(assigned.slots):
        # Of the numbers of a screen, those in the file's own name are its tile.
        own = [slot for slot in numbers if pipeline == "ops" and not slot.in_folder]
        still.remove(_take(max(own or numbers, key=_variety), place, assigned))
    folders = [slot for slot in still if slot.in_folder and slot.kind in ("number", "date")]
    if folders and pipeline == "ops" and "cycle" not in assigned.slots:
        # Sequencing images have cycles: what else should folders of the same names be?
        still.remove(_take(max(folders, key=_variety), "cycle", assigned))
    for slot in still:
        slot.text = "{_}"
        shown = ", ".join(sorted(set(slot.values), key=natural)[:4])
        assigned.notes.append(f"it is unclear what {shown} in the names are: they are ignored")


def _variety(slot: _Slot) -> int:
    return len(set(slot.values))


def _take(slot: _Slot, name: str, assigned: _Assigned) -> _Slot:
    """Give a slot a field that no word says, with a note."""
    slot.field, slot.text = name, f"{{{name}}}"
    assigned.slots[name] = slot
    shown = ", ".join(sorted(set(slot.values), key=natural)[:4])
    assigned.notes.append(f"the numbers {shown} are taken for the {name}: check it")
    return slot


def _follows(slot: _Slot, assigned: _Assigned) -> bool:
    """Whether each value stands beside one and the same value of a field, and the reverse."""
    for other in assigned.slots.values():
        pairs = set(zip(slot.values, other.values, strict=True))
        if len(pairs) == len(set(slot.values)) == len(set(other.values)):
            return True
    return False


def _times_are_places(slots: list[_Slot], assigned: _Assigned) -> None:
    """Take time points of stacks for stacks of their own where nothing else tells them apart."""
    if "cycle" not in assigned.slots or {"tile", "organoid"} & set(assigned.slots):
        return
    slot = assigned.slots.pop("cycle")
    assigned.slots["organoid"] = slot
    for each in slots:
        each.text = "{organoid}" if each.text == "{cycle}" else each.text
    assigned.notes.append("the time points are taken for stacks of their own: check it")


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}").replace("*", "?")
