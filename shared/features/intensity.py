"""Statistics of intensity inside objects, at their border and against the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.features.channels import Signal
from poolvox.shared.features.distribution import QUANTILES, describe_values, tally
from poolvox.shared.features.kernels import Floats, Ints, Layout, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.options import check_number
from poolvox.shared.features.ordering import median_of
from poolvox.shared.features.registry import Feature, register

__all__ = ["IntensityOptions", "measure_intensity"]

MOST_BINS = 1 << 16
# Objects of so many voxels have their values counted, see `tally`.
LARGE = 1 << 17


@dataclass(frozen=True)
class IntensityOptions:
    """Options of the group `intensity`.

    Attributes
    ----------
    bins : equal bins between the object's least and greatest value, for the entropy
    background_um : how far round the object's box unlabelled voxels count as its background
    """

    bins: int = 32
    background_um: float = 2.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be measured with."""
        check_number("intensity.bins", self.bins, least=1, most=MOST_BINS)
        check_number("intensity.background_um", self.background_um)


def describe_intensity(ndim: int, options: IntensityOptions) -> tuple[Feature, ...]:
    """What the group returns; values that are not finite take no part."""
    ibsi, value, any_ = "doi:10.1148/radiol.2020191145", "intensity", "(-inf, inf)"
    edge = (
        "over voxels with a face on something else; the image's border counts as "
        "background, which CellProfiler does not"
    )
    ring = f"median of unlabelled voxels up to {options.background_um:g} um round the bounding box"
    return (
        Feature("Integrated", value, "sum", ibsi, any_),
        Feature("Mean", value, "mean", ibsi, any_),
        Feature(
            "Std", value, "standard deviation, divided by the number of voxels", ibsi, "[0, inf)"
        ),
        Feature("CV", "", "Std / |Mean|; NaN when the mean is 0", ibsi, "[0, inf)"),
        Feature("Min", value, "least value", ibsi, any_),
        Feature("Max", value, "greatest value", ibsi, any_),
        Feature("Median", value, "median", ibsi, any_),
        Feature(
            "MAD",
            value,
            "median of |value - median|; CellProfiler takes the 1/ndim quantile in 3D",
            "",
            "[0, inf)",
        ),
        Feature(
            "Quantile",
            value,
            (
                "percentile, linear between the sorted values at (n - 1) q; CellProfiler "
                "before 5 interpolates at n q"
            ),
            "",
            any_,
            tuple(str(q) for q in QUANTILES),
        ),
        Feature("Skewness", "", "m3 / m2^1.5; NaN when constant", ibsi, any_),
        Feature("Kurtosis", "", "m4 / m2^2 - 3; NaN when constant", ibsi, "[-2, inf)"),
        Feature("RMS", value, "square root of the mean square", ibsi, "[0, inf)"),
        Feature(
            "Entropy",
            "bit",
            (f"of the histogram of {options.bins} equal bins between least and greatest value"),
            ibsi,
            f"[0, {np.log2(options.bins):g}]",
        ),
        Feature("EdgeIntegrated", value, f"sum {edge}", "", any_),
        Feature("EdgeMean", value, f"mean {edge}", "", any_),
        Feature("EdgeStd", value, f"standard deviation {edge}", "", "[0, inf)"),
        Feature(
            "Background",
            value,
            (
                f"{ring}; NaN when there are none. Near a cut of the image it is taken from "
                "what is there"
            ),
            "",
            any_,
        ),
        Feature("MeanCorrected", value, f"Mean minus the {ring}", "", any_),
        Feature(
            "IntegratedCorrected",
            value,
            f"Integrated minus the number of voxels times the {ring}",
            "",
            any_,
        ),
        Feature(
            "MassDisplacement_um",
            "um",
            (
                "distance between the centre and the centre weighted by intensity; NaN "
                "when the sum is 0"
            ),
            "",
            "[0, inf)",
        ),
    )


@register("Intensity", needs="images", features=describe_intensity, options=IntensityOptions())
def measure_intensity(
    objects: Objects, signal: Signal, options: IntensityOptions
) -> dict[str, Floats]:
    """Measure one channel in every object; see `describe_intensity` for what and how."""
    # The order of all values is shared with other groups; large objects do without.
    large = len(objects) > 0 and objects.counts.min() >= LARGE
    order = np.empty(0, np.int32) if large else signal.order
    out = np.empty((len(objects), 20))
    basic = objects.reduce(_statistics, out, signal.values, order, options.bins)
    edge = objects.reduce(_edge, np.empty((len(objects), 3)), _bits(objects), signal.values)
    background = _background(objects, signal, options.background_um)
    names: tuple[str, ...] = ("Integrated", "Mean", "Std", "CV", "Min", "Max", "Median", "MAD")
    found = dict(zip(names, basic.T))
    found["Quantile"] = basic[:, 8:14]
    names = ("Skewness", "Kurtosis", "RMS", "Entropy", "MassDisplacement_um")
    found |= dict(zip(names, basic.T[14:]))
    found |= dict(zip(("EdgeIntegrated", "EdgeMean", "EdgeStd"), edge.T))
    found["Background"] = background
    found["MeanCorrected"] = found["Mean"] - background
    # Voxels that were ignored have no part in the sum, so none in what is taken off it either.
    found["IntegratedCorrected"] = found["Integrated"] - basic[:, 19] * background
    return found


