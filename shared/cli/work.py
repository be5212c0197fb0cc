"""From a configuration file to a finished run with its report; used by several commands."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolvox.shared.cli import registry
from poolvox.shared.cli.console import complain, count, named, say, show_path
from poolvox.shared.cli.registry import load_pipeline
from poolvox.shared.errors import ConfigError, PoolvoxError

if TYPE_CHECKING:
    from poolvox.shared.engine import Event, Options, RunSummary
    from poolvox.shared.engine.pipeline import Pipeline
    from poolvox.shared.report import Section

__all__ = [
    "Job",
    "open_job",
    "open_jobs",
    "perform",
    "report_summary",
    "summary_facts",
    "write_run_report",
]

REPORT_NAME = "report.html"
REPORT_LOG = "journal/logs/report.log"


@dataclass(frozen=True, slots=True)
class Job:
    """A pipeline with its resolved configuration."""

    pipeline: Pipeline
    config: Any

    @property
    def output(self) -> Path:
        """Folder of the run."""
        return Path(self.config.output)

    @property
    def plate(self) -> str:
        """Name of the plate."""
        return str(self.config.plate)


def open_job(path: Path, overrides: Sequence[str] = (), *, output: Path | None = None) -> Job:
    """Read a configuration and find its pipeline.

    Parameters
    ----------
    overrides : values that come before those of the file, `key=value`
    output : where the run lies now, if its folder was moved
    """
    from poolvox.shared.config import resolve_config
    from poolvox.shared.document import read_document

    document = read_document(path)
    for assignment in overrides:
        document.override(assignment)
    if output is not None:
        document.data["output"] = str(output.absolute())
    name = document.data.get("pipeline")
    if not isinstance(name, str):
        place = document.place(("pipeline",))
        known = ", ".join(registry.pipelines())
        raise ConfigError(f"{place}: pipeline: name the kind of experiment; there are {known}")
    try:
        pipeline = load_pipeline(name)
    except ConfigError as error:
        raise ConfigError(f"{document.place(('pipeline',))}: pipeline: {error}") from None
    return Job(pipeline, resolve_config(document, pipeline.config_model))


def open_jobs(path: Path, overrides: Sequence[str] = ()) -> list[Job]:
    """Read a configuration: one job, or one for each plate of a screen of several."""
    from poolvox.shared.ingest.plates import split_plates

    job = open_job(path, overrides)
    return [Job(job.pipeline, config) for config in split_plates(job.config)]


def perform(job: Job, options: Options, *, quiet: bool = False) -> tuple[RunSummary, bool]:
    """Run what is not done yet and write the report.

    Parameters
    ----------
    quiet : only failures are shown

    Returns
    -------
    the summary, and whether the report is whole
    """
    from poolvox.shared.engine import run_plan, show_progress

    units = job.pipeline.plan(job.config)
    facts = {"pipeline": job.pipeline.name, "config": job.config.model_dump(mode="json")}
    with show_progress(quiet=quiet) as show:
        listener = _note_config(job, show)
        summary = run_plan(units, job.output, options=options, provenance=facts, progress=listener)
    return summary, write_run_report(job, summary)


def write_run_report(job: Job, summary: RunSummary | None = None) -> bool:
    """Write `report.html`; tell whether the pipeline's part of it is whole.

    A mistake in a pipeline's sections must not hide what ran and what failed.
    """
    from poolvox.shared.report import read_overview, write_report

    overview = read_overview(job.output, summary)
    sections, whole = _sections(job, complete=overview.verdict == "complete")
    write_report(
        job.output / REPORT_NAME,
        title=f"{job.output.name}: {job.pipeline.name}",
        sections=sections,
        overview=overview,
    )
    return whole


def report_summary(summary: RunSummary) -> None:
    """Say how a run ended, what failed, and where everything lies."""
    from poolvox.shared.engine.status import by_reason
    from poolvox.shared.report.overview import describe_time

    parts = [f"{len(summary.done):,} done", f"{len(summary.reused):,} reused"]
    parts += [f"{len(summary.failed):,} failed"] if summary.failed else []
    parts += [f"{len(summary.skipped):,} skipped"] if summary.skipped else []
    total = len(summary.done) + len(summary.reused) + len(summary.failed) + len(summary.skipped)
    say(f"{count(total, 'unit')}: {', '.join(parts)}, in {describe_time(summary.seconds)}")
    if summary.failed:
        say("failed:\n" + named(list(summary.failed.items())))
    if summary.skipped:
        say("skipped:\n" + named(by_reason(summary.skipped)))
    if summary.orphans:
        orphans = count(len(summary.orphans), "unit")
        say(f"{orphans} of earlier runs are no longer in the plan; their files are kept")
    say(f"written to {show_path(summary.output)}: {', '.join(written(summary.output))}")
    say(f"report: {show_path(summary.output / REPORT_NAME)}")


def summary_facts(summary: RunSummary, exit_code: int) -> dict[str, Any]:
    """Give a summary as plain data."""
    return {
        "exit_code": exit_code,
        "output": str(summary.output),
        "report": str(summary.output / REPORT_NAME),
        "seconds": round(summary.seconds, 3),
        "stopped": summary.stopped,
        "done": list(summary.done),
        "reused": list(summary.reused),
        "failed": dict(summary.failed),
        "skipped": dict(summary.skipped),
        "orphans": list(summary.orphans),
    }


def written(output: Path) -> list[str]:
    """Name what lies in the folder of a run, folders with a slash."""
    hidden = (".", "journal")
    found = sorted(path for path in output.iterdir() if not path.name.startswith(hidden))
    return [path.name + ("/" if path.is_dir() else "") for path in found]


def _note_config(job: Job, show: Callable[[Event], None]) -> Callable[[Event], None]:
    """Write `config.yaml` once the run holds its folder: a refused run must not change it."""

    def listen(event: Event) -> None:
        if event.kind == "begin":
            _write_config(job)
        show(event)

    return listen


def _write_config(job: Job) -> None:
    import os

    from poolvox import __version__
    from poolvox.shared.config import dump_config
    from poolvox.shared.report.overview import CONFIG_NAME

    head = f"# The configuration of this run with all defaults, as poolvox {__version__} took it.\n"
    part = job.output / f".{CONFIG_NAME}.part"
    part.write_text(head + dump_config(job.config), encoding="utf-8")
    os.replace(part, job.output / CONFIG_NAME)


def _sections(job: Job, *, complete: bool) -> tuple[list[Section], bool]:
    """Ask the pipeline; what is not there yet is no bug while units are left or failed."""
    from poolvox.shared.report import Section

    try:
        return list(job.pipeline.sections(job.config)), True
    except (PoolvoxError, FileNotFoundError) as error:
        if complete:
            return _admit_in_report(job, error), False
        text = f"They are shown once the run is further. What is not there yet: {error}"
        return [Section("Results", text=text)], True
    except Exception as error:
        return _admit_in_report(job, error), False


def _admit_in_report(job: Job, error: Exception) -> list[Section]:
    from poolvox.shared.report import Section

    log = job.output / REPORT_LOG
    with contextlib.suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc(), encoding="utf-8")
    reason = f"{type(error).__name__}: {error}"
    sys.stderr.write(traceback.format_exc())
    complain(f"the results could not be put into the report, see {show_path(log)}")
    text = f"They could not be shown, which is a bug: {reason}. The traceback is {REPORT_LOG}."
    return [Section("Results", text=text)]
