"""Ctrl-C, held back until a run can stop cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupts", "hold_interrupts"]


class Interrupts:
    """Tells whether Ctrl-C was pressed; the second press raises as usual."""

    def __init__(self) -> None:
        """Nothing was pressed yet."""
        self.pressed = False

    def press(self, number: int, frame: FrameType | None) -> None:
        """Remember the first press."""
        if self.pressed:
            signal.default_int_handler(number, frame)
        self.pressed = True


@contextmanager
def hold_interrupts() -> Iterator[Interrupts]:
    """Hold back the first Ctrl-C, which otherwise could strike between any two lines.

    Only the main thread can; elsewhere, and where a program handles Ctrl-C itself, all stays as
    it is.
    """
    interrupts = Interrupts()
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupts
        return
    signal.signal(signal.SIGINT, interrupts.press)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
