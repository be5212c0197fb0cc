"""Texture of objects: grey-level co-occurrence, energy at scales, local binary patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poolvox.shared.features.channels import Signal
from poolvox.shared.features.glcm import MEASURES, co_occurrence
from poolvox.shared.features.kernels import Floats, Ints, Layout, Singles, box_values, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.options import check_ladder, check_number
from poolvox.shared.features.registry import Feature, register
from poolvox.shared.features.smoothing import (
    gaussian_kernels,
    inside_weights,
    laplacian,
    smooth_box,
    weight_box,
)

__all__ = ["TextureOptions", "measure_texture"]

# The matrix of grey levels has the square of their number of places.
MOST_LEVELS = 1024
# Neighbours of a local binary pattern, and its rotation-invariant uniform classes.
NEIGHBOURS = 8
# Spread below this share of the largest value is rounding.
ROUNDING = 1e-12
CLASSES = NEIGHBOURS + 2


@dataclass(frozen=True)
class TextureOptions:
    """Options of the group `texture`.

    Attributes
    ----------
    distances_um : distances of co-occurrence
    levels : grey levels, between the object's least and greatest value
    bin_width : width of a grey level in intensity; `levels` is then only the highest number of them
    sigmas_um : widths of the Laplacian of Gaussian
    pattern_radius_um : radius of the local binary patterns, at least one pixel
    """

    distances_um: tuple[float, ...] = (1.0, 2.0, 4.0)
    levels: int = 32
    bin_width: float | None = None
    sigmas_um: tuple[float, ...] = (0.5, 1.0, 2.0)
    pattern_radius_um: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be measured with."""
        check_ladder("texture.distances_um", self.distances_um)
        check_ladder("texture.sigmas_um", self.sigmas_um)
        check_number("texture.levels", self.levels, least=2, most=MOST_LEVELS)
        check_number("texture.pattern_radius_um", self.pattern_radius_um)
        if self.bin_width is not None:
            check_number("texture.bin_width", self.bin_width, above=True)


FORMULAS = {
    "AngularSecondMoment": ("", "sum p^2", "(0, 1]"),
    "Contrast": ("", "sum (i - j)^2 p", "[0, inf)"),
    "Correlation": ("", "(sum i j p - m^2) / var; NaN when all levels are equal", "[-1, 1]"),
    "JointVariance": ("", "sum (i - m)^2 p", "[0, inf)"),
    "InverseDifferenceMoment": ("", "sum p / (1 + (i - j)^2)", "(0, 1]"),
    "SumAverage": (
        "",
        "mean of i + j, levels counting from 1 at the object's least value",
        "[2, inf)",
    ),
    "SumVariance": (
        "",
        ("variance of i + j (Haralick's own formula subtracts the entropy by mistake)"),
        "[0, inf)",
    ),
    "SumEntropy": ("bit", "entropy of i + j", "[0, inf)"),
    "Entropy": ("bit", "-sum p log2 p", "[0, inf)"),
    "DifferenceAverage": ("", "mean of |i - j|", "[0, inf)"),
    "DifferenceVariance": (
        "",
        "variance of |i - j| (CellProfiler and mahotas: variance of its probabilities)",
        "[0, inf)",
    ),
    "DifferenceEntropy": ("bit", "entropy of |i - j|", "[0, inf)"),
    "Information1": (
        "",
        (
            "(H - 2 h) / h, H the entropy of p, h that of a single level; NaN when all "
            "levels are equal"
        ),
        "[-1, 0]",
    ),
    "Information2": ("", "sqrt(1 - exp(-2 (2 h - H)))", "[0, 1]"),
    "JointMaximum": ("", "max p", "(0, 1]"),
}


def describe_texture(ndim: int, options: TextureOptions) -> tuple[Feature, ...]:
    """What the group returns for `ndim` axes."""
    ibsi = "doi:10.1148/radiol.2020191145"
    grey = (
        "between least and greatest value of the object"
        if options.bin_width is None
        else f"of width {options.bin_width:g} from the least value of the object"
    )
    pairs = (
        f"p: symmetric co-occurrence of {options.levels} grey levels {grey}, both voxels in the "
        f"object, over {4 if ndim == 2 else 13} directions, steps of the given distance rounded "
        "to the grid, equal ones once; NaN without pairs, as at less than half a voxel. "
        "CellProfiler takes its levels from the whole image, and the "
        "same number of pixels along both axes of a diagonal, which is 1.4 times as far"
    )
    scales = tuple(f"{d:g}um" for d in options.distances_um)
    features = []
    for name in MEASURES:
        unit, formula, range_ = FORMULAS[name]
        width = "[0, 2]" if name == "Correlation" else "[0, inf)"
        mean = f"{formula}; mean over directions. {pairs}"
        spread = f"{formula}; greatest minus least over directions. {pairs}"
        features.append(Feature(name, unit, mean, ibsi, range_, scales))
        features.append(Feature(f"{name}Range", unit, spread, ibsi, width, scales))
    sigmas = tuple(f"{s:g}um" for s in options.sigmas_um)
    features.append(
        Feature(
            "LoGEnergy",
            "",
            (
                "mean over the object of (sigma^2 Laplacian of Gaussian)^2, over the "
                "variance in the object; smoothed with weights inside the object only, so "
                "neighbours have no part; NaN when constant"
            ),
            "doi:10.1109/34.49051",
            "[0, inf)",
            sigmas,
        )
    )
    if ndim == 2:
        classes = tuple(str(i) for i in range(CLASSES))
        features.append(
            Feature(
                "LBP",
                "",
                (
                    f"share of pixels of each class of local binary patterns of {NEIGHBOURS} "
                    f"neighbours at {options.pattern_radius_um:g} um (at least one pixel): 0 to "
                    f"{NEIGHBOURS}, how many neighbours are not darker, if they are in one arc; "
                    f"{NEIGHBOURS + 1} otherwise; pixels with all neighbours in the object"
                ),
                "doi:10.1109/TPAMI.2002.1017623",
                "[0, 1]",
                classes,
            )
        )
    return tuple(features)


