import contextlib
import io
import json
import shutil
import warnings

import numpy as np
import pytest

from poolvox.organoid3d import segment_nuclei
from poolvox.organoid3d.blocks import Box, Frame, lay_out, read_window
from poolvox.organoid3d.models import read_model
from poolvox.organoid3d.nuclei import check_model, find_nuclei
from poolvox.shared.errors import InputError
from poolvox.shared.evaluate import evaluate_labels
from tests.organoid3d.networks import balls_image, write_model

# TensorFlow takes seconds to load: all of this in one process.
pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    # Keras on numpy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SPACING = (2.0, 1.0, 1.0)
SHAPE = (24, 60, 110)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_model(tmp_path_factory.mktemp("models") / "hand")


@pytest.fixture(scope="module")
def network(folder):
    from poolvox.organoid3d.network import load_network

    return load_network(read_model(folder))


@pytest.fixture(scope="module")
def image():
    return balls_image(SHAPE, 30)


def stardist_says(folder, image):
    from stardist.models import StarDist3D

    with contextlib.redirect_stdout(io.StringIO()):
        model = StarDist3D(None, name=folder.name, basedir=str(folder.parent))
        return model.predict_instances(image, show_tile_progress=False)


def objects(stars):
    return {tuple(point) for point in np.asarray(stars.points, float).tolist()}


def stars_of(network, image, *, thinning="fast", most=None, order=1, margin=(4, 8, 8)):
    from poolvox.organoid3d.segment import StarOptions, find_stars

    options = StarOptions(network.folder.prob, network.folder.nms, thinning)
    frame = Frame(image.shape)
    sizes = {} if most is None else {"most": most}
    windows = lay_out(image.shape, network.folder, margin=margin, **sizes)
    return find_stars(image, frame, network, options, windows[::order]), len(windows)


@pytest.mark.parametrize("thinning", ["fast", "exact"])
def test_objects_and_labels_are_those_of_stardist(folder, network, image, thinning):
    from poolvox.organoid3d.segment import draw_stars, name_stars

    labels, details = stardist_says(folder, image)
    stars, _ = stars_of(network, image, thinning=thinning)
    assert len(stars) > 30
    assert objects(stars) == {tuple(p) for p in details["points"].astype(float).tolist()}
    frame = Frame(image.shape)
    names = name_stars(stars, frame, network.geometry)
    ours = draw_stars(stars, names, frame, network.geometry, Box((0, 0, 0), image.shape))
    assert ((ours > 0) == (labels > 0)).all()
    pairs = np.unique(np.stack([ours.ravel(), labels.ravel()]), axis=1)
    assert pairs.shape[1] == ours.max() + 1 == labels.max() + 1


@pytest.mark.parametrize("margin", [(0, 0, 0), (6, 8, 8)])
def test_windows_give_the_objects_of_the_whole_in_any_order(network, image, margin):
    whole, one = stars_of(network, image)
    parts, many = stars_of(network, image, most=2_000_000, margin=margin)
    back, _ = stars_of(network, image, most=2_000_000, margin=margin, order=-1)
    assert one == 1
    assert many >= 3
    assert objects(parts) == objects(whole)
    assert (back.points == parts.points).all()
    assert (back.dist == parts.dist).all()
    assert parts.dist == pytest.approx(whole.dist, rel=1e-4)


