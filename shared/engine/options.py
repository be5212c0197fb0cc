"""How a run is to be done, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Event", "Options", "RunSummary"]


@dataclass(frozen=True, slots=True)
class Options:
    """Where and how much; none of it changes a result.

    Parameters
    ----------
    workers : units at a time; None for one per core, or for all the threads of a dask cluster
    memory : what all running units together may need, e.g. `"8GB"`; None for 80 % of what is free
    scheduler : `threads`; `processes`; `auto`, threads for few workers and processes where many
        would wait for each other; `local` (a dask cluster on this machine) or the address of a
        dask scheduler
    steps : only these steps, and what they need that is not done yet; empty for all
    only, exclude : places such as `A1`, `A1/3`, `well=A1`, `B*`; units that lack the place, such
        as the reductions over a plate, still run, on what is there
    force : run selected units again even if nothing changed
    """

    workers: int | None = None
    memory: str | None = None
    scheduler: str = "auto"
    steps: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, with the counts after it, for whoever shows progress.

    Parameters
    ----------
    kind : `begin`, `started`, `finished`, `failed`, `reused`, `skipped`, `note` or `end`
    done, total : units settled in any way, and units of this run
    failed : units that failed so far
    rate : units that ran per second; 0 before the first
    left : seconds that remain by the pace of each step; None before that is known
    """

    kind: str
    key: str = ""
    step: str = ""
    message: str = ""
    done: int = 0
    total: int = 0
    failed: int = 0
    rate: float = 0.0
    left: float | None = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What became of each unit of a run.

    Parameters
    ----------
    done, reused : keys of units that ran, and of units whose results still held
    failed, skipped : key -> reason
    orphans : keys that an earlier run did and the plan no longer has; their files are kept
    stopped : why the run ended early, and how to go on; empty if it did not
    """

    output: Path
    done: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    seconds: float = 0.0
    stopped: str = ""

    @property
    def exit_code(self) -> int:
        """0 if all went well; 1 if units failed or the run was stopped."""
        return 1 if self.failed or self.stopped else 0
