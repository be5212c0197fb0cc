"""Units that are written without zarr: zarr reads them, and cannot tell them from its own."""

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numcodecs import Blosc
from zarr.storage import MemoryStore

from poolvox.shared.errors import StoreError
from poolvox.shared.store.encoding import UnitFiles, _crc32c
from poolvox.shared.store.units import UnitArray, tiling

TYPES = ["uint8", "uint16", "int32", "uint64", "float32", "float64"]
# Arrays of a few chunks, some of which end inside one.
SMALL = {
    "ngff": st.sampled_from(["0.4", "0.5"]),
    "dtype": st.sampled_from(TYPES),
    "shape": st.tuples(st.integers(1, 3), st.integers(1, 25), st.integers(1, 25)),
    "per_shard": st.tuples(st.just(1), st.integers(1, 3), st.integers(1, 3)),
    "seed": st.integers(0, 99),
}


def pixels(shape, dtype, seed, empty=0.5):
    """Values of every size, with blocks of zeros and a zero with a sign."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**31, shape).astype(dtype)
    for region in tiling(shape, (1, 5, 7)):
        if rng.random() < empty:
            values[region] = 0
    if values.dtype.kind == "f":
        values.flat[rng.integers(values.size)] = -0.0
        values.flat[rng.integers(values.size)] = np.nan
    return values


def made_small(path, shape, dtype, ngff, chunk, per_shard):
    """An array as ours in all but the size of its chunks."""
    common = {"store": path, "shape": shape, "dtype": dtype, "fill_value": 0, "overwrite": True}
    if ngff == "0.4":
        array = zarr.create_array(
            **common, chunks=chunk, zarr_format=2, compressors=Blosc(cname="lz4", shuffle=2)
        )
    else:
        codec = zarr.codecs.BloscCodec(cname="lz4", shuffle="bitshuffle")
        shards = tuple(c * n for c, n in zip(chunk, per_shard))
        array = zarr.create_array(**common, chunks=chunk, shards=shards, compressors=codec)
    return UnitArray(array, path)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(**SMALL)
def test_zarr_reads_what_was_written(tmp_path_factory, ngff, dtype, shape, per_shard, seed):
    folder = tmp_path_factory.mktemp("unit")
    ours = made_small(folder / "ours", shape, dtype, ngff, (1, 5, 7), per_shard)
    theirs = made_small(folder / "theirs", shape, dtype, ngff, (1, 5, 7), per_shard)
    assert ours._files is not None
    theirs._files = None
    values = pixels(shape, dtype, seed)
    for array in (ours, theirs):
        array.write(values, (0, 0, 0))
    found = np.asarray(zarr.open_array(folder / "ours", mode="r")[:])
    assert found.tobytes() == values.tobytes()
    files = [
        {p.relative_to(array.path) for p in array.path.rglob("*") if p.is_file()}
        for array in (ours, theirs)
    ]
    assert files[0] == files[1]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(**SMALL, data=st.data())
def test_regions_are_read_as_zarr_reads_them(
    tmp_path_factory, ngff, dtype, shape, per_shard, seed, data
):
    folder = tmp_path_factory.mktemp("unit")
    array = made_small(folder / "theirs", shape, dtype, ngff, (1, 5, 7), per_shard)
    values = pixels(shape, dtype, seed)
    array._array[:] = values
    assert array._files is not None
    ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    region = tuple(slice(*pair) for pair in ends)
    assert array.read(region).tobytes() == values[region].tobytes()
    for odd in (np.s_[0], np.s_[:, ::2, :], np.s_[..., -1], np.s_[:, -3:, :]):
        assert array.read(odd).tobytes() == values[odd].tobytes()


@pytest.mark.parametrize("spoil", ["index", "chunk", "short"])
def test_a_damaged_unit_is_named(tmp_path, spoil):
    array = UnitArray.create(tmp_path / "a", (1, 600, 700), "uint16", axes="cyx")
    array.write(pixels(array.shape, "uint16", 0, empty=0), (0, 0, 0))
    file = next(p for p in (array.path / "c").rglob("*") if p.is_file())
    bytes_ = bytearray(file.read_bytes())
    place = {"index": -10, "chunk": 4, "short": 0}[spoil]
    bytes_[place] ^= 0xFF
    file.write_bytes(bytes_[:7] if spoil == "short" else bytes_)
    with pytest.raises(StoreError, match="is damaged"):
        array.read(np.s_[:, :, :])


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_zarr_makes_the_same_array(tmp_path, ngff):
    array = UnitArray.create(tmp_path / "a", (2, 600, 700), "uint16", axes="cyx", ngff=ngff)
    found = zarr.open_array(tmp_path / "a", mode="r")
    assert found.metadata == array._array.metadata
    assert UnitArray.open(tmp_path / "a")._array.metadata == found.metadata
    again = zarr.create_array(MemoryStore(), **_as_made(found))
    assert again.metadata == found.metadata


def _as_made(array):
    """Options that make an array like this one."""
    same = {"shape": array.shape, "chunks": array.chunks, "dtype": array.dtype, "fill_value": 0}
    version = array.metadata.zarr_format
    same |= {"zarr_format": version, "compressors": array.compressors}
    if version == 2:
        return same | {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    return same | {"shards": array.shards, "dimension_names": array.metadata.dimension_names}


def test_what_was_at_the_place_of_an_array_is_removed(tmp_path):
    array = UnitArray.create(tmp_path / "a", (1, 600, 700), "uint16", axes="cyx")
    array.write(np.ones(array.shape, "uint16"), (0, 0, 0))
    array = UnitArray.create(tmp_path / "a", (1, 60, 70), "uint8", axes="cyx", ngff="0.4")
    assert not array.read(np.s_[:, :, :]).any()
    assert sorted(p.name for p in array.path.iterdir()) == [".zarray", ".zattrs"]


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_arrays_of_the_store_are_written_this_way(tmp_path, ngff):
    array = UnitArray.create(tmp_path / "a", (2, 600, 700), "uint16", axes="cyx", ngff=ngff)
    assert UnitArray.open(array.path)._files is not None


def test_zeros_leave_no_file_and_remove_the_one_before(tmp_path):
    array = UnitArray.create(tmp_path / "a", (1, 600, 700), "uint16", axes="cyx")
    for value, files in ((5, 1), (0, 0)):
        array.write(np.full(array.shape, value, "uint16"), (0, 0, 0))
        assert sum(p.is_file() for p in (array.path / "c").rglob("*")) == files


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": ">u2", "zarr_format": 2},
        {"dtype": "u2", "fill_value": 7},
        {"dtype": "u2", "compressors": None, "shards": (8, 8)},
        {"dtype": "u2", "compressors": zarr.codecs.ZstdCodec(), "shards": (8, 8)},
        {"dtype": "u2", "compressors": zarr.codecs.BloscCodec()},
    ],
)
def test_arrays_of_others_are_left_to_zarr(tmp_path, options):
    array = zarr.create_array(
        **{"store": tmp_path / "a", "shape": (16, 16), "chunks": (4, 4), "fill_value": 0} | options
    )
    assert UnitFiles.of(array, tmp_path / "a") is None
    block = np.arange(256, dtype="u2").reshape(16, 16)
    UnitArray(array, tmp_path / "a").write(block, (0, 0))
    assert (np.asarray(array[:]) == block).all()


def test_a_write_that_fails_leaves_the_unit_before(tmp_path, monkeypatch):
    array = UnitArray.create(tmp_path / "a", (1, 600, 700), "uint16", axes="cyx")
    array.write(np.ones(array.shape, "uint16"), (0, 0, 0))
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        array.write(np.full(array.shape, 2, "uint16"), (0, 0, 0))
    assert (array.read(np.s_[:, :, :]) == 1).all()
    assert not list(array.path.rglob("*.partial"))


def test_checksum_is_castagnolis():
    assert _crc32c(b"123456789") == 0xE3069283
