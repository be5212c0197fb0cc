"""What the command writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Json",
    "Quiet",
    "complain",
    "count",
    "named",
    "say",
    "say_json",
    "show_path",
    "size",
    "table",
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only failures and the result.")]
Json = Annotated[bool, typer.Option("--json", help="Write the result as JSON.")]

# Longer ones are named by their number only.
_SHOWN = 10
_GAP = "  "


def say(text: str = "") -> None:
    """Write a result."""
    typer.echo(text)


def say_json(value: Any) -> None:
    """Write a result for machines."""
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def complain(text: str) -> None:
    """Write a message that is no result."""
    name = typer.style("poolvox:", fg="red", bold=True) if sys.stderr.isatty() else "poolvox:"
    typer.echo(f"{name} {text}", err=True)


def show_path(path: Path) -> str:
    """Write a path as seen from the current folder, if that is shorter."""
    try:
        near = os.path.relpath(path)
    except ValueError:  # another drive on Windows
        return os.fspath(path)
    return min(near, os.path.abspath(path), key=len)


def table(names: Sequence[str], rows: Iterable[Sequence[Any]], *, indent: str = "") -> str:
    """Align a small table; numbers stand to the right."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells)]
    right = [all(_is_number(row[place]) for row in cells) for place in range(len(names))]
    lines = [_line(row, widths, right) for row in [list(names), *cells]]
    return "\n".join(indent + line for line in lines)


def named(items: Sequence[tuple[str, str]], *, indent: str = "  ") -> str:
    """Write names and reasons, at most ten, and how many more there are."""
    width = max((len(name) for name, _ in items[:_SHOWN]), default=0)
    lines = [f"{indent}{name:{width}}  {reason}" for name, reason in items[:_SHOWN]]
    more = len(items) - _SHOWN
    return "\n".join([*lines, f"{indent}and {more:,} more"] if more > 0 else lines)


def count(number: int, noun: str) -> str:
    """Write a number with its noun.

    Examples
    --------
    >>> count(1, "tile"), count(1200, "tile")
    ('1 tile', '1,200 tiles')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(number: float) -> str:
    """Write a number of bytes.

    Examples
    --------
    >>> size(999), size(2_500_000), size(3e12)
    ('999 B', '2.5 MB', '3 TB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"


def _is_number(text: str) -> bool:
    return text == "" or text.replace(",", "").replace(".", "").replace("-", "").isdigit()


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = (f"{c:>{w}}" if r else f"{c:{w}}" for c, w, r in zip(row, widths, right))
    return _GAP.join(parts).rstrip()
