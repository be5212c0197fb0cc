"""The `multiscales` and `omero` blocks of an image: what they say, and how we write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from poolvox.shared.errors import StoreError
from poolvox.shared.store.axes import SPACE, Axis, letters, micrometres, parse_axes
from poolvox.shared.store.metadata import Document

__all__ = ["Level", "Multiscales", "describe_channels", "describe_multiscales", "read_multiscales"]

# Told apart by most colour-blind people when shown side by side; the first is for nuclei.
COLORS: Final = ("3F7FFF", "00E676", "FFB300", "FF4081", "FFFFFF", "00E5FF", "B388FF", "FF6E40")


@dataclass(frozen=True, slots=True)
class Level:
    """One array of the pyramid: its path, pixel size and place, in the units of the axes."""

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Multiscales:
    """What the metadata of an image say."""

    axes: tuple[Axis, ...]
    levels: tuple[Level, ...]
    channels: tuple[str, ...]

    @property
    def letters(self) -> str:
        """The axes as stored, one letter each."""
        return letters(self.axes)

    def spacing(self, level: int = 0) -> dict[str, float]:
        """Pixel size along every space axis that has one, in micrometres."""
        return self._lengths(self.levels[level].scale)

    def offset(self, level: int = 0) -> dict[str, float]:
        """Place of the first pixel along every space axis that has a size, in micrometres."""
        return self._lengths(self.levels[level].translation)

    def _counts_pixels(self) -> bool:
        """Whether the scale is 1 along all space axes, and none has a unit.

        Writers that are told no pixel size leave just that, and nothing measured by it is right.
        """
        space = [k for k, axis in enumerate(self.axes) if axis.kind == "space"]
        bare = all(self.axes[k].unit is None for k in space)
        return bare and all(self.levels[0].scale[k] == 1 for k in space)

    def _lengths(self, values: Sequence[float]) -> dict[str, float]:
        """Values of the space axes in micrometres; axes that count pixels are left out."""
        if self._counts_pixels():
            return {}
        lengths = {}
        for a, axis, value in zip(self.letters, self.axes, values):
            unit = micrometres(axis) if axis.kind == "space" else None
            if unit is not None:
                lengths[a] = value * unit
        return lengths

    def channel_names(self, count: int) -> list[str]:
        """Names of `count` channels; a store may name fewer than it has, or none."""
        return [*self.channels[:count], *map(str, range(len(self.channels), count))]

    def factors(
        self, shapes: Sequence[tuple[int, ...]], axes: str | None = None
    ) -> list[tuple[int, ...]]:
        """Whole factors from each level to the next, along `axes` (default: all).

        The shapes of `axes` decide where the metadata give all levels one scale.
        """
        kept = [self.letters.index(a) for a in axes or self.letters]
        found = []
        for low, high, small, large in zip(self.levels, self.levels[1:], shapes, shapes[1:]):
            ratios = [round(high.scale[i] / low.scale[i]) for i in kept]
            if max(ratios) <= 1:
                ratios = [round(a / b) for a, b in zip(small, large)]
            found.append(tuple(max(1, ratio) for ratio in ratios))
        return found


def read_multiscales(document: Document, group: Path) -> Multiscales:
    """Read the first `multiscales` block of an image group."""
    blocks = document.ome.get("multiscales")
    if not blocks:
        kind = "a plate: open_plate" if "plate" in document.ome else "no image"
        raise StoreError(f"{group} is {kind}; expected a group with `multiscales`")
    block = blocks[0]
    axes = parse_axes(block.get("axes"))
    datasets = block.get("datasets")
    if not datasets:
        raise StoreError(f"{group}: `multiscales` lists no datasets; write the image again")
    common = block.get("coordinateTransformations")
    levels = tuple(_read_level(entry, common, len(axes), group) for entry in datasets)
    return Multiscales(axes, levels, _read_channels(document.ome))


def _read_level(entry: Mapping[str, Any], common: Any, ndim: int, group: Path) -> Level:
    scale, translation = [1.0] * ndim, [0.0] * ndim
    # The dataset's own come first, then those of all levels; a scale also scales the place.
    for transform in [*entry.get("coordinateTransformations", []), *(common or [])]:
        values = transform.get(transform.get("type"))
        if transform.get("type") not in ("scale", "translation", "identity"):
            raise StoreError(f"{group}: transformation {transform!r}: expected scale, translation")
        if values is None:
            continue
        if len(values) != ndim:
            message = f"{group}: {transform['type']} of {len(values)} values for {ndim} axes"
            raise StoreError(message)
        if transform["type"] == "scale":
            scale = [a * float(b) for a, b in zip(scale, values)]
            translation = [a * float(b) for a, b in zip(translation, values)]
        else:
            translation = [a + float(b) for a, b in zip(translation, values)]
    return Level(str(entry["path"]), tuple(scale), tuple(translation))


def _read_channels(ome: Mapping[str, Any]) -> tuple[str, ...]:
    channels = (ome.get("omero") or {}).get("channels") or []
    return tuple(str(c.get("label", i)) for i, c in enumerate(channels))


def describe_multiscales(
    axes: Sequence[Axis],
    spacing: Mapping[str, float],
    factors: Sequence[tuple[int, ...]],
    *,
    document: Document,
    name: str,
    method: str,
) -> list[dict[str, Any]]:
    """The `multiscales` block of an image that we write.

    A pixel of a lower level lies in the middle of those it stands for, so every level has a
    translation besides its scale.
    """
    base = [spacing.get(axis.name, 1.0) if axis.name in SPACE else 1.0 for axis in axes]
    total = [1] * len(axes)
    datasets = []
    for level in range(len(factors) + 1):
        if level:
            total = [t * f for t, f in zip(total, factors[level - 1])]
        transforms: list[dict[str, Any]] = [
            {"type": "scale", "scale": [b * t for b, t in zip(base, total)]}
        ]
        if level:
            shift = [b * (t - 1) / 2 for b, t in zip(base, total)]
            transforms.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    version = {"version": "0.4"} if document.ngff == "0.4" else {}
    listed = [axis.document() for axis in axes]
    return [{**version, "name": name, "axes": listed, "datasets": datasets, "type": method}]


def describe_channels(
    names: Sequence[str], windows: Sequence[tuple[float, float]], span: tuple[float, float]
) -> dict[str, Any]:
    """The `omero` block: vizarr needs a complete window, and shows no labels without the block.

    Parameters
    ----------
    names : of the channels
    windows : darkest and brightest value to show, one pair per channel
    span : smallest and largest value possible
    """
    channels = []
    for index, (name, (start, end)) in enumerate(zip(names, windows)):
        window = {"min": span[0], "max": span[1], "start": start, "end": end}
        color = COLORS[index % len(COLORS)]
        channels.append({"label": name, "color": color, "active": True, "window": window})
    return {"channels": channels}
