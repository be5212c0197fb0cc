"""Tiles that a plate seems to lack: no file names them, but the other wells or tiles do.

Nobody says how many tiles there should be, so a plate is held against itself alone: a well against
the other wells, and tiles that are numbered against their numbers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from poolvox.shared.ingest.manifest import TileKey
from poolvox.shared.sorting import natural

__all__ = ["find_gaps"]

# Numbers of which more than this part is not there do not count tiles one by one.
MOST_LACKING = 0.2
# Tiles that are named before the rest is counted.
NAMED = 5


def find_gaps(tiles: Iterable[TileKey]) -> list[tuple[str, str]]:
    """Name the places where tiles seem to lack, with what is known.

    Parameters
    ----------
    tiles : those that there are; organoids are not counted

    Examples
    --------
    >>> tiles = [TileKey("P1", well, str(n)) for well in ("A1", "A2") for n in range(4)]
    >>> find_gaps(tiles[:-1])
    [('well A2', 'has no tile 3, which the other well has')]
    """
    plates: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for key in tiles:
        if key.tile and not key.organoid:
            plates[key.plate][key.well].add(key.tile)
    found = []
    for plate, wells in sorted(plates.items(), key=lambda item: natural(item[0])):
        before = f"plate {plate}, " if len(plates) > 1 else ""
        gaps = [*_beside_others(wells), *_between_numbers(wells)]
        found += [(before + place, text) for place, text in gaps]
    return found


def _beside_others(wells: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Tiles that most of the other wells have; wells that are numbered otherwise do not count."""
    counts = Counter(tile for own in wells.values() for tile in own)
    others = len(wells) - 1
    found = []
    for well, own in sorted(wells.items(), key=lambda item: natural(item[0])):
        common = {tile for tile, count in counts.items() if 2 * (count - (tile in own)) > others}
        if 2 * len(own & common) < len(own):
            continue
        if lacking := sorted(common - own, key=natural):
            has = "the other well has" if others == 1 else "most other wells have"
            found.append((f"well {well}", f"has no {_listed(lacking)}, which {has}"))
    return found


def _between_numbers(wells: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Numbers that no well has, though all round them are there."""
    names = set().union(*wells.values())
    if not all(name.isdecimal() for name in names):
        return []
    numbers = {int(name) for name in names}
    first, last = min(numbers), max(numbers)
    lacking = [str(n) for n in range(first, last) if n not in numbers]
    if not lacking or len(lacking) > MOST_LACKING * (last - first + 1):
        return []
    place, has = ("all wells", "have") if len(wells) > 1 else (f"well {next(iter(wells))}", "has")
    return [(place, f"{has} no {_listed(lacking)}, though tiles go from {first} to {last}")]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"tile{'s' if len(names) > 1 else ''} {shown}{more}"