@pytest.mark.parametrize("backbone", ["unet", "resnet"])
@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
def test_the_reach_of_a_network_is_not_too_short(tmp_path, backbone, grid):
    from poolvox.organoid3d.network import Network

    folder = write_model(tmp_path / "m", grid=grid, backbone=backbone, filters=2, wild=0.5)
    net = Network(read_model(folder))
    reach, division = np.array(net.folder.reach), np.array(net.folder.division)
    image = np.random.default_rng(0).uniform(size=(56, 72, 72)).astype(np.float32)
    start = (-(-4 // division)) * division
    prob, features = net.predict(image)
    near, near_features = net.predict(
        np.ascontiguousarray(image[tuple(slice(s, None) for s in start)])
    )
    first = -(-reach // np.array(grid))
    inner = tuple(slice(f, None) for f in first)
    there = tuple(slice(f + s // g, None) for f, s, g in zip(first, start, grid))
    assert prob[there].size > 100
    assert np.abs(prob[there] - near[inner]).max() < 1e-5
    assert np.abs(features[there] - near_features[inner]).max() < 1e-4


@pytest.mark.parametrize("size", [(5, 9, 11), (64, 100, 70), (1, 8, 500)])
@pytest.mark.parametrize("most", [10**6, 10**9])
def test_every_place_lies_in_one_core_and_is_sound(network, size, most):
    windows = lay_out(size, network.folder, margin=(2, 4, 4), most=most)
    owners = np.zeros(size, np.uint8)
    for window in windows:
        owners[window.core.slices()] += 1
        assert all(s % d == 0 for s, d in zip(window.whole.start, network.folder.division))
        assert window.whole.shape == windows[0].whole.shape
        for axis in range(3):
            assert window.sound.start[axis] <= window.core.start[axis]
            assert window.core.stop[axis] <= max(window.sound.stop[axis], window.core.start[axis])
    assert (owners == 1).all()


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (1.7, 0.6, 0.5), (0.4, 1.0, 2.2)])
def test_a_window_reads_what_the_whole_stack_says(scale):
    image = balls_image((20, 40, 44), 8)
    frame = Frame(image.shape, scale, low=0.1, high=0.9)
    z, y, x = frame.size
    whole = read_window(image, frame, Box((0, 0, 0), (z, y, x)))
    part = read_window(image, frame, Box((z // 3, 4, x // 2), (z, y - 3, x + 5)))
    assert part[:, :, : x - x // 2] == pytest.approx(whole[z // 3 :, 4 : y - 3, x // 2 :], abs=1e-5)
    assert (part[:, :, x - x // 2] == part[:, :, x - x // 2 - 2]).all()


def test_scaled_nuclei_keep_their_place(folder, network):
    image = balls_image(SHAPE, 12)
    plain = find_nuclei(image, spacing=SPACING, model=folder, scale=1.0)
    finer = np.repeat(np.repeat(image, 2, axis=1), 2, axis=2)
    auto = find_nuclei(finer, spacing=(2.0, 0.5, 0.5), model=folder, diameter=10.0)
    assert auto.labels.shape == finer.shape
    both = (plain.labels > 0).repeat(2, axis=1).repeat(2, axis=2), auto.labels > 0
    assert (both[0] & both[1]).sum() > 0.75 * (both[0] | both[1]).sum()
    assert auto.outlines is not None
    centers = auto.outlines.centers / [2.0, 0.5, 0.5]
    inside = auto.labels[tuple(centers.round().astype(int).T)]
    assert (inside == np.arange(1, len(centers) + 1)).mean() > 0.75


def test_probabilities_and_outlines_belong_to_the_labels(folder, image):
    found = find_nuclei(image, spacing=SPACING, model=folder)
    count = int(found.labels.max())
    assert np.unique(found.labels).tolist() == list(range(count + 1))
    assert found.probability.shape == (count,)
    assert (found.probability > 0.5).all()
    assert found.outlines.lengths.shape == (count, 32)
    assert np.linalg.norm(found.outlines.directions, axis=1) == pytest.approx(1, abs=1e-5)
    assert "hand" in found.method


@pytest.mark.parametrize(
    "change",
    [
        lambda image: np.clip(image * 200 + 10, 0, 255).astype(np.uint8),
        lambda image: (image / image.max()).astype(np.float64),
        lambda image: 3000 - 1000 * image,
        lambda image: np.where(np.indices(image.shape).max(axis=0) < 4, np.nan, image),
    ],
    ids=["8 bit", "0 to 1", "inverted", "NaN in a corner"],
)
def test_other_types_ranges_and_contrasts_give_the_same_nuclei(folder, image, change):
    expected = find_nuclei(image, spacing=SPACING, model=folder).labels
    found = find_nuclei(change(image), spacing=SPACING, model=folder).labels
    assert evaluate_labels(expected, found, threshold=0.5).main.f1 > 0.85


def test_a_single_nucleus_and_planes_nine_times_farther_apart_than_pixels(folder):
    away = np.linalg.norm(
        (np.indices((9, 64, 64)) - np.reshape([4, 30, 34], (3, 1, 1, 1)))
        * np.reshape([9.0, 1, 1], (3, 1, 1, 1)),
        axis=0,
    )
    stack = 100 + 900 * np.exp(-((away / 14) ** 4))
    found = find_nuclei(stack, spacing=(9.0, 1.0, 1.0), model=folder, diameter=24.0)
    assert found.labels.max() >= 1
    assert found.labels[4, 30, 34] > 0
    assert not found.labels[:, :10].any()


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_blank_stack_has_no_nuclei(folder, value):
    found = find_nuclei(np.full((12, 40, 40), value), spacing=SPACING, model=folder)
    assert not found.labels.any()
    assert found.probability.shape == (0,)


@pytest.mark.parametrize("planes", [1, 2])
def test_single_planes_fall_back_and_say_so(folder, image, planes):
    found = find_nuclei(image[10 : 10 + planes], spacing=SPACING, model=folder)
    assert found.method == "classical"
    assert "2D" in found.notes[-1]
    assert "network needs more planes" in found.notes[-1]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("no folder", "is no folder"),
        ("no config", "no config.json"),
        ("bad config", "cannot be read"),
        ("2D", "not of a 3D StarDist model"),
        ("rays", "are not known"),
        ("no weights", "has no weights"),
        ("pointer", "it is not HDF5"),
        ("cut weights", "do not fit"),
        ("other weights", "do not fit"),
        ("thresholds", "between 0 and 1"),
        ("diameter", "three sizes"),
    ],
)
def test_a_broken_model_is_one_clear_error(folder, tmp_path, image, broken, message):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    weights = copy / "weights_best.h5"
    match broken:
        case "no folder":
            copy = tmp_path / "absent"
        case "no config":
            (copy / "config.json").unlink()
        case "bad config":
            (copy / "config.json").write_text("{")
        case "2D":
            (copy / "config.json").write_text(json.dumps(config | {"n_dim": 2}))
        case "rays":
            rays = config["rays_json"] | {"name": "__import__('os').abort"}
            (copy / "config.json").write_text(json.dumps(config | {"rays_json": rays}))
        case "no weights":
            weights.unlink()
        case "pointer":
            weights.write_text("version https://git-lfs.github.com/spec/v1\n")
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:2000])
        case "other weights":
            (copy / "config.json").write_text(json.dumps(config | {"unet_n_filter_base": 8}))
        case "thresholds":
            (copy / "thresholds.json").write_text('{"prob": 1.5, "nms": 0.3}')
        case "diameter":
            (copy / "poolvox.json").write_text('{"object_diameter": [1, 2]}')
    with pytest.raises(InputError, match=message):
        find_nuclei(image, spacing=SPACING, model=copy)
    if "weights" not in message and broken not in ("cut weights", "other weights"):
        with pytest.raises(InputError, match=message):
            check_model(copy)


def test_a_model_without_thresholds_says_what_it_takes(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "thresholds.json").unlink()
    model = read_model(copy)
    assert (model.prob, model.nms) == (0.5, 0.4)
    assert "thresholds.json" in model.notes[0]


def test_an_impossible_scale_is_an_error(folder, image):
    with pytest.raises(InputError, match="check voxel_size"):
        segment_nuclei(image, spacing=SPACING, model=folder, diameter=4000.0)
