import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.learn.cropping import CropSource, measure_levels
from poolvox.shared.profiles.learn.crops import CropSettings, crop_objects
from poolvox.shared.store import create_plate


@pytest.mark.parametrize(
    ("centre", "size", "first"),
    [((5, 5), 3, (4, 4)), ((5.2, 4.8), 3, (4, 4)), ((5, 5), 4, (4, 4)), ((5.4, 5.6), 4, (4, 4))],
)
def test_stored_pixels_come_as_they_are(centre, size, first):
    image = np.random.default_rng(0).integers(0, 9999, (2, 12, 12)).astype(np.uint16)
    found = crop_objects(image, np.array([centre]), spacing=(1, 1), settings=CropSettings(size))
    y, x = first
    expected = image[:, y : y + size, x : x + size].transpose(1, 2, 0)
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize(("padding", "corner"), [("edge", 7.0), ("zero", 0.0)])
def test_beyond_the_border(padding, corner):
    image = np.full((1, 6, 6), 7, np.uint16)
    settings = CropSettings(5.0, padding=padding)
    found = crop_objects(image, np.array([[0, 0], [5, 5]]), spacing=(1, 1), settings=settings)
    assert found[0, 0, 0, 0] == found[1, -1, -1, 0] == corner
    assert found[0, 2, 2, 0] == found[1, 2, 2, 0] == 7


@pytest.mark.parametrize("spacing", [(0.5, 0.5), (2.0, 0.5, 0.5)])
def test_another_size_interpolates_a_ramp_exactly(spacing):
    # Brightness is the position in micrometres along the last axis.
    shape = (8, 40, 40)[-len(spacing) :]
    ramp = np.broadcast_to(np.arange(40) * 0.5, shape)[None].copy()
    centre = np.array([[3.3, 18.7, 20.25][-len(spacing) :]])
    found = crop_objects(ramp, centre, spacing=spacing, settings=CropSettings(6.0, pixels=16))
    expected = 20.25 * 0.5 + (np.arange(16) - 7.5) * 6 / 16
    np.testing.assert_allclose(found[0, ..., 0].reshape(-1, 16), np.tile(expected, (
        16 ** (len(spacing) - 1), 1)), atol=1e-4)  # fmt: skip


def test_fewer_pixels_do_not_alias():
    stripes = np.tile([0.0, 100.0], (64, 32))[None]
    found = crop_objects(stripes, np.array([[32, 32]]), spacing=(1, 1),
                         settings=CropSettings(40.0, pixels=10))  # fmt: skip
    np.testing.assert_allclose(found, 50, atol=5)


@pytest.mark.parametrize("pixels", [None, 9])
def test_masked_crops_show_the_object_alone(pixels):
    labels = np.zeros((20, 20), np.int32)
    labels[5:10, 5:10], labels[5:10, 10:15] = 3, 8
    image = np.ones((2, 20, 20), np.float32)
    settings = CropSettings(9.0, pixels=pixels, masked=True)
    found = crop_objects(image, np.array([[7, 7], [7, 12]]), spacing=(1, 1), settings=settings,
                         labels=labels, ids=[3, 8])  # fmt: skip
    assert found.sum(axis=(1, 2, 3)).tolist() == [50, 50]
    assert (found[0, 2:7, 2:7] == 1).all()


@pytest.mark.parametrize(
    ("image", "centres", "settings", "words"),
    [
        (np.zeros((4, 4)), [[1, 1]], CropSettings(3.0), "got shape"),
        (np.zeros((1, 4, 4)), [[1, np.nan]], CropSettings(3.0), "1 objects have no position"),
        (np.zeros((1, 4, 4)), [[1, 1]], CropSettings(3.0, masked=True), "need the label image"),
    ],
)
def test_what_cannot_be_cropped_is_told(image, centres, settings, words):
    with pytest.raises(InputError, match=words):
        crop_objects(image, np.array(centres, float)[:, : image.ndim - 1], spacing=(1, 1),
                     settings=settings)  # fmt: skip


@pytest.fixture
def plate(tmp_path):
    plate = create_plate(tmp_path / "p.zarr", {"A1": ["1", "2"], "B1": ["1"]})
    for k, (well, tile) in enumerate([("A1", "1"), ("A1", "2"), ("B1", "1")]):
        pixels = np.zeros((2, 2, 32, 32), np.uint16)
        pixels[0, 1] = 100 * (k + 1) + np.arange(32)
        field = plate[well][tile]
        field.write(pixels, axes="tcyx", spacing={"y": 0.5, "x": 0.5}, channels=["DAPI", "marker"])
        labels = np.zeros((32, 32), np.int32)
        labels[10:20, 10:20] = 1
        field.write_labels("cells", labels)
    return plate


@pytest.fixture
def objects():
    keys = [("B1", "1", 15.0), ("A1", "2", 15.0), ("A1", "1", 15.0), ("A1", "2", 3.0)]
    table = pd.DataFrame(keys, columns=["Metadata_Well", "Metadata_Tile", "Metadata_X"])
    return table.assign(Metadata_Y=14.6, Metadata_Label=1, Metadata_Plate="P1")


def test_crops_of_a_plate_come_in_batches_with_their_rows(plate, objects):
    source = CropSource(plate, objects, ("marker",), CropSettings(4.0))
    assert source.shape == (8, 8, 1)
    found = {}
    for rows, crops in source.batches(1):
        assert len(rows) == len(crops) == 1
        found[int(rows[0])] = crops[0]
    assert sorted(found) == [0, 1, 2, 3]
    expected = {0: 312, 1: 212, 2: 112, 3: 200}
    assert {row: crop[0, 0, 0] for row, crop in found.items()} == expected


def test_samples_and_levels(plate, objects):
    fields = list(CropSource(plate, objects, ("marker",), CropSettings(4.0)).fields())
    levels = measure_levels(plate, fields, ["DAPI", "marker"])
    assert levels["DAPI"] == (0.0, 1.0)
    assert levels["marker"] == pytest.approx((200, 231), abs=0.2)
    source = CropSource(plate, objects, ("marker",), CropSettings(4.0, masked=True), levels=levels)
    some = source.sample(3, np.random.default_rng(0))
    assert some.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(some, source.sample(3, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": ("GFP",)}, "has the channels DAPI, marker, not GFP"),
        ({"objects": pd.DataFrame({"Metadata_Well": ["A1"], "Metadata_Tile": ["1"]})}, "positions"),
    ],
)
def test_a_source_that_does_not_fit(plate, objects, change, words):
    given = {"channels": ("marker",), "objects": objects} | change
    source = CropSource(plate, settings=CropSettings(4.0), **given)
    with pytest.raises(InputError, match=words):
        next(source.batches())
