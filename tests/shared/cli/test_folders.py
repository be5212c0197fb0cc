import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def finished(config, poolvox) -> Path:
    assert poolvox("run", config)[0] == 0
    return Path("out")


def test_status_counts_the_units(finished, poolvox):
    code, out, _ = poolvox("status", finished)
    assert code == 0
    assert "complete" in out
    state = json.loads(poolvox("status", finished, "--json")[1])
    assert state["complete"] is True
    assert state["steps"]["count"]["done"] == 6


def test_verify_finds_what_was_changed(finished, poolvox):
    assert poolvox("verify", finished)[0] == 0
    (finished / "parts" / "P1-A1-1.txt").write_text("1234567")
    code, out, _ = poolvox("verify", finished)
    assert code == 1
    assert "P1-A1-1.txt" in out
    assert json.loads(poolvox("verify", finished, "--json")[1])["whole"] is False


def test_the_report_is_written_again_also_where_the_folder_was_moved(finished, poolvox):
    moved = shutil.move(finished, Path("elsewhere"))
    (Path(moved) / "report.html").unlink()
    code, out, _ = poolvox("report", moved)
    assert code == 0
    assert f"report: {Path('elsewhere/report.html')}" in out
    assert "Bright pixels" in Path("elsewhere/report.html").read_text(encoding="utf-8")
    assert not finished.exists()


@pytest.mark.parametrize("command", ["status", "report", "verify"])
@pytest.mark.parametrize(
    ("place", "said"),
    [("nowhere", "there is no folder"), ("tiny.yaml", "configuration"), (".", "not the folder")],
)
def test_another_folder_is_refused(config, poolvox, command, place, said):
    code, _, err = poolvox(command, place)
    assert code == 2
    assert said in err
