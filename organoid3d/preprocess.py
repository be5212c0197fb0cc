"""What a stack needs before it is segmented: voxel size, finite values, contrast the right way.

Nothing is guessed in silence: whatever was changed or cannot be trusted is a note that goes to
the tables and the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolvox.organoid3d.survey import Light, Survey, survey_stack
from poolvox.shared.errors import InputError

__all__ = [
    "Attenuation",
    "Prepared",
    "check_axes",
    "check_pixels",
    "check_spacing",
    "correct_attenuation",
    "intensity_range",
    "measure_attenuation",
    "prepare_stack",
]

Stack = NDArray[np.float32]
Spacing = tuple[float, float, float]

# Voxels of light microscopes, micrometres; sizes beyond are in nanometres or pixels.
VOXEL_LIMITS = (0.01, 50.0)
# Pixels wider than this, micrometres, show no nuclei.
WIDEST = 8.0
# A z step below this part of the pixel size means that the axes were mixed up.
MIN_STEP = 0.2
# And pixels that differ more than this along y and x likewise.
MAX_OBLONG = 2.0
# Planes with fewer pixels along an axis tell nothing of the order of axes.
LEAST_SQUARE = 32
# No stack is this many times deeper than it is wide.
DEEPEST = 8.0
# Too few nuclei, or too poor a fit, to tell depth from chance.
MIN_NUCLEI = 20
MIN_R2 = 0.2
# Huber's constant, in standard deviations: residuals beyond it count less;
# doi:10.1214/aoms/1177703732
HUBER = 1.345


@dataclass(frozen=True, slots=True)
class Prepared:
    """A stack that can be segmented.

    Attributes
    ----------
    stack : (Z, Y, X) array, finite, nuclei brighter than the rest
    survey : what was found out about it
    """

    stack: Stack
    survey: Survey

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed."""
        return self.survey.notes

    @property
    def inverted(self) -> bool:
        """Tell whether contrast was turned round."""
        return self.survey.light.top is not None


@dataclass(frozen=True, slots=True)
class Attenuation:
    """Loss of light with depth, after Beer and Lambert: I(z) = I0 exp(-rate z).

    Attributes
    ----------
    rate : per micrometre; positive where deeper planes are darker
    r2 : part of the variance of the logarithms that the fit explains
    count : nuclei it stands on
    trusted : whether it may be used
    reason : why not
    """

    rate: float = float("nan")
    r2: float = float("nan")
    count: int = 0
    trusted: bool = False
    reason: str = ""


def check_spacing(spacing: Any, ndim: int = 3) -> Spacing:
    """Check a voxel size (z, y, x) in micrometres, or take it from a mapping by axis.

    A missing or impossible one is an `InputError`: nothing measured would be right.
    """
    if isinstance(spacing, Mapping):
        spacing = [spacing.get(axis) for axis in "zyx"[3 - ndim :]]
    steps = None if spacing is None or np.isscalar(spacing) else list(spacing)
    if steps is None or len(steps) != ndim or any(step is None for step in steps):
        told = [spacing] if steps is None else steps
        got = ", ".join("?" if step is None else f"{step}" for step in told)
        raise InputError(
            f"the voxel size is missing or incomplete (got {got}): neither file nor configuration "
            "gives it. Set raw: stacks: voxel_size: [z, y, x] in micrometres"
        )
    try:
        sizes = [float(step) for step in steps]
    except (TypeError, ValueError):
        raise InputError(f"the voxel size must be numbers (z, y, x), got {spacing}") from None
    low, high = VOXEL_LIMITS
    if not all(np.isfinite(size) and low <= size <= high for size in sizes):
        raise InputError(
            f"the voxel size {_text(sizes)} is impossible: expected {low} to {high} micrometres "
            "along each axis"
        )
    z, y, x = sizes if ndim == 3 else (max(sizes), *sizes)
    if max(y, x) > WIDEST:
        raise InputError(
            f"the voxel size {_text(sizes)} is impossible: pixels wider than {WIDEST:g} um show no "
            "nuclei. Is it in nanometres, or in pixels?"
        )
    if max(y, x) > MAX_OBLONG * min(y, x) or z < MIN_STEP * min(y, x):
        raise InputError(
            f"the voxel size {_text(sizes)} is implausible: it must be in the order z, y, x, with "
            "y and x alike and z not much smaller; are the axes mixed up?"
        )
    return z, y, x


