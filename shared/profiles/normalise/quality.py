"""Quality of objects and fields: flags with reasons, and counts; nothing is dropped here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.normalise.rules import Measured, Rule, read_rules
from poolvox.shared.profiles.normalise.selection import spread_rows
from poolvox.shared.profiles.tables.columns import (
    FIELD,
    Matrix,
    feature_columns,
    feature_matrix,
    flagged_rows,
    match,
)
from poolvox.shared.profiles.tables.groups import group_rows, names_of
from poolvox.shared.profiles.tables.record import Record

__all__ = [
    "Isolation",
    "TooFewPass",
    "add_flags",
    "count_objects",
    "describe_flags",
    "flag_quality",
]

STEP: Final = "quality"
REASON: Final = "QC_Reason"
OUTLIER: Final = "QC_Outlier"
# Rows from which the forest is grown; each tree sees 256 of them.
FOREST_ROWS: Final = 100_000
TREES: Final = 100


class TooFewPass(InputError):
    """Quality control leaves too few objects to make profiles of.

    Attributes
    ----------
    facts : how many objects there are, and how many are flagged
    """

    def __init__(self, message: str, facts: dict[str, Any]) -> None:
        """Say why, and keep the numbers."""
        super().__init__(message)
        self.facts = facts


def flag_quality(
    frame: pd.DataFrame,
    *,
    rules: Sequence[str] | dict[str, Rule] = ("objects", "fields"),
    by: str | Sequence[str] = "Metadata_Plate",
    isolation: float = 0.0,
    rng: np.random.Generator | None = None,
    record: Record | None = None,
) -> pd.DataFrame:
    """Flag objects and fields whose measurements are far off.

    Parameters
    ----------
    frame : objects with measurements as they were taken, before normalisation
    rules : sets that ship with the package (`objects`, `fields`, `clipped`, `cellprofiler`), YAML
        files, or rules by name
    by : groups in which a value is far off; columns that the table lacks are left out
    isolation : share of the objects that an isolation forest over all measurements flags
        (doi:10.1109/ICDM.2008.17); 0 for none
    rng : grows the forest
    record : takes how many each rule flags, and which were left out

    Returns
    -------
    all rows, with a boolean `QC_…` column per rule and `QC_Reason`, the names of the flags that
    are set; flags and reasons that were there stay
    """
    given = rules if isinstance(rules, dict) else read_rules(list(rules))
    groups = tuple(name for name in names_of(by) if name in frame.columns)
    field = tuple(name for name in FIELD if name in frame.columns)
    found = judge(Measured(frame, groups, field), given, record)
    if isolation:
        if rng is None:
            raise InputError("the isolation forest needs a random generator: give rng")
        values = feature_matrix(frame, feature_columns(frame))
        forest = Isolation.grow(values, isolation, rng)
        found[OUTLIER] = forest.flag(values)
        note_flags(record, OUTLIER, f"isolation forest, {isolation:.2%}", found[OUTLIER])
    return add_flags(frame, found)


def judge(
    measured: Measured, rules: dict[str, Rule], record: Record | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Apply rules; the result holds one flag per rule that can be judged."""
    found: dict[str, NDArray[np.bool_]] = {}
    for name, rule in rules.items():
        flagged = measured.holds(rule)
        if flagged is not None:
            found[f"QC_{name}"] = flagged
            note_flags(record, f"QC_{name}", rule.reason, flagged)
        elif record is not None:
            record.note(STEP, "skipped", f"QC_{name}", "the table lacks what the rule looks at")
    return found


def add_flags(frame: pd.DataFrame, flags: dict[str, NDArray[np.bool_]]) -> pd.DataFrame:
    """Add flags, and their names to `QC_Reason`; a flag that is there already is replaced."""
    result = frame.copy(deep=False)
    had = REASON in frame.columns
    reason = (
        frame[REASON].astype(object).fillna("").to_numpy(object, copy=True)
        if had
        else np.full(len(frame), "", object)
    )
    for name, rows in flags.items():
        result[name] = rows
        word = name.removeprefix("QC_")
        for place in np.flatnonzero(rows):
            before = reason[place]
            if word not in before.split("; "):
                reason[place] = f"{before}; {word}" if before else word
    result[REASON] = reason
    return result


