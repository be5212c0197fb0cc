"""The step that adds learned features: crops of all objects through a network, as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from poolvox.shared.config import ConfigPath, Model
from poolvox.shared.errors import InputError
from poolvox.shared.profiles.learn.cropping import CropSource, measure_levels
from poolvox.shared.profiles.learn.crops import CropSettings, Padding
from poolvox.shared.profiles.learn.networks import Network, embed_crops, load_network
from poolvox.shared.profiles.tables.datasets import ObjectTables, TableWriter
from poolvox.shared.store import Plate, open_plate

__all__ = [
    "LEARNED",
    "Embedded",
    "EmbeddingsConfig",
    "add_features",
    "embed_objects",
    "embed_step",
    "learned_objects",
]

Progress = Callable[[float], None]

SELF: Final = "self"
AUTO: Final = "auto"
# Name of the table of objects with learned features.
LEARNED: Final = "objects.parquet"
# A crop shows this many diameters of the median object.
DIAMETERS: Final = 1.5
# Fields that the size of objects is measured on.
SIZED_FIELDS: Final = 8
# Bytes of crops that an encoder is trained on at most; they stay in memory.
TRAINING_BYTES: Final = 2**28
TRAINING_CROPS: Final = 20_000


class EmbeddingsConfig(Model):
    """How features are learned from images.

    Attributes
    ----------
    model : `self` trains a small encoder on the crops of the experiment; else a `.keras` or `.onnx`
        file, or the folder of a SavedModel
    objects : label image that crops are centred on and cut by
    channels : names, in the order that the network wants; `auto` takes all, or in a screen the
        nuclear stain, since base channels spell the barcodes
    size : of a crop in micrometres; 1.5 diameters of the median object if not given
    pixels : along each side of a crop; null keeps the stored ones
    masked : crops show the object alone
    dimensions, steps, seed : of the encoder that is trained
    """

    model: Literal["self"] | ConfigPath = SELF
    objects: str = "cells"
    channels: tuple[str, ...] | Literal["auto"] = AUTO
    size: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    pixels: Annotated[int, Field(ge=8)] | None = 32
    masked: bool = True
    padding: Padding = "edge"
    dimensions: Annotated[int, Field(ge=2)] = 64
    steps: Annotated[int, Field(ge=1)] = 400
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Embedded:
    """Learned features of objects.

    Attributes
    ----------
    values : (N, D), NaN for objects without a position
    names : of the columns, such as `Cells_Embedding_001`
    facts : numbers for the report
    notes : sentences that the reader should know
    """

    values: NDArray[np.float32]
    names: list[str]
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def embed_objects(
    plate: Plate,
    objects: pd.DataFrame,
    config: EmbeddingsConfig,
    folder: Path,
    *,
    channels: Sequence[str] = (),
    threads: int = 1,
    progress: Progress | None = None,
) -> Embedded:
    """Crop every object and put it through the network, which is trained first if it is `self`.

    Parameters
    ----------
    plate : images and labels
    objects : well, tile or organoid, label and position in pixels, one row per object
    folder : for the encoder and the state of its training
    channels : what `auto` stands for; all of the plate if empty
    """
    axes = [name for name in ("Metadata_Z", "Metadata_Y", "Metadata_X") if name in objects]
    placed = np.flatnonzero(objects[axes].notna().all(axis=1))
    if not axes or not len(placed):
        raise InputError("no object has a position: crops are cut around Metadata_Y, Metadata_X")
    source = _source(plate, objects.iloc[placed], config, channels)
    network, facts, notes = _network(source, config, folder, threads)
    network.fit(source.shape)
    found: NDArray[np.float32] | None = None
    done = 0
    for rows, crops in source.batches():
        some = embed_crops(network, crops)
        if found is None:
            found = np.full((len(objects), some.shape[1]), np.nan, np.float32)
        found[placed[rows]] = some
        done += len(rows)
        if progress is not None:
            progress(done / len(placed))
    if found is None:
        raise InputError("no crop could be cut")
    stem = f"{config.objects.capitalize()}_Embedding"
    names = [f"{stem}_{k + 1:03}" for k in range(found.shape[1])]
    facts |= {
        "size_um": source.settings.size_um,
        "channels": list(source.channels),
        "dimensions": len(names),
        "embedded": len(placed),
    }
    return Embedded(found, names, facts, notes)


def embed_step(
    tables: Path,
    plate: Plate,
    config: EmbeddingsConfig,
    out: Path,
    folder: Path,
    *,
    channels: Sequence[str] = (),
    threads: int = 1,
) -> Embedded:
    """Read a table of objects and write it again with learned features beside the measured ones.

    Parameters
    ----------
    tables : Parquet file of objects
    out : Parquet file to write
    folder : for the encoder
    """
    objects = ObjectTables((tables,))
    keys = objects.frame(objects.keys)
    found = embed_objects(plate, keys, config, folder, channels=channels, threads=threads)
    add_features(objects, found.names, found.values, out)
    return found


def learned_objects(
    tables: Path,
    plate: Path,
    config: EmbeddingsConfig | None,
    folder: Path,
    *,
    channels: Sequence[str] = (),
) -> tuple[Path, dict[str, Any]]:
    """Table of objects that profiles shall be made from, in the step of a pipeline.

    Parameters
    ----------
    config : None leaves the table as it is
    folder : takes the new table and the encoder, which a run that was interrupted goes on with

    Returns
    -------
    Path of the table, and facts with `warnings`; empty where nothing was learned
    """
    if config is None:
        return tables, {}
    out = folder / LEARNED
    found = embed_step(tables, open_plate(plate), config, out, folder, channels=channels)
    return out, {"embeddings": found.facts, "warnings": found.notes}


def add_features(
    objects: ObjectTables, names: Sequence[str], values: NDArray[np.floating], out: Path
) -> Path:
    """Write a table of objects with further features, block by block."""
    doubled = sorted(set(names) & set(objects.features))
    if doubled:
        raise InputError(f"the objects have the columns {doubled[:3]} already: leave those out")
    keys = objects.table(objects.keys)
    with TableWriter(out, keys, [*objects.features, *names]) as writer:
        for start, block in objects.row_blocks(objects.features):
            more = values[start : start + len(block)].astype(block.dtype)
            writer.write(np.concatenate([block, more], axis=1))
    return out


def _source(
    plate: Plate, objects: pd.DataFrame, config: EmbeddingsConfig, channels: Sequence[str]
) -> CropSource:
    """Crops of these objects, their size and levels measured on the plate."""
    first = CropSource(plate, objects, (), CropSettings(1.0), labels=config.objects)
    fields = list(first.fields())
    wanted = tuple(config.channels) if config.channels != AUTO else tuple(channels)
    wanted = wanted or tuple(plate[fields[0][0]][fields[0][1]].channels)
    size = config.size or DIAMETERS * _diameter(plate, fields, config.objects)
    settings = CropSettings(size, config.pixels, config.masked, config.padding)
    levels = measure_levels(plate, fields, wanted)
    return replace(first, channels=wanted, settings=settings, levels=levels)


def _diameter(plate: Plate, fields: Sequence[tuple[str, str]], labels: str) -> float:
    """Diameter of the disk, or ball, of the median object's size, in micrometres."""
    step = np.unique(np.linspace(0, len(fields) - 1, min(SIZED_FIELDS, len(fields))).astype(int))
    sizes: list[NDArray[Any]] = []
    axes = 2
    for well, tile in (fields[k] for k in step):
        image = plate[well][tile]
        pixels = np.asarray(image.labels(labels).data)
        counts = np.bincount(pixels.ravel())[1:]
        axes = pixels.ndim
        sizes.append(counts[counts > 0] * float(np.prod(list(image.spacing.values()))))
    found = np.concatenate(sizes)
    if not len(found):
        raise InputError(f"the labels {labels!r} are empty: give `size` in micrometres")
    middle = float(np.median(found))
    ball = (6 * middle / np.pi) ** (1 / 3)
    return ball if axes == 3 else float(np.sqrt(4 * middle / np.pi))


def _network(
    source: CropSource, config: EmbeddingsConfig, folder: Path, threads: int
) -> tuple[Network, dict[str, Any], list[str]]:
    if config.model != SELF:
        network = load_network(config.model, threads=threads)
        return network, {"model": network.name}, []
    from poolvox.shared.profiles.learn.contrastive import TrainSettings, train_encoder

    settings = TrainSettings(
        dimensions=config.dimensions, steps=config.steps, seed=config.seed, threads=threads
    )
    bytes_each = 4 * int(np.prod(source.shape))
    count = max(1, min(TRAINING_CROPS, TRAINING_BYTES // bytes_each))
    crops = source.sample(count, np.random.default_rng([config.seed, 3]))
    trained = train_encoder(crops, folder, settings)
    facts = {
        "model": trained.path.name,
        "crops": len(crops),
        "loss": float(trained.losses[-10:].mean()),
        "loss_of_chance": trained.chance,
    }
    notes = []
    if not trained.learned:
        notes.append(
            "the encoder hardly tells the crops apart: train it longer (`steps`), or look whether "
            "the crops show the objects"
        )
    return load_network(trained.path, threads=threads), facts, notes
