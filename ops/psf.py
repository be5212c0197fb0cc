"""The shape of a spot: its width, its amplitude in a plane, and the overlap of neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

__all__ = ["DEFAULT_SIGMA", "SIZE", "WINDOW", "fall_off", "fit_planes", "spot_size", "unmix"]

Floats = NDArray[np.floating[Any]]

# A spot is fitted in a window that reaches this many pixels to each side.
WINDOW = 4
SIZE = 2 * WINDOW + 1
# The width is measured on this many of the brightest spots, and kept within these bounds (pixels).
SIZED_SPOTS = 400
SIGMA_BOUNDS = (0.8, 3.0)
DEFAULT_SIGMA = 1.5
# Weights are those of a Gaussian narrower than the spot by this factor: less precise on a spot that
# stands alone, but less of the light of neighbours, found or not, comes in. On crowded simulated
# tiles 0.6 calls 3 to 4 % more reads without an error than 1.
NARROW = 0.6
# Spots further apart than this many pixels do not share light worth undoing.
OVERLAP_REACH = WINDOW + 3.0
# Share of its own light that is added to every spot's, so that close pairs do not trade noise.
RIDGE = 0.03
# Fewer pixels of the window inside the image than this share, and there is no amplitude.
LEAST_COVER = 0.5


def spot_size(image: NDArray[np.float32], y: Floats, x: Floats, snr: Floats) -> float:
    """Median width (standard deviation, pixels) of the brighter spots of an image.

    Each width is that of the Gaussian through the summed light of a spot within two radii, on the
    level of the ring round it.
    """
    if len(y) == 0:
        return DEFAULT_SIGMA
    order = np.argsort(-snr, kind="stable")[:SIZED_SPOTS]
    widths = _widths(image, np.rint(y[order]).astype(np.int64), np.rint(x[order]).astype(np.int64))
    widths = widths[np.isfinite(widths)]
    if not len(widths):
        return DEFAULT_SIGMA
    return float(np.clip(np.median(widths), *SIGMA_BOUNDS))


def fit_planes(
    plane: NDArray[np.uint16], points: NDArray[np.float64], sigma: float, pixel_noise: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Amplitude of a Gaussian on a level background at each point, by weighted sums.

    Parameters
    ----------
    plane : (Y, X) array
    points : (n, 2) positions in the plane
    sigma : width of the spots in pixels
    pixel_noise : least standard deviation of a pixel

    Returns
    -------
    amplitude, error : (n,) arrays; NaN where most of the window lies outside of the plane
    """
    amplitude, error = _fit(plane, points, sigma, NARROW * sigma, float(pixel_noise))
    return amplitude, error


def unmix(
    intensity: NDArray[np.float32], points: NDArray[np.float64], sigma: float
) -> NDArray[np.float32]:
    """Undo what neighbouring spots add to each other's amplitude.

    Parameters
    ----------
    intensity : (n, cycle, channel) amplitudes, each fitted as if its spot were alone
    points : (n, 2) positions in the frame of the reference
    sigma : width of the spots in pixels
    """
    n = len(points)
    if n < 2:
        return intensity
    pairs = cKDTree(points).query_pairs(OVERLAP_REACH, output_type="ndarray")
    if not len(pairs):
        return intensity
    both = np.concatenate([pairs, pairs[:, ::-1]])
    share = _shares(points[both[:, 1]] - points[both[:, 0]], sigma, NARROW * sigma)
    matrix = sparse.csc_matrix((share, (both[:, 0], both[:, 1])), shape=(n, n))
    matrix += (1 + RIDGE) * sparse.identity(n, format="csc")
    flat = intensity.reshape(n, -1)
    known = np.nan_to_num(flat).astype(np.float64)
    solved = splu(matrix).solve(known) * (1 + RIDGE)
    return np.where(np.isnan(flat), np.nan, solved).reshape(intensity.shape).astype(np.float32)


@njit(cache=True, nogil=True)
def _widths(image, rows, columns):  # type: ignore[no-untyped-def]
    """Width from the fall-off of the logarithm over one pixel, minus what interpolation adds."""
    widths = np.full(len(rows), np.nan)
    height, width = image.shape
    for i in range(len(rows)):
        r, c = rows[i], columns[i]
        if r < 6 or c < 6 or r >= height - 6 or c >= width - 6:
            continue
        level, count = 0.0, 0
        for dr in range(-6, 7):
            for dc in range(-6, 7):
                if 25 <= dr * dr + dc * dc <= 38:
                    level += image[r + dr, c + dc]
                    count += 1
        level /= count
        at = image[r, c] - level
        sides = (
            (image[r - 1, c] - level) * (image[r + 1, c] - level),
            (image[r, c - 1] - level) * (image[r, c + 1] - level),
        )
        if at <= 0 or sides[0] <= 0 or sides[1] <= 0:
            continue
        fall = 2 * np.log(at) - 0.5 * (np.log(sides[0]) + np.log(sides[1]))
        if fall > 0:
            widths[i] = np.sqrt(1 / fall)
    return widths


