"""A simulated optical pooled screen: raw images as a microscope writes them, and the truth."""

from poolvox.ops.simulate.params import (
    Camera,
    Chemistry,
    Faults,
    Guides,
    Layout,
    Phenotype,
    ScreenParams,
    in_colours,
    preset,
)
from poolvox.ops.simulate.phenotype import simulate_phenotype
from poolvox.ops.simulate.screen import simulate_screen
from poolvox.ops.simulate.tile import Truth, simulate_tile

__all__ = [
    "Camera",
    "Chemistry",
    "Faults",
    "Guides",
    "Layout",
    "Phenotype",
    "ScreenParams",
    "Truth",
    "in_colours",
    "preset",
    "simulate_phenotype",
    "simulate_screen",
    "simulate_tile",
]
