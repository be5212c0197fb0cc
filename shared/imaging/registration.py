"""Translation between images of one field, measured to a few hundredths of a pixel.

The shift is the peak of the cross-correlation of the two band-passed images. It is trusted where
the peak stands far above the rest of the correlation: unrelated images have none that does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from poolvox.shared.errors import InputError
from poolvox.shared.imaging.warp import Transform

__all__ = ["Shift", "fit_similarity", "match_spectra", "measure_shift", "spectra"]

Image = NDArray[Any]
Spectrum = NDArray[np.complexfloating[Any, Any]]

# Peak over the standard deviation of the correlation; unrelated images reach 4 to 6.
MIN_PEAK_SNR = 8.0
# The coarse end of the band, over the fine end.
BAND = 5.0
# Share of each side that fades out, so that the borders do not correlate with themselves.
TAPER = 0.1


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the content of an image lies from where it lies in the reference, in pixels.

    `snr` is the height of the correlation's peak over its standard deviation.
    """

    y: float
    x: float
    snr: float

    @property
    def trusted(self) -> bool:
        """Whether the peak stands out as no unrelated images would make it."""
        return self.snr >= MIN_PEAK_SNR


def measure_shift(
    reference: Image, image: Image, *, smooth: float = 1.0, max_shift: float | None = None
) -> Shift:
    """Measure by how much `image` is displaced against `reference`.

    Parameters
    ----------
    reference, image : (Y, X) arrays of one shape
    smooth : width, in pixels, of the finest detail that takes part; noise is finer than it
    max_shift : pixels; larger shifts are not considered; half the image if not given

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> field = np.kron(rng.standard_normal((32, 32)), np.ones((4, 4)))
    >>> shift = measure_shift(field, np.roll(field, (3, -5), axis=(0, 1)))
    >>> round(shift.y), round(shift.x)
    (3, -5)
    """
    if reference.shape != image.shape or reference.ndim != 2:
        raise InputError(
            f"a shift is measured between two planes of one shape, got {reference.shape} and "
            f"{image.shape}: crop them first"
        )
    first = _once(reference, image, smooth, max_shift)
    rounded = round(first.y), round(first.x)
    if not first.trusted or rounded == (0, 0):
        return first
    # Again on what both show, where the fading borders no longer pull the peak towards zero.
    overlap = _overlap(reference, image, rounded)
    second = _once(*overlap, smooth, 2 * BAND * smooth)
    if abs(second.y) > 1 or abs(second.x) > 1:
        return first
    return Shift(rounded[0] + second.y, rounded[1] + second.x, first.snr)


def fit_similarity(
    points: NDArray[np.float64], moved: NDArray[np.float64], *, rounds: int = 3, clip: float = 3.0
) -> tuple[Transform, NDArray[np.float64]]:
    """Rotation, scale and shift that carry `points` to `moved`, outliers left aside.

    Parameters
    ----------
    points, moved : (n, 2) arrays of y, x
    rounds, clip : how often residuals beyond `clip` robust standard deviations are dropped

    Returns
    -------
    transform : from `points` to `moved`
    error : standard errors of scale x cos(angle), scale x sin(angle), shift y and shift x
    """
    middle = points.mean(axis=0)
    y, x = (points - middle).T
    one, none = np.ones(len(y)), np.zeros(len(y))
    rows = np.concatenate([np.stack([y, -x, one, none], 1), np.stack([x, y, none, one], 1)])
    target = (moved - middle).T.ravel()
    keep = np.ones(len(y), bool)
    for _ in range(rounds):
        both = np.tile(keep, 2)
        answer = np.linalg.lstsq(rows[both], target[both], rcond=None)[0]
        distance = np.hypot(*(target - rows @ answer).reshape(2, -1))
        keep = distance <= clip * 1.4826 * np.median(distance) + 1e-9
    both = np.tile(keep, 2)
    variance = np.sum((target - rows @ answer)[both] ** 2) / max(both.sum() - 4, 1)
    error = np.sqrt(variance * np.diag(np.linalg.pinv(rows[both].T @ rows[both])))
    matrix = np.array([[answer[0], -answer[1]], [answer[1], answer[0]]])
    shift = middle + answer[2:] - matrix @ middle
    (a, b), (c, d) = matrix.tolist()
    return Transform((float(shift[0]), float(shift[1])), ((a, b), (c, d))), error


