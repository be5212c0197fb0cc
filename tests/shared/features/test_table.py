from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import ConfigError, InputError, PoolvoxError
from poolvox.shared.features import (
    Feature,
    choose_groups,
    feature_dictionary,
    find_objects,
    get_group,
    group_names,
    measure,
    register,
    registry,
    write_feature_dictionary,
)
from poolvox.shared.features.granularity import GranularityOptions
from poolvox.shared.features.radial import RadialOptions
from poolvox.shared.features.texture import TextureOptions


@pytest.fixture
def own_group(monkeypatch):
    """Registered groups are put back after the test."""
    monkeypatch.setattr(registry, "_GROUPS", dict(registry._GROUPS))


@pytest.mark.parametrize("scene", ["scene2d", "scene3d"])
def test_every_column_is_in_the_dictionary_and_the_other_way_round(scene, request):
    labels, images, spacing = request.getfixturevalue(scene)
    names = group_names(labels.ndim)
    table = measure(labels, images, spacing=spacing, groups=names, compartment="Cells")
    dictionary = feature_dictionary(choose_groups(names, labels.ndim), labels.ndim)
    assert dictionary["name"].is_unique
    assert (dictionary["formula"] != "").all()
    assert (dictionary["range"] != "").all()
    expected = []
    for name in dictionary["name"]:
        if "{channel2}" in name:
            expected.append(name.format(channel="a", channel2="b"))
        elif "{channel}" in name:
            expected += [name.format(channel="a"), name.format(channel="b")]
        else:
            expected.append(name)
    found = [c.removeprefix("Cells_") for c in table if not c.startswith("Metadata_")]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("scene", ["scene2d", "scene3d"])
def test_values_lie_in_the_range_that_the_dictionary_states(scene, request):
    labels, images, spacing = request.getfixturevalue(scene)
    table = measure(labels, images, spacing=spacing, groups=group_names(labels.ndim))
    dictionary = feature_dictionary(
        choose_groups(group_names(labels.ndim), labels.ndim), labels.ndim
    )
    for row in dictionary.itertuples():
        values = table["Nuclei_" + row.name.format(channel="a", channel2="b")].dropna()
        low, high = (part.strip(" []()~") for part in row.range.split(","))
        low, high = (float(part) if part[:1] in "-0123456789i" else np.inf for part in (low, high))
        slack = 1e-6
        assert ((values >= low - slack) & (values <= high + slack)).all(), row.name


def test_units_stand_in_the_names():
    for ndim in (2, 3):
        dictionary = feature_dictionary(choose_groups(group_names(ndim), ndim), ndim)
        for row in dictionary.itertuples():
            unit = {"1/um": "per_um", "1/um2": "per_um2"}.get(row.unit, row.unit)
            if "um" in row.unit or row.unit == "degree":
                assert f"_{unit}" in row.name, row.name


def test_rows_and_positions():
    labels = np.zeros((4, 6, 8), np.int64)
    labels[1:3, 2, 3:5], labels[0, 0, 0] = 5, 2**40
    table = measure(labels, spacing={"x": 0.5, "y": 0.25, "z": 2}, groups=["shape"])
    assert table["Metadata_Label"].tolist() == [5, 2**40]
    first = table.iloc[0]
    names = ("Metadata_Z", "Metadata_Y", "Metadata_X", "Metadata_Z_um", "Metadata_X_um")
    assert [first[name] for name in names] == [1.5, 2, 3.5, 3.0, 1.75]


@pytest.mark.parametrize("shape", [(0, 5), (5, 6), (3, 0, 2), (3, 5, 6)])
def test_no_objects_give_an_empty_table_with_all_columns(shape):
    image = np.ones(shape, np.float32)
    groups = group_names(len(shape))
    table = measure(np.zeros(shape, int), {"a": image, "b": image}, spacing=1, groups=groups)
    assert len(table) == 0
    assert len(table.columns) > 150


def test_half_precision_and_booleans():
    labels = np.zeros((8, 8), int)
    labels[2:6, 2:6] = 1
    image = np.random.default_rng(0).integers(0, 50, labels.shape)
    groups = ["intensity", "texture"]
    half = measure(labels, {"a": image.astype(np.float16)}, spacing=1, groups=groups)
    whole = measure(labels > 0, {"a": image}, spacing=1, groups=groups)
    pd.testing.assert_frame_equal(half, whole)
    assert measure(labels, {"m": image > 20}, spacing=1, groups=groups).notna().any(axis=None)


@pytest.mark.parametrize("dtype", [np.float32, ">f8"])
def test_labels_that_are_whole_floats_are_taken(dtype):
    labels = np.zeros((8, 8), int)
    labels[2:6, 2:6], labels[7, 7] = 70_000, 3
    plain = measure(labels, spacing=1, groups=["shape"])
    pd.testing.assert_frame_equal(measure(labels.astype(dtype), spacing=1, groups=["shape"]), plain)


