"""What a folder of raw files most likely is, for a first configuration.

What cannot be known is not invented: it is a note that says what is unclear.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.files import walk
from poolvox.shared.ingest.grouping import group_files
from poolvox.shared.ingest.names import NameGroup, is_derived
from poolvox.shared.ingest.pattern import Pattern, match_whole, normalise, well_name
from poolvox.shared.ingest.readers import Header, is_image
from poolvox.shared.ingest.sampling import cycles_of_channels, sample_files
from poolvox.shared.ingest.vendors import READERS, Acquisition
from poolvox.shared.sorting import natural

__all__ = ["Guess", "guess"]

# The most pages without metadata that are taken for channels.
MOST_CHANNELS = 8
EXCLUDED = ("*_thumb*", ".*", "*/.*", "*Thumbs*")


@dataclass(frozen=True, slots=True)
class Guess:
    """A likely `raw:` block, and what is unclear about it.

    Attributes
    ----------
    role : `sbs`, `phenotype` or `stacks`
    files : the name pattern, relative to the folder
    channels : names in order, or a mapping of names to what stands in the files' names
    only_in : channels that some cycles alone have, with those cycles
    spacing : micrometres by axis, as far as the files or the instrument's metadata tell
    vendor : the instrument's layout, or "" where the pattern comes from the names alone
    others : further groups of files in the folder, each as a guess of its own
    """

    role: str
    files: str
    channels: tuple[str, ...] | dict[str, str] | Literal["auto"]
    spacing: dict[str, float] = field(default_factory=dict)
    cycles: tuple[str, ...] = ()
    wells: tuple[str, ...] = ()
    tiles: int = 0
    planes: int = 1
    count: int = 0
    vendor: str = ""
    only_in: dict[str, tuple[str, ...]] = field(default_factory=dict)
    axes: str | None = None
    exclude: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    others: tuple[Guess, ...] = ()

    @property
    def pixel_size(self) -> float | None:
        """Micrometres along y, where known."""
        return self.spacing.get("y")


def guess(folder: Path | str, pipeline: str) -> Guess:
    """Guess what the raw files in a folder are.

    Parameters
    ----------
    folder : looked through with all folders below it
    pipeline : `ops` or `organoid3d`: decides what a bare number or a `c` most likely means

    Raises
    ------
    InputError
        where the folder holds no image of a known kind
    """
    base = Path(folder)
    if not base.is_dir():
        raise InputError(f"{base} is no folder" if base.exists() else f"there is no folder {base}")
    names = sorted((n for n in walk(base, (None,)) if is_image(n)), key=natural)
    images = [name for name in names if not _excluded(name)]
    if not images:
        raise InputError(f"{base} holds no image: poolvox reads TIFF, OME-Zarr and ND2 files")
    groups, instrument = group_files(images, pipeline)
    told = READERS[instrument.key](base) if instrument and instrument.key in READERS else None
    exclude = EXCLUDED[:1] if any("_thumb" in name for name in names) else ()
    ordered = _main_first(groups, pipeline)
    guesses = [
        replace(_from_group(base, group, pipeline, told or Acquisition()), exclude=exclude)
        for group in ordered
    ]
    vendor = instrument.name if instrument else ""
    roles = ["stacks"] if pipeline == "organoid3d" else ["sbs", "phenotype"]
    images_only = [g for g in guesses if not is_derived(g.files)] or guesses[:1]
    named = [replace(g, role=role) for g, role in zip(images_only, roles, strict=False)]
    left = len(guesses) - len(named)
    more = (
        (f"{left} further kinds of files, e.g. {guesses[-1].files}, are left out",) if left else ()
    )
    first = named[0]
    return replace(first, vendor=vendor, notes=first.notes + more, others=tuple(named[1:]))


def _excluded(name: str) -> bool:
    last = name.rpartition("/")[2]
    return any(fnmatch(last, pattern) for pattern in EXCLUDED[:2]) or "/." in name


def _main_first(groups: Iterable[NameGroup], pipeline: str) -> list[NameGroup]:
    """Put the sequencing images, which alone have cycles, before all others."""
    cycles = pipeline == "ops"
    return sorted(
        groups,
        key=lambda g: (
            is_derived(g.pattern),
            not (cycles and "cycle" in g.fields),
            -len(g.names),
            g.pattern,
        ),
    )


def _from_group(base: Path, group: NameGroup, pipeline: str, told: Acquisition) -> Guess:
    pattern = Pattern(group.pattern)
    values = [v for n in group.names if (v := match_whole(pattern, n)) is not None]
    notes = [*group.notes, *told.notes]
    if _never_together(values):
        # Two names of channels that no place has both of: lines, or stages, in colours of theirs.
        text = pattern.text.replace("{channel}", "{_}")
        notes.append("no place has two of the channels in the names: they are ignored, check it")
        bare = replace(group, pattern=text, notes=tuple(notes))
        return _from_group(base, bare, pipeline, replace(told, notes=()))
    cycles = [v["cycle"] for v in values if "cycle" in v]
    sample = sample_files(base, group.names, cycles)
    notes += sample.notes
    header = sample.header
    spacing = dict(header.spacing) if header else {}
    if told.pixel_size:
        spacing.update(y=told.pixel_size, x=told.pixel_size)
    if told.z_step:
        spacing["z"] = told.z_step
    channels, axes = _channels(values, header, told, pipeline, notes)
    only_in = sample.only_in or _lacking(values, channels)
    if "y" not in spacing:
        notes.append("the pixel size is not in the files: give it in micrometres")
    distinct: dict[str, set[str]] = defaultdict(set)
    for each in values:
        for name, value in each.items():
            distinct[name].add(normalise(name, value))
    if pipeline == "ops" and len(distinct["plate"]) > 1:
        shown = ", ".join(sorted(distinct["plate"], key=natural)[:4])
        notes.append(f"plates {shown}: each is a run of its own, in a folder below output")
    places = {_place(each) for each in values}
    wells, tiles = _wells(values), len(places)
    if header is not None and len(header.scenes) > 1:
        tiles *= len(header.scenes)
        wells = wells or tuple(dict.fromkeys(s.place[0] for s in header.scenes if s.place[0]))
    return Guess(
        role="",
        files=group.pattern,
        channels=channels,
        only_in=only_in,
        axes=axes,
        spacing=spacing,
        cycles=tuple(sorted(distinct["cycle"], key=natural)),
        wells=wells,
        tiles=tiles,
        planes=len(distinct["z"]) or (header.scenes[0].sizes.get("z", 1) if header else 1),
        count=len(group.names),
        notes=tuple(dict.fromkeys(notes)),
    )


_PLACE = ("plate", "well", "row", "col", "tile", "organoid")


def _never_together(values: Sequence[Mapping[str, str]]) -> bool:
    channels: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for each in values:
        channels[_place(each)].add(each.get("channel", ""))
    several = len({name for names in channels.values() for name in names}) > 1
    return several and all(len(names) == 1 for names in channels.values())


def _place(values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(values.get(name, "") for name in _PLACE)


def _wells(values: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    wells = {
        well_name(v["row"], v["col"]) if "row" in v else well_name(v["well"])
        for v in values
        if "row" in v or "well" in v
    }
    return tuple(sorted(wells, key=natural))


def _channels(
    values: Sequence[Mapping[str, str]],
    header: Header | None,
    told: Acquisition,
    pipeline: str,
    notes: list[str],
) -> tuple[tuple[str, ...] | dict[str, str] | Literal["auto"], str | None]:
    """Name the channels, and the axes where the files need it."""
    there = sorted({v["channel"] for v in values if "channel" in v}, key=natural)
    if there:
        names = [_told(value, told.channels) for value in there]
        axes = _pages_axes(header, pipeline, notes)
        if len(set(names)) == len(names) and names != there:
            return dict(zip(names, there, strict=True)), axes
        if all(name.isdecimal() for name in there):
            notes.append(
                f"the channels have numbers only: name them in this order{_named(pipeline)}"
            )
        return tuple(there), axes
    if header is None:
        return "auto", None
    sizes = header.scenes[0].sizes
    count = sizes.get("c", 1)
    if header.channels and len(set(header.channels)) == count:
        return header.channels, None
    names = list(told.channels.values())
    if len(names) == count and len(set(names)) == count:
        return tuple(names), None
    return _unnamed(header, count, pipeline, notes)


def _pages_axes(header: Header | None, pipeline: str, notes: list[str]) -> str | None:
    """Say what the pages of a file of one channel are."""
    pages = header.scenes[0].sizes.get("i", 1) if header else 1
    if pages > 1 and pipeline == "organoid3d":
        notes.append(f"the {pages} pages of a file are taken for z planes: correct axes if not")
        return "zyx"
    if pages > 1:
        notes.append(f"it is unclear what the {pages} pages of a file are: give axes")
    return None


def _lacking(
    values: Sequence[Mapping[str, str]], channels: tuple[str, ...] | dict[str, str] | str
) -> dict[str, tuple[str, ...]]:
    """Channels that the names give to some cycles alone, by the names that they get."""
    if not all("cycle" in each and "channel" in each for each in values):
        return {}
    found = cycles_of_channels((each["cycle"], each["channel"]) for each in values)
    names = {v: n for n, v in channels.items()} if isinstance(channels, dict) else {}
    return {names.get(value, value): own for value, own in found.items()}


def _named(pipeline: str) -> str:
    return ", e.g. [DAPI, G, T, A, C], with auto for bases not known" if pipeline == "ops" else ""


def _told(value: str, names: Mapping[str, str]) -> str:
    """Look a channel up, `01` as well as `1`."""
    short = str(int(value)) if value.isdecimal() else value
    return names.get(value) or names.get(short) or value


def _unnamed(
    header: Header, count: int, pipeline: str, notes: list[str]
) -> tuple[tuple[str, ...] | Literal["auto"], str | None]:
    """Give channels without names placeholders, which the notes ask to replace."""
    sizes = header.scenes[0].sizes
    pages = sizes.get("i", 1)
    if sizes.get("s", 1) > 1:
        count = sizes["s"]
    elif pages > 1 and pipeline == "organoid3d":
        return ("channel1",), _pages_axes(header, pipeline, notes)
    elif 1 < pages <= MOST_CHANNELS:
        notes.append(f"the {pages} pages of a file are taken for channels: give axes if not")
        count = pages
    elif pages > 1:
        notes.append(f"it is unclear what the {pages} pages of a file are: give axes and channels")
        return "auto", None
    if count > 1:
        notes.append(
            "the files do not name their channels: replace channel1 ... in their order"
            + _named(pipeline)
        )
    return tuple(f"channel{number + 1}" for number in range(count)), None