def _background(objects: Objects, signal: Signal, reach: float) -> Floats:
    margin = np.ceil(reach / objects.layout.spacing - 1e-9).astype(np.int64)
    if objects.ndim == 2:
        margin[0] = 0
    out = np.full(len(objects), np.nan)
    return objects.reduce(_free_median, out, _bits(objects), signal.image, margin)


def _bits(objects: Objects) -> NDArray[Any]:
    """Labels by their bits: signed and unsigned share one compiled function."""
    return objects.labels.view(f"u{objects.labels.dtype.itemsize}")


@kernel
def _statistics(
    layout: Layout, values: Floats, order: Ints, bins: int, out: Floats, start: int, stop: int
) -> None:
    for k in range(start, stop):
        first, last = layout.voxels[k], layout.voxels[k + 1]
        inside = values[first:last]
        if last - first >= LARGE:
            found, often = tally(inside)
        else:
            found = inside[order[first:last]]
            often = np.ones(len(found), np.int64)
        n = len(found)
        while n > 0 and np.isnan(found[n - 1]):
            n -= 1
        out[k] = np.nan
        out[k, 19] = often[:n].sum()
        if n > 0:
            describe_values(found[:n], often[:n], bins, out[k])
            out[k, 18] = _displacement(layout, k, inside)


@kernel
def _displacement(layout: Layout, k: int, inside: Floats) -> float:
    mass, mz, my, mx = 0.0, 0.0, 0.0, 0.0
    n, nz, ny, nx, at = 0, 0, 0, 0, 0
    for run in range(layout.runs[k], layout.runs[k + 1]):
        line, x = divmod(layout.start[run], layout.shape[2])
        z, y = divmod(line, layout.shape[1])
        z, y, x = z - layout.box[k, 0], y - layout.box[k, 2], x - layout.box[k, 4]
        for step in range(layout.length[run]):
            value = inside[at + step]
            if not np.isnan(value):
                mass, n = mass + value, n + 1
                mz, my, mx = mz + value * z, my + value * y, mx + value * (x + step)
                nz, ny, nx = nz + z, ny + y, nx + x + step
        at += layout.length[run]
    if mass == 0:
        return np.nan
    dz = (mz / mass - nz / n) * layout.spacing[0]
    dy = (my / mass - ny / n) * layout.spacing[1]
    dx = (mx / mass - nx / n) * layout.spacing[2]
    away: float = np.sqrt(dz * dz + dy * dy + dx * dx)
    return away


@kernel
def _edge(
    layout: Layout, labels: NDArray[Any], values: Floats, out: Floats, start: int, stop: int
) -> None:
    depth, height, width = layout.shape
    for k in range(start, stop):
        n, total, square, at = 0, 0.0, 0.0, layout.voxels[k]
        # Counted from a value of the object, so that a large offset costs no digits.
        base = 0.0 if np.isnan(values[at]) else values[at]
        for run in range(layout.runs[k], layout.runs[k + 1]):
            line, first = divmod(layout.start[run], width)
            z, y = divmod(line, height)
            own, last = labels[z, y, first], first + layout.length[run] - 1
            outer = y == 0 or y == height - 1
            outer = outer or (not layout.flat and (z == 0 or z == depth - 1))
            for x in range(first, last + 1):
                edge = outer or x in (first, last)
                if not edge:
                    edge = labels[z, y - 1, x] != own or labels[z, y + 1, x] != own
                    if not layout.flat:
                        edge = edge or labels[z - 1, y, x] != own or labels[z + 1, y, x] != own
                if edge and not np.isnan(values[at]):
                    d = values[at] - base
                    n, total, square = n + 1, total + d, square + d * d
                at += 1
        if n == 0:
            out[k] = np.nan
            continue
        mean = total / n
        out[k, 0], out[k, 1] = total + n * base, mean + base
        out[k, 2] = np.sqrt(max(square / n - mean * mean, 0.0))


@kernel
def _free_median(
    layout: Layout,
    labels: Floats,
    image: Floats,
    margin: Floats,
    out: Floats,
    start: int,
    stop: int,
) -> None:
    for k in range(start, stop):
        z0, y0, x0 = np.maximum(layout.box[k, 0::2] - margin, 0)
        z1, y1, x1 = np.minimum(layout.box[k, 1::2] + margin, layout.shape)
        free = np.empty((z1 - z0) * (y1 - y0) * (x1 - x0) + 1)
        n = 0
        for z in range(z0, z1):
            for y in range(y0, y1):
                names, row = labels[z, y, x0:x1], image[z, y, x0:x1]
                for x in range(len(names)):
                    value = np.float64(row[x])
                    free[n] = value
                    n += 1 if names[x] == 0 and np.isfinite(value) else 0
        if n:
            out[k] = median_of(free[:n])
