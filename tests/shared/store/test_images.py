import json
import signal
import subprocess
import sys
import textwrap

import dask.array as da
import numpy as np
import pytest
import zarr

from poolvox.shared.errors import StoreError
from poolvox.shared.evaluate.files import read_labels
from poolvox.shared.ingest.readers import describe
from poolvox.shared.store import create_image, open_image, validate

SPACING = {"y": 0.65, "x": 0.65}
BIG = 2**60 + 1


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 2**16, (2, 3, 600, 700), dtype="uint16")


@pytest.fixture(params=["0.5", "0.4"])
def image(request, tmp_path, pixels):
    image = create_image(tmp_path / "i.zarr", ngff=request.param)
    return image.write(
        pixels, axes="tcyx", spacing=SPACING, channels=["DAPI", "G", "T"], meta={"cycles": [1, 2]}
    )


def test_pixels_come_back_with_axes_units_and_names(image, pixels):
    found = open_image(image.path).image()
    np.testing.assert_array_equal(found, pixels)
    assert found.dims == ("t", "c", "y", "x")
    assert found.chunks is not None, "lazy"
    assert list(found.c.values) == ["DAPI", "G", "T"]
    assert list(found.t.values) == [1, 2]
    assert found.y.values[:2].tolist() == [0, 0.65]
    assert found.attrs["spacing"] == SPACING
    assert image.meta == {"cycles": [1, 2]}
    assert (image.shape, image.axes, image.spacing) == (pixels.shape, "tcyx", SPACING)


def test_a_lower_level_lies_in_the_middle_of_its_pixels(image):
    low = image.image(1)
    assert low.attrs["spacing"] == {"y": 1.3, "x": 1.3}
    assert low.x.values[0] == pytest.approx(0.325)
    assert float(image.image(0).x.mean()) == pytest.approx(float(low.x.mean()))


@pytest.mark.parametrize("kind", ["dask", "zarr", "xarray", "big-endian", "memmap"])
def test_any_array_can_be_written(tmp_path, pixels, kind):
    source = {
        "dask": lambda: da.from_array(pixels, chunks=(1, 1, 333, 250)),
        "zarr": lambda: zarr.array(pixels),
        "xarray": lambda: (
            create_image(tmp_path / "a").write(pixels, axes="tcyx", spacing=SPACING).image()
        ),
        "big-endian": lambda: pixels.astype(">u2"),
        "memmap": lambda: _memmap(tmp_path / "m.npy", pixels),
    }[kind]()
    own = {} if kind == "xarray" else {"axes": "tcyx", "spacing": SPACING}
    image = create_image(tmp_path / "i.zarr").write(source, **own)
    np.testing.assert_array_equal(image.image(), pixels)
    assert image.dtype == np.dtype("uint16")
    assert image.spacing == SPACING


def _memmap(path, pixels):
    np.save(path, pixels)
    return np.load(path, mmap_mode="r")


def test_masks_are_stored_as_bytes(tmp_path):
    mask = np.eye(40, dtype=bool)
    image = create_image(tmp_path / "i.zarr").write(mask, axes="yx", spacing=SPACING)
    image.write_labels("mask", mask)
    assert image.dtype == "uint8"
    assert image.labels("mask").dtype == "uint8"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"axes": "ctyx"}, "in that order"),
        ({"axes": "cyx"}, "3 dimensions"),
        ({"axes": "tczy"}, "needs y and x"),
        ({"spacing": {"y": 1}}, "for 'x'"),
        ({"spacing": {"y": 1, "x": 0}}, "above 0"),
        ({"channels": ["DAPI"]}, "3 channels"),
        ({"channels": "DGT"}, "3 channels"),
        ({"axes": None}, "needs axes"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, pixels, change, told):
    image = create_image(tmp_path / "i.zarr")
    with pytest.raises(StoreError, match=told):
        image.write(pixels, **{"axes": "tcyx", "spacing": SPACING, **change})
    assert not image.exists


def test_complex_pixels_are_refused(tmp_path):
    with pytest.raises(StoreError, match="complex"):
        create_image(tmp_path / "i").write(np.ones((4, 4), "c8"), axes="yx", spacing=SPACING)


@pytest.mark.parametrize("dtype", ["uint64", "int64"])
def test_large_label_ids_survive_in_every_level(image, dtype):
    labels = np.zeros((600, 700), dtype)
    labels[50:400, 30:500] = BIG
    labels[400:, 500:] = 7
    image.write_labels("cells", labels, meta={"method": "planted"})
    assert image.label_names == ["cells"]
    assert image.labels("cells", image.levels - 1).dims == ("y", "x")
    for level in range(image.levels):
        assert np.unique(image.labels("cells", level)).tolist() == [0, 7, BIG]


