"""The command `profile`: from object tables to profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolvox.shared.cli.console import Json, Quiet, count, say, say_json, show_path, table

if TYPE_CHECKING:
    from poolvox.shared.engine import Event
    from poolvox.shared.profiles.config import ProfilesConfig
    from poolvox.shared.profiles.recipe import Profiles

__all__ = ["profile"]

# Progress is counted in steps of this size.
_STEPS = 100
# In the summary, at most so many hits.
_HITS = 5


def profile(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="OBJECTS…", help="Tables of objects, Parquet or CSV, or folders of them."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="The block `profiles`, alone or in a larger file."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder for the profiles.")] = Path(
        "profiles"
    ),
    plate: Annotated[
        Path | None,
        typer.Option(help="OME-Zarr plate that the objects are in, to learn features from it."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. by=well."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Tables beyond it are streamed, e.g. 8GB.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads; as many as there are cores if left.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Normalise objects, choose features, and make profiles of guides, genes and wells.

    Tables of CellProfiler, pycytominer and CytoTable load as they are; so does the folder of
    CellProfiler's spreadsheets, whose tables of nuclei, cells and images are joined.
    """
    from poolvox.shared.engine import show_progress
    from poolvox.shared.engine.resources import cores
    from poolvox.shared.profiles.recipe import make_profiles

    assignments = [*(settings or ()), *([f"memory={memory}"] if memory else [])]
    chosen = read_profiles_config(config, assignments)
    with show_progress(quiet=quiet or as_json) as listen:
        show = _by_step(listen)
        given = learn_features(tables, chosen, out, plate, show)
        made = make_profiles(given, chosen, out, threads=workers or cores(), progress=show)
    report = _write_report(made, out, chosen)
    if as_json:
        paths = {name: str(path) for name, path in made.paths.items()} | {"report": str(report)}
        say_json({"exit_code": 0, "output": str(out), "paths": paths, "facts": made.facts})
    else:
        _tell(made, out)
        say(f"report: {show_path(report)}")
    return 0


def _by_step(listen: Callable[[Event], None]) -> Callable[[str, float], None]:
    """Tell of steps and their share of the whole as events of a run."""
    from poolvox.shared.engine import Event

    last = ""

    def show(step: str, share: float) -> None:
        nonlocal last
        done = int(share * _STEPS)
        if step != last:
            listen(Event("note", message=step, done=done, total=_STEPS))
        last = step
        listen(Event("finished", key=step, done=done, total=_STEPS))

    return show


def learn_features(
    tables: list[Path],
    config: ProfilesConfig,
    out: Path,
    plate: Path | None,
    show: Callable[[str, float], None],
) -> list[Path]:
    """Put learned features beside the measured ones, where the command asks for it."""
    from poolvox.shared.errors import InputError
    from poolvox.shared.profiles.learn.encoder import EmbeddingsConfig, embed_step
    from poolvox.shared.store import open_plate

    if plate is None and config.embeddings is None:
        return tables
    if plate is None:
        raise InputError("`embeddings` are learned from images: give the plate by --plate")
    if len(tables) != 1 or not tables[0].is_file():
        raise InputError("features are learned for one table of objects at a time")
    show("learn features", 0.0)
    target = out / "learned.parquet"
    chosen = config.embeddings or EmbeddingsConfig()
    embed_step(tables[0], open_plate(plate), chosen, target, out / "encoder")
    return [target]


def read_profiles_config(path: Path | None, overrides: list[str]) -> ProfilesConfig:
    """Read the block `profiles` of a configuration, or a file that holds nothing else.

    Parameters
    ----------
    overrides : values that come before those of the file, `key=value`
    """
    from poolvox.shared.config import resolve_config
    from poolvox.shared.document import Document, read_document
    from poolvox.shared.profiles.config import ProfilesConfig

    document = Document(Path("profiles.yaml"), {}, {}) if path is None else read_document(path)
    if "profiles" in document.data or "pipeline" in document.data:
        document = _inner(document)
    for assignment in overrides:
        document.override(assignment)
    return resolve_config(document, ProfilesConfig)


def _inner(document: Any) -> Any:
    """The block `profiles` as if it were the whole file."""
    from poolvox.shared.document import Document
    from poolvox.shared.errors import ConfigError

    block = document.data.get("profiles") or {}
    if not isinstance(block, dict):
        place = document.place(("profiles",))
        raise ConfigError(f"{place}: profiles: expected a block such as `normalize: standardize`")
    places = {key[1:]: place for key, place in document.places.items() if key[:1] == ("profiles",)}
    return Document(document.path, block, places, document.problems)


def _write_report(made: Profiles, out: Path, config: ProfilesConfig) -> Path:
    from poolvox.shared.profiles.sections import made_section, profile_sections
    from poolvox.shared.report import write_report

    sections = [made_section(made.facts), *profile_sections(out, fdr=config.hits.fdr)]
    return write_report(out / "report.html", title="Profiles", sections=sections)


def _tell(made: Profiles, out: Path) -> None:
    from poolvox.shared.profiles.sections import LEVELS

    facts = made.facts
    flagged = f", {facts['flagged']:,} flagged" if facts["flagged"] else ""
    kept = f"{facts['kept']:,} of {count(facts['features'], 'feature')} kept"
    say(f"{count(facts['objects'], 'object')}{flagged}; {kept}")
    shown = [f"{facts[name]:,} {name}" for name in LEVELS if name in facts]
    if shown:
        say(f"profiles of {', '.join(shown)}")
    if "active" in facts:
        say(f"{facts['active']:,} active at a stated FDR of {facts['fdr']:.0%}")
    for reason in facts.get("skipped", ()):
        say(f"left out: {reason}")
    _tell_hits(made)
    files = ", ".join(sorted(path.name for path in made.paths.values()))
    say(f"written to {show_path(out)}: {files}")


def _tell_hits(made: Profiles) -> None:
    if "hits" not in made.paths:
        return
    from poolvox.shared.store import read_table

    hits = read_table(made.paths["hits"]).head(_HITS)
    keys = [str(name) for name in hits if str(name).startswith("Metadata_")]
    names = [*keys, *(n for n in ("Hit_Effect", "Hit_QValue", "Hit_Cells") if n in hits)]
    rows = hits[names].astype(object).to_numpy()
    shown = [[f"{v:.3g}" if isinstance(v, float) else v for v in row] for row in rows]
    say(table([str(name) for name in names], shown))