def test_lazy_and_labelled_arrays_are_taken():
    xarray, dask = pytest.importorskip("xarray"), pytest.importorskip("dask.array")
    labels = np.zeros((8, 8), int)
    labels[2:6, 2:6] = 1
    image = np.arange(64.0).reshape(8, 8)
    plain = measure(labels, {"a": image}, spacing=1)
    lazy = {"a": dask.from_array(image, chunks=4)}
    pd.testing.assert_frame_equal(measure(xarray.DataArray(labels), lazy, spacing=1), plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": np.full((4, 4), 0.5)}, "fractions, expected whole numbers"),
        ({"labels": np.full((4, 4), np.nan)}, "fractions, expected whole numbers"),
        ({"labels": np.zeros((4, 4), complex)}, "expected integers"),
        ({"labels": np.zeros(4, int)}, r"expected \(Y, X\) or \(Z, Y, X\)"),
        ({"labels": np.full((4, 4), -1)}, "go down to -1"),
        ({"images": {"a": np.zeros((4, 5))}}, r"shape \(4, 5\), the labels \(4, 4\)"),
        ({"images": {"a": np.zeros((4, 4), complex)}}, "expected integers or floats"),
        ({"spacing": (1, 1, 1)}, "3 values, the labels have 2 axes"),
        ({"spacing": (1, 0)}, "positive"),
        ({"spacing": (1, np.nan)}, "positive"),
        ({"spacing": {"y": 1}}, "no x"),
        ({"groups": ["curvature"]}, r"images of \(3,\) axes, these labels have 2"),
        ({"options": [TextureOptions()]}, "belong to no group"),
    ],
)
def test_bad_input_gives_one_clear_message(arguments, message):
    labels = np.zeros((4, 4), int)
    given = {"labels": labels, "spacing": 1, "groups": ["shape"]} | arguments
    if "images" in arguments:
        given["groups"] = ["intensity"]
    with pytest.raises(InputError, match=message):
        measure(**given)


def test_unknown_group_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'texture'"):
        measure(np.zeros((4, 4), int), spacing=1, groups=["textur"])


def test_options_change_columns_and_dictionary_together(scene2d):
    labels, images, spacing = scene2d
    options = [RadialOptions(shells=3), GranularityOptions(radii_um=(1.0, 2.0))]
    groups = ["radial", "granularity"]
    table = measure(labels, images, spacing=spacing, groups=groups, options=options)
    assert "Nuclei_Radial_FracAtD_a_3of3" in table
    assert "Nuclei_Granularity_Spectrum_b_2um" in table
    dictionary = feature_dictionary(choose_groups(groups, 2, options), 2)
    assert len(dictionary) == 9 + 2


def test_users_register_groups_of_their_own(own_group):
    @dataclass(frozen=True)
    class Power:
        exponent: float = 2.0

    def describe(ndim, options):
        return (Feature("Sum", "", f"sum of values to the {options.exponent:g}"),)

    @register("Powers", needs="images", features=describe, options=Power())
    def powers(objects, signal, options):
        out = np.add.reduceat(signal.values**options.exponent, objects.layout.voxels[:-1])
        return {"Sum": out}

    labels, image = np.array([[1, 1, 0, 2]]), np.array([[1.0, 2, 9, 3]])
    assert "powers" in group_names(2, common=True)
    given = {"spacing": 1, "groups": ["powers"]}
    assert measure(labels, {"i": image}, **given)["Nuclei_Powers_Sum_i"].tolist() == [5, 9]
    cubes = measure(labels, {"i": image}, options=[Power(3)], **given)
    assert cubes["Nuclei_Powers_Sum_i"].tolist() == [9, 27]
    with pytest.raises(ConfigError, match="it takes Power"):
        get_group("powers", RadialOptions())


def test_a_group_must_return_what_it_describes(own_group):
    @register("Odd", features=[Feature("One", "", "one")])
    def odd(objects, options):
        return {"Two": np.zeros(len(objects))}

    with pytest.raises(PoolvoxError, match="One, Two"):
        measure(np.ones((2, 2), int), spacing=1, groups=["odd"])


def test_dictionary_is_written_beside_a_table(tmp_path):
    path = write_feature_dictionary(tmp_path / "objects.features.csv", ["shape", "radial"], ndim=3)
    read = pd.read_csv(path, keep_default_na=False)
    assert list(read) == ["group", "name", "unit", "formula", "reference", "range"]
    assert "Shape_Volume_um3" in read["name"].tolist()
    assert "Radial_FracAtD_{channel}_1of4" in read["name"].tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["objects.features.csv"]


def test_labels_are_not_copied_and_the_index_is_small():
    labels = np.zeros((64, 128, 128), np.uint16)
    labels[20:40, 30:90, 30:90] = 1
    objects = find_objects(labels, spacing=1)
    assert np.shares_memory(objects.labels, labels)
    assert objects.layout.start.nbytes + objects.layout.length.nbytes < labels.nbytes / 10
