"""Training from files: what `poolvox train` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from poolvox.organoid3d.training import (
    Progress,
    Trained,
    TrainOptions,
    find_sources,
    train_model,
)
from poolvox.organoid3d.training.export import export_network

__all__ = ["train_files"]


def train_files(
    stacks: Path,
    labels: Path | None,
    out: Path,
    *,
    voxel_size: tuple[float, float, float] | None = None,
    channel: int | str | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Trained:
    """Train a network on files of annotated stacks, and write it for other programs as well.

    Parameters
    ----------
    stacks, labels, voxel_size, channel : see `find_sources`
    out, restart, progress, stop : see `train_model`
    settings : fields of `TrainOptions`

    Examples
    --------
    >>> train_files(Path("stacks"), Path("labels"), Path("my_model"), steps=400)  # doctest: +SKIP
    """
    options = TrainOptions(**settings)
    sources = find_sources(stacks, labels, voxel_size=voxel_size, channel=channel)
    made = train_model(sources, out, options=options, restart=restart, progress=progress, stop=stop)
    if made.finished:
        export_network(out)
    return made
