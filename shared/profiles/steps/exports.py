"""Tables for other tools, beside the Parquet files that they are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.tables.export import export_table
from poolvox.shared.store import read_table

__all__ = ["export_tables", "with_map"]

CLUSTER: Final = "Metadata_Cluster"


def export_tables(
    out: Path, names: Sequence[str], config: ProfilesConfig, *, basis: str
) -> Iterator[Path]:
    """Write tables of a folder in all formats that are wanted, and tell where.

    Parameters
    ----------
    names : of the tables, which are there as Parquet
    basis : what made the map: `umap` or `pca`
    """
    from poolvox import __version__

    places = out / "map.parquet"
    for name in names:
        frame = read_table(out / f"{name}.parquet")
        mapped = with_map(frame, read_table(places)) if places.is_file() else frame
        for form in config.export.formats:
            given = mapped if form == "anndata" else frame
            uns = {"poolvox_version": __version__}
            yield from export_table(given, out, name, [form], basis=basis, uns=uns)


def with_map(frame: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """Put places and clusters beside profiles, if it is those that the map shows."""
    found = [name for name in places if str(name).startswith("Embed_") or name == CLUSTER]
    keys = [name for name in places if name not in found]
    if CLUSTER in frame or not set(keys) <= set(frame) or len(places) != len(frame):
        return frame
    if not places[keys].astype(str).equals(frame[keys].astype(str)):
        return frame
    # As text: a number would be drawn on a scale.
    named = places[found].astype({CLUSTER: str})
    return pd.concat([frame, named], axis=1)
