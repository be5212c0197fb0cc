"""Commands that begin something: `demo` and `init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolvox.shared.cli import registry
from poolvox.shared.cli.console import Quiet, complain, say, show_path, table
from poolvox.shared.cli.registry import BrokenPipeline, load_pipeline
from poolvox.shared.errors import InputError

if TYPE_CHECKING:
    from poolvox.shared.engine.pipeline import Check, Pipeline

__all__ = ["demo", "init"]

DEMO_NAME = "demo.json"


def demo(
    which: Annotated[
        str, typer.Argument(metavar="[ops|organoid3d|all]", help="Which experiment.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="Where to put it.")] = Path("poolvox-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 0,
    quiet: Quiet = False,
) -> int:
    """Simulate a small experiment, run everything, and compare the result with the truth.

    Ends with 1 if the result is not as good as it must be.
    """
    names = list(registry.pipelines()) if which == "all" else [which]
    found, broken = _load(names, required=which != "all")
    notes = _open_demo(out, seed)
    codes = [1] if broken else []
    for name, pipeline in found.items():
        codes.append(_show(name, pipeline, out, notes, quiet=quiet))
    say(f"\nThe demo lies in {show_path(out)}; look at " + _reports(out, found))
    return max(codes, default=0)


def init(
    pipeline: Annotated[str, typer.Argument(metavar="ops|organoid3d")],
    raw: Annotated[Path, typer.Argument(metavar="RAW_DIR", help="The folder of raw files.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write; - shows it instead.")
    ] = None,
) -> int:
    """Look at a folder of raw files and write a commented configuration for it."""
    import os

    chosen = load_pipeline(pipeline)
    if not raw.is_dir():
        raise InputError(f"there is no folder {raw}" if not raw.exists() else f"{raw} is no folder")
    target = output or Path(f"{pipeline}.yaml")
    to_screen = str(target) == "-"
    beside = Path.cwd() if to_screen else Path(os.path.abspath(target)).parent
    if not to_screen:
        _require_free(target, beside)
    text = _relative(chosen.template(Path(os.path.abspath(raw))), raw, beside)
    if to_screen:
        say(text.rstrip("\n"))
        return 0
    target.write_text(text, encoding="utf-8")
    unclear = _unclear(text)
    if unclear:
        say(f"wrote {show_path(target)}; look at these of its lines:")
        say("\n".join(unclear))
        say(f"then: poolvox check {show_path(target)}")
    else:
        say(f"wrote {show_path(target)}; next: poolvox check {show_path(target)}")
    return 0


def _unclear(text: str) -> list[str]:
    """Lines in which a configuration says what its raw files left open, with their numbers."""
    found, inside = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line[:1].strip():
            inside = line.startswith("raw:")
        elif inside and line.lstrip().startswith("# "):
            found.append(f"  line {number}: {line.strip().removeprefix('# ')}")
    return found


def _load(names: list[str], *, required: bool) -> tuple[dict[str, Pipeline], list[str]]:
    """Import pipelines; one that cannot be imported is named and left out, unless asked for."""
    found: dict[str, Pipeline] = {}
    broken: list[str] = []
    for name in names:
        try:
            found[name] = load_pipeline(name)
        except BrokenPipeline as error:
            if required:
                raise
            complain(str(error))
            broken.append(name)
    if not found:
        raise InputError("no pipeline can be run: poolvox is not installed properly")
    return found, broken


def _open_demo(out: Path, seed: int) -> dict[str, Any]:
    """Make the folder of a demo, or go on with one; never touch anything else."""
    import json

    path = out / DEMO_NAME
    if path.exists():
        notes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if notes.get("seed") != seed:
            message = f"{out} holds a demo of seed {notes.get('seed')}, not {seed}"
            raise InputError(f"{message}: give another --out or that --seed")
        return notes
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already and is no demo: give another --out")
    out.mkdir(parents=True, exist_ok=True)
    notes = {"seed": seed, "configs": {}}
    path.write_text(json.dumps(notes), encoding="utf-8")
    return notes


def _show(name: str, pipeline: Pipeline, out: Path, notes: dict[str, Any], *, quiet: bool) -> int:
    """Run one demo: simulate, run, report, judge."""
    from poolvox.shared.cli.work import open_job, perform, report_summary
    from poolvox.shared.engine import Options

    config = _simulated(name, pipeline, out, notes, quiet=quiet)
    job = open_job(config)
    summary, whole = perform(job, Options(), quiet=quiet)
    if not quiet:
        report_summary(summary)
    if summary.stopped:
        raise KeyboardInterrupt
    checks = pipeline.judge(job.config)
    say(f"\n{name}: the result against the truth")
    say(table(["check", "got", "at least", ""], map(_row, checks), indent="  "))
    if not all(check.passed for check in checks):
        complain(f"{name}: the demo is not as good as it must be")
    return int(bool(summary.exit_code) or not whole or not all(c.passed for c in checks))


def _simulated(
    name: str, pipeline: Pipeline, out: Path, notes: dict[str, Any], *, quiet: bool
) -> Path:
    """Simulate, unless an earlier demo did."""
    import json

    if name not in notes["configs"]:
        if not quiet:
            say(f"{name}: simulating raw files in {show_path(out / name)}")
        config = pipeline.simulate(out / name, seed=notes["seed"])
        notes["configs"][name] = str(config.absolute().relative_to(out.absolute()))
        (out / DEMO_NAME).write_text(json.dumps(notes), encoding="utf-8")
    return Path(out, notes["configs"][name])


def _row(check: Check) -> tuple[str, ...]:
    word = "passed" if check.passed else "FAILED"
    return check.name, f"{check.got:.4g}", f"{check.least:.4g}", word


def _reports(out: Path, names: dict[str, Pipeline]) -> str:
    found = sorted(path for name in names for path in (out / name).rglob("report.html"))
    return " and ".join(show_path(path) for path in found)


def _require_free(target: Path, beside: Path) -> None:
    if target.exists():
        raise InputError(f"{target} is there already: remove it or give another name with -o")
    if not beside.is_dir():
        raise InputError(f"there is no folder {beside} to write {target.name} into")


def _relative(text: str, raw: Path, beside: Path) -> str:
    """Write the raw folder as seen from the configuration, so that both can move together."""
    import os

    full = os.path.abspath(raw)
    near = os.path.relpath(full, beside)
    if near.startswith(os.path.join("..", "..")):
        return text
    text = text.replace(full, near)
    # What lies beside the raw folder, as the library may.
    above = os.path.relpath(os.path.dirname(full), beside)
    start = "" if above == os.curdir else f"{above}/"
    return text.replace(f'"{os.path.dirname(full).rstrip(os.sep)}{os.sep}', f'"{start}')
