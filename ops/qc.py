"""What is wrong with the images of a tile: blank, out of focus, saturated; flagged, not dropped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.spots import check_images
from poolvox.shared.imaging.combine import noise_level
from poolvox.shared.imaging.filters import band_pass

__all__ = ["ImageLimits", "inspect_tile"]

Images = NDArray[np.uint16]

# Focus is judged in a window of this side (pixels) in the middle of the tile, by the share of fine
# detail (widths in pixels) in all detail.
FOCUS_SIDE = 256
FINE, COARSE = (0.8, 1.6), (1.6, 5.0)
# Pixels further from the level than this many standard deviations of the noise count as this far.
CLIP = 50.0
# Cameras of fewer bits saturate below the largest number of their files.
FULL_SCALES = (255, 4095, 16383, 65535)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Where an image is flagged.

    Parameters
    ----------
    sharpness : fine detail over that of the median cycle of the tile
    saturated : share of pixels at the end of the camera's scale
    """

    sharpness: float = 0.5
    saturated: float = 1e-3


def inspect_tile(
    images: Images,
    *,
    bases: Sequence[int],
    nuclear: int | None = None,
    absent: Collection[tuple[int, int]] = (),
    limits: ImageLimits | None = None,
) -> pd.DataFrame:
    """Look at every cycle of a tile.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array
    bases : indices of the base channels
    nuclear : index of the nuclear channel, where there is one
    absent : cycle and channel (from 0) of images that were not taken, which are not looked at

    Returns
    -------
    One row per cycle (from 1): sharpness over that of the median cycle, saturated (largest share
    of a channel), blank, and the reason, empty where all is well.
    """
    check_images(images, needed=(*bases, *(() if nuclear is None else (nuclear,))))
    limits = limits or ImageLimits()
    used = [*bases, *([] if nuclear is None else [nuclear])]
    sample = images[:, :, ::8, ::8]
    full = min(scale for scale in FULL_SCALES if scale >= sample[:, used].max())
    rows = []
    for t, cycle in enumerate(images):
        taken = [c for c in used if (t, c) not in absent]
        blank = any(noise_level(cycle[c]).noise == 0 for c in taken)
        saturated = max(float(np.mean(sample[t, c] >= full)) for c in taken)
        rows.append((t + 1, np.nan if blank else _sharpness(cycle, bases), saturated, blank))
    table = pd.DataFrame(rows, columns=["cycle", "sharpness", "saturated", "blank"])
    if table["sharpness"].notna().any():
        table["sharpness"] /= table["sharpness"].median()
    facts = zip(table["sharpness"], table["saturated"], table["blank"])
    table["reason"] = [_reason(*fact, limits) for fact in facts]
    return table


def _sharpness(cycle: Images, bases: Sequence[int]) -> float:
    """Fine over coarse detail in the sum of the base images, what noise adds taken off."""
    height, width = cycle.shape[1:]
    top, left = (max((size - FOCUS_SIDE) // 2, 0) for size in (height, width))
    window = np.zeros(cycle[0, top : top + FOCUS_SIDE, left : left + FOCUS_SIDE].shape, np.float32)
    for c in bases:
        level = noise_level(cycle[c])
        part = cycle[c, top : top + FOCUS_SIDE, left : left + FOCUS_SIDE]
        window += np.clip((part - level.level) / level.noise, -CLIP, CLIP)
    fine, coarse = (float(np.var(band_pass(window, *band))) for band in (FINE, COARSE))
    noise = len(bases) * _noise_gain()
    return max(fine - noise, 0.0) / max(coarse, 1e-9)


def _noise_gain() -> float:
    """Variance of band-passed noise of variance 1."""
    impulse = np.zeros((33, 33), np.float32)
    impulse[16, 16] = 1
    return float(np.sum(band_pass(impulse, *FINE) ** 2))


def _reason(sharpness: float, saturated: float, blank: bool, limits: ImageLimits) -> str:
    if blank:
        return "an image is blank"
    if sharpness < limits.sharpness:
        return f"out of focus: {sharpness:.2f} of the fine detail of the other cycles"
    if saturated > limits.saturated:
        return f"saturated: {saturated:.1%} of the pixels of a channel"
    return ""