def _overlap(reference: Image, image: Image, shift: tuple[int, int]) -> tuple[Image, Image]:
    """The parts of both images that show the same, up to a fraction of a pixel."""
    here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, image.shape))
    there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(shift, image.shape))
    return reference[here], image[there]


def _once(reference: Image, image: Image, smooth: float, max_shift: float | None) -> Shift:
    first, second = (spectra(plane[None]) for plane in (reference, image))
    y, x, snr = match_spectra(first, second, image.shape, smooth=smooth, max_shift=max_shift)[0]
    return Shift(float(y), float(x), float(snr))


def spectra(planes: Image) -> Spectrum:
    """Fourier transforms of planes of one shape, for `match_spectra`; their borders fade out.

    Parameters
    ----------
    planes : (n, Y, X) array
    """
    values = np.asarray(planes, np.float32)
    faded = values - values.mean(axis=(1, 2), keepdims=True)
    faded *= _window(planes.shape[1])[:, None]
    faded *= _window(planes.shape[2])
    found: Spectrum = fft.rfft2(faded)
    return found


def match_spectra(
    references: Spectrum,
    images: Spectrum,
    shape: tuple[int, ...],
    *,
    smooth: float,
    max_shift: float | None = None,
) -> NDArray[np.float64]:
    """Shift between the planes of each pair, as `measure_shift` finds it at first.

    Parameters
    ----------
    references, images : n transforms each, from `spectra`; or one, which is paired with all
    shape : of the planes, in pixels
    smooth, max_shift : as for `measure_shift`

    Returns
    -------
    (n, 3) array: y, x, and the height of the peak over the standard deviation of the correlation
    """
    product = images * references.conj()
    product *= _band(shape[0], shape[1], smooth)
    correlation = fft.irfft2(product, s=shape)
    found = np.zeros((len(correlation), 3))
    spread = correlation.std(axis=(1, 2))
    for k in np.flatnonzero(np.isfinite(spread) & (spread > 0)):
        peak = _highest(correlation[k], max_shift)
        place = (_signed(_refine(correlation[k], peak, axis), shape[axis]) for axis in (0, 1))
        found[k] = (*place, correlation[k][peak] / spread[k])
    return found


@lru_cache(maxsize=16)
def _window(size: int) -> NDArray[np.float32]:
    ramp = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)) / max(TAPER * size, 1)
    window: NDArray[np.float32] = np.sin(np.pi / 2 * np.minimum(ramp, 1)).astype(np.float32) ** 2
    return window


@lru_cache(maxsize=16)
def _band(height: int, width: int, smooth: float) -> NDArray[np.float32]:
    # Not whitened to pure phase: that would lift the frequencies that hold only noise.
    squared = fft.fftfreq(height)[:, None] ** 2 + fft.rfftfreq(width) ** 2
    fine, coarse = (np.exp(-2 * (np.pi * s) ** 2 * squared) for s in (smooth, BAND * smooth))
    band: NDArray[np.float32] = ((fine - coarse) ** 2).astype(np.float32)
    return band


def _highest(correlation: Image, max_shift: float | None) -> tuple[int, int]:
    """The peak; shifts below zero are at the far ends."""
    reach = max(correlation.shape) if max_shift is None else int(np.ceil(max_shift))
    best, place = -np.inf, (0, 0)
    for rows in _sides(correlation.shape[0], reach):
        for columns in _sides(correlation.shape[1], reach):
            part = correlation[rows, columns]
            r, c = divmod(int(part.argmax()), part.shape[1])
            if part[r, c] > best:
                best, place = part[r, c], (rows.start + r, columns.start + c)
    return place


def _sides(size: int, reach: int) -> list[slice]:
    if 2 * reach + 1 >= size:
        return [slice(0, size)]
    return [slice(0, reach + 1), slice(size - reach, size)][: 1 if reach == 0 else 2]


def _refine(correlation: Image, peak: tuple[int, int], axis: int) -> float:
    line = correlation[:, peak[1]] if axis == 0 else correlation[peak[0]]
    before, at, after = (float(line[(peak[axis] + step) % line.size]) for step in (-1, 0, 1))
    curvature = before - 2 * at + after
    return float(peak[axis]) + (0.5 * (before - after) / curvature if curvature else 0.0)


def _signed(position: float, size: int) -> float:
    return position - size if position > size / 2 else position
