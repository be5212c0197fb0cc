"""Configuration models and the reading of YAML, with errors that name file, line and key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from poolvox.shared.complaints import complaints
from poolvox.shared.document import Document, dump_yaml, read_document
from poolvox.shared.errors import ConfigError

__all__ = [
    "ConfigPath",
    "ConfigPattern",
    "EngineConfig",
    "Model",
    "RunConfig",
    "StoreConfig",
    "dump_config",
    "load_config",
    "resolve_config",
]

M = TypeVar("M", bound=BaseModel)


def _beside_config(value: Path, info: ValidationInfo) -> Path:
    """Take a path as seen from the folder of the file; without a file it stays as it is."""
    folder = (info.context or {}).get("folder")
    if folder is None:
        return value
    return Path(os.path.normpath(os.path.join(folder, value.expanduser())))


def _pattern_beside_config(value: str, info: ValidationInfo) -> str:
    folder = (info.context or {}).get("folder")
    if folder is None or os.path.isabs(value):
        return value
    if value.startswith("~"):
        return os.path.expanduser(value)
    # Braces would be fields of the pattern.
    literal = os.fspath(folder).replace("{", "{{").replace("}", "}}")
    return os.path.normpath(os.path.join(literal, value))


ConfigPath = Annotated[Path, AfterValidator(_beside_config)]
"""A path in a configuration; absolute once the file is loaded."""

ConfigPattern = Annotated[str, AfterValidator(_pattern_beside_config)]
"""A name pattern such as `raw/{well}.tif`; begins with an absolute folder once loaded."""


def _quoted(value: Any) -> Any:
    """Take `ngff: 0.5` for text, as it is meant."""
    return str(value) if isinstance(value, float) else value


class Model(BaseModel):
    """Base of every configuration block: frozen, and unknown keys are errors."""

    # Numbers are fine as names: a plate, a well or a channel may be called 1.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class StoreConfig(Model):
    """How images are kept: NGFF version, and whether aligned images are stored at all."""

    ngff: Annotated[Literal["0.5", "0.4"], BeforeValidator(_quoted)] = "0.5"
    images: Literal["aligned", "none"] = "aligned"


class EngineConfig(Model):
    """Where the work is done; the command's options come before these."""

    workers: Annotated[int, Field(ge=1)] | None = None
    memory: str | None = None
    scheduler: str = "auto"


class RunConfig(Model):
    """What the configuration of every pipeline has in common."""

    pipeline: str
    output: ConfigPath
    plate: str = "P1"
    store: StoreConfig = StoreConfig()
    engine: EngineConfig = EngineConfig()


def load_config(path: Path, model: type[M], *, overrides: Sequence[str] = ()) -> M:
    """Read, check and resolve a configuration file.

    Parameters
    ----------
    path : YAML file; relative paths in it are relative to its folder
    model : what it must hold
    overrides : values that come before those of the file, as in `decode.fdr=0.05`

    Raises
    ------
    ConfigError
        with one line per mistake: file, line, key, what was got and what was expected
    """
    document = read_document(path)
    for assignment in overrides:
        document.override(assignment)
    return resolve_config(document, model)


def resolve_config(document: Document, model: type[M]) -> M:
    """Check what a file holds; all its mistakes come in one `ConfigError`."""
    folder = Path(os.path.abspath(document.path)).parent
    found = list(document.problems)
    try:
        config = model.model_validate(document.data, context={"folder": folder})
    except ValidationError as error:
        found += complaints(error, document, model)
    if found:
        found.sort(key=lambda pair: pair[0].line or float("inf"))
        raise ConfigError("\n".join(f"{place}: {message}" for place, message in found))
    return config


def dump_config(model: BaseModel) -> str:
    """Write a resolved configuration, defaults included, as YAML that loads to the same."""
    return dump_yaml(model.model_dump(mode="json"))
