"""Measurements of labelled objects in two and three dimensions.

`measure` is the way in; `group_names` lists what there is to measure, and `register` adds to it.
"""

# Importing the modules of the groups registers them; the order is that of the columns.
from poolvox.shared.features import shape, zernike, curvature  # isort: skip
from poolvox.shared.features import intensity, radial, texture  # isort: skip
from poolvox.shared.features import granularity, colocalisation, spots, neighbours  # isort: skip
from poolvox.shared.features.objects import Objects, find_objects
from poolvox.shared.features.registry import (
    Feature,
    Group,
    feature_dictionary,
    get_group,
    group_names,
    register,
)
from poolvox.shared.features.table import (
    choose_groups,
    measure,
    measure_objects,
    write_feature_dictionary,
)

__all__ = [
    "Feature",
    "Group",
    "Objects",
    "choose_groups",
    "feature_dictionary",
    "find_objects",
    "get_group",
    "group_names",
    "measure",
    "measure_objects",
    "register",
    "write_feature_dictionary",
]

del shape, zernike, curvature, intensity, radial, texture, granularity, colocalisation, spots
del neighbours
