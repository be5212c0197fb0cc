"""Disk, memory, threads: what a run may use."""

import errno
import importlib.machinery
import os
import subprocess
import sys
import threading
import types
from functools import partial
from pathlib import Path

import pytest
from tests.shared.engine.small import contents, hold_memory, plan, tell_process

from poolvox.shared.engine import Options, Unit, parse_memory, read_records, read_status, run_plan
from poolvox.shared.engine import journal as journal_module
from poolvox.shared.engine.resources import (
    available_memory,
    cap_threads,
    cores,
    release_openblas,
)
from poolvox.shared.engine.runners import can_spawn
from poolvox.shared.errors import EngineError


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    path = folder / "ballast"
    free = os.statvfs(folder)
    path.write_bytes(b"x" * (free.f_bavail * free.f_frsize - leave))
    return path


@pytest.mark.parametrize("leave", [0, 9_000, 60_000, 200_000, 500_000])
def test_a_real_full_disk_stops_and_resumes(raw, small_disk, tmp_path, leave):
    out = small_disk / "screen"
    out.mkdir()
    ballast = fill(small_disk, leave)
    with pytest.raises(EngineError, match=r"disk.* is full.*Make room\. What is done is kept"):
        run_plan(plan(raw, out), out, options=Options(workers=2))
    done = {r.unit for r in read_records(out / "journal").values() if r.state == "done"}
    ballast.unlink()
    summary = run_plan(plan(raw, out), out)
    assert summary.exit_code == 0
    assert set(summary.reused) == done
    fresh = tmp_path / "fresh" / "screen"
    run_plan(plan(raw, fresh), fresh)
    assert contents(out) == contents(fresh)


def raise_wrapped(number: int) -> None:
    try:
        raise OSError(number, os.strerror(number))
    except OSError as error:
        raise RuntimeError("could not write chunk") from error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_found_behind_other_errors(raw, out, number):
    swap = {"measure/0": partial(raise_wrapped, number)}
    with pytest.raises(EngineError, match=r"the disk is full: unit measure/0 stopped with Runtime"):
        run_plan(plan(raw, out, swap=swap), out, options=Options(workers=1))
    states = {k: r.state for k, r in read_records(out / "journal").items()}
    assert states == {"align/0": "done", "measure/0": "failed"}
    assert run_plan(plan(raw, out), out).exit_code == 0
    assert read_status(out).complete


def test_a_disk_that_fills_under_the_journal(raw, out, monkeypatch):
    append = journal_module._Lines.append
    left = [9]

    def append_until_full(self, *lines):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, *lines)

    with monkeypatch.context() as patch:
        patch.setattr(journal_module._Lines, "append", append_until_full)
        with pytest.raises(EngineError, match=r"the disk of .* is full"):
            run_plan(plan(raw, out), out)
    summary = run_plan(plan(raw, out), out)
    assert summary.exit_code == 0
    assert len(summary.reused) in (1, 2)


def test_memory_is_kept_to(tmp_path):
    folder = tmp_path / "seen"
    folder.mkdir()
    sizes = [30, 40, 50, 60, 70, 20, 10, 90, 500, 25]
    units = [
        Unit(f"u{i}", "s", partial(hold_memory, folder, f"u{i}", size), memory=size * 10**6)
        for i, size in enumerate(sizes)
    ]
    notes = []
    options = Options(workers=6, memory="100MB")
    summary = run_plan(units, tmp_path / "out", options=options, progress=notes.append)
    assert summary.exit_code == 0
    seen = [int(line) for line in (folder / "seen").read_text().split()]
    assert sum(total > 100 for total in seen) == seen.count(500) == 1
    assert max(total for total in seen if total <= 100) > 60  # and some did run side by side
    assert [e.key for e in notes if e.kind == "note"] == ["u8"]


# In a process of its own: which libraries are loaded here depends on the tests before.
CAPPED = """
import sys
from functools import partial
from pathlib import Path
import numba, sklearn.cluster
sys.path.insert(0, sys.argv[1])
from small import observe_threads
from poolvox.shared.engine import Options, Unit, run_plan
if __name__ == "__main__":
    out = Path(sys.argv[2])
    unit = Unit("u", "s", partial(observe_threads, out, "facts.json"))
    options = Options(scheduler=sys.argv[3], workers=int(sys.argv[4]))
    summary = run_plan([unit], out, options=options)
    sys.exit(len(summary.failed))
"""


