import json
import shutil
import warnings

import numpy as np
import pytest
import tifffile

from poolvox.organoid3d import volumes
from poolvox.organoid3d.config import Organoid3dConfig
from poolvox.organoid3d.nuclei import find_nuclei
from poolvox.organoid3d.pipeline import pipeline
from poolvox.organoid3d.volumes import Volume, plan_volume
from poolvox.shared.config import load_config
from poolvox.shared.engine import Options, run_plan
from poolvox.shared.errors import InputError
from poolvox.shared.store import read_table
from poolvox.shared.store.images import create_image, open_image
from tests.organoid3d.networks import balls_image, write_model

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SPACING = {"z": 2.0, "y": 1.0, "x": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_model(tmp_path_factory.mktemp("models") / "hand")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A stack in a store, cut into a handful of units."""
    monkeypatch.setattr(volumes, "SHARE", 30_000)
    monkeypatch.setattr(volumes, "DRAWN", 30_000)
    pixels = np.clip(balls_image((16, 48, 90), 16) * 1000 + 100, 0, 60_000).astype(np.uint16)
    image = create_image(tmp_path / "a.zarr")
    image.write(pixels[None], axes="czyx", spacing=SPACING, channels=["nuclei"])
    return image.path, pixels


def with_hot_voxels(pixels):
    """Single voxels, and pixels that are hot in all planes."""
    hot, rng = pixels.copy(), np.random.default_rng(4)
    hot.reshape(-1)[rng.choice(hot.size, 300, replace=False)] = 65535
    hot.reshape(len(hot), -1)[:, rng.choice(hot[0].size, 9, replace=False)] = 65535
    return hot


def labels_of(path):
    return open_image(path).labels("nuclei").to_numpy()


def run(volume, output, **options):
    return run_plan(plan_volume(volume), output, options=Options(**options))


def test_a_stored_stack_gets_the_labels_of_the_whole_however_it_was_run(stored, folder, tmp_path):
    path, pixels = stored
    volume = Volume(path, tmp_path / "work", model=str(folder), scale=1.0, window=1_500_000)
    summary = run(volume, tmp_path, workers=2)
    assert not summary.failed
    assert sum(key.startswith("windows") for key in summary.done) == 3
    first = labels_of(path)
    whole = find_nuclei(pixels, spacing=(2.0, 1.0, 1.0), model=folder, scale=1.0)
    assert (first == whole.labels).all()
    assert first.max() > 10

    # Cut off in the middle: what was not finished is done again, and nothing else.
    volume.share(1).unlink()
    shutil.rmtree(volume.work / "drawn")
    again = run(volume, tmp_path, workers=1)
    assert "windows/a.zarr-00000" in again.reused
    assert "windows/a.zarr-00001" in again.done
    assert (labels_of(path) == first).all()
    assert run(volume, tmp_path).done == ()


def test_hot_voxels_of_a_stored_stack_change_nothing(stored, folder, tmp_path):
    _, pixels = stored
    hot = with_hot_voxels(pixels)
    image = create_image(tmp_path / "h.zarr")
    image.write(hot, axes="zyx", spacing=SPACING)
    volume = Volume(image.path, tmp_path / "work", model=str(folder), scale=1.0, window=1_500_000)
    assert not run(volume, tmp_path, workers=1).failed
    whole = find_nuclei(hot, spacing=(2.0, 1.0, 1.0), model=folder, scale=1.0)
    clean = find_nuclei(pixels, spacing=(2.0, 1.0, 1.0), model=folder, scale=1.0)
    assert (labels_of(image.path) == whole.labels).all()
    assert int(whole.labels.max()) == pytest.approx(int(clean.labels.max()), rel=0.05)
    assert np.mean((whole.labels > 0) != (clean.labels > 0)) < 0.01
    notes = json.loads(volume.frame.read_text())["notes"]
    assert notes == list(whole.notes)
    assert "hot voxels" in notes[0]


@pytest.mark.parametrize("value", [0, 500])
def test_a_blank_stored_stack_has_no_nuclei(tmp_path, folder, value):
    image = create_image(tmp_path / "b.zarr")
    image.write(np.full((8, 32, 32), value, np.uint16), axes="zyx", spacing=SPACING)
    volume = Volume(image.path, tmp_path / "work", model=str(folder))
    assert not run(volume, tmp_path, workers=1).failed
    assert not labels_of(image.path).any()


def test_dark_nuclei_in_a_store_are_found(stored, folder, tmp_path):
    _, pixels = stored
    turned = create_image(tmp_path / "c.zarr")
    turned.write((3000 - pixels).astype(np.uint16), axes="zyx", spacing=SPACING)
    volume = Volume(turned.path, tmp_path / "work", model=str(folder), scale=1.0)
    summary = run(volume, tmp_path, workers=1)
    assert not summary.failed
    bright = find_nuclei(pixels, spacing=(2.0, 1.0, 1.0), model=folder, scale=1.0)
    found, expected = labels_of(turned.path) > 0, bright.labels > 0
    assert (found & expected).sum() > 0.9 * (found | expected).sum()


def test_a_channel_must_be_named_where_there_are_several(tmp_path, folder):
    image = create_image(tmp_path / "d.zarr")
    image.write(
        np.zeros((2, 8, 16, 16), np.uint8), axes="czyx", spacing=SPACING, channels=["a", "b"]
    )
    with pytest.raises(InputError, match="name the channel, one of a, b"):
        plan_volume(Volume(image.path, tmp_path / "work", model=str(folder)))
    with pytest.raises(InputError, match="no channel 'c'"):
        plan_volume(Volume(image.path, tmp_path / "work", channel="c", model=str(folder)))


def test_a_run_of_the_pipeline_uses_the_network_of_its_configuration(tmp_path, folder):
    model = shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "stacks").mkdir()
    pixels = (balls_image((16, 48, 60), 12) * 1000 + 100).clip(0).astype(np.uint16)
    tifffile.imwrite(tmp_path / "stacks" / "A1_1.tif", pixels)
    (tmp_path / "config.yaml").write_text(
        "pipeline: organoid3d\noutput: out\nfeatures: [shape]\n"
        "raw: {stacks: {files: 'stacks/{well}_{organoid}.tif', channels: [nuclei], "
        "voxel_size: [2, 1, 1]}}\n"
        f"nuclei: {{model: {model}, scale: 1}}\n"
    )
    config = load_config(tmp_path / "config.yaml", Organoid3dConfig)
    units = pipeline.plan(config)
    summary = run_plan(units, config.output, options=Options(workers=1, steps=("tables",)))
    assert not summary.failed
    nuclei = read_table(config.output / "tables" / "nuclei.parquet")
    assert nuclei["Nuclei_Probability"].between(0.5, 1).all()
    unsure = nuclei["Nuclei_Probability"] < 0.5 + 0.25 * 0.5
    assert (nuclei["QC_LowProbability"] == unsure).all()
    assert 0 < unsure.sum() < len(nuclei)
    facts = json.loads(next(config.output.glob("parts/facts/*.json")).read_text())
    assert facts["method"] == "network model, probability above 0.5, overlap 0.3"
    assert facts["scale"] == "1.00 x 1.00 x 1.00"

    # The folder keeps its name; what it holds is another network now.
    (model / "thresholds.json").write_text('{"prob": 0.6, "nms": 0.3}')
    assert pipeline.plan(config)[0].params != units[0].params
    shutil.rmtree(model)
    with pytest.raises(InputError, match="is no folder"):
        pipeline.plan(config)