@register("Texture", needs="images", features=describe_texture, options=TextureOptions())
def measure_texture(objects: Objects, signal: Signal, options: TextureOptions) -> dict[str, Floats]:
    """Measure one channel in every object; see `describe_texture` for what and how."""
    table = co_occurrence(
        objects,
        signal.values,
        options.distances_um,
        levels=options.levels,
        bin_width=options.bin_width,
    )
    found = {name: table[:, :, 0, i] for i, name in enumerate(MEASURES)}
    found |= {f"{name}Range": table[:, :, 1, i] for i, name in enumerate(MEASURES)}
    halves = tuple(gaussian_kernels(s, objects.layout.spacing) for s in options.sigmas_um)
    weights = tuple(inside_weights(objects, half) for half in halves)
    energies = np.full((len(objects), len(halves)), np.nan)
    sigmas = np.array(options.sigmas_um, dtype=np.float64)
    scales = (halves, weights, sigmas)
    found["LoGEnergy"] = objects.reduce(_energies, energies, signal.values, scales)
    if objects.ndim == 2:
        out = np.full((len(objects), CLASSES), np.nan)
        radius = max(options.pattern_radius_um, *objects.spacing)
        found["LBP"] = objects.reduce(_patterns, out, signal.values, _taps(radius, objects.spacing))
    return found


@kernel
def _centred(box: Floats) -> tuple[Singles, Singles, float]:
    """Values about their mean, where they count, and the sum of their squares (0 if constant)."""
    centred, weight = np.zeros(box.shape, np.float32), np.zeros(box.shape, np.float32)
    flat, into, inside = box.reshape(-1), centred.reshape(-1), weight.reshape(-1)
    n, total, square, largest = 0, 0.0, 0.0, 0.0
    for value in flat:
        if not np.isnan(value):
            n, total, largest = n + 1, total + value, max(largest, abs(value))
    for i in range(flat.size):
        if not np.isnan(flat[i]):
            away = flat[i] - total / n
            inside[i], into[i] = 1.0, away
            square += away * away
    return centred, weight, square if square > n * (ROUNDING * largest) ** 2 else 0.0


@kernel
def _energies(
    layout: Layout,
    values: Floats,
    scales: tuple[tuple[Singles, ...], tuple[Singles, ...], Floats],
    out: Floats,
    start: int,
    stop: int,
) -> None:
    halves, weights, sigmas = scales
    for k in range(start, stop):
        centred, weight, square = _centred(box_values(layout, k, values, np.nan, 1))
        if square == 0:
            continue
        for i in range(len(sigmas)):
            under = weight_box(layout, k, weights[i], weight, halves[i])
            smooth = smooth_box(centred, weight, under, halves[i])
            response = laplacian(smooth, weight, layout.spacing)
            total = 0.0
            for value in response.reshape(-1):
                total += float(value) ** 2
            out[k, i] = sigmas[i] ** 4 * total / square


def _taps(radius: float, spacing: Floats) -> tuple[Floats, Floats, int]:
    """Where and with what weight each neighbour of a pattern is read between four pixels.

    Returns steps (neighbours, 4, 2) in y and x, weights (neighbours, 4), and how far they reach.
    """
    angles = 2 * np.pi * np.arange(NEIGHBOURS) / NEIGHBOURS
    # Rounded, so that a neighbour on a pixel is not read a hair beside it.
    away = np.round(radius * np.stack([-np.sin(angles), np.cos(angles)], axis=1) / spacing, 9)
    corner = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    low = np.floor(away)
    part = (away - low)[:, None, :]
    weights = np.where(corner == 1, part, 1 - part).prod(axis=2)
    steps = (low[:, None, :] + corner) * (weights > 0)[:, :, None]
    return steps.astype(np.int64), weights, int(np.abs(steps).max())


@kernel
def _patterns(
    layout: Layout,
    values: Floats,
    taps: tuple[Ints, Floats, int],
    out: Floats,
    start: int,
    stop: int,
) -> None:
    steps, weights, reach = taps
    brighter = np.empty(NEIGHBOURS, np.int64)
    for k in range(start, stop):
        box = box_values(layout, k, values, np.nan, reach)[0]
        height, width = box.shape
        flat, jump = box.reshape(-1), steps[:, :, 0] * width + steps[:, :, 1]
        counts = np.zeros(CLASSES)
        for y in range(reach, height - reach):
            for at in range(y * width + reach, (y + 1) * width - reach):
                here = flat[at]
                complete = not np.isnan(here)
                for n in range(NEIGHBOURS):
                    value = weights[n, 0] * flat[at + jump[n, 0]]
                    for tap in range(1, 4):
                        value += weights[n, tap] * flat[at + jump[n, tap]]
                    complete = complete and not np.isnan(value)
                    brighter[n] = 1 if value >= here else 0
                    if not complete:
                        break
                if complete:
                    ones, changes = 0, 0
                    for n in range(NEIGHBOURS):
                        ones += brighter[n]
                        changes += abs(brighter[n] - brighter[n - 1])
                    counts[ones if changes <= 2 else NEIGHBOURS + 1] += 1
        if counts.sum() > 0:
            out[k] = counts / counts.sum()
