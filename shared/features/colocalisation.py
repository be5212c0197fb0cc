"""Colocalisation of two channels inside each object, never in its bounding box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poolvox.shared.features.channels import Signal
from poolvox.shared.features.kernels import Floats, Ints, Layout, kernel
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.options import check_number
from poolvox.shared.features.ordering import argsort_floats
from poolvox.shared.features.registry import Feature, register

__all__ = ["ColocalisationOptions", "measure_colocalisation"]

# With fewer voxels a correlation says nothing.
MIN_VOXELS = 3


@dataclass(frozen=True)
class ColocalisationOptions:
    """Options of the group `colocalisation`: thresholds as a share of the object's maximum."""

    threshold: float = 0.15

    def __post_init__(self) -> None:
        """Refuse values that cannot be measured with."""
        check_number("colocalisation.threshold", self.threshold, most=1)


def describe_colocalisation(ndim: int, options: ColocalisationOptions) -> tuple[Feature, ...]:
    """What the group returns; every value is NaN for objects of fewer than three voxels."""
    t = f"T = {options.threshold:g} of the channel's maximum in the object"
    both = ("first", "second")
    aaron, ratio = "doi:10.1242/jcs.211847", "[0, 1]"
    return (
        Feature(
            "Pearson", "", "covariance / (sd1 sd2); NaN when either is constant", aaron, "[-1, 1]"
        ),
        Feature(
            "Slope", "", "covariance / variance of the first: second regressed on first", aaron
        ),
        Feature(
            "Overlap",
            "",
            f"sum(ab) / sqrt(sum(a^2) sum(b^2)) over voxels at or above T in both; {t}",
            aaron,
            ratio,
        ),
        Feature(
            "K",
            "",
            (
                "sum(ab) / sum(a^2), then sum(ab) / sum(b^2), over voxels at or above T in "
                f"both; {t}"
            ),
            aaron,
            "[0, inf)",
            both,
        ),
        Feature(
            "Manders",
            "",
            (
                "of the intensity of a channel at or above its T, the share where the "
                f"other is at or above its T; {t}"
            ),
            "doi:10.1111/j.1365-2818.1993.tb03313.x",
            ratio,
            both,
        ),
        Feature(
            "RWC",
            "",
            (
                "as Manders, each voxel weighted by 1 - |rank1 - rank2| / R, equal values "
                f"sharing a rank, R the number of ranks; {t}"
            ),
            "doi:10.1186/1471-2105-12-407",
            ratio,
            both,
        ),
        Feature(
            "Costes",
            "",
            (
                "as Manders with Costes' thresholds: the greatest pair on the line of "
                "orthogonal regression below which (in either channel) the correlation is "
                "not positive. Found exactly among the voxels' values, where CellProfiler "
                "steps through grey levels; NaN when the regression does not rise"
            ),
            "doi:10.1529/biophysj.103.038422",
            ratio,
            both,
        ),
    )


@register(
    "Colocalisation",
    needs="pairs",
    features=describe_colocalisation,
    options=ColocalisationOptions(),
)
def measure_colocalisation(
    objects: Objects, first: Signal, second: Signal, options: ColocalisationOptions
) -> dict[str, Floats]:
    """Measure a pair of channels in every object; see `describe_colocalisation`."""
    out = np.full((len(objects), 11), np.nan)
    values, ranks = (first.values, second.values), (first.ranks, second.ranks)
    objects.reduce(_pairs, out, values, ranks, options.threshold)
    names = ("Pearson", "Slope", "Overlap")
    found = dict(zip(names, out.T))
    for at, name in ((3, "K"), (5, "Manders"), (7, "RWC"), (9, "Costes")):
        found[name] = out[:, at : at + 2]
    return found


