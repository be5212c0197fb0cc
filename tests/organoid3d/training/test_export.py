import zipfile

import numpy as np
import pytest

from poolvox.organoid3d.models import read_model
from poolvox.organoid3d.network import load_network
from poolvox.organoid3d.training.export import export_network
from tests.organoid3d.networks import write_model

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

# What a network needs, all of which TensorFlow 1.15 has, Fiji's version.
OPERATIONS = {
    *("AddV2", "BiasAdd", "Cast", "ConcatV2", "Const", "Conv3D", "ExpandDims", "Identity"),
    *("MaxPool3D", "Mul", "NoOp", "Pack", "Placeholder", "Relu", "Reshape", "Shape", "Sigmoid"),
    *("Squeeze", "StridedSlice", "Tile", "Unpack", "ZerosLike"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_model(tmp_path_factory.mktemp("models") / "hand", rays=16)
    export_network(folder)
    return folder


@pytest.fixture(scope="module")
def unpacked(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("saved")
    with zipfile.ZipFile(folder / "TF_SavedModel.zip") as archive:
        archive.extractall(place)
    return place


def test_the_exported_graph_answers_as_the_network(folder, unpacked):
    import tensorflow as tf

    light = np.random.default_rng(0).random((8, 16, 24)).astype(np.float32)
    run = tf.saved_model.load(str(unpacked)).signatures["serving_default"]
    answer = run(input=tf.constant(light[None, ..., None]))["output"].numpy()[0]
    network = load_network(read_model(folder))
    prob, features = network.predict(light)
    assert answer.shape == (8, 16, 24, 17)
    assert answer[:, ::2, ::2, 0] == pytest.approx(prob, abs=1e-6)
    assert not answer[:, 1::2, :, 0].any()
    assert not answer[:, :, 1::2, 0].any()
    rays = np.maximum(answer[..., 1:], 1e-3)
    for start in (0, 1):
        assert rays[:, start::2, start::2] == pytest.approx(network.rays(features), abs=1e-4)


def test_the_exported_graph_is_one_that_fiji_can_read(unpacked):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString((unpacked / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    assert {node.op for node in graph.graph_def.node} <= OPERATIONS
    assert not graph.graph_def.library.function
    assert graph.graph_def.versions.min_consumer == 0
    ends = graph.signature_def["serving_default"]
    assert (ends.inputs["input"].name, ends.outputs["output"].name) == ("input:0", "output:0")
