"""Which files of a folder belong together: by the names of an instrument, or by likeness."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from poolvox.shared.ingest.instruments import INSTRUMENTS, Instrument
from poolvox.shared.ingest.joining import CycleFolders, join_plates
from poolvox.shared.ingest.names import NameGroup, group_names
from poolvox.shared.ingest.pattern import Pattern, match_whole, normalise
from poolvox.shared.sorting import natural

__all__ = ["group_files"]


def group_files(images: Sequence[str], pipeline: str) -> tuple[list[NameGroup], Instrument | None]:
    """Group files by the names that an instrument gives, the rest by what their names are like.

    Parameters
    ----------
    images : names, relative to their folder
    """
    instrument = _instrument(images)
    folders = CycleFolders.of(images if pipeline == "ops" else ())
    names = sorted(folders.renamed, key=natural) if pipeline == "ops" else list(images)
    groups = _vendor_groups(names, instrument, pipeline) if instrument else ()
    rest = sorted(set(names) - {n for group in groups for n in group.names}, key=natural)
    groups = (*groups, *group_names(rest, pipeline))
    if pipeline != "ops":
        return list(groups), instrument
    return [folders.restore(group) for group in join_plates(groups)], instrument


def _instrument(images: Sequence[str]) -> Instrument | None:
    """Find the instrument whose names at least half of the files have."""
    last = [name.rpartition("/")[2] for name in images]
    best, most = None, 0
    for instrument in INSTRUMENTS:
        patterns = [Pattern(text) for text in _variants(instrument.files, last)]
        hits = sum(any(_fits(pattern, name) for pattern in patterns) for name in last)
        if hits > most:
            best, most = instrument, hits
    return best if 2 * most >= len(images) else None


def _fits(pattern: Pattern, name: str) -> bool:
    """Match a name as instruments write it: their wells have letters, and no hyphen."""
    values = pattern.match(name)
    well = (values or {}).get("well", "A1")
    return values is not None and well[0].isalpha() and "-" not in well


def _variants(files: Sequence[str], names: Sequence[str]) -> list[str]:
    """Write each pattern with the endings that the files have: .tif, .TIF, .tiff."""
    endings = dict.fromkeys("." + name.rpartition(".")[2] for name in names)
    found: list[str] = []
    for text in files:
        stem, _, own = text.rpartition(".")
        same = [e for e in endings if e.lower().rstrip("f") == "." + own.rstrip("f")]
        found += [stem + ending for ending in same]
    return found


def _vendor_groups(
    images: Sequence[str], instrument: Instrument, pipeline: str
) -> tuple[NameGroup, ...]:
    """Group the files by the first pattern of the instrument that they match, and by folders."""
    last = [name.rpartition("/")[2] for name in images]
    patterns = [Pattern(text) for text in _variants(instrument.files, last)]
    groups: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for name, own in zip(images, last, strict=True):
        pattern = next((p for p in patterns if _fits(p, own)), None)
        if pattern is not None:
            groups[pattern.text, name.count("/")].append(name)
    found: list[NameGroup] = []
    for (text, _), names in groups.items():
        folders = _folders(names, instrument, Pattern(text), pipeline)
        whole = _simplified("/".join([*folders, text]), names)
        found.append(NameGroup(whole, tuple(names), frozenset(Pattern(whole).fields)))
    return tuple(found)


def _folders(
    names: Sequence[str], instrument: Instrument, file: Pattern, pipeline: str
) -> list[str]:
    """Give one pattern per folder level: what it is for this instrument, or as names tell."""
    found: list[str] = []
    for level in range(names[0].count("/")):
        values = sorted({name.split("/")[level] for name in names}, key=natural)
        own = next(
            (t for t in instrument.folders if all(Pattern(t).match(v) for v in values)), None
        )
        if own is not None:
            found.append(own if _agree(Pattern(own), file, level, names) else "*")
        elif len(values) == 1:
            found.append(values[0].replace("{", "{{").replace("}", "}}"))
        else:
            groups = group_names(values, pipeline)
            clear = len(groups) == 1 and groups[0].fields <= {"cycle", "plate", "well"}
            found.append(groups[0].pattern if clear and groups[0].fields else "{plate}")
    return found


def _agree(folder: Pattern, file: Pattern, level: int, names: Sequence[str]) -> bool:
    """Tell whether a field that folder and file both have is the same in all names."""
    for name in names:
        parts = name.split("/")
        above, own = folder.match(parts[level]) or {}, file.match(parts[-1]) or {}
        if any(normalise(k, above[k]) != normalise(k, own[k]) for k in above.keys() & own.keys()):
            return False
    return True


def _simplified(text: str, names: Sequence[str]) -> str:
    """Write out the plate, cycle and z where they have one value only.

    A folder and a file may both name the plate: where they do not agree, the file's is ignored.
    A list of channels in a name means that each file holds all of them.
    """
    for name in ("plate", "cycle", "z", "channel"):
        field_text = f"{{{name}}}"
        while text.count(field_text) > 1 and not all(match_whole(Pattern(text), n) for n in names):
            head, _, tail = text.rpartition(field_text)
            text = head + "{_}" + tail
        if field_text not in text:
            continue
        values = {(match_whole(Pattern(text), n) or {}).get(name, "") for n in names}
        if len(values) == 1 and (name != "channel" or "," in "".join(values)):
            value = values.pop().replace("{", "{{").replace("}", "}}")
            text = text.replace(field_text, value) if value else text
    return text
