"""Outline of 2D objects: Zernike moments of the mask and Fourier descriptors of the border."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.features.hull import plane_hull
from poolvox.shared.features.kernels import Bytes, Floats, Ints, Layout, box_mask, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.options import check_number
from poolvox.shared.features.registry import Feature, register

__all__ = ["ZernikeOptions", "measure_zernike"]

Waves = NDArray[np.complex128]

# The border is read at this many places, equally far along it.
SAMPLES = 128
# Polynomials of a higher degree change faster than the pixels of a cell.
MOST_DEGREES = 40


@dataclass(frozen=True)
class ZernikeOptions:
    """Options of the group `zernike`: degree of the moments, and number of harmonics."""

    degree: int = 9
    harmonics: int = 8

    def __post_init__(self) -> None:
        """Refuse values that cannot be measured with."""
        check_number("zernike.degree", self.degree, most=MOST_DEGREES)
        check_number("zernike.harmonics", self.harmonics, least=2, most=MOST_DEGREES)


def _indices(degree: int) -> list[tuple[int, int]]:
    return [(n, m) for n in range(degree + 1) for m in range(n % 2, n + 1, 2)]


def describe_zernike(ndim: int, options: ZernikeOptions) -> tuple[Feature, ...]:
    """What the group returns."""
    moments = tuple(f"{n}_{m}" for n, m in _indices(options.degree))
    h = options.harmonics
    harmonics = tuple(str(k) for k in (*range(-h, 0), *range(2, h + 1)))
    return (
        Feature(
            "Magnitude",
            "",
            (
                "|sum over pixels of the Zernike polynomial n, m| / (pi r^2 / pixel area), "
                "in the smallest circle round the pixels' centres, of radius r; as "
                "CellProfiler's. Rotation does not change it; NaN for a single pixel"
            ),
            "doi:10.1016/0031-3203(90)90017-7",
            "[0, inf)",
            moments,
        ),
        Feature(
            "Fourier",
            "",
            (
                "|c_k / c_1| of the longest border, taken through the middles of the "
                "pixels' sides at equal steps as complex numbers; k < 0 runs the other way "
                "(k = -1: elongation). Place, size, rotation and starting point do not "
                "change it"
            ),
            "doi:10.1109/TC.1972.5008949",
            "[0, inf)",
            harmonics,
        ),
    )


@register("Zernike", dims=(2,), features=describe_zernike, options=ZernikeOptions())
def measure_zernike(objects: Objects, options: ZernikeOptions) -> dict[str, Floats]:
    """Measure the outline of every object; see `describe_zernike` for what and how."""
    pairs = np.array(_indices(options.degree))
    out = np.full((len(objects), len(pairs)), np.nan)
    magnitude = objects.reduce(_moments, out, pairs, _coefficients(options.degree))
    h = options.harmonics
    orders = np.array([1, *range(-h, 0), *range(2, h + 1)])
    turns = np.outer(np.arange(SAMPLES), orders) / SAMPLES
    waves = np.exp(-2j * np.pi * turns)
    out = np.full((len(objects), len(orders) - 1), np.nan)
    return {"Magnitude": magnitude, "Fourier": objects.reduce(_fourier, out, waves)}


def _coefficients(degree: int) -> Floats:
    """`[n, m, k]`: coefficient of rho^(n - 2 k) in the radial polynomial."""
    table = np.zeros((degree + 1, degree + 1, degree // 2 + 1))
    for n, m in _indices(degree):
        for k in range((n - m) // 2 + 1):
            below = factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k)
            table[n, m, k] = (-1) ** k * factorial(n - k) / below
    return table


@kernel
def _circle_of(points: Floats) -> tuple[float, float, float]:
    """Centre and radius of the smallest circle that holds all points (Welzl, by insertion)."""
    y, x, r = points[0, 0], points[0, 1], 0.0
    for i in range(1, len(points)):
        if np.hypot(points[i, 0] - y, points[i, 1] - x) <= r * (1 + SLACK):
            continue
        y, x, r = points[i, 0], points[i, 1], 0.0
        for j in range(i):
            if np.hypot(points[j, 0] - y, points[j, 1] - x) <= r * (1 + SLACK):
                continue
            y, x = (points[i] + points[j]) / 2
            r = np.hypot(points[i, 0] - y, points[i, 1] - x)
            for k in range(j):
                if np.hypot(points[k, 0] - y, points[k, 1] - x) > r * (1 + SLACK):
                    y, x, r = _through(points[i], points[j], points[k])
    return y, x, r


# Rounding of a point that is on the circle.
SLACK = 1e-9


@kernel
def _through(a: Floats, b: Floats, c: Floats) -> tuple[float, float, float]:
    """Circle through three points."""
    by, bx, cy, cx = b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1]
    twice = 2 * (by * cx - bx * cy)
    bb, cc = by * by + bx * bx, cy * cy + cx * cx
    y, x = (cx * bb - bx * cc) / twice, (by * cc - cy * bb) / twice
    return a[0] + y, a[1] + x, np.hypot(y, x)


@kernel
def _centre_rows(mask: Bytes) -> Ints:
    """First and last pixel of every row, as lines for the hull; (1, 0) where there is none."""
    rows = np.empty((len(mask), 2), np.int64)
    for y in range(len(mask)):
        rows[y, 0], rows[y, 1] = 1, 0
        for x in range(mask.shape[1]):
            if mask[y, x]:
                if rows[y, 1] < rows[y, 0]:
                    rows[y, 0] = x
                rows[y, 1] = x
    return rows


@kernel
def _moments(
    layout: Layout, pairs: Ints, coefficients: Floats, out: Floats, start: int, stop: int
) -> None:
    scale = layout.spacing[1:]
    degree = len(coefficients) - 1
    half = degree // 2
    for k in range(start, stop):
        mask = box_mask(layout, k, 0)[0]
        y0, x0, r = _circle_of(plane_hull(_centre_rows(mask)) * scale)
        if r == 0:
            continue
        # Sums of rho^(m + 2 j) (cos m phi, sin m phi), of which all moments are made.
        real, imaginary = np.zeros((degree + 1, half + 1)), np.zeros((degree + 1, half + 1))
        for y in range(mask.shape[0]):
            v = (y * scale[0] - y0) / r
            for x in range(mask.shape[1]):
                if mask[y, x] == 0:
                    continue
                u = (x * scale[1] - x0) / r
                square, cosine, sine = v * v + u * u, 1.0, 0.0
                for m in range(degree + 1):
                    even, odd = cosine, sine
                    for j in range((degree - m) // 2 + 1):
                        real[m, j] += even
                        imaginary[m, j] += odd
                        even, odd = even * square, odd * square
                    cosine, sine = cosine * u - sine * v, cosine * v + sine * u
        pixels = np.pi * r * r / (scale[0] * scale[1])
        for i in range(len(pairs)):
            n, m = pairs[i]
            first, second = 0.0, 0.0
            for j in range((n - m) // 2 + 1):
                first += coefficients[n, m, j] * real[m, (n - m) // 2 - j]
                second += coefficients[n, m, j] * imaginary[m, (n - m) // 2 - j]
            out[k, i] = np.hypot(first, second) / pixels


@kernel
def _trace(mask: Bytes, y: int, x: int, seen: Bytes, path: Ints) -> int:
    """Follow the border from the left side of pixel (y, x), the object on the right hand.

    `path` receives twice the position of the middles of the sides; parts that meet at a corner
    are followed as one. Left sides are marked in `seen`.
    """
    # Directions of travel along the left, upper, right and lower side, and of the outside.
    go_y, go_x = (-1, 0, 1, 0), (0, 1, 0, -1)
    out_y, out_x = (0, -1, 0, 1), (-1, 0, 1, 0)
    first_y, first_x, side, count = y, x, 0, 0
    while count == 0 or y != first_y or x != first_x or side != 0:
        if side == 0:
            seen[y, x] = 1
        path[count, 0], path[count, 1] = 2 * y + out_y[side], 2 * x + out_x[side]
        count += 1
        ahead_y, ahead_x = y + go_y[side], x + go_x[side]
        corner_y, corner_x = ahead_y + out_y[side], ahead_x + out_x[side]
        if mask[corner_y, corner_x]:
            y, x, side = corner_y, corner_x, (side + 3) % 4
        elif mask[ahead_y, ahead_x]:
            y, x = ahead_y, ahead_x
        else:
            side = (side + 1) % 4
    return count


@kernel
def _longest_border(mask: Bytes) -> Ints:
    seen = np.zeros(mask.shape, np.uint8)
    best = np.empty((0, 2), np.int64)
    path = np.empty((4 * mask.size, 2), np.int64)
    for y in range(1, mask.shape[0] - 1):
        for x in range(1, mask.shape[1] - 1):
            if mask[y, x] and not mask[y, x - 1] and not seen[y, x]:
                count = _trace(mask, y, x, seen, path)
                if count > len(best):
                    best = path[:count].copy()
    return best


@kernel
def _fourier(layout: Layout, waves: Waves, out: Floats, start: int, stop: int) -> None:
    for k in range(start, stop):
        border = _longest_border(box_mask(layout, k, 1)[0]) * (layout.spacing[1:] / 2)
        samples = _resample(border)
        first = 0.0
        for i in range(waves.shape[1]):
            total = 0j
            for j in range(SAMPLES):
                total += samples[j] * waves[j, i]
            if i == 0:
                first = abs(total)
            elif first > 0:
                out[k, i - 1] = abs(total) / first


@kernel
def _resample(border: Floats) -> Waves:
    """Places at equal steps along a closed border, as x + iy about the first."""
    count = len(border)
    along = np.zeros(count + 1)
    for i in range(count):
        step = border[(i + 1) % count] - border[i]
        along[i + 1] = along[i] + np.hypot(step[0], step[1])
    samples, i = np.empty(SAMPLES, np.complex128), 0
    for j in range(SAMPLES):
        at = along[count] * j / SAMPLES
        while along[i + 1] < at:
            i += 1
        part = (at - along[i]) / (along[i + 1] - along[i])
        y, x = border[i] + part * (border[(i + 1) % count] - border[i])
        samples[j] = complex(x - border[0, 1], y - border[0, 0])
    return samples
