"""Every fault of a folder is named before work begins, and costs its own tile alone."""

import builtins
import os
import pickle
import tracemalloc
from collections import Counter
from itertools import product

import numpy as np
import pytest
import tifffile

from poolvox.shared.errors import InputError
from poolvox.shared.ingest import RawSpec, TileKey, scan

RNG = np.random.default_rng(7)
IMAGE = (12, 10)
PATTERN = "c{cycle}/{well}_s{tile}_w{channel}_z{z}.tif"
AXES = ("cycle", "well", "tile", "channel", "z")


def name(**values):
    return PATTERN.format(**values)


def write(folder, values, data):
    path = folder / name(**values)
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, data, photometric="minisblack", metadata=None)


@pytest.fixture
def screen(tmp_path):
    """Three cycles of two channels and two planes, of three tiles in two wells."""
    truth = {}
    places = [("A01", "1"), ("A01", "2"), ("B02", "1")]
    for (well, tile), cycle, channel, z in product(places, (1, 2, 10), "12", (1, 2)):
        values = dict(zip(AXES, (cycle, well, tile, channel, z)))
        truth[tuple(map(str, values.values()))] = data = RNG.integers(0, 4000, IMAGE, np.uint16)
        write(tmp_path, values, data)
    return tmp_path, truth


def look(folder, **spec):
    return scan(RawSpec(**{"files": PATTERN, "channels": {"DAPI": 1, "GFP": 2}, **spec}), folder)


FIRST, SECOND, THIRD = TileKey("P1", "A1", "1"), TileKey("P1", "A1", "2"), TileKey("P1", "B2", "1")
ONE = {"cycle": 2, "well": "A01", "tile": "2", "channel": "1", "z": 2}


def expected(truth, well, tile, cycles=("1", "2", "10"), channels="12"):
    return np.stack(
        [
            [[truth[t, well, tile, c, z] for z in "12"] for c in channels]
            for t in cycles
        ]
    )  # fmt: skip


def test_a_complete_folder_is_read_exactly(screen):
    folder, truth = screen
    manifest = look(folder)
    assert manifest.tiles == [FIRST, SECOND, THIRD]
    assert (manifest.axes, manifest.shape) == ("tczyx", (3, 2, 2, *IMAGE))
    assert (manifest.cycles, manifest.channels) == (("1", "2", "10"), ("DAPI", "GFP"))
    assert manifest.problems.empty
    assert "no problems" in manifest.summary()
    assert manifest.bytes == 3 * 3 * 2 * 2 * 120 * 2
    assert len(manifest.files) == 36
    assert manifest.files.bytes.sum() == sum(p.stat().st_size for p in folder.rglob("*.tif"))
    assert len(manifest.files_of(FIRST)) == 12
    assert manifest.wells == {"A1": "A01", "B2": "B02"}
    for key, well in ((FIRST, "A01"), (SECOND, "A01"), (THIRD, "B02")):
        np.testing.assert_array_equal(manifest.read(key), expected(truth, well, key.tile))


def test_cycles_and_channels_can_be_chosen_and_ordered(screen):
    folder, truth = screen
    manifest = look(folder, cycles=[10, 1], channels={"b": "2"})
    assert (manifest.cycles, manifest.channels) == (("10", "1"), ("b",))
    np.testing.assert_array_equal(
        manifest.read(THIRD), expected(truth, "B02", "1", ("10", "1"), "2")
    )
    whole = look(folder)
    part = whole.read(THIRD, cycles=["10", "2"], channels=["GFP"])
    np.testing.assert_array_equal(part, expected(truth, "B02", "1", ("10", "2"), "2"))
    assert look(folder, channels=["2", "1"]).values == ("2", "1")
    assert look(folder, channels=["DAPI", "GFP"]).values == ("1", "2")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"cycles": [1, 9]}, "'9', of which there is no file; there are 1, 2, 10"),
        ({"channels": ["a", "b", "c"]}, r"names 3 \(a, b, c\), but there are 2"),
        ({"channels": {"a": "5"}}, "no channel '5' in the names of the files: there are 1, 2"),
    ],
)
def test_a_specification_that_contradicts_the_files_is_an_error(screen, spec, says):
    with pytest.raises(InputError, match=says):
        look(screen[0], **spec)


