"""The `raw:` block of a configuration, written out from a guess."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from poolvox.shared.ingest.guessing import Guess
from poolvox.shared.ingest.plates import PLATE

__all__ = ["raw_block", "run_lines"]


def raw_block(guess: Guess) -> str:
    """Write the `raw:` lines of a configuration in YAML, with what is unclear as comments."""
    lines = ["raw:"]
    for each in (guess, *guess.others):
        lines.append(f"  {each.role}:" + (f"  # {each.vendor}" if each.vendor else ""))
        lines += [f"    # {' '.join(note.split())}" for note in each.notes]
        lines.append(f"    files: {json.dumps(each.files, ensure_ascii=False)}  # {_counts(each)}")
        lines.append(f"    channels: {_flow(each.channels)}")
        if each.only_in:
            lines.append(f"    only_in: {_cycles(each.only_in)}  # other cycles lack the channel")
        lines.append(_spacing_line(each))
        if each.axes:
            lines.append(f"    axes: {each.axes}")
        if each.exclude:
            lines.append(f"    exclude: {_flow(each.exclude)}")
    return "\n".join(lines) + "\n"


def run_lines(output: str, guess: Guess) -> list[str]:
    """Lines for the folder of the run, and its plate; several plates have a folder each."""
    if PLATE in guess.files:
        return [f"output: {json.dumps(output + '/' + PLATE)}   # each plate is a run of its own"]
    return [f"output: {json.dumps(output)}", "plate: P1"]


def _counts(guess: Guess) -> str:
    numbers = {"file": guess.count, "well": len(guess.wells), "tile": guess.tiles}
    parts = [f"{n} {name}{'s' * (n != 1)}" for name, n in numbers.items() if n]
    parts += [f"cycles {', '.join(guess.cycles)}"] if guess.cycles else []
    parts += [f"{guess.planes} planes"] if guess.planes > 1 else []
    return ", ".join(parts)


def _spacing_line(guess: Guess) -> str:
    y, x, z = (guess.spacing.get(axis) for axis in "yxz")
    if guess.role == "stacks":
        if y is None or x is None or z is None:
            shown = ", ".join("?" if size is None else f"{size:g}" for size in (z, y, x))
            return f"    # voxel_size: [{shown}]  # micrometres: z, y, x; fill in"
        return f"    voxel_size: [{z:g}, {y:g}, {x:g}]  # micrometres: z, y, x"
    if y is None or x is None:
        return "    # pixel_size: ?  # micrometres; fill in"
    value = f"{y:g}" if y == x else f"[{y:g}, {x:g}]"
    return f"    pixel_size: {value}  # micrometres"


def _cycles(only_in: Mapping[str, Sequence[str]]) -> str:
    """Channels with their cycles; cycles with a number are written as one."""
    parts = []
    for channel, cycles in only_in.items():
        listed = ", ".join(c if c.isdecimal() else _scalar(c) for c in cycles)
        parts.append(f"{_scalar(channel)}: [{listed}]")
    return "{" + ", ".join(parts) + "}"


def _flow(value: Sequence[str] | Mapping[str, str] | str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(k)}: {_scalar(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(_scalar(item) for item in value) + "]"


def _scalar(text: str) -> str:
    plain = text.replace("_", "").replace("-", "").isalnum() and text[0].isalpha()
    reserved = text.lower() in {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
    return text if plain and not reserved else json.dumps(text, ensure_ascii=False)
