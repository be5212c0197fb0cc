"""From object tables to profiles, hits, maps and clusters: pandas in, pandas out.

The steps are functions on tables in which `Metadata_`, `QC_` and `Call_` columns say what a row
is and every other number is a measurement; `make_profiles` runs them all on Parquet files. A name
is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolvox.shared.profiles.aggregation import aggregate, bootstrap
    from poolvox.shared.profiles.columns import feature_columns, key_columns
    from poolvox.shared.profiles.judging import SelectionOptions
    from poolvox.shared.profiles.record import Record
    from poolvox.shared.profiles.scaling import normalize, normalize_local
    from poolvox.shared.profiles.selection import select_features

_HOMES = {
    "aggregation": ("aggregate", "bootstrap"),
    "columns": ("feature_columns", "key_columns"),
    "record": ("Record",),
    "scaling": ("normalize", "normalize_local"),
    "judging": ("SelectionOptions",),
    "selection": ("select_features",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Record",
    "SelectionOptions",
    "aggregate",
    "bootstrap",
    "feature_columns",
    "key_columns",
    "normalize",
    "normalize_local",
    "select_features",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
