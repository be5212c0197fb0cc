"""Networks from files: crops in, numbers out. Keras (`.keras`, SavedModel) and ONNX.

Nothing is downloaded, and no code out of a file is run: Keras files with functions of their own
are refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError

__all__ = ["Network", "capped_tensorflow", "embed_crops", "load_network"]

Layout = Literal["first", "last"]
Shape = tuple[int | None, ...]

# Crops that go through a network at once.
BATCH: Final = 64


@dataclass(frozen=True)
class Network:
    """A network that takes crops of one shape.

    Attributes
    ----------
    name : of the file, for messages
    shape : what it takes without the batch; None where any size will do
    layout : where the channels are, if the shape does not tell
    call : one array in its own layout in, one array out
    """

    name: str
    shape: Shape
    layout: Layout
    call: Callable[[NDArray[np.float32]], NDArray[Any]]

    def fit(self, shape: Sequence[int]) -> Layout:
        """Where the channels of crops of this shape, (…, Y, X, C), have to go; or refuse them."""
        last, first = tuple(shape), (shape[-1], *shape[:-1])
        orders: tuple[tuple[Layout, tuple[int, ...]], ...] = (("last", last), ("first", first))
        own = [pair for pair in orders if pair[0] == self.layout]
        for layout, given in [*own, *(pair for pair in orders if pair not in own)]:
            same = len(given) == len(self.shape)
            if same and all(a is None or a == b for a, b in zip(self.shape, given)):
                return layout
        wanted = " x ".join("any" if n is None else str(n) for n in self.shape)
        given_text = " x ".join(map(str, last))
        raise InputError(
            f"network {self.name} takes {wanted}, the crops are {given_text} (channels last): set "
            "`pixels` and `channels` to what it takes, or give a network for these crops"
        )


def load_network(path: Path | str, *, threads: int = 1) -> Network:
    """Load a network: a `.keras` or `.onnx` file, or the folder of a TensorFlow SavedModel."""
    source = Path(path)
    if source.suffix == ".onnx" and source.is_file():
        return _load_onnx(source, threads)
    if source.suffix == ".keras" and source.is_file():
        return _load_keras(source, threads)
    if (source / "saved_model.pb").is_file():
        return _load_saved_model(source, threads)
    there = "is not there" if not source.exists() else "is none of these"
    raise InputError(
        f"network {source} {there}: give a .keras file, an .onnx file, or the folder of a "
        "SavedModel"
    )


def embed_crops(
    network: Network, crops: NDArray[np.floating], *, batch: int = BATCH
) -> NDArray[np.float32]:
    """Numbers of every crop.

    Parameters
    ----------
    crops : (N, Y, X, C) or (N, Z, Y, X, C)

    Returns
    -------
    (N, D) array. Where a network gives a map for each crop, its mean over the space axes is taken
    """
    layout = network.fit(crops.shape[1:])
    parts = []
    for start in range(0, len(crops), batch):
        some = np.asarray(crops[start : start + batch], np.float32)
        if layout == "first":
            some = np.moveaxis(some, -1, 1)
        found = np.asarray(network.call(np.ascontiguousarray(some)))
        parts.append(_pooled(found, layout, len(some), network.name))
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def capped_tensorflow(threads: int = 1) -> Any:
    """Import TensorFlow, with so many threads unless it has begun to compute."""
    import tensorflow as tf

    # Too late is harmless: whoever began has set its own number.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    return tf


def _pooled(found: NDArray[Any], layout: Layout, count: int, name: str) -> NDArray[np.float32]:
    if found.ndim < 2 or len(found) != count:
        raise InputError(
            f"network {name} gave an array of {found.shape} for {count} crops: expected one row of "
            "numbers for each"
        )
    if found.ndim > 2:
        space = range(2, found.ndim) if layout == "first" else range(1, found.ndim - 1)
        found = found.mean(axis=tuple(space))
    return found.astype(np.float32)


def _load_keras(path: Path, threads: int) -> Network:
    tf = capped_tensorflow(threads)
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise InputError(
            f"network {path} cannot be loaded: {first}. It must be saved by Keras 3 and use only "
            "layers that Keras has"
        ) from error
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"network {path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs: "
            "expected one of each"
        )
    shape = tuple(model.inputs[0].shape)[1:]
    graph = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    return Network(path.name, shape, "last", lambda x: graph(tf.constant(x)).numpy())


def _load_saved_model(path: Path, threads: int) -> Network:
    tf = capped_tensorflow(threads)
    try:
        model = tf.saved_model.load(str(path))
        signature = model.signatures["serving_default"]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"network {path} cannot be loaded: {error}. A SavedModel needs the signature "
            "serving_default"
        ) from error
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1 or len(signature.structured_outputs) != 1:
        raise InputError(
            f"network {path} has {len(inputs)} inputs and {len(signature.structured_outputs)} "
            "outputs: expected one of each"
        )
    ((key, spec),) = inputs.items()

    # The closure keeps the model: its variables go with it.
    def call(x: NDArray[np.float32], owner: Any = model) -> NDArray[Any]:
        (found,) = owner.signatures["serving_default"](**{key: tf.constant(x)}).values()
        return np.asarray(found)

    return Network(path.name, tuple(spec.shape)[1:], "last", call)


def _load_onnx(path: Path, threads: int) -> Network:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise InputError(
            f"network {path} needs the package onnxruntime: pip install 'poolvox[onnx]'"
        ) from error
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise InputError(f"network {path} cannot be loaded: {first}") from error
    inputs = session.get_inputs()
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": float}
    if len(inputs) != 1 or inputs[0].type not in kinds:
        told = ", ".join(f"{one.name}: {one.type}" for one in inputs)
        raise InputError(f"network {path} has the inputs {told}: expected one, of floats")
    name, kind = inputs[0].name, kinds[inputs[0].type]
    output = session.get_outputs()[0].name
    fixed = inputs[0].shape[0]
    # Sizes that a file leaves open are names.
    shape = tuple(n if isinstance(n, int) else None for n in inputs[0].shape[1:])

    def call(x: NDArray[np.float32]) -> NDArray[Any]:
        given = x.astype(kind)
        if not isinstance(fixed, int):
            return np.asarray(session.run([output], {name: given})[0])
        short = -len(given) % fixed
        filled = np.concatenate([given, np.repeat(given[-1:], short, axis=0)])
        parts = [
            session.run([output], {name: filled[k : k + fixed]})[0]
            for k in range(0, len(filled), fixed)
        ]
        return np.concatenate(parts)[: len(given)]

    return Network(path.name, shape, "first", call)
