"""Measurements of labelled objects in two and three dimensions."""

from . import shape as _shape
from .objects import Objects, find_objects
from .registry import Feature, Group, feature_dictionary, get_group, group_names, register
from .table import choose_groups, measure, measure_objects, write_feature_dictionary

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

del _shape  # imported for the groups it registers
