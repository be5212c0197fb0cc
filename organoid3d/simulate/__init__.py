"""Organoids made up in the computer: stacks as a microscope would see them, and the exact truth."""

from poolvox.organoid3d.simulate.field import Field, simulate_field
from poolvox.organoid3d.simulate.optics import Optics
from poolvox.organoid3d.simulate.plate import Effect, PlateSpec, simulate_plate
from poolvox.organoid3d.simulate.scene import FieldSpec
from poolvox.organoid3d.simulate.tissue import OrganoidSpec

__all__ = [
    "Effect",
    "Field",
    "FieldSpec",
    "Optics",
    "OrganoidSpec",
    "PlateSpec",
    "simulate_field",
    "simulate_plate",
]
