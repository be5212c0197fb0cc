"""`poolvox evaluate` on files, with planted errors."""

import json

import numpy as np
import pytest
import tifffile

from poolvox.shared.cli import run_command
from poolvox.shared.store import read_table


@pytest.fixture
def files(tmp_path):
    truth = np.zeros((6, 40, 40), np.uint16)
    for label, (y, x) in enumerate([(4, 4), (4, 24), (24, 4), (24, 24)], start=1):
        truth[1:5, y : y + 10, x : x + 10] = label
    found = truth.copy()
    found[found == 4] = 0
    found[1:5, 4:14, 9:14] = 9
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    tifffile.imwrite(tmp_path / "found.tif", found)
    (tmp_path / "centres.csv").write_text(
        "z,y,x\n2.5,8.5,6\n2.5,8.5,28.5\n2.5,28.5,8.5\n2.5,28,28\n"
    )
    return tmp_path


def test_scores_tables_and_picture(files, capsys):
    found, truth, out = (str(files / name) for name in ("found.tif", "truth.tif", "out"))
    options = ["-o", out, "--spacing", "2,1,1", "--json", "--threshold", "0.6"]
    code = run_command(["evaluate", found, truth, *options])
    result = json.loads(capsys.readouterr().out)
    assert code == 0
    assert result["splits"] == 1
    main = next(row for row in result["scores"] if row["threshold"] == 0.6)
    assert (main["matched"], main["invented"], main["missed"]) == (2, 2, 2)
    status = read_table(files / "out/truth.parquet").set_index("label")["status"].to_dict()
    assert status == {1: "split", 2: "matched", 3: "matched", 4: "missed"}
    assert (files / "out/errors.png").stat().st_size > 1000


def test_centres_are_truth_as_well(files, capsys):
    code = run_command(
        ["evaluate", str(files / "found.tif"), str(files / "centres.csv"), "--spacing", "2,1,1"]
    )
    assert code == 0
    assert "recall 0.750" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.tif", "truth.tif"], "there is no"),
        (["truth.tif", "nothing.tif"], "there is no"),
        (["centres.csv", "truth.tif"], "cannot be read as TIFF"),
        (["found.tif", "truth.tif", "--spacing", "a,b"], "expected micrometres"),
        (["found.tif", "centres.csv"], "voxel size"),
    ],
)
def test_wrong_input_is_told_in_one_message(files, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    assert run_command(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
