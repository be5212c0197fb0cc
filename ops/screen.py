"""A pooled screen as one object, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from poolvox.ops.config import OpsConfig
from poolvox.ops.pipeline import pipeline
from poolvox.shared.cli.work import Job, perform
from poolvox.shared.config import load_config
from poolvox.shared.engine import Options, RunSummary
from poolvox.shared.errors import InputError
from poolvox.shared.ingest.plates import split_plates
from poolvox.shared.store import Plate, open_plate, read_table

__all__ = ["Screen"]


class Screen:
    """A screen and what a run of it left.

    Tables are read from the files of the run whenever they are asked for, also those of a run by
    the command; `summary` is that of the last `run` of this object.

    Examples
    --------
    >>> screen = Screen.from_config("screen.yaml")  # doctest: +SKIP
    >>> screen.run(workers=4)  # doctest: +SKIP
    >>> screen.cells.groupby("Metadata_Gene").size()  # doctest: +SKIP
    """

    def __init__(self, config: OpsConfig) -> None:
        """Take a configuration that is loaded already."""
        self.config = config
        self.summary: RunSummary | None = None

    @classmethod
    def from_config(cls, path: str | Path, *, overrides: Sequence[str] = ()) -> Screen:
        """Read a configuration file.

        Parameters
        ----------
        overrides : values that come before those of the file, as in `decode.fdr=0.05`
        """
        plates = split_plates(load_config(Path(path), OpsConfig, overrides=overrides))
        if len(plates) > 1:
            names = ", ".join(config.plate for config in plates)
            raise InputError(
                f"{path} is about {len(plates)} plates ({names}): take one of them, as in "
                f'overrides=["plate={plates[0].plate}"]'
            )
        return cls(plates[0])

    def __repr__(self) -> str:
        return f"Screen({str(self.output)!r})"

    @property
    def output(self) -> Path:
        """Folder of the run."""
        return self.config.output

    def run(
        self,
        *,
        workers: int | None = None,
        memory: str | None = None,
        scheduler: str | None = None,
        steps: Sequence[str] = (),
        only: Sequence[str] = (),
        exclude: Sequence[str] = (),
        quiet: bool = False,
    ) -> Screen:
        """Run what is not done yet, as `poolvox run` does, and write the report.

        Units that fail are told in the progress and in `summary`; the others go on.

        Parameters
        ----------
        workers, memory, scheduler : as in `poolvox run`; what is not given is taken from `engine:`
            of the configuration
        steps : only these, such as `images` and `decode`
        only, exclude : places such as `A1` or `A1/3`
        quiet : only failures are shown

        Returns
        -------
        The screen itself, so that `Screen.from_config(path).run().cells` reads well.
        """
        engine = self.config.engine
        options = Options(
            workers=workers or engine.workers,
            memory=memory or engine.memory,
            scheduler=scheduler or engine.scheduler,
            steps=tuple(steps),
            only=tuple(only),
            exclude=tuple(exclude),
        )
        self.summary, _ = perform(Job(pipeline, self.config), options, quiet=quiet)
        return self

    @property
    def reads(self) -> pd.DataFrame:
        """Every read that was found, one row each; positions in pixels of the first cycle."""
        return self._table("tables", "reads")

    @property
    def cells(self) -> pd.DataFrame:
        """Every cell, one row each; `Metadata_Barcode` is empty where it is not called."""
        return self._table("tables", "cells")

    @property
    def objects(self) -> pd.DataFrame:
        """Every cell that was measured, with its call and the features of its nucleus."""
        return self._table("tables", "objects")

    @property
    def profiles(self) -> dict[str, pd.DataFrame]:
        """Tables of profiles by name, such as `genes` and `hits`; empty where none were made."""
        paths = sorted((self.output / "profiles").glob("*.parquet"))
        return {path.stem: read_table(path) for path in paths}

    @property
    def images(self) -> Plate:
        """Aligned images and labels: `images["A1"]["1"].image()`, `.labels("cells")`."""
        return open_plate(self.output / "sbs.zarr")

    def _table(self, folder: str, name: str) -> pd.DataFrame:
        path = self.output / folder / f"{name}.parquet"
        if not path.is_file():
            failed = self.summary.failed if self.summary else {}
            why = next((f"; {key} failed: {text}" for key, text in failed.items()), "")
            advice = "call run() first" if self.summary is None else "the run did not get so far"
            raise InputError(f"{path} is not there: {advice}{why}")
        return read_table(path)
