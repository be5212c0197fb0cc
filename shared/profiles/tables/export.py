"""Profiles in the forms that other tools read: CSV, AnnData, and names for pycytominer.

Parquet is what the steps write; these come beside it. AnnData follows what scanpy expects: cells or
wells in `obs` under names of their own, features in `var`, maps in `obsm`, the rest in `uns`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from poolvox.shared.config import Model
from poolvox.shared.errors import InputError
from poolvox.shared.profiles.tables.columns import feature_columns, is_learned
from poolvox.shared.profiles.tables.naming import to_pycytominer
from poolvox.shared.store import write_table

__all__ = ["ExportConfig", "ExportFormat", "export_table", "to_anndata"]

ExportFormat = Literal["csv", "anndata", "pycytominer"]

# Keys that name a row, as far as a table has them.
NAMES: Final = (
    *("Metadata_Plate", "Metadata_Well", "Metadata_Tile", "Metadata_Organoid", "Metadata_Label"),
    *("Metadata_Gene", "Metadata_Guide", "Metadata_Treatment", "Metadata_Dose"),
)
OBJECT: Final = "Metadata_Label"
UNIT: Final = re.compile(r"_(um3|um2|um|deg|rad|px)(?:_|$)")
UNITS: Final = {"um": "µm", "um2": "µm²", "um3": "µm³", "deg": "°", "rad": "rad", "px": "px"}
# Digits that bring a float32 back.
DIGITS: Final = "%.9g"


class ExportConfig(Model):
    """What is written beside Parquet.

    Attributes
    ----------
    formats : csv, anndata (needs the extra `anndata`), pycytominer
    tables : names of the tables to export; all profiles if empty, and not the single objects
    """

    formats: tuple[ExportFormat, ...] = ()
    tables: tuple[str, ...] = ()

    def wants(self, table: str) -> bool:
        """Whether a table of that name is exported."""
        return bool(self.formats) and (table in self.tables if self.tables else table != "objects")


def export_table(
    frame: pd.DataFrame,
    folder: Path | str,
    name: str,
    formats: Iterable[ExportFormat],
    *,
    dictionary: pd.DataFrame | None = None,
    uns: Mapping[str, Any] | None = None,
    basis: str = "umap",
) -> list[Path]:
    """Write a table as `{name}.csv`, `{name}.h5ad`, `{name}.pycytominer.parquet`.

    Parameters
    ----------
    dictionary : features with name, unit and formula, as `feature_dictionary` gives them
    uns : what else belongs to an AnnData file: versions, options
    basis : what made the map, where the table has one: `umap` or `pca`

    Returns
    -------
    Paths of what was written, in the order of `formats`; tables without measurements, such as that
    of hits, are written as CSV only
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[], Path]] = {
        "csv": lambda: _whole(out / f"{name}.csv", lambda p: _write_csv(frame, p)),
        "anndata": lambda: _whole(
            out / f"{name}.h5ad",
            to_anndata(frame, dictionary=dictionary, uns=uns, basis=basis).write_h5ad,
        ),
        "pycytominer": lambda: write_table(
            to_pycytominer(frame), out / f"{name}.pycytominer.parquet"
        ),
    }
    wanted = [form for form in dict.fromkeys(formats) if form == "csv" or feature_columns(frame)]
    return [writers[form]() for form in wanted]


def to_anndata(
    frame: pd.DataFrame,
    *,
    dictionary: pd.DataFrame | None = None,
    uns: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    basis: str = "umap",
) -> Any:
    """Make an AnnData of a table of cells, wells, guides or genes.

    `X` holds the measurements as float32; `obs` all other columns, text as categories, under names
    made of the row's keys; `var` the compartment, group and unit of every feature. `obsm` has
    the map (`Embed_1` …, as `X_umap`), `X_embedding` (learned features, which stay in `X` as well)
    and `spatial` (micrometres, x before y as scanpy plots them).

    Parameters
    ----------
    names : columns that name a row; by default its keys
    basis : what made the map: `umap` or `pca`
    """
    try:
        from anndata import AnnData
    except ImportError as error:
        raise InputError(
            "AnnData files need the package anndata: pip install 'poolvox[anndata]'"
        ) from error
    features = feature_columns(frame)
    index = _row_names(frame, names)
    obs = _observations(frame.drop(columns=features), index)
    found = AnnData(
        X=np.ascontiguousarray(frame[features].to_numpy(np.float32)),
        obs=obs,
        var=_variables(features, dictionary),
    )
    for key, values in _maps(frame, basis).items():
        found.obsm[key] = values
    found.uns.update(dict(uns or {}))
    return found


