"""The chapters of a report on profiles: hits, the map, batches, and what was dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from poolvox.shared.profiles.report.lessons import learning_sections
from poolvox.shared.profiles.report.pictures import show_map, show_mixing, show_ranks, show_volcano
from poolvox.shared.report.figures import show_histogram
from poolvox.shared.report.section import Figure, Section, Table
from poolvox.shared.store import read_table

__all__ = ["LEVELS", "made_section", "profile_sections"]

# Rows of the tables in the report.
SHOWN: Final = 20
HIT_COLUMNS: Final = {
    "Hit_Effect": "effect",
    "Hit_Score": "score",
    "Hit_PValue": "p",
    "Hit_QValue": "q",
    "Hit_Cells": "cells",
    "Hit_Units": "units",
    "Hit_Superiority": "superiority",
    "Hit_Energy": "energy distance",
    "Hit_MeanAP": "mAP",
    "Hit_Trend": "trend",
}
MIXING_COLUMNS: Final = {
    "Metadata_Table": "table",
    "Mixing_Neighbours": "neighbours from other batches, over chance",
    "Mixing_Variance": "variance between batches",
    "Mixing_Expected": "the same by chance",
    "Mixing_Precision": "mAP",
}
ENRICHED_COLUMNS: Final = {
    "Metadata_Cluster": "cluster",
    "Enrichment_Set": "set",
    "Enrichment_Overlap": "genes of it",
    "Enrichment_SetSize": "of",
    "Enrichment_Fold": "over chance",
    "Enrichment_PValue": "p",
    "Enrichment_QValue": "q",
    "Enrichment_Genes": "genes",
}

# What in a reason differs from feature to feature: the feature it repeats, the groups it lacks in.
CAUSES: Final = {
    r" with \S+$": " with another that is kept",
    r"(so missing), in .*$": r"\1 in some groups",
}
# Keys that tell organoids and wells apart on a map.
PLACES: Final = ("Metadata_Well", "Metadata_Organoid")
# Levels of profiles, from the lowest.
LEVELS: Final = ("organoids", "wells", "guides", "genes")
# Steps whose notes hold a number of objects.
OBJECT_STEPS: Final = ("annotate", "quality", "aggregate")


@dataclass(frozen=True, slots=True)
class _Folder:
    """The tables of a run's profiles, as far as they are there."""

    path: Path
    fdr: float

    def read(self, name: str) -> pd.DataFrame | None:
        table = self.path / f"{name}.parquet"
        return read_table(table) if table.exists() else None

    def whole(self, name: str) -> str:
        return f"{self.path.name}/{name}.parquet"


def profile_sections(folder: Path | str, *, fdr: float = 0.05) -> list[Section]:
    """Tell what the profiles in a folder say; chapters without their table are left out.

    Parameters
    ----------
    folder : with `hits.parquet`, `map.parquet` and so on, such as `my_screen/profiles`
    fdr : false discovery rate at which something is a hit
    """
    tables = _Folder(Path(folder), fdr)
    makers = (_hits, _map, _batches)
    found = [section for maker in makers for section in maker(tables)]
    return [*found, *learning_sections(tables.read, tables.whole), *_record(tables)]


def made_section(facts: Mapping[str, Any]) -> Section:
    """Tell what profiles were made of, and what could not be made.

    Parameters
    ----------
    facts : of `Profiles`
    """
    levels = [(name, f"{facts[name]:,}") for name in LEVELS if name in facts]
    left_out = [("left out", str(reason)) for reason in facts.get("skipped", ())]
    return Section(
        "What was made",
        "Tables lie beside this page; columns.csv tells what their columns mean.",
        facts=(
            ("objects", f"{facts['objects']:,}"),
            ("of them flagged", f"{facts['flagged']:,}"),
            ("features", f"{facts['kept']:,} of {facts['features']:,} kept"),
            *levels,
            *left_out,
        ),
    )


