"""Measurements of labelled objects in two and three dimensions.

`measure` is the way in; `group_names` lists what there is to measure, and `register` adds to it.
`choose_groups` tells how groups are named, with their options, in calls, configurations and on the
command line; `extensions` where groups of your own are looked for.
"""

# Importing the modules of the groups registers them; the order is that of the columns.
from poolvox.shared.features import shape, zernike, curvature  # isort: skip
from poolvox.shared.features import intensity, radial, texture  # isort: skip
from poolvox.shared.features import granularity, colocalisation, spots, neighbours  # isort: skip
from poolvox.shared.features.choice import (
    FeatureGroups,
    choose_groups,
    group_tokens,
    known_groups,
)
from poolvox.shared.features.objects import Objects, find_objects
from poolvox.shared.features.registry import (
    Feature,
    Group,
    feature_dictionary,
    get_group,
    group_names,
    register,
)
from poolvox.shared.features.table import measure, measure_objects, write_feature_dictionary

__all__ = [
    "Feature",
    "FeatureGroups",
    "Group",
    "Objects",
    "choose_groups",
    "feature_dictionary",
    "find_objects",
    "get_group",
    "group_names",
    "group_tokens",
    "known_groups",
    "measure",
    "measure_objects",
    "register",
    "write_feature_dictionary",
]

del shape, zernike, curvature, intensity, radial, texture, granularity, colocalisation, spots
del neighbours
