"""Texture of objects: grey-level co-occurrence, energy at scales, local binary patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poolvox.shared.features.channels import Signal
from poolvox.shared.features.glcm import MEASURES, co_occurrence
from poolvox.shared.features.kernels import Floats, Layout, box_values, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.registry import Feature, register
from poolvox.shared.features.smoothing import gaussian_kernels, laplacian, smooth_box

__all__ = ["TextureOptions", "measure_texture"]

# Neighbours of a local binary pattern, and its rotation-invariant uniform classes.
NEIGHBOURS = 8
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


FORMULAS = {
    "AngularSecondMoment": ("", "sum p^2", "(0, 1]"),
    "Contrast": ("", "sum (i - j)^2 p", "[0, inf)"),
    "Correlation": ("", "(sum i j p - m^2) / var; NaN when all levels are equal", "[-1, 1]"),
    "JointVariance": ("", "sum (i - m)^2 p", "[0, inf)"),
    "InverseDifferenceMoment": ("", "sum p / (1 + (i - j)^2)", "(0, 1]"),
    "SumAverage": ("", "mean of i + j, levels counting from 1", "[2, inf)"),
    "SumVariance": (
        "",
        ("variance of i + j (Haralick's own formula subtracts the entropy by mistake)"),
        "[0, inf)",
    ),
    "SumEntropy": ("bit", "entropy of i + j", "[0, inf)"),
    "Entropy": ("bit", "-sum p log2 p", "[0, inf)"),
    "DifferenceAverage": ("", "mean of |i - j|", "[0, inf)"),
    "DifferenceVariance": ("", "variance of |i - j|", "[0, inf)"),
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
    pairs = (
        f"p: symmetric co-occurrence of {options.levels} grey levels"
        + (
            " between least and greatest value of the object"
            if options.bin_width is None
            else f" of width {options.bin_width:g} from the least value of the object"
        )
        + (
            "; both voxels in the object; mean or range (greatest - least) over "
            f"{4 if ndim == 2 else 13} directions, steps of the given distance rounded "
            "to the grid, equal ones once"
        )
    )
    scales = tuple(f"{d:g}um_{kind}" for d in options.distances_um for kind in ("mean", "range"))
    features = [
        Feature(
            name,
            FORMULAS[name][0],
            f"{FORMULAS[name][1]}; {pairs}",
            ibsi,
            FORMULAS[name][2],
            scales,
        )
        for name in MEASURES
    ]
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
    found = {name: table[..., i].reshape(len(objects), -1) for i, name in enumerate(MEASURES)}
    found["LoGEnergy"] = np.empty((len(objects), len(options.sigmas_um)))
    for i, sigma in enumerate(options.sigmas_um):
        halves = gaussian_kernels(sigma, objects.layout.spacing)
        out = np.full(len(objects), np.nan)
        found["LoGEnergy"][:, i] = objects.reduce(_energy, out, signal.values, halves, sigma)
    if objects.ndim == 2:
        out = np.full((len(objects), CLASSES), np.nan)
        radius = max(options.pattern_radius_um, *objects.spacing)
        found["LBP"] = objects.reduce(_patterns, out, signal.values, radius)
    return found


@kernel
def _energy(
    layout: Layout, values: Floats, halves: Floats, sigma: float, out: Floats, start: int, stop: int
) -> None:
    for k in range(start, stop):
        box = box_values(layout, k, values, np.nan, 0)
        flat, weight = box.reshape(-1), np.zeros(box.shape)
        inside = weight.reshape(-1)
        n, total, square = 0, 0.0, 0.0
        for i in range(flat.size):
            if not np.isnan(flat[i]):
                inside[i], n, total = 1.0, n + 1, total + flat[i]
        largest = 0.0
        for i in range(flat.size):
            # About the mean: a large offset would cost digits, and is no texture.
            if inside[i] > 0:
                largest = max(largest, abs(flat[i]))
                flat[i] -= total / n
                square += flat[i] ** 2
            else:
                flat[i] = 0.0
        if n == 0 or square <= n * (1e-12 * largest) ** 2:
            continue
        response = laplacian(smooth_box(box, weight, halves), weight, layout.spacing)
        out[k] = sigma**4 * (response**2).sum() / square


@kernel
def _patterns(
    layout: Layout, values: Floats, radius: float, out: Floats, start: int, stop: int
) -> None:
    angles = 2 * np.pi * np.arange(NEIGHBOURS) / NEIGHBOURS
    away_y = np.round(-radius * np.sin(angles) / layout.spacing[1], 9)
    away_x = np.round(radius * np.cos(angles) / layout.spacing[2], 9)
    darker = np.empty(NEIGHBOURS, np.int64)
    for k in range(start, stop):
        box = box_values(layout, k, values, np.nan, 0)[0]
        height, width = box.shape
        counts = np.zeros(CLASSES)
        for y in range(height):
            for x in range(width):
                if np.isnan(box[y, x]):
                    continue
                complete = True
                for n in range(NEIGHBOURS):
                    value = _between(box, y + away_y[n], x + away_x[n])
                    if np.isnan(value):
                        complete = False
                        break
                    darker[n] = 1 if value >= box[y, x] else 0
                if complete:
                    changes = 0
                    for n in range(NEIGHBOURS):
                        changes += abs(darker[n] - darker[n - 1])
                    counts[darker.sum() if changes <= 2 else NEIGHBOURS + 1] += 1
        if counts.sum() > 0:
            out[k] = counts / counts.sum()


@kernel
def _between(box: Floats, y: float, x: float) -> float:
    """Bilinear value; NaN if a pixel it needs is outside the object or the box."""
    top, left = int(np.floor(y)), int(np.floor(x))
    fy, fx = y - top, x - left
    value = 0.0
    for dy in range(2):
        for dx in range(2):
            share = (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
            if share == 0:
                continue
            if not (0 <= top + dy < box.shape[0] and 0 <= left + dx < box.shape[1]):
                return np.nan
            value += share * box[top + dy, left + dx]
    return value
