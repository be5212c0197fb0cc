"""What holds for every registered group, in 2D and 3D: odd objects, cuts, turns, units."""

import warnings
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

import poolvox.organoid3d.harmonics  # noqa: F401  registers its group
from poolvox.shared.features import choose_groups, feature_dictionary, group_names, measure

# A group's values are asked for by these names where a channel stands in the column.
CHANNELS = {"channel": "a", "channel2": "b"}
SPACING = {2: (0.5, 0.4), 3: (1.0, 0.5, 0.4)}
POWERS = {"um": 1, "um2": 2, "um3": 3, "1/um": -1, "1/um2": -2, "1/um3": -3}


def dictionary(ndim, options=()):
    """Every column of every group, of two channels, with its unit and range."""
    groups = choose_groups(group_names(ndim), ndim, options)
    table = feature_dictionary(groups, ndim)
    pairs = table["name"].str.contains("{channel2}", regex=False)
    alone = table["name"].str.contains("{channel}", regex=False) & ~pairs
    table["column"] = ["Nuclei_" + name.format(**CHANNELS) for name in table["name"]]
    more = table[alone].assign(
        column=[f"Nuclei_{n.format(channel='b')}" for n in table["name"][alone]]
    )
    return pd.concat([table, more], ignore_index=True)


def everything(labels, images, **given):
    spacing = given.pop("spacing", SPACING[labels.ndim])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return measure(labels, images, spacing=spacing, groups=group_names(labels.ndim), **given)


def noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return {"a": rng.integers(100, 900, shape), "b": rng.random(shape) * 50}


def boxes(shape, *parts, labels=(1,), dtype=np.int32):
    """Labels of boxes, each given by slices; of the last axes in 2D."""
    image = np.zeros(shape, dtype)
    for label, part in zip(labels, parts, strict=True):
        image[part[-len(shape) :]] = label
    return image


def one(value):
    return slice(value, value + 1)


WHOLE = (slice(None),) * 3
# Name, where the objects are, their labels, and their type.
OBJECTS = {
    "one voxel": ([(one(3), one(4), one(5))], (1,), np.int32),
    "one voxel in a corner": ([(one(0), one(0), one(0))], (1,), np.uint8),
    "line along x": ([(one(3), one(4), slice(2, 9))], (1,), np.int32),
    "line along y": ([(one(3), slice(1, 9), one(4))], (1,), np.int16),
    "line along z": ([(slice(1, 6), one(4), one(4))], (1,), np.int32),
    "plane": ([(one(3), slice(2, 9), slice(3, 9))], (1,), np.int32),
    "plane across": ([(slice(1, 6), slice(3, 9), one(5))], (1,), np.int32),
    "at the border": ([(slice(0, 4), slice(0, 6), slice(0, 5))], (1,), np.uint16),
    "one fills all": ([WHOLE], (7,), np.int32),
    "two parts": ([(slice(1, 3), slice(1, 4), slice(1, 4)), (one(5), one(9), one(9))], (1, 1), int),
    "touching": ([(WHOLE[0], slice(0, 5), WHOLE[2]), (WHOLE[0], slice(5, 12), WHOLE[2])],
                 (1, 2), int),
    "gaps": ([(one(1), one(1), one(1)), (one(5), slice(6, 10), slice(6, 9))], (3, 1000), np.uint16),
    "64 bits": ([(one(1), one(1), one(1)), (slice(3, 6), slice(6, 10), slice(6, 9))],
                (2**40 + 1, 2**63 - 1), np.int64),
    "all of 64 bits": ([(one(1), one(1), one(1)), (slice(3, 6), slice(6, 10), slice(6, 9))],
                       (2**53 + 1, 2**64 - 1), np.uint64),
    "none": ([], (), np.int32),
}  # fmt: skip


def images_of(kind, shape):
    plain = noise(shape)
    bad = plain["b"].copy()
    bad.flat[::3] = np.nan
    bad.flat[1::7] = np.inf
    return {
        "noise": plain,
        "constant": {"a": np.full(shape, 7, np.uint16), "b": np.full(shape, 0.1)},
        "zero": {"a": np.zeros(shape, np.uint8), "b": np.zeros(shape)},
        "not finite": {"a": bad, "b": np.full(shape, np.nan)},
        "negative": {"a": -plain["b"] - 5, "b": plain["b"] - 25},
        "huge": {"a": plain["b"] * 1e150, "b": plain["b"] * 1e-150},
        "large integers": {"a": plain["a"] + 2**60, "b": np.full(shape, 2**64 - 1, np.uint64)},
    }[kind]


KINDS = ("noise", "constant", "zero", "not finite", "negative", "huge", "large integers")


