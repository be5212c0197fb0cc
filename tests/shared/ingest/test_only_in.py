"""Cycles that were imaged without a channel, such as the nuclear stain of the first one."""

import numpy as np
import pytest
import tifffile
from pydantic import ValidationError

from poolvox.shared.errors import InputError
from poolvox.shared.ingest import RawSpec, guess, raw_block, scan

NAMES = ("DAPI", "G", "T", "A", "C")
IMAGES = np.random.default_rng(3).integers(1, 1000, (3, 5, 8, 9)).astype(np.uint16)
FIRST = np.where(np.arange(3)[:, None] > 0, np.arange(5) == 0, False)  # what is not taken
BY_CYCLE = "c{cycle}/{well}_s{tile}.tif"
BY_CHANNEL = "c{cycle}/{well}_s{tile}_{channel}.tif"
OPTIONS = {"channels": NAMES, "pixel_size": 1.0, "only_in": {"DAPI": (1,)}}


def write(folder, *, by_channel=False, named=False, tiles=(1, 2)):
    """Three cycles of two tiles, of which the first alone has DAPI."""
    for tile in tiles:
        for t in range(3):
            planes = {name: k for k, name in enumerate(NAMES) if not FIRST[t, k]}
            path = folder / f"c{t + 1}" / f"A1_s{tile}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            if by_channel:
                for name, k in planes.items():
                    tifffile.imwrite(path.with_name(f"A1_s{tile}_{name}.tif"), IMAGES[t, k])
                continue
            labels = {"Labels": list(planes)} if named else {}
            pixels = IMAGES[t, list(planes.values())]
            tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX", **labels})
    return folder


@pytest.mark.parametrize("by_channel", [False, True])
def test_a_channel_of_one_cycle_is_read_there_and_zero_elsewhere(tmp_path, by_channel):
    files = BY_CHANNEL if by_channel else BY_CYCLE
    manifest = scan(RawSpec(files=files, **OPTIONS), write(tmp_path, by_channel=by_channel))
    assert manifest.bad == {}
    assert manifest.channels == NAMES
    assert manifest.absent == ((1, 0), (2, 0))
    wanted = np.where(FIRST[..., None, None], 0, IMAGES)
    tile = manifest.tiles[1]
    assert np.array_equal(manifest.read(tile), wanted)
    part = manifest.read(tile, cycles=["3"], channels=["A", "DAPI"])
    assert np.array_equal(part, wanted[2:, [3, 0]])
    assert np.array_equal(manifest.only(tile).read(tile), wanted)


def test_mapped_channels_are_those_of_the_cycles_own_files(tmp_path):
    names = {"nuclei": "DAPI", "T": "T", "A": "A"}
    options = {**OPTIONS, "channels": names, "only_in": {"nuclei": ("1",)}}
    manifest = scan(RawSpec(files=BY_CYCLE, **options), write(tmp_path, named=True))
    wanted = np.where(FIRST[..., None, None], 0, IMAGES)[:, [0, 2, 3]]
    assert np.array_equal(manifest.read(manifest.tiles[0]), wanted)


def test_a_file_that_has_not_what_its_cycle_must_have_costs_its_tile(tmp_path):
    write(tmp_path)
    tifffile.imwrite(tmp_path / "c3" / "A1_s2.tif", IMAGES[2], imagej=True)
    manifest = scan(RawSpec(files=BY_CYCLE, **OPTIONS), tmp_path)
    assert [key.tile for key in manifest.bad] == ["2"]
    assert "5 channels, channels names 4" in next(iter(manifest.bad.values()))


def test_files_of_a_channel_that_its_cycle_lacks_are_left_out(tmp_path):
    write(tmp_path, by_channel=True)
    (tmp_path / "c2" / "A1_s1_DAPI.tif").write_bytes(b"not an image")
    assert scan(RawSpec(files=BY_CHANNEL, **OPTIONS), tmp_path).bad == {}


@pytest.mark.parametrize("by_channel", [False, True])
def test_without_it_the_message_says_what_to_give(tmp_path, by_channel):
    files = BY_CHANNEL if by_channel else BY_CYCLE
    given = {**OPTIONS, "only_in": {}}
    manifest = scan(RawSpec(files=files, **given), write(tmp_path, by_channel=by_channel))
    assert len(manifest.bad) == 2
    assert all("only_in" in reason for reason in manifest.bad.values())


def test_a_channel_that_one_tile_lacks_is_no_matter_of_the_cycle(tmp_path):
    write(tmp_path, by_channel=True)
    (tmp_path / "c3" / "A1_s1_G.tif").unlink()
    manifest = scan(RawSpec(files=BY_CHANNEL, **OPTIONS), tmp_path)
    assert list(manifest.bad.values()) == ["no file for cycle 3, channel G"]


@pytest.mark.parametrize(
    ("by_channel", "named", "told"),
    [
        (True, False, "only_in: {DAPI: [1]}"),
        (False, True, "only_in: {DAPI: [1]}"),
        (False, False, "which cycles have one that the others lack"),
    ],
)
def test_init_sees_it_or_asks(tmp_path, by_channel, named, told):
    write(tmp_path, by_channel=by_channel, named=named)
    assert told in raw_block(guess(tmp_path, "ops"))


@pytest.mark.parametrize(
    ("files", "channels", "reason"),
    [
        (BY_CYCLE, ("G", "T"), "only_in names 'DAPI'"),
        (BY_CYCLE, "auto", "only_in names 'DAPI'"),
        ("{well}_s{tile}.tif", NAMES, "needs {cycle}"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(files, channels, reason):
    with pytest.raises(ValidationError, match=reason):
        RawSpec(files=files, channels=channels, only_in={"DAPI": (1,)})


def test_a_cycle_of_no_file_is_told(tmp_path):
    options = {**OPTIONS, "only_in": {"DAPI": ("11",)}}
    with pytest.raises(InputError, match=r"only_in names cycle '11'.*1, 2, 3"):
        scan(RawSpec(files=BY_CHANNEL, **options), write(tmp_path, by_channel=True))
