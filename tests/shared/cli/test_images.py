import json
from pathlib import Path

import numpy as np
import pytest

from poolvox.shared.store import open_plate


def test_convert_and_validate(config, poolvox):
    arguments = ["convert", "raw", "plate.zarr", "--pattern", "{well}_{tile}.tif"]
    code, out, _ = poolvox(*arguments, "--pixel-size", "0.5", "--channels", "DAPI")
    assert code == 0
    assert "6 tiles written to plate.zarr" in out
    image = open_plate(Path("plate.zarr"))["A1"]["2"]
    assert image.spacing["x"] == 0.5
    assert image.channels == ["DAPI"] or tuple(image.channels) == ("DAPI",)
    code, out, _ = poolvox("validate", "plate.zarr")
    assert code == 0
    assert "napari" in out
    assert json.loads(poolvox("validate", "plate.zarr", "--json")[1])["valid"] is True
    code, _, err = poolvox("validate", ".")
    assert code == 2
    assert "give one of them, plate.zarr" in err


def test_one_file_becomes_an_image(config, poolvox):
    code, out, _ = poolvox("convert", "raw/A1_1.tif", "a.zarr", "--pixel-size", "0.5", "-q")
    assert code == 0
    assert "1 tile written to a.zarr" in out
    assert poolvox("validate", "a.zarr")[0] == 0


def test_a_broken_file_is_left_out_and_named(config, poolvox):
    path = Path("raw/B1_2.tif")
    path.write_bytes(path.read_bytes()[:60])
    arguments = ["convert", "raw", "plate.zarr", "--pattern", "{well}_{tile}.tif"]
    code, out, _ = poolvox(*arguments, "--pixel-size", "0.5", "--json")
    assert code == 1
    assert list(json.loads(out)["failed"]) == ["P1-B1-2"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["convert", "nowhere", "a.zarr"], "there is no"),
        (["convert", "raw", "a.zarr", "--pixel-size", "big"], "expected micrometres"),
        (["convert", "raw", "a.zarr", "--ngff", "0.3"], "expected 0.5 or 0.4"),
        (["convert", "raw", "a.zarr", "--pattern", "{wel}.tif"], "well"),
        (["validate", "nowhere.zarr"], "there is no store"),
        (["validate", "raw"], "raw"),
        (["convert", "raw"], "OUT.zarr"),
        (["validat"], "No such command"),
        (["run", "tiny.yaml", "--workers", "0"], "--workers"),
    ],
)
def test_wrong_input_is_one_message(config, poolvox, arguments, said):
    code, _, err = poolvox(*arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_store_with_a_level_missing_is_not_valid(config, poolvox):
    import shutil

    poolvox("convert", "raw/A1_1.tif", "a.zarr", "--pixel-size", "0.5")
    level = next(p for p in sorted(Path("a.zarr").iterdir()) if p.is_dir())
    shutil.rmtree(level)
    code, out, err = poolvox("validate", "a.zarr")
    assert code == 1
    assert level.name in out + err


def test_a_stack_takes_three_sizes(config, poolvox):
    import tifffile

    Path("stacks").mkdir()
    for name in ("A1_1", "A1_2"):
        tifffile.imwrite(
            f"stacks/{name}.tif", np.zeros((3, 16, 16), np.uint16), photometric="minisblack"
        )
    arguments = ["convert", "stacks", "s.zarr", "--pattern", "{well}_{organoid}.tif"]
    code, _, err = poolvox(*arguments, "--pixel-size", "2,0.5,0.5", "--axes", "zyx")
    assert code == 0, err
    assert open_plate(Path("s.zarr"))["A1"][0].spacing == {"z": 2.0, "y": 0.5, "x": 0.5}
