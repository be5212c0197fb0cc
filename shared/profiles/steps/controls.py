"""Which rows are controls: by the name of their gene, or by a query on keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.tables.annotation import METADATA, written
from poolvox.shared.profiles.tables.columns import match
from poolvox.shared.profiles.tables.record import Record
from poolvox.shared.sorting import natural

__all__ = ["Controls", "suggest"]

# One of these is in every query.
OPERATORS: Final = ("=", "<", ">", "(", "`")
# Names that a message lists.
LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Controls:
    """How controls are told from other rows, of objects and of profiles alike.

    Attributes
    ----------
    column : of genes or treatments; they may be numbers in it
    names : of those that are controls
    query : on keys, instead of names
    """

    column: str
    names: tuple[str, ...]
    query: str | None = None

    @classmethod
    def find(cls, keys: pd.DataFrame, config: ProfilesConfig, record: Record) -> Controls:
        """Tell whether names or a query are given: `DMSO (0.1 %)` is a name where some row has it.

        Names that no row has are noted, if another is there.
        """
        column, names = config.gene, config.controls
        held = _names(keys, column)
        if any(name in held for name in names):
            for name in names:
                if name not in held:
                    record.note("controls", "skipped", name, f"no object has it in {column}")
        elif len(names) == 1 and any(sign in names[0] for sign in OPERATORS):
            return cls(column, (), names[0])
        return cls(column, names)

    def rows(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Rows that are controls, (N,); none where the column is not there."""
        if self.query is not None:
            return match(frame, self.query)
        if self.column not in frame.columns:
            return np.zeros(len(frame), bool)
        codes, values = pd.factorize(frame[self.column])
        # Missing has code -1, which is the last.
        return np.array([*(written(value) in self.names for value in values), False])[codes]

    def demand(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """The same; an error where there are none, with what may have been meant."""
        found = self.rows(frame)
        if not found.any():
            held = sorted(_names(frame, self.column), key=natural)
            asked = self.query or ", ".join(self.names) or "none"
            raise InputError(
                f"`controls` ({asked}) match no object by {self.column}; "
                f"{suggest(self.names, held)}"
            )
        return found


def suggest(asked: Sequence[str], there: Sequence[str]) -> str:
    """Suggest what was meant, or list what there is; every column begins alike."""
    bare = {name.removeprefix(METADATA).lower(): name for name in there}
    for name in asked:
        near = get_close_matches(name.removeprefix(METADATA).lower(), list(bare), 1)
        if near:
            return f"did you mean {bare[near[0]]}?"
    if not there:
        return "there is none"
    more = ", …" if len(there) > LISTED else ""
    return f"there are {', '.join(there[:LISTED])}{more}"


def _names(frame: pd.DataFrame, column: str) -> set[str]:
    """What a column holds, as it is written."""
    if column not in frame.columns:
        return set()
    different: list[Any] = pd.factorize(frame[column])[1].tolist()
    return {text for value in different if (text := written(value)) is not None}
