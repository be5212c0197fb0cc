"""The profiles of a plate of organoids: nuclei with their cells and organoids, up to the wells."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.store import read_table, write_table

__all__ = ["join_objects", "organoid_profiles", "profile_plate"]

# Nuclei below which there is nothing to compare.
MIN_OBJECTS: Final = 20
KEYS: Final = ("Metadata_Plate", "Metadata_Well", "Metadata_Organoid", "Metadata_Label")
PARENT: Final = "Metadata_OrganoidLabel"
# Of an organoid as a whole; what sums up its nuclei comes with the nuclei themselves.
WHOLE: Final = ("Shape", "Filling", "Count", "Graph", "Harmonics")
TREATMENT: Final = "Metadata_Treatment"
CONTROLS: Final = ("control", "Control", "DMSO", "dmso", "vehicle", "untreated")


def join_objects(
    nuclei: pd.DataFrame, cells: pd.DataFrame, organoids: pd.DataFrame
) -> pd.DataFrame:
    """One row per nucleus: its features, those of its cell, and of the organoid it lies in.

    An object is flagged where its nucleus or its cell is; organoids that are cut are not measured
    as wholes, so their features are missing, and their nuclei count all the same.

    Parameters
    ----------
    nuclei, cells, organoids : tables of a run; a cell has the number of its nucleus
    """
    keys = [name for name in KEYS if name in nuclei]
    own = [name for name in cells if str(name).startswith("Cells_")]
    joined = nuclei.merge(cells[[*keys, *own]], on=keys, how="left", validate="1:1")
    whole = [name for name in organoids if str(name).startswith(_stems())]
    cut = organoids.filter(like="QC_Border").any(axis=1).to_numpy()
    features = organoids[whole].astype(float).mask(np.repeat(cut[:, None], len(whole), axis=1))
    parents = organoids[keys].rename(columns={"Metadata_Label": PARENT}).join(features)
    above = [*keys[:-1], PARENT]
    joined = joined.merge(parents, on=above, how="left", validate="m:1")
    measured = [name for name in joined if str(name).startswith(("Nuclei_", "Cells_", *_stems()))]
    return joined.astype(dict.fromkeys(measured, np.float32))


def organoid_profiles(config: ProfilesConfig) -> ProfilesConfig:
    """Options as they hold for organoids: treatments of wells stand in the place of genes."""
    changes: dict[str, Any] = {}
    if "gene" not in config.model_fields_set:
        changes["gene"] = TREATMENT
    if "guide" not in config.model_fields_set:
        changes["guide"] = "none"
    if "controls" not in config.model_fields_set:
        changes["controls"] = CONTROLS
    return config.model_copy(update=changes)


def profile_plate(
    root: Path, config: ProfilesConfig, *, threads: int | None = None
) -> dict[str, Any]:
    """Make the profiles of a run from its tables; too few nuclei are told, no failure.

    Parameters
    ----------
    root : folder of the run: `tables` has nuclei, cells and organoids, and is given the objects;
        `profiles` is written
    threads : that work side by side, one per core if None; they change no result
    """
    from poolvox.shared.engine.resources import cores
    from poolvox.shared.profiles.learn.encoder import learned_objects
    from poolvox.shared.profiles.normalise.quality import TooFewPass
    from poolvox.shared.profiles.recipe import make_profiles

    tables = root / "tables"
    if not (tables / "nuclei.parquet").is_file():
        return {"objects": 0, "warnings": ["no profiles: no stack was measured as a whole"]}
    parts = [read_table(tables / f"{name}.parquet") for name in ("nuclei", "cells", "organoids")]
    objects = join_objects(*parts)
    path = write_table(objects, tables / "objects.parquet")
    if len(objects) < MIN_OBJECTS:
        few = f"no profiles: {len(objects)} nuclei were found, {MIN_OBJECTS} or more are needed"
        return {"objects": len(objects), "warnings": [few]}
    path, learned = learned_objects(
        path, root / "stacks.zarr", config.embeddings, root / "parts" / "learned"
    )
    try:
        made = make_profiles(
            path,
            organoid_profiles(config),
            root / "profiles",
            fewest=MIN_OBJECTS,
            threads=threads or cores(),
        )
    except TooFewPass as few_pass:
        told = [*learned.get("warnings", ()), f"no profiles: {few_pass}"]
        return {**few_pass.facts, **learned, "warnings": told}
    return {**made.facts, **learned}


def _stems() -> tuple[str, ...]:
    return tuple(f"Organoids_{group}_" for group in WHOLE)
