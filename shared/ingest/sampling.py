"""A few files of a kind, read to learn what all of them hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.pattern import normalise
from poolvox.shared.ingest.readers import Header, describe
from poolvox.shared.sorting import natural

__all__ = ["Sample", "cycles_of_channels", "sample_files"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the files hold.

    Attributes
    ----------
    header : the one that stands for all; of the fullest cycle, where cycles differ in channels
    only_in : channels that the files of some cycles lack, with the cycles that have them
    notes : what is unclear
    """

    header: Header | None = None
    only_in: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def sample_files(base: Path, names: Sequence[str], cycles: Sequence[str]) -> Sample:
    """Read the headers of the first file, one of the middle, the last, and one of each cycle.

    Parameters
    ----------
    names : of the files, relative to `base`
    cycles : of each file; empty where names do not give them
    """
    first_of = {cycle: k for k, cycle in reversed(list(enumerate(cycles)))} if cycles else {}
    places = dict.fromkeys((0, len(names) // 2, len(names) - 1, *sorted(first_of.values())))
    headers: dict[int, Header] = {}
    notes: list[str] = []
    for place in places:
        try:
            headers[place] = describe(base / names[place])
        except InputError as error:
            notes.append(f"{names[place]}: {error}")
    if not headers:
        return Sample(notes=tuple(notes))
    fullest = max(headers.values(), key=_channels)
    if len({_planes(header) for header in headers.values()}) > 1:
        notes.append("the files differ in shape: poolvox check tells which")
    elif len({_channels(header) for header in headers.values()}) > 1:
        found = _by_cycle({cycles[k]: h for k, h in headers.items()} if cycles else {}, fullest)
        return replace(found, notes=(*notes, *found.notes))
    return Sample(next(iter(headers.values())), notes=tuple(notes))


def _channels(header: Header) -> int:
    sizes = header.scenes[0].sizes
    return sizes.get("c", 1) * sizes.get("i", 1)


def _planes(header: Header) -> tuple[tuple[str, int], ...]:
    """Lengths of all axes but that of the channels."""
    sizes = header.scenes[0].sizes
    return tuple((a, n) for a, n in sizes.items() if a not in "ci")


def _by_cycle(headers: Mapping[str, Header], fullest: Header) -> Sample:
    """Cycles that differ in their channels: say which lack which, if the files name them."""
    named = {cycle: header.channels for cycle, header in headers.items()}
    if headers and all(len(named[c]) == _channels(h) for c, h in headers.items()):
        only_in = cycles_of_channels((c, name) for c, names in named.items() for name in names)
        if all(name in fullest.channels for name in only_in):
            return Sample(fullest, only_in)
    text = (
        "the files of some cycles hold fewer channels than others: name all channels, and say "
        "which cycles have one that the others lack, as in only_in: {DAPI: [1]}"
    )
    return Sample(fullest, notes=(text,))


def cycles_of_channels(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Channels that some cycles lack, with the cycles that have them.

    Parameters
    ----------
    pairs : cycle and channel of each image

    Examples
    --------
    >>> cycles_of_channels([("1", "DAPI"), ("1", "G"), ("2", "G")])
    {'DAPI': ('1',)}
    """
    there: defaultdict[str, set[str]] = defaultdict(set)
    for cycle, channel in pairs:
        there[channel].add(normalise("cycle", cycle))
    every = set().union(*there.values())
    return {
        channel: tuple(sorted(own, key=natural)) for channel, own in there.items() if own != every
    }
