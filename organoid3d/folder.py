"""Where the files of a run lie, and the keys that its tables begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poolvox.shared.ingest import TileKey
from poolvox.shared.store.plate import parse_well

__all__ = ["TABLES", "Folder", "keyed", "stack_name"]

TABLES = ("organoids", "nuclei", "cells", "edges")


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files of a run lie."""

    root: Path

    @property
    def plate(self) -> Path:
        """Stacks and labels."""
        return self.root / "stacks.zarr"

    def image(self, tile: TileKey) -> Path:
        """A stack on the plate, with its labels."""
        row, column = parse_well(tile.well)
        return self.plate / row / str(column) / tile.field

    def windows(self, stack: str) -> Path:
        """What lies between the units of a stack that is done in windows."""
        return self.root / "parts" / "windows" / stack

    def facts(self, stack: str) -> Path:
        """What the segmentation of a stack found out."""
        return self.root / "parts" / "facts" / f"{stack}.json"

    def certainty(self, stack: str) -> Path:
        """How sure a network was of each nucleus of a stack."""
        return self.root / "parts" / "certainty" / f"{stack}.json"

    def part(self, stack: str, table: str) -> Path:
        """A table of one stack."""
        return self.root / "parts" / table / f"{stack}.parquet"

    def parts(self, stack: str) -> tuple[Path, ...]:
        """All tables of one stack."""
        return tuple(self.part(stack, table) for table in TABLES)

    def table(self, name: str) -> Path:
        """A table of the whole run."""
        return self.root / "tables" / f"{name}.parquet"

    @property
    def dictionary(self) -> Path:
        """What the columns of the tables mean."""
        return self.root / "tables" / "features.csv"


def keyed(table: pd.DataFrame, tile: TileKey) -> pd.DataFrame:
    """A table with the keys of its stack before its columns."""
    keys = {
        "Metadata_Plate": tile.plate,
        "Metadata_Well": tile.well,
        "Metadata_Organoid": stack_name(tile),
    }
    whole = table.copy()
    for place, (name, value) in enumerate(keys.items()):
        whole.insert(place, name, pd.Series([value] * len(whole), dtype=object))
    return whole


def stack_name(tile: TileKey) -> str:
    """What a stack is called in its well."""
    return tile.organoid or tile.tile or tile.field