@pytest.mark.parametrize("scheduler", ["threads", "processes", "local"])
@pytest.mark.parametrize("workers", [1, 2])
def test_libraries_are_capped(tmp_path, scheduler, workers):
    out = tmp_path / "out"
    out.mkdir()
    script = tmp_path / "capped.py"
    script.write_text(CAPPED)
    here = str(Path(__file__).parent)
    command = [sys.executable, str(script), here, str(out), scheduler, str(workers)]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "PYTHONPATH": here})
    cap = max(1, cores() // workers)
    facts = read_records(out / "journal")["u"].result
    assert facts["pools"]
    assert max(facts["pools"]) <= cap
    if scheduler != "threads":
        assert facts["variable"] == str(cap)


def test_threads_of_the_caller_are_given_back(tmp_path):
    from threadpoolctl import threadpool_info, threadpool_limits

    limits = threadpool_limits(limits=2)
    release_openblas()
    try:
        before = [pool["num_threads"] for pool in threadpool_info()]
        assert 2 in before
        for again in range(3):
            run_plan([Unit("u", "s", dict)], tmp_path / f"{again}", options=Options(workers=8))
            assert [pool["num_threads"] for pool in threadpool_info()] == before
    finally:
        limits.restore_original_limits()
        release_openblas()


def test_a_thread_that_was_capped_leaves_openblas_to_others():
    from threadpoolctl import threadpool_info, threadpool_limits

    done, leave = threading.Event(), threading.Event()

    def work():
        cap_threads(1)
        done.set()
        leave.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert done.wait(60)
        limits = threadpool_limits(limits=2)
        pools = [p["num_threads"] for p in threadpool_info() if p["internal_api"] == "openblas"]
        limits.restore_original_limits()
        assert pools
        assert set(pools) == {2}
    finally:
        leave.set()
        thread.join()
        release_openblas()


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("512 MiB", 2**29), ("1.5g", 15 * 10**8), ("1000", 1000), ("2TiB", 2**41)],
)
def test_sizes(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "many", "0GB", "-1GB", "8 PB", "1e9"])
def test_sizes_that_are_none(text):
    with pytest.raises(EngineError, match="8GB"):
        parse_memory(text)


def test_this_machine_has_something_to_give():
    assert cores() >= 1
    assert 2**20 < available_memory() < 2**50


@pytest.mark.parametrize("scheduler", ["thread", "tcp://host", "host:port", "ftp//x:1", ":8786"])
def test_what_is_no_address_is_told_at_once(tmp_path, scheduler):
    with pytest.raises(EngineError, match="such as tcp://host:8786"):
        run_plan([Unit("a", "a", dict)], tmp_path, options=Options(scheduler=scheduler))


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [("foo://host:8786", "no protocol 'foo'"), ("tls://host:8786", "no certificates")],
)
def test_an_address_that_dask_cannot_use_is_told_at_once(tmp_path, scheduler, said):
    with pytest.raises(EngineError, match=said):
        run_plan([Unit("a", "a", dict)], tmp_path, options=Options(scheduler=scheduler))


@pytest.mark.parametrize(
    ("workers", "units", "holds", "safe", "threads"),
    [
        (5, 20, True, True, False),
        (4, 20, True, True, True),
        (5, 19, True, True, True),
        (5, 20, False, True, True),
        (5, 20, True, False, True),
    ],
)
def test_many_workers_are_processes_where_threads_would_wait_for_each_other(
    tmp_path, monkeypatch, workers, units, holds, safe, threads
):
    monkeypatch.setattr("poolvox.shared.engine.run.can_spawn", lambda: safe)
    made = [Unit(f"u/{k}", "u", tell_process, holds_gil=holds) for k in range(units)]
    summary = run_plan(made, tmp_path / "out", options=Options(workers=workers))
    assert len(summary.done) == units
    records = read_records(tmp_path / "out" / "journal")
    seen = {records[unit.key].result["process"] for unit in made}
    assert (seen == {os.getpid()}) == threads


def test_processes_begin_unasked_only_where_the_main_module_is_known(monkeypatch):
    def main(path=None, spec=None):
        module = types.ModuleType("__main__")
        if path:
            module.__file__ = path
        module.__spec__ = spec and importlib.machinery.ModuleSpec(spec, None)
        monkeypatch.setitem(sys.modules, "__main__", module)
        return can_spawn()

    assert main()  # a notebook
    assert main("/somewhere/bin/poolvox")
    assert main("poolvox.exe")
    assert main(spec="poolvox.shared.cli")
    assert not main("analysis.py")
    assert not main("/somewhere/pytest/__main__.py", spec="pytest.__main__")


def test_a_script_that_starts_again_in_each_process_is_told(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.shared.engine.small import tell_process\n"
        "from poolvox.shared.engine import Options, Unit, run_plan\n"
        "units = [Unit(f'u/{k}', 'u', tell_process) for k in range(5)]\n"
        "run_plan(units, Path(sys.argv[1]), options=Options(3, scheduler='processes'))\n"
    )
    command = [sys.executable, str(script), str(tmp_path / "out")]
    root = str(Path(__file__).parents[3])
    found = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert found.returncode
    assert "must run behind `if __name__ ==" in found.stderr.splitlines()[-1]
