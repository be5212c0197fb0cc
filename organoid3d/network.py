"""A StarDist network at work: probabilities of a window, and rays where they are wanted.

Only the layers up to the features are computed everywhere; the rays, by far the largest output,
are computed for the candidates alone. TensorFlow is loaded when the first network is.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.models import ModelFolder, read_model
from poolvox.organoid3d.rays import Geometry, make_geometry
from poolvox.organoid3d.startup import load_tensorflow
from poolvox.shared.engine.resources import cores
from poolvox.shared.errors import InputError

__all__ = ["Network", "load_network", "read_geometry"]

F32 = NDArray[np.float32]

# StarDist's own lower bound of the rays, voxels: shorter ones break its hulls.
SHORTEST = 1e-3
# Networks that are kept ready.
KEPT = 2

_LOADING = threading.Lock()


class Network:
    """A network that is ready; may be used by several threads."""

    def __init__(self, folder: ModelFolder) -> None:
        """Build it and load its weights."""
        with _LOADING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._compute, self._kernel, self._bias, rays = _build(folder)
        self.folder = folder
        self.geometry: Geometry = make_geometry(rays.vertices, rays.faces)

    def predict(self, window: F32) -> tuple[F32, F32]:
        """Compute probabilities and features.

        Parameters
        ----------
        window : (Z, Y, X) array, sizes multiples of the network's division

        Returns
        -------
        (z, y, x) probabilities and (z, y, x, features), on the network's grid
        """
        prob, features = self._compute(window[None, ..., None])
        return prob.numpy()[0, ..., 0], features.numpy()[0]

    def rays(self, features: F32) -> F32:
        """Lengths of the rays, in voxels, (N, R), from the features of N places."""
        dist: F32 = np.maximum(features @ self._kernel + self._bias, np.float32(SHORTEST))
        return dist


def read_geometry(folder: ModelFolder) -> Geometry:
    """The rays of a folder's network; TensorFlow is not needed for them."""
    from stardist.rays3d import rays_from_json

    rays = rays_from_json(dict(folder.config["rays_json"]))
    return make_geometry(rays.vertices, rays.faces)


def load_network(folder: ModelFolder) -> Network:
    """The network of a folder; the last few are kept."""
    return _load(str(folder.path), folder.digest())


@lru_cache(maxsize=KEPT)
def _load(path: str, digest: str) -> Network:
    del digest  # it is there so that changed files are loaded anew
    return Network(read_model(path))


def _build(folder: ModelFolder) -> tuple[Callable[..., Any], F32, F32, Any]:
    """The function up to the features, the last layer of the rays, and the rays themselves."""
    capped = "TF_NUM_INTRAOP_THREADS" in os.environ
    tf = load_tensorflow(threads=0 if capped else cores())
    from stardist.models import Config3D, StarDist3D
    from stardist.rays3d import rays_from_json

    try:
        # StarDist speaks to the terminal while it is built.
        with contextlib.redirect_stdout(io.StringIO()):
            model = StarDist3D(Config3D(**dict(folder.config)), name="network", basedir=None)
            keras_model = model.keras_model
            keras_model.load_weights(str(folder.weights))
    except Exception as error:
        raise InputError(
            f"the weights {folder.weights} do not fit {folder.path / 'config.json'}, or one of "
            f"them is broken ({type(error).__name__}: {str(error).splitlines()[0][:200]})"
        ) from error
    prob, last = keras_model.get_layer("prob"), keras_model.get_layer("dist")
    trunk = tf.keras.Model(keras_model.inputs, [prob.output, last.input])
    compute = tf.function(
        lambda window: trunk(window, training=False),
        input_signature=[tf.TensorSpec((1, None, None, None, 1), tf.float32)],
    )
    kernel, bias = last.get_weights()
    return compute, kernel[0, 0, 0], bias, rays_from_json(model.config.rays_json)