def count_objects(
    frame: pd.DataFrame,
    *,
    by: str | Sequence[str],
    controls: Any = None,
) -> pd.DataFrame:
    """Count objects, those that pass, and controls among them, per well or guide.

    Parameters
    ----------
    by : columns of the groups
    controls : rows that are controls, a query or a mask; None for not counting them

    Returns
    -------
    keys, `Metadata_Objects`, `Metadata_Passed` (no flag set) and `Metadata_Controls` (of these)
    """
    groups = group_rows(frame, by)
    passed = ~flagged_rows(frame)
    counts = groups.keys.copy()
    counts["Metadata_Objects"] = groups.sizes
    counts["Metadata_Passed"] = groups.only(passed).sizes
    if controls is not None:
        counts["Metadata_Controls"] = groups.only(passed & match(frame, controls)).sizes
    return counts


def describe_flags(frame: pd.DataFrame) -> str:
    """Say how many objects are flagged, and how often by what, the most frequent first.

    Examples
    --------
    >>> describe_flags(pd.DataFrame({"QC_Border": [True, True], "QC_Debris": [False, True]}))
    'quality control flags all 2 objects (QC_Border 2, QC_Debris 1)'
    """
    flagged = int(flagged_rows(frame).sum())
    whole = f"all {len(frame)}" if flagged == len(frame) else f"{flagged} of {len(frame)}"
    each = {str(name): int(flagged_rows(frame[[name]]).sum()) for name in frame.columns}
    often = sorted((name for name in each if each[name]), key=lambda name: (-each[name], name))
    reasons = ", ".join(f"{name} {each[name]}" for name in often)
    return f"quality control flags {whole} objects ({reasons})"


@dataclass(frozen=True, slots=True)
class Isolation:
    """A grown isolation forest, and the score from which on an object is an outlier."""

    forest: Any
    middle: NDArray[np.float64]
    limit: float

    @classmethod
    def grow(cls, values: Matrix, share: float, rng: np.random.Generator) -> Isolation:
        """Grow a forest on at most 100,000 rows, spread evenly over the table.

        Parameters
        ----------
        values : (N, F) matrix; missing values are taken for the column's median
        share : of the rows that are to be flagged
        """
        from sklearn.ensemble import IsolationForest

        if not 0 < share <= 0.5:
            raise InputError(f"the share of outliers is above 0 and at most 0.5, got {share}")
        rows = spread_rows(np.arange(len(values), dtype=np.int64), FOREST_ROWS)
        own = values[rows].astype(np.float64)
        own[~np.isfinite(own)] = np.nan
        known = np.isfinite(own).any(axis=0)
        middle = np.zeros(own.shape[1])
        middle[known] = np.nanmedian(own[:, known], axis=0)
        filled = _filled(own, middle)
        forest = IsolationForest(n_estimators=TREES, random_state=int(rng.integers(2**31)))
        forest.fit(filled)
        scores = forest.score_samples(filled)
        return cls(forest, middle, float(np.quantile(scores, share)))

    def flag(self, values: Matrix) -> NDArray[np.bool_]:
        """Tell which rows stand apart, (N,)."""
        if not len(values):
            return np.zeros(0, bool)
        scores = self.forest.score_samples(_filled(values, self.middle))
        return np.asarray(scores < self.limit)


def note_flags(record: Record | None, name: str, reason: str, flagged: NDArray[np.bool_]) -> None:
    """Record how many rows a flag is set for."""
    if record is not None:
        record.note(STEP, "flagged", name, reason, flagged.sum())


def _filled(values: Matrix, middle: NDArray[np.float64]) -> NDArray[np.float32]:
    # Trees compare in single precision; a wider number would not fit.
    most = np.finfo(np.float32).max
    filled = np.where(np.isfinite(values), values, middle)
    return np.clip(filled, -most, most).astype(np.float32)
