"""Curves of a training: a table that grows with it, and a picture."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from pathlib import Path

import pandas as pd

__all__ = ["CurvePoint", "Curves"]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Mean losses of the steps up to `step` since the last point.

    Attributes
    ----------
    loss, probability, distance : of the patches trained on; distances in voxels
    held_out : loss of the averaged weights on stacks kept apart; NaN without any
    rate : learning rate
    """

    step: int
    loss: float
    probability: float
    distance: float
    held_out: float
    rate: float


class Curves:
    """The points of a training so far, in a CSV file."""

    def __init__(self, path: Path, *, last: int) -> None:
        """Go on with a file; points after step `last` are dropped, they will be made again."""
        self._path = path
        names = [field.name for field in fields(CurvePoint)]
        table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=names)
        self._rows = [tuple(row) for row in table[table["step"] <= last].to_numpy()]
        self._names = names
        self._write()

    @property
    def table(self) -> pd.DataFrame:
        """One row per point."""
        return pd.DataFrame(self._rows, columns=self._names).astype({"step": int})

    def add(self, point: CurvePoint) -> None:
        """Add a point and write the file."""
        self._rows.append(astuple(point))
        self._write()

    def draw(self, path: Path) -> None:
        """Write the picture: losses over steps, and the learning rate below."""
        # Imported here: training itself needs no matplotlib.
        from matplotlib.figure import Figure

        table = self.table
        figure = Figure(figsize=(7, 5), layout="constrained")
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        upper.plot(table["step"], table["loss"], label="trained on", lw=1)
        if table["held_out"].notna().any():
            upper.plot(table["step"], table["held_out"], label="held out, averaged weights", lw=1.5)
        upper.set_ylabel("loss")
        upper.legend(frameon=False)
        lower.plot(table["step"], table["rate"], color="0.4", lw=1)
        lower.set_ylabel("learning rate")
        lower.set_xlabel("step")
        for axes in (upper, lower):
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, dpi=110)

    def _write(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        self.table.to_csv(fresh, index=False)
        fresh.replace(self._path)
