import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolvox.shared.store import create_image
from poolvox.shared.store.pyramid import halve_labels, halve_means, level_factors, level_shapes


def means(image, factor):
    """Mean of the whole image at once, written as plainly as can be; borders repeat."""
    padded = np.pad(image, [(0, -n % f) for n, f in zip(image.shape, factor)], mode="edge")
    split = [part for n, f in zip(padded.shape, factor) for part in (n // f, f)]
    mean = padded.astype("f8").reshape(split).mean(tuple(range(1, 2 * image.ndim, 2)))
    return np.rint(mean) if image.dtype.kind in "ui" else mean


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([1, 2, 2, 2], 2),
        ([0, 0, 1, 1], 0),  # 0.5: to even
        ([1, 1, 2, 2], 2),  # 1.5: to even
        ([65535] * 4, 65535),
        ([0, 0, 0, 3], 1),
    ],
)
def test_integers_are_rounded_to_nearest_halves_to_even(values, mean):
    for dtype in ("uint16", "int32", "uint64", "int64"):
        block = np.array(values, dtype).reshape(2, 2)
        assert halve_means(block, (2, 2)).item() == mean


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_extreme_values_do_not_overflow(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    for value in (low, high):
        block = np.full((3, 4, 5), value, dtype)
        halved = halve_means(block, (2, 2, 2))
        assert halved.dtype == dtype
        assert (halved == value).all()


def test_negative_means_are_rounded_like_positive_ones():
    block = np.array([[-1, -2], [-2, -2]], "int16")
    assert halve_means(block, (2, 2)).item() == -2


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_floats_keep_their_type(dtype):
    block = np.arange(16, dtype=dtype).reshape(4, 4)
    assert halve_means(block, (2, 2)).dtype == dtype
    np.testing.assert_allclose(halve_means(block, (2, 2)), means(block, (2, 2)))


BIG = 2**60 + 1


@pytest.mark.parametrize(
    ("block", "label"),
    [
        ([[BIG, BIG], [0, 5]], BIG),
        ([[0, 5], [5, 5]], 5),
        ([[3, 0], [0, 3]], 3),  # a tie: the first pixel's
        ([[1, 2], [3, 4]], 1),
        ([[0, 7], [7, 0]], 0),
    ],
)
def test_labels_take_the_most_frequent_value(block, label):
    assert halve_labels(np.array(block, "uint64"), (2, 2)).item() == label


def majority(image, factor):
    out = np.zeros([-(-n // f) for n, f in zip(image.shape, factor)], image.dtype)
    padded = np.pad(image, [(0, -n % f) for n, f in zip(image.shape, factor)], mode="edge")
    for index in np.ndindex(out.shape):
        window = padded[tuple(slice(i * f, i * f + f) for i, f in zip(index, factor))].ravel()
        out[index] = max(window, key=lambda v: ((window == v).sum(), -int(np.argmax(window == v))))
    return out


@given(data=st.data(), factor=st.sampled_from([(1, 2, 2), (2, 2, 2), (1, 3, 2), (1, 1, 1)]))
@settings(max_examples=40, deadline=None)
def test_labels_agree_with_a_plain_count(data, factor):
    shape = tuple(data.draw(st.integers(1, 6)) for _ in factor)
    labels = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 4, shape)
    np.testing.assert_array_equal(halve_labels(labels, factor), majority(labels, factor))


def test_an_anisotropic_stack_becomes_isotropic_first():
    spacing = {"z": 2.0, "y": 0.5, "x": 0.5}
    factors = level_factors((60, 4096, 4096), "zyx", spacing)
    assert factors == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]
    assert level_factors((4, 60, 4096, 4096), "czyx", spacing) == [(1, *f) for f in factors]


@pytest.mark.parametrize(
    ("shape", "axes", "levels", "shapes"),
    [
        ((1201, 1199), "yx", None, [(1201, 1199), (601, 600), (301, 300)]),
        ((100, 90), "yx", None, [(100, 90)]),
        ((1, 1300), "yx", None, [(1, 1300), (1, 650), (1, 325)]),
        ((3, 5), "yx", 9, [(3, 5), (2, 3), (1, 2), (1, 1)]),  # stops where nothing is left
    ],
)
def test_odd_sizes_lose_no_pixel(shape, axes, levels, shapes):
    factors = level_factors(shape, axes, {"y": 1, "x": 1}, levels)
    assert level_shapes(shape, factors) == shapes


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
@pytest.mark.parametrize(
    ("shape", "axes", "dtype", "levels"),
    [
        ((4500, 4301), "yx", "uint16", 6),  # more than one job, odd borders
        ((2, 1030, 2100), "cyx", "float32", 4),
        ((37, 700, 611), "zyx", "uint8", 4),
        ((2, 2, 3, 65, 130), "tczyx", "int64", 3),
    ],
)
def test_every_level_equals_that_of_the_whole_image(tmp_path, ngff, shape, axes, dtype, levels):
    rng = np.random.default_rng(5)
    pixels = (rng.random(shape) * 250).astype(dtype)
    spacing = {"z": 1.0, "y": 0.5, "x": 0.5}
    image = create_image(tmp_path / "i.zarr", ngff=ngff)
    image.write(pixels, axes=axes, spacing=spacing, levels=levels)
    assert image.levels == levels
    expected = pixels
    for level, factor in enumerate([None, *level_factors(shape, axes, spacing, levels)]):
        if factor is not None:
            expected = means(expected, factor).astype(dtype)
        # A mean of float32 may differ in its last bit with the order of the sum.
        rtol = 1e-6 if dtype == "float32" else 0
        np.testing.assert_allclose(image.array(level).read(...), expected, rtol=rtol)


def test_labels_of_many_jobs_equal_those_of_the_whole(tmp_path):
    shape = (2500, 2400)
    labels = np.kron(np.arange(25 * 24).reshape(25, 24), np.ones((100, 100), "i8")) + 2**60
    image = create_image(tmp_path / "i.zarr")
    image.write(np.zeros(shape, "u1"), axes="yx", spacing={"y": 1, "x": 1}, levels=4)
    image.write_labels("cells", labels)
    expected = labels
    for level in range(image.levels):
        found = image.labels("cells", level).to_numpy()
        np.testing.assert_array_equal(found, expected)
        expected = halve_labels(expected, (2, 2))


def test_the_vote_keeps_area_better_than_every_second_pixel():
    """What the choice of the vote rests on: overlap with small discs, two levels up."""
    y, x = np.mgrid[:64, :64]
    rng = np.random.default_rng(0)
    errors = {"vote": [], "every second": []}
    for _ in range(50):
        centre = rng.uniform(28, 36, 2)
        disc = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 8**2).astype("u4")
        voted = halve_labels(halve_labels(disc, (2, 2)), (2, 2))
        for name, small in (("vote", voted), ("every second", disc[::4, ::4])):
            grown = np.kron(small, np.ones((4, 4), "u4"))
            errors[name].append(1 - (grown & disc).sum() / (grown | disc).sum())
    assert np.mean(errors["vote"]) < 0.8 * np.mean(errors["every second"])


@pytest.mark.parametrize(
    ("shape", "axes", "dtype"),
    [((3, 5000, 4200), "cyx", "uint16"), ((300, 1100, 1200), "zyx", "uint8")],
)
def test_the_source_is_read_once_and_unit_by_unit(tmp_path, shape, axes, dtype):
    """Memory follows from the unit: nothing larger is ever asked for."""

    class Watched:
        def __init__(self):
            self.shape, self.dtype = shape, np.dtype(dtype)
            self.seen, self.largest = 0, 0

        def __getitem__(self, region):
            block = np.zeros([s.stop - s.start for s in region], dtype)
            self.seen += block.size
            self.largest = max(self.largest, block.nbytes)
            return block

    source = Watched()
    image = create_image(tmp_path / "i.zarr")
    image.write(source, axes=axes, spacing={"z": 1, "y": 1, "x": 1})
    assert source.seen == np.prod(shape)
    assert source.largest <= 8 * 2**20


def test_finishing_twice_changes_nothing(tmp_path):
    image = create_image(tmp_path / "i.zarr")
    target = image.create((700, 600), "u2", axes="yx", spacing={"y": 1, "x": 1})
    target.write_region(np.arange(700 * 600, dtype="u2").reshape(700, 600), (0, 0))
    target.finish()
    before = {p: p.read_bytes() for p in image.path.rglob("*") if p.is_file()}
    target.finish()
    assert before == {p: p.read_bytes() for p in image.path.rglob("*") if p.is_file()}
