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
    from poolvox.shared.profiles.annotation import annotate, read_annotation
    from poolvox.shared.profiles.batches import combat, harmony, sphere, tvn
    from poolvox.shared.profiles.columns import feature_columns, key_columns
    from poolvox.shared.profiles.config import ProfilesConfig
    from poolvox.shared.profiles.judging import SelectionOptions
    from poolvox.shared.profiles.mixing import batch_mixing
    from poolvox.shared.profiles.quality import count_objects, flag_quality
    from poolvox.shared.profiles.recipe import Profiles, make_profiles
    from poolvox.shared.profiles.record import Record
    from poolvox.shared.profiles.scaling import normalize, normalize_local
    from poolvox.shared.profiles.selection import select_features

_HOMES = {
    "aggregation": ("aggregate", "bootstrap"),
    "annotation": ("annotate", "read_annotation"),
    "batches": ("combat", "harmony", "sphere", "tvn"),
    "columns": ("feature_columns", "key_columns"),
    "config": ("ProfilesConfig",),
    "judging": ("SelectionOptions",),
    "mixing": ("batch_mixing",),
    "quality": ("count_objects", "flag_quality"),
    "recipe": ("Profiles", "make_profiles"),
    "record": ("Record",),
    "scaling": ("normalize", "normalize_local"),
    "selection": ("select_features",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Profiles",
    "ProfilesConfig",
    "Record",
    "SelectionOptions",
    "aggregate",
    "annotate",
    "batch_mixing",
    "bootstrap",
    "combat",
    "count_objects",
    "feature_columns",
    "flag_quality",
    "harmony",
    "key_columns",
    "make_profiles",
    "normalize",
    "normalize_local",
    "read_annotation",
    "select_features",
    "sphere",
    "tvn",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
