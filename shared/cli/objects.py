"""Commands for labelled objects: `features` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolvox.shared.cli.console import Json, Quiet, count, say, say_json, show_path, table
from poolvox.shared.errors import InputError

if TYPE_CHECKING:
    from poolvox.shared.evaluate import Evaluation, PointEvaluation

__all__ = ["evaluate", "features"]

TABLES = (".csv", ".tsv", ".txt")


def evaluate(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Labels to be judged.")],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="True labels, or a table of true centres.")
    ],
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="IoU at which the tables tell errors.")
    ] = 0.5,
    spacing: Annotated[
        str | None, typer.Option(help="Micrometres: z,y,x or y,x; else from the file.")
    ] = None,
    radius: Annotated[
        float | None, typer.Option(min=0.0, help="For centres: how near counts, micrometres.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for tables and a picture.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Compare labels with the truth: F1, AP, panoptic quality, splits and merges.

    LABELS and TRUTH are TIFF files or OME-Zarr label groups; TRUTH may be a CSV of centres.
    """
    from poolvox.shared.evaluate import evaluate_files, evaluate_point_files

    steps = _numbers(spacing)
    if truth.suffix.lower() in TABLES:
        points = evaluate_point_files(labels, truth, spacing=steps, radius=radius)
        _tell_points(points, as_json=as_json)
        return _save({"truth": points.truth, "predicted": points.predicted}, out, as_json=as_json)
    found = evaluate_files(labels, truth, spacing=steps, threshold=threshold)
    _tell(found, as_json=as_json)
    tables = {"truth": found.truth, "predicted": found.predicted, "scores": found.table}
    tables |= {"by_depth": found.by_depth, "by_size": found.by_size}
    if out is not None:
        _draw(found, labels, truth, out)
    return _save({n: t for n, t in tables.items() if len(t)}, out, as_json=as_json)


def features(
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGE",
            help="TIFF, ND2, OME-Zarr image or plate, or a pattern such as {well}_{organoid}.tif.",
        ),
    ],
    labels: Annotated[
        str,
        typer.Argument(
            metavar="LABELS",
            help="A file, a pattern with the same fields, or the name of labels in the OME-Zarr.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", help="The table to write, .parquet or .csv.")
    ],
    groups: Annotated[
        str | None,
        typer.Option(
            help="Groups such as `shape, texture: {levels: 64}, file.py:mine`, or a YAML file "
            "with `features:`; the common ones if left."
        ),
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Channels to measure, or names for all of the file's.")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Micrometres: z,y,x or y,x; else from the file.")
    ] = None,
    compartment: Annotated[str, typer.Option(help="First part of the columns.")] = "Nuclei",
    quiet: Quiet = False,
) -> int:
    """Measure labelled objects of any tool: shape, intensity, texture and more.

    Beside the table lies a dictionary that says what each column means.
    """
    from poolvox.shared.engine import Event, show_progress
    from poolvox.shared.features.choice import read_choices
    from poolvox.shared.features.files import FileOptions, measure_files

    options = FileOptions(
        groups=read_choices(groups),
        channels=_names(channels),
        spacing=_numbers(spacing),
        compartment=compartment,
    )
    with show_progress(quiet=quiet) as listen:
        found = measure_files(
            image,
            labels,
            out,
            options=options,
            progress=lambda done, total: listen(Event("finished", done=done, total=total)),
        )
    measured = sum(not str(name).startswith("Metadata_") for name in found)
    say(f"{count(len(found), 'object')}, {count(measured, 'feature')}: {show_path(out)}")
    return 0


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(","))


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        steps = tuple(float(part) for part in text.split(","))
    except ValueError:
        steps = ()
    if len(steps) not in (2, 3) or min(steps) <= 0:
        raise InputError(f"--spacing is {text!r}: expected micrometres such as 2,0.5,0.5")
    return steps


def _tell(found: Evaluation, *, as_json: bool) -> None:
    if as_json:
        facts = {"scores": found.table.to_dict("records"), "mean_ap": found.mean_ap}
        say_json(facts | {"splits": found.splits, "merges": found.merges})
        return
    say(_shown(found.table))
    say(f"{found.splits} split, {found.merges} merged, mean AP {found.mean_ap:.3f}")


def _tell_points(found: PointEvaluation, *, as_json: bool) -> None:
    score = found.score
    facts = {"precision": score.precision, "recall": score.recall, "f1": score.f1}
    if as_json:
        say_json(facts)
    else:
        say(", ".join(f"{name} {value:.3f}" for name, value in facts.items()))


def _shown(frame: Any) -> str:
    rows = frame.astype(object).to_numpy()
    shown = [[f"{v:.3f}" if isinstance(v, float) else v for v in row] for row in rows]
    return table([str(name) for name in frame], shown)


def _draw(found: Evaluation, labels: Path, truth: Path, out: Path) -> None:
    import numpy as np

    from poolvox.shared.evaluate import draw_errors
    from poolvox.shared.evaluate.files import read_labels

    out.mkdir(parents=True, exist_ok=True)
    both = [np.asarray(read_labels(path)[0]) for path in (truth, labels)]
    (out / "errors.png").write_bytes(draw_errors(found, *both))


def _save(tables: dict[str, Any], out: Path | None, *, as_json: bool) -> int:
    if out is not None:
        from poolvox.shared.store import write_table

        for name, frame in tables.items():
            write_table(frame, out / f"{name}.parquet")
        if not as_json:
            what = "tables and picture" if (out / "errors.png").exists() else "tables"
            say(f"{what} written to {show_path(out)}")
    return 0
