"""The page: sections and the facts of the run, put into one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import math
import os
import re
import struct
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from poolvox import __version__
from poolvox.shared.report.overview import Overview
from poolvox.shared.report.section import Figure, Section, Table

__all__ = ["write_report"]

# Rows of a table that the page shows; a reader who needs more needs the table.
MAX_ROWS = 30

# Letters of a text that is not broken into lines, such as the name of a unit.
SHORT_TEXT = 28
# Numbers from the first to the second are written out, with commas.
WRITTEN_OUT, LARGEST = 1e4, 1e15

# Pixels of a picture per pixel of the page, so that it is sharp on fine screens and in print.
_PIXEL_RATIO = 1.5
_PNG = b"\x89PNG\r\n\x1a\n"


def write_report(
    path: Path, *, title: str, sections: Sequence[Section], overview: Overview | None = None
) -> Path:
    """Write a report as one HTML file without scripts and without outside references.

    Parameters
    ----------
    path : file to write; it is there as a whole or not at all
    sections : chapters, in the order in which they shall be read
    overview : the facts of the run, which come first

    Returns
    -------
    path, for those who print it
    """
    page = (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            sections=[(_anchor(n, s.title), s) for n, s in enumerate(sections, 1)],
            overview=overview,
            headline=[fact for section in sections for fact in section.headline],
            version=__version__,
        )
    )
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(page, encoding="utf-8", newline="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _environment() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    package = files("poolvox.shared.report")

    def load(name: str) -> str:
        return package.joinpath(name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(load),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"paragraphs": _paragraphs, "rows": _rows, "picture": _picture}
    environment.filters |= {"plain": lambda frame, caption: Table(frame, caption)}
    return environment


def _anchor(number: int, title: str) -> str:
    """Name a chapter for links; the number keeps equal titles apart."""
    words = re.findall(r"[a-z0-9]+", title.lower())
    return "-".join([f"s{number}", *words[:6]])


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _rows(table: Table) -> dict[str, Any]:
    """Shorten a table and write its cells as text."""
    frame = table.frame
    named = frame.index.name is not None or not isinstance(frame.index, pd.RangeIndex)
    shown = (frame.reset_index() if named else frame).head(MAX_ROWS)
    columns = [shown.iloc[:, place] for place in range(shown.shape[1])]
    cells = [[_cell(value) for value in column] for column in columns]
    return {
        "names": [str(name) for name in shown.columns],
        "kinds": [_kind(column, texts) for column, texts in zip(columns, cells)],
        "rows": list(zip(*cells)),
        "left": len(frame) - len(shown),
        "total": len(frame),
    }


def _kind(column: pd.Series[Any], texts: Sequence[str]) -> str:
    """Tell how a column is set: numbers to the right, and short texts in one line."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return "number"
    return "short" if max(map(len, texts), default=0) <= SHORT_TEXT else ""


def _cell(value: Any) -> str:
    """Write one value: four digits are enough to read, and what is missing is a dash.

    Large numbers are written out: `61,504`, not `6.15e+04`.
    """
    if isinstance(value, (list, tuple, set, dict)):
        return str(value)
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return "–"
    value = value.item() if hasattr(value, "dtype") else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        return f"{value:,.0f}" if WRITTEN_OUT <= abs(value) < LARGEST else f"{value:.4g}"
    return str(value)


def _picture(figure: Figure) -> dict[str, Any]:
    """Encode a PNG, with its size so that the page does not jump while it loads."""
    if not figure.png.startswith(_PNG):
        raise ValueError(f"a figure must be PNG bytes, got {figure.png[:8]!r}: use to_picture")
    width, height = struct.unpack(">II", figure.png[16:24])
    return {
        "source": "data:image/png;base64," + base64.b64encode(figure.png).decode("ascii"),
        "width": round(width / _PIXEL_RATIO),
        "height": round(height / _PIXEL_RATIO),
    }
