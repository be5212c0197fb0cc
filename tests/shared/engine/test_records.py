"""What a run tells: provenance, progress, status, and the journal's own size."""

import getpass
import io
import json
import re
import socket
from functools import partial
from pathlib import Path

import pytest
from tests.shared.engine.small import plan

from poolvox.shared.engine import (
    Event,
    Options,
    Unit,
    read_records,
    read_status,
    run_plan,
    show_progress,
    verify_run,
)
from poolvox.shared.engine import journal as journal_module
from poolvox.shared.engine import progress as progress_module
from poolvox.shared.engine.inputs import hash_file
from poolvox.shared.engine.progress import PlainProgress, _bar, _RichListener, describe_seconds
from poolvox.shared.engine.provenance import without_persons
from poolvox.shared.engine.status import by_reason
from poolvox.shared.errors import EngineError, InputError


def facts(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def test_provenance_tells_what_and_not_who(raw, out):
    config = {"output": str(out), "raw": {"files": raw / "{tile}.raw"}, "home": Path.home() / "x"}
    extra = {"config": config, "seeds": {"split": 7}}
    run_plan(plan(raw, out), out, provenance=extra)
    run_plan(plan(raw, out, threshold=1800.0), out, provenance=extra)
    found = facts(out)
    assert found["config"] == {
        "output": "screen",
        "raw": {"files": "raw/{tile}.raw"},
        "home": "~/x",
    }
    assert found["seeds"] == {"split": 7}
    assert found["inputs"] == {f"raw/{i}.raw": hash_file(raw / f"{i}.raw") for i in range(3)}
    assert {"python", "numpy", "zarr"} <= found["versions"].keys()
    assert [run["units"]["done"] for run in found["runs"]] == [7, 4]
    assert found["runs"][0]["host"]["cores"] >= 1
    text = (out / "run.json").read_text()
    for private in (socket.gethostname(), str(Path.home()), str(out.parent)):
        assert private not in text


def test_provenance_is_stable_but_for_times(raw, tmp_path):
    texts = []
    for name in ("a", "b"):
        out = tmp_path / name
        run_plan(plan(raw, out), out)
        texts.append(
            re.sub(r'"(started|finished|seconds)": [^,\n]+', "", (out / "run.json").read_text())
        )
    assert texts[0] == texts[1]


def test_a_users_name_leaves_paths():
    path = f"/scratch/{getpass.getuser()}/screen/raw"
    assert without_persons([path], Path("/elsewhere/out")) == ["/scratch/user/screen/raw"]


def test_a_failed_run_keeps_earlier_history(raw, out):
    run_plan(plan(raw, out), out)
    (out / "run.json").write_text("{ torn")
    run_plan(plan(raw, out), out)
    assert len(facts(out)["runs"]) == 1


def test_status_tells_stale_from_pending(raw, out):
    run_plan(plan(raw, out), out)
    run_plan(plan(raw, out, (0, 1, 2, 3), threshold=1.0), out, options=Options(steps=("align",)))
    steps = read_status(out).steps
    assert (steps["align"].done, steps["align"].total) == (4, 4)
    assert (steps["measure"].stale, steps["measure"].pending) == (3, 1)
    assert steps["gather"].stale == 1
    assert not read_status(out).complete


@pytest.mark.parametrize("read", [read_status, verify_run])
def test_a_folder_without_a_run(tmp_path, read):
    with pytest.raises(EngineError, match="is not the folder of a run"):
        read(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_steps_run_what_they_need(raw, out):
    summary = run_plan(plan(raw, out), out, options=Options(steps=("measure",), only=("A2",)))
    assert summary.done == ("align/2", "measure/2")


def test_events_add_up(raw, out):
    (raw / "1.raw").write_bytes(b"")
    events: list[Event] = []
    run_plan(plan(raw, out), out, options=Options(workers=1), progress=events.append)
    kinds = [event.kind for event in events]
    assert (kinds[0], kinds[-1]) == ("begin", "end")
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "begin": 1,
        "started": 6,
        "finished": 5,
        "failed": 1,
        "skipped": 1,
        "end": 1,
    }
    assert [event.done for event in events] == sorted(event.done for event in events)
    last = events[-1]
    assert (last.done, last.total, last.failed, last.left) == (7, 7, 1, 0.0)


def test_time_left_goes_by_the_pace_of_the_steps(monkeypatch):
    from poolvox.shared.engine import pace as module
    from poolvox.shared.engine.layout import lay_out

    units = [Unit(f"{step}{i}", step, dict) for step in "ab" for i in range(4)]
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    events: list[Event] = []
    pace = module.Pace(lay_out(units, Path("/out")), {u.key for u in units}, 8, events.append)
    # Two workers: 4 units of 1 s in 2 s, then one of 5 s: three remain, 15 s of work for two.
    for i in range(4):
        clock[0] += 0.5
        pace.settle("finished", f"a{i}", seconds=1.0)
    clock[0] += 2.5
    pace.settle("finished", "b0", seconds=5.0)
    assert events[-1].left == pytest.approx(7.5)
    assert events[-1].rate == pytest.approx(5 / 4.5)


def test_plain_lines(raw, out):
    (raw / "1.raw").write_bytes(b"")
    for quiet, lines in ((False, 4), (True, 1)):
        stream = io.StringIO()
        with show_progress(quiet=quiet, stream=stream) as progress:
            run_plan(plan(raw, out), out, options=Options(force=True), progress=progress)
        text = stream.getvalue()
        assert len(text.splitlines()) == lines, text
        assert "failed align/1: ValueError: cannot reshape" in text
        assert ("7/7" in text) is not quiet


@pytest.mark.parametrize("widgets", [False, True])
def test_a_notebook_without_widgets_has_plain_lines(monkeypatch, capsys, widgets):
    spec = object() if widgets else None
    monkeypatch.setattr(progress_module, "find_spec", lambda name: spec)
    monkeypatch.setattr(progress_module, "_in_notebook", lambda: True)
    with show_progress() as listen:
        for done in range(50):
            listen(Event("finished", "u", done=done, total=50))
        assert isinstance(listen, _RichListener if widgets else PlainProgress)
        listen(Event("end", done=50, total=50))
    if not widgets:
        assert capsys.readouterr().out == "50/50\n"


def test_the_bar_shows_failures_with_brackets_as_they_are():
    from rich.console import Console

    stream = io.StringIO()
    with _bar(Console(file=stream, force_terminal=True, width=120)) as bar:
        listen = _RichListener(bar)
        listen(Event("begin", message="3 of 3 units to run", total=3))
        listen(Event("started", "align/[x]", "align", total=3))
        listen(Event("failed", "align/[x]", "align", "list[int] [/] is bad", 1, 3, 1, 2.0, 61.0))
        listen(Event("end", done=3, total=3, failed=1, rate=2.0))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "failed align/[x]: list[int] [/] is bad" in text
    assert "3/3" in text


def test_a_slow_run_says_how_far_it_is():
    stream = io.StringIO()
    listen = PlainProgress(stream, seconds=0.0)
    listen(Event("finished", "u", done=10, total=40, rate=0.1, left=300.0))
    assert stream.getvalue() == "10/40 6.0/min, 300 s left\n".replace(
        "300 s", describe_seconds(300)
    )


def _fail() -> None:
    raise InputError("the file is truncated")


def test_what_a_failure_costs_is_told_once(tmp_path):
    units = [
        Unit("align/1", "align", _fail),
        Unit("decode/1", "decode", dict, needs=("align/1",)),
        Unit("measure/1", "measure", dict, needs=("decode/1",)),
        Unit("zoom/1", "measure", dict, needs=("align/1",)),
    ]
    stream = io.StringIO()
    summary = run_plan(units, tmp_path, progress=PlainProgress(stream))
    reason = "needs align/1, which failed"
    assert summary.skipped == dict.fromkeys(("decode/1", "measure/1", "zoom/1"), reason)
    assert stream.getvalue().count("skipped") == 1
    rows = [("decode/1, measure/1, zoom/1", reason)]
    assert by_reason(read_status(tmp_path).skipped) == rows
    many = by_reason({f"u{k}": "late" for k in range(9)})
    assert many == [("u0, u1, u2 and 6 more", "late")]


def test_a_reduction_over_nothing_is_skipped_for_what_failed(tmp_path):
    """So is one without what it cannot do without, though the rest is there."""
    units = [
        Unit("light", "light", _fail),
        Unit("align/1", "align", dict),
        Unit("well", "light", dict, needs=("align/1", "light"), tolerant=True, vital=("light",)),
        Unit("decode/1", "decode", dict, needs=("align/1", "well")),
        Unit("plate", "calls", dict, needs=("decode/1",), tolerant=True),
        Unit("rest", "calls", dict, needs=("decode/1", "align/1"), tolerant=True),
    ]
    summary = run_plan(units, tmp_path)
    assert summary.done == ("align/1", "rest")
    wanted = dict.fromkeys(("well", "decode/1", "plate"), "needs light, which failed")
    assert summary.skipped == wanted


def test_the_journal_stays_short(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "_MIN_DEAD_LINES", 20)
    units = [Unit(f"u{i}", "s", partial(dict, i=i)) for i in range(10)]
    sizes = []
    for _ in range(6):
        run_plan(units, tmp_path, options=Options(force=True))
        sizes.append(len((tmp_path / "journal/units.jsonl").read_text().splitlines()))
    assert max(sizes) <= 40
    assert min(sizes[1:]) == 10
    assert {k: r.result["i"] for k, r in read_records(tmp_path / "journal").items()} == {
        f"u{i}": i for i in range(10)
    }


def test_results_come_back_as_json_gives_them(tmp_path):
    import numpy as np

    result = {"n": np.int32(3), "mean": np.float32(0.5), "path": Path("a/b"), "pair": (1, 2)}
    run_plan([Unit("u", "s", partial(dict, result))], tmp_path)
    kept = read_records(tmp_path / "journal")["u"].result
    assert kept == {"n": 3, "mean": 0.5, "path": "a/b", "pair": [1, 2]}
