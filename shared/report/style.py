"""How figures look: one palette, one set of sizes, and the way from a drawing to a PNG."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.report.section import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

__all__ = ["PALETTE", "SEQUENTIAL", "drawing", "to_picture", "with_unit"]

# Okabe and Ito's colours, told apart with every kind of colour vision; yellow, which white paper
# swallows, comes last. https://jfly.uni-koeln.de/color/
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
SEQUENTIAL = "viridis"

_DPI = 150
_POINTS = 9.0
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.labelsize": _POINTS,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": _POINTS,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.dpi": _DPI,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": _POINTS,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",
    "legend.fontsize": _POINTS - 1,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.0,
    "savefig.dpi": _DPI,
    "xtick.labelsize": _POINTS - 1,
    "ytick.labelsize": _POINTS - 1,
}


@contextmanager
def drawing(
    *, width: float = 6.0, height: float = 3.4, rows: int = 1, columns: int = 1
) -> Iterator[tuple[Drawing, NDArray[Any]]]:
    """Open a figure in our style; `pyplot` and its global state take no part.

    Parameters
    ----------
    width, height : inches
    rows, columns : axes on it

    Yields
    ------
    the matplotlib figure and its axes, a (rows, columns) array. Hand the figure to `to_picture`
    inside the block: legends take their style when they are made.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing
    from matplotlib.rcsetup import cycler

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name in letters that the font lacks is drawn as boxes; the tables have it right.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_STYLE, "axes.prop_cycle": cycler(color=PALETTE)})
        figure = Drawing(figsize=(width, height))
        FigureCanvasAgg(figure)
        yield figure, np.asarray(figure.subplots(rows, columns, squeeze=False))


def to_picture(figure: Drawing, caption: str) -> Figure:
    """Render a drawing; the same drawing gives the same bytes."""
    buffer = BytesIO()
    # matplotlib would write its version into the file.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return Figure(buffer.getvalue(), caption)


def with_unit(label: str, unit: str) -> str:
    """A label of an axis, with its unit where there is one."""
    return f"{label} ({unit})" if unit else label
