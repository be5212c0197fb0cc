"""Several plates in one configuration: each is a run of its own, in a folder of its own.

A run holds one plate, as its tables and stores do. Where names of files have `{plate}`, and so has
the `output`, a configuration stands for as many runs as there are plates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from poolvox.shared.errors import ConfigError
from poolvox.shared.ingest.files import find_files
from poolvox.shared.ingest.spec import RawSpec
from poolvox.shared.sorting import natural

__all__ = ["PLATE", "split_plates"]

PLATE = "{plate}"
_FIELD = re.compile(r"(?<!\{)\{plate(?::\d+)?\}")


def split_plates(config: Any) -> list[Any]:
    """Give the configurations of the plates that a configuration is about.

    Parameters
    ----------
    config : of a pipeline; with a `plate` of its own it is about that one alone

    Returns
    -------
    Configurations of one plate each, in natural order: with the plate's name in place of `{plate}`
    in `output` and in the names of files. The configuration itself where it says nothing of plates.

    Raises
    ------
    ConfigError
        where the files are of other plates than the configuration says
    """
    named = "plate" in config.model_fields_set
    in_output = PLATE in str(config.output)
    if not any(_has_plates(spec) for _, spec in _specs(config)):
        return [_of_plate(config, config.plate)] if in_output else [config]
    if not named and not in_output:
        return [config]
    there = _plates(config)
    if not named:
        return [_of_plate(config, name) for name in there]
    if config.plate not in there:
        raise ConfigError(
            f"plate is {config.plate!r}, the files are of {', '.join(there)}: name one of them"
        )
    return [_of_plate(config, config.plate)]


def _specs(config: Any) -> Iterator[tuple[str, RawSpec]]:
    """What the block `raw` holds: one specification, or some by name."""
    raw = getattr(config, "raw", None)
    if isinstance(raw, RawSpec):
        yield "", raw
        return
    for name in type(raw).model_fields if isinstance(raw, BaseModel) else ():
        spec = getattr(raw, name)
        if isinstance(spec, RawSpec):
            yield name, spec


def _has_plates(spec: RawSpec) -> bool:
    return "plate" in spec.patterns[0].fields


def _plates(config: Any) -> list[str]:
    """Plates that the names of the files give, in natural order."""
    specs = [spec for _, spec in _specs(config) if _has_plates(spec)]
    found = {file.values["plate"] for spec in specs[:1] for file in find_files(spec, Path("/"))}
    return sorted(found, key=natural)


def _of_plate(config: Any, name: str) -> Any:
    """The configuration of one plate, its name written out."""
    specs = {key: _spec_of_plate(spec, name) for key, spec in _specs(config)}
    changes: dict[str, Any] = {
        "plate": name,
        "output": Path(str(config.output).replace(PLATE, name)),
    }
    if specs:
        changes["raw"] = specs[""] if "" in specs else config.raw.model_copy(update=specs)
    return config.model_copy(update=changes)


def _spec_of_plate(spec: RawSpec, name: str) -> RawSpec:
    literal = name.replace("{", "{{").replace("}", "}}")
    files = (spec.files,) if isinstance(spec.files, str) else spec.files
    files = tuple(_FIELD.sub(lambda _: literal, text) for text in files)
    return spec.model_copy(update={"files": files[0] if isinstance(spec.files, str) else files})
