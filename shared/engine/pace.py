"""Counts, rate and time left of a run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from poolvox.shared.engine.layout import Layout
from poolvox.shared.engine.options import Event

__all__ = ["Pace"]


class Pace:
    """Tells whoever listens how far a run is.

    Parameters
    ----------
    expected : keys of the units that will probably have to run
    total : units of this run, reused ones included
    """

    def __init__(
        self, layout: Layout, expected: set[str], total: int, listen: Callable[[Event], None] | None
    ) -> None:
        """Start the clock."""
        self._layout = layout
        self._listen = listen
        self._expected = expected
        self._left = Counter(layout.units[key].step for key in expected)
        self._total = total
        self._spent: Counter[str] = Counter()
        self._ran: Counter[str] = Counter()
        self._settled = self._failed = 0
        self._start = time.monotonic()

    def tell(self, kind: str, key: str = "", message: str = "") -> None:
        """Report something that does not change a count."""
        if self._listen is not None:
            unit = self._layout.units.get(key)
            self._listen(
                Event(
                    kind,
                    key,
                    unit.step if unit else "",
                    message,
                    self._settled,
                    self._total,
                    self._failed,
                    self._rate(),
                    self._seconds_left(),
                )
            )

    def settle(self, kind: str, key: str, message: str = "", seconds: float | None = None) -> None:
        """Count a unit that came to its end; `seconds` if it ran."""
        step = self._layout.units[key].step
        self._settled += 1
        self._failed += kind == "failed"
        if key in self._expected:
            self._expected.discard(key)
            self._left[step] -= 1
        if seconds is not None:
            self._spent[step] += seconds  # type: ignore[assignment]  # a Counter adds floats too
            self._ran[step] += 1
        self.tell(kind, key, message)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._start

    def _rate(self) -> float:
        return self._ran.total() / self.elapsed if self._ran else 0.0

    def _seconds_left(self) -> float | None:
        """Work that remains, step by step, at the speed at which work has gone so far."""
        spent = sum(self._spent.values())
        if not spent:
            return None
        mean = spent / self._ran.total()
        work = 0.0
        for step, count in self._left.items():
            work += count * (self._spent[step] / self._ran[step] if self._ran[step] else mean)
        return work * self.elapsed / spent
