import numpy as np
import pytest
from scipy import ndimage

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.learn.contrastive import TrainSettings, augment, train_encoder
from poolvox.shared.profiles.learn.networks import embed_crops, load_network

pytest.importorskip("keras")
# Keras 3.15 turns variables of TensorFlow into arrays in a way that numpy 2 minds.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
QUICK = TrainSettings(dimensions=8, steps=4, batch=16, checkpoint=2, seed=2)


def looks(count, rng, size=16):
    """Crops of two looks, a disk or a ring, of all sizes and brightnesses."""
    which = rng.integers(0, 2, count)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    crops = np.empty((count, size, size, 1), np.float32)
    for k, ring in enumerate(which):
        d = np.hypot(y - rng.uniform(-1, 1), x - rng.uniform(-1, 1)) / rng.uniform(4, 6)
        shape = np.exp(-(((d - 0.9) / 0.2) ** 2)) if ring else 1 / (1 + np.exp((d - 1) * 9))
        crops[k, ..., 0] = rng.uniform(0.5, 2) * shape + 0.2 * rng.standard_normal((size, size))
    return crops, which


@pytest.fixture(scope="module")
def crops():
    return looks(200, np.random.default_rng(0))


def test_crops_of_one_look_come_to_lie_together(crops, tmp_path):
    images, which = crops
    settings = TrainSettings(dimensions=16, steps=40, batch=48)
    trained = train_encoder(images, tmp_path, settings)
    assert trained.learned
    assert trained.losses[-5:].mean() < 0.8 * trained.chance
    numbers = embed_crops(load_network(trained.path), images)
    assert numbers.shape == (200, 16)
    z = (numbers - numbers.mean(0)) / numbers.std(0)
    steps = ((z[100:, None] - z[None, :100]) ** 2).sum(-1)
    nearest = which[:100][np.argsort(steps, axis=1)[:, :7]].mean(axis=1) > 0.5
    assert (nearest == which[100:]).mean() > 0.85


def test_an_interrupted_training_ends_like_another(crops, tmp_path):
    images = crops[0][:40]
    whole = train_encoder(images, tmp_path / "whole", QUICK)

    def stop(step, steps):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_encoder(images, tmp_path / "parts", QUICK, progress=stop)
    parts = train_encoder(images, tmp_path / "parts", QUICK)
    np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-5)
    one, two = (embed_crops(load_network(t.path), images) for t in (whole, parts))
    np.testing.assert_allclose(one, two, atol=1e-4)
    # With other crops it begins anew, and a finished one is not trained again.
    other = train_encoder(images[:20], tmp_path / "parts", QUICK)
    assert len(other.losses) == 4
    assert other.losses[0] != parts.losses[0]


def test_a_damaged_state_is_told(crops, tmp_path):
    (tmp_path / "training.npz").write_bytes(b"PK cut short")
    with pytest.raises(InputError, match="begins anew"):
        train_encoder(crops[0][:20], tmp_path, QUICK)


@pytest.mark.parametrize("images", [np.zeros((3, 8, 8, 1)), np.full((20, 8, 8, 1), np.nan)])
def test_what_cannot_be_learned_from(images, tmp_path):
    with pytest.raises(InputError, match="needs 16 crops"):
        train_encoder(images.astype(np.float32), tmp_path, QUICK)


def test_stacks_are_encoded_as_well(tmp_path):
    stacks = np.random.default_rng(0).normal(size=(16, 4, 9, 8, 2)).astype(np.float32)
    settings = TrainSettings(dimensions=4, steps=1, batch=16)
    trained = train_encoder(stacks, tmp_path, settings)
    assert embed_crops(load_network(trained.path), stacks).shape == (16, 4)


def test_views_are_turned_but_keep_what_they_show():
    crops, _ = looks(8, np.random.default_rng(1))
    views = augment(crops, np.ones(1, np.float32), np.random.default_rng(2))
    assert views.shape == crops.shape
    assert not np.allclose(views, crops, atol=0.1)
    for crop, view in zip(crops[..., 0], views[..., 0]):
        # A turned, moved and brightened image has the same values in another order.
        fit = np.polyfit(np.sort(crop.ravel()), np.sort(view.ravel()), 1)
        rest = np.sort(view.ravel()) - np.polyval(fit, np.sort(crop.ravel()))
        assert np.abs(rest).max() < 0.3
    same = augment(crops, np.ones(1, np.float32), np.random.default_rng(2))
    np.testing.assert_array_equal(views, same)
    assert ndimage.sum(views) != 0
