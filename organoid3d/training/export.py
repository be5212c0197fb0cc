"""A network as a graph that other programs can run: TensorFlow's SavedModel, zipped.

It is meant for the CSBDeep plugin of Fiji, which holds TensorFlow 1.15, but was not tried there.
Weights are frozen into the graph, of operations of that version alone. It has one input, `input`
(1, z, y, x, 1), light from 0 to 1, and one output of the same z, y and x, `output`: channel 0 is
the probability, at the places of the network's grid, and 0 between them; the others are the rays
in voxels. Sizes must be multiples of the network's division.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from poolvox.organoid3d.startup import load_tensorflow
from poolvox.organoid3d.training.network import build_network

__all__ = ["SAVED_MODEL", "export_network"]

# As StarDist calls it.
SAVED_MODEL = "TF_SavedModel.zip"


def export_network(folder: Path) -> Path:
    """Write the network of a model's folder as `TF_SavedModel.zip` beside its weights.

    Parameters
    ----------
    folder : of a StarDist model, as `train_model` writes it
    """
    tf = load_tensorflow()
    network, _ = build_network(str(folder), seed=0)
    target = folder / SAVED_MODEL
    with tempfile.TemporaryDirectory(dir=folder) as space:
        saved = Path(space) / "model"
        _save(tf, _frozen(tf, network), saved)
        Path(shutil.make_archive(str(saved), "zip", saved)).replace(target)
    return target


def _frozen(tf: Any, network: Any) -> Any:
    """The network's graph with its weights in it."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    model, grid = network.keras_model, tuple(int(g) for g in network.config.grid)

    def run(light: Any) -> Any:
        prob, dist = model(light, training=False)[:2]
        for axis, each in enumerate(grid, 1):
            prob = _spread(tf, prob, axis, [prob] + [tf.zeros_like(prob)] * (each - 1))
            dist = _spread(tf, dist, axis, [dist] * each)
        return tf.identity(tf.concat([prob, dist], axis=-1), name="output")

    light = tf.TensorSpec((None, None, None, None, 1), tf.float32, name="input")
    function = tf.function(run).get_concrete_function(light)
    return convert_variables_to_constants_v2(
        function, lower_control_flow=False
    ).graph.as_graph_def()


def _spread(tf: Any, values: Any, axis: int, parts: list[Any]) -> Any:
    """Put `parts` one after the other at every place along an axis."""
    if len(parts) == 1:
        return values
    shape = tf.unstack(tf.shape(values))
    shape[axis] = shape[axis] * len(parts)
    shape[-1] = values.shape[-1]
    return tf.reshape(tf.stack(parts, axis=axis + 1), tf.stack(shape))


def _save(tf: Any, graph: Any, path: Path) -> None:
    """Write a frozen graph in the form of TensorFlow 1."""
    saved_model = tf.compat.v1.saved_model
    builder = saved_model.builder.SavedModelBuilder(str(path))
    with tf.Graph().as_default() as own, tf.compat.v1.Session(graph=own) as session:
        tf.graph_util.import_graph_def(graph, name="")
        ends = {name: own.get_tensor_by_name(f"{name}:0") for name in ("input", "output")}
        signature = saved_model.signature_def_utils.predict_signature_def(
            {"input": ends["input"]}, {"output": ends["output"]}
        )
        # Attributes that older versions do not know have their defaults, and are left out.
        builder.add_meta_graph_and_variables(
            session,
            [saved_model.tag_constants.SERVING],
            {saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signature},
            strip_default_attrs=True,
        )
    builder.save()
