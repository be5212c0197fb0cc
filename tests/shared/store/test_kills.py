"""A process that is killed at any stage of an image: pixels, pyramid, labels, their pyramid."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from poolvox.shared.errors import StoreError
from poolvox.shared.store import create_plate, open_plate

SHAPE = (2, 600, 700)

# Writes a tile like the pipelines do; dies in the middle of its n-th unit.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from poolvox.shared.store import encoding
from tests.shared.store.test_kills import write_tile

left, write = int(sys.argv[2]), encoding._write_file

def write_file(path, data):
    global left
    left -= 1
    if left == 0:
        write(path, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)

encoding._write_file = write_file
write_tile(Path(sys.argv[1]))
"""


def write_tile(root):
    rng = np.random.default_rng(0)
    field = create_plate(root / "p.zarr", {"A1": ["0"]}, name="P")["A1"]["0"]
    pixels = rng.integers(1, 999, SHAPE, dtype="uint16")
    field.write(pixels, axes="cyx", spacing={"y": 1.0, "x": 1.0}, channels=["a", "b"])
    field.write_labels("nuclei", rng.integers(0, 9, SHAPE[1:], dtype="int32"))


def contents(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    write_tile(root)
    return contents(root)


# Two channels with a level above: units 1 to 4; labels: 5 and 6.
@pytest.mark.parametrize(("unit", "what"), [(2, "pyramid"), (5, "labels"), (6, "their pyramid")])
def test_what_a_killed_writer_left_is_told_and_mended(tmp_path, undisturbed, unit, what):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(tmp_path.rglob("*.partial")), "it did not die while it wrote"
    field = open_plate(tmp_path / "p.zarr")["A1"]["0"]
    if what == "pyramid":
        assert not field.complete
        with pytest.raises(StoreError, match="interrupted"):
            field.image()
    else:
        assert field.complete
        assert field.label_names == []
        with pytest.raises(StoreError, match="interrupted"):
            field.labels("nuclei")
    write_tile(tmp_path)
    assert contents(tmp_path) == undisturbed