@kernel
def _thresholded(
    a: Floats, b: Floats, ranks: Ints, others: Ints, threshold: float, out: Floats
) -> None:
    if a.max() <= 0 or b.max() <= 0:
        return
    ta, tb = threshold * a.max(), threshold * b.max()
    top = max(ranks.max(), others.max()) + 1
    sums, ab = np.zeros(8), 0.0
    for i in range(len(a)):
        if a[i] >= ta:
            sums[0] += a[i]
        if b[i] >= tb:
            sums[1] += b[i]
        if a[i] >= ta and b[i] >= tb:
            weight = (top - abs(ranks[i] - others[i])) / top
            sums[2] += a[i]
            sums[3] += b[i]
            sums[4] += a[i] * weight
            sums[5] += b[i] * weight
            sums[6] += a[i] * a[i]
            sums[7] += b[i] * b[i]
            ab += a[i] * b[i]
    if sums[6] > 0 and sums[7] > 0:
        out[2] = ab / np.sqrt(sums[6] * sums[7])
        out[3], out[4] = ab / sums[6], ab / sums[7]
    out[5], out[6] = sums[2] / sums[0], sums[3] / sums[1]
    out[7], out[8] = sums[4] / sums[0], sums[5] / sums[1]


@kernel
def _costes(a: Floats, b: Floats, slope: float, offset: float, out: Floats) -> None:
    """Voxels leave the background one by one as the pair of thresholds comes down the line."""
    # The second channel on the scale of the first: equal values meet one threshold exactly.
    matched = (b - offset) / slope
    level = np.minimum(a, matched)
    order = argsort_floats(level)
    da, db = a - a.mean(), b - b.mean()
    sa, sb, saa, sbb, sab = 0.0, 0.0, 0.0, 0.0, 0.0
    cut = 0
    for n in range(1, len(order)):
        x, y = da[order[n - 1]], db[order[n - 1]]
        sa, sb = sa + x, sb + y
        saa, sbb, sab = saa + x * x, sbb + y * y, sab + x * y
        # Voxels of one level leave together.
        if n >= MIN_VOXELS and level[order[n]] > level[order[n - 1]]:
            spread = (n * saa - sa * sa) * (n * sbb - sb * sb)
            if spread > 0 and n * sab - sa * sb <= 0:
                cut = n
    ta = level[order[cut]]
    own = np.zeros(4)
    for i in range(len(a)):
        above = level[i] >= ta
        own[0] += a[i] if a[i] >= ta else 0.0
        own[1] += b[i] if matched[i] >= ta else 0.0
        own[2] += a[i] if above else 0.0
        own[3] += b[i] if above else 0.0
    if own[0] > 0:
        out[9] = own[2] / own[0]
    if own[1] > 0:
        out[10] = own[3] / own[1]


@kernel
def _products(a: Floats, b: Floats) -> tuple[float, float, float]:
    """Sums of squares and products about the means."""
    va, vb, cov, ma, mb = 0.0, 0.0, 0.0, a.mean(), b.mean()
    for i in range(len(a)):
        da, db = a[i] - ma, b[i] - mb
        va, vb, cov = va + da * da, vb + db * db, cov + da * db
    return va, vb, cov


@kernel
def _pairs(
    layout: Layout,
    values: tuple[Floats, Floats],
    ranks: tuple[Ints, Ints],
    threshold: float,
    out: Floats,
    start: int,
    stop: int,
) -> None:
    for k in range(start, stop):
        first, last = layout.voxels[k], layout.voxels[k + 1]
        a, b = values[0][first:last], values[1][first:last]
        both = ~(np.isnan(a) | np.isnan(b))
        a, b = a[both], b[both]
        if len(a) < MIN_VOXELS:
            continue
        rank, other = ranks[0][first:last][both], ranks[1][first:last][both]
        _thresholded(a, b, rank, other, threshold, out[k])
        if a.max() == a.min() or b.max() == b.min():
            continue
        va, vb, cov = _products(a, b)
        out[k, 0] = min(max(cov / np.sqrt(va * vb), -1.0), 1.0)
        out[k, 1] = cov / va
        if cov > 0:
            slope = (vb - va + np.sqrt((vb - va) ** 2 + 4 * cov * cov)) / (2 * cov)
            _costes(a, b, slope, b.mean() - slope * a.mean(), out[k])
