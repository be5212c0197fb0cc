"""How far a run is, read from its folder; also while it goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from poolvox.shared.engine import lock
from poolvox.shared.engine.journal import PLAN_NAME, Record, read_lines, read_records
from poolvox.shared.engine.layout import Layout
from poolvox.shared.errors import EngineError

__all__ = ["Status", "StepStatus", "by_reason", "read_status"]

# Units of one reason that are named before the rest is counted.
NAMED = 3


@dataclass(slots=True)
class StepStatus:
    """Units of a step by state.

    `stale` units were done, but with other parameters, inputs or code, or their files are gone;
    `running` ones were begun by a run that is alive.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    pending: int = 0
    stale: int = 0
    running: int = 0

    @property
    def total(self) -> int:
        """Units of the step."""
        return self.done + self.failed + self.skipped + self.pending + self.stale + self.running


@dataclass(frozen=True, slots=True)
class Status:
    """State of a run's folder.

    Parameters
    ----------
    running : who works in the folder now (`host ..., process ..., since ...`); empty if nobody
    run, started : number and start of the last run
    steps : counts by step, in the order of the steps
    failed : key -> reason; `logs` the files with the tracebacks, below the folder
    skipped : key -> reason
    orphans : units that were done once and are no longer in the plan
    """

    output: Path
    running: str
    run: int
    started: str
    steps: Mapping[str, StepStatus]
    failed: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Tell whether every unit of the plan is done."""
        return all(step.done == step.total for step in self.steps.values())


def by_reason(units: Mapping[str, str]) -> list[tuple[str, str]]:
    """Units with one reason in one row, as a broken tile costs all that is made of it.

    Parameters
    ----------
    units : key -> reason

    Examples
    --------
    >>> by_reason({"decode/1": "needs a", "measure/1": "needs a", "decode/2": "needs b"})
    [('decode/1, measure/1', 'needs a'), ('decode/2', 'needs b')]
    """
    rows: dict[str, list[str]] = {}
    for key, reason in units.items():
        rows.setdefault(reason, []).append(key)
    return [(_some(keys), reason) for reason, keys in rows.items()]


def _some(keys: Sequence[str]) -> str:
    more = len(keys) - NAMED
    return ", ".join(keys[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def read_status(output: Path) -> Status:
    """Read the state of a run.

    Raises
    ------
    EngineError
        if the folder has no journal
    """
    folder = Path(output) / "journal"
    plan = read_lines(folder / PLAN_NAME)
    header = next(plan, None)
    if header is None:
        raise EngineError(f"{output} is not the folder of a run: it has no journal/{PLAN_NAME}")
    running = lock.holder(folder)
    records = read_records(folder)
    steps: dict[str, StepStatus] = {step: StepStatus() for step in header["steps"]}
    planned = set()
    for unit in plan:
        key = unit["unit"]
        planned.add(key)
        state = _state(unit["state"], records.get(key), header["run"], alive=bool(running))
        counts = steps[unit["step"]]
        setattr(counts, state, getattr(counts, state) + 1)
    current = {key: record for key, record in records.items() if key in planned}
    failed = {key: record for key, record in current.items() if record.state == "failed"}
    return Status(
        Path(output),
        running,
        header["run"],
        header["started"],
        steps,
        {key: record.reason for key, record in failed.items()},
        {key: record.log for key, record in failed.items() if record.log},
        {key: record.reason for key, record in current.items() if record.state == "skipped"},
        tuple(key for key in records if key not in planned),
    )


def plan_lines(layout: Layout, states: Mapping[str, str], run: int, started: str) -> Iterator[str]:
    """Lines of the plan's file: what `read_status` counts against the journal."""
    yield json.dumps({"run": run, "started": started, "steps": layout.steps}) + "\n"
    for key, unit in layout.units.items():
        facts = {"unit": key, "step": unit.step, "state": states[key]}
        yield json.dumps(facts, separators=(",", ":")) + "\n"


def _state(foretold: str, record: Record | None, run: int, *, alive: bool) -> str:
    """State of a unit: what the last run noted, else what it found when it began."""
    if record is None:
        return "pending"
    if record.state == "begun":
        return "running" if alive else "pending"
    if record.run < run:
        return foretold
    return record.state