@pytest.fixture(scope="module")
def dictionaries():
    return {ndim: dictionary(ndim) for ndim in (2, 3)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("case", OBJECTS)
def test_odd_objects_get_numbers_or_nan(case, ndim, kind, dictionaries):
    parts, names, dtype = OBJECTS[case]
    shape = (7, 12, 11)[-ndim:]
    labels = boxes(shape, *parts, labels=names, dtype=dtype)
    table = everything(labels, images_of(kind, shape))
    expected, counts = np.unique(labels[labels > 0], return_counts=True)
    assert table["Metadata_Label"].tolist() == expected.tolist()
    size = "Nuclei_Shape_Area_um2" if ndim == 2 else "Nuclei_Shape_Volume_um3"
    np.testing.assert_allclose(table[size], counts * np.prod(SPACING[ndim]))
    described = dictionaries[ndim]
    assert sorted(described["column"]) == sorted(c for c in table if c.startswith("Nuclei_"))
    for row in described.itertuples():
        values = table[row.column].dropna()
        assert np.isfinite(values).all(), row.column
        if row.unit == "count":
            assert (values == values.round()).all(), row.column
            assert (values.abs() <= labels.size).all(), row.column


@pytest.mark.parametrize("ndim", [2, 3])
def test_odd_objects_leave_the_others_alone(ndim, dictionaries):
    """An object is measured the same beside a voxel, a line, and one with nothing but NaN."""
    shape = (9, 24, 26)[-ndim:]
    body = (slice(2, 7), slice(3, 13), slice(3, 12))
    odd = [
        (one(1), one(20), one(20)),
        (one(4), one(17), slice(2, 20)),
        (one(8), slice(20, 24), WHOLE[2]),
    ]
    images = noise(shape)
    alone = boxes(shape, body, labels=(5,))
    beside = boxes(shape, body, *odd, labels=(5, 2, 9, 11))
    for name in images:
        images[name] = images[name].astype(float)
        images[name][beside == 11] = np.nan
    first = everything(alone, images)
    second = everything(beside, images)
    second = second[second["Metadata_Label"] == 5].reset_index(drop=True)
    for row in dictionaries[ndim].itertuples():
        if row.group == "Neighbours":
            continue
        np.testing.assert_array_equal(first[row.column], second[row.column], err_msg=row.column)


def scaled_options(ndim, factor):
    """Options of all groups with every length multiplied."""
    changed = []
    for name in group_names(ndim):
        [group] = choose_groups([name], ndim)
        lengths = [f.name for f in fields(group.options)] if group.options is not None else []
        lengths = [name for name in lengths if name.endswith("_um")]
        if lengths:
            new = {n: np.multiply(getattr(group.options, n), factor).tolist() for n in lengths}
            new = {n: tuple(v) if isinstance(v, list) else v for n, v in new.items()}
            changed.append(replace(group.options, **new))
    return changed


@pytest.mark.parametrize("scene", ["scene2d", "scene3d"])
def test_every_feature_scales_as_its_unit_says(scene, request):
    """The same voxels 3 times as large: plain numbers stay, lengths triple, and so on."""
    labels, images, spacing = request.getfixturevalue(scene)
    factor, ndim = 3.0, labels.ndim
    options = scaled_options(ndim, factor)
    one_ = everything(labels, images, spacing=spacing)
    other = everything(labels, images, spacing=np.array(spacing) * factor, options=options)
    for before, after in zip(
        dictionary(ndim).itertuples(), dictionary(ndim, options).itertuples(), strict=True
    ):
        power = factor ** POWERS.get(before.unit, 0)
        np.testing.assert_allclose(
            other[after.column], one_[before.column] * power, rtol=1e-5, atol=1e-8,
            err_msg=before.column,
        )  # fmt: skip


def test_a_quarter_turn_of_what_has_a_direction(scene2d, scene3d):
    """Orientation turns along; the power of harmonics stays, as far as rays and voxels allow."""
    labels, _, spacing = scene2d
    name = "Nuclei_Shape_Orientation_degree"
    before, after = (
        measure(image, spacing=spacing, groups=["shape"])[name]
        for image in (labels, np.rot90(labels))
    )
    np.testing.assert_allclose((after - before) % 180, 90, atol=1e-6)
    labels, _, spacing = scene3d
    turned = np.rot90(labels, axes=(-2, -1))
    before, after = (
        measure(image, spacing=spacing, groups=["harmonics"]).filter(like="Harmonics")
        for image in (labels, turned)
    )
    np.testing.assert_allclose(after, before, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("scene", ["scene2d", "scene3d"])
def test_blocks_with_a_margin_give_the_rows_of_the_whole(scene, request, dictionaries):
    """All columns but the distances to other objects, which have no bound."""
    labels, images, spacing = request.getfixturevalue(scene)
    whole = everything(labels, images, spacing=spacing).set_index("Metadata_Label")
    margin = [int(np.ceil(3.0 / s)) for s in spacing]
    half = labels.shape[-1] // 2
    seen = set()
    for start, stop in ((0, half), (half, labels.shape[-1])):
        low, high = max(0, start - 25), min(labels.shape[-1], stop + 25)
        cut = (..., slice(low, high))
        block = everything(labels[cut], {n: i[cut] for n, i in images.items()}, spacing=spacing)
        block = block.set_index("Metadata_Label")
        x = [np.nonzero(labels == label)[-1] for label in block.index]
        kept = [
            label
            for label, at in zip(block.index, x, strict=True)
            if (low == 0 or at.min() - margin[-1] > low)
            and (high == labels.shape[-1] or at.max() + margin[-1] < high)
        ]
        seen |= set(kept)
        far = ("FirstDistance", "SecondDistance", "Neighbours_Angle")
        for row in dictionaries[labels.ndim].itertuples():
            if not any(word in row.column for word in far):
                np.testing.assert_array_equal(
                    block.loc[kept, row.column], whole.loc[kept, row.column], err_msg=row.column
                )
    assert seen == set(whole.index)
