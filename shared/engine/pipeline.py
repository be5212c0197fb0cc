"""What a pipeline must offer to be run, reported and demonstrated by the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from poolvox.shared.engine.plan import Unit
from poolvox.shared.report.section import Section

__all__ = ["Check", "Pipeline"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing a demo compares with the simulator's truth."""

    name: str
    got: float
    least: float

    @property
    def passed(self) -> bool:
        """Tell whether the demo reached what it must."""
        return self.got >= self.least


class Pipeline(Protocol):
    """A kind of experiment; found through the entry points `poolvox.pipelines`.

    `config` is the resolved pydantic model of type `config_model`; its `output` is the absolute
    folder of the run, and all other paths in it are absolute as well.
    """

    name: str
    steps: Sequence[str]
    config_model: type[Any]

    def plan(self, config: Any) -> list[Unit]:
        """Lay out all units, cheaply and deterministically; every step, `--steps` selects later.

        Raises `InputError` when nothing can be done; single bad files become units that fail with
        their reason.
        """

    def problems(self, config: Any) -> list[tuple[str, str]]:
        """Name the places that will fail, with the reason, from the files' names and headers."""

    def sections(self, config: Any) -> list[Section]:
        """Tell the report what happened, from the files of the run alone."""

    def template(self, folder: Path) -> str:
        """Write a commented YAML config for the raw files in `folder`, for `poolvox init`."""

    def simulate(self, out: Path, *, seed: int) -> Path:
        """Write raw files, truth and a config of a small experiment; return the config's path."""

    def judge(self, config: Any) -> list[Check]:
        """Compare a finished run of a simulated experiment with its truth."""
