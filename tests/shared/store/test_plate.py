import json
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from poolvox.shared.errors import StoreError
from poolvox.shared.store import create_plate, open_plate, validate
from poolvox.shared.store.metadata import LOCK_NAME, locked, read_document

SPACING = {"y": 1.0, "x": 1.0}
PIXELS = np.arange(40, dtype="uint16").reshape(5, 8)


def write(plate, well, tile, value=0):
    plate[well][tile].write(PIXELS + np.uint16(value), axes="yx", spacing=SPACING)


@pytest.fixture(params=["0.5", "0.4"])
def plate(request, tmp_path):
    wells = {"B2": ["7", "12"], "A1": ["0", "1"]}
    meta = {"chemistry": "four-colour"}
    return create_plate(tmp_path / "P1.zarr", wells, name="P1", ngff=request.param, meta=meta)


def ome(plate, *parts):
    return read_document(plate.path.joinpath(*parts)).ome


def test_a_plate_knows_its_wells_and_tiles_before_any_is_written(plate):
    found = open_plate(plate.path)
    assert (found.name, found.wells) == ("P1", ["A1", "B2"])
    assert found["B2"].tiles == ["7", "12"]
    assert found["B02"].name == "B2"
    assert found.meta == {"chemistry": "four-colour"}
    assert found.acquisitions == {1: "P1"}
    assert not found["A1"]["0"].complete
    with pytest.raises(StoreError, match="not written yet"):
        found["A1"]["0"].image()


def test_only_what_is_finished_is_listed(plate):
    write(plate, "B2", "12")
    assert [well["path"] for well in ome(plate)["plate"]["wells"]] == ["B/2"]
    assert ome(plate, "B", "2")["well"]["images"] == [{"path": "12", "acquisition": 1}]
    write(plate, "A1", "1")
    write(plate, "B2", "7")
    assert [well["path"] for well in ome(plate)["plate"]["wells"]] == ["A/1", "B/2"]
    assert [image["path"] for image in ome(plate, "B", "2")["well"]["images"]] == ["7", "12"]
    assert ome(plate)["plate"]["field_count"] == 2
    for well in ome(plate)["plate"]["wells"]:
        row, column = well["path"].split("/")
        assert ome(plate)["plate"]["rows"][well["rowIndex"]]["name"] == row
        assert ome(plate)["plate"]["columns"][well["columnIndex"]]["name"] == column


@pytest.mark.parametrize(
    ("wells", "rows", "columns"),
    [
        (["A1"], 2, 3),
        (["B3"], 2, 3),
        (["C1"], 3, 4),
        (["H12"], 8, 12),
        (["A13"], 16, 24),
        (["AF48"], 32, 48),
        (["A01", "D6"], 4, 6),
    ],
)
def test_rows_and_columns_are_those_of_a_real_plate(tmp_path, wells, rows, columns):
    plate = create_plate(tmp_path / "p.zarr", {well: ["0"] for well in wells})
    listed = ome(plate)["plate"]
    assert (len(listed["rows"]), len(listed["columns"])) == (rows, columns)
    names = [row["name"] for row in listed["rows"]]
    assert len(set(names)) == rows
    assert "AF" in names or rows < 32


def test_a_plate_may_grow_after_it_was_written(plate):
    write(plate, "A1", "0")
    bigger = create_plate(
        plate.path, {"A1": ["1", "2"], "H12": ["0"]}, ngff=plate.ngff, meta={"cycles": 3}
    )
    assert bigger.wells == ["A1", "B2", "H12"]
    assert bigger["A1"].tiles == ["0", "1", "2"]
    assert bigger.meta == {"chemistry": "four-colour", "cycles": 3}
    np.testing.assert_array_equal(bigger["A1"]["0"].image(), PIXELS)
    write(bigger, "H12", "0")
    assert [w["path"] for w in ome(plate)["plate"]["wells"]] == ["A/1", "H/12"]
    assert ome(plate)["plate"]["wells"][1]["columnIndex"] == 11
    assert validate(plate.path).valid