def test_what_is_not_there_cannot_be_read(screen):
    manifest = look(screen[0])
    with pytest.raises(InputError, match="no tile P1-A1-9"):
        manifest.read(TileKey("P1", "A1", "9"))
    with pytest.raises(InputError, match="no cycle '4'"):
        manifest.read(FIRST, cycles=["4"])


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def cut_directory(path):
    path.write_bytes(path.read_bytes()[:40])


def copy(path, old, new):
    (path.parent / path.name.replace(old, new)).write_bytes(path.read_bytes())


def other(folder, *shape, dtype=np.uint16):
    write(folder, ONE, np.zeros(shape, dtype))


FAULTS = [
    ("missing", "missing", lambda p, f: p.unlink(), "no file for cycle 2, channel 1, z 2"),
    ("doubled", "doubled", lambda p, f: copy(p, "A01", "A1"), "two files"),
    ("doubled tile", "doubled", lambda p, f: copy(p, "_s2", "_s02"), "two files"),
    ("shape", "shape", lambda p, f: other(f, 12, 11), "12 x 11.*others are.*12 x 10"),
    ("dtype", "dtype", lambda p, f: other(f, *IMAGE, dtype=np.uint8), "uint8.*uint16"),
    ("pages", "axes", lambda p, f: other(f, 3, *IMAGE), "3 pages"),
    ("truncated", "truncated", lambda p, f: cut(p), "not copied completely"),
    ("no directory", "truncated", lambda p, f: cut_directory(p), "not copied completely"),
    ("empty", "truncated", lambda p, f: p.write_bytes(b""), "0 bytes"),
    ("text", "unreadable", lambda p, f: p.write_text("this is not an image"), "not a TIFF"),
    (
        "garbage",
        "unreadable",
        lambda p, f: p.write_bytes(b"II*\0\x08\0\0\0" + bytes(99)),
        "damaged",
    ),
    ("loop", "unreadable", lambda p, f: loop(p), "back to itself"),
]


