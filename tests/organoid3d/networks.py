"""StarDist models made by hand: their weights are set, so that nothing need be trained."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np

RADIUS = 5.0


def write_model(
    folder: Path,
    *,
    grid=(1, 2, 2),
    rays=32,
    filters=4,
    wild=0.15,
    backbone="unet",
    diameter=(RADIUS, 2 * RADIUS, 2 * RADIUS),
):
    """A model folder whose network takes smooth light for probability, and draws balls of 5 voxels.

    `wild` adds weights at random, so that no two polyhedra are alike.
    """
    from stardist.models import Config3D, StarDist3D
    from stardist.rays3d import Rays_GoldenSpiral

    stretch = (2.0, 1.0, 1.0)
    spiral = Rays_GoldenSpiral(rays, anisotropy=stretch)
    own = (
        {
            "unet_n_depth": 1,
            "unet_n_filter_base": filters,
            "unet_n_conv_per_depth": 1,
            "net_conv_after_unet": filters,
        }
        if backbone == "unet"
        else {"resnet_n_blocks": 2, "resnet_n_filter_base": filters, "net_conv_after_resnet": 4}
    )
    with contextlib.redirect_stdout(io.StringIO()):
        config = Config3D(
            rays=spiral, anisotropy=stretch, grid=grid, n_channel_in=1, backbone=backbone, **own
        )
        model = StarDist3D(config, name="hand", basedir=None)
    rng = np.random.default_rng(0)
    for layer in model.keras_model.layers:
        if len(layer.get_weights()) == 2:
            layer.set_weights(_smoothing(layer, rng, wild))
    balls = 1 / np.linalg.norm(spiral.vertices * np.array(stretch) / RADIUS, axis=1)
    features = model.keras_model.get_layer("dist").get_weights()[0].shape[3]
    heads = {"prob": np.zeros((1, 1, 1, features, 1)), "dist": np.zeros((1, 1, 1, features, rays))}
    heads["prob"][..., 0, 0] = 12
    heads["dist"][0, 0, 0] = wild * RADIUS * rng.normal(size=(features, rays))
    model.keras_model.get_layer("prob").set_weights([heads["prob"], np.full(1, -3.7)])
    model.keras_model.get_layer("dist").set_weights([heads["dist"], balls])
    folder.mkdir(parents=True)
    model.keras_model.save_weights(str(folder / "weights_best.h5"))
    (folder / "config.json").write_text(json.dumps(vars(config)))
    (folder / "thresholds.json").write_text(json.dumps({"prob": 0.5, "nms": 0.3}))
    if diameter is not None:
        (folder / "poolvox.json").write_text(json.dumps({"object_diameter": diameter}))
    return folder


def _smoothing(layer, rng, wild):
    """Mean over the neighbours of the first channel of each input, and something at random."""
    kernel, bias = layer.get_weights()
    size, inputs = kernel.shape[:3], kernel.shape[3]
    wanted = np.abs(rng.normal(size=kernel.shape)) * wild / kernel[..., 0].size
    first = [0] if "up_level" not in layer.name or inputs < 5 else [0, inputs // 2]
    for channel in first:
        wanted[..., channel, 0] += 1 / np.prod(size) / len(first)
    return [wanted, np.zeros_like(bias)]


def balls_image(shape, count, seed=0, radius=RADIUS, step=2.0):
    """Soft balls at random, some of which overlap; planes lie `step` voxels apart."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape, np.float32) * np.reshape([step, 1, 1], (3, 1, 1, 1)).astype(np.float32)
    image = np.zeros(shape, np.float32)
    for _ in range(count):
        centre = rng.uniform(0.1, 0.9, 3) * shape * [step, 1, 1]
        away = np.linalg.norm(grid - centre.reshape(3, 1, 1, 1), axis=0)
        image = np.maximum(image, rng.uniform(0.7, 1) * np.exp(-((away / radius) ** 4)))
    return image + rng.normal(0, 0.02, shape).astype(np.float32)
