"""Measurements of labelled objects in two and three dimensions."""

from poolvox.shared.features import colocalisation as _colocalisation
from poolvox.shared.features import intensity as _intensity
from poolvox.shared.features import radial as _radial
from poolvox.shared.features import shape as _shape
from poolvox.shared.features import texture as _texture
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

del _colocalisation, _intensity, _radial, _shape, _texture  # imported for the groups they register
