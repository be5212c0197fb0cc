"""Steps of training: loss, learning rate, averaged weights, and a state that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.training.batches import Batch

__all__ = ["Schedule", "State", "Trainer", "follow", "load_state", "save_state"]

Weights = list[NDArray[np.float32]]

# Distances count this much beside the probability, and background distances hardly at all.
DISTANCE_WEIGHT = 0.2
BACKGROUND_WEIGHT = 1e-4
# Longest memory of the averaged weights; early on they follow faster.
AVERAGE = 0.998
# Larger gradients are shortened to this norm.
CLIP = 5.0
TINY = 1e-7


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate over the steps: a short rise, then half a cosine down to a small rest.

    Parameters
    ----------
    steps : of the whole training
    peak : highest rate
    rise : steps of the rise
    rest : part of the peak that is left at the end
    """

    steps: int
    peak: float = 1e-3
    rise: int = 100
    rest: float = 0.02

    def rate(self, step: int) -> float:
        """Rate at a step, counted from 0."""
        rise = min(self.rise, max(1, self.steps // 10))
        if step < rise:
            return self.peak * (step + 1) / rise
        part = min(1.0, (step - rise) / max(1, self.steps - rise))
        return self.peak * (self.rest + (1 - self.rest) * (1 + float(np.cos(np.pi * part))) / 2)


@dataclass(frozen=True, slots=True)
class State:
    """Everything a training needs to go on.

    Attributes
    ----------
    step : steps done
    weights, averaged : of the network
    moments : of Adam, the first ones and then the second ones
    """

    step: int
    weights: Weights
    averaged: Weights
    moments: Weights


class Trainer:
    """A network in training.

    Parameters
    ----------
    model : Keras model with the answers probability and distances, all of whose weights learn
    state : to go on from; by default the weights that the model has
    """

    def __init__(self, model: Any, state: State | None = None) -> None:
        """Take over a model; TensorFlow is loaded by whoever built it."""
        import tensorflow as tf

        self._tf = tf
        self._model = model
        self._weights = list(model.trainable_variables)
        start = [w.numpy() for w in self._weights]
        zeros = [np.zeros_like(w) for w in start]
        state = state or State(0, start, start, [*zeros, *zeros])
        for variable, value in zip(self._weights, state.weights):
            variable.assign(value)
        self.step = state.step
        self._averaged = [tf.Variable(w) for w in state.averaged]
        half = len(state.moments) // 2
        self._first = [tf.Variable(m) for m in state.moments[:half]]
        self._second = [tf.Variable(m) for m in state.moments[half:]]
        self._run = tf.function(self._update)

    def advance(self, batch: Batch, rate: float) -> tuple[float, float, float]:
        """Take one step; returns the loss and its parts for probability and distances."""
        tf = self._tf
        done = self.step + 1
        average = min(AVERAGE, done / (done + 10))
        scalars = [tf.constant(v, tf.float32) for v in (rate, done, average)]
        arrays = (batch.image, batch.probability, batch.distances, batch.known)
        losses = self._run(*(tf.constant(a) for a in arrays), *scalars)
        self.step = done
        total, found, far = (float(loss) for loss in losses)
        return total, found, far

    def judge(self, batch: Batch) -> float:
        """Loss of the averaged weights on a batch, without learning from it."""
        kept = [w.numpy() for w in self._weights]
        for variable, value in zip(self._weights, self._averaged):
            variable.assign(value)
        arrays = (batch.image, batch.probability, batch.distances, batch.known)
        loss = float(self._losses(*(self._tf.constant(a) for a in arrays))[0])
        for variable, value in zip(self._weights, kept):
            variable.assign(value)
        return loss

    def state(self) -> State:
        """Copy everything out."""
        weights, averaged = ([v.numpy() for v in vs] for vs in (self._weights, self._averaged))
        moments = [v.numpy() for v in [*self._first, *self._second]]
        return State(self.step, weights, averaged, moments)

    def _losses(self, image: Any, truth: Any, distances: Any, known: Any) -> tuple[Any, Any, Any]:
        tf = self._tf
        guess, far = self._model(image, training=True)
        guess = tf.clip_by_value(tf.cast(guess, tf.float32), TINY, 1 - TINY)
        entropy = -(truth * tf.math.log(guess) + (1 - truth) * tf.math.log(1 - guess))
        found = tf.reduce_sum(known * entropy) / (tf.reduce_sum(known) + 1)
        weight = truth * known
        off = tf.reduce_mean(tf.abs(tf.cast(far, tf.float32) - distances), axis=-1, keepdims=True)
        missed = tf.reduce_sum(weight * off) / (tf.reduce_sum(weight) + 1)
        size = tf.reduce_mean(tf.abs(tf.cast(far, tf.float32)), axis=-1, keepdims=True)
        missed += BACKGROUND_WEIGHT * tf.reduce_mean((1 - truth) * size)
        return found + DISTANCE_WEIGHT * missed, found, missed

    def _update(
        self, image: Any, truth: Any, distances: Any, known: Any, rate: Any, step: Any, average: Any
    ) -> tuple[Any, Any, Any]:
        tf = self._tf
        with tf.GradientTape() as tape:
            losses = self._losses(image, truth, distances, known)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(losses[0], self._weights), CLIP)
        scale = rate * tf.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        parts = zip(self._weights, gradients, self._first, self._second, self._averaged)
        for weight, gradient, first, second, averaged in parts:
            first.assign(0.9 * first + 0.1 * gradient)
            second.assign(0.999 * second + 0.001 * tf.square(gradient))
            weight.assign_sub(scale * first / (tf.sqrt(second) + TINY))
            averaged.assign(average * averaged + (1 - average) * weight)
        return losses


def save_state(state: State, path: Path) -> None:
    """Write a state; a stop in between leaves the older one."""
    groups = {"w": state.weights, "a": state.averaged, "m": state.moments}
    arrays: dict[str, Any] = {
        f"{key}{n:03d}": a for key, group in groups.items() for n, a in enumerate(group)
    }
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        np.savez(file, **arrays, step=np.int64(state.step))
    fresh.replace(path)


def load_state(path: Path) -> State:
    """Read a state."""
    with np.load(path) as file:
        names = sorted(file.files)
        groups = [[file[n] for n in names if n[0] == key and n != "step"] for key in "wam"]
        return State(int(file["step"]), *groups)


def follow(
    trainer: Trainer, schedule: Schedule, batch_of: Callable[[int], Batch]
) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """Train to the end of the schedule; the next batch is made while a step runs."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(batch_of, trainer.step)
        while trainer.step < schedule.steps:
            batch = coming.result()
            if trainer.step + 1 < schedule.steps:
                coming = ahead.submit(batch_of, trainer.step + 1)
            losses = trainer.advance(batch, schedule.rate(trainer.step))
            yield trainer.step, losses
