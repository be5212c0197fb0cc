"""Commands that take a configuration: `check` and `run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolvox.shared.cli.console import Json, Quiet, say_json

if TYPE_CHECKING:
    from poolvox.shared.engine import Options

__all__ = ["check", "run"]

# A number without a unit is one of bytes, and is rarely meant so.
LEAST_MEMORY = 1_000_000

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
    from poolvox.shared.cli.work import open_job

    job = open_job(config, _assignments(set_, workers=workers, memory=memory))
    found = estimate(job, _options(job.config))
    if as_json:
        say_json(found.facts())
    else:
        found.show()
    return found.exit_code


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

    from poolvox.shared.cli.work import open_job, perform, report_summary, summary_facts

    given = _assignments(set_, workers=workers, memory=memory, scheduler=scheduler)
    job = open_job(config, given)
    options = replace(
        _options(job.config),
        steps=_listed(steps),
        only=_all_listed(only),
        exclude=_all_listed(exclude),
        force=force,
    )
    summary, whole = perform(job, options, quiet=quiet or as_json)
    code = 130 if summary.stopped else summary.exit_code or (0 if whole else 3)
    if as_json:
        say_json(summary_facts(summary, code))
    else:
        report_summary(summary)
    return code


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
