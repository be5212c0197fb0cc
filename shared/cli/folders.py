"""Commands that take the folder of a run: `status`, `report` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from poolvox.shared.cli.console import Json, count, named, say, say_json, show_path, table
from poolvox.shared.errors import InputError

__all__ = ["report", "status", "verify"]

Output = Annotated[Path, typer.Argument(metavar="OUT", help="The folder of a run.")]


def status(output: Output, as_json: Json = False) -> int:
    """Show how far a run is, also while it goes on. Ends with 1 if units failed."""
    from dataclasses import asdict

    from poolvox.shared.engine import read_status
    from poolvox.shared.engine.status import by_reason

    state = read_status(_folder(output))
    code = 1 if state.failed else 0
    if as_json:
        steps = {name: asdict(counts) for name, counts in state.steps.items()}
        facts: dict[str, Any] = {
            name: getattr(state, name)
            for name in ("output", "running", "run", "started", "complete", "failed", "logs")
        }
        say_json({**facts, "skipped": state.skipped, "orphans": state.orphans, "steps": steps})
        return code
    say(f"{show_path(output)}: run {state.run}, started {state.started}")
    say(f"running now: {state.running}" if state.running else "nobody works in it now")
    names = ["done", "running", "pending", "stale", "failed", "skipped"]
    used = [n for n in names if n in ("done", "pending", "failed") or _any(state.steps, n)]
    rows = [(name, *(getattr(s, n) for n in used), s.total) for name, s in state.steps.items()]
    say("\n" + table(["step", *used, "units"], rows, indent="  ") + "\n")
    if state.failed:
        logs = {k: f" (see {show_path(output / log)})" for k, log in state.logs.items()}
        say("failed:\n" + named([(k, r + logs.get(k, "")) for k, r in state.failed.items()]))
    if state.skipped:
        say("skipped:\n" + named(by_reason(state.skipped)))
    if state.orphans:
        say(f"{count(len(state.orphans), 'unit')} of earlier runs are no longer in the plan")
    if state.complete:
        say("complete")
    elif not state.running:
        say("`poolvox run` with its configuration goes on with what is left")
    return code


def report(output: Output) -> int:
    """Write the report of a run again, from what lies in its folder."""
    from poolvox.shared.cli.work import REPORT_NAME, open_job, write_run_report
    from poolvox.shared.report.overview import CONFIG_NAME

    folder = _folder(output)
    if not (folder / CONFIG_NAME).exists():
        raise InputError(f"{output} is not the folder of a run: it has no {CONFIG_NAME}")
    job = open_job(folder / CONFIG_NAME, output=folder)
    whole = write_run_report(job)
    say(f"report: {show_path(folder / REPORT_NAME)}")
    return 0 if whole else 3


def verify(output: Output, as_json: Json = False) -> int:
    """Compare the files of a run with what was written. Ends with 1 if any differ."""
    from poolvox.shared.engine import verify_run

    problems = verify_run(_folder(output))
    if as_json:
        say_json({"output": str(output), "whole": not problems, "problems": problems})
    elif problems:
        say("\n".join(problems))
        say(f"{count(len(problems), 'problem')} in {show_path(output)}")
    else:
        say(f"{show_path(output)}: every file is as it was written")
    return 1 if problems else 0


def _folder(output: Path) -> Path:
    if output.is_dir():
        runs = sorted(path.parent.name for path in output.glob("*/journal"))
        if runs and not (output / "journal").exists():
            raise InputError(f"{output} holds runs: give one of them, {', '.join(runs)}")
        return output
    if output.suffix in (".yaml", ".yml"):
        raise InputError(f"{output} is a configuration; give the folder that it names as `output`")
    raise InputError(f"there is no folder {output}")


def _any(steps: Any, name: str) -> bool:
    return any(getattr(counts, name) for counts in steps.values())
