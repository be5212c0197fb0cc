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
    from poolvox.shared.profiles.clusters import cluster
    from poolvox.shared.profiles.columns import feature_columns, key_columns
    from poolvox.shared.profiles.comparison import Comparison
    from poolvox.shared.profiles.config import ProfilesConfig
    from poolvox.shared.profiles.embedding import embed
    from poolvox.shared.profiles.energy import energy_distance, energy_test
    from poolvox.shared.profiles.enrichment import enrich, read_gmt
    from poolvox.shared.profiles.export import export_table, to_anndata
    from poolvox.shared.profiles.hits import find_hits
    from poolvox.shared.profiles.hybrid import ablate
    from poolvox.shared.profiles.judging import SelectionOptions
    from poolvox.shared.profiles.mixing import batch_mixing
    from poolvox.shared.profiles.pairs import Pairs
    from poolvox.shared.profiles.phenotypes import learn_classes
    from poolvox.shared.profiles.power import find_power
    from poolvox.shared.profiles.precision import average_precision, mean_average_precision
    from poolvox.shared.profiles.quality import count_objects, flag_quality
    from poolvox.shared.profiles.rates import benjamini_hochberg, hierarchical_fdr
    from poolvox.shared.profiles.recipe import Profiles, make_profiles
    from poolvox.shared.profiles.record import Record
    from poolvox.shared.profiles.replication import percent_matching, percent_replicating
    from poolvox.shared.profiles.scaling import normalize, normalize_local
    from poolvox.shared.profiles.selection import select_features
    from poolvox.shared.profiles.similarity import neighbours
    from poolvox.shared.profiles.simulate import TableParams, simulate_plate, simulate_screen_tables

_HOMES = {
    "aggregation": ("aggregate", "bootstrap"),
    "annotation": ("annotate", "read_annotation"),
    "batches": ("combat", "harmony", "sphere", "tvn"),
    "clusters": ("cluster",),
    "columns": ("feature_columns", "key_columns"),
    "comparison": ("Comparison",),
    "config": ("ProfilesConfig",),
    "embedding": ("embed",),
    "energy": ("energy_distance", "energy_test"),
    "enrichment": ("enrich", "read_gmt"),
    "export": ("export_table", "to_anndata"),
    "hits": ("find_hits",),
    "hybrid": ("ablate",),
    "judging": ("SelectionOptions",),
    "mixing": ("batch_mixing",),
    "pairs": ("Pairs",),
    "phenotypes": ("learn_classes",),
    "power": ("find_power",),
    "precision": ("average_precision", "mean_average_precision"),
    "quality": ("count_objects", "flag_quality"),
    "rates": ("benjamini_hochberg", "hierarchical_fdr"),
    "recipe": ("Profiles", "make_profiles"),
    "record": ("Record",),
    "replication": ("percent_matching", "percent_replicating"),
    "scaling": ("normalize", "normalize_local"),
    "selection": ("select_features",),
    "similarity": ("neighbours",),
    "simulate": ("TableParams", "simulate_plate", "simulate_screen_tables"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Comparison",
    "Pairs",
    "Profiles",
    "ProfilesConfig",
    "Record",
    "SelectionOptions",
    "TableParams",
    "ablate",
    "aggregate",
    "annotate",
    "average_precision",
    "batch_mixing",
    "benjamini_hochberg",
    "bootstrap",
    "cluster",
    "combat",
    "count_objects",
    "embed",
    "energy_distance",
    "energy_test",
    "enrich",
    "export_table",
    "feature_columns",
    "find_hits",
    "find_power",
    "flag_quality",
    "harmony",
    "hierarchical_fdr",
    "key_columns",
    "learn_classes",
    "make_profiles",
    "mean_average_precision",
    "neighbours",
    "normalize",
    "normalize_local",
    "percent_matching",
    "percent_replicating",
    "read_annotation",
    "read_gmt",
    "select_features",
    "simulate_plate",
    "simulate_screen_tables",
    "sphere",
    "to_anndata",
    "tvn",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