def test_labels_follow_the_levels_of_an_anisotropic_stack(tmp_path):
    stack = np.zeros((2, 21, 700, 701), "uint8")
    image = create_image(tmp_path / "i.zarr")
    image.write(stack, axes="czyx", spacing={"z": 2, "y": 0.5, "x": 0.5}, levels=5)
    image.write_labels("nuclei", stack[0].astype("uint32"))
    for level in range(5):
        low, labels = image.image(level), image.labels("nuclei", level)
        assert low.shape[1:] == labels.shape
        assert low.attrs["spacing"] == labels.attrs["spacing"]
        for axis in "zyx":
            np.testing.assert_allclose(low[axis], labels[axis])


@pytest.mark.parametrize(
    ("name", "labels", "told"),
    [
        ("a/b", np.zeros((600, 700), "u1"), "letters, digits"),
        ("cells", np.zeros((600, 700)), "expected integers"),
        ("cells", np.zeros((600, 701), "u1"), "the image \\(600, 700\\)"),
    ],
)
def test_bad_labels_are_refused(image, name, labels, told):
    with pytest.raises(StoreError, match=told):
        image.write_labels(name, labels)
    assert not image.label_names


def test_unknown_labels_name_those_there_are(image):
    image.write_labels("nuclei", np.zeros((600, 700), "u1"))
    with pytest.raises(StoreError, match="it has: nuclei"):
        image.labels("nucleus")


def test_regions_may_be_written_one_by_one(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 99, (2300, 2100), dtype="uint16")
    image = create_image(tmp_path / "i.zarr")
    target = image.create(pixels.shape, pixels.dtype, axes="yx", spacing=SPACING)
    assert not image.complete
    with pytest.raises(StoreError, match="interrupted"):
        image.image()
    for y in range(0, 2300, target.unit[0]):
        # as another process would: it only knows the path
        open_image(image.path).target().write_region(pixels[y : y + target.unit[0]], (y, 0))
    target.finish()
    whole = create_image(tmp_path / "whole.zarr").write(pixels, axes="yx", spacing=SPACING)
    assert image.complete
    for level in range(image.levels):
        np.testing.assert_array_equal(image.image(level), whole.image(level))
    with pytest.raises(StoreError, match="finished"):
        image.target()


def test_replacing_an_image_keeps_labels_only_if_they_fit(image, pixels):
    image.write_labels("nuclei", np.ones((600, 700), "u1"))
    image.write(pixels[:1], axes="tcyx", spacing=SPACING)
    assert image.label_names == ["nuclei"]
    assert image.shape[0] == 1
    image.write(pixels[0, 0, :50, :50], axes="yx", spacing=SPACING)
    assert image.label_names == []
    assert image.levels == 1
    assert not (image.path / "1").exists(), "levels of the former image"


def test_two_writers_of_labels_both_enter(image):
    first, second = (image.create_labels(name, "u1") for name in "ab")
    second.finish()
    first.finish()
    assert image.label_names == ["a", "b"]


KILLED = """
import sys, time
import numpy as np
from poolvox.shared.store import create_image

class Slow:
    shape, dtype = (8, 600, 600), np.dtype("uint16")
    def __getitem__(self, region):
        if region[0].start == 5:
            print("half way", flush=True)
            time.sleep(60)
        return np.full([s.stop - s.start for s in region], region[0].start, "uint16")

create_image(sys.argv[1]).write(Slow(), axes="cyx", spacing={"y": 1, "x": 1})
"""


def test_a_killed_write_is_recognised_and_repeatable(tmp_path):
    path = tmp_path / "i.zarr"
    code = textwrap.dedent(KILLED)
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half way\n"
        process.send_signal(signal.SIGKILL)
    image = open_image(path)
    assert not image.complete
    assert "interrupted" in validate(path).text()
    with pytest.raises(StoreError, match="write it again"):
        image.image()
    pixels = np.arange(8, dtype="uint16")[:, None, None] * np.ones((1, 600, 600), "uint16")
    image.write(pixels, axes="cyx", spacing={"y": 1, "x": 1})
    fresh = create_image(tmp_path / "fresh.zarr").write(
        pixels, axes="cyx", spacing={"y": 1, "x": 1}
    )
    assert _files(image.path) == _files(fresh.path)


