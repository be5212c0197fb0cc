"""Bring the cycles and channels of a tile together: a map from the first cycle to every plane.

Cycles are compared by their nuclei where each cycle has a nuclear image, else by their reads; then
every base image is moved onto the reads, whose places are the same in all of them. No pixel is
touched: what comes out are transforms. Each step has to show, on evidence that it was not measured
on, that the images lie better with it than without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.drift import Planes, match_cycles
from poolvox.ops.refine import refine_planes
from poolvox.ops.spots import check_images
from poolvox.shared.imaging.warp import Transform, resample

__all__ = ["AlignSettings", "AlignedPlanes", "Alignment", "align_tile", "aligned"]

Images = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class AlignSettings:
    """How cycles are aligned; lengths in pixels.

    Parameters
    ----------
    max_shift : no cycle drifts further
    detail : width of the finest detail of nuclei, and of reads, that takes part
    max_residual : a plane that is further off than this is flagged
    """

    max_shift: float = 100.0
    detail: tuple[float, float] = (6.0, 1.5)
    max_residual: float = 0.75


@dataclass(frozen=True, slots=True)
class Alignment:
    """Maps from the frame of the first cycle to every plane of a tile, and how good they are.

    Parameters
    ----------
    transforms : per cycle and channel
    table : one row per plane: cycle and channel (from 1), shift_y, shift_x (at the centre),
        rotation (degrees), scale, residual (pixels; NaN where nothing could be measured), evidence
        (number of reads or blocks), trusted, and the reason where it is not
    """

    transforms: tuple[tuple[Transform, ...], ...]
    table: pd.DataFrame

    @property
    def trusted(self) -> bool:
        """Whether every plane is."""
        return bool(self.table["trusted"].all())

    @property
    def reason(self) -> str:
        """What is wrong, each reason with its cycles; empty where nothing is."""
        bad = self.table[~self.table["trusted"]]
        cycles: dict[str, list[str]] = {}
        for cycle, reason in bad.groupby("cycle")["reason"].first().items():
            cycles.setdefault(reason, []).append(str(cycle))
        return "; ".join(
            f"cycle{'s' * (len(own) > 1)} {', '.join(own)}: {reason}"
            for reason, own in cycles.items()
        )


def align_tile(
    images: Images,
    *,
    bases: Sequence[int],
    nuclear: int | None = None,
    settings: AlignSettings | None = None,
) -> Alignment:
    """Align the cycles of a tile to its first, and the channels to each other.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array
    bases : indices of the base channels
    nuclear : index of the nuclear channel, where there is one

    Examples
    --------
    >>> from poolvox.ops.simulate import preset, simulate_tile
    >>> images, truth = simulate_tile(preset("clean"), np.random.default_rng(0))
    >>> align_tile(images, nuclear=0, bases=[1, 2, 3, 4]).trusted
    True
    """
    check_images(images, needed=(*bases, *(() if nuclear is None else (nuclear,))))
    settings = settings or AlignSettings()
    planes = Planes(images, tuple(bases), nuclear)
    matches = match_cycles(planes, settings.detail, settings.max_shift)
    coarse = [[match.transform] * images.shape[1] for match in matches]
    refined = refine_planes(images, coarse, tuple(bases))
    rows = []
    centre = (np.array(images.shape[2:]) - 1) / 2
    for t, match in enumerate(matches):
        for c in range(images.shape[1]):
            each = refined.transforms[t][c]
            seen = refined.evidence[t, c] if c in bases else match.evidence
            residual = refined.residual[t, c] if c in bases else match.residual
            reason = match.reason or _judge(residual, settings.max_residual)
            moved = each.apply(centre[None])[0] - centre
            rows.append(
                (
                    t + 1,
                    c + 1,
                    *moved,
                    each.rotation,
                    each.scale,
                    residual,
                    seen,
                    not reason,
                    reason,
                )
            )
    names = ["cycle", "channel", "shift_y", "shift_x", "rotation", "scale"]
    table = pd.DataFrame(rows, columns=[*names, "residual", "evidence", "trusted", "reason"])
    return Alignment(tuple(tuple(cycle) for cycle in refined.transforms), table)


@dataclass(frozen=True, slots=True)
class AlignedPlanes:
    """All planes of a tile on the frame of the first cycle, linearly interpolated.

    A plane is resampled when it is asked for, so that a store can write the stack without a copy
    of it in memory; zero where a plane has nothing to show.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array
    transforms : per cycle and channel
    """

    images: Images
    transforms: Sequence[Sequence[Transform]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the images."""
        return self.images.shape

    @property
    def dtype(self) -> np.dtype[np.uint16]:
        """Of the images."""
        return self.images.dtype

    def __getitem__(self, region: tuple[slice, slice, slice, slice]) -> Images:
        cycles, channels, rows, columns = (
            range(*part.indices(size)) for part, size in zip(region, self.shape, strict=True)
        )
        corner = Transform((float(rows.start), float(columns.start)))
        block = np.empty((len(cycles), len(channels), len(rows), len(columns)), self.dtype)
        for i, t in enumerate(cycles):
            for j, c in enumerate(channels):
                resample(self.images[t, c], self.transforms[t][c].after(corner), out=block[i, j])
        return block


def aligned(images: Images, transforms: Sequence[Sequence[Transform]]) -> Images:
    """Bring all planes onto the frame of the first cycle, linearly interpolated.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array
    transforms : per cycle and channel

    Returns
    -------
    (cycle, channel, Y, X) array; zero where a plane has nothing to show
    """
    whole = slice(None)
    return AlignedPlanes(images, transforms)[whole, whole, whole, whole]


def _judge(residual: float, limit: float) -> str:
    if residual > limit:
        return f"planes are {residual:.2f} pixels apart, more than {limit:g}"
    return ""
