"""A training from files to a model's folder: begun, resumed, judged."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poolvox.organoid3d.outlines import refine_labels
from poolvox.organoid3d.training.batches import Batch, Targets, make_batch
from poolvox.organoid3d.training.curves import CurvePoint, Curves
from poolvox.organoid3d.training.loop import (
    Schedule,
    Trainer,
    follow,
    load_state,
    save_state,
)
from poolvox.organoid3d.training.network import (
    Thresholds,
    build_network,
    initialise,
    save_network,
)
from poolvox.organoid3d.training.plan import (
    TrainOptions,
    check_same,
    describe_plan,
    hold_out,
    read_plan,
    write_plan,
)
from poolvox.organoid3d.training.pool import Pool, to_training_scale
from poolvox.organoid3d.training.sources import AnnotatedStack, Source, read_source
from poolvox.organoid3d.training.thresholds import (
    LOWEST,
    Segmented,
    choose_thresholds,
    mean_f1,
    score_stacks,
)
from poolvox.shared.engine.lock import hold
from poolvox.shared.errors import InputError

__all__ = ["Progress", "Trained", "train_model"]

# Points of the curves in a whole training, the fewest steps between them, and seconds between
# states that are kept.
POINTS = 100
LEAST_BETWEEN = 5
STATE_SECONDS = 120.0
# Patches of stacks kept apart by which the curve is judged; their seeds begin far from the steps'.
JUDGED_PATCHES = 4
JUDGED_STREAM = 1_000_000_009
# Patches by which first weights are scaled.
FIRST_PATCHES = 6
FIRST_STREAM = 1_000_000_011
WORK = "training"

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is.

    Attributes
    ----------
    step, steps : done and in all
    message : what is going on; empty for a mere step
    loss : of the last point of the curve; NaN before the first
    """

    step: int
    steps: int
    message: str = ""
    loss: float = float("nan")


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    folder : the model
    finished : all steps are done; else it was stopped, and the same call goes on
    step : steps done
    scores : one row per judged stack, see `score_stacks`; empty if not finished
    held_out : the judged stacks were not trained on
    thresholds : chosen on the judged stacks
    """

    folder: Path
    finished: bool
    step: int
    scores: pd.DataFrame
    held_out: bool
    thresholds: Thresholds


Listener = Callable[[Progress], None]


def train_model(
    sources: Sequence[Source],
    out: Path,
    *,
    options: TrainOptions | None = None,
    restart: bool = False,
    progress: Listener | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train a network on annotated stacks, or go on with a training that was stopped.

    Parameters
    ----------
    sources : stacks and labels, see `find_sources`; some are kept apart for judging
    out : folder of the model: StarDist's files, `poolvox.json`, `scores.csv`, `curves.csv` and
        `curves.png`, and in `training` what a resumed run needs
    restart : begin anew where `out` holds another training
    progress : told what happens
    stop : asked after every step; if it says so, the state is kept and the training ends early

    Examples
    --------
    >>> sources = find_sources(Path("stacks"), Path("labels"))            # doctest: +SKIP
    >>> train_model(sources, Path("my_model")).scores["f1"].mean()        # doctest: +SKIP
    """
    chosen = options or TrainOptions()
    if not sources:
        raise InputError("there is nothing to train on: give at least one annotated stack")
    tell = progress or (lambda _: None)
    train, test = hold_out(sources, chosen.seed)
    if not train and not chosen.simulated:
        raise InputError("every stack is kept for judging: mark some of them with use: train")
    work = out / WORK
    with hold(work):
        _agree(describe_plan(chosen, train, test), work, out, restart=restart)
        session = _Session(chosen, train, test, out, tell)
        finished = session.run(stop or (lambda: False))
        if not finished:
            nothing = pd.DataFrame()
            return Trained(out, False, session.step, nothing, bool(test), Thresholds())
        return session.finish()


def _agree(plan: dict[str, Any], work: Path, out: Path, *, restart: bool) -> None:
    """See to it that what lies in the folder belongs to this training."""
    older = read_plan(work / "plan.json")
    if older is not None and not restart:
        check_same(plan, older, out)
    elif older is not None:
        for name in ("examples", "judged"):
            shutil.rmtree(work / name, ignore_errors=True)
        for name in ("state.npz", "plan.json"):
            (work / name).unlink(missing_ok=True)
    write_plan(plan, work / "plan.json")