def _hits(folder: _Folder) -> Iterator[Section]:
    hits = folder.read("hits")
    if hits is None or not len(hits):
        return
    keys = _keys(hits)
    names = _named(hits, keys)
    active = hits["Hit_QValue"] <= folder.fdr
    tested = hits["Hit_PValue"].notna()
    figures = [*_tested(hits, names, folder.fdr)] if tested.any() else []
    figures += list(_guides(folder))
    yield Section(
        "Hits",
        "Every gene or treatment is compared with the controls. Units are its guides or wells: how "
        "much units of controls differ from each other, and where those are few units that were "
        "treated alike, is part of every p-value.",
        facts=(
            ("tested", f"{int(tested.sum()):,} of {len(hits):,}"),
            (f"hits at a false discovery rate of {folder.fdr:.0%}", f"{int(active.sum()):,}"),
            ("median cells", f"{hits['Hit_Cells'].median():,.0f}"),
            *_controls(hits),
            *_not_tested(hits),
        ),
        tables=(Table(_shown(hits, keys, HIT_COLUMNS), "The best", folder.whole("hits")),),
        figures=tuple(figures),
    )


def _tested(hits: pd.DataFrame, names: pd.Series, fdr: float) -> Iterator[Figure]:
    some = (hits["Hit_QValue"] <= fdr).any()
    line = f"Hits at {fdr:.0%} lie above the dashed line." if some else f"No hits at {fdr:.0%}."
    caption = f"How far cells are shifted against controls, and how sure that is. {line}"
    yield show_volcano(hits, names, caption, fdr=fdr)
    yield show_ranks(hits, names, "Everything that was tested, best first.", fdr=fdr)
    yield show_histogram(
        hits["Hit_PValue"],
        "p-values: flat where nothing is active, with a peak at the left where something is.",
        label="p-value",
        bins=20,
    )


def _guides(folder: _Folder) -> Iterator[Figure]:
    guides = folder.read("guide_hits")
    if guides is not None and guides["Hit_PValue"].notna().any():
        yield show_volcano(
            guides, _named(guides, _keys(guides)), "The same for every guide.", fdr=folder.fdr
        )


