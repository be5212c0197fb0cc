"""A pooled screen as one object, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from poolvox.ops.config import OpsConfig
from poolvox.ops.pipeline import pipeline
from poolvox.shared.config import load_config
from poolvox.shared.engine import Options, RunSummary, run_plan
from poolvox.shared.errors import InputError
from poolvox.shared.store import Plate, open_plate, read_table

__all__ = ["Screen"]


class Screen:
    """A screen and what a run of it left.

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
        return cls(load_config(Path(path), OpsConfig, overrides=overrides))

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
        only: Sequence[str] = (),
    ) -> Screen:
        """Run what is not done yet; the summary is in `summary` afterwards.

        Parameters
        ----------
        workers, memory, scheduler : as in `poolvox run`; what is not given is taken from `engine:`
            of the configuration
        only : places such as `A1` or `A1/3`

        Returns
        -------
        The screen itself, so that `Screen.from_config(path).run().cells` reads well.
        """
        engine = self.config.engine
        options = Options(
            workers=workers or engine.workers,
            memory=memory or engine.memory,
            scheduler=scheduler or engine.scheduler,
            only=tuple(only),
        )
        facts = {"pipeline": pipeline.name, "config": self.config.model_dump(mode="json")}
        units = pipeline.plan(self.config)
        self.summary = run_plan(units, self.output, options=options, provenance=facts)
        return self

    @property
    def reads(self) -> pd.DataFrame:
        """Every read that was found."""
        return self._table("tables", "reads")

    @property
    def cells(self) -> pd.DataFrame:
        """Every cell, called or not."""
        return self._table("tables", "cells")

    @property
    def objects(self) -> pd.DataFrame:
        """Every object of the phenotype images with its features, where there are any."""
        return self._table("tables", "objects")

    @property
    def profiles(self) -> dict[str, pd.DataFrame]:
        """Tables of profiles by name, such as `genes`; empty where none were made."""
        paths = sorted((self.output / "profiles").glob("*.parquet"))
        return {path.stem: read_table(path) for path in paths}

    @property
    def images(self) -> Plate:
        """Aligned images and labels."""
        return open_plate(self.output / "sbs.zarr")

    def _table(self, folder: str, name: str) -> pd.DataFrame:
        path = self.output / folder / f"{name}.parquet"
        if not path.is_file():
            raise InputError(f"{path} is not there: call run() first, and look at its summary")
        return read_table(path)
