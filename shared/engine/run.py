"""A run: units in the order of their needs, as many at a time as fit, noted in the journal."""

from __future__ import annotations

import hashlib
import heapq
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poolvox.shared.engine import lock
from poolvox.shared.engine.decisions import ABSENT, Ledger
from poolvox.shared.engine.interrupts import hold_interrupts
from poolvox.shared.engine.journal import JOURNAL_NAME, PLAN_NAME, Journal, Record, write_whole
from poolvox.shared.engine.layout import Layout, lay_out
from poolvox.shared.engine.options import Event, Options, RunSummary
from poolvox.shared.engine.pace import Pace
from poolvox.shared.engine.plan import Unit
from poolvox.shared.engine.provenance import History
from poolvox.shared.engine.resources import cores, default_budget, parse_memory
from poolvox.shared.engine.runners import Processes, Runner, Threads, can_spawn
from poolvox.shared.engine.selection import select_units
from poolvox.shared.engine.status import plan_lines
from poolvox.shared.engine.work import Outcome, Task, is_disk_full, remove
from poolvox.shared.errors import EngineError

__all__ = ["run_plan"]

LOGS_NAME = "logs"

# A unit whose process died that often is given up.
MAX_ATTEMPTS = 3
_WAIT_SECONDS = 0.5
# How many waiting units are looked at for one that fits into the memory that is free.
_LOOK_AHEAD = 64

# Tiles of a screen hold the interpreter's lock for a seventh of their time: as threads, more of
# them than this would wait for each other. A process takes as long to start as a few tiles.
MANY_WORKERS, WORTH_A_PROCESS = 4, 4

_GO_ON = "What is done is kept: the same command goes on from here."


def run_plan(
    units: Sequence[Unit],
    output: Path,
    *,
    options: Options | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[Event], None] | None = None,
) -> RunSummary:
    """Run what is not done yet of a plan, and note it in `output`.

    A unit is done again when its function, parameters, inputs (by content) or anything it needs
    have changed, when its files are gone, or when it failed or was cut off before. Ctrl-C lets the
    running units end; a second one stops at once.

    Parameters
    ----------
    output : folder of the run; the journal lies in `journal/`, the provenance in `run.json`
    provenance : what `run.json` shall tell besides, such as `{"config": ..., "seeds": ...}`
    progress : called with each event, in this thread

    Raises
    ------
    EngineError
        before any work if the plan or the options are wrong or another run uses `output`; later if
        the disk is full or a scheduler is gone
    """
    options = options or Options()
    output = Path(output).absolute()
    layout = lay_out(units, output)
    selected = select_units(layout, options)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold(output / JOURNAL_NAME))
            return _Run(layout, selected, output, options, stack, progress).go(provenance or {})
        except OSError as error:
            if is_disk_full(error):
                raise EngineError(f"the disk of {output} is full. Make room. {_GO_ON}") from error
            raise


