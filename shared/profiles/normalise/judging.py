"""What speaks against a feature when it is looked at alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.document import read_document
from poolvox.shared.profiles.normalise.summaries import (
    Summary,
    count_modes,
    describe,
    spread_within,
)
from poolvox.shared.profiles.tables.columns import Matrix
from poolvox.shared.profiles.tables.groups import Groups

__all__ = ["Dropped", "SelectionOptions", "blocked_patterns", "judge_columns"]

BLOCKLISTS: Final = Path(__file__).parent / "sets" / "blocklist.yaml"

# Reason and number for each feature that goes.
Dropped = dict[str, tuple[str, float]]
# Whether each goes, the numbers that decide, and the reason in words.
Verdict = tuple[NDArray[np.bool_], NDArray[Any], str]


@dataclass(frozen=True, slots=True)
class SelectionOptions:
    """Where each operation draws its line.

    Attributes
    ----------
    missing : at most this share of missing values
    variance : more than this variance (of the population)
    frequency : the second most frequent value has at least this share of the most frequent one
    unique : at least this share of the values are different
    outliers : no absolute value is larger
    correlation : no two features are correlated more than this, either way
    rank_correlation : Spearman's instead of Pearson's
    replicates : columns that tell which rows are replicates
    agreement : largest mean standard deviation within replicates
    blocklist : names, wildcards such as `*_Location_*`, or a set that ships with the package
    sample : correlations are measured on at most so many rows, spread evenly over the table
    """

    missing: float = 0.05
    variance: float = 1e-6
    frequency: float = 0.05
    unique: float = 0.01
    outliers: float = 500.0
    correlation: float = 0.9
    rank_correlation: bool = False
    replicates: Sequence[str] = ()
    agreement: float = 0.8
    blocklist: Sequence[str] = ("default",)
    sample: int = 200_000


def judge_columns(
    values: Matrix,
    names: Sequence[str],
    rows: NDArray[np.int64],
    replicates: Groups,
    operations: Sequence[str],
    options: SelectionOptions,
) -> dict[str, Dropped]:
    """Tell for each operation that looks at one column at a time which it would drop.

    Parameters
    ----------
    values : (N, F) column-major matrix of all rows
    rows : (M,) the rows that decide
    replicates : groups of all rows
    operations : those that compare columns are left out
    """
    judge = _Judge(values, names, rows, replicates, options)
    found: dict[str, Dropped] = {}
    for operation in operations:
        verdict = getattr(judge, operation, None)
        if verdict is not None:
            gone, numbers, reason = verdict()
            places = np.flatnonzero(gone).tolist()
            found[operation] = {names[i]: (reason, float(numbers[i])) for i in places}
    return found


@dataclass(frozen=True)
class _Judge:
    """Columns and the rows that decide; a method per operation."""

    values: Matrix
    names: Sequence[str]
    rows: NDArray[np.int64]
    groups: Groups
    options: SelectionOptions

    @cached_property
    def stats(self) -> Summary:
        return describe(self.values, self.rows)

    def missing(self) -> Verdict:
        limit, share = self.options.missing, 1 - self.stats.count / len(self.rows)
        return share > limit, share, f"missing in more than {limit:g}"

    def variance(self) -> Verdict:
        limit, variance = self.options.variance, self.stats.variance
        return ~(variance > limit), variance, f"variance at most {limit:g}"

    def frequency(self) -> Verdict:
        unique, ratio = count_modes(self.values, self.rows)
        least = self.options.unique * len(self.rows)
        few = (ratio < self.options.frequency) | (unique < least)
        words = f"second value below {self.options.frequency:g} of the first, or fewer than "
        return few, ratio, words + f"{self.options.unique:g} of the values different"

    def outliers(self) -> Verdict:
        limit, largest = self.options.outliers, self.stats.largest
        return largest > limit, largest, f"values beyond {limit:g}"

    def replicates(self) -> Verdict:
        chosen = np.zeros(len(self.values), bool)
        chosen[self.rows] = True
        limit, spread = self.options.agreement, spread_within(self.values, self.groups.only(chosen))
        return spread > limit, spread, f"replicates differ by more than {limit:g}"

    def blocklist(self) -> Verdict:
        patterns = blocked_patterns(self.options.blocklist)
        hit = [any(fnmatchcase(name, p) for p in patterns) for name in self.names]
        return np.array(hit, bool), np.full(len(hit), np.nan), "on the blocklist"


def blocked_patterns(names: Sequence[str]) -> list[str]:
    """Resolve sets that ship with the package, `default` for instance, to their wildcards."""
    sets = read_document(BLOCKLISTS).data
    found: list[str] = []
    for name in names:
        inner = sets.get(name.removeprefix("@"))
        found += [name] if inner is None else blocked_patterns(inner)
    return found
