"""The only code that touches zarr: images, labels, pyramids, plates and their validation."""

from __future__ import annotations

from poolvox.shared.store.images import Image, create_image, open_image
from poolvox.shared.store.plate import Plate, Well, create_plate, open_plate
from poolvox.shared.store.tables import join_tables, read_table, write_table
from poolvox.shared.store.targets import Target
from poolvox.shared.store.validation import Problem, Validation, validate
from poolvox.shared.store.viewers import Verdict

__all__ = [
    "Image",
    "Plate",
    "Problem",
    "Target",
    "Validation",
    "Verdict",
    "Well",
    "create_image",
    "create_plate",
    "join_tables",
    "open_image",
    "open_plate",
    "read_table",
    "validate",
    "write_table",
]
