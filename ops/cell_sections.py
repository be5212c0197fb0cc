"""The chapter of a report on cells: how many were called, in which wells and tiles, for what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.config import OpsConfig
from poolvox.ops.folder import Folder
from poolvox.ops.library import Library
from poolvox.shared.report.figures import (
    CurveStyle,
    show_curves,
    show_histogram,
)
from poolvox.shared.report.plates import show_plate
from poolvox.shared.report.section import Figure, Section, Table
from poolvox.shared.store import read_table

__all__ = ["RATES", "cell_section", "cell_tables", "part", "share_below", "tell_joined"]

# False discovery rates at which what is called is counted.
RATES = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2])
PLACE = ["Metadata_Well", "Metadata_Tile"]
COLUMNS = [*PLACE, "Metadata_Guide", "Metadata_Barcode"]
CALLS = ["Call_QValue", "Call_Doublet", "Call_Reads", "Call_Decoy"]
# Tiles that the table of the poorest names; with fewer tiles than this there is none.
POOREST = 10


def cell_section(config: OpsConfig, folder: Folder, library: Library | None) -> Iterator[Section]:
    """Tell of the cells of a run, where there are any.

    Parameters
    ----------
    library : of the run, if it can be read still
    """
    path = folder.table("cells")
    if not path.exists() or config.segment.channel == "none":
        return
    cells = read_table(path, [*COLUMNS, *CALLS])
    if not len(cells):
        yield Section("Cells", "No cell was found.")
        return
    cells["called"] = cells["Metadata_Barcode"] != ""
    called = cells[cells["called"]]
    share = f"{len(called):,} of {len(cells):,} ({part(len(called), len(cells))})"
    named = called.loc[called["Metadata_Guide"] != "", "Metadata_Guide"]
    per_guide = named.value_counts()
    seen = _seen(named, library)
    doublets = part(int((called["Call_Doublet"] > 0.5).sum()), len(called))
    yield Section(
        "Cells",
        f"Called at a false discovery rate of {config.decode.fdr:.1%}. Cells that are not called "
        "stay in the tables, with their best guess.",
        facts=(
            ("cells", f"{len(cells):,}"),
            ("called", f"{len(called):,} ({part(len(called), len(cells))})"),
            ("guides seen", seen),
            *tell_joined(path, config),
            ("median cells per guide", f"{per_guide.median():.0f}" if len(per_guide) else "none"),
            ("called cells that likely carry two barcodes", doublets),
        ),
        tables=tuple(cell_tables(cells)),
        figures=tuple(_figures(cells, per_guide, config.decode.fdr)),
        headline=(("cells called", share), ("guides seen", seen)),
    )


def tell_joined(path: Path, config: OpsConfig) -> Iterator[tuple[str, str]]:
    """Reads, or cells, of a library of pairs that join the barcodes of two guides."""
    if len(config.library.columns) < 2 or config.decode.method == "classic":
        return
    column = f"{'Read' if path.stem == 'reads' else 'Call'}_Recombined"
    joined = read_table(path, [column])[column].astype(bool)
    yield f"{path.stem} that join two guides", f"{joined.mean():.1%}"


def share_below(q: pd.Series[float], kept: pd.Series[bool]) -> NDArray[np.float64]:
    """Share of all rows that are kept and have a q-value of at most each rate."""
    values = np.sort(q[kept].to_numpy(float))
    values = values[np.isfinite(values)]
    share: NDArray[np.float64] = np.searchsorted(values, RATES, side="right") / max(len(q), 1)
    return share


def part(count: int, total: int) -> str:
    """A number as a part of a whole."""
    return f"{count / total:.1%}" if total else "none"


def _seen(guides: pd.Series[str], library: Library | None) -> str:
    seen = guides.nunique()
    if library is None:
        return f"{seen:,}"
    return f"{seen:,} of {len(set(library.guides) - {''}):,}"


def _figures(cells: pd.DataFrame, per_guide: pd.Series[int], fdr: float) -> Iterator[Figure]:
    target = ~cells["Call_Decoy"].astype(bool)
    yield show_curves(
        {"cells": (RATES * 100, share_below(cells["Call_QValue"], target))},
        "Share of the cells that are called, by the rate of wrong calls accepted.",
        x="false discovery rate",
        x_unit="%",
        y="share of cells",
        style=CurveStyle(from_zero=True, log_x=True, marks={f"chosen, {fdr:.1%}": fdr * 100}),
    )
    yield show_histogram(
        cells["Call_Reads"], "Cells by their reads of the best barcode.", label="reads per cell"
    )
    wells = cells.groupby("Metadata_Well")["called"].mean()
    if len(wells) > 1:
        shares = {str(well): float(share) for well, share in wells.items()}
        caption = "Share of the cells that are called."
        yield show_plate(shares, caption, label="share called", limits=(0.0, 1.0))
    tiles = cells.groupby(PLACE)["called"].mean()
    if len(tiles) > POOREST:
        yield show_histogram(
            tiles * 100, "Tiles by the share of their cells that are called.", label="called",
            unit="%",
        )  # fmt: skip
    if len(per_guide):
        yield show_histogram(
            per_guide, "Guides by the number of their cells.", label="cells per guide"
        )


def cell_tables(cells: pd.DataFrame) -> Iterator[Table]:
    """Counts of the wells and, of many tiles, of those with the smallest share of called cells."""
    yield Table(_counts(cells, ["Metadata_Well"]), "Wells")
    tiles = _counts(cells, PLACE)
    if len(tiles) > POOREST:
        poorest = tiles.sort_values("share called", kind="stable").head(POOREST)
        yield Table(poorest.reset_index(drop=True), "Tiles with the smallest share of called cells")


def _counts(cells: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    groups = cells.groupby(keys, sort=False)
    table = pd.DataFrame(
        {
            "cells": groups.size(),
            "called": groups["called"].sum(),
            "share called": groups["called"].mean().round(3),
            "reads per cell": groups["Call_Reads"].mean().round(2),
            "guides": cells[cells["called"]].groupby(keys)["Metadata_Guide"].nunique(),
        }
    ).reset_index()
    table["guides"] = table["guides"].fillna(0).astype(int)
    return table.rename(columns={"Metadata_Well": "well", "Metadata_Tile": "tile"})
