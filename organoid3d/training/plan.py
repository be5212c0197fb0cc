"""What a training is: its settings and data, kept beside it so that it can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poolvox.organoid3d.training.sources import Source
from poolvox.shared.errors import InputError

__all__ = ["TrainOptions", "hold_out", "read_plan", "write_plan"]

# Parts of all stacks that are kept for judging, where users do not say which.
HELD_OUT = 0.2
# Fewer stacks than this are all trained on.
LEAST_TO_HOLD_OUT = 3


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to train.

    Parameters
    ----------
    start : `default`, the shipped model; a folder of a model to go on from; or `scratch`
    steps : number of steps, of `patches` patches each
    patches : per step
    rate : highest learning rate; by default 1e-3 from scratch and 3e-4 otherwise
    simulated : number of simulated stacks to train on as well
    simulated_part : part of the patches that come from them
    seed : of everything random
    threads : of the network; all cores if 0
    mixed : multiply in bfloat16, about twice as fast on processors that have it, slower elsewhere
    """

    start: str = "default"
    steps: int = 400
    patches: int = 1
    rate: float | None = None
    simulated: int = 0
    simulated_part: float = 0.5
    seed: int = 0
    threads: int = 0
    mixed: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.steps < 1 or self.patches < 1:
            raise InputError(f"steps and patches must be 1 or more: {self.steps}, {self.patches}")
        if self.simulated < 0 or self.seed < 0 or self.threads < 0:
            raise InputError("simulated, seed and threads must not be negative")
        if not 0 <= self.simulated_part <= 1:
            raise InputError(f"simulated_part must be from 0 to 1, got {self.simulated_part}")
        if self.rate is not None and not 0 < self.rate <= 1:
            raise InputError(f"rate must be above 0 and at most 1, got {self.rate}")

    @property
    def peak(self) -> float:
        """Highest learning rate."""
        return self.rate or (1e-3 if self.start == "scratch" else 3e-4)


def hold_out(sources: Sequence[Source], seed: int) -> tuple[list[Source], list[Source]]:
    """Part stacks into those to train on and those to judge by; the latter may be none."""
    if any(source.use for source in sources):
        test = [source for source in sources if source.use == "test"]
        train = [source for source in sources if source.use != "test"]
    else:
        count = max(1, round(HELD_OUT * len(sources))) if len(sources) >= LEAST_TO_HOLD_OUT else 0
        chosen = set(np.random.default_rng(seed).permutation(len(sources))[:count].tolist())
        test = [source for n, source in enumerate(sources) if n in chosen]
        train = [source for n, source in enumerate(sources) if n not in chosen]
    return train, test


def describe_plan(
    options: TrainOptions, train: Sequence[Source], test: Sequence[Source]
) -> dict[str, Any]:
    """Everything that a result depends on, for the files of a training."""
    plan = {
        "options": asdict(options),
        "train": [_described(source) for source in train],
        "test": [_described(source) for source in test],
    }
    # As it will be when it is read again.
    described: dict[str, Any] = json.loads(json.dumps(plan))
    return described


def write_plan(plan: dict[str, Any], path: Path) -> None:
    """Write a plan."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan, indent=1), encoding="utf-8")


def read_plan(path: Path) -> dict[str, Any] | None:
    """Read a plan; None where there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path} is damaged: remove the folder {path.parent}") from error
    return found


def check_same(plan: dict[str, Any], older: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a training of other data or settings; more steps are no difference."""
    ignored = {"steps", "threads"}
    changed = [
        name
        for name, value in plan["options"].items()
        if name not in ignored and older["options"].get(name) != value
    ]
    changed += [name for name in ("train", "test") if plan[name] != older[name]]
    if changed:
        raise InputError(
            f"{folder} holds a training with other {', '.join(changed)}: give another folder, or "
            "--restart to begin anew in this one"
        )


def _described(source: Source) -> dict[str, Any]:
    return {
        "stack": source.stack.name,
        "labels": source.labels.name,
        "voxel_size": source.voxel_size,
        "channel": source.channel,
        "digest": _digest(source.stack) + _digest(source.labels),
    }


def _digest(path: Path) -> str:
    """Tell files apart by content; of the folder of an OME-Zarr, by the sizes of its files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    sizes = sorted((str(p.relative_to(path)), p.stat().st_size) for p in path.rglob("*"))
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()[:16]