def prepare_stack(image: ArrayLike, spacing: Sequence[float]) -> Prepared:
    """Make a stack finite, and bright where nuclei are.

    Parameters
    ----------
    image : (Z, Y, X) array of any numbers: 8 or 16 bit, or floats of any range
    spacing : micrometres
    """
    given = np.asarray(image)
    check_pixels(given)
    survey = survey_stack(given, spacing)
    # A view that is the whole stack is that already.
    stack = survey.view.stack if survey.whole else survey.light.of(given)
    return Prepared(stack, survey)


def check_pixels(given: Any) -> None:
    """Refuse what is no stack: the wrong axes, no numbers, no voxels."""
    if given.ndim != 3:
        raise InputError(f"a stack has the axes (z, y, x), got shape {given.shape}")
    if given.dtype.kind not in "iufb":
        raise InputError(f"a stack holds real numbers, got {given.dtype}")
    if not given.size:
        raise InputError(f"the stack is empty: shape {given.shape}")


def check_axes(shape: Sequence[int], spacing: Sequence[float]) -> None:
    """Refuse an array that looks like (y, x, z).

    That is one with square planes and a far shorter last axis, or one that would be far deeper
    than it is wide. Nothing else tells; labels of such a stack would be wrong without a word.
    """
    z, y, x = shape
    short = z >= LEAST_SQUARE and x <= min(z, y) / 2
    if short and (z == y or z * spacing[0] > DEEPEST * x * spacing[2]):
        raise InputError(
            f"the stack has the shape {z} x {y} x {x}: z seems to be the last axis. Bring it to "
            "(z, y, x), or give raw: stacks: axes: yxz"
        )


def intensity_range(
    stack: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    *,
    low: float = 1.0,
    high: float = 99.8,
) -> tuple[float, float]:
    """Percentiles of an organoid, to be used for all of its blocks; equal if it is blank.

    Parameters
    ----------
    mask : (Z, Y, X) of the organoid; the empty field around a small one would move them
    """
    inside = stack[mask] if mask is not None and mask.any() else np.asarray(stack).ravel()
    inside = inside[np.isfinite(inside)]
    if not inside.size:
        return 0.0, 0.0
    bottom, top = np.percentile(inside, (low, high))
    return float(bottom), float(top)


def measure_attenuation(light: ArrayLike, depths: ArrayLike) -> Attenuation:
    """Fit the loss of light to nuclei, so that a few odd ones have little say.

    Parameters
    ----------
    light : (N,) array, mean intensity of each nucleus over the background
    depths : (N,) array, micrometres

    Examples
    --------
    >>> depths = np.linspace(0, 60, 40)
    >>> fit = measure_attenuation(100 * np.exp(-0.02 * depths), depths)
    >>> round(fit.rate, 4), fit.trusted
    (0.02, True)
    """
    brightness, z = np.asarray(light, float), np.asarray(depths, float)
    usable = np.isfinite(brightness) & np.isfinite(z) & (brightness > 0)
    logs, z = np.log(brightness[usable]), z[usable]
    count = len(logs)
    if count < MIN_NUCLEI:
        return Attenuation(count=count, reason=f"{count} nuclei, at least {MIN_NUCLEI} are needed")
    if np.ptp(z) == 0:
        return Attenuation(count=count, reason="all nuclei lie in one plane")
    slope, offset = _robust_line(z, logs)
    rest = logs - offset - slope * z
    r2 = 1 - float(rest.var()) / max(float(logs.var()), 1e-12)
    trusted = r2 >= MIN_R2 and slope < 0
    reason = ""
    if not trusted:
        reason = "light does not fall with depth" if slope >= 0 else f"r2 {r2:.2f} below {MIN_R2}"
    return Attenuation(-float(slope), r2, count, bool(trusted), reason)


def correct_attenuation(
    stack: Stack, spacing: Sequence[float], attenuation: Attenuation, *, background: float
) -> Stack:
    """Brighten deep planes by what the fit says they have lost; the background stays."""
    if not attenuation.trusted:
        return stack
    light = Light(rate=attenuation.rate * float(spacing[0]), background=background)
    return light.deepened(np.array(stack, np.float32))


def _robust_line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset by iteratively reweighted least squares."""
    weight = np.ones_like(x)
    slope, offset = 0.0, float(np.median(y))
    for _ in range(30):
        total = weight.sum()
        center, level = (weight * x).sum() / total, (weight * y).sum() / total
        slope = (weight * (x - center) * (y - level)).sum() / (weight * (x - center) ** 2).sum()
        offset = level - slope * center
        rest = np.abs(y - offset - slope * x)
        scale = 1.4826 * float(np.median(rest))
        if scale < 1e-12:
            break
        weight = np.minimum(1.0, HUBER * scale / np.maximum(rest, 1e-12))
    return float(slope), float(offset)


def _text(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in sizes) + " um"
