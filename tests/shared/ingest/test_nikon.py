"""ND2 files through the package `nd2`, which a stand-in replaces here."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.ingest import RawSpec, guess, scan

SIZES = {"T": 2, "P": 3, "Z": 4, "C": 2, "Y": 5, "X": 6}
DATA = np.random.default_rng(3).integers(0, 999, tuple(SIZES.values()), np.uint16)


class File:
    """What poolvox uses of `nd2.ND2File`: frames run along T, P, Z and hold all channels."""

    sizes = SIZES
    dtype = np.dtype("uint16")
    names = ("A1_0000", "B2_0000", "")

    def __init__(self, path):
        self.path = path
        if not path.read_bytes():
            raise ValueError("not an ND2 file")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def voxel_size(self):
        return SimpleNamespace(x=0.65, y=0.65, z=2.0)

    @property
    def metadata(self):
        names = [SimpleNamespace(channel=SimpleNamespace(name=n)) for n in ("DAPI", "GFP")]
        return SimpleNamespace(channels=names)

    @property
    def experiment(self):
        points = [SimpleNamespace(name=name) for name in self.names]
        return [SimpleNamespace(type="XYPosLoop", parameters=SimpleNamespace(points=points))]

    def read_frame(self, number):
        return DATA.reshape(24, 2, 5, 6)[number].squeeze()


@pytest.fixture
def nd2(monkeypatch):
    monkeypatch.setitem(sys.modules, "nd2", SimpleNamespace(ND2File=File))


def test_positions_of_a_file_are_tiles(nd2, tmp_path):
    (tmp_path / "scan.nd2").write_bytes(b"x")
    manifest = scan(RawSpec(files="scan.nd2"), tmp_path)
    assert [(k.well, k.tile) for k in manifest.tiles] == [("A1", "1"), ("A1", "3"), ("B2", "2")]
    assert (manifest.axes, manifest.shape) == ("tczyx", (2, 2, 4, 5, 6))
    assert manifest.channels == ("DAPI", "GFP")
    assert manifest.spacing == {"z": 2.0, "y": 0.65, "x": 0.65}
    for key in manifest.tiles:
        wanted = DATA[:, int(key.tile) - 1].transpose(0, 2, 1, 3, 4)
        np.testing.assert_array_equal(manifest.read(key), wanted)


def test_a_name_and_a_file_with_positions_do_not_go_together(nd2, tmp_path):
    (tmp_path / "A1_1.nd2").write_bytes(b"x")
    with pytest.raises(InputError, match="3 positions"):
        scan(RawSpec(files="{well}_{tile}.nd2"), tmp_path)


def test_a_damaged_file_says_so(nd2, tmp_path):
    (tmp_path / "A1.nd2").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be opened"):
        scan(RawSpec(files="{well}.nd2"), tmp_path)


def test_the_layout_of_nis_elements_is_known(nd2, tmp_path, monkeypatch):
    monkeypatch.setattr(File, "sizes", {"C": 2, "Y": 5, "X": 6})
    monkeypatch.setattr(File, "read_frame", lambda self, number: DATA[0, 0, number])
    monkeypatch.setattr(File, "names", ())
    for well, tile in (("A01", "0000"), ("A01", "0001"), ("B02", "0000")):
        name = f"Well{well}_Point{well}_{tile}_ChannelDAPI,GFP_Seq0000.nd2"
        (tmp_path / name).write_bytes(b"x")
    found = guess(tmp_path, "ops")
    assert found.vendor == "Nikon (NIS-Elements)"
    assert found.files == "Well{well}_Point{_}_{tile}_ChannelDAPI,GFP_Seq{_}.nd2"
    assert (found.channels, found.tiles, found.pixel_size) == (("DAPI", "GFP"), 3, 0.65)
    manifest = scan(RawSpec(files=found.files, channels=found.channels), tmp_path)
    assert manifest.problems.empty
    assert manifest.read(manifest.tiles[0]).shape == (2, 5, 6)


def test_without_the_package_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nd2", None)
    (tmp_path / "A1.nd2").write_bytes(b"x")
    with pytest.raises(InputError, match=r"pip install 'poolvox\[nd2\]'"):
        scan(RawSpec(files="{well}.nd2"), tmp_path)


def test_the_real_package_offers_what_is_used():
    package = pytest.importorskip("nd2")
    for name in ("sizes", "dtype", "voxel_size", "metadata", "experiment", "read_frame"):
        assert hasattr(package.ND2File, name)


def test_the_stand_in_is_like_the_package():
    real = pytest.importorskip("nd2").ND2File
    used = [name for name in vars(File) if not name.startswith("_") and name != "names"]
    assert [name for name in used if not hasattr(real, name)] == []
    assert hasattr(real, "__enter__")


def test_what_the_package_refuses_costs_the_file(tmp_path):
    pytest.importorskip("nd2")
    (tmp_path / "A1_1.nd2").write_bytes(b"no Nikon file" * 99)
    with pytest.raises(InputError, match="the ND2 file cannot be opened"):
        scan(RawSpec(files="{well}_{tile}.nd2"), tmp_path)
