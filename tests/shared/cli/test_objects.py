"""`poolvox evaluate` on files, with planted errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from poolvox.shared.cli import run_command
from poolvox.shared.features import registry
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


def test_features_of_files_with_their_dictionary(files, capsys):
    image, labels = str(files / "image.tif"), str(files / "truth.tif")
    stack = np.random.default_rng(0).integers(0, 4000, (6, 40, 40)).astype(np.uint16)
    tifffile.imwrite(image, stack, metadata={"axes": "ZYX"})
    out = files / "objects.parquet"
    arguments = ["features", image, labels, "-o", str(out), "--spacing", "2,1,1", "--quiet"]
    assert run_command([*arguments, "--groups", "shape,intensity", "--channels", "dye"]) == 0
    assert "4 objects" in capsys.readouterr().out
    table = read_table(out)
    assert table["Nuclei_Shape_Volume_um3"].tolist() == [800.0] * 4
    assert "Nuclei_Intensity_Mean_dye" in table
    assert "Shape_Volume_um3" in (files / "objects.features.csv").read_text()


def test_features_of_own_groups_and_with_options(files, capsys, monkeypatch):
    monkeypatch.setattr(registry, "_GROUPS", dict(registry._GROUPS))
    image, labels, out = (str(files / name) for name in ("image.tif", "truth.tif", "t.csv"))
    stack = np.random.default_rng(0).integers(0, 4000, (6, 40, 40)).astype(np.uint16)
    tifffile.imwrite(image, stack, metadata={"axes": "ZYX"})
    (files / "lab.py").write_text(
        "from poolvox.shared.features import Feature, register\n"
        "@register('Lab', features=[Feature('Voxels', 'count', 'number of voxels')])\n"
        "def lab(objects, options):\n"
        "    return {'Voxels': objects.counts}\n"
    )
    groups = f"radial: {{shells: 3}}, {files / 'lab.py'}:lab"
    command = ["features", image, labels, "-o", out, "--spacing", "2,1,1", "--groups", groups]
    assert run_command([*command, "--quiet"]) == 0
    head = Path(out).read_text().splitlines()[0].split(",")
    assert head[-1] == "Nuclei_Radial_RadialCV_c0_3of3"
    assert "Nuclei_Lab_Voxels" in head
    assert "Lab,Lab_Voxels,count,number of voxels" in (files / "t.features.csv").read_text()
    assert run_command([*command[:-1], "radial: {shell: 3}"]) == 2
    assert "did you mean 'shells'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "spacing"),
        (["--spacing", "2,1,1", "--groups", "shpe"], "did you mean 'shape'"),
        (["--spacing", "2,1"], "spacing"),
    ],
)
def test_features_say_what_is_wrong(files, capsys, options, message):
    truth = str(files / "truth.tif")
    command = ["features", truth, truth, "-o", str(files / "objects.parquet"), "--quiet"]
    assert run_command([*command, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (files / "objects.parquet").exists()
