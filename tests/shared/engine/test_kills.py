"""Runs, workers and journals that come to a bad end, and what the next run makes of it."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from tests.shared.engine.small import calls, contents, die, die_once, measure, plan

from poolvox.shared.engine import Options, Unit, read_records, read_status, run_plan, verify_run
from poolvox.shared.errors import EngineError

ROOT = Path(__file__).parents[3]


def start(raw: Path, out: Path, scheduler: str = "threads", pause: float = 0.05):
    command = [sys.executable, "-m", "tests.shared.engine", raw, out, scheduler, str(pause)]
    return subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells start what runs in the background deaf to Ctrl-C, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(found, seconds=30):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def in_the_middle(out):
    """Some chunks of a tile are written, others are not."""
    return lambda: len(list(out.glob("images.zarr/*/c/*/*"))) >= 20


def end(process):
    process.kill()
    process.communicate()


@pytest.fixture
def undisturbed(raw, tmp_path):
    out = tmp_path / "undisturbed" / "screen"
    run_plan(plan(raw, out), out)
    return contents(out)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_killed_in_the_middle_of_a_write(raw, out, undisturbed, scheduler):
    process = start(raw, out, scheduler)
    wait_for(in_the_middle(out))
    end(process)
    if scheduler == "processes":
        # Its workers must not outlive it: they would write beside the next run.
        time.sleep(0.3)
        before = contents(out)
        time.sleep(0.3)
        assert contents(out) == before
    status = read_status(out)
    assert (status.running, status.complete) == ("", False)
    begun = [r for r in read_records(out / "journal").values() if r.state == "begun"]
    assert begun
    calls(out)
    summary = run_plan(plan(raw, out), out)
    assert summary.exit_code == 0
    assert {record.unit for record in begun} <= set(summary.done)
    assert len(calls(out)) == len(summary.done)
    assert contents(out) == undisturbed
    assert verify_run(out) == []


def test_a_killed_run_redoes_only_what_was_not_done(raw, out, undisturbed):
    process = start(raw, out)
    wait_for(lambda: (out / "tables/parts/0.parquet").exists())
    end(process)
    done = {r.unit for r in read_records(out / "journal").values() if r.state == "done"}
    calls(out)
    summary = run_plan(plan(raw, out), out)
    assert set(summary.reused) == done != set()
    assert set(calls(out)) == {unit.key for unit in plan(raw, out)} - done
    assert contents(out) == undisturbed


def test_two_runs_refuse_each_other(raw, out):
    process = start(raw, out)
    wait_for(in_the_middle(out))
    message = rf"in use by another run \(host .+, process {process.pid}, since 20"
    with pytest.raises(EngineError, match=message):
        run_plan(plan(raw, out), out)
    status = read_status(out)
    assert f"process {process.pid}" in status.running
    assert status.steps["align"].running == 2
    end(process)
    assert run_plan(plan(raw, out), out).exit_code == 0


def test_an_interrupt_lets_units_end_and_says_how_to_go_on(raw, out, undisturbed):
    process = start(raw, out)
    wait_for(in_the_middle(out))
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (1, "")
    assert "the same command goes on from here" in stdout
    states = {r.state for r in read_records(out / "journal").values()}
    assert states == {"done"}
    run_plan(plan(raw, out), out)
    assert contents(out) == undisturbed


def test_a_killed_process_loses_nothing(raw, out, undisturbed, tmp_path):
    out.mkdir()
    swap = {"measure/1": partial(die_once, tmp_path / "mark", partial(measure, out, 1, 1900.0))}
    events = []
    options = Options(workers=2, scheduler="processes")
    summary = run_plan(plan(raw, out, swap=swap), out, options=options, progress=events.append)
    assert (summary.exit_code, len(summary.done)) == (0, 7)
    assert any("SIGKILL" in e.message and "tried again" in e.message for e in events)
    assert contents(out) == undisturbed


def test_a_unit_that_kills_its_process_is_given_up(raw, out, tmp_path):
    swap = {"measure/1": partial(die, tmp_path / "deaths")}
    options = Options(workers=2, scheduler="processes")
    summary = run_plan(plan(raw, out, swap=swap), out, options=options)
    assert summary.failed == {
        "measure/1": "its process was ended by SIGKILL (out of memory?), 3 times"
    }
    assert (tmp_path / "deaths").read_text() == "xxx"
    assert len(summary.done) == 6


def test_a_killed_dask_worker_loses_nothing(raw, out, undisturbed, tmp_path):
    swap = {"measure/1": partial(die_once, tmp_path / "mark", partial(measure, out, 1, 1900.0))}
    options = Options(workers=2, scheduler="local")
    summary = run_plan(plan(raw, out, swap=swap), out, options=options)
    assert (tmp_path / "mark").exists()
    assert (summary.failed, len(summary.done)) == ({}, 7)
    assert contents(out) == undisturbed


def test_a_scheduler_address(raw, out, undisturbed):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
    ) as cluster:
        options = Options(scheduler=cluster.scheduler_address)
        assert run_plan(plan(raw, out), out, options=options).exit_code == 0
    assert contents(out) == undisturbed


def test_what_cannot_be_sent_fails_alone(raw, out):
    swap = {"measure/1": lambda: None}
    options = Options(workers=1, scheduler="processes")
    summary = run_plan(plan(raw, out, swap=swap), out, options=options)
    assert "cannot be sent to another process" in summary.failed["measure/1"]
    assert len(summary.done) == 6


@pytest.mark.parametrize("torn", [1, 30, 200])
def test_a_torn_journal_costs_one_unit_at_most(raw, out, undisturbed, torn):
    run_plan(plan(raw, out), out)
    calls(out)
    path = out / "journal/units.jsonl"
    path.write_bytes(path.read_bytes()[:-torn])
    summary = run_plan(plan(raw, out), out)
    assert summary.done == ("gather",)
    assert contents(out) == undisturbed
    assert verify_run(out) == []


def test_a_damaged_journal_is_named_and_mended(raw, out, undisturbed):
    run_plan(plan(raw, out), out)
    path = out / "journal/units.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if b'"align/1","state":"done"' in line)
    lines[number] = b"\xff\x00" + lines[number][2:]
    path.write_bytes(b"".join(lines))
    assert verify_run(out)[0].startswith(f"journal/units.jsonl, line {number + 1}, cannot be read")
    assert "align/1" in run_plan(plan(raw, out), out).done
    assert contents(out) == undisturbed


def test_leftovers_of_units_outside_the_selection_go_too(raw, out):
    process = start(raw, out)
    wait_for(in_the_middle(out))
    end(process)
    run_plan(plan(raw, out), out, options=Options(only=("A2",)))
    assert not (out / "images.zarr/0").exists()
    assert read_records(out / "journal")["gather"].result == {"tiles": 1}


def test_a_unit_that_exits_or_returns_nonsense_fails_alone(tmp_path):
    units = [
        Unit("exit", "s", partial(sys.exit, 3)),
        Unit("nonsense", "s", partial(dict, a=object())),
        Unit("good", "s", partial(dict, a=1)),
    ]
    summary = run_plan(units, tmp_path)
    assert summary.done == ("good",)
    assert summary.failed["exit"] == "SystemExit: 3"
    assert "JSON-able" in summary.failed["nonsense"]


def test_nobody_answers(tmp_path):
    from poolvox.shared.engine import cluster

    cluster._CONNECT_SECONDS, before = 0.3, cluster._CONNECT_SECONDS
    try:
        with pytest.raises(EngineError, match=r"no dask scheduler answers at 'tcp://127\.0"):
            run_plan(
                [Unit("u", "s", dict)], tmp_path, options=Options(scheduler="tcp://127.0.0.1:9")
            )
    finally:
        cluster._CONNECT_SECONDS = before
    assert os.path.getsize(tmp_path / "journal/lock") == 0
