"""Memory that a thread uses again, where one tile after the other needs as much.

Fresh memory of hundreds of megabytes is not free: the system clears it page by page, and while it
hands it out or takes it back, the other threads of the process wait.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Scratch"]


class Scratch(threading.local):
    """An array of its own for every thread, as large as the largest that was asked for.

    It goes with the thread. What it held is overwritten at the next call of the same thread, so
    nothing that outlives a tile may refer to it.

    Examples
    --------
    >>> scratch = Scratch()
    >>> first = scratch.array((2, 3), "uint16")
    >>> np.shares_memory(first, scratch.array((5,), "uint8"))
    True
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._memory = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array with any content."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if len(self._memory) < size:
            self._memory = np.empty(0, np.uint8)  # the old goes before the new comes
            self._memory = np.empty(size, np.uint8)
        return self._memory[:size].view(dtype).reshape(shape)
