import numpy as np
import pandas as pd
import pytest
import tifffile

from poolvox.shared.errors import InputError
from poolvox.shared.features import measure
from poolvox.shared.features.files import FileOptions, measure_files
from poolvox.shared.store import create_image, create_plate, read_table

GROUPS = ["shape", "intensity", "colocalisation"]
CHOSEN = FileOptions(groups=GROUPS)


@pytest.fixture
def files(scene3d, tmp_path):
    labels, images, spacing = scene3d
    stack = np.stack([images["a"], images["b"]], axis=1).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "image.ome.tif",
        stack,
        metadata={
            "axes": "ZCYX",
            "Channel": {"Name": ["a", "b"]},
            **{f"PhysicalSize{a}": s for a, s in zip("ZYX", spacing)},
            **{f"PhysicalSize{a}Unit": "µm" for a in "ZYX"},
        },
        ome=True,
    )
    tifffile.imwrite(tmp_path / "labels.tif", labels.astype(np.uint16))
    return tmp_path


def expected(scene, **options):
    labels, images, spacing = scene
    return measure(labels, images, spacing=spacing, groups=GROUPS, **options)


def test_tiff_with_everything_in_its_metadata(files, scene3d):
    steps = []
    table = measure_files(
        files / "image.ome.tif",
        files / "labels.tif",
        files / "out/nuclei.parquet",
        options=CHOSEN,
        progress=lambda done, total: steps.append((done, total)),
    )
    pd.testing.assert_frame_equal(table, expected(scene3d))
    pd.testing.assert_frame_equal(read_table(files / "out/nuclei.parquet"), table)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    dictionary = pd.read_csv(files / "out/nuclei.features.csv")
    assert set(dictionary["group"]) == {"Shape", "Intensity", "Colocalisation"}


def test_channels_are_chosen_by_name(files, scene3d):
    chosen = FileOptions(groups=["intensity"], channels=["b"], compartment="Cells")
    table = measure_files(
        files / "image.ome.tif", files / "labels.tif", files / "t.csv", options=chosen
    )
    assert not [c for c in table if c.endswith("_a")]
    labels, images, spacing = scene3d
    mean = measure(labels, {"b": images["b"]}, spacing=spacing, groups=["intensity"])
    np.testing.assert_array_equal(table["Cells_Intensity_Mean_b"], mean["Nuclei_Intensity_Mean_b"])
    assert len(pd.read_csv(files / "t.csv")) == len(table)


def test_plain_tiff_needs_spacing_and_names(scene2d, tmp_path):
    labels, images, spacing = scene2d
    image, mask = tmp_path / "image.tif", tmp_path / "labels.tif"
    tifffile.imwrite(image, np.stack([images["a"], images["b"]]), photometric="minisblack")
    tifffile.imwrite(mask, labels)
    with pytest.raises(InputError, match="give the spacing in micrometres, y, x"):
        measure_files(image, mask, tmp_path / "t.parquet", options=CHOSEN)
    chosen = FileOptions(groups=GROUPS, spacing=spacing, channels=["a", "b"])
    table = measure_files(image, mask, tmp_path / "t.parquet", options=chosen)
    pd.testing.assert_frame_equal(table, expected(scene2d))
    unnamed = FileOptions(groups=["intensity"], spacing=0.5)
    table = measure_files(image, mask, tmp_path / "t.parquet", options=unnamed)
    assert "Nuclei_Intensity_Mean_c1" in table


def test_labels_inside_an_image_store(scene3d, tmp_path):
    labels, images, spacing = scene3d
    image = create_image(tmp_path / "stack.zarr")
    stack = np.stack([images["a"], images["b"]]).astype(np.uint16)
    scale = dict(zip("zyx", spacing))
    image.write(stack, axes="czyx", spacing=scale, channels=["a", "b"])
    image.write_labels("nuclei", labels)
    table = measure_files(tmp_path / "stack.zarr", "nuclei", tmp_path / "t.parquet", options=CHOSEN)
    pd.testing.assert_frame_equal(table, expected(scene3d))
    with pytest.raises(InputError, match=r"no labels 'cells' \(there are: nuclei\)"):
        measure_files(tmp_path / "stack.zarr", "cells", tmp_path / "t.parquet")


