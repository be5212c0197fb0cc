"""What is built holds what git tracks, no more and no less."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from poolvox import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = ("ops", "organoid3d", "shared")
SDIST_ONLY = (".ci", "tests", "tutorials")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# tifffile asks for it when a file is compressed; users open our stores with it.
NOT_IMPORTED = {"imagecodecs", "ome-zarr"}


def tracked(*folders: str) -> set[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what git tracks is not known here")
    listing = subprocess.run(
        ["git", "ls-files", "-z", *folders], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(listing.stdout.split("\0")) - {""}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def test_the_wheel_of_the_sdist_holds_what_git_tracks(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {f"poolvox/{name}" for name in tracked(*PACKAGES)}
    assert names == expected | {"poolvox/__init__.py", "poolvox/py.typed"}


def test_the_sdist_holds_packages_tests_and_tutorials(built):
    with tarfile.open(built[0]) as sdist:
        names = {m.name.split("/", 1)[1] for m in sdist.getmembers() if m.isfile()}
    folders = (*PACKAGES, *SDIST_ONLY)
    assert {name for name in names if name.split("/")[0] in folders} == tracked(*folders)
    assert {"LICENSE", "CHANGELOG.md", "README.md", "pyproject.toml"} <= names


def test_the_package_is_imported_from_poolvox_alone(tmp_path):
    """A plain `ops` or `shared` on the path would hide packages of that name."""
    code = "from importlib.util import find_spec as find; print(find('ops'), find('shared'))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["None", "None"]


def test_constraints_name_versions_and_nothing_else():
    lines = (ROOT / ".ci/constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 100
    assert all("==" in pin and "/" not in pin for pin in pins)


def imported(*folders: str) -> set[str]:
    """Distributions that the modules of the folders import, anywhere in them."""
    modules = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    owners = packages_distributions()
    others = modules - set(sys.stdlib_module_names) - {"poolvox", "tests"}
    return {canonical(owners.get(module, [module])[0]) for module in others}


def canonical(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def test_what_is_imported_is_declared():
    extras = PROJECT["optional-dependencies"]
    optional = [need for name, needs in extras.items() if name != "test" for need in needs]
    declared = {canonical(need) for need in (*PROJECT["dependencies"], *optional)}
    assert imported(*PACKAGES) - declared == set()


def test_what_tests_import_is_declared():
    needs = (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"])
    # A peer of one benchmark lives in an environment of its own.
    assert imported("tests") - {canonical(need) for need in needs} == {"scallops"}


def test_what_is_declared_is_imported():
    declared = {canonical(need) for need in PROJECT["dependencies"]}
    assert declared - imported(*PACKAGES) == NOT_IMPORTED


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == PROJECT["license"]
