"""Which pipelines are installed; they register themselves as entry points `poolvox.pipelines`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

from poolvox.shared.errors import ConfigError, PoolvoxError

if TYPE_CHECKING:
    from poolvox.shared.engine.pipeline import Pipeline

__all__ = ["BrokenPipeline", "load_pipeline", "pipelines"]

GROUP = "poolvox.pipelines"


class BrokenPipeline(PoolvoxError):
    """A pipeline is registered, but cannot be imported."""


def pipelines() -> Mapping[str, Callable[[], Any]]:
    """Name the pipelines, each with the function that imports it."""
    from importlib.metadata import entry_points

    return {point.name: point.load for point in sorted(entry_points(group=GROUP))}


def load_pipeline(name: str) -> Pipeline:
    """Import a pipeline.

    Raises
    ------
    ConfigError
        if there is none of that name
    BrokenPipeline
        if it cannot be imported
    """
    known = pipelines()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        listed = ", ".join(known) or "none, so poolvox is not installed properly"
        raise ConfigError(f"there is no pipeline {name!r}; installed are {listed}{hint}")
    try:
        return cast("Pipeline", known[name]())
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        message = f"the pipeline {name!r} is installed but cannot be imported: {reason}"
        raise BrokenPipeline(message) from error