def loop(path):
    content = bytearray(path.read_bytes())
    first = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[first : first + 2], "little")
    end = first + 2 + 12 * count
    content[end : end + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "spoil", "says"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_a_bad_file_is_named_and_costs_its_own_tile_alone(screen, kind, spoil, says):
    folder, truth = screen
    spoil(folder / name(**ONE), folder)
    manifest = look(folder)
    row = manifest.problems.iloc[0]
    assert len(manifest.problems) == 1
    assert (row.kind, row.plate, row.well, row.tile, row.cycle) == (kind, "P1", "A1", "2", "2")
    assert row.channel == "1"
    assert list(manifest.bad) == [SECOND]
    assert "A1-2" in manifest.summary()
    with pytest.raises(InputError, match=says):
        manifest.read(SECOND)
    for key, well in ((FIRST, "A01"), (THIRD, "B02")):
        np.testing.assert_array_equal(manifest.read(key), expected(truth, well, key.tile))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_says_so(screen):
    path = screen[0] / name(**ONE)
    path.chmod(0)
    assert "no permission" in look(screen[0]).bad[SECOND]


def test_a_refusal_of_the_system_is_told(screen, monkeypatch):
    # The same for root, whom no mode of a file stops.
    from poolvox.shared.ingest import tiff

    def refuse(path, *args, **options):
        if str(path).endswith(name(**ONE)):
            raise PermissionError(13, "Permission denied")
        return builtins.open(path, *args, **options)

    monkeypatch.setattr(tiff, "open", refuse, raising=False)
    manifest = look(screen[0])
    assert "no permission" in manifest.bad[SECOND]
    assert list(manifest.problems.kind) == ["unreadable"]


def test_pixels_that_cannot_be_decoded_cost_their_tile(tmp_path):
    for tile in "12":
        data = RNG.integers(0, 9, IMAGE, np.uint16)
        tifffile.imwrite(tmp_path / f"{tile}.tif", data, compression="zlib", metadata=None)
    content = bytearray((tmp_path / "1.tif").read_bytes())
    content[-60:] = bytes(60)
    (tmp_path / "1.tif").write_bytes(content)
    manifest = scan(RawSpec(files="{tile}.tif"), tmp_path)
    with pytest.raises(InputError, match=r"1\.tif: the pixels cannot be read"):
        manifest.read(manifest.tiles[0])
    assert manifest.read(manifest.tiles[1]).shape == (1, *IMAGE)


def test_a_file_that_vanishes_after_the_scan_is_an_input_error(screen):
    manifest = look(screen[0])
    (screen[0] / name(**ONE)).unlink()
    with pytest.raises(InputError, match="cannot be read"):
        manifest.read(SECOND)


def test_a_whole_plane_of_files_missing_is_one_problem_per_cycle_and_channel(screen):
    folder, _ = screen
    for z in (1, 2):
        (folder / name(**{**ONE, "z": z})).unlink()
    for cycle in (1, 2, 10):
        (folder / name(cycle=cycle, well="B02", tile=1, channel=2, z=1)).unlink()
    problems = look(folder).problems
    assert list(problems.kind) == ["missing"] * 4
    assert problems.reason[0] == "no file for cycle 2, channel 1"
    assert problems.reason[1] == "no file for cycle 1, channel 2, z 1"


def test_no_good_file_at_all_is_an_error_with_a_reason(tmp_path):
    for tile in "12":
        (tmp_path / f"{tile}.tif").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the 2 files can be used.*0 bytes"):
        scan(RawSpec(files="{tile}.tif"), tmp_path)


def test_organoids_may_differ_in_size_but_the_files_of_one_may_not(tmp_path):
    sizes = {"1": (3, 12, 10), "2": (5, 9, 14)}
    for organoid, (depth, *plane) in sizes.items():
        for z in range(1, depth + 1):
            tifffile.imwrite(tmp_path / f"A1_{organoid}_z{z}.tif", np.full(plane, z, np.uint16))
    spec = RawSpec(files="{well}_{organoid}_z{z}.tif", channels=["nuclei"], voxel_size=[2, 1, 1])
    manifest = scan(spec, tmp_path)
    assert manifest.problems.empty, manifest.summary()
    assert [manifest.shape_of(k) for k in manifest.tiles] == [(1, 3, 12, 10), (1, 5, 9, 14)]
    for key in manifest.tiles:
        got = manifest.read(key)
        assert got.shape == manifest.shape_of(key)
        assert got[0, :, 0, 0].tolist() == list(range(1, got.shape[1] + 1))
    (tmp_path / "A1_2_z3.tif").unlink()
    tifffile.imwrite(tmp_path / "A1_1_z2.tif", np.zeros((12, 11), np.uint16))
    bad = scan(spec, tmp_path).bad
    assert "z 3" in bad[manifest.tiles[1]]
    assert "12 x 11" in bad[manifest.tiles[0]]


def test_the_order_of_tiles_does_not_depend_on_that_of_the_disk(screen, monkeypatch):
    folder, _ = screen
    before = look(folder)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = list(entries)[::-1]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def __iter__(self):
            return iter(self.entries)

    monkeypatch.setattr(os, "scandir", Backwards)
    after = look(folder)
    assert after.tiles == before.tiles
    assert after.files.equals(before.files)


def test_each_file_is_opened_once_and_no_pixel_is_read(screen, monkeypatch):
    from poolvox.shared.ingest import tiff

    opened, fetched = Counter(), Counter()
    fetch = tiff._Reader._fetch

    def count(path, *args, **options):
        opened[str(path)] += 1
        return builtins.open(path, *args, **options)

    def count_bytes(self, offset, size):
        block = fetch(self, offset, size)
        fetched["bytes"] += len(block)
        return block

    monkeypatch.setattr(tiff, "open", count, raising=False)
    monkeypatch.setattr(tiff._Reader, "_fetch", count_bytes)
    monkeypatch.setattr(tifffile, "TiffFile", None)
    look(screen[0])
    assert len(opened) == 36
    assert set(opened.values()) == {1}
    # A window of the header at most: of larger files the pixels stay on the disk.
    assert fetched["bytes"] <= 36 * tiff.WINDOW


def test_the_header_of_a_large_file_costs_little(tmp_path):
    data = np.zeros((40, 512, 512), np.uint16)
    tifffile.imwrite(tmp_path / "1.tif", data, photometric="minisblack", metadata=None)
    tracemalloc.start()
    scan(RawSpec(files="{tile}.tif", channels=["a"], voxel_size=[1, 1, 1]), tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < data.nbytes / 10


def test_reading_a_tile_holds_little_more_than_its_pixels(screen, tmp_path):
    data = np.zeros((8, 256, 256), np.uint16)
    tifffile.imwrite(tmp_path / "9.tif", data, photometric="minisblack", metadata=None)
    manifest = scan(RawSpec(files="{tile}.tif", channels=list("abcdefgh")), tmp_path)
    manifest.read(manifest.tiles[0])
    tracemalloc.start()
    manifest.read(manifest.tiles[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * data.nbytes


def test_cycles_in_one_file_are_numbered_named_and_restricted(tmp_path):
    data = RNG.integers(0, 99, (3, 2, *IMAGE), np.uint16)
    tifffile.imwrite(tmp_path / "1.tif", data, imagej=True, metadata={"axes": "TCYX"})
    spec = {"files": "{tile}.tif", "channels": ["a", "b"]}
    assert scan(RawSpec(**spec), tmp_path).cycles == ("1", "2", "3")
    manifest = scan(RawSpec(**spec, cycles=[3, 1]), tmp_path)
    np.testing.assert_array_equal(manifest.read(manifest.tiles[0]), data[[2, 0]])
    assert scan(RawSpec(**spec, cycles=["x", "y", "z"]), tmp_path).cycles == ("x", "y", "z")
    with pytest.raises(InputError, match="'4'"):
        scan(RawSpec(**spec, cycles=[1, 4]), tmp_path)


def test_channels_of_one_file_are_chosen_by_name_or_number(tmp_path):
    data = RNG.integers(0, 99, (3, *IMAGE), np.uint16)
    names = {"Name": ["DAPI", "GFP", "Cy5"]}
    tifffile.imwrite(tmp_path / "1.tif", data, ome=True, metadata={"axes": "CYX", "Channel": names})
    manifest = scan(RawSpec(files="{tile}.tif"), tmp_path)
    assert manifest.channels == ("DAPI", "GFP", "Cy5")
    for channels, order in (
        (["Cy5", "DAPI", "GFP"], [2, 0, 1]),
        (["x", "y", "z"], [0, 1, 2]),
        ({"nuclei": "DAPI", "marker": "Cy5"}, [0, 2]),
        ({"marker": 2}, [2]),
    ):
        manifest = scan(RawSpec(files="{tile}.tif", channels=channels), tmp_path)
        assert manifest.channels == tuple(channels)
        np.testing.assert_array_equal(manifest.read(manifest.tiles[0]), data[order])


def test_rows_and_columns_plates_and_unicode_names(tmp_path):
    for plate, row in product(("Plätze 1", "P [2]"), (1, 2)):
        path = tmp_path / plate / "Images µ" / f"r0{row}c03f01.tiff"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.full(IMAGE, row, np.uint16))
    manifest = scan(RawSpec(files=r"{plate}\Images µ/r{row}c{col}f{tile}.tiff"), tmp_path)
    assert [str(key) for key in manifest.tiles] == [
        "P [2]-A3-1", "P [2]-B3-1", "Plätze 1-A3-1", "Plätze 1-B3-1"
    ]  # fmt: skip
    assert manifest.read(manifest.tiles[1]).max() == 2


def test_a_tile_alone_is_small_and_reads_the_same(screen, tmp_path):
    whole = look(screen[0])
    (screen[0] / name(**ONE)).unlink()
    whole = look(screen[0])
    one = pickle.loads(pickle.dumps(whole.only(THIRD)))  # noqa: S301 -- our own bytes
    assert one.tiles == [THIRD]
    assert (one.shape, one.channels, one.bad) == (whole.shape, whole.channels, {})
    np.testing.assert_array_equal(one.read(THIRD), whole.read(THIRD))
    assert whole.only(SECOND).bad == whole.bad
    data = RNG.integers(0, 9, (40, 2, *IMAGE), np.uint16)
    with tifffile.TiffWriter(tmp_path / "all.ome.tif", ome=True) as writer:
        for image in data:
            writer.write(image, photometric="minisblack", metadata={"axes": "CYX"})
    several = scan(RawSpec(files="all.ome.tif"), tmp_path)
    one = several.only(several.tiles[25])
    assert len(pickle.dumps(one)) < 4000
    np.testing.assert_array_equal(one.read(several.tiles[25]), data[25])


def test_progress_counts_to_the_number_of_files(screen):
    seen = []
    scan(RawSpec(files=PATTERN), screen[0], progress=lambda *place: seen.append(place))
    assert seen == sorted(seen)
    assert seen[-1] == (36, 36)
