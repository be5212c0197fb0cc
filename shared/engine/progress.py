"""Progress on a terminal, in a notebook, or as plain lines for logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO

from poolvox.shared.engine.options import Event

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["PlainProgress", "describe_seconds", "show_progress"]

Listener = Callable[[Event], None]

# Between two plain lines that only tell how far it is.
_LINE_SECONDS = 30.0
_REDRAW_SECONDS = 0.1


@contextmanager
def show_progress(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Listener]:
    """Show the events of a run: a bar on terminals and in notebooks with ipywidgets, else lines.

    Parameters
    ----------
    quiet : only failures, as plain lines
    stream : where to; standard error if None, and standard output in notebooks, which show what
        comes by standard error as an alarm

    Examples
    --------
    >>> with show_progress() as progress:                      # doctest: +SKIP
    ...     run_plan(units, output, progress=progress)
    """
    notebook = _in_notebook()
    stream = stream or (sys.stdout if notebook else sys.stderr)
    # Without widgets rich asks for them at every refresh.
    drawn = find_spec("ipywidgets") is not None if notebook else stream.isatty()
    if quiet or not drawn:
        yield PlainProgress(stream, quiet=quiet)
        return
    from rich.console import Console

    with _bar(Console(file=None if notebook else stream, stderr=True)) as progress:
        yield _RichListener(progress)


class PlainProgress:
    """One line when something is worth it: failures, notes, and how far it is now and then."""

    def __init__(
        self, stream: TextIO, *, quiet: bool = False, seconds: float = _LINE_SECONDS
    ) -> None:
        """Write to `stream`, how far it is every so many seconds."""
        self._stream, self._quiet, self._seconds = stream, quiet, seconds
        self._next = time.monotonic() + seconds
        self._told: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Write a line, or not."""
        line = self._line(event)
        if line:
            self._stream.write(line + "\n")
            self._stream.flush()

    def _line(self, event: Event) -> str:
        if event.kind == "failed":
            return f"{_counts(event)} failed {event.key}: {event.message}"
        if self._quiet:
            return ""
        if event.kind in ("begin", "note"):
            return event.message
        if event.kind == "skipped":
            # A unit that failed costs all that need it, for one reason.
            if event.message in self._told:
                return ""
            self._told.add(event.message)
            return f"{_counts(event)} skipped {event.key}: {event.message}"
        due = time.monotonic() >= self._next
        if event.kind == "end" or (due and event.kind in ("finished", "reused")):
            self._next = time.monotonic() + self._seconds
            return " ".join(filter(None, (_counts(event), _pace(event), event.message)))
        return ""


class _RichListener:
    """A bar for all units and what runs now; failures stay above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = progress.add_task("units", total=None, pace="", failed="")
        self._running: dict[str, None] = {}
        self._drawn = 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "started":
            self._running[event.key] = None
        else:
            self._running.pop(event.key, None)
        if event.kind in ("failed", "note", "begin"):
            from rich.markup import escape

            mark = f"[red]failed[/] {escape(event.key)}: " if event.kind == "failed" else ""
            self._progress.console.print(mark + escape(event.message), highlight=False)
        now = time.monotonic()
        if event.kind == "end" or now - self._drawn > _REDRAW_SECONDS:
            self._drawn = now
            self._draw(event)

    def _draw(self, event: Event) -> None:
        names = list(self._running)
        text = ", ".join(names[:2]) + (f" +{len(names) - 2}" if len(names) > 2 else "")
        self._progress.update(
            self._bar,
            completed=event.done,
            total=event.total,
            description=text or "units",
            pace=_pace(event),
            failed=f"{event.failed} failed" if event.failed else "",
        )


def describe_seconds(seconds: float) -> str:
    """Say a time as people do: `8 s`, `12 min`, `3 h 05 min`.

    Examples
    --------
    >>> describe_seconds(8.2), describe_seconds(725), describe_seconds(11100)
    ('8 s', '12 min', '3 h 05 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _counts(event: Event) -> str:
    return f"{event.done}/{event.total}"


def _pace(event: Event) -> str:
    if not event.rate:
        return ""
    per_second = event.rate >= 1
    pace = f"{event.rate:.1f}/s" if per_second else f"{event.rate * 60:.1f}/min"
    return f"{pace}, {describe_seconds(event.left)} left" if event.left else pace


def _bar(console: object) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    assert isinstance(console, Console)
    return Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TextColumn("[red]{task.fields[failed]}"),
        TextColumn("[dim]{task.description}", markup=True),
        console=console,
    )


def _in_notebook() -> bool:
    """Tell whether a Jupyter kernel shows what is printed, without importing IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