def _files(root):
    files = (p for p in root.rglob("*") if p.is_file())
    content = {str(p.relative_to(root)): p.read_bytes() for p in files}
    # The name of the image is that of its folder.
    content["zarr.json"] = content["zarr.json"].replace(b"fresh.zarr", b"i.zarr")
    return content


def test_a_missing_level_is_named(image):
    (image.path / "1").rename(image.path / "elsewhere")
    with pytest.raises(StoreError, match=r"level 1 \('1'\).*present: 0"):
        image.image(1)
    assert image.image(0).shape == image.shape
    with pytest.raises(StoreError, match="levels 0 to 1, not 5"):
        image.image(5)


def test_damaged_metadata_say_where(image):
    name = "zarr.json" if image.ngff == "0.5" else ".zattrs"
    (image.path / name).write_text('{"attributes": ')
    with pytest.raises(StoreError, match=f"{name} is not valid JSON"):
        image.image()


@pytest.mark.parametrize("path", ["https://x.org/a.zarr", "nowhere"])
def test_what_is_no_local_store_is_refused(path):
    with pytest.raises(StoreError):
        open_image(path)


def foreign(path, axes, shape, *, unit="micrometer", scale=None, omero=None):
    """An image as another writer may leave it: NGFF 0.4, one level, only what is required."""
    array = zarr.create_array(path / "full", shape=shape, dtype="u1", zarr_format=2)
    array[...] = np.arange(np.prod(shape), dtype="u1").reshape(shape)
    kinds = {"t": "time", "c": "channel"}
    entries = [{"name": a, "type": kinds.get(a.lower(), "space")} for a in axes]
    for entry in entries:
        if entry["type"] == "space" and unit:
            entry["unit"] = unit
    transform = {"type": "scale", "scale": scale or [1] * len(axes)}
    datasets = [{"path": "full", "coordinateTransformations": [transform]}]
    block = {"version": "0.4", "axes": entries, "datasets": datasets}
    attributes = {"multiscales": [block]} | ({"omero": omero} if omero else {})
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps(attributes))
    return open_image(path)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("nanometer", 1e-3), ("millimeter", 1e3), (None, 1), ("micrometer", 1), ("micrometre", 1)],
)
def test_other_units_become_micrometres(tmp_path, unit, factor):
    image = foreign(tmp_path, "cyx", (2, 5, 6), unit=unit, scale=[1, 0.5, 2])
    assert image.spacing == {"y": 0.5 * factor, "x": 2 * factor}
    np.testing.assert_allclose(image.image().x, 2 * factor * np.arange(6))


@pytest.mark.parametrize("unit", ["pixel", "pixels"])
def test_pixels_are_no_length(tmp_path, unit):
    image = foreign(tmp_path, "cyx", (2, 5, 6), unit=unit, scale=[1, 0.5, 2])
    assert image.spacing == {}
    assert set(image.image().coords) == {"c"}
    assert describe(tmp_path).spacing == {}
    image.write_labels("nuclei", np.ones((5, 6), np.uint32))
    assert image.labels("nuclei").attrs["spacing"] == {}
    assert read_labels(tmp_path / "labels" / "nuclei")[1] is None


def test_an_unknown_unit_is_refused(tmp_path):
    with pytest.raises(StoreError, match="furlong"):
        foreign(tmp_path, "yx", (5, 6), unit="furlong").image()


@pytest.mark.parametrize("axes", ["zcyx", "xyc", "yxc", "TCYX"])
def test_other_axis_orders_are_read_as_stored(tmp_path, axes):
    shape = tuple(range(3, 3 + len(axes)))
    image = foreign(tmp_path, axes, shape)
    found = image.image()
    assert "".join(found.dims) == image.axes == axes.lower()
    assert found.shape == shape
    assert list(found.c.values) == [str(i) for i in range(found.sizes["c"])]
    found.transpose(..., "y", "x").compute()


def test_a_channel_list_that_is_too_short_is_filled(tmp_path):
    image = foreign(tmp_path, "cyx", (3, 5, 6), omero={"channels": [{"label": "DAPI"}]})
    assert image.channels == ["DAPI", "1", "2"]


def test_reading_is_lazy(image, monkeypatch):
    read = []
    plain = zarr.Array.__getitem__

    def watched(array, region):
        found = plain(array, region)
        read.append(np.size(found))
        return found

    monkeypatch.setattr(zarr.Array, "__getitem__", watched)
    found = image.image()
    assert sum(read) == 0, "dask may look at no more than an empty block"
    found[0, 1].compute()
    assert sum(read) == 600 * 700