def test_an_equal_plate_is_left_alone(plate):
    write(plate, "A1", "0")
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in plate.path.rglob("*.json")}
    create_plate(plate.path, {"B2": ["7", "12"], "A1": ["0", "1"]}, ngff=plate.ngff)
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before}


def test_a_plate_of_another_version_is_not_mixed(plate):
    other = "0.4" if plate.ngff == "0.5" else "0.5"
    with pytest.raises(StoreError, match=f"NGFF {plate.ngff}, not {other}"):
        create_plate(plate.path, {"A1": ["0"]}, ngff=other)


def test_tiles_of_any_name_get_fields_that_ngff_allows(tmp_path):
    plate = create_plate(tmp_path / "p.zarr", {"A1": ["left-top", "3", "0", "007", "α", "3o1"]})
    create_plate(plate.path, {"A1": ["right"]})
    tiles = plate["A1"].tiles
    assert tiles == ["0", "3", "3o1", "007", "left-top", "right", "α"]
    paths = [plate["A1"][tile].path.name for tile in tiles]
    assert len(set(paths)) == len(paths)
    assert all(path.isascii() and path.isalnum() for path in paths)
    for own in ("3", "007", "3o1", "right"):
        assert plate["A1"][own].path.name == own
    write(plate, "A1", "α", 9)
    np.testing.assert_array_equal(open_plate(plate.path)["A1"]["α"].image(), PIXELS + 9)


def test_a_plate_does_not_depend_on_which_tile_came_first(tmp_path):
    tiles = ["1", "2", "2o3", "10", "left"]
    for name, order in (("a", tiles), ("b", tiles[::-1])):
        for tile in order:
            plate = create_plate(tmp_path / name / "p.zarr", {"A1": [tile]})
            plate["A1"][tile].write(PIXELS, axes="yx", spacing={"y": 1.0, "x": 1.0})
    one, other = (tmp_path / name / "p.zarr" for name in "ab")
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert [f for f in files if (one / f).read_bytes() != (other / f).read_bytes()] == []
    assert open_plate(one)["A1"].tiles == tiles


@pytest.mark.parametrize("well", ["1A", "A", "well", "A/", "ABC1", ""])
def test_names_that_are_no_wells_are_refused(tmp_path, well):
    with pytest.raises(StoreError, match="row letters and a column number"):
        create_plate(tmp_path / "p.zarr", {well: ["0"]})
    assert not (tmp_path / "p.zarr").exists()


def test_wells_and_tiles_that_are_not_there_are_named(plate):
    with pytest.raises(StoreError, match="no well 'C3'; it has: A1, B2"):
        plate["C3"]
    with pytest.raises(StoreError, match="no tile '9'; it has: 7, 12"):
        plate["B2"]["9"]
    with pytest.raises(StoreError, match="no tile 2"):
        plate["B2"][2]
    assert plate["B2"][-1].path == plate["B2"]["12"].path
    assert "B2" in plate
    assert "C3" not in plate


def test_acquisitions_are_numbered_from_one(tmp_path):
    plate = create_plate(
        tmp_path / "p.zarr", {"A1": {"0": 1, "1": 2}}, acquisitions=["first", "second"]
    )
    for tile in "01":
        write(plate, "A1", tile)
    images = ome(plate, "A", "1")["well"]["images"]
    assert images == [{"path": "0", "acquisition": 1}, {"path": "1", "acquisition": 2}]
    assert plate.acquisitions == {1: "first", 2: "second"}
    assert len(plate["A1"]) == 2, "our own tiles are not cycles"
    with pytest.raises(StoreError, match="acquisition 3"):
        create_plate(plate.path, {"A1": {"2": 3}})


