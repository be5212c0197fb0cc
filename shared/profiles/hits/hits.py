"""Hits: which genes, guides or treatments do something, and how sure that is.

Guides (or wells) are the units that are tested; genes (or treatments) combine theirs. The cells of
a unit all share what happened to it, so units of controls tell how much units differ for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from poolvox.shared.profiles.compare.energy import EnergyReference
from poolvox.shared.profiles.compare.precision import (
    average_precision,
    mean_average_precision,
    pair_rules,
)
from poolvox.shared.profiles.compare.rates import benjamini_hochberg, hierarchical_fdr
from poolvox.shared.profiles.hits.combining import rank_aggregation, stouffer
from poolvox.shared.profiles.hits.comparison import Cells, Centred, Comparison, gather_cells
from poolvox.shared.profiles.hits.noise import MIN_UNITS, Noise, fit_noise
from poolvox.shared.profiles.hits.shifts import ShiftTest, measure_groups, measure_shifts
from poolvox.shared.profiles.hits.sums import MIN_CELLS, UnitSums, sum_units, unit_profiles
from poolvox.shared.profiles.hits.superiority import compare_by_direction, dose_trend

__all__ = ["Comparison", "find_hits", "score_units"]

# Cells of a group, and controls, that are compared along a line.
COMPARED: Final = 2_000
CONTROLS: Final = 4_000
# Cells of a group, and controls, whose energy distance is taken.
ENERGY_CELLS: Final = 200
ENERGY_CONTROLS: Final = 400
PERMUTATIONS: Final = 199
ACTIVITY: Final = ("Hit_MeanAP", "Hit_MapPValue", "Hit_MapQValue")
# p-values are kept within them where they become normal scores.
LIMITS: Final = (np.finfo(float).tiny, 1 - 1e-12)


def find_hits(
    objects: pd.DataFrame,
    comparison: Comparison,
    *,
    features: Sequence[str] | None = None,
    seed: int = 0,
    fdr: float = 0.05,
) -> pd.DataFrame:
    """Test every gene, guide or treatment against the controls.

    Parameters
    ----------
    objects : one row per cell, normalised; cells without a value of `by` are left out, missing
        measurements are taken as the controls' median
    features : columns to compare by; all measurements if None
    fdr : false discovery rate at which `Hit_Active` is told

    Returns
    -------
    one row per value of `by` that is no control (and per dose), best first: `Hit_Effect` (length of
    the shift in standard deviations of control cells, without what chance adds), `Hit_Score`
    (normal score of the shift that all units have in common), `Hit_PValue` and `Hit_QValue` of it,
    `Hit_Cells`, `Hit_Units`, `Hit_Controls` (units of controls), `Hit_Active`, `Hit_Stouffer`
    (normal score of the units' own, which may go different ways), `Hit_RankPValue` (robust rank
    aggregation of the units), `Hit_Superiority` (chance that a cell lies further along the shift
    than a control) and its `Hit_MannWhitneyPValue`, `Hit_Energy` and `Hit_EnergyPValue`,
    `Hit_MeanAP`, `Hit_MapPValue` and `Hit_MapQValue` (activity: do its units find each other before
    the controls; of single units no p-value), and `Hit_Trend` (Kendall's tau with the dose) and
    `Hit_TrendPValue`, where there is one. With a dose the q-values are hierarchical: first
    treatments, then their doses.

    Units of controls tell how much units differ that do the same; where there are 30 or fewer, so
    do units of one group. With fewer than four units of controls there is no `Hit_PValue`: what is
    wrong with one of them would be taken for an effect of all others. Effect and score still rank.

    Examples
    --------
    >>> find_hits(cells, Comparison("Metadata_Gene", "Metadata_Gene == 'nontargeting'",
    ...                             guide="Metadata_Guide"))    # doctest: +SKIP
    """
    cells = gather_cells(objects, comparison, features=features, seed=seed)
    sums = sum_units(cells.points, cells.unit, cells.batch, cells.shape)
    group_of = cells.units["group"].to_numpy()
    noise = fit_noise(sums, cells.control, group_of, cells.covariance)
    shifts = measure_shifts(sums, cells.control, noise)
    whole = measure_groups(sums, cells.control, noise, group_of, len(cells.groups))
    units = score_units(cells, sums, shifts)
    groups = units.loc[~units["control"], "group"].drop_duplicates()
    activity = _activity(cells, units, sums)
    centred = cells.centred()
    energy = EnergyReference.of(centred.points[centred.controls[:ENERGY_CONTROLS]])
    rows = []
    for group in sorted(groups):
        members = units[units["group"] == group]
        row = _combine(members, float(whole.p[group]), noise)
        row["Hit_Effect"] = float(whole.effect[group])
        rows.append(row | _compare(centred, group, energy))
    table = pd.DataFrame(rows, index=sorted(groups)).join(activity)
    table = pd.concat([cells.groups.loc[table.index], table], axis=1)
    if comparison.dose is not None:
        table = table.merge(_trends(cells, units, shifts, comparison), on=comparison.by, how="left")
    return _ordered(table, comparison, fdr)


def score_units(cells: Cells, sums: UnitSums, shifts: ShiftTest) -> pd.DataFrame:
    """Every unit's `p`, normal score `z`, `cells`, and `rank` among those that are no controls."""
    from scipy.stats import norm

    z = norm.isf(np.clip(shifts.p, *LIMITS))
    units = cells.units.assign(p=shifts.p, z=z, cells=sums.count.sum(axis=1))
    rank = units["p"].where(~units["control"]).rank(method="average")
    return units.assign(rank=rank / max(int(rank.notna().sum()), 1))


def _combine(units: pd.DataFrame, p: float, noise: Noise) -> dict[str, Any]:
    """One row of the units of a group, and of the chance of what they have in common."""
    from scipy.stats import norm

    few = bool((units["cells"] < MIN_CELLS).all())
    reason = f"fewer than {MIN_CELLS} cells" if few else "no controls in its batches"
    if not noise.replicated and np.isfinite(p):
        enough = f"{MIN_UNITS} units of controls with {MIN_CELLS} cells each"
        reason = f"fewer than {enough}: how much they differ is not known"
    return {
        "Hit_Score": float(norm.isf(np.clip(p, *LIMITS))),
        "Hit_PValue": p if noise.replicated else np.nan,
        "Hit_Cells": int(units["cells"].sum()),
        "Hit_Units": len(units),
        "Hit_Controls": noise.controls,
        "Hit_Stouffer": stouffer(units["z"], np.sqrt(units["cells"].to_numpy(float))),
        "Hit_RankPValue": rank_aggregation(units["rank"]),
        "Hit_Reason": "" if noise.replicated and np.isfinite(p) else reason,
    }


def _compare(cells: Centred, group: int, controls: EnergyReference) -> dict[str, float]:
    """Comparisons that need cells, of a sample of them."""
    members = cells.members(group)
    sides = compare_by_direction(
        cells.points, cells.half, members[:COMPARED], cells.controls[:CONTROLS]
    )
    energy = controls.test(
        cells.points[members[:ENERGY_CELLS]],
        np.random.default_rng([cells.seed, group]),
        permutations=PERMUTATIONS,
    )
    return {
        "Hit_Superiority": sides.superiority,
        "Hit_MannWhitneyPValue": sides.p_value,
        "Hit_Energy": energy.distance,
        "Hit_EnergyPValue": energy.p_value,
    }


def _activity(cells: Cells, units: pd.DataFrame, sums: UnitSums) -> pd.DataFrame:
    """Mean average precision of the units of each group against those of the controls.

    A group of one unit is told by its batches, or by the halves of its cells. Those share what the
    unit differs by for nothing, so there is a score, and no p-value.
    """
    single = bool(units.loc[~units["control"], "group"].is_unique)
    if single and sums.count.shape[1] == 1:
        sums = sum_units(cells.points, cells.unit, cells.half, (len(units), 2))
    profile = unit_profiles(sums, apart=single)
    unit, part = np.nonzero(np.isfinite(profile).all(axis=2))
    frame = pd.DataFrame(profile[unit, part].astype(np.float32)).rename(columns="F{}".format)
    frame["Metadata_Group"] = units["group"].to_numpy()[unit]
    control = units["control"].to_numpy()[unit]
    if not control.any() or control.all():
        return pd.DataFrame(columns=list(ACTIVITY), index=pd.Index([], dtype=np.int64), dtype=float)
    if single:
        _, pairs, keys, asked = pair_rules(frame, "Metadata_Group", control, None)
        found = average_precision(keys, pairs, queries=asked, draws=1, seed=cells.seed)
        score = found.groupby("Metadata_Group")["Map_Precision"].mean().to_frame(ACTIVITY[0])
        return score.assign(**dict.fromkeys(ACTIVITY[1:], np.nan))
    groups = mean_average_precision(frame, by="Metadata_Group", controls=control, seed=cells.seed)
    columns = ["Map_Score", "Map_PValue", "Map_QValue"]
    return groups.set_index("Metadata_Group")[columns].set_axis(list(ACTIVITY), axis=1)


def _trends(
    cells: Cells, units: pd.DataFrame, shifts: ShiftTest, comparison: Comparison
) -> pd.DataFrame:
    named = units.join(cells.groups, on="group")
    rows = []
    for name, members in named[~named["control"]].groupby(comparison.by, sort=True, observed=True):
        numbers = members.index.to_numpy()
        doses = members[comparison.dose].to_numpy(dtype=float)
        tau, p = dose_trend(shifts.shift[numbers], doses)
        rows.append({comparison.by: name, "Hit_Trend": tau, "Hit_TrendPValue": p})
    return pd.DataFrame(rows)


def _ordered(table: pd.DataFrame, comparison: Comparison, fdr: float) -> pd.DataFrame:
    """Best first; what has no p-value comes last."""
    if comparison.dose is None:
        q = benjamini_hochberg(table["Hit_PValue"])
    else:
        tested = hierarchical_fdr(table["Hit_PValue"], table[comparison.by], level=fdr)
        q = tested["q"].to_numpy()
    table = table.assign(Hit_QValue=q, Hit_Active=q <= fdr)
    keys = [name for name in (comparison.by, comparison.dose) if name is not None]
    first = [
        *keys,
        "Hit_Effect",
        "Hit_Score",
        "Hit_PValue",
        "Hit_QValue",
        "Hit_Cells",
        "Hit_Active",
    ]
    last = [name for name in table if name not in (*first, "Hit_Reason")]
    table = table[[*first, *last, "Hit_Reason"]]
    order = ["Hit_PValue", "Hit_Score", "Hit_Effect", *keys]
    up = [True, False, False, *[True] * len(keys)]
    return table.sort_values(order, ascending=up, kind="stable").reset_index(drop=True)
