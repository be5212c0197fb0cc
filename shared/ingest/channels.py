"""Which channels there are, and where each of them lies in the files of each cycle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.layout import Layout
from poolvox.shared.ingest.manifest import Piece
from poolvox.shared.ingest.readers import Header
from poolvox.shared.ingest.spec import Channels, RawSpec
from poolvox.shared.sorting import natural

__all__ = ["ChannelPlaces", "common_kinds", "place_channels"]


@dataclass(frozen=True, slots=True)
class ChannelPlaces:
    """Names of the channels, and how files give them.

    Attributes
    ----------
    values : what stands in the files' names, in the order of `names`; empty where files hold
        several channels
    selection : by cycle, numbers of the channels within a file, -1 for one that the cycle lacks;
        "" stands for all cycles that are not named
    """

    names: tuple[str, ...]
    values: tuple[str, ...] = ()
    selection: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def common_kinds(spec: RawSpec, good: Sequence[Piece]) -> dict[str, tuple[Layout, Header]]:
    """Most frequent layout of the files, with a header of that kind, by cycle.

    "" stands for all cycles, and is alone where these have the same channels.
    """
    groups = {"": list(good)}
    if spec.only_in:
        for piece in good:
            groups.setdefault(piece.cycle, []).append(piece)
    return {cycle: _most_frequent(pieces) for cycle, pieces in groups.items()}


def _most_frequent(pieces: Sequence[Piece]) -> tuple[Layout, Header]:
    layout = Counter(piece.layout for piece in pieces if piece.layout).most_common(1)[0][0]
    header = next(p.header for p in pieces if p.layout == layout and p.header)
    return layout, header


def place_channels(
    spec: RawSpec, pieces: Sequence[Piece], kinds: Mapping[str, tuple[Layout, Header]]
) -> ChannelPlaces:
    """Find the channels that the specification names among those that are there.

    Parameters
    ----------
    kinds : see `common_kinds`
    """
    named = {piece.channel for piece in pieces if piece.channel}
    if named:
        there = tuple(sorted(named, key=natural))
        names, places = _choose(spec.channels, there, "in the names of the files")
        return ChannelPlaces(names, tuple(there[place] for place in places))
    if not spec.only_in:
        names, places = _in_files(spec.channels, *kinds[""])
        return ChannelPlaces(names, selection={"": places})
    names = spec.names or ()
    selection = {}
    for cycle, kind in kinds.items():
        if cycle:
            own = dict(zip(*_in_files(spec.channels_of(cycle), *kind), strict=True))
            selection[cycle] = tuple(own.get(name, -1) for name in names)
    return ChannelPlaces(names, selection=selection)


def _in_files(
    channels: Channels, layout: Layout, header: Header
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    count = layout.sizes["c"]
    there = header.channels if len(header.channels) == count else ()
    there = there if len(set(there)) == count else tuple(str(number) for number in range(count))
    return _choose(channels, there, "in the files")


def _choose(
    channels: Channels, there: tuple[str, ...], where: str
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Match the channels that the specification names to those that are there."""
    every = tuple(range(len(there)))
    if channels == "auto":
        return there, every
    names = tuple(channels)
    if isinstance(channels, dict):
        return names, tuple(_find(value, there, where) for value in channels.values())
    if set(names) <= set(there):
        return names, tuple(there.index(name) for name in names)
    if len(names) != len(there):
        raise InputError(
            f"channels names {len(names)} ({', '.join(names)}), but there are {len(there)} {where} "
            f"({', '.join(there)}): name them all, or map names to them"
        )
    return names, every


def _find(value: str, there: tuple[str, ...], where: str) -> int:
    if value in there:
        return there.index(value)
    if value.isdecimal():
        same = [k for k, name in enumerate(there) if name.isdecimal() and int(name) == int(value)]
        if same:
            return same[0]
        if where == "in the files" and int(value) < len(there):
            return int(value)
    raise InputError(f"there is no channel {value!r} {where}: there are {', '.join(there)}")
