from pathlib import Path

import numpy as np
import pytest

from poolvox.shared.cli import registry, run_command

from .tiny import TinyPipeline, write_raw


def break_import():
    raise ModuleNotFoundError("No module named 'absent'")


@pytest.fixture(autouse=True)
def two_pipelines(monkeypatch, tmp_path):
    """One that works, and one whose module cannot be imported."""
    found = {"broken": break_import, "tiny": TinyPipeline}
    monkeypatch.setattr(registry, "pipelines", lambda: found)
    monkeypatch.chdir(tmp_path)
    return found


@pytest.fixture
def config(tmp_path) -> Path:
    """A configuration with six tiles beside it."""
    write_raw(tmp_path / "raw", np.random.default_rng(1))
    path = tmp_path / "tiny.yaml"
    path.write_text(TinyPipeline().template(Path("raw")))
    return path


@pytest.fixture
def poolvox(capsys):
    """Run a command line; give its exit code, its output and its complaints."""

    def call(*arguments):
        code = run_command([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
