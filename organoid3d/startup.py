"""TensorFlow, loaded without the notes that it writes for its own developers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["load_tensorflow"]

STANDARD_ERROR = 2


def load_tensorflow(*, threads: int = 0) -> Any:
    """Import TensorFlow, which takes seconds, and cap its threads if it has not yet begun.

    Parameters
    ----------
    threads : within an operation; as TensorFlow pleases if 0
    """
    loaded = "tensorflow" in sys.modules
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.nullcontext() if loaded else _silent():
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # it has begun to compute: too late, and harmless
            if threads:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
            for device in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(device, True)
        # Its advice on tracing is for those who write networks, not for those who use them.
        tf.get_logger().setLevel("ERROR")
        if not loaded:
            tf.constant(0)  # the search for devices is told of as well
    return tf


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Drop what is written to the standard error of the process, not of Python.

    The notes come from before TensorFlow reads how much it may tell, so no setting stops them.
    """
    sys.stderr.flush()
    kept = os.dup(STANDARD_ERROR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STANDARD_ERROR)
        yield
    finally:
        os.dup2(kept, STANDARD_ERROR)
        os.close(nowhere)
        os.close(kept)
