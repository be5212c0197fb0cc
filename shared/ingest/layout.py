"""The axes of a file: what its metadata says, what the configuration says, and what neither does.

Nothing is guessed from numbers that could mean two things: such a file is an error that asks for
`axes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.readers import Scene
from poolvox.shared.ingest.spec import AXES, RawSpec

__all__ = ["Expected", "Layout", "interpret"]

_MEANING = {"t": "cycles", "c": "channels", "z": "z planes"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Axes and shape of the array that the planes of a file make up, in the file's order.

    Attributes
    ----------
    pages_in_order : the planes are the file's pages as they come, not as its metadata sorts them
    """

    axes: str
    shape: tuple[int, ...]
    pages_in_order: bool = False

    @property
    def sizes(self) -> dict[str, int]:
        """Length of t, c, z, y and x; 1 for an axis that the file does not have."""
        own = dict(zip(self.axes, self.shape, strict=True))
        return {axis: own.get(axis, 1) for axis in AXES}


@dataclass(frozen=True, slots=True)
class Expected:
    """What names and configuration say of every file.

    Attributes
    ----------
    named : axes whose place a file's name gives: each file has length 1 there
    known : lengths of axes that the configuration gives
    axes : order that the configuration gives
    deep : the configuration gives a voxel size, so files hold z
    """

    named: frozenset[str]
    known: Mapping[str, int]
    axes: str | None
    deep: bool

    @classmethod
    def of(cls, spec: RawSpec, cycle: str = "") -> Expected:
        """Gather it from a specification, for the files of a cycle."""
        fields = spec.patterns[0].fields
        inside = {"cycle": "t", "channel": "c", "z": "z"}
        named = frozenset(axis for field, axis in inside.items() if field in fields)
        known: dict[str, int] = {}
        channels = spec.channels_of(cycle)
        if "c" not in named and isinstance(channels, tuple) and channels != ("auto",):
            known["c"] = len(channels)
        if "t" not in named and spec.cycles is not None:
            known["t"] = len(spec.cycles)
        return cls(named, known, spec.axes, spec.voxel_size is not None)


def interpret(scene: Scene, expected: Expected) -> Layout:
    """Name the axes of a scene, or raise `InputError` saying what is unclear and what to add."""
    if expected.axes is not None:
        layout = _as_given(scene, expected)
    elif "s" in scene.axes:
        layout = _with_samples(scene)
    elif "i" in scene.axes:
        layout = _resolved(scene, expected)
    else:
        layout = Layout(scene.axes, scene.shape)
    _check_named(layout, expected)
    return layout


def _as_given(scene: Scene, expected: Expected) -> Layout:
    axes = expected.axes or ""
    lead = tuple(n for axis, n in zip(scene.axes, scene.shape) if axis in "itcz" and n > 1)
    plane = tuple(n for axis, n in zip(scene.axes, scene.shape) if axis in "yxs")
    if axes.endswith("yx") and len(plane) == 2:
        return Layout(axes, (*_split(math.prod(lead), scene, expected), *plane), True)
    if len(lead) + len(plane) == len(axes):
        return Layout(axes, lead + plane, True)
    raise InputError(
        f"the file has {len(lead) + len(plane)} axes of lengths {lead + plane}, but axes is "
        f"{axes!r}: name each of them once"
    )


def _split(count: int, scene: Scene, expected: Expected) -> tuple[int, ...]:
    """Divide `count` pages among the leading axes of the given order."""
    lead = (expected.axes or "")[:-2]
    sizes = {axis: expected.known[axis] for axis in lead if axis in expected.known}
    sizes.update({axis: 1 for axis in lead if axis in expected.named})
    unknown = [axis for axis in lead if axis not in sizes]
    if len(unknown) == 1:
        sizes[unknown[0]], rest = divmod(count, math.prod(sizes.values()))
        if rest == 0:
            return tuple(sizes[axis] for axis in lead)
    elif len(unknown) > 1:
        sizes.update({axis: scene.sizes.get(axis, 1) for axis in unknown})
    if math.prod(sizes.values()) == count:
        return tuple(sizes[axis] for axis in lead)
    told = ", ".join(f"{n} {_MEANING[axis]}" for axis, n in sizes.items()) or "no other axis"
    raise InputError(
        f"the file has {count} planes, which do not divide as axes {expected.axes!r} with {told}: "
        "correct axes, channels or cycles"
    )


