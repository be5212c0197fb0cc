"""Configuration models and the reading of YAML, with errors that name file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["EngineConfig", "Model", "RunConfig", "StoreConfig"]


class Model(BaseModel):
    """Base of every configuration block: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreConfig(Model):
    """How images are kept: NGFF version, and whether aligned images are stored at all."""

    ngff: Literal["0.5", "0.4"] = "0.5"
    images: Literal["aligned", "none"] = "aligned"


class EngineConfig(Model):
    """Where the work is done; the command's options come before these."""

    workers: int | None = None
    memory: str | None = None
    scheduler: str = "threads"


class RunConfig(Model):
    """What the configuration of every pipeline has in common."""

    pipeline: str
    output: Path
    plate: str = "P1"
    store: StoreConfig = StoreConfig()
    engine: EngineConfig = EngineConfig()
