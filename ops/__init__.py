"""Optical pooled screens: from sequencing cycles to cells that carry a barcode.

`Screen` runs a configuration. The steps are functions of arrays and tables, for one tile at a time;
`tutorials/01_pooled_screen.ipynb` walks through them in this order.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolvox.ops.align import align_tile
    from poolvox.ops.cells import call_cells, near_cells
    from poolvox.ops.chemistry import resolve_chemistry
    from poolvox.ops.codebook import Codebook
    from poolvox.ops.decode import decode_reads, reads_frame
    from poolvox.ops.decoys import make_decoys
    from poolvox.ops.library import LibrarySpec, load_library, make_library
    from poolvox.ops.objects import measure_cells
    from poolvox.ops.rates import fit_error_model
    from poolvox.ops.screen import Screen
    from poolvox.ops.segment import segment_cells, segment_nuclei
    from poolvox.ops.signal import apply_corrections, estimate_corrections
    from poolvox.ops.spots import find_spots, sample_bases

__all__ = [
    "Codebook",
    "LibrarySpec",
    "Screen",
    "align_tile",
    "apply_corrections",
    "call_cells",
    "decode_reads",
    "estimate_corrections",
    "find_spots",
    "fit_error_model",
    "load_library",
    "make_decoys",
    "make_library",
    "measure_cells",
    "near_cells",
    "reads_frame",
    "resolve_chemistry",
    "sample_bases",
    "segment_cells",
    "segment_nuclei",
]

# Loaded when first asked for (PEP 562): the command starts without paying for them.
_HOMES = {
    "Codebook": "codebook",
    "LibrarySpec": "library",
    "Screen": "screen",
    "align_tile": "align",
    "apply_corrections": "signal",
    "call_cells": "cells",
    "decode_reads": "decode",
    "estimate_corrections": "signal",
    "find_spots": "spots",
    "fit_error_model": "rates",
    "load_library": "library",
    "make_decoys": "decoys",
    "make_library": "library",
    "measure_cells": "objects",
    "near_cells": "cells",
    "reads_frame": "decode",
    "resolve_chemistry": "chemistry",
    "sample_bases": "spots",
    "segment_cells": "segment",
    "segment_nuclei": "segment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """What completion shows: the public names and the modules, not what this file is made with."""
    own = (n for n, v in globals().items() if n.startswith("__") or isinstance(v, ModuleType))
    return sorted({*__all__, *own})