class _Run:
    """One call of `run_plan`, while it holds the lock."""

    def __init__(
        self,
        layout: Layout,
        selected: set[str],
        output: Path,
        options: Options,
        stack: ExitStack,
        progress: Callable[[Event], None] | None,
    ) -> None:
        self.layout, self.selected, self.output, self.options = layout, selected, output, options
        self.stack, self.progress = stack, progress
        self.journal = Journal(output / JOURNAL_NAME)
        stack.callback(self.journal.close)
        self.ledger = Ledger(layout, self.journal, output)
        self.workers = options.workers or cores()
        self.threads = max(1, cores() // self.workers)
        self.runner: Runner | None = None
        self.running: dict[str, Task] = {}
        self.attempts: dict[str, int] = {}
        self.suspects: set[str] = set()
        self.stopped = ""
        self.disk_full = ""
        self.done: list[str] = []
        self.reused: list[str] = []
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.causes: dict[str, str] = {}

    def go(self, provenance: Mapping[str, Any]) -> RunSummary:
        start = time.monotonic()
        self._recover()
        self._survey()
        history = History(self.output, self.options, provenance, self.layout, self.journal)
        history.begin()
        try:
            with hold_interrupts() as self.interrupts:
                self._loop()
        except KeyboardInterrupt:
            raise  # the second: what runs is left to itself, and removed by the next run
        except BaseException:
            self._drain()
            raise
        summary = self._summary(time.monotonic() - start)
        history.end(summary)
        self.pace.tell("end", message=summary.stopped)
        if self.disk_full:
            raise EngineError(f"{self.disk_full}. Make room. {_GO_ON}")
        return summary

    def _recover(self) -> None:
        """Remove what units left that were cut off, of this plan or an older one."""
        begun = [r for r in self.journal.records.values() if r.state == "begun"]
        for record in begun:
            for name in record.outputs:
                remove(self.output / name)
            self.journal.drop(record.unit)
        self.journal.expect(self.layout.units)

    def _survey(self) -> None:
        hashed = self.ledger.hash_changed(threads=cores())
        states = self.ledger.survey()
        self.foretold = states
        expected = {k for k in self.selected if self.options.force or states[k] != "done"}
        self.pace = Pace(self.layout, expected, len(self.selected), self.progress)
        if hashed:
            self.pace.tell("note", message=f"read {hashed} changed inputs to compare their content")
        self.scheduler = self._choose_scheduler(expected)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        lines = plan_lines(self.layout, states, self.journal.run, started)
        write_whole(self.journal.folder / PLAN_NAME, lines)
        self.pace.tell("begin", message=f"{len(expected)} of {len(self.selected)} units to run")

    def _choose_scheduler(self, expected: set[str]) -> str:
        """Threads start at once; processes take seconds, and do not wait for each other."""
        if self.options.scheduler != "auto":
            return self.options.scheduler
        holding = sum(self.layout.units[key].holds_gil for key in expected)
        crowd = self.workers > MANY_WORKERS and holding >= WORTH_A_PROCESS * self.workers
        return "processes" if crowd and can_spawn() else "threads"

    def _loop(self) -> None:
        units = self.layout.units
        self.waits = {key: len(set(unit.needs)) for key, unit in units.items()}
        self.ready = [self.layout.order[key] for key, count in self.waits.items() if not count]
        self.keys = list(units)
        self.waiting: dict[str, Unit] = {}
        while True:
            if self.interrupts.pressed and not self.stopped:
                self._stop()
            while self.ready and len(self.waiting) < _LOOK_AHEAD and not self.stopped:
                self._decide(self.keys[heapq.heappop(self.ready)])
            self._fill()
            if not self.running and (self.stopped or not (self.waiting or self.ready)):
                return
            if self.running:
                self._collect()

    def _decide(self, key: str) -> None:
        """Settle a unit whose needs are settled, or let it wait for its turn."""
        unit = self.layout.units[key]
        if key not in self.selected:
            self._settle(key, self.ledger.on_disk(key))
            return
        missing = [need for need in unit.needs if self.ledger.at[need] == ABSENT]
        if unit.tolerant and len(missing) < len(unit.needs):
            missing = [need for need in missing if need in unit.vital]
        if missing:
            self._skip(key, missing[0])
        elif not self.options.force and self.ledger.still_good(key):
            record = self.journal.records[key]
            if self.foretold[key] != "done":
                self.journal.add(replace(record, run=self.journal.run))
            self.reused.append(key)
            self._settle(key, record.token)
            self.pace.settle("reused", key)
        else:
            self.waiting[key] = unit

    def _skip(self, key: str, need: str) -> None:
        # What all of them wait for is told, not the next in the row.
        cause = self.causes[key] = self.causes.get(need, need)
        why = "failed" if cause in self.failed else "is not part of this run and not done"
        reason = f"needs {cause}, which {why}"
        unselected = need not in self.selected
        self.skipped[key] = reason
        if unselected:
            self._settle(key, self.ledger.on_disk(key))
        else:
            # What an earlier run left belongs to needs that are no longer there.
            for path in self.ledger.outputs(key).values():
                remove(path)
            step = self.layout.units[key].step
            self.journal.add(Record(key, "skipped", self.journal.run, step, reason=reason))
            self._settle(key, ABSENT)
        self.pace.settle("skipped", key, reason)

    def _settle(self, key: str, token: str) -> None:
        self.ledger.at[key] = token
        for dependent in self.layout.dependents[key]:
            self.waits[dependent] -= 1
            if not self.waits[dependent]:
                heapq.heappush(self.ready, self.layout.order[dependent])

    def _fill(self) -> None:
        """Start what fits: first come, first served, but no memory stands idle."""
        if self.stopped or not self.waiting:
            return
        if self.runner is None:
            self._open_runner()
        assert self.runner is not None
        for key in sorted(self.waiting, key=self.layout.order.__getitem__):
            if len(self.running) >= self.runner.slots():
                return
            if self._fits(key):
                self._start(key)

    def _fits(self, key: str) -> bool:
        if not self.running:
            return True
        # After a worker died its unit runs with no other beside it.
        if key in self.suspects or not self.suspects.isdisjoint(self.running):
            return False
        if self.budget is None:
            return True
        units = self.layout.units
        used = sum(units[other].memory for other in self.running)
        return used + units[key].memory <= self.budget

    def _open_runner(self) -> None:
        options = self.options
        given = parse_memory(options.memory) if options.memory else default_budget()
        self.budget: int | None = given
        if self.scheduler == "threads":
            self.runner = Threads(self.workers)
        elif self.scheduler == "processes":
            self.runner = Processes(self.workers, self.threads)
        else:
            from poolvox.shared.engine.cluster import Cluster

            local = self.scheduler == "local"
            address = None if local else self.scheduler
            count = self.workers if local else options.workers
            cluster = Cluster(address, workers=count, threads=self.threads)
            if not local and not options.memory:
                self.budget = cluster.memory()
            self.runner = cluster
        self.stack.callback(self.runner.close)

    def _start(self, key: str) -> None:
        unit = self.waiting.pop(key)
        if self.budget is not None and unit.memory > self.budget:
            sizes = f"{unit.memory / 1e9:.2g} GB of {self.budget / 1e9:.2g} GB"
            self.pace.tell(
                "note", key, f"{key} needs more memory than allowed ({sizes}): runs alone"
            )
        inputs = tuple(map(str, unit.inputs))
        known = {path: d for path in inputs if (d := self.ledger.known(path)) is not None}
        outputs = self.ledger.outputs(key)
        alone = self.scheduler != "threads"
        task = Task(key, unit.call, inputs, known, outputs, self.threads, alone)
        begun = Record(key, "begun", self.journal.run, unit.step, outputs=dict.fromkeys(outputs))
        self.journal.begin(begun)
        self.running[key] = task
        self.attempts[key] = self.attempts.get(key, 0) + 1
        self.pace.tell("started", key)
        assert self.runner is not None
        self.runner.start(task)

    def _collect(self) -> None:
        assert self.runner is not None
        outcomes = self.runner.outcomes(_WAIT_SECONDS)
        for outcome in outcomes:
            del self.running[outcome.key]
        for outcome in outcomes:
            self._take(outcome)

    def _take(self, outcome: Outcome) -> None:
        key = outcome.key
        self.ledger.learn(outcome.digests)
        if outcome.lost and self.attempts[key] < MAX_ATTEMPTS:
            self.suspects.add(key)
            self.waiting[key] = self.layout.units[key]
            self.pace.tell("note", key, f"{key}: {outcome.reason}; it is tried again, alone")
            return
        self.suspects.discard(key)
        if outcome.reason:
            self._fail(outcome)
            return
        hashes = {path: digest.hash for path, digest in outcome.digests.items()}
        token = self.ledger.token(key, hashes)
        self.journal.add(
            Record(
                key,
                "done",
                self.journal.run,
                self.layout.units[key].step,
                token,
                outcome.outputs,
                outcome.result,
                seconds=round(outcome.seconds, 3),
                memory=outcome.memory,
            )
        )
        self.done.append(key)
        self._settle(key, token)
        self.pace.settle("finished", key, seconds=outcome.seconds)

    def _fail(self, outcome: Outcome) -> None:
        key = outcome.key
        reason = outcome.reason
        if outcome.lost:
            for path in self.ledger.outputs(key).values():
                remove(path)
            reason += f", {MAX_ATTEMPTS} times"
        if outcome.disk_full:
            self.stopped = self.disk_full = f"the disk is full: unit {key} stopped with {reason}"
        log = self._write_log(key, outcome.trace)
        step = self.layout.units[key].step
        record = Record(key, "failed", self.journal.run, step, reason=reason, log=log)
        self.journal.add(replace(record, seconds=round(outcome.seconds, 3)))
        self.failed[key] = reason
        self._settle(key, ABSENT)
        self.pace.settle("failed", key, reason, outcome.seconds)

    def _write_log(self, key: str, trace: str) -> str:
        """Keep a traceback; return its name below the run's folder."""
        if not trace:
            return ""
        mark = hashlib.blake2b(key.encode(), digest_size=4).hexdigest()
        name = f"{LOGS_NAME}/{re.sub(r'[^A-Za-z0-9._-]+', '_', key)[:80]}-{mark}.log"
        path = self.journal.folder / name
        path.parent.mkdir(exist_ok=True)
        write_whole(path, [trace])
        return f"{JOURNAL_NAME}/{name}"

    def _stop(self) -> None:
        self.stopped = f"interrupted. {_GO_ON}"
        if self.running:
            units = "1 unit" if len(self.running) == 1 else f"{len(self.running)} units"
            message = f"finishing {units}; Ctrl-C again stops at once"
            self.pace.tell("note", message=message)

    def _drain(self) -> None:
        """Let running units end, unnoted: nobody may write once the lock is given back."""
        while self.running and self.runner is not None:
            for outcome in self.runner.outcomes(_WAIT_SECONDS):
                self.running.pop(outcome.key, None)

    def _summary(self, seconds: float) -> RunSummary:
        order = self.layout.order
        orphans = [key for key in self.journal.records if key not in order]
        return RunSummary(
            self.output,
            tuple(sorted(self.done, key=order.__getitem__)),
            tuple(sorted(self.reused, key=order.__getitem__)),
            dict(sorted(self.failed.items(), key=lambda item: order[item[0]])),
            dict(sorted(self.skipped.items(), key=lambda item: order[item[0]])),
            tuple(orphans),
            seconds,
            self.disk_full or self.stopped,
        )
