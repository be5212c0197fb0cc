"""What a column of an object table is: a measurement, or something that says what a row is.

Everything numeric is a measurement unless its prefix says otherwise, so tables of CellProfiler,
pycytominer and CytoTable load as they are. Booleans are flags, never measurements.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.errors import InputError

__all__ = [
    "FIELD",
    "KEY_PREFIXES",
    "LABEL",
    "ORGANOID",
    "Matrix",
    "Samples",
    "chosen_features",
    "feature_columns",
    "feature_matrix",
    "flagged_rows",
    "is_learned",
    "key_columns",
    "match",
    "number_column",
    "plain_names",
    "with_features",
]

Matrix = NDArray[np.floating[Any]]
Samples = "str | pd.Series[bool] | NDArray[np.bool_] | None"

# pandas 3 copies what it joins when it is changed, and minds being told; pandas 2 has to be told.
_NO_COPY: Final[dict[str, Any]] = {} if int(pd.__version__.split(".")[0]) > 2 else {"copy": False}

KEY_PREFIXES: Final = (
    *("Metadata_", "QC_", "Call_", "Read_", "Hit_", "Map_", "Embed_", "Similarity_", "Class_"),
    *("Image_Metadata_", "ome_arrow_"),
)
LABEL: Final = "Metadata_Label"
ORGANOID: Final = "Metadata_Organoid"
# What names a field of view, as far as a table has it: ours, and CellProfiler's.
FIELD: Final = (
    *("Metadata_Plate", "Metadata_Well", "Metadata_Tile", "Metadata_Site"),
    *("Metadata_ImageNumber", "ImageNumber"),
)
# What numbers the objects of a field: ours, CellProfiler's, CytoTable's.
_NUMBERS: Final = re.compile(r"^Metadata_Label$|(?:^|_)(?:ObjectNumber|Number_Object_Number)$")
IMAGE_PREFIX: Final = "Image_"
# Part of the names of learned features.
LEARNED: Final = "_Embedding_"
IMAGE_METADATA: Final = "Image_Metadata_"
# Numbers that name an object or its parent, as CellProfiler, CytoTable and scikit-image write them,
# and rows, as pandas does.
_IDENTITY: Final = re.compile(
    r"(?:^|_)(?:ImageNumber|ObjectNumber|TableNumber|Number_Object_Number|Parent_.+|[iI][dD])$"
    r"|^(?:|index|label|level_\d+|Unnamed: \d+|__index_level_\d+__)$"
)


def is_feature(name: str, dtype: Any, *, image: bool = False) -> bool:
    """Tell whether a column of that name and type is a measurement.

    Parameters
    ----------
    image : count measurements of whole images, `Image_…`, as well
    """
    if name.startswith(KEY_PREFIXES) or _IDENTITY.search(name):
        return False
    if name.startswith(IMAGE_PREFIX) and not image:
        return False
    numeric = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
    return bool(numeric and not pd.api.types.is_complex_dtype(dtype))


def feature_columns(frame: pd.DataFrame, *, image: bool = False) -> list[str]:
    """Name the measurements, in the order of the table.

    Examples
    --------
    >>> feature_columns(pd.DataFrame({"Metadata_Well": ["A1"], "Cells_Area": [1.0]}))
    ['Cells_Area']
    """
    _refuse_doubles(frame.columns)
    dtypes = frame.dtypes.to_numpy()
    return [
        str(name) for name, kind in zip(frame, dtypes) if is_feature(str(name), kind, image=image)
    ]


def chosen_features(frame: pd.DataFrame, features: Sequence[str] | None) -> list[str]:
    """Name the features that were asked for; all measurements if None."""
    return feature_columns(frame) if features is None else list(features)


def number_column(frame: pd.DataFrame) -> str | None:
    """Name the column that numbers the objects of each field; ours comes first."""
    found = [str(name) for name in frame if _NUMBERS.search(str(name))]
    return LABEL if LABEL in found else next(iter(found), None)


def is_learned(name: str) -> bool:
    """Tell whether a network learned that feature from images: `Cells_Embedding_001`."""
    return LEARNED in name


def key_columns(frame: pd.DataFrame, *, image: bool = False) -> list[str]:
    """Name the columns that are no measurements, in the order of the table."""
    measured = set(feature_columns(frame, image=image))
    return [str(name) for name in frame if str(name) not in measured]


def feature_matrix(frame: pd.DataFrame, features: Sequence[str] | None = None) -> Matrix:
    """Copy measurements into one column-major matrix.

    Parameters
    ----------
    features : columns; all measurements of the table if None

    Returns
    -------
    (N, F) array: float32 where that holds every column (floats of up to 32 bits, integers of up
    to 16), else float64; missing values of any kind are NaN
    """
    names = chosen_features(frame, features)
    _refuse_absent(frame, names)
    columns = [frame[name] for name in names]
    for name, column in zip(names, columns):
        if not is_feature("x", column.dtype):
            raise InputError(
                f"column {name!r} holds {column.dtype}, not numbers: leave it out of the features"
            )
    single = all(_fits_single(column.dtype) for column in columns)
    values = np.empty((len(frame), len(names)), np.float32 if single else np.float64, order="F")
    for place, column in enumerate(columns):
        if pd.api.types.is_extension_array_dtype(column.dtype):
            values[:, place] = column.to_numpy(values.dtype, na_value=np.nan)
        else:
            values[:, place] = column.to_numpy()
    return values


def plain_names(keys: pd.DataFrame) -> pd.DataFrame:
    """Call `Image_Metadata_Plate`, as databases of CellProfiler have it, `Metadata_Plate`."""
    long = [str(name) for name in keys if str(name).startswith(IMAGE_METADATA)]
    names = {name: name.removeprefix(IMAGE_PREFIX) for name in long}
    return keys.rename(columns={old: new for old, new in names.items() if new not in keys})


def with_features(
    frame: pd.DataFrame, features: Sequence[str], values: Matrix, *, drop: Sequence[str] = ()
) -> pd.DataFrame:
    """Make a table of the other columns of `frame`, in their order, and then these measurements.

    Parameters
    ----------
    values : (N, F) array; the new table keeps it, so change it no more
    drop : columns that are left out
    """
    gone = {*features, *drop}
    others = [name for name in frame.columns if name not in gone]
    table = pd.DataFrame(values, columns=list(features), index=frame.index, copy=False)
    joined: pd.DataFrame = pd.concat([frame[others].copy(), table], axis=1, **_NO_COPY)
    return joined


def match(frame: pd.DataFrame, samples: Any = None) -> NDArray[np.bool_]:
    """Tell which rows are meant.

    Parameters
    ----------
    samples : all rows if None, a query such as `Metadata_Gene == 'nontargeting'`, or one boolean
        per row; missing is False

    Returns
    -------
    (N,) boolean array
    """
    if samples is None:
        return np.ones(len(frame), bool)
    if isinstance(samples, str):
        return _query(frame, samples)
    given = _as_flags(pd.Series(samples))
    if len(given) != len(frame):
        raise InputError(f"got {len(given)} values that choose rows of a table of {len(frame)}")
    if not pd.api.types.is_bool_dtype(given.dtype):
        raise InputError(f"rows are chosen by booleans or a query, got {given.dtype}")
    return np.asarray(given.to_numpy(bool, na_value=False))


def flagged_rows(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which rows any `QC_` column of booleans flags, those of coSMicQC included.

    Where a flag is missing, as Arrow hands it over among objects, nothing is flagged.
    """
    found = np.zeros(len(frame), bool)
    for name in frame.columns:
        if str(name).startswith(("QC_", "Metadata_cqc_")):
            column = _as_flags(frame[name])
            if pd.api.types.is_bool_dtype(column.dtype):
                found |= match(frame, column)
    return found


