import itertools
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolvox.shared.errors import StoreError
from poolvox.shared.store.units import SHARD_BYTES, UnitArray, plan_layout, tiling


@pytest.fixture(params=["0.5", "0.4"])
def array(request, tmp_path):
    return UnitArray.create(
        tmp_path / "a", (3, 2300, 4200), "uint16", axes="cyx", ngff=request.param
    )


@pytest.mark.parametrize(
    ("origin", "shape"),
    [
        ((0, 0, 100), (1, 2048, 2048)),  # begins inside a unit
        ((0, 0, 0), (1, 2048, 2000)),  # ends inside one
        ((0, 1, 0), (3, 2299, 4200)),
        ((0, 2048, 0), (1, 200, 4200)),  # 2248: neither a unit nor the border
    ],
)
def test_a_misaligned_write_says_origin_shape_and_unit(array, origin, shape):
    with pytest.raises(StoreError) as caught:
        array.write(np.ones(shape, "uint16"), origin)
    for told in (origin, shape, array.unit):
        assert str(told) in str(caught.value)
    assert not array.read(np.s_[:, :, :]).any(), "nothing may have been written"


@pytest.mark.parametrize(
    ("origin", "shape", "told"),
    [
        ((2, 2048, 0), (2, 252, 4200), "outside"),
        ((0, -2048, 0), (1, 2048, 2048), "outside"),
        ((0, 0), (2048, 2048), "does not fit"),
    ],
)
def test_a_block_that_does_not_fit_is_refused(array, origin, shape, told):
    with pytest.raises(StoreError, match=told):
        array.write(np.ones(shape, "uint16"), origin)


def test_a_dtype_that_would_lose_values_is_refused(array):
    with pytest.raises(StoreError, match="float64"):
        array.write(np.ones((1, 2300, 4200)), (0, 0, 0))


def test_whole_units_and_borders_are_written(array):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**16, array.shape, dtype="uint16")
    for region in tiling(array.shape, array.unit):
        array.write(pixels[region], tuple(s.start for s in region))
    assert (array.read(np.s_[:, :, :]) == pixels).all()


def _fill(path, region, value):
    block = np.full([s.stop - s.start for s in region], value, "uint16")
    UnitArray.open(path).write(block, tuple(s.start for s in region))


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_writers_of_different_units_do_not_disturb_each_other(array, pool):
    regions = list(tiling(array.shape, array.unit))
    pools = {
        "threads": lambda: ThreadPoolExecutor(4),
        "processes": lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
    }
    with pools[pool]() as executor:
        count = len(regions)
        list(executor.map(_fill, [array.path] * count, regions, range(1, count + 1)))
    for value, region in enumerate(regions, 1):
        assert (array.read(region) == value).all()


def test_leftovers_of_a_killed_writer_do_not_disturb(array):
    _fill(array.path, (slice(0, 1), slice(0, 2300), slice(0, 4200)), 7)
    chunk = next(p for p in array.path.rglob("*") if p.is_file() and p.suffix == "")
    chunk.with_suffix(".0123.partial").write_bytes(chunk.read_bytes()[:10])
    assert (UnitArray.open(array.path).read(np.s_[0]) == 7).all()


sizes = st.integers(1, 9000)


@given(z=st.integers(1, 300), y=sizes, x=sizes, dtype=st.sampled_from(["u1", "u2", "f4", "i8"]))
def test_units_are_whole_chunks_of_bounded_size(z, y, x, dtype):
    for ngff, axes in itertools.product(("0.4", "0.5"), ("tczyx", "zyx")):
        shape = (5, 4, z, y, x)[-len(axes) :]
        layout = plan_layout(shape, axes, dtype, ngff)
        assert all(u % c == 0 for u, c in zip(layout.unit, layout.chunks))
        assert np.prod(layout.unit) * np.dtype(dtype).itemsize <= SHARD_BYTES
        if axes == "tczyx":
            assert layout.unit[:2] == (1, 1)


def test_a_missing_array_is_named(tmp_path):
    with pytest.raises(StoreError, match="0 is missing"):
        UnitArray.open(tmp_path / "0")
