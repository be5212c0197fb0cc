"""Optical pooled screens: from sequencing cycles to cells that carry a barcode."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolvox.ops.screen import Screen

__all__ = ["Screen"]

# Loaded when first asked for (PEP 562): the command starts without paying for them.
_HOMES = {"Screen": "poolvox.ops.screen"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
