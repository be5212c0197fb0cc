"""What the documents promise is there."""

import re
import tomllib
from pathlib import Path

import pytest

from poolvox.shared.cli.app import app

ROOT = Path(__file__).parents[1]
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", PYTHON.findall(README))
def test_python_of_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


def test_the_readme_has_both_commands_in_one_line_each():
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv ")]
    assert [line.split("/")[-1] for line in commands] == ["poolvox demo", "pytest -n auto"]


def test_the_changelog_names_every_command():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert [name for name in names if f"`{name}`" not in changelog] == []


def test_every_dependency_is_justified():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").lower()
    names = [re.match(r"[\w-]+", need)[0].lower() for need in project["dependencies"]]
    assert [name for name in names if name not in contributing] == []


def test_every_lower_bound_says_why():
    text = (ROOT / "pyproject.toml").read_text()
    block = text.split("dependencies = [", 1)[1].split("\n]", 1)[0]
    assert [line for line in block.splitlines() if ">=" in line and "#" not in line] == []


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_documents_name_no_package_host(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "http://" not in text
    assert "pypi" not in text.lower()
