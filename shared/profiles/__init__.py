"""From object tables to profiles, hits, maps and clusters: pandas in, pandas out.

The steps are functions on tables in which `Metadata_`, `QC_` and `Call_` columns say what a row
is and every other number is a measurement; `make_profiles` runs them all on Parquet files. A name
is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolvox.shared.profiles.combine.aggregation import aggregate, bootstrap
    from poolvox.shared.profiles.compare.energy import energy_distance, energy_test
    from poolvox.shared.profiles.compare.pairs import Pairs
    from poolvox.shared.profiles.compare.precision import average_precision, mean_average_precision
    from poolvox.shared.profiles.compare.rates import benjamini_hochberg, hierarchical_fdr
    from poolvox.shared.profiles.compare.replication import percent_matching, percent_replicating
    from poolvox.shared.profiles.compare.similarity import neighbours
    from poolvox.shared.profiles.config import ProfilesConfig
    from poolvox.shared.profiles.correct.batches import combat, harmony, sphere, tvn
    from poolvox.shared.profiles.correct.mixing import batch_mixing
    from poolvox.shared.profiles.hits.comparison import Comparison
    from poolvox.shared.profiles.hits.hits import find_hits
    from poolvox.shared.profiles.hits.power import find_power
    from poolvox.shared.profiles.learn.hybrid import ablate
    from poolvox.shared.profiles.learn.phenotypes import learn_classes
    from poolvox.shared.profiles.maps.clusters import cluster
    from poolvox.shared.profiles.maps.embedding import embed
    from poolvox.shared.profiles.maps.enrichment import enrich, read_gmt
    from poolvox.shared.profiles.normalise.judging import SelectionOptions
    from poolvox.shared.profiles.normalise.quality import count_objects, flag_quality
    from poolvox.shared.profiles.normalise.scaling import normalize, normalize_local
    from poolvox.shared.profiles.normalise.selection import select_features
    from poolvox.shared.profiles.recipe import Profiles, make_profiles
    from poolvox.shared.profiles.simulate import TableParams, simulate_plate, simulate_screen_tables
    from poolvox.shared.profiles.tables.annotation import annotate, read_annotation
    from poolvox.shared.profiles.tables.columns import feature_columns, key_columns
    from poolvox.shared.profiles.tables.export import export_table, to_anndata
    from poolvox.shared.profiles.tables.record import Record

_HOMES = {
    "combine.aggregation": ("aggregate", "bootstrap"),
    "tables.annotation": ("annotate", "read_annotation"),
    "correct.batches": ("combat", "harmony", "sphere", "tvn"),
    "maps.clusters": ("cluster",),
    "tables.columns": ("feature_columns", "key_columns"),
    "hits.comparison": ("Comparison",),
    "config": ("ProfilesConfig",),
    "maps.embedding": ("embed",),
    "compare.energy": ("energy_distance", "energy_test"),
    "maps.enrichment": ("enrich", "read_gmt"),
    "tables.export": ("export_table", "to_anndata"),
    "hits.hits": ("find_hits",),
    "learn.hybrid": ("ablate",),
    "normalise.judging": ("SelectionOptions",),
    "correct.mixing": ("batch_mixing",),
    "compare.pairs": ("Pairs",),
    "learn.phenotypes": ("learn_classes",),
    "hits.power": ("find_power",),
    "compare.precision": ("average_precision", "mean_average_precision"),
    "normalise.quality": ("count_objects", "flag_quality"),
    "compare.rates": ("benjamini_hochberg", "hierarchical_fdr"),
    "recipe": ("Profiles", "make_profiles"),
    "tables.record": ("Record",),
    "compare.replication": ("percent_matching", "percent_replicating"),
    "normalise.scaling": ("normalize", "normalize_local"),
    "normalise.selection": ("select_features",),
    "compare.similarity": ("neighbours",),
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
