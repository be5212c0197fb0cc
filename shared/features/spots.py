"""Spots (foci) inside objects: how many, how large, how bright, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from poolvox.shared.features.channels import Signal
from poolvox.shared.features.kernels import Floats, Ints, Layout, Singles, box_values, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.options import check_number
from poolvox.shared.features.ordering import median_of
from poolvox.shared.features.radial import coordinates, innermost
from poolvox.shared.features.registry import Feature, register
from poolvox.shared.features.smoothing import (
    gaussian_kernels,
    inside_weights,
    laplacian,
    smooth_box,
    weight_box,
)

__all__ = ["SpotsOptions", "measure_spots"]

# Standard deviation of normal noise over its median absolute deviation.
MAD_TO_SD = 1.4826
COLUMNS = 7


@dataclass(frozen=True)
class SpotsOptions:
    """Options of the group `spots`.

    Attributes
    ----------
    diameter_um : of the spots that are looked for
    snr : how far a peak of the filter stands above its median in the object, in robust
        standard deviations of the filter in the object
    """

    diameter_um: float = 1.0
    snr: float = 6.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be measured with."""
        check_number("spots.diameter_um", self.diameter_um, above=True)
        check_number("spots.snr", self.snr, above=True)


class _Search(NamedTuple):
    """Halves of the Gaussian, its sums over the objects (see `inside_weights`), and the SNR."""

    halves: Singles
    weights: Singles
    snr: float


class _Body(NamedTuple):
    """One object for its spots.

    Attributes
    ----------
    order : which of its voxels each voxel of the box is
    place : (n, 3) micrometres
    border : (n,) micrometres to the nearest voxel outside
    centre : (3,) micrometres, of the voxel farthest from the outside
    middle : median of its values
    """

    order: Ints
    place: Floats
    border: Floats
    centre: Floats
    middle: float


def describe_spots(ndim: int, options: SpotsOptions) -> tuple[Feature, ...]:
    """What the group returns for `ndim` axes."""
    unit = "um3" if ndim == 3 else "um2"
    what = (
        "spots: peaks of -Laplacian of Gaussian for a diameter of "
        f"{options.diameter_um:g} um, inside the object alone, {options.snr:g} "
        "robust standard deviations above its median; a spot is what is connected "
        "to the peak above half its height"
    )
    some, positive = "; NaN without spots", "[0, inf)"
    return (
        Feature("Count", "count", f"number of {what}", "", positive),
        Feature(
            "AreaFraction" if ndim == 2 else "VolumeFraction",
            "",
            f"share of the object in {what}",
            "",
            "[0, 1]",
        ),
        Feature(f"Size_{unit}", unit, f"mean size of {what}{some}", "", positive),
        Feature(
            "Contrast",
            "intensity",
            f"mean over {what} of the spot's mean above the object's median{some}",
        ),
        Feature("MaxContrast", "intensity", f"greatest of that over {what}{some}"),
        Feature(
            "BorderDistance_um",
            "um",
            f"mean distance from the peak to the nearest voxel outside; {what}{some}",
            "",
            positive,
        ),
        Feature(
            "CentreDistance_um",
            "um",
            (f"mean distance from the peak to the voxel farthest from the outside; {what}{some}"),
            "",
            positive,
        ),
    )


@register("Spots", needs="images", features=describe_spots, options=SpotsOptions())
def measure_spots(objects: Objects, signal: Signal, options: SpotsOptions) -> dict[str, Floats]:
    """Measure one channel in every object; see `describe_spots` for what and how."""
    # The filter answers most to a ball of radius sigma sqrt(ndim).
    sigma = options.diameter_um / 2 / np.sqrt(objects.ndim)
    halves = gaussian_kernels(sigma, objects.layout.spacing)
    search = _Search(halves, inside_weights(objects, halves), float(options.snr))
    out = np.full((len(objects), COLUMNS), np.nan)
    objects.reduce(_spots, out, signal.values, objects.border_distance, search)
    names = [feature.name for feature in describe_spots(objects.ndim, options)]
    found = dict(zip(names, out.T))
    found[names[2]] = found[names[2]] * objects.voxel_size
    return found


@kernel
def _filter(layout: Layout, k: int, box: Floats, search: _Search) -> Floats:
    """-Laplacian of Gaussian inside the object, NaN outside."""
    weight, centred = np.zeros(box.shape, np.float32), np.zeros(box.shape, np.float32)
    middle = np.nanmean(box)
    result = np.full(box.shape, np.nan)
    flat, into, inside = box.reshape(-1), centred.reshape(-1), weight.reshape(-1)
    for i in range(flat.size):
        if not np.isnan(flat[i]):
            inside[i], into[i] = 1.0, flat[i] - middle
    under = weight_box(layout, k, search.weights, weight, search.halves)
    smooth = smooth_box(centred, weight, under, search.halves)
    response = laplacian(smooth, weight, layout.spacing)
    answers, source = result.reshape(-1), response.reshape(-1)
    for i in range(flat.size):
        if inside[i] > 0:
            answers[i] = -source[i]
    return result