class _Session:
    """A training with its network in memory."""

    def __init__(
        self,
        options: TrainOptions,
        train: Sequence[Source],
        test: Sequence[Source],
        out: Path,
        tell: Listener,
    ) -> None:
        self._options, self._train, self._test = options, train, test
        self._out, self._tell = out, tell
        self._tried = float("nan")
        self._state = out / WORK / "state.npz"
        state = load_state(self._state) if self._state.exists() else None
        self._tell(Progress(state.step if state else 0, options.steps, "reading the stacks"))
        self._network, self._sidecar = build_network(
            options.start, seed=options.seed, threads=options.threads, mixed=options.mixed
        )
        target = self._sidecar.object_diameter
        self._target: Triple = target
        self._pool = self._fill(train, out / WORK / "examples", options.simulated)
        self._judged = self._judged_batches()
        if state is None and options.start == "scratch":
            self._begin()
        self._trainer = Trainer(self._network.keras_model, state)
        self._curves = Curves(out / "curves.csv", last=self._trainer.step)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._trainer.step

    def run(self, stop: Callable[[], bool]) -> bool:
        """Train until the last step; False if stopped before."""
        options = self._options
        schedule = Schedule(options.steps, options.peak)
        every = max(LEAST_BETWEEN, options.steps // POINTS)
        losses: list[tuple[float, float, float]] = []
        saved = time.monotonic()
        point = float("nan")
        for step, loss in follow(self._trainer, schedule, self._batch):
            losses.append(loss)
            if step % every == 0 or step == options.steps:
                point = self._mark(step, losses, schedule.rate(step - 1))
                losses = []
            self._tell(Progress(step, options.steps, loss=point))
            stopping = stop()
            if stopping or time.monotonic() - saved > STATE_SECONDS:
                save_state(self._trainer.state(), self._state)
                saved = time.monotonic()
            if stopping:
                break
        save_state(self._trainer.state(), self._state)
        return self._trainer.step >= options.steps

    def finish(self) -> Trained:
        """Write the model, choose its thresholds, score it."""
        judged = self._test or self._train
        unique = list({source.stack: source for source in judged}.values())
        self._tell(Progress(self.step, self._options.steps, "choosing thresholds"))
        stacks = [read_source(source) for source in unique]
        self._sidecar = replace(self._sidecar, refine=False)
        chosen, _ = choose_thresholds(stacks, self._segment)
        labels = [self._segment(stack, chosen.nms).above(chosen.prob) for stack in stacks]
        refined = [refine_labels(q, s.image, spacing=s.spacing) for q, s in zip(labels, stacks)]
        if mean_f1(stacks, refined) > mean_f1(stacks, labels):
            self._sidecar, labels = replace(self._sidecar, refine=True), refined
        shutil.rmtree(self._trial)
        self._save(chosen, self._out)
        scores = score_stacks([source.name for source in unique], stacks, labels)
        scores.to_csv(self._out / "scores.csv", index=False)
        self._curves.draw(self._out / "curves.png")
        return Trained(self._out, True, self.step, scores, bool(self._test), chosen)

    def _fill(self, sources: Sequence[Source], folder: Path, simulated: int) -> Pool:
        options = self._options
        part = options.simulated_part if simulated else 0.0
        pool = Pool(folder, len(sources), simulated, part, self._target, options.seed)
        for number, source in enumerate(sources):
            if not pool.has(number):
                stack = read_source(source)
                scaled = to_training_scale(
                    stack.image, stack.labels, stack.spacing, target=self._target
                )
                pool.put(number, *scaled)
        return pool

    def _targets(self) -> Targets:
        from stardist.rays3d import rays_from_json

        config = self._network.config
        z, y, x = (int(g) for g in config.grid)
        flat = config.anisotropy or (1, 1, 1)
        anisotropy: Triple = (float(flat[0]), float(flat[1]), float(flat[2]))
        return Targets(rays_from_json(config.rays_json), (z, y, x), anisotropy)

    def _patch(self) -> tuple[int, int, int]:
        z, y, x = (int(n) for n in self._network.config.train_patch_size)
        return z, y, x

    def _batch(self, step: int) -> Batch:
        rng = np.random.default_rng([self._options.seed, step])
        examples = self._pool.draw(self._options.patches, rng)
        return make_batch(examples, self._targets(), patch=self._patch(), rng=rng)

    def _begin(self) -> None:
        """Give the network first weights that suit the examples."""
        rng = np.random.default_rng([self._options.seed, FIRST_STREAM])
        examples = self._pool.draw(FIRST_PATCHES, rng)
        batch = make_batch(examples, self._targets(), patch=self._patch(), rng=rng)
        initialise(self._network.keras_model, batch.image, rng)

    def _judged_batches(self) -> list[Batch]:
        """Fixed patches of the stacks kept apart, to follow the training by."""
        if not self._test:
            return []
        pool = self._fill(self._test, self._out / WORK / "judged", 0)
        seeds = [self._options.seed, JUDGED_STREAM]
        draws = [np.random.default_rng([*seeds, n]) for n in range(JUDGED_PATCHES)]
        return [
            make_batch(pool.draw(1, rng), self._targets(), patch=self._patch(), rng=rng)
            for rng in draws
        ]

    def _mark(self, step: int, losses: list[tuple[float, float, float]], rate: float) -> float:
        """Add a point to the curves; returns its loss."""
        held = [self._trainer.judge(batch) for batch in self._judged]
        total, found, missed = (float(np.mean(part)) for part in zip(*losses))
        judged = float(np.mean(held)) if held else float("nan")
        self._curves.add(CurvePoint(step, total, found, missed, judged, rate))
        return total

    @property
    def _trial(self) -> Path:
        """The model while its thresholds are not chosen."""
        return self._out / WORK / "trial"

    def _save(self, thresholds: Thresholds, folder: Path) -> None:
        weights = self._trainer.state().averaged
        save_network(self._network, weights, folder, sidecar=self._sidecar, thresholds=thresholds)

    def _segment(self, stack: AnnotatedStack, overlap: float) -> Segmented:
        """Segment as users will, with everything above the lowest probability."""
        from poolvox.organoid3d.nuclei import find_nuclei

        if overlap != self._tried:  # a model that is written anew has to be loaded anew
            self._save(Thresholds(prob=LOWEST, nms=overlap), self._trial)
            self._tried = overlap
        found = find_nuclei(stack.image, spacing=stack.spacing, model=self._trial)
        probability = found.probability
        if probability is None:
            probability = np.ones(int(found.labels.max(initial=0)), np.float32)
        return Segmented(found.labels, probability)
