"""False discovery rates: of one family of tests, and of families within families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

__all__ = ["benjamini_hochberg", "combine_simes", "hierarchical_fdr"]

Array = NDArray[np.float64]


def benjamini_hochberg(p: ArrayLike) -> Array:
    """q-values: the false discovery rate at which each test would just be accepted.

    Parameters
    ----------
    p : p-values; NaN is no test, takes no part and stays NaN

    References
    ----------
    Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, np.nan]).round(3).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    values = _checked(p)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * len(order) / np.arange(1, len(order) + 1)
    q = np.full(values.shape, np.nan)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def combine_simes(p: ArrayLike) -> float:
    """One p-value for the claim that none of a family's effects is there.

    The smallest p-value alone, which some tools take, is not a p-value: of many it is always small.

    References
    ----------
    Simes 1986, doi:10.1093/biomet/73.3.751
    """
    values = _checked(p)
    values = np.sort(values[np.isfinite(values)])
    if not len(values):
        return float("nan")
    return float((values * len(values) / np.arange(1, len(values) + 1)).min())


def hierarchical_fdr(
    p: ArrayLike, groups: Sequence[Any] | pd.Series, *, level: float
) -> pd.DataFrame:
    """First which families hold an effect, then which of their tests, at one stated rate.

    Families are chosen by the q-values of their Simes combinations. In those that are chosen the
    tests are corrected for their number and for the choice, so that the mean share of false
    discoveries in the chosen families stays at `level`.

    Parameters
    ----------
    p : (N,) p-values, such as those of the doses of compounds; NaN is no test
    groups : (N,) family of each, such as the compound
    level : false discovery rate of both stages

    Returns
    -------
    one row per test, in the order given: `group_p`, `group_q`, `chosen`, `q`; `q` is 1 in families
    that are not chosen

    References
    ----------
    Benjamini and Bogomolov 2014, doi:10.1111/rssb.12028
    """
    if not 0 < level < 1:
        raise ValueError(f"a false discovery rate lies between 0 and 1, got {level}")
    values = _checked(p)
    table = pd.DataFrame({"p": values, "group": np.asarray(groups)})
    if table["group"].isna().any():
        raise ValueError("a test without a group cannot be corrected within one: name its group")
    family = (
        table.groupby("group", sort=True, observed=True)["p"]
        .agg(combine_simes)
        .rename("group_p")
        .to_frame()
    )
    family["group_q"] = benjamini_hochberg(family["group_p"])
    family["chosen"] = family["group_q"] <= level
    table = table.join(family, on="group")
    share = family["chosen"].sum() / max(int(family["group_p"].notna().sum()), 1)
    inside = table.groupby("group", sort=True, observed=True)["p"].transform(benjamini_hochberg)
    corrected = (inside / share).clip(upper=1.0) if share > 0 else inside
    untested = table["p"].isna()
    table["q"] = corrected.where(table["chosen"], 1.0).mask(untested)
    return table[["group_p", "group_q", "chosen", "q"]]


def _checked(p: ArrayLike) -> Array:
    values = np.asarray(p, dtype=np.float64).ravel()
    wrong = values[(values < 0) | (values > 1)]
    if len(wrong):
        raise ValueError(f"p-values lie between 0 and 1, got {wrong[0]:g}")
    return values