@kernel
def _is_peak(response: Floats, z: int, y: int, x: int) -> bool:
    here = response[z, y, x]
    depth = len(response)
    for dz in range(-1 if z else 0, 2 if z < depth - 1 else 1):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                if dz == 0 and dy == 0 and dx == 0:
                    continue
                near = response[z + dz, y + dy, x + dx]
                # Of equal neighbours the first is the peak.
                if near > here or (near == here and (dz, dy, dx) < (0, 0, 0)):
                    return False
    return True


@kernel
def _grow(response: Floats, taken: Ints, peak: int, spot: int, queue: Ints) -> int:
    """Give `spot` everything connected to its peak above half its height; how many voxels."""
    depth, height, width = response.shape
    flat, owner = response.reshape(-1), taken.reshape(-1)
    steps = (1, width, height * width if depth > 1 else 1)
    queue[0], owner[peak] = peak, spot
    size, at = 1, 0
    while at < size:
        for step in steps:
            for near in (queue[at] - step, queue[at] + step):
                if owner[near] == 0 and flat[near] > flat[peak] / 2:
                    owner[near], queue[size] = spot, near
                    size += 1
        at += 1
    return size


@kernel
def _spots(
    layout: Layout,
    values: Floats,
    border: Floats,
    search: _Search,
    out: Floats,
    start: int,
    stop: int,
) -> None:
    for k in range(start, stop):
        first, last = layout.voxels[k], layout.voxels[k + 1]
        inside = values[first:last]
        kept = inside[~np.isnan(inside)]
        if len(kept) == 0:
            continue
        # The padding of one voxel lets every voxel of the object look at its neighbours.
        box = box_values(layout, k, values, np.nan, 1)
        response = _filter(layout, k, box, search)
        flat = response.reshape(-1)
        answers = flat[~np.isnan(flat)]
        # Values that single precision cannot hold leave nothing to look at.
        if len(answers) < len(kept):
            continue
        middle = median_of(answers)
        noise = MAD_TO_SD * median_of(np.abs(answers - middle))
        # Rounding alone makes peaks in a constant object.
        floor = middle + max(search.snr * noise, 1e-9 * np.abs(kept).max())
        peaks = _peaks(response, floor)
        out[k, 0], out[k, 1] = 0, 0
        if len(peaks):
            place, far = coordinates(layout, k), border[first:last]
            centre = place[innermost(place, far)]
            # Which voxel of the object each one of the box is.
            own = box_values(layout, k, np.arange(last, dtype=np.float64), -1.0, 1).reshape(-1)
            order = own.astype(np.int64) - first
            body = _Body(order, place, far, centre, median_of(kept))
            _describe(box, response, peaks, body, out[k])
            out[k, 1] /= last - first


@kernel
def _peaks(response: Floats, floor: float) -> Ints:
    """Flat indices of the peaks above `floor`, highest first."""
    depth, height, width = response.shape
    peaks, heights, n = np.empty(response.size, np.int64), np.empty(response.size), 0
    for z in range(depth):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                if response[z, y, x] > floor and _is_peak(response, z, y, x):
                    peaks[n], heights[n] = (z * height + y) * width + x, -response[z, y, x]
                    n += 1
    return peaks[:n][np.argsort(heights[:n], kind="mergesort")]


@kernel
def _describe(box: Floats, response: Floats, peaks: Ints, body: _Body, out: Floats) -> None:
    taken, queue = np.zeros(response.shape, np.int64), np.empty(response.size, np.int64)
    flat, owner = box.reshape(-1), taken.reshape(-1)
    n, size, contrast, top, border, away = 0, 0, 0.0, -np.inf, 0.0, 0.0
    for peak in peaks:
        # A lower peak on the flank of a spot is part of it.
        if owner[peak]:
            continue
        count = _grow(response, taken, peak, n + 1, queue)
        bright = 0.0
        for i in range(count):
            bright += flat[queue[i]] - body.middle
        n, size, contrast = n + 1, size + count, contrast + bright / count
        top = max(top, bright / count)
        own = body.order[peak]
        border += body.border[own]
        away += np.sqrt(((body.place[own] - body.centre) ** 2).sum())
    out[0], out[1] = n, size
    if n:
        out[2], out[3], out[4], out[5], out[6] = size / n, contrast / n, top, border / n, away / n
