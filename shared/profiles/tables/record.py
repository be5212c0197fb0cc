"""What each step dropped or changed, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

__all__ = ["Record"]

_COLUMNS = ("step", "what", "name", "reason", "value")


@dataclass
class Record:
    """Notes of the steps, in the order in which they were made.

    Examples
    --------
    >>> record = Record()
    >>> record.note("select", "dropped", "Cells_Area", "variance at most 1e-06", 0.0)
    >>> record.frame["name"].tolist()
    ['Cells_Area']
    """

    rows: list[tuple[str, str, str, str, float]] = field(default_factory=list)

    def note(
        self, step: str, what: str, name: str, reason: str, value: float = float("nan")
    ) -> None:
        """Add one note.

        Parameters
        ----------
        step : such as `normalize`
        what : what was done: `dropped`, `changed`, `flagged`, `added`, `skipped`
        name : the column, group or table it was done to
        value : the number that decided, where there is one
        """
        self.rows.append((step, what, name, reason, float(value)))

    def note_all(
        self,
        step: str,
        what: str,
        names: Sequence[str],
        reason: str,
        values: Iterable[float] | None = None,
    ) -> None:
        """Add a note for each name."""
        given = [np.nan] * len(names) if values is None else list(values)
        for name, value in zip(names, given, strict=True):
            self.note(step, what, name, reason, value)

    @property
    def frame(self) -> pd.DataFrame:
        """The notes as a table: step, what, name, reason, value."""
        columns = dict(zip(_COLUMNS, zip(*self.rows))) if self.rows else {}
        texts = {name: pd.Series(list(columns.get(name, ())), dtype=object) for name in _COLUMNS}
        return pd.DataFrame(texts).astype({"value": float})