def test_every_image_of_a_plate(scene2d, tmp_path):
    labels, images, _ = scene2d
    plate = create_plate(tmp_path / "P1.zarr", wells={"A1": ["0", "1"], "B2": ["0"]}, name="P1")
    for well in plate.wells:
        for tile in plate[well].tiles:
            stack = np.stack([images["a"], images["b"]]).astype(np.uint16)
            field = plate[well][tile]
            field.write(stack, axes="cyx", spacing={"y": 0.5, "x": 0.5}, channels=["a", "b"])
            field.write_labels("cells", labels)
    table = measure_files(tmp_path / "P1.zarr", "cells", tmp_path / "t.parquet", options=CHOSEN)
    keys = table[["Metadata_Plate", "Metadata_Well", "Metadata_Tile"]].drop_duplicates()
    assert keys.to_numpy().tolist() == [["P1", "A1", "0"], ["P1", "A1", "1"], ["P1", "B2", "0"]]
    last = table[table["Metadata_Well"] == "B2"].reset_index(drop=True)
    pd.testing.assert_frame_equal(last[expected(scene2d).columns], expected(scene2d))


def test_every_organoid_of_a_plate_of_stacks(scene3d, tmp_path):
    labels, images, (z, y, x) = scene3d
    plate = create_plate(tmp_path / "P1.zarr", wells={"B2": ["1", "7"]}, name="P1")
    for number in ("1", "7"):
        field = plate["B2"][number]
        stack = np.stack([images["a"], images["b"]]).astype(np.uint16)
        spacing = {"z": z, "y": y, "x": x}
        field.write(stack, axes="czyx", spacing=spacing, channels=["a", "b"])
        field.write_labels("nuclei", labels)
    table = measure_files(tmp_path / "P1.zarr", "nuclei", tmp_path / "t.parquet", options=CHOSEN)
    keys = table[["Metadata_Plate", "Metadata_Well", "Metadata_Organoid"]].drop_duplicates()
    assert keys.to_numpy().tolist() == [["P1", "B2", "1"], ["P1", "B2", "7"]]


def test_every_file_of_a_pattern(scene2d, tmp_path):
    labels, images, _ = scene2d
    (tmp_path / "labels").mkdir()
    for tile in ("2", "10"):
        tifffile.imwrite(tmp_path / f"B03_{tile}.tif", images["a"].astype(np.uint16))
        tifffile.imwrite(tmp_path / "labels" / f"B03_{tile}_cells.tif", labels.astype(np.uint16))
    tifffile.imwrite(tmp_path / "overview.tif", np.zeros((4, 4), np.uint8))
    pattern = tmp_path / "{well}_{tile}.tif"
    chosen = FileOptions(groups=["shape", "intensity"], spacing=(0.5, 0.5))
    found = measure_files(
        pattern,
        tmp_path / "labels/{well}_{tile}_cells.tif",
        tmp_path / "t.parquet",
        options=chosen,
    )
    assert found[["Metadata_Well", "Metadata_Tile"]].drop_duplicates().to_numpy().tolist() == [
        ["B3", "2"],
        ["B3", "10"],
    ]
    assert len(found) == 2 * labels.max()
    with pytest.raises(InputError, match=r"has \{organoid\}, that of the images has not"):
        measure_files(pattern, tmp_path / "labels/{organoid}.tif", tmp_path / "t.parquet")
    with pytest.raises(InputError, match="no file is called like"):
        measure_files(tmp_path / "{well}.nd2", "labels", tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("image", "labels", "out", "message"),
    [
        ("none.tif", "labels.tif", "t.parquet", "there is no .*none.tif"),
        ("image.ome.tif", "none.tif", "t.parquet", "there is no .*none.tif"),
        ("image.ome.tif", "labels.tif", "t.xlsx", "written as .parquet or .csv"),
        ("image.ome.tif", "other.tif", "t.parquet", "give an image of the same field"),
        ("image.ome.tif", "image.ome.tif", "t.parquet", "expected one plane or one stack"),
        ("broken.tif", "labels.tif", "t.parquet", "broken.tif: "),
    ],
)
def test_what_cannot_be_measured_says_why(files, image, labels, out, message):
    tifffile.imwrite(files / "other.tif", np.zeros((5, 6, 7), np.uint8))
    (files / "broken.tif").write_bytes(b"no image")
    with pytest.raises(InputError, match=message):
        measure_files(files / image, files / labels, files / out)


def test_channel_names_that_do_not_fit(files):
    for names, message in ((["x"], "has no channel x"), (["x", "x"], "its own name")):
        chosen = FileOptions(channels=names)
        with pytest.raises(InputError, match=message):
            measure_files(
                files / "image.ome.tif", files / "labels.tif", files / "t.csv", options=chosen
            )