def _write_tile(path, tile):
    plate = open_plate(path)
    write(plate, "A1", str(tile), tile)
    create_plate(path, {"A1": [str(100 + tile)]})


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_many_writers_may_fill_and_extend_one_well(tmp_path, pool):
    count = 12
    plate = create_plate(tmp_path / "p.zarr", {"A1": [str(i) for i in range(count)]})
    pools = {
        "threads": lambda: ThreadPoolExecutor(6),
        "processes": lambda: ProcessPoolExecutor(3, mp_context=get_context("spawn")),
    }
    with pools[pool]() as executor:
        list(executor.map(_write_tile, [plate.path] * count, range(count)))
    images = ome(plate, "A", "1")["well"]["images"]
    assert [image["path"] for image in images] == [str(i) for i in range(count)]
    assert set(plate["A1"].tiles) == {str(i) for i in [*range(count), *range(100, 100 + count)]}
    assert ome(plate)["plate"]["field_count"] == count
    for tile in range(count):
        np.testing.assert_array_equal(plate["A1"][str(tile)].image(), PIXELS + tile)
    assert not list(plate.path.rglob(LOCK_NAME))


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr("poolvox.shared.store.metadata.LOCK_SECONDS", 0.2)
    (tmp_path / LOCK_NAME).write_text("dead")
    inside = []

    def change():
        with locked(tmp_path):
            inside.append(1)
            assert len(inside) == 1, "two at once"
            inside.pop()

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert not list(tmp_path.iterdir())


def fractal(root, shapes, *, acquisitions=(0, 1)):
    """A plate of which each cycle is an image of its own, in 0.4."""
    from poolvox.shared.store import create_image

    images = []
    fields = len(shapes) // len(acquisitions)
    for index, shape in enumerate(shapes):
        image = create_image(root / "B" / "03" / str(index), ngff="0.4")
        image.write(np.full(shape, index, "u1"), axes="czyx"[-len(shape) :], spacing=STACK)
        images.append({"path": str(index), "acquisition": acquisitions[index // fields]})
    wells = [{"path": "B/03", "rowIndex": 0, "columnIndex": 0}]
    listed = [{"id": number} for number in acquisitions]
    plate = {"rows": [{"name": "B"}], "columns": [{"name": "03"}], "wells": wells}
    plate |= {"acquisitions": listed, "version": "0.4"}
    for group, attributes in (
        (root, {"plate": plate}),
        (root / "B" / "03", {"well": {"images": images, "version": "0.4"}}),
    ):
        (group / ".zgroup").write_text('{"zarr_format": 2}')
        (group / ".zattrs").write_text(json.dumps(attributes))
    return open_plate(root)


STACK = {"z": 2.0, "y": 1.0, "x": 1.0}


def test_acquisitions_of_other_writers_become_cycles(tmp_path):
    plate = fractal(tmp_path / "f.zarr", [(2, 1, 5, 6)] * 4)
    assert plate.wells == ["B03"]
    assert plate["B3"].tiles == ["0", "1"]
    image = plate["B03"][1]
    assert (image.axes, image.shape) == ("tczyx", (2, 2, 1, 5, 6))
    found = image.image()
    assert found.dims == ("t", "c", "z", "y", "x")
    assert found[:, 0, 0, 0, 0].values.tolist() == [1, 3]
    assert found.attrs["spacing"] == STACK
    with pytest.raises(StoreError, match="new plate"):
        image.write(PIXELS, axes="yx", spacing=SPACING)


def test_cycles_that_do_not_match_say_so(tmp_path):
    plate = fractal(tmp_path / "f.zarr", [(2, 1, 5, 6), (2, 1, 5, 7)])
    with pytest.raises(StoreError, match="different shapes"):
        plate["B03"][0].image()


def test_an_image_is_no_plate_and_says_so(plate):
    write(plate, "A1", "0")
    with pytest.raises(StoreError, match="use open_image"):
        open_plate(plate["A1"]["0"].path)
    from poolvox.shared.store import open_image

    with pytest.raises(StoreError, match="open_plate"):
        open_image(plate.path)
