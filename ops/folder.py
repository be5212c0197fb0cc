"""Where the files of a run lie, and the keys that its tables begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poolvox.shared.ingest import TileKey

__all__ = ["Folder", "keyed"]


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files of a run lie."""

    root: Path

    @property
    def plate(self) -> Path:
        """Aligned images and labels."""
        return self.root / "sbs.zarr"

    def reads(self, tile: str) -> Path:
        """Light of the reads of a tile."""
        return self.root / "parts" / "images" / f"{tile}.npz"

    def planes(self, tile: str) -> Path:
        """Alignment of the planes of a tile."""
        return self.root / "parts" / "images" / f"{tile}.parquet"

    def signal(self, place: str) -> Path:
        """Corrections of a well or the plate."""
        return self.root / "parts" / "signal" / f"{place}.json"

    def called(self, tile: str, kind: str) -> Path:
        """Reads or cells of a tile, before the q-values of the plate."""
        return self.root / "parts" / kind / f"{tile}.parquet"

    def table(self, name: str) -> Path:
        """A table of the whole run."""
        return self.root / "tables" / f"{name}.parquet"


def keyed(frame: pd.DataFrame, tile: TileKey) -> pd.DataFrame:
    """Put the keys of a tile before the columns of its table, in place."""
    keys: Mapping[str, str] = {
        "Metadata_Plate": tile.plate,
        "Metadata_Well": tile.well,
        "Metadata_Tile": tile.tile,
    }
    for place, (name, value) in enumerate(keys.items()):
        frame.insert(place, name, value)
    return frame
