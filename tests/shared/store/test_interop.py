"""Our stores, opened by those who wrote the other readers."""

import json
import warnings

import numpy as np
import pytest

from poolvox.shared.store import create_plate, validate
from poolvox.shared.store.metadata import read_document

CYCLES, CHANNELS = 3, ["DAPI", "G", "T", "A", "C"]
SPACING = {"y": 1.3, "x": 1.3}
BIG = 2**40 + 1


def screen(path, ngff):
    """Two wells of one field each, cycles on t, two labels: what a screen leaves."""
    plate = create_plate(path, {"A1": ["0"], "B2": ["0"]}, name="P1", ngff=ngff)
    rng = np.random.default_rng(0)
    for well in plate:
        pixels = rng.integers(0, 4000, (CYCLES, len(CHANNELS), 700, 650), dtype="uint16")
        image = plate[well]["0"].write(
            pixels, axes="tcyx", spacing=SPACING, channels=CHANNELS, meta={"cycles": [1, 2, 3]}
        )
        labels = np.zeros((700, 650), "int64")
        labels[100:300, 100:300], labels[400:600, 50:500] = 1, BIG
        for name in ("nuclei", "cells"):
            image.write_labels(name, labels)
    return plate


def organoids(path, ngff):
    """A stack of two channels with nuclei: what an organoid leaves."""
    plate = create_plate(path, {"A1": ["organoid 1"]}, ngff=ngff)
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 20, 700, 650), dtype="uint16")
    spacing = {"z": 2.0, "y": 0.5, "x": 0.5}
    image = plate["A1"][0].write(pixels, axes="czyx", spacing=spacing, channels=["nuclei", "m"])
    image.write_labels("nuclei", (pixels[0] > 2000).astype("uint32"))
    return plate


@pytest.fixture(scope="module", params=["0.5", "0.4"])
def plate(request, tmp_path_factory):
    return screen(tmp_path_factory.mktemp("interop") / "P1.zarr", request.param)


@pytest.fixture(params=["screen 0.5", "screen 0.4", "organoids 0.5", "organoids 0.4"])
def store(request, tmp_path):
    make, ngff = request.param.split()
    return {"screen": screen, "organoids": organoids}[make](tmp_path / "s.zarr", ngff)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_yaozarrs_finds_nothing_wrong(store):
    yaozarrs = pytest.importorskip("yaozarrs")
    yaozarrs.validate_zarr_store(str(store.path))
    yaozarrs.validate_zarr_store(str(store["A1"][0].path))


# The readers' own dependencies warn of what will change in zarr and dask; that is theirs to mend.
@pytest.mark.filterwarnings("ignore")
def test_ome_zarr_reads_all_of_it(plate):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    image = plate["A1"][0]
    nodes = list(Reader(parse_url(str(image.path)))())
    assert len(nodes) == 1 + 1 + 2, "the image, its labels' group, and two labels"
    assert [level.shape for level in nodes[0].data] == [
        image.array(level).shape for level in range(image.levels)
    ]
    np.testing.assert_array_equal(nodes[0].data[0], image.image())
    assert nodes[0].metadata["channel_names"] == CHANNELS
    for label in nodes[2:]:
        assert np.unique(np.asarray(label.data[-1])).tolist() == [0, 1, BIG]
    whole = list(Reader(parse_url(str(plate.path)))())
    assert whole[0].data[0].shape[:2] == (CYCLES, len(CHANNELS))


@pytest.mark.filterwarnings("ignore")
def test_ngio_reads_all_of_it(store):
    ngio = pytest.importorskip("ngio")
    found = ngio.open_ome_zarr_plate(str(store.path)).get_images()
    ours = {
        str(store[w][t].path.relative_to(store.path)): store[w][t] for w in store for t in store[w]
    }
    assert sorted(found) == sorted(ours)
    for path, container in found.items():
        image, own = container.get_image(path="0"), ours[path]
        assert image.shape == own.shape
        assert image.pixel_size.x == own.spacing["x"]
        assert image.channel_labels == own.channels
        assert sorted(container.list_labels()) == own.label_names
        labels = container.get_label("nuclei", path="0").get_array()
        np.testing.assert_array_equal(np.squeeze(labels), own.labels("nuclei"))


