"""What the units of a run hand to each other: reads before they are called, and the signal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.chemistry import Chemistry
from poolvox.ops.corrections import Corrections
from poolvox.ops.mistakes import ErrorModel
from poolvox.ops.near import Neighbours
from poolvox.shared.errors import InputError

__all__ = ["Signal", "TileReads", "load_light", "load_reads", "load_signal", "save_reads"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TileReads:
    """The reads of a tile with their light, and the cells near them.

    Parameters
    ----------
    y, x : (read,) pixels of the first cycle
    peak, snr : (read,) height in the sum of all planes, and over the noise
    intensity, noise : (read, cycle, channel) counts of the camera
    near, distance : (read, 4) labels of the nearest cells, 0 for none, and pixels to them
    cells, sizes : (cell,) labels, and square pixels of the nuclei
    centres : (cell, 2) y, x of the nucleus
    room : (cell, bin) see `Neighbours`
    area : (1,) square pixels of the tile
    """

    y: Floats
    x: Floats
    peak: Floats
    snr: Floats
    intensity: Floats
    noise: Floats
    near: NDArray[np.int32]
    distance: Floats
    cells: NDArray[np.int32]
    sizes: NDArray[np.int64]
    centres: NDArray[np.float64]
    room: NDArray[np.float64]
    area: NDArray[np.float64]

    @property
    def neighbours(self) -> Neighbours:
        """The cells near each read, as the caller takes them."""
        places = np.column_stack([self.y, self.x]).astype(float)
        return Neighbours(
            self.near,
            self.distance,
            places,
            self.cells,
            self.sizes,
            self.room,
            float(self.area[0]),
        )

    @property
    def labels(self) -> NDArray[np.int32]:
        """(read,) cell in which each read lies, 0 outside."""
        inside: NDArray[np.int32] = np.where(self.distance[:, 0] == 0, self.near[:, 0], 0)
        return inside

    @property
    def relative_noise(self) -> Floats:
        """(read, channel) noise over that of the median read, for the corrections."""
        return relative_noise(self.noise)


def save_reads(reads: TileReads, path: Path) -> None:
    """Write the reads; whoever looks sees all of them or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, **{field.name: getattr(reads, field.name) for field in fields(reads)})
    os.replace(partial, path)


def load_reads(path: Path) -> TileReads:
    """Read what `save_reads` wrote."""
    with _opened(path) as stored:
        return TileReads(**{name: stored[name] for name in stored.files})


def load_light(path: Path) -> tuple[Floats, Floats]:
    """Read the light of the reads and their relative noise alone: the plate needs no more."""
    with _opened(path) as stored:
        return stored["intensity"], relative_noise(stored["noise"])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with np.load(path) as stored:
            yield stored
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): remove it and run again") from error


def relative_noise(noise: Floats) -> Floats:
    """Noise of each read in each channel over that of the typical one, (n, channel)."""
    total = np.zeros((len(noise), noise.shape[2]), np.float32)
    count = np.zeros(total.shape, np.int64)
    for its in noise.swapaxes(0, 1):
        there = np.isfinite(its)
        total += np.where(there, its, 0)
        count += there
    # Cycles and whole channels may be blank, and then tell nothing.
    level = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    known = [each[np.isfinite(each)] for each in level.T]
    typical = np.array([np.median(own) if len(own) else 1.0 for own in known], np.float32)
    scaled: Floats = np.nan_to_num(level / typical, nan=1.0).astype(np.float32)
    return scaled


@dataclass(frozen=True, slots=True)
class Signal:
    """What is known of the reads of a well or the plate, as it is stored with the run.

    Parameters
    ----------
    strangers : sequences that many reads show and that are not in the library
    order : how the order of the channels was found; empty where it was given
    tiles : whose reads the plate's estimate rests on
    """

    corrections: Corrections
    errors: ErrorModel
    chemistry: Chemistry
    strangers: pd.DataFrame
    order: str = ""
    tiles: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As text; the opposite of `from_json`."""
        errors = asdict(self.errors) | {"substitution": self.errors.substitution.tolist()}
        values = {
            "corrections": json.loads(self.corrections.to_json()),
            "errors": errors,
            "chemistry": asdict(self.chemistry),
            "strangers": self.strangers.to_dict("list"),
            "order": self.order,
            "tiles": self.tiles,
        }
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Signal:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        errors = values["errors"]
        errors["substitution"] = np.asarray(errors["substitution"], float)
        errors["background"] = tuple(map(tuple, errors["background"]))
        chemistry = values["chemistry"]
        table = tuple(map(tuple, chemistry["table"]))
        return cls(
            Corrections.from_json(json.dumps(values["corrections"])),
            ErrorModel(**errors),
            Chemistry(tuple(chemistry["channels"]), table),
            pd.DataFrame(values["strangers"]),
            values["order"],
            tuple(values["tiles"]),
        )


def load_signal(path: Path) -> Signal:
    """Read what `estimate_signal` wrote."""
    return Signal.from_json(path.read_text(encoding="utf-8"))
