"""How loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

__all__ = ["kernel", "sum_kernel"]

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with numba: cached on disk, without the lock, IEEE division."""
    compiled: Callable[P, R] = njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled


def sum_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile sums that may be added up in any order: several at once, and right to rounding."""
    compiled: Callable[P, R] = njit(
        cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"}
    )(function)
    return compiled
