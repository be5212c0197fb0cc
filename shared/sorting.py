"""The order in which people expect names: 2 before 10."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["natural"]

NUMBER: Final = re.compile(r"(\d+)")


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts 2 before 10, and letters in their order.

    Examples
    --------
    >>> sorted(["c10", "c2", "b"], key=natural)
    ['b', 'c2', 'c10']
    """
    parts = NUMBER.split(text)
    pieces = tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p)
    # The text itself decides between 1 and 01, so that the order never depends on the disk's.
    return (*pieces, (-1, 0, text))
