"""The command `train`: a network that learns from the user's own annotated stacks."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolvox.shared.cli.console import Json, Quiet, say, say_json, show_path, table
from poolvox.shared.errors import InputError

if TYPE_CHECKING:
    from poolvox.shared.engine import Event

__all__ = ["train"]

INTERRUPTED = 130
# The pipeline whose networks are trained.
PIPELINE = "organoid3d"


def train(
    stacks: Annotated[
        Path,
        typer.Argument(
            metavar="STACKS",
            help="A stack, a folder of them, or a table (CSV) with the columns stack and labels.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="[LABELS]", help="Their labels: a file, or a folder, same names."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the model; required.")
    ] = None,
    start: Annotated[
        str,
        typer.Option("--from", help="default (shipped), a model's folder, or scratch."),
    ] = "default",
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 400,
    voxel_size: Annotated[
        str | None, typer.Option(help="Micrometres z,y,x; else from the files.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Channel of the nuclei, by name or number from 0.")
    ] = None,
    simulated: Annotated[
        int, typer.Option(min=0, help="Simulated stacks to train on as well.")
    ] = 0,
    simulated_part: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Part of the patches that come from them.")
    ] = 0.5,
    rate: Annotated[
        float | None, typer.Option(help="Highest learning rate; fit to --from if left.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Of the network; 0: all cores.")] = 0,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Multiply in bfloat16; faster on newer processors.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where OUT holds another training.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Fine-tune the shipped network on a few annotated stacks, or train one from scratch.

    Some stacks are kept apart, and the model is scored on them. A training that was stopped goes
    on with the same command. Use the model with `nuclei: {model: FOLDER}`.
    """
    from poolvox.shared.cli.registry import load_pipeline

    if out is None:
        raise InputError("--output is missing: the folder that the model is to be written to")
    pipeline: Any = load_pipeline(PIPELINE)
    with _listening(quiet=quiet) as listen, _asked_to_stop() as stop:
        result = pipeline.train(
            stacks,
            labels,
            out,
            voxel_size=_triple(voxel_size),
            channel=channel,
            restart=restart,
            progress=listen,
            stop=stop,
            start=start,
            steps=steps,
            simulated=simulated,
            simulated_part=simulated_part,
            rate=rate,
            seed=seed,
            threads=threads,
            mixed=mixed,
        )
    if not result.finished:
        say(f"stopped after {result.step} of {steps} steps: the same command goes on from there")
        return INTERRUPTED
    _tell(result, out, as_json=as_json)
    return 0


def _triple(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        z = y = x = 0.0
    if not all(0 < step < float("inf") for step in (z, y, x)):
        raise InputError(f"--voxel-size is {text!r}: expected micrometres z,y,x such as 2,0.5,0.5")
    return z, y, x


@contextmanager
def _listening(*, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """Turn what a training tells into events of the progress bar."""
    from poolvox.shared.engine import Event, show_progress

    def told(progress: Any) -> Event:
        if progress.message:
            return Event("note", message=progress.message)
        loss = "" if progress.loss != progress.loss else f"loss {progress.loss:.3f}"
        return Event("finished", done=progress.step, total=progress.steps, message=loss)

    with show_progress(quiet=quiet) as listen:
        yield lambda progress: listen(told(progress))


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Note an interrupt, so that the training can keep its state; a second one ends at once."""
    asked: list[int] = []

    def note(number: int, _: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    older = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, note)
    except ValueError:  # not in the main thread: nobody can interrupt us
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in older.items():
            signal.signal(number, handler)


def _tell(result: Any, out: Path, *, as_json: bool) -> None:
    scores, mean = result.scores, float(result.scores["f1"].mean())
    if as_json:
        thresholds = {"prob": result.thresholds.prob, "nms": result.thresholds.nms}
        rows = scores.to_dict("records")
        say_json({"scores": rows, "held_out": result.held_out, "thresholds": thresholds})
        return
    shown = [
        [f"{v:.3f}" if isinstance(v, float) else v for v in row]
        for row in scores.astype(object).to_numpy()
    ]
    say(table([str(name) for name in scores], shown))
    where = (
        "stacks kept apart"
        if result.held_out
        else "the stacks it was trained on, too few to keep any apart"
    )
    say(f"mean F1 at IoU 0.5 {mean:.3f} on {where}")
    say(f"model, scores.csv and curves.png written to {show_path(out)}")
