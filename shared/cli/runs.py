"""Commands that take a configuration: `check` and `run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolvox.shared.cli.console import Json, Quiet, complain, say, say_json

if TYPE_CHECKING:
    from poolvox.shared.cli.work import Job
    from poolvox.shared.engine import Options

__all__ = ["check", "run"]

# A number without a unit is one of bytes, and is rarely meant so.
LEAST_MEMORY = 1_000_000
# Exit codes: of a run that was stopped, as shells give it, and of one that cannot be.
INTERRUPTED, WRONG_INPUT = 130, 2

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, a YAML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. decode.fdr=0.05."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Units at a time; one per core.")]
Memory = Annotated[str | None, typer.Option(help="What all units together may use, e.g. 8GB.")]
Scheduler = Annotated[
    str | None,
    typer.Option(help="auto, threads, processes, local, or a dask scheduler's address."),
]


def check(
    config: Config,
    set_: Set = None,
    workers: Workers = None,
    memory: Memory = None,
    as_json: Json = False,
) -> int:
    """Check configuration and raw files, and say what a run will cost.

    Nothing is written. Ends with 1 if some tiles cannot be used, with 2 if none can.
    """
    from poolvox.shared.cli.estimate import estimate
    from poolvox.shared.cli.work import open_jobs

    jobs = open_jobs(config, _assignments(set_, workers=workers, memory=memory))
    found = {job.plate: estimate(job, _options(job.config)) for job in jobs}
    code = max(each.exit_code for each in found.values())
    if as_json:
        _say_plates({plate: each.facts() for plate, each in found.items()}, code)
        return code
    for plate, each in found.items():
        if len(found) > 1:
            say(f"plate {plate}:")
        each.show()
    return code


def run(
    config: Config,
    steps: Annotated[str, typer.Option(help="Only these steps, e.g. align,decode.")] = "",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", help="Only these places, e.g. A1, A1/3 or 'B*'; repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PLACE", help="All but these places; repeatable.")
    ] = None,
    workers: Workers = None,
    memory: Memory = None,
    scheduler: Scheduler = None,
    set_: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is done already.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Run an experiment; an interrupted or changed one goes on with what is not done yet."""
    from dataclasses import replace

    from poolvox.shared.cli.work import open_jobs

    given = _assignments(set_, workers=workers, memory=memory, scheduler=scheduler)
    jobs = open_jobs(config, given)
    facts = {}
    for job in jobs:
        options = replace(
            _options(job.config),
            steps=_listed(steps),
            only=_all_listed(only),
            exclude=_all_listed(exclude),
            force=force,
        )
        if len(jobs) > 1 and not as_json:
            say(f"plate {job.plate}:")
        told = _run_job(job, options, quiet=quiet, as_json=as_json, alone=len(jobs) == 1)
        facts[job.plate] = told
        if told["exit_code"] == INTERRUPTED:
            break
    code = max(int(each["exit_code"]) for each in facts.values())
    if as_json:
        _say_plates(facts, code)
    return code


def _run_job(
    job: Job, options: Options, *, quiet: bool, as_json: bool, alone: bool
) -> dict[str, Any]:
    """Run a plate, and tell how it ended; one of several that cannot be run costs itself alone."""
    from poolvox.shared.cli.work import perform, report_summary, summary_facts
    from poolvox.shared.errors import PoolvoxError

    try:
        summary, whole = perform(job, options, quiet=quiet or as_json)
    except PoolvoxError as error:
        if alone:
            raise
        complain(f"plate {job.plate}: {error}")
        return {"exit_code": WRONG_INPUT, "reason": str(error)}
    if not as_json:
        report_summary(summary)
    code = INTERRUPTED if summary.stopped else summary.exit_code or (0 if whole else 3)
    return summary_facts(summary, code)


def _say_plates(facts: dict[str, dict[str, Any]], code: int) -> None:
    """Write facts for machines: of the only plate, or by plate."""
    if len(facts) == 1:
        say_json(next(iter(facts.values())))
    else:
        say_json({"exit_code": code, "plates": facts})


def _assignments(given: list[str] | None, **engine: object) -> list[str]:
    """Values that come before the configuration's; those of the engine lay out a run, too."""
    said = [f"engine.{key}={value}" for key, value in engine.items() if value is not None]
    return [*(given or ()), *said]


def _options(config: object) -> Options:
    from poolvox.shared.config import EngineConfig
    from poolvox.shared.engine import Options, parse_memory
    from poolvox.shared.errors import InputError

    engine = getattr(config, "engine", None) or EngineConfig()
    # Told before any work, and also where nothing is left to do.
    if engine.memory and parse_memory(engine.memory) < LEAST_MEMORY:
        raise InputError(f"memory is {engine.memory!r}, a number of bytes: give a unit, as in 12GB")
    return Options(workers=engine.workers, memory=engine.memory, scheduler=engine.scheduler)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _all_listed(texts: list[str] | None) -> tuple[str, ...]:
    """Split at commas, except where they join the parts of one place, as in `well=A1,tile=3`."""
    return tuple(p for t in texts or () for p in ((t,) if "=" in t else _listed(t)))
