import numpy as np
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.learn.networks import capped_tensorflow, embed_crops, load_network

CROPS = np.random.default_rng(0).normal(size=(5, 8, 6, 2)).astype(np.float32)
MEANS = CROPS.mean(axis=(1, 2))


@pytest.fixture(scope="module")
def keras():
    capped_tensorflow()
    return pytest.importorskip("keras")


def onnx_file(path, shape, axes, *, kind="float"):
    onnx = pytest.importorskip("onnx")
    element = {"float": onnx.TensorProto.FLOAT, "int": onnx.TensorProto.INT64}[kind]
    node = onnx.helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    graph = onnx.helper.make_graph(
        [node],
        "means",
        [onnx.helper.make_tensor_value_info("x", element, shape)],
        [onnx.helper.make_tensor_value_info("y", element, None)],
        [onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [len(axes)], axes)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        (["n", 2, 8, 6], [2, 3]),
        (["n", 2, "h", "w"], [2, 3]),
        (["n", 8, 6, 2], [1, 2]),
        ([2, 2, 8, 6], [2, 3]),
    ],
)
def test_onnx_in_either_layout_and_with_fixed_batches(tmp_path, shape, axes):
    network = load_network(onnx_file(tmp_path / "means.onnx", shape, axes))
    np.testing.assert_allclose(embed_crops(network, CROPS, batch=3), MEANS, atol=1e-6)


def test_maps_are_pooled(tmp_path):
    # The mean over one space axis leaves a map of the other.
    network = load_network(onnx_file(tmp_path / "rows.onnx", ["n", 2, 8, 6], [3]))
    np.testing.assert_allclose(embed_crops(network, CROPS), MEANS, atol=1e-6)


def test_keras_and_saved_models(tmp_path, keras):
    inputs = keras.Input((8, 6, 2))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    model.save(tmp_path / "means.keras")
    model.export(tmp_path / "saved", verbose=False)
    for name in ("means.keras", "saved"):
        network = load_network(tmp_path / name)
        assert network.shape == (8, 6, 2)
        np.testing.assert_allclose(embed_crops(network, CROPS, batch=2), MEANS, atol=1e-6)
        with pytest.raises(InputError, match="takes 8 x 6 x 2, the crops are 9 x 6 x 2"):
            embed_crops(network, np.zeros((1, 9, 6, 2)))


def test_keras_files_with_code_are_refused(tmp_path, keras):
    inputs = keras.Input((8, 6, 2))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    model.save(tmp_path / "code.keras")
    with pytest.raises(InputError, match="only layers that Keras has"):
        load_network(tmp_path / "code.keras")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.keras", None, "is not there"),
        ("odd.txt", b"x", "is none of these"),
        ("odd.onnx", b"x", "cannot be loaded"),
        ("odd.keras", b"x", "cannot be loaded"),
    ],
)
def test_what_is_no_network_is_told(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        load_network(tmp_path / name)


def test_inputs_that_are_no_floats_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected one, of floats"):
        load_network(onnx_file(tmp_path / "int.onnx", ["n", 2, 8, 6], [2, 3], kind="int"))


def test_crops_of_another_number_of_channels_are_refused(tmp_path):
    network = load_network(onnx_file(tmp_path / "means.onnx", ["n", 3, 8, 6], [2, 3]))
    with pytest.raises(InputError, match="takes 3 x 8 x 6, the crops are 8 x 6 x 2"):
        embed_crops(network, CROPS)
