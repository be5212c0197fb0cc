"""What a run will do and cost, known before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolvox.shared.cli.console import count, named, say, show_path, size, table
from poolvox.shared.cli.work import Job

if TYPE_CHECKING:
    from poolvox.shared.engine import Options, Record, Unit

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True, slots=True)
class StepCost:
    """Units of a step, those that an earlier run has done, and bytes and seconds of one."""

    step: str
    units: int
    done: int
    memory: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """The plan in numbers.

    Parameters
    ----------
    places : tiles or organoids, counted by all that `--only` can select
    files, size : raw files that are there, and their bytes
    peak : bytes that the run needs with so many workers; `budget` what it may use
    seconds : time that remains, where earlier runs tell it
    problems : place and reason of what will fail
    remarks : what the pipeline says of its input, by name; without one it belongs to the last
    gaps : places where tiles seem to lack, and what is known; they stop nothing
    """

    pipeline: str
    output: Path
    places: int
    files: int
    size: int
    steps: tuple[StepCost, ...]
    workers: int
    peak: int
    budget: int
    seconds: float | None
    problems: tuple[tuple[str, str], ...]
    remarks: tuple[tuple[str, str], ...] = ()
    gaps: tuple[tuple[str, str], ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if all can run; 1 if some units will fail; 2 if nothing can run."""
        if not self.problems:
            return 0
        return 2 if self.places and len(self.problems) >= self.places else 1

    def facts(self) -> dict[str, Any]:
        """All of it as plain data."""
        from dataclasses import asdict

        return {**asdict(self), "exit_code": self.exit_code}

    def show(self) -> None:
        """Write it for people."""
        from poolvox.shared.engine.progress import describe_seconds

        say(f"pipeline  {self.pipeline}")
        say(f"output    {show_path(self.output)}")
        files = f"{count(self.files, 'file')}, {size(self.size)}"
        say(f"input     {files}; {count(self.places, 'tile')}")
        for name, text in self.remarks:
            say(f"{name:8}  {text}")
        memory = f"{size(self.peak)} with {count(self.workers, 'worker')}"
        say(f"memory    {memory}, of {size(self.budget)} that the run may use")
        time = "not known before a first run"
        if self.seconds is not None:
            time = f"about {describe_seconds(self.seconds)}"
        say(f"time      {time}")
        rows = [
            (s.step, f"{s.units:,}", f"{s.done:,}", size(s.memory), _seconds(s.seconds))
            for s in self.steps
        ]
        say("\n" + table(["step", "units", "done", "memory each", "time each"], rows, indent="  "))
        if self.gaps:
            say(f"\nwithout files:\n{named(self.gaps)}")
        if self.problems:
            say(f"\n{count(len(self.problems), 'problem')}:\n{named(self.problems)}")
        say(("\nnothing can run", "\nthe rest can run", "\nready to run")[2 - self.exit_code])


def estimate(job: Job, options: Options) -> Estimate:
    """Lay the plan and count it.

    Raises
    ------
    InputError
        if the pipeline finds nothing that it can do
    EngineError
        if the plan is wrong
    """
    from poolvox.shared.engine import cores, parse_memory
    from poolvox.shared.engine.decisions import foretell
    from poolvox.shared.engine.journal import JOURNAL_NAME, Past
    from poolvox.shared.engine.layout import lay_out
    from poolvox.shared.engine.resources import default_budget

    layout = lay_out(job.pipeline.plan(job.config), job.output)
    units = list(layout.units.values())
    past = Past(job.output / JOURNAL_NAME)
    states = foretell(layout, job.output, past)
    workers = options.workers or cores()
    budget = parse_memory(options.memory) if options.memory else default_budget()
    sizes, missing = _look_at(units)
    steps = tuple(_costs(units, states, past.records))
    left = [(s.units - s.done, s.seconds) for s in steps]
    known = all(seconds is not None for todo, seconds in left if todo)
    total = sum(todo * (seconds or 0.0) for todo, seconds in left)
    return Estimate(
        pipeline=job.pipeline.name,
        output=job.output,
        places=_places(units),
        files=len(sizes),
        size=sum(sizes),
        steps=steps,
        workers=workers,
        peak=_peak(units, workers, budget),
        budget=budget,
        seconds=total / workers if known else None,
        problems=tuple(_problems(job, missing)),
        remarks=tuple(_remarks(job)),
        gaps=tuple(_gaps(units)),
    )


def _look_at(units: Sequence[Unit]) -> tuple[list[int], list[Path]]:
    """Sizes of the raw files that are there, and the names of those that are not."""
    sizes, missing = [], []
    for path in dict.fromkeys(path for unit in units for path in unit.inputs):
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            missing.append(path)
    return sizes, missing


def _places(units: Sequence[Unit]) -> int:
    """Tiles or organoids, and not the wells and plates that other units are for."""
    places = {frozenset(unit.where.items()) for unit in units if unit.inputs}
    # Those above have fewer names; comparing all pairs takes minutes for 100,000 tiles.
    most = max(map(len, places), default=0)
    return sum(len(place) == most for place in places)


def _costs(
    units: Sequence[Unit], states: Mapping[str, str], records: Mapping[str, Record]
) -> list[StepCost]:
    """Count the units of each step; the times are of all that were done once."""
    past = {key for key, record in records.items() if record.state == "done"}
    costs = []
    for step, number in Counter(unit.step for unit in units).items():
        own = [unit for unit in units if unit.step == step]
        ready = [unit.key for unit in own if states[unit.key] == "done"]
        times = [records[unit.key].seconds for unit in own if unit.key in past]
        seconds = sum(times) / len(times) if times else None
        costs.append(StepCost(step, number, len(ready), max(u.memory for u in own), seconds))
    return costs


def _peak(units: Sequence[Unit], workers: int, budget: int) -> int:
    """Bytes of the largest units that may run together; the engine starts no more than fit."""
    largest = sorted((unit.memory for unit in units), reverse=True)[:workers]
    return max(largest[0] if largest else 0, min(sum(largest), budget))


def _gaps(units: Sequence[Unit]) -> list[tuple[str, str]]:
    """Ask whether the tiles of the plan are all that a plate should have."""
    from poolvox.shared.ingest.gaps import find_gaps
    from poolvox.shared.ingest.manifest import TileKey

    places = [unit.where for unit in units if {"plate", "well", "tile"} <= set(unit.where)]
    names = {(w["plate"], w["well"], w["tile"], w.get("organoid", "")) for w in places}
    return find_gaps(TileKey(*name) for name in names)


def _problems(job: Job, missing: Sequence[Path]) -> list[tuple[str, str]]:
    """Ask the pipeline what it cannot use; without an answer, name the files that are missing."""
    ask = getattr(job.pipeline, "problems", None)
    found = list(ask(job.config)) if ask is not None else []
    if not found:
        found = [(show_path(path), "is missing") for path in missing]
    return [(str(place), str(reason)) for place, reason in found]


def _remarks(job: Job) -> list[tuple[str, str]]:
    ask = getattr(job.pipeline, "remarks", None)
    return list(ask(job.config)) if ask is not None else []


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} s"