def _as_flags(column: pd.Series[Any]) -> pd.Series[Any]:
    """Take objects that are all true, false or missing for booleans."""
    if column.dtype != object:
        return column
    known = column.dropna()
    return column.astype("boolean") if len(known) and known.isin([True, False]).all() else column


def _query(frame: pd.DataFrame, query: str) -> NDArray[np.bool_]:
    try:
        # The place in the table, since an index may hold a name twice.
        places = frame.reset_index(drop=True).query(query).index.to_numpy()
    except Exception as error:
        keys = ", ".join(key_columns(frame)[:20])
        raise InputError(
            f"cannot choose rows by {query!r}: {error}; the table has the keys {keys}"
        ) from error
    found = np.zeros(len(frame), bool)
    found[places] = True
    return found


def _fits_single(dtype: Any) -> bool:
    kind, size = dtype.kind, dtype.itemsize
    return bool((kind == "f" and size <= 4) or (kind in "iu" and size <= 2))


def _refuse_doubles(columns: pd.Index[Any]) -> None:
    if not columns.is_unique:
        doubled = sorted({str(name) for name in columns[columns.duplicated()]})
        raise InputError(f"columns {doubled} occur twice: give each its own name")


def _refuse_absent(frame: pd.DataFrame, names: Sequence[Hashable]) -> None:
    _refuse_doubles(frame.columns)
    absent = [str(name) for name in names if name not in frame.columns]
    if absent:
        there = ", ".join(map(str, frame.columns[:20]))
        raise InputError(f"the table has no columns {absent}; it has {there}")
