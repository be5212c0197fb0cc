"""The network: a small StarDist model, made anew, read from a folder, and written to one."""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.models import ModelFolder, read_model
from poolvox.organoid3d.startup import load_tensorflow
from poolvox.organoid3d.training.batches import PERCENTILES
from poolvox.shared.engine.resources import cores
from poolvox.shared.errors import InputError

__all__ = ["OBJECT", "Sidecar", "Thresholds", "build_network", "initialise", "save_network"]

# Our own facts about a model, beside StarDist's files.
SIDECAR = "poolvox.json"
WEIGHTS = "weights_best.h5"
# Median nucleus at the training scale, voxels (z, y, x): small, since work grows with the volume.
OBJECT = (7.0, 14.0, 14.0)
RAYS = 64
FILTERS = 16
FEATURES = 64
DEPTH = 2
GRID = (1, 2, 2)
PATCH = (24, 96, 96)
# Answers before any training: objects are rare (as a logit), and rays a few voxels long.
FIRST_ANSWERS = {"prob": -2.5, "dist": 5.0}


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a model needs to know besides StarDist's configuration.

    Attributes
    ----------
    object_diameter : median nucleus at the training scale, voxels (z, y, x)
    voxel_size : of the training stacks, micrometres, where they had one in common
    percentiles : of a stack that became 0 and 1
    refine : outlines are moved to the edges in the stack afterwards, see `refine_labels`
    """

    object_diameter: tuple[float, float, float]
    voxel_size: tuple[float, float, float] | None
    percentiles: tuple[float, float]
    refine: bool = False


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Least probability of an object, and overlap from which the less probable one goes."""

    prob: float = 0.5
    nms: float = 0.3


def build_network(
    start: str, *, seed: int, threads: int = 0, mixed: bool = False
) -> tuple[Any, Sidecar]:
    """Build a StarDist model (`stardist.models.StarDist3D`) in memory.

    Parameters
    ----------
    start : `scratch`, `default`, or the folder of a model, of which the weights are taken
    seed : of the first weights
    threads : of TensorFlow; all cores if 0
    mixed : multiply in bfloat16; weights are single precision all the same
    """
    folder = None if start == "scratch" else read_model(start)
    load_tensorflow(threads=threads or cores())
    import keras
    from stardist.models import Config3D, StarDist3D

    usual = keras.config.dtype_policy()
    keras.utils.set_random_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()):  # StarDist speaks while it is built
        config = _fresh_config() if folder is None else Config3D(**dict(folder.config))
        try:
            keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
            network = StarDist3D(config, name="network", basedir=None)
        finally:
            keras.config.set_dtype_policy(usual)
        if folder is not None:
            network.keras_model.load_weights(str(folder.weights))
    return network, _sidecar(folder)


def initialise(model: Any, images: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Draw first weights such that every channel of every layer has mean 0 and spread 1.

    Keras's own choice halves the signal's variance at every rectified layer, and leaves the mean
    brightness of a patch as the loudest thing in it: the first thousand steps go into finding the
    nuclei. What is measured on a few patches is scaled away instead, doi:10.48550/arXiv.1602.07868.

    Parameters
    ----------
    model : Keras model
    images : (N, Z, Y, X, 1) array of patches such as those it will be trained on
    """
    import keras

    for layer in (layer for layer in model.layers if hasattr(layer, "kernel")):
        shape = tuple(layer.kernel.shape)
        kernel = rng.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[:-1]))
        layer.set_weights([kernel, np.zeros(shape[-1], np.float32)])
        rectified, layer.activation = layer.activation, keras.activations.linear
        answer = keras.Model(model.input, layer.output)(images).numpy().astype(np.float32)
        layer.activation = rectified
        mean = answer.mean(axis=(0, 1, 2, 3))
        spread = np.maximum(answer.std(axis=(0, 1, 2, 3)), 1e-6)
        if layer.name in FIRST_ANSWERS:
            bias = np.full(shape[-1], FIRST_ANSWERS[layer.name], np.float32)
            layer.set_weights([0.1 * kernel / spread, bias])
        else:
            layer.set_weights([kernel / spread, -mean / spread])


def _sidecar(folder: ModelFolder | None) -> Sidecar:
    if folder is None:
        return Sidecar(OBJECT, None, PERCENTILES)
    if folder.diameter is None:
        raise InputError(
            f"{folder.path} does not tell the size of its nuclei: write a {SIDECAR} beside its "
            'config.json, {"object_diameter": [z, y, x]} in voxels of its training stacks'
        )
    return Sidecar(folder.diameter, None, folder.percentiles, folder.refine)


def _fresh_config() -> Any:
    from stardist import Rays_GoldenSpiral
    from stardist.models import Config3D

    anisotropy = tuple(max(OBJECT) / d for d in OBJECT)
    return Config3D(
        axes="ZYX",
        rays=Rays_GoldenSpiral(RAYS, anisotropy=anisotropy),
        n_channel_in=1,
        grid=GRID,
        anisotropy=anisotropy,
        backbone="unet",
        unet_n_depth=DEPTH,
        unet_n_filter_base=FILTERS,
        net_conv_after_unet=FEATURES,
        train_patch_size=PATCH,
        train_batch_size=1,
    )


def save_network(
    network: Any,
    weights: Sequence[NDArray[np.float32]],
    folder: Path,
    *,
    sidecar: Sidecar,
    thresholds: Thresholds,
) -> None:
    """Write a folder that StarDist and we can load; an older one in its place is replaced."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    network.keras_model.set_weights(list(weights))
    with warnings.catch_warnings():
        # Keras writes HDF5 through calls that numpy means to change.
        warnings.simplefilter("ignore", DeprecationWarning)
        network.keras_model.save_weights(str(fresh / WEIGHTS))
    _write(fresh / "config.json", vars(network.config))
    _write(fresh / "thresholds.json", asdict(thresholds))
    _write(fresh / SIDECAR, asdict(sidecar))
    folder.mkdir(parents=True, exist_ok=True)
    for path in fresh.iterdir():
        path.replace(folder / path.name)
    fresh.rmdir()


def _write(path: Path, facts: Any) -> None:
    from csbdeep.utils import save_json

    save_json(facts, str(path))