def _controls(hits: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Units of controls, on which every p-value rests."""
    if "Hit_Controls" in hits:
        yield "guides or wells of controls", f"{int(hits['Hit_Controls'].iloc[0]):,}"


def _not_tested(hits: pd.DataFrame) -> Iterator[tuple[str, str]]:
    if "Hit_Reason" not in hits:
        return
    reasons = hits.loc[hits["Hit_Reason"] != "", "Hit_Reason"].value_counts()
    for reason, count in sorted(reasons.items(), key=lambda pair: (-pair[1], str(pair[0]))):
        yield f"not tested: {reason}", f"{count:,}"


def _map(folder: _Folder) -> Iterator[Section]:
    places = folder.read("map")
    if places is None or not {"Embed_1", "Embed_2", "Metadata_Cluster"}.issubset(places):
        return
    hits = folder.read("hits")
    tested = _keys(hits)[0] if hits is not None else ""
    # Of few treatments it is wells, or organoids, that are on the map.
    first = [name for name in (tested, *PLACES) if name in places] or _keys(places)[:1]
    names = _named(places, first)
    marked = np.zeros(len(places), dtype=bool)
    if hits is not None and tested in places:
        active = set(hits.loc[hits["Hit_QValue"] <= folder.fdr, tested].astype(str))
        marked = places[tested].astype(str).isin(active).to_numpy()
    edge = " Hits have a dark edge." if marked.any() else ""
    clusters = places.loc[places["Metadata_Cluster"] >= 0, "Metadata_Cluster"]
    enriched = folder.read("enrichment")
    tables = [Table(_members(places, names), "Clusters", folder.whole("map"))]
    if enriched is not None and len(enriched):
        found = enriched[enriched["Enrichment_QValue"] <= folder.fdr]
        caption = "Gene sets that clusters hold more of than chance has it"
        shown = found.head(SHOWN)[list(ENRICHED_COLUMNS)].rename(columns=ENRICHED_COLUMNS)
        tables.append(Table(shown, caption, folder.whole("enrichment")))
    best_first = [] if hits is None else list(hits[tested].astype(str))
    tables += list(_look_alikes(folder, names[marked], best_first))
    yield Section(
        "Map",
        "Profiles that look alike lie near each other. Clusters are communities in the graph of "
        "nearest neighbours, found in all features, not on the map.",
        facts=(("profiles", f"{len(places):,}"), ("clusters", f"{clusters.nunique():,}")),
        tables=tuple(tables),
        figures=(show_map(places, names, f"The map of profiles.{edge}", marked=marked),),
    )


def _members(places: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    rows = []
    for label, members in names.groupby(places["Metadata_Cluster"], sort=True, observed=True):
        some = ", ".join(sorted(members)[:SHOWN]) + (", …" if len(members) > SHOWN else "")
        rows.append({"cluster": label, "profiles": len(members), "members": some})
    return pd.DataFrame(rows)


def _look_alikes(folder: _Folder, marked: pd.Series, order: list[str]) -> Iterator[Table]:
    """The three that are most like each hit, or each profile, in the order of the hits."""
    near = folder.read("similarity")
    if near is None or not len(near):
        return
    name = _keys(near)[0]
    best = near[near["Similarity_Rank"] <= 3]
    if len(marked):
        best = best[best[name].astype(str).isin(set(marked))]
    likeness = {
        str(one): ", ".join(_likeness(rows))
        for one, rows in best.groupby(name, sort=True, observed=True)
    }
    ranked = dict.fromkeys([*(one for one in order if one in likeness), *likeness])
    rows = [{"profile": one, "most like": likeness[one]} for one in ranked][:SHOWN]
    caption = "What hits look like" if len(marked) else "What profiles look like"
    more = f", {SHOWN} of {len(likeness):,}" if len(likeness) > SHOWN else ""
    yield Table(pd.DataFrame(rows), f"{caption}{more}", folder.whole("similarity"))


def _likeness(rows: pd.DataFrame) -> list[str]:
    ordered = rows.sort_values("Similarity_Rank")
    return [
        f"{other} ({value:.2f})"
        for other, value in zip(ordered["Metadata_Neighbour"], ordered["Similarity_Value"])
    ]


def _batches(folder: _Folder) -> Iterator[Section]:
    mixing = folder.read("mixing")
    if mixing is None or not len(mixing):
        return
    shown = [name for name in MIXING_COLUMNS if name in mixing]
    table = mixing[shown].rename(columns=MIXING_COLUMNS)
    signal = mixing["Mixing_Signal"].to_numpy(float) if "Mixing_Signal" in mixing else np.zeros(1)
    costly = " This one lowered the second." if signal[-1] < signal[0] else ""
    yield Section(
        "Batches",
        "How profiles of different batches mix, and how well those of one perturbation still find "
        f"each other: a correction should raise the first and not lower the second.{costly}",
        tables=(Table(table, "Mixing of batches", folder.whole("mixing")),),
        figures=(show_mixing(mixing, "Batches before and after the correction."),),
    )


def _record(folder: _Folder) -> Iterator[Section]:
    record = folder.read("record")
    if record is None:
        return
    if not len(record):
        yield Section("What was dropped", "Nothing was dropped, flagged or changed.")
        return
    # Some steps note a number of objects, and the others one feature each.
    objects = record["step"].isin(OBJECT_STEPS)
    number = record["value"].fillna(0).where(objects, 1).astype(int)
    record = record.assign(number=number)[(number > 0) | ~objects | (record["what"] == "skipped")]
    causes = record["reason"].replace(CAUSES, regex=True)
    grouped = record.groupby(["step", "what", causes], sort=False, observed=True)
    table = grouped.agg(number=("number", "sum"), such_as=("name", _some)).reset_index()
    table.columns = pd.Index(["step", "what", "reason", "number", "such as"])
    yield Section(
        "What was dropped",
        "What the steps dropped, flagged, changed or could not do, by cause. Numbers are of "
        "objects where objects were looked at, and else of features. Every single one, with what "
        "decided it, is in record.csv.",
        tables=(Table(table, "Decisions of the steps", folder.whole("record")),),
    )


def _some(names: pd.Series) -> str:
    distinct = list(dict.fromkeys(names.astype(str)))
    return ", ".join(distinct[:3]) + (", …" if len(distinct) > 3 else "")


def _keys(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame if str(name).startswith("Metadata_")]


def _named(frame: pd.DataFrame, keys: list[str]) -> pd.Series:
    """One name per row: the key, and the dose where there is one."""
    names = frame[keys[0]].astype(str)
    for key in keys[1:]:
        names = names + ", " + frame[key].astype(str)
    return names.reset_index(drop=True).set_axis(frame.index)


def _shown(hits: pd.DataFrame, keys: list[str], columns: dict[str, str]) -> pd.DataFrame:
    there = {name: words for name, words in columns.items() if name in hits}
    plain = {key: key.removeprefix("Metadata_").lower() for key in keys}
    return hits.head(SHOWN)[[*keys, *there]].rename(columns={**plain, **there})
