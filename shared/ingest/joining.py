"""Groups of files that are alike but for the name of a folder: plates of one screen."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from poolvox.shared.ingest.names import NameGroup
from poolvox.shared.ingest.pattern import Pattern, normalise
from poolvox.shared.ingest.plates import PLATE

__all__ = ["join_plates"]

# Words of folders whose images are of another kind, not of another plate.
_KINDS = re.compile(r"pheno|sbs|seq|iss|stain|paint|20x|10x|40x", re.IGNORECASE)


def join_plates(groups: Sequence[NameGroup]) -> list[NameGroup]:
    """Join groups of sequencing images that differ in one folder alone, which is their plate.

    They are of one screen if they have the same cycles and channels.
    """
    found: defaultdict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for k, group in enumerate(groups):
        if "cycle" in group.fields and "plate" not in group.fields:
            for pattern, folder in _without_folder(group.pattern):
                found[pattern, str(_cycles_and_channels(group))].append((k, folder))
    joined: list[NameGroup] = []
    taken: set[int] = set()
    for (pattern, _), members in found.items():
        places = [k for k, _ in members]
        if len(members) > 1 and taken.isdisjoint(places):
            taken.update(places)
            joined.append(_joined(pattern, [groups[k] for k in places], [f for _, f in members]))
    return [*joined, *(group for k, group in enumerate(groups) if k not in taken)]


def _joined(pattern: str, groups: Sequence[NameGroup], folders: Sequence[str]) -> NameGroup:
    note = f"the folders {', '.join(sorted(folders))} are taken for plates: check it"
    names = tuple(name for group in groups for name in group.names)
    return NameGroup(pattern, names, groups[0].fields | {"plate"}, (*groups[0].notes, note))


def _without_folder(pattern: str) -> Iterator[tuple[str, str]]:
    """Put `{plate}` for each folder in turn that has no field."""
    parts = pattern.split("/")
    for k, folder in enumerate(parts[:-1]):
        if "{" not in folder and "?" not in folder and not _KINDS.search(folder):
            yield "/".join([*parts[:k], PLATE, *parts[k + 1 :]]), folder


def _cycles_and_channels(group: NameGroup) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those that the names of a group have."""
    pattern = Pattern(group.pattern)
    start = len(pattern.folder) + 1 if pattern.folder else 0
    values = [pattern.match(name[start:]) or {} for name in group.names]
    cycles = {normalise("cycle", each.get("cycle", "")) for each in values}
    channels = {each.get("channel", "") for each in values}
    return tuple(sorted(cycles)), tuple(sorted(channels))
