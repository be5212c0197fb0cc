"""Organoid z-stacks: segmentation and measurement in three dimensions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolvox.organoid3d.graph import tissue_graph
    from poolvox.organoid3d.measure import measure_nuclei
    from poolvox.organoid3d.nuclei import segment_nuclei

__all__ = ["measure_nuclei", "segment_nuclei", "tissue_graph"]

# Loaded when first asked for (PEP 562): the command starts without paying for them.
_HOMES = {
    "measure_nuclei": "poolvox.organoid3d.measure",
    "segment_nuclei": "poolvox.organoid3d.nuclei",
    "tissue_graph": "poolvox.organoid3d.graph",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