@pytest.mark.filterwarnings("ignore")
def test_napari_gets_layers_for_image_and_labels(plate):
    reader = pytest.importorskip("napari_ome_zarr._reader")
    image = plate["A1"][0]
    layers = reader.napari_get_reader(str(image.path))(str(image.path))
    images = [layer for layer in layers if layer[2] == "image"]
    assert [kind for _, _, kind in layers[len(images) :]] == ["labels", "labels"]
    names, windows, shape = [], [], ()
    for data, options, _ in images:  # one of all channels up to 0.10, later one of each
        several = options.get("channel_axis") is not None
        names += options["name"] if several else [options["name"]]
        windows += options["contrast_limits"] if several else [options["contrast_limits"]]
        shape = data[0].shape if several else (data[0].shape[0], len(images), *data[0].shape[1:])
    assert [name.split(": ")[1] for name in names] == CHANNELS
    assert shape == image.shape
    for window, channel in zip(windows, range(5), strict=True):
        assert 0 <= window[0] < window[1] <= 4000, f"channel {channel} would be dark or white"
    whole = reader.napari_get_reader(str(plate.path))(str(plate.path))
    assert [kind for _, _, kind in whole].count("image") == len(images)
    assert whole[0][0][0].ndim == 4 - (len(images) > 1)


def test_our_own_check_agrees(store):
    found = validate(store.path)
    assert found.valid
    assert found.problems == ()
    opens = {verdict.viewer for verdict in found.viewers if verdict.opens}
    both = {"napari", "vizarr", "ngio"}
    assert opens == (both if found.ngff == "0.5" else {*both, "MoBIE", "Bio-Formats"})


def test_the_metadata_follow_the_text_of_the_specification(plate):
    """What no schema checks."""
    image = plate["A1"][0]
    node = json.loads(
        (image.path / ("zarr.json" if plate.ngff == "0.5" else ".zattrs")).read_text()
    )
    ome = read_document(image.path).ome
    block = ome["multiscales"][0]
    if plate.ngff == "0.5":
        assert node["attributes"]["ome"]["version"] == "0.5"
        assert "version" not in block
        array = json.loads((image.path / "0" / "zarr.json").read_text())
        assert array["dimension_names"] == list("tcyx")
        assert [codec["name"] for codec in array["codecs"]] == ["sharding_indexed"]
        assert node["attributes"]["poolvox"] == {"cycles": [1, 2, 3]}
    else:
        assert block["version"] == "0.4"
        array = json.loads((image.path / "0" / ".zarray").read_text())
        assert array["dimension_separator"] == "/"
        assert node["poolvox"] == {"cycles": [1, 2, 3]}
    assert [axis["type"] for axis in block["axes"]] == ["time", "channel", "space", "space"]
    assert "unit" not in block["axes"][0], "a cycle is no time that could be measured"
    for level, dataset in enumerate(block["datasets"]):
        kinds = [one["type"] for one in dataset["coordinateTransformations"]]
        assert kinds == ["scale", "translation"][: 1 + (level > 0)]
    label = read_document(image.path / "labels" / "nuclei").ome
    assert label["image-label"]["source"] == {"image": "../../"}
    assert "colors" not in label["image-label"], "napari would hide all ids without a colour"
    assert len(label["multiscales"][0]["datasets"]) == len(block["datasets"])


def test_no_warning_when_our_groups_are_listed(plate):
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        members = zarr.open_group(plate["A1"][0].path, mode="r").members(max_depth=None)
    assert len(members) > 4


def test_importing_the_store_is_light():
    import subprocess
    import sys

    code = (
        "import sys, poolvox.shared.store as s\n"
        "heavy = {'tensorflow', 'matplotlib', 'skimage', 'xarray', 'dask', 'pandas', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
