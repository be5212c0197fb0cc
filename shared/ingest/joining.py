"""Groups of files that are alike but for names of folders: plates of one screen, its cycles."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from poolvox.shared.ingest.names import NameGroup
from poolvox.shared.ingest.pattern import Pattern, match_whole, normalise
from poolvox.shared.ingest.plates import PLATE

__all__ = ["CycleFolders", "join_plates"]

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
    values = [match_whole(pattern, name) or {} for name in group.names]
    cycles = {normalise("cycle", each.get("cycle", "")) for each in values}
    channels = {each.get("channel", "") for each in values}
    return tuple(sorted(cycles)), tuple(sorted(channels))


# The word before the number of a cycle, as folders are called.
_CYCLE = re.compile(
    r"(?<![^\W\d_])((?:sbs|cycle|cyc|round|rnd|seq|iss)[-_ .#]?)(\d+)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class CycleFolders:
    """Folders of one cycle each whose names differ in more than its number.

    As `20240103_SBS1`, `20240105_SBS2_again`. Names are grouped as if the folders were called
    `cycle1`, `cycle2`.

    Parameters
    ----------
    renamed : original name of each file, by the name that it is grouped by
    pattern : of the folders
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    pattern: str = ""

    @classmethod
    def of(cls, names: Sequence[str]) -> CycleFolders:
        """Look for them at each level of the files' folders."""
        depth = max((name.count("/") for name in names), default=0)
        for level in range(depth):
            folders = {parts[level] for n in names if len(parts := n.split("/")) > level + 1}
            found = {f: m for f in folders if (m := _CYCLE.findall(f)) and len(m) == 1}
            words = {word for matches in found.values() for word, _ in matches}
            numbers = {int(number) for matches in found.values() for _, number in matches}
            texts = {re.sub(r"\d+", "", folder) for folder in found}
            if len(words) == 1 and len(numbers) == len(found) > 1 and len(texts) > 1:
                return cls(_rename(names, level, found), f"*{words.pop()}{{cycle}}*")
        return cls({name: name for name in names})

    def restore(self, group: NameGroup) -> NameGroup:
        """Give a group the names of its files, and the pattern that they have."""
        names = tuple(self.renamed[name] for name in group.names)
        parts = [self.pattern if p == "cycle{cycle}" else p for p in group.pattern.split("/")]
        return replace(group, names=names, pattern="/".join(parts)) if self.pattern else group


def _rename(
    names: Sequence[str], level: int, found: Mapping[str, list[tuple[str, str]]]
) -> dict[str, str]:
    renamed = {}
    for name in names:
        parts = name.split("/")
        if len(parts) > level + 1 and parts[level] in found:
            parts[level] = f"cycle{int(found[parts[level]][0][1])}"
        renamed["/".join(parts)] = name
    return renamed
