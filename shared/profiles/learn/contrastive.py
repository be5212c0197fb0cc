"""A small encoder of crops, trained on the crops of the experiment itself, without labels.

Two views of one crop, turned, flipped, moved, brightened and made noisy, shall lie closer to each
other than to those of other crops (SimCLR, Chen et al. 2020, arXiv:2002.05709). On simulated cells
of five looks, 16 s of one core brought the accuracy of the nearest neighbours to 0.87, where
principal components of the pixels reach 0.78 and an encoder that was not trained 0.60; VICReg
reached 0.85, Barlow twins 0.87 and a masked autoencoder 0.47 in the same number of steps.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.learn.networks import capped_tensorflow

__all__ = ["TrainSettings", "Trained", "augment", "train_encoder"]

Floats32 = NDArray[np.float32]
Progress = Callable[[int, int], None]

FILTERS: Final = (16, 32, 64)
HIDDEN: Final = 128
PROJECTED: Final = 64
# How views differ: brightness of a channel (logarithm), its offset, noise (both in standard
# deviations of the channel), and pixels that they move.
GAIN: Final = 0.25
OFFSET: Final = 0.08
NOISE: Final = 0.05
MOVE: Final = 2
# Crops below which there is nothing to tell apart.
MIN_CROPS: Final = 16
# Below this share of the loss of chance something was learned.
LEARNED: Final = 0.9
STATE: Final = "training.npz"
MODEL: Final = "encoder.keras"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How an encoder is trained.

    Attributes
    ----------
    dimensions : numbers per crop
    steps, batch : of the training; two views of every crop of a batch
    rate : of learning at the start; it falls as a cosine
    temperature : how much the nearest other crops count
    checkpoint : steps after which the state is written, to go on from after an interruption
    threads : of TensorFlow; with one, equal seeds give equal encoders
    """

    dimensions: int = 64
    steps: int = 400
    batch: int = 96
    rate: float = 2e-3
    temperature: float = 0.2
    checkpoint: int = 100
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained encoder on disk.

    Attributes
    ----------
    path : a `.keras` file that takes crops as they were given, so `load_network` can use it
    losses : of every step
    chance : loss of an encoder that tells nothing apart
    """

    path: Path
    losses: NDArray[np.float64]
    chance: float

    @property
    def learned(self) -> bool:
        """Whether the encoder tells crops apart at the end."""
        return bool(self.losses[-10:].mean() < LEARNED * self.chance)


def train_encoder(
    crops: Floats32,
    folder: Path | str,
    settings: TrainSettings | None = None,
    *,
    progress: Progress | None = None,
) -> Trained:
    """Train an encoder, or go on with a training of the same crops and settings.

    What is random in a step depends on the seed and the step alone, so a training that was
    interrupted ends as one that was not.

    Parameters
    ----------
    crops : (N, Y, X, C) or (N, Z, Y, X, C)
    folder : for the encoder and the state of its training
    """
    settings = settings or TrainSettings()
    if len(crops) < MIN_CROPS or not np.isfinite(crops).all():
        raise InputError(
            f"an encoder needs {MIN_CROPS} crops or more without gaps, got {len(crops)}"
        )
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(crops, settings)
    trainer.restore(out / STATE)
    while trainer.step < settings.steps:
        trainer.advance()
        if trainer.step % settings.checkpoint == 0 or trainer.step == settings.steps:
            trainer.save(out / STATE)
        if progress is not None:
            progress(trainer.step, settings.steps)
    partial = out / f".partial.{MODEL}"
    trainer.encoder.save(partial)
    partial.replace(out / MODEL)
    return Trained(out / MODEL, np.array(trainer.losses), trainer.chance)


def augment(crops: Floats32, scale: Floats32, rng: np.random.Generator) -> Floats32:
    """Another view of every crop.

    Turned by right angles in the plane of y and x where that is square, flipped along all axes,
    moved by up to two pixels, and every channel brightened, offset and given noise.

    Parameters
    ----------
    crops : (N, [Z,] Y, X, C)
    scale : (C,) standard deviations of the channels, which offset and noise are relative to
    """
    space = crops.ndim - 2
    found = np.empty_like(crops)
    square = crops.shape[-3] == crops.shape[-2]
    turns = rng.integers(0, 4, len(crops)) if square else 2 * rng.integers(0, 2, len(crops))
    flips = rng.random((len(crops), space)) < 0.5
    moves = rng.integers(-MOVE, MOVE + 1, (len(crops), 2))
    for k, crop in enumerate(crops):
        view = np.rot90(crop, int(turns[k]), axes=(space - 2, space - 1))
        view = np.flip(view, tuple(np.flatnonzero(flips[k]).tolist()))
        found[k] = np.roll(view, tuple(moves[k]), axis=(space - 2, space - 1))
    channels = (len(crops), *(1,) * space, crops.shape[-1])
    found *= np.exp(rng.normal(0, GAIN, channels)).astype(np.float32)
    found += (rng.normal(0, OFFSET, channels) * scale).astype(np.float32)
    width = NOISE * rng.random((len(crops), *(1,) * (space + 1)), np.float32) * scale
    found += width * rng.standard_normal(found.shape, np.float32)
    return found


class _Trainer:
    """Encoder, projection and optimizer, and how far they are."""

    def __init__(self, crops: Floats32, settings: TrainSettings) -> None:
        self.tf = capped_tensorflow(settings.threads)
        import keras

        self.crops, self.settings = crops, settings
        axes = tuple(range(crops.ndim - 1))
        mean, std = crops.mean(axes), crops.std(axes)
        self.scale = np.where(std > 0, std, 1).astype(np.float32)
        self.encoder = _build_encoder(keras, crops.shape[1:], mean, self.scale, settings)
        self.projection = _build_projection(keras, settings)
        schedule = keras.optimizers.schedules.CosineDecay(settings.rate, settings.steps)
        self.optimizer = keras.optimizers.Adam(schedule)
        self.optimizer.build(self._trained)
        self.losses: list[float] = []
        self._update = self.tf.function(self._learn, reduce_retracing=True)

    @property
    def step(self) -> int:
        return len(self.losses)

    @property
    def size(self) -> int:
        return min(self.settings.batch, len(self.crops))

    @property
    def chance(self) -> float:
        return float(np.log(2 * self.size - 1))

    def advance(self) -> None:
        rng = np.random.default_rng([self.settings.seed, self.step])
        rows = rng.choice(len(self.crops), self.size, replace=False)
        views = [augment(self.crops[rows], self.scale, rng) for _ in range(2)]
        self.losses.append(float(self._update(self.tf.constant(np.concatenate(views)))))

    def save(self, path: Path) -> None:
        arrays = {f"v{k}": v.numpy() for k, v in enumerate(self._state)}
        partial = path.with_name(f".{path.name}.partial.npz")
        np.savez(partial, losses=self.losses, mark=np.array(self._mark), **arrays)
        os.replace(partial, path)

    def restore(self, path: Path) -> None:
        """Take the state of a training of the same crops and settings; others start anew."""
        if not path.is_file():
            return
        try:
            with np.load(path, allow_pickle=False) as held:
                if str(held["mark"]) != self._mark:
                    return
                for k, variable in enumerate(self._state):
                    variable.assign(held[f"v{k}"])
                self.losses = held["losses"].tolist()
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path} is damaged ({error}): remove it, and the training begins anew"
            ) from error

    @property
    def _trained(self) -> list[Any]:
        return [*self.encoder.trainable_variables, *self.projection.trainable_variables]

    @property
    def _state(self) -> list[Any]:
        return [*self._trained, *self.optimizer.variables]

    @property
    def _mark(self) -> str:
        told = json.dumps(asdict(self.settings) | {"checkpoint": 0}, sort_keys=True)
        digest = hashlib.sha256(told.encode() + str(self.crops.shape).encode())
        digest.update(np.ascontiguousarray(self.crops).tobytes())
        return digest.hexdigest()

    def _learn(self, views: Any) -> Any:
        """One step: the other view of a crop among all other views (NT-Xent)."""
        tf = self.tf
        with tf.GradientTape() as tape:
            z = self.projection(self.encoder(views, training=True), training=True)
            z = tf.math.l2_normalize(z, axis=1)
            count = 2 * self.size
            near = tf.matmul(z, z, transpose_b=True) / self.settings.temperature
            near = tf.linalg.set_diag(near, tf.fill([count], -1e9))
            partner = tf.roll(tf.range(count), self.size, axis=0)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=partner, logits=near)
            )
        variables = self._trained
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss


def _build_encoder(
    keras: Any,
    shape: Sequence[int],
    mean: NDArray[np.floating],
    scale: NDArray[np.floating],
    settings: TrainSettings,
) -> Any:
    """Three convolutions, the mean and the largest answer of each filter, one dense layer."""
    layers = keras.layers
    flat = len(shape) == 3
    convolve = layers.Conv2D if flat else layers.Conv3D
    pool = layers.MaxPooling2D if flat else layers.MaxPooling3D
    mean_pool = layers.GlobalAveragePooling2D if flat else layers.GlobalAveragePooling3D
    max_pool = layers.GlobalMaxPooling2D if flat else layers.GlobalMaxPooling3D
    inputs = keras.Input(tuple(shape))
    x = layers.Normalization(mean=mean, variance=scale**2)(inputs)
    for k, filters in enumerate(FILTERS):
        x = convolve(filters, 3, padding="same", kernel_initializer=_start(keras, settings, k))(x)
        if k:
            x = layers.LayerNormalization(axis=-1)(x)
        x = layers.ReLU()(x)
        if k < len(FILTERS) - 1:
            x = pool(2, padding="same")(x)
    x = layers.Concatenate()([mean_pool()(x), max_pool()(x)])
    outputs = layers.Dense(
        settings.dimensions, kernel_initializer=_start(keras, settings, len(FILTERS))
    )(x)
    return keras.Model(inputs, outputs)


def _build_projection(keras: Any, settings: TrainSettings) -> Any:
    """What the loss looks at; left away afterwards."""
    inputs = keras.Input((settings.dimensions,))
    x = keras.layers.ReLU()(inputs)
    x = keras.layers.Dense(HIDDEN, "relu", kernel_initializer=_start(keras, settings, 20))(x)
    x = keras.layers.Dense(PROJECTED, kernel_initializer=_start(keras, settings, 21))(x)
    return keras.Model(inputs, x)


def _start(keras: Any, settings: TrainSettings, layer: int) -> Any:
    return keras.initializers.HeNormal(seed=100 * settings.seed + layer)
