"""The axes of an image: their order, kinds and physical size, always in micrometres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from poolvox.shared.errors import StoreError

__all__ = [
    "KINDS",
    "PIXELS",
    "SPACE",
    "Axis",
    "check_axes",
    "letters",
    "micrometres",
    "parse_axes",
]

# The kinds that NGFF names, by the letter we use; the order is the one that NGFF demands.
KINDS: Final = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
SPACE: Final = "zyx"

# Micrometres in one unit; the long names are those of NGFF (UDUNITS), the short ones occur.
MICROMETRES: Final = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "nm": 1e-3,
    "micrometer": 1.0,
    "micron": 1.0,
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "millimeter": 1e3,
    "mm": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}

# Units that say how many, not how long.
PIXELS: Final = ("pixel", "pixels")

# What NGFF 0.1 and 0.2 imply: they have no `axes`.
IMPLIED_AXES: Final = ("t", "c", "z", "y", "x")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis as it stands in the metadata."""

    name: str
    kind: str | None
    unit: str | None = None

    def document(self) -> dict[str, str]:
        """The NGFF form."""
        pairs = {"name": self.name, "type": self.kind, "unit": self.unit}
        return {key: value for key, value in pairs.items() if value is not None}


def check_axes(axes: str, ndim: int) -> tuple[Axis, ...]:
    """Turn axis letters such as `tcyx` into NGFF axes, or say what is wrong with them.

    Examples
    --------
    >>> [axis.kind for axis in check_axes("cyx", 3)]
    ['channel', 'space', 'space']
    """
    order = [*KINDS]
    if len(axes) != ndim:
        raise StoreError(f"axes {axes!r} name {len(axes)} dimensions, the array has {ndim}")
    if set(axes) - set(order) or list(axes) != sorted(set(axes), key=order.index):
        raise StoreError(f"axes {axes!r}: expected letters of 'tczyx', each once, in that order")
    if not axes.endswith("yx"):
        raise StoreError(f"axes {axes!r}: an image needs y and x")
    return tuple(Axis(a, KINDS[a], "micrometer" if a in SPACE else None) for a in axes)


def parse_axes(entries: Sequence[Any] | None) -> tuple[Axis, ...]:
    """Read the `axes` of a multiscales block; strings (NGFF 0.3) and none (0.1) are allowed."""
    axes = []
    for entry in entries if entries is not None else IMPLIED_AXES:
        if isinstance(entry, str):
            entry = {"name": entry, "type": KINDS.get(entry.lower())}
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise StoreError(f"an axis is {entry!r}: expected a name, as in {{'name': 'y'}}")
        kind = entry.get("type", KINDS.get(entry["name"].lower()))
        unit = entry.get("unit")
        if not all(value is None or isinstance(value, str) for value in (kind, unit)):
            raise StoreError(f"axis {entry['name']!r} is {entry!r}: expected texts")
        axes.append(Axis(entry["name"], kind, unit))
    return tuple(axes)


def letters(axes: Sequence[Axis]) -> str:
    """One letter for each axis, whatever the writer called it.

    Time and channel axes become t and c, axes that already are one letter keep it.
    """
    found: list[str] = []
    for axis in axes:
        own = {"time": "t", "channel": "c"}.get(axis.kind or "", axis.name[:1].lower())
        spare = [a for a in (own, *axis.name.lower(), *"abdefgh") if a not in found]
        found.append(spare[0])
    return "".join(found)


def micrometres(axis: Axis) -> float | None:
    """Micrometres in one unit of a space axis; None where it counts pixels.

    An axis without a unit is taken as micrometres.
    """
    if axis.unit in PIXELS:
        return None
    if axis.unit is None:
        return 1.0
    try:
        return MICROMETRES[axis.unit.lower().replace("metre", "meter")]
    except KeyError:
        known = ", ".join(sorted(MICROMETRES))
        message = f"axis {axis.name!r} has the unit {axis.unit!r}: expected one of {known}"
        raise StoreError(message) from None