def _with_samples(scene: Scene) -> Layout:
    """Take the samples of a pixel for channels, unless they are colours of a picture."""
    if scene.colour:
        raise InputError(
            "the file is an RGB picture, whose colours are no fluorescence channels: export the "
            "channels as grey images, or give axes (such as yxc) if they really are channels"
        )
    sizes = scene.sizes
    if sizes.get("c", 1) > 1 or sizes.get("i", 1) > 1:
        raise InputError("the file has several samples per pixel and several pages: give axes")
    kept = [(a, n) for a, n in zip(scene.axes, scene.shape) if a not in "ci"]
    axes = "".join("c" if axis == "s" else axis for axis, _ in kept)
    return Layout(axes, tuple(n for _, n in kept))


def _resolved(scene: Scene, expected: Expected) -> Layout:
    """Find what the pages of a file without metadata are, where only one answer is possible."""
    lead = [n for axis, n in zip(scene.axes, scene.shape) if axis == "i"]
    plane = scene.shape[len(lead) :]
    labels: list[str | None] = [None] * len(lead)
    free = [axis for axis in AXES[:3] if axis not in expected.named]
    for axis in [axis for axis in free if expected.known.get(axis, 1) > 1]:
        places = [k for k, n in enumerate(lead) if n == expected.known[axis]]
        if len(places) != 1 or labels[places[0]] is not None:
            raise InputError(_unclear(lead, expected, free))
        labels[places[0]] = axis
    open_axes = [axis for axis in free if axis not in expected.known]
    if expected.deep and "z" in open_axes:
        open_axes = ["z"]
    left = [k for k, label in enumerate(labels) if label is None]
    if len(left) > 1 or (left and len(open_axes) != 1):
        raise InputError(_unclear(lead, expected, free))
    for place in left:
        labels[place] = open_axes[0]
    return Layout("".join(label or "" for label in labels) + "yx", (*lead, *plane))


def _unclear(lead: list[int], expected: Expected, free: list[str]) -> str:
    count = " x ".join(str(n) for n in lead)
    told = " and ".join(f"{n} {_MEANING[axis]}" for axis, n in expected.known.items())
    could = ", ".join(_MEANING[axis] for axis in free) or "nothing: the name gives all of them"
    example = "".join(axis for axis in "tzc" if axis in free)[-max(len(lead), 1) :] + "yx"
    fewer = math.prod(lead) < expected.known.get("c", 0) and "t" in expected.named
    return (
        f"the file has {count} pages without metadata"
        + (f", the configuration {told}" if told else "")
        + f"; they could be {could}: say which with axes, e.g. axes: {example}, and channels"
        + ("; or say with only_in which cycles lack a channel" if fewer else "")
    )


def _check_named(layout: Layout, expected: Expected) -> None:
    sizes = layout.sizes
    for axis in sorted(expected.named):
        if sizes[axis] > 1:
            raise InputError(
                f"the file holds {sizes[axis]} {_MEANING[axis]}, but its name gives one as well: "
                "leave that field out of the pattern, or give axes"
            )
    wanted = expected.known.get("c")
    if wanted is not None and sizes["c"] != wanted:
        others = [axis for axis in "zt" if sizes[axis] == wanted and sizes["c"] == 1]
        hint = (
            f"if its {_MEANING[others[0]]} are the channels, give axes: cyx"
            if others
            else "correct channels, give axes, or say with only_in which cycles lack a channel"
        )
        raise InputError(f"the file holds {sizes['c']} channels, channels names {wanted}: {hint}")