@njit(cache=True, nogil=True, fastmath=True)
def _fit(plane, points, sigma, narrow, pixel_noise):  # type: ignore[no-untyped-def]
    """Weigh the window with a narrow Gaussian; judge the noise by the fit of a full one."""
    n = len(points)
    amplitude, error = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    height, width = plane.shape
    wide, thin = np.empty((2, SIZE), np.float32), np.empty((2, SIZE), np.float32)
    for i in range(n):
        top = int(np.floor(points[i, 0] + 0.5)) - WINDOW
        left = int(np.floor(points[i, 1] + 0.5)) - WINDOW
        first_r, last_r = max(0, -top), min(SIZE, height - top)
        first_c, last_c = max(0, -left), min(SIZE, width - left)
        count = max(last_r - first_r, 0) * max(last_c - first_c, 0)
        if count < LEAST_COVER * SIZE * SIZE:
            continue
        fall_off(wide[0], top - points[i, 0], sigma)
        fall_off(wide[1], left - points[i, 1], sigma)
        fall_off(thin[0], top - points[i, 0], narrow)
        fall_off(thin[1], left - points[i, 1], narrow)
        if count == SIZE * SIZE:
            # Loops of a fixed length are twice as fast.
            light = _window_light(plane, top, left, (0, SIZE, 0, SIZE), wide, thin)
        else:
            part = (first_r, last_r, first_c, last_c)
            light = _window_light(plane, top, left, part, wide, thin)
        total, square, full, weighed = light
        g_r, gg_r, t_r, tt_r, tg_r = _moments(wide[0], thin[0], first_r, last_r)
        g_c, gg_c, t_c, tt_c, tg_c = _moments(wide[1], thin[1], first_c, last_c)
        response = tg_r * tg_c - t_r * t_c * g_r * g_c / count
        amplitude[i] = (weighed - t_r * t_c * total / count) / response
        spread = gg_r * gg_c - (g_r * g_c) ** 2 / count
        value = (full - g_r * g_c * total / count) / spread
        rest = max(square - total * total / count - value * value * spread, 0.0) / (count - 2)
        norm = tt_r * tt_c - (t_r * t_c) ** 2 / count
        error[i] = np.sqrt(max(rest, pixel_noise * pixel_noise) * norm) / response
    return amplitude, error


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def fall_off(out, offset, sigma):  # type: ignore[no-untyped-def]
    """Gaussian at offset, offset + 1, … from its centre; each value from the one before."""
    fall = 0.5 / (sigma * sigma)
    value, ratio = np.exp(-offset * offset * fall), np.exp(-(2 * offset + 1) * fall)
    bend = np.exp(-2 * fall)
    for k in range(SIZE):
        out[k] = value
        value *= ratio
        ratio *= bend


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _window_light(plane, top, left, part, wide, thin):  # type: ignore[no-untyped-def]
    """Sums over a part of the window: light, its square, light times either Gaussian."""
    first_r, last_r, first_c, last_c = part
    # Counts from one pixel of the window: large common levels would cost precision.
    level = np.float32(plane[top + first_r, left + first_c])
    total, square, full, weighed = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for r in range(first_r, last_r):
        line = plane[top + r]
        row, row_square = np.float32(0), np.float32(0)
        row_full, row_weighed = np.float32(0), np.float32(0)
        for c in range(first_c, last_c):
            v = np.float32(line[left + c]) - level
            row += v
            row_square += v * v
            row_full += v * wide[1, c]
            row_weighed += v * thin[1, c]
        total += row
        square += row_square
        full += wide[0, r] * row_full
        weighed += thin[0, r] * row_weighed
    return total, square, full, weighed


@njit(cache=True, nogil=True, fastmath=True)
def _moments(wide, thin, first, last):  # type: ignore[no-untyped-def]
    """Sums along one side of the window of both profiles, their squares and their product."""
    g, gg, t, tt, tg = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(first, last):
        g += wide[k]
        gg += wide[k] * wide[k]
        t += thin[k]
        tt += thin[k] * thin[k]
        tg += thin[k] * wide[k]
    return g, gg, t, tt, tg


@njit(cache=True, nogil=True)
def _shares(offset, sigma, narrow):  # type: ignore[no-untyped-def]
    """Amplitude that a spot of height 1 at `offset` adds to the fit at the origin."""
    share = np.empty(len(offset))
    full_fall, thin_fall = 0.5 / (sigma * sigma), 0.5 / (narrow * narrow)
    place = np.arange(-WINDOW, WINDOW + 1)
    thin = np.exp(-place * place * thin_fall)
    here = np.exp(-place * place * full_fall)
    mean = np.sum(thin) ** 2 / (SIZE * SIZE)
    response = np.sum(thin * here) ** 2 - mean * np.sum(here) ** 2
    for i in range(len(offset)):
        along = np.exp(-((place - offset[i, 0]) ** 2) * full_fall)
        across = np.exp(-((place - offset[i, 1]) ** 2) * full_fall)
        mixed = np.sum(thin * along) * np.sum(thin * across)
        share[i] = (mixed - mean * np.sum(along) * np.sum(across)) / response
    return share
