"""What must not change a measurement: names, cuts, quarter turns, types, threads, units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolvox.shared.features import find_objects, group_names, measure
from poolvox.shared.features.objects import Objects

# What depends on the surroundings of an object by definition.
CONTEXT = ("Neighbours", "Background", "Corrected")
# What a quarter turn changes, or what is read along a path with a start.
DIRECTED = ("Orientation", "Metadata", "Fourier", "Curvature", "Harmonics")


def features(table, *, without=()):
    names = [c for c in table if c.startswith("Nuclei") and not any(w in c for w in without)]
    return table[names]


def everything(labels, images, spacing, **options):
    groups = group_names(labels.ndim)
    return measure(labels, images, spacing=spacing, groups=groups, **options)


def assert_same(a, b, rtol=0.0, atol=0.0):
    assert list(a.columns) == list(b.columns)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=atol, err_msg=name)


@pytest.fixture(params=["scene2d", "scene3d"])
def scene(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def tables(scene2d, scene3d):
    return {s[0].ndim: everything(*s) for s in (scene2d, scene3d)}


def test_everything_is_finite_on_ordinary_objects(tables):
    for table in tables.values():
        assert not np.isinf(table.to_numpy(dtype=float)).any()
        missing = [c for c in table if table[c].isna().any()]
        assert all("Spots" in c or "Costes" in c for c in missing)


def test_relabelling_moves_rows_and_nothing_else(scene, tables):
    labels, images, spacing = scene
    rng = np.random.default_rng(4)
    new = np.sort(rng.choice(2**62, labels.max(), replace=False)).astype(np.uint64)
    new[-1] = 2**63 - 1
    order = rng.permutation(labels.max())
    renamed = np.concatenate([np.zeros(1, np.uint64), new[order]])[labels]
    table = everything(renamed, images, spacing)
    assert (table["Metadata_Label"].to_numpy().astype(np.uint64) == new).all()
    back = features(table, without=("Neighbours",)).iloc[order].reset_index(drop=True)
    assert_same(back, features(tables[labels.ndim], without=("Neighbours",)))


def test_a_cut_around_an_object_changes_no_bit(scene, tables):
    labels, images, spacing = scene
    whole = features(tables[labels.ndim], without=CONTEXT)
    for label in range(1, labels.max() + 1):
        where = np.argwhere(labels == label)
        cut = tuple(slice(a, b) for a, b in zip(where.min(0), where.max(0) + 1))
        inside = {name: image[cut] for name, image in images.items()}
        table = everything(labels[cut], inside, spacing).set_index("Metadata_Label")
        alone = features(table.loc[[label]], without=CONTEXT)
        assert_same(alone.reset_index(drop=True), whole.iloc[[label - 1]].reset_index(drop=True))


def test_quarter_turns_with_mirrored_spacing(scene, tables):
    labels, images, spacing = scene
    turned = {name: np.rot90(image, axes=(-2, -1)) for name, image in images.items()}
    table = everything(np.rot90(labels, axes=(-2, -1)), turned, spacing)
    before = features(tables[labels.ndim], without=DIRECTED)
    assert_same(features(table, without=DIRECTED), before, rtol=1e-4, atol=1e-5)
    if labels.ndim == 3:
        swapped = {name: image.transpose(2, 1, 0) for name, image in images.items()}
        table = everything(labels.transpose(2, 1, 0), swapped, spacing[::-1])
        assert_same(features(table, without=DIRECTED), before, rtol=1e-4, atol=1e-5)


def test_quarter_turns_of_outline_and_mesh(scene2d, scene3d, tables):
    """Read along a path with a start, or on triangles cut along diagonals: nearly the same."""
    for labels, _, spacing in (scene2d, scene3d):
        group = "zernike" if labels.ndim == 2 else "curvature"
        table = measure(np.rot90(labels, axes=(-2, -1)), spacing=spacing, groups=[group])
        names = [c for c in table if "Fourier" in c or "Curvature" in c]
        same = tables[labels.ndim][names]
        assert_same(table[names], same, rtol=0.05, atol=0.003 if group == "zernike" else 0.03)


def test_threads_change_no_bit(scene, tables, monkeypatch):
    labels, images, spacing = scene
    monkeypatch.setattr("poolvox.shared.features.objects.VOXELS_PER_THREAD", 100)
    parts = []
    monkeypatch.setattr(
        Objects, "_parts", lambda self, real=Objects._parts: parts.append(real(self)) or parts[-1]
    )
    assert_same(everything(labels, images, spacing, threads=3), tables[labels.ndim])
    assert max(map(len, parts)) > 4


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float32", "float64", ">u2"])
def test_type_of_the_image_does_not_matter(scene, tables, dtype):
    labels, images, spacing = scene
    converted = {name: image.astype(dtype) for name, image in images.items()}
    assert_same(everything(labels, converted, spacing), tables[labels.ndim])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "int64", ">i4"])
def test_type_and_memory_order_of_the_labels_do_not_matter(scene, tables, dtype):
    labels, images, spacing = scene
    table = everything(np.asfortranarray(labels.astype(dtype)), images, spacing)
    assert_same(table, tables[labels.ndim])


def test_gain_and_offset_of_the_camera(scene3d):
    labels, images, spacing = scene3d
    brighter = {name: 3 * image + 1000 for name, image in images.items()}
    groups = ["texture", "granularity"]
    one = measure(labels, images, spacing=spacing, groups=groups)
    assert_same(measure(labels, brighter, spacing=spacing, groups=groups), one, 1e-3, 1e-4)


def test_values_that_are_not_finite_count_as_outside(scene3d):
    labels, images, spacing = scene3d
    hole = np.zeros(labels.shape, bool)
    hole[:, ::5, ::7] = True
    bad = images["a"].copy()
    bad[hole] = np.resize([np.nan, np.inf, -np.inf], hole.sum())
    groups = ["intensity", "texture", "granularity", "spots"]
    found = measure(labels, {"a": bad}, spacing=spacing, groups=groups)
    without = measure(np.where(hole, 0, labels), {"a": images["a"]}, spacing=spacing, groups=groups)
    skip = ("Edge", "Background", "Corrected", "Distance", "Fraction")
    assert_same(features(found, without=skip), features(without, without=skip), 1e-4, 1e-6)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_index_of_any_label_image(data):
    shape = data.draw(st.sampled_from([(3, 4, 5), (1, 1, 1), (4, 6), (1, 9), (2, 3, 1)]))
    dtype = data.draw(st.sampled_from([np.uint8, np.int32, np.int64]))
    flat = data.draw(
        st.lists(st.integers(0, 3), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
    )
    labels = np.array(flat, dtype=dtype).reshape(shape) * 37
    objects = find_objects(labels, spacing=1.0)
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    assert objects.ids.tolist() == ids.tolist()
    assert objects.counts.tolist() == counts.tolist()
    np.testing.assert_array_equal(labels.reshape(-1)[objects.indices], np.repeat(ids, counts))
    for k, label in enumerate(ids):
        where = np.argwhere(labels == label)
        np.testing.assert_allclose(objects.centroids[k], where.mean(axis=0))
