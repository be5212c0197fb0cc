"""Plates drawn as they stand on the bench: one number per well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.report.section import Figure
from poolvox.shared.report.style import SEQUENTIAL, drawing, to_picture, with_unit

__all__ = ["show_plate"]

_WELL = re.compile(r"([A-Za-z]{1,2})0*(\d{1,3})")
# Plates that are sold: rows, columns.
_PLATES = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))


def show_plate(
    values: Mapping[str, float],
    caption: str,
    *,
    label: str,
    unit: str = "",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Show one number per well on the smallest plate that has all the wells.

    Parameters
    ----------
    values : names of wells such as A1 or A01, and their values; NaN stays empty
    limits : values of the ends of the colour scale; the least and largest value if not given
    """
    places = {well: _row_and_column(well) for well in values}
    rows, columns = _plate_of(list(places.values()))
    grid = np.full((rows, columns), np.nan)
    for well, place in places.items():
        grid[place] = values[well]
    height = 0.6 + 4.9 * rows / columns
    with drawing(height=min(height, 6.0)) as (fig, axes):
        ax = axes[0, 0]
        ax.set_facecolor("#f3f3f3")  # wells without a value
        low, high = limits or (None, None)
        picture = ax.imshow(np.ma.masked_invalid(grid), cmap=SEQUENTIAL, vmin=low, vmax=high)
        ax.set_xticks(range(columns), [str(n + 1) for n in range(columns)])
        ax.set_yticks(range(rows), [_row_name(n) for n in range(rows)])
        ax.tick_params(length=0, labelsize=8 if columns <= 12 else 6, top=True, labeltop=True)
        ax.tick_params(bottom=False, labelbottom=False)
        ax.grid(visible=False)
        ax.set_xticks(np.arange(0.5, columns - 1), minor=True)
        ax.set_yticks(np.arange(0.5, rows - 1), minor=True)
        ax.grid(which="minor", color="white", linewidth=1.5)
        ax.tick_params(which="minor", length=0, top=False)
        ax.spines[:].set_visible(False)
        scale = fig.colorbar(picture, ax=ax, label=with_unit(label, unit), shrink=0.9, aspect=15)
        scale.outline.set_visible(False)
        if columns <= 12:
            _write_numbers(ax, grid, limits)
        return to_picture(fig, caption)


def _row_and_column(well: str) -> tuple[int, int]:
    found = _WELL.fullmatch(well)
    if not found:
        raise ValueError(f"{well!r} is not the name of a well such as A1 or B12")
    row = 0
    for letter in found[1].upper():
        row = row * 26 + ord(letter) - ord("A") + 1
    return row - 1, int(found[2]) - 1


def _row_name(row: int) -> str:
    return (chr(ord("A") + row // 26 - 1) if row >= 26 else "") + chr(ord("A") + row % 26)


def _plate_of(places: list[tuple[int, int]]) -> tuple[int, int]:
    rows = max((row for row, _ in places), default=0) + 1
    columns = max((column for _, column in places), default=0) + 1
    fitting = (plate for plate in _PLATES if plate[0] >= rows and plate[1] >= columns)
    return next(fitting, (rows, columns))


def _write_numbers(ax: Any, grid: NDArray[np.float64], limits: tuple[float, float] | None) -> None:
    finite = np.array(limits) if limits else grid[np.isfinite(grid)]
    middle = (finite.min() + finite.max()) / 2 if finite.size else 0.0
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            color = "black" if value > middle else "white"
            ax.text(column, row, f"{value:.3g}", ha="center", va="center", color=color, fontsize=7)
