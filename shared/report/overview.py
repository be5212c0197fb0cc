"""What every report begins with: what ran, with what, and what failed and why."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from poolvox.shared.engine.journal import Record, read_records
from poolvox.shared.engine.options import RunSummary
from poolvox.shared.engine.progress import describe_seconds
from poolvox.shared.engine.status import Status, by_reason, read_status

__all__ = ["CONFIG_NAME", "Overview", "describe_time", "read_overview"]

CONFIG_NAME = "config.yaml"
RUN_NAME = "run.json"

# A unit may hand back warnings under this name in its result.
WARNINGS = "warnings"
# Units that a warning names.
NAMED = 4

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """The facts of a run, ready to be shown.

    Parameters
    ----------
    verdict : `complete`, `incomplete` or `failed`; `sentence` says it in words
    numbers : the few that are shown large
    failures : unit, reason and log of the units that failed
    skipped : units and reason
    provenance : what `run.json` says, as text
    """

    verdict: str
    sentence: str
    numbers: Facts
    facts: Facts
    steps: pd.DataFrame
    failures: pd.DataFrame
    skipped: pd.DataFrame
    runs: pd.DataFrame
    versions: Facts
    warnings: tuple[str, ...] = ()
    config: str = ""
    provenance: str = ""


@dataclass(slots=True)
class _Step:
    """Units of one step, and the time they took together."""

    ran: int = 0
    reused: int = 0
    seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)


def read_overview(output: Path, summary: RunSummary | None = None) -> Overview:
    """Read the facts of a run from its folder.

    Parameters
    ----------
    summary : of the run that just ended; without it the journal tells which units ran last

    Raises
    ------
    EngineError
        if the folder has no journal
    """
    status = read_status(output)
    records = read_records(output / "journal")
    history = _read_json(output / RUN_NAME)
    runs = [run for run in history.get("runs", []) if isinstance(run, dict)]
    verdict, sentence = _verdict(status, summary)
    return Overview(
        verdict=verdict,
        sentence=sentence,
        numbers=_numbers(status, runs),
        facts=_facts(output, history, runs),
        steps=_steps(status, records, summary),
        failures=_failures(status),
        skipped=pd.DataFrame(by_reason(status.skipped), columns=["units", "reason"]),
        runs=_runs(runs),
        versions=tuple((name, str(v)) for name, v in history.get("versions", {}).items()),
        warnings=_warnings(status, records),
        config=_read_text(output / CONFIG_NAME),
        provenance=json.dumps(_without_long_lists(history), indent=2, ensure_ascii=False),
    )


def describe_time(seconds: float) -> str:
    """Say how long something took; short times with a decimal.

    Examples
    --------
    >>> describe_time(0.42), describe_time(42.3)
    ('0.4 s', '42 s')
    """
    return f"{seconds:.1f} s" if seconds < 10 else describe_seconds(seconds)


def _verdict(status: Status, summary: RunSummary | None) -> tuple[str, str]:
    total = sum(step.total for step in status.steps.values())
    if summary is not None and summary.stopped:
        return "incomplete", f"The run was stopped: {summary.stopped}"
    if status.failed:
        return (
            "failed",
            f"{_count(len(status.failed), 'unit')} of {total:,} failed.",
        )
    if not status.complete:
        done = sum(step.done for step in status.steps.values())
        return (
            "incomplete",
            f"{done} of {_count(total, 'unit')} are done; the same command goes on.",
        )
    return "complete", f"All {_count(total, 'unit')} are done."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _numbers(status: Status, runs: list[dict[str, Any]]) -> Facts:
    steps = status.steps.values()
    done, total = sum(step.done for step in steps), sum(step.total for step in steps)
    numbers = [("units done", f"{done:,} of {total:,}"), ("failed", f"{len(status.failed):,}")]
    if status.skipped:
        numbers.append(("skipped", f"{len(status.skipped):,}"))
    if runs and "seconds" in runs[-1]:
        numbers.append(("last run took", describe_time(runs[-1]["seconds"])))
    return tuple(numbers)


def _facts(output: Path, history: dict[str, Any], runs: list[dict[str, Any]]) -> Facts:
    last = runs[-1] if runs else {}
    options, host = last.get("options", {}), last.get("host", {})
    workers = options.get("workers") or "one per core"
    facts = {
        "folder": output.name,
        "pipeline": history.get("pipeline"),
        "started": _when(last.get("started")),
        "finished": _when(last.get("finished")),
        "poolvox": last.get("poolvox"),
        "input files": f"{len(history['inputs']):,}" if history.get("inputs") else None,
        "run by": f"{options['scheduler']}, {workers}" if "scheduler" in options else None,
        "limited to": _limits(options),
        "machine": _machine(host),
    }
    return tuple((name, str(value)) for name, value in facts.items() if value)


def _when(text: Any) -> str:
    """Write `2026-11-21T12:40:07+00:00` for people."""
    return str(text).replace("T", " ").replace("+00:00", " UTC") if text else ""


def _limits(options: Mapping[str, Any]) -> str:
    names = ("steps", "only", "exclude")
    return "; ".join(f"{name} {', '.join(options[name])}" for name in names if options.get(name))


def _machine(host: Mapping[str, Any]) -> str:
    if not host:
        return ""
    memory = f", {host['memory_gb']} GB" if "memory_gb" in host else ""
    return f"{host.get('system', '')} {host.get('machine', '')}, {host.get('cores')} cores{memory}"


def _steps(
    status: Status, records: Mapping[str, Record], summary: RunSummary | None
) -> pd.DataFrame:
    ran = frozenset(summary.done) if summary is not None else None
    steps = {name: _Step() for name in status.steps}
    for key, record in records.items():
        step = steps.get(record.step)
        if step is None or record.state != "done" or key in status.orphans:
            continue
        step.seconds += record.seconds
        if key in ran if ran is not None else record.run == status.run:
            step.ran += 1
    rows = []
    for name, counts in status.steps.items():
        left = counts.pending + counts.stale + counts.running
        reused = max(0, counts.done - steps[name].ran)
        time = describe_time(steps[name].seconds)
        rows.append((name, steps[name].ran, reused, counts.failed, counts.skipped, left, time))
    columns = ["step", "ran now", "reused", "failed", "skipped", "to do", "time of all units"]
    return pd.DataFrame(rows, columns=columns)


def _failures(status: Status) -> pd.DataFrame:
    rows = [(key, reason, status.logs.get(key, "")) for key, reason in status.failed.items()]
    return pd.DataFrame(rows, columns=["unit", "reason", "log"])


def _runs(runs: list[dict[str, Any]]) -> pd.DataFrame:
    rows = []
    for run in reversed(runs):
        units = run.get("units", {})
        took = describe_time(run["seconds"]) if "seconds" in run else "cut off"
        counts = (units.get(name, "") for name in ("done", "reused", "failed", "skipped"))
        rows.append((run.get("run"), _when(run.get("started")), took, *counts, run.get("poolvox")))
    names = ["run", "started", "took", "ran", "reused", "failed", "skipped", "poolvox"]
    return pd.DataFrame(rows, columns=names, dtype=object)


def _warnings(status: Status, records: Mapping[str, Record]) -> tuple[str, ...]:
    """Collect what units warn of, each text once, with the units that say it."""
    units: defaultdict[str, list[str]] = defaultdict(list)
    for key, record in records.items():
        told = record.result.get(WARNINGS, ()) if key not in status.orphans else ()
        for text in dict.fromkeys([told] if isinstance(told, str) else map(str, told)):
            units[text].append(key)
    lines = [f"{text} ({_some(keys)})" for text, keys in units.items()]
    if status.orphans:
        lines.append(
            f"{_count(len(status.orphans), 'unit')} of earlier runs are no longer in the plan, "
            f"such as {status.orphans[0]}; their files are still there"
        )
    return tuple(lines)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
    return shown if len(names) == 1 else f"{len(names):,} units: {shown}"


def _without_long_lists(history: dict[str, Any]) -> dict[str, Any]:
    """Leave out the hashes of the inputs and the configuration, which is shown on its own."""
    shown = {name: value for name, value in history.items() if name != "config"}
    if shown.get("inputs"):
        shown["inputs"] = f"{len(shown['inputs'])} files; their hashes are in {RUN_NAME}"
    return shown


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
