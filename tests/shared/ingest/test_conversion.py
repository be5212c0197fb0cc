"""Raw files become a plate; a broken one costs its own tile."""

import shutil
import tracemalloc

import numpy as np
import pytest
import tifffile

from poolvox.shared.errors import InputError, StoreError
from poolvox.shared.ingest import RawSpec, TileKey, convert
from poolvox.shared.store import open_image, open_plate

RNG = np.random.default_rng(11)
SIZES = {"PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "raw"
    truth = {}
    for cycle in (1, 2):
        for well, tile in (("A01", 1), ("A01", 2), ("B02", 1)):
            data = truth[well, tile, cycle] = RNG.integers(0, 999, (2, 20, 24), np.uint16)
            path = raw / f"c{cycle}" / f"W-{well}_T-{tile}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            names = {"Channel": {"Name": ["DAPI", "GFP"]}}
            tifffile.imwrite(path, data, ome=True, metadata={"axes": "CYX", **SIZES, **names})
    return raw, truth


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
@pytest.mark.parametrize("spec", [None, RawSpec(files="c{cycle}/W-{well}_T-{tile}.tif")])
def test_a_folder_becomes_a_plate(folder, tmp_path, spec, ngff):
    raw, truth = folder
    seen = []
    done = convert(
        raw, tmp_path / "out.zarr", spec=spec, plate="P7", ngff=ngff,
        progress=lambda *place: seen.append(place),
    )  # fmt: skip
    assert [str(key) for key in done.written] == ["P7-A1-1", "P7-A1-2", "P7-B2-1"]
    assert not done.failed
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert "3 tiles written" in done.summary()
    plate = open_plate(tmp_path / "out.zarr")
    assert (plate.name, plate.wells, plate["A1"].tiles) == ("P7", ["A1", "B2"], ["1", "2"])
    image = plate["A1"]["2"]
    assert (image.axes, image.channels) == ("tcyx", ["DAPI", "GFP"])
    assert image.spacing == {"y": 0.65, "x": 0.65}
    assert image.meta["cycles"] == ["1", "2"]
    wanted = np.stack([truth["A01", 2, 1], truth["A01", 2, 2]])
    np.testing.assert_array_equal(image.image().to_numpy(), wanted)


def test_a_broken_file_costs_its_tile_and_nothing_else(folder, tmp_path):
    raw, truth = folder
    (raw / "c2/W-A01_T-1.tif").write_bytes(b"")
    damaged = raw / "c1/W-B02_T-1.tif"
    tifffile.imwrite(damaged, truth["B02", 1, 1], ome=True, compression="zlib",
                     metadata={"axes": "CYX", **SIZES})  # fmt: skip
    content = bytearray(damaged.read_bytes())
    with tifffile.TiffFile(damaged) as tif:
        place = tif.pages[0].dataoffsets[0]
    content[place : place + 40] = bytes(40)
    damaged.write_bytes(content)
    done = convert(raw, tmp_path / "out.zarr")
    assert [key.tile for key in done.written] == ["2"]
    assert "0 bytes" in done.failed[TileKey("P1", "A1", "1")]
    assert "cannot be read" in done.failed[TileKey("P1", "B2", "1")]
    assert "left out P1-A1-1" in done.summary()
    np.testing.assert_array_equal(
        open_plate(tmp_path / "out.zarr")["A1"]["2"].image()[1].to_numpy(), truth["A01", 2, 2]
    )


def test_tiles_of_another_shape_are_left_out(tmp_path):
    for organoid, shape in ((1, (9, 9)), (2, (9, 9)), (3, (9, 8))):
        tifffile.imwrite(tmp_path / f"A1_{organoid}.ome.tif", np.ones(shape, np.uint16),
                         ome=True, metadata={"axes": "YX", **SIZES})  # fmt: skip
    done = convert(tmp_path, tmp_path / "out.zarr", spec=RawSpec(files="{well}_{organoid}.ome.tif"))
    assert [key.organoid for key in done.written] == ["1", "2"]
    assert "others are" in done.failed[TileKey("P1", "A1", "", "3")]


def test_a_file_without_place_becomes_one_image(tmp_path):
    data = RNG.integers(0, 9, (3, 12, 14), np.uint16)
    tifffile.imwrite(tmp_path / "a {b}.ome.tif", data, ome=True,
                     metadata={"axes": "ZYX", **SIZES, "PhysicalSizeZ": 2})  # fmt: skip
    convert(tmp_path / "a {b}.ome.tif", tmp_path / "out.zarr")
    image = open_image(tmp_path / "out.zarr")
    assert (image.axes, image.spacing) == ("czyx", {"z": 2.0, "y": 0.65, "x": 0.65})
    np.testing.assert_array_equal(image.image()[0].to_numpy(), data)


def test_several_files_are_placed_by_their_names(folder, tmp_path):
    raw, _ = folder
    done = convert(sorted((raw / "c1").iterdir()), tmp_path / "out.zarr")
    assert len(done.written) == 3
    with pytest.raises(InputError, match="give a pattern"):
        convert([raw / "c1/W-A01_T-1.tif", raw.parent / "raw" / "x.tif"], tmp_path / "o.zarr")


def test_a_store_is_converted_again(folder, tmp_path):
    raw, truth = folder
    convert(raw, tmp_path / "a.zarr")
    done = convert(tmp_path / "a.zarr", tmp_path / "b.zarr", ngff="0.4")
    assert len(done.written) == 3
    image = open_plate(tmp_path / "b.zarr")["B2"]["1"].image()
    np.testing.assert_array_equal(image[1].to_numpy(), truth["B02", 1, 2])


def test_what_is_there_is_not_overwritten_unasked(folder, tmp_path):
    raw, _ = folder
    out = tmp_path / "out.zarr"
    convert(raw, out)
    with pytest.raises(StoreError, match="there already"):
        convert(raw, out)
    convert(
        raw, out, spec=RawSpec(files="c{cycle}/W-{well}_T-{tile}.tif", cycles=[1]), overwrite=True
    )
    assert open_plate(out)["A1"]["1"].shape == (1, 2, 20, 24)
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter").write_text("years of work")
    for target in (other, raw):
        with pytest.raises(StoreError, match="not overwritten"):
            convert(raw, target, overwrite=True)
    assert (other / "chapter").exists()


def test_a_store_is_never_removed_to_make_room_for_itself(folder, tmp_path):
    raw, _ = folder
    out = tmp_path / "out.zarr"
    convert(raw, out)
    shutil.copytree(raw, out / "raw")
    spec = RawSpec(files="c{cycle}/W-{well}_T-{tile}.tif")
    for source, given in ((out, None), (out / "raw", spec)):
        with pytest.raises(StoreError, match="holds the raw files"):
            convert(source, out, spec=given, overwrite=True)
    assert open_plate(out)["A1"]["1"].shape == (2, 2, 20, 24)


def test_nothing_is_removed_before_the_raw_files_are_known_to_be_good(folder, tmp_path):
    raw, _ = folder
    out = tmp_path / "out.zarr"
    convert(raw, out)
    with pytest.raises(InputError):
        convert(raw, out, spec=RawSpec(files="no{well}.tif"), overwrite=True)
    for path in raw.glob("c*/*.tif"):
        if path.parent.name[1] == path.stem[-1]:
            path.unlink()
    with pytest.raises(InputError, match=r"no tile can be converted; e\.g\. no file for cycle"):
        convert(raw, out, spec=RawSpec(files="c{cycle}/W-{well}_T-{tile}.tif", cycles=[1, 2]),
                overwrite=True)  # fmt: skip
    assert open_plate(out).wells == ["A1", "B2"]


def test_an_unknown_pixel_size_is_asked_for(tmp_path):
    tifffile.imwrite(tmp_path / "A1_1.tif", np.ones((9, 9), np.uint16), metadata=None)
    with pytest.raises(InputError, match=r"give pixel_size \(--pixel-size\)"):
        convert(tmp_path, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
    with pytest.raises(InputError, match="there is no"):
        convert(tmp_path / "absent", tmp_path / "out.zarr")


def test_two_plates_are_not_mixed(tmp_path):
    for plate in ("p", "q"):
        tifffile.imwrite(tmp_path / f"{plate}_A1.tif", np.ones((9, 9), np.uint16))
    with pytest.raises(InputError, match="2 plates"):
        convert(
            tmp_path, tmp_path / "o.zarr", spec=RawSpec(files="{plate}_{well}.tif", pixel_size=1)
        )


def test_one_tile_is_held_at_a_time(tmp_path):
    data = np.zeros((4, 256, 256), np.uint16)
    for tile in range(6):
        tifffile.imwrite(tmp_path / f"A1_{tile}.tif", data, photometric="minisblack")
    spec = RawSpec(files="{well}_{tile}.tif", channels=list("abcd"), pixel_size=1)
    convert(tmp_path, tmp_path / "warm.zarr", spec=spec)
    tracemalloc.start()
    convert(tmp_path, tmp_path / "out.zarr", spec=spec)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * data.nbytes
