import os
import subprocess
import sys

import pytest

# CPU seconds; the promise is 0.7 on two slow cores.
HELP_SECONDS = 0.7
PROGRAM = [sys.executable, "-c", "from poolvox.shared.cli import main; main()"]


def test_help_costs_little(tmp_path):
    before = os.times()
    result = subprocess.run([*PROGRAM, "--help"], capture_output=True, text=True, check=True)
    after = os.times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    assert "validate" in result.stdout
    assert spent < HELP_SECONDS


def test_help_imports_nothing_heavy():
    # typer itself imports pydantic for the options of a command
    heavy = ("numpy", "pandas", "dask", "zarr", "matplotlib", "tensorflow", "yaml")
    code = (
        "import sys\nfrom poolvox.shared.cli import run_command\nrun_command(['run', '--help'])\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_version_names_what_a_report_needs(poolvox):
    code, out, _ = poolvox("--version")
    assert code == 0
    assert out.startswith("poolvox ")
    assert "numpy" in out
    assert "Python" in out


def test_a_reader_that_leaves_early_gets_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([*PROGRAM, "--help"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def test_the_system_s_refusal_is_no_bug(poolvox, monkeypatch):
    from poolvox.shared.cli import runs

    def refuse(*_):
        raise PermissionError(13, "Permission denied", "out")

    monkeypatch.setattr("poolvox.shared.cli.work.open_job", refuse)
    assert runs.run is not None
    code, _, err = poolvox("run", "tiny.yaml")
    assert code == 2
    assert "refuses to use out: Permission denied" in err


@pytest.mark.parametrize("name", ["ENOTDIR", "ENAMETOOLONG", "EROFS", "EIO", "ENOSPC"])
def test_refusals_are_told_from_bugs(poolvox, monkeypatch, name):
    import errno

    def refuse(*_):
        raise OSError(getattr(errno, name), "no", "out")

    monkeypatch.setattr("poolvox.shared.cli.work.open_job", refuse)
    assert poolvox("run", "tiny.yaml")[0] == 2


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"]])
def test_help_is_no_complaint(poolvox, arguments):
    code, out, err = poolvox(*arguments)
    assert "Usage" in out + err
    assert "bug" not in err
    assert code == (0 if arguments else 2)