def _row_names(frame: pd.DataFrame, names: Sequence[str] | None) -> pd.Index[Any]:
    """Keys joined by dashes; a number is added where they do not tell rows apart."""
    wanted = [name for name in (names or NAMES) if name in frame]
    if OBJECT in wanted and names is None:
        # What a cell is called does not depend on its call or treatment.
        wanted = wanted[: wanted.index(OBJECT) + 1]
    text = pd.Series(["row"] * len(frame))
    if wanted:
        text = frame[wanted[0]].astype(str).reset_index(drop=True)
    for name in wanted[1:]:
        text = text + "-" + frame[name].astype(str).reset_index(drop=True)
    if not text.is_unique:
        text = text + "-" + (text.groupby(text).cumcount() + 1).astype(str)
    if not text.is_unique:
        text = text + "-" + pd.Series(np.arange(len(text)), dtype=str)
    return pd.Index([str(one) for one in text], dtype=object)


def _observations(keys: pd.DataFrame, index: pd.Index[Any]) -> pd.DataFrame:
    """Keys with text as categories: HDF5 has no text with gaps, and scanpy groups by categories."""
    columns: dict[str, Any] = {}
    for name in keys:
        column: Any = keys[name]
        plain = pd.api.types.is_numeric_dtype(column) and not isinstance(
            column.dtype, pd.CategoricalDtype
        )
        if not plain:
            text = column.astype(object).where(column.notna(), "").astype(str)
            column = pd.Categorical(text, categories=sorted(text.unique()))
        columns[str(name)] = column if not plain else column.to_numpy()
    return pd.DataFrame(columns, index=index)


def _variables(features: Sequence[str], dictionary: pd.DataFrame | None) -> pd.DataFrame:
    """Compartment, group, unit and formula of the features."""
    rows = []
    known = {} if dictionary is None else dictionary.set_index("name").to_dict("index")
    for name in features:
        compartment, _, rest = name.partition("_")
        group = rest.partition("_")[0]
        told = known.get(name) or known.get(rest) or {}
        match = UNIT.search(name)
        unit = str(told.get("unit") or (UNITS[match[1]] if match else ""))
        rows.append((compartment, group, unit, str(told.get("formula") or "")))
    columns = ["compartment", "group", "unit", "formula"]
    table = pd.DataFrame(rows, columns=columns, index=pd.Index(list(features), dtype=object))
    return table.astype({"compartment": "category", "group": "category"})


def _maps(frame: pd.DataFrame, basis: str) -> dict[str, Any]:
    """Coordinates that scanpy draws: maps, learned features, places."""
    found: dict[str, Any] = {}
    embedded = [name for name in frame if str(name).startswith("Embed_")]
    if embedded:
        found[f"X_{basis}"] = frame[embedded].to_numpy(np.float32)
    learned = [name for name in feature_columns(frame) if is_learned(name)]
    if learned:
        found["X_embedding"] = frame[learned].to_numpy(np.float32)
    places = [f"Metadata_{axis}_um" for axis in "XYZ" if f"Metadata_{axis}_um" in frame]
    if len(places) > 1:
        found["spatial"] = frame[places].to_numpy(np.float64)
    return found


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, lineterminator="\n", float_format=DIGITS, encoding="utf-8")


def _whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write under a temporary name, so that a reader sees all of a file or nothing."""
    partial = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
