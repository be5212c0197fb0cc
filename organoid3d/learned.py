"""Nuclei of one stack by a network: size, intensity range, windows, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.blobs import Pooled, estimate_diameter
from poolvox.organoid3d.blocks import WINDOW_BYTES, Box, Frame, Window, lay_out
from poolvox.organoid3d.classical import stands_out
from poolvox.organoid3d.levels import lit_surroundings
from poolvox.organoid3d.masks import OrganoidOptions, segment_organoids
from poolvox.organoid3d.models import ModelFolder
from poolvox.organoid3d.network import Network, load_network
from poolvox.organoid3d.outlines import refine_labels
from poolvox.organoid3d.preprocess import intensity_range
from poolvox.organoid3d.segment import (
    StarOptions,
    draw_stars,
    find_stars,
    name_stars,
    object_margin,
    typical_radius,
)
from poolvox.organoid3d.sizing import is_off, size_off
from poolvox.organoid3d.stars import Stars
from poolvox.organoid3d.survey import Sample
from poolvox.shared.errors import InputError

__all__ = [
    "LearnedResult",
    "Outlines",
    "Settled",
    "all_windows",
    "find_nuclei_by_network",
    "make_frame",
    "options_of",
    "settle_frame",
    "typical_diameter",
    "windows_of",
]

Stack = NDArray[np.float32]
Labels = NDArray[np.uint32]
Triple = tuple[float, float, float]

# Factors beyond these mean that the voxel size or the diameter is wrong.
SCALE_LIMITS = (0.05, 20.0)
# Sizes within this factor of the training size are left as they are: bringing them to it exactly
# gains nothing, and resampling costs sharpness.
CLOSE = 1.15
# Tissue whose intensities set the range; a single nucleus is tissue enough.
TISSUE = OrganoidOptions(closing=5.0, min_volume=50.0)
# Whatever may hold a nucleus: a little brighter than the darkest.
FAINT = OrganoidOptions(threshold=0.15, closing=0.0, min_volume=0.0)
# Times that the scale is chosen anew by what the network saw at the last one.
LOOKS = 3
# Windows in which the network checks the size; those with the most tissue.
SAMPLED = 4
# Blobs are sized as they look, blurred: wider than their nuclei by this factor.
BLURRED = 1.1
# Contrast at which the logarithm bends before blobs are sized, relative to the bright parts.
KNEE = 0.25


@dataclass(frozen=True, slots=True)
class Outlines:
    """The network's own outlines of nuclei, for measurements of shape.

    Attributes
    ----------
    centers : (N, 3) array, micrometres
    directions : (R, 3) array of unit vectors, in micrometres
    lengths : (N, R) array, micrometres
    """

    centers: NDArray[np.float32]
    directions: NDArray[np.float32]
    lengths: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LearnedResult:
    """Labels (Z, Y, X), 1 to N in raster order of their centres, and what they came from.

    Attributes
    ----------
    diameter : of a typical nucleus, micrometres
    probability : (N,) array
    outlines : of the N nuclei
    scale : voxels of the network per voxel of the stack
    notes : what is worth knowing
    """

    labels: Labels
    diameter: float
    probability: NDArray[np.float32]
    outlines: Outlines
    scale: Triple
    notes: tuple[str, ...]


def find_nuclei_by_network(
    stack: Stack,
    spacing: Sequence[float],
    model: ModelFolder,
    *,
    scale: float | Literal["auto"] = "auto",
    diameter: float | None = None,
    view: Pooled | None = None,
    sample: Sample | None = None,
) -> LearnedResult:
    """Segment bright nuclei.

    Parameters
    ----------
    stack : (Z, Y, X) array without NaN
    spacing : (z, y, x), micrometres
    scale : factor to the size that the network was trained on, or `auto`
    diameter : of a typical nucleus, micrometres; estimated where it is not given
    view : the stack, averaged where it is large; None: the stack itself
    sample : of the stack, on voxels that show nuclei; None: the view
    """
    network = load_network(model)
    shown = view or Pooled(stack, (1, 1, 1), np.asarray(spacing, float))
    settled = settle_frame(
        stack, shown, spacing, network, scale=scale, diameter=diameter, sample=sample
    )
    frame, notes = settled.frame, settled.notes
    if frame.high <= frame.low:
        return _nothing(stack, network, frame, notes)
    stars = settled.stars
    if stars is None:
        windows = windows_of(frame, network, shown)
        stars = find_stars(stack, frame, network, options_of(model), windows)
    names = name_stars(stars, frame, network.geometry)
    labels = draw_stars(stars, names, frame, network.geometry, Box((0, 0, 0), frame.shape))
    if model.refine:
        typical = typical_radius(stars, names, frame, network.geometry, spacing)
        labels = refine_labels(labels, stack, spacing=spacing, typical=typical)
    order = np.argsort(names)[np.count_nonzero(names == 0) :]
    kept = stars.take(order)
    outlines = _outlines(kept, frame, network, spacing)
    volumes = np.bincount(labels.ravel(), minlength=len(kept) + 1)[1:] * float(np.prod(spacing))
    return LearnedResult(labels, typical_diameter(volumes), kept.prob, outlines, frame.ratio, notes)


@dataclass(frozen=True, slots=True)
class Settled:
    """How a stack is brought to the network.

    Attributes
    ----------
    frame : the scale and the range of intensities
    notes : what is worth knowing about them
    stars : the polyhedra of the whole stack, if they were found on the way; else None
    """

    frame: Frame
    notes: tuple[str, ...]
    stars: Stars | None = None


def settle_frame(
    source: Any,
    view: Pooled,
    spacing: Sequence[float],
    network: Network,
    *,
    scale: float | Literal["auto"],
    diameter: float | None,
    sample: Sample | None = None,
) -> Settled:
    """Choose scale and intensities, and let the network check the size in a few windows.

    Parameters
    ----------
    source : (Z, Y, X) array, read by slices; what the network will be given
    view : the same, averaged where it is large
    spacing : of the source, micrometres
    sample : of the source, on voxels that show nuclei; None: the view
    """
    model, fine = network.folder, sample or view
    frame, notes = make_frame(fine, source.shape, spacing, model, scale=scale, diameter=diameter)
    if not stands_out(fine.stack, fine.spacing.tolist(), diameter):
        none = (*notes, "nothing stands out of the noise: no nuclei were looked for")
        return Settled(replace(frame, low=0.0, high=0.0), none)
    if scale != "auto" or diameter is not None or frame.high <= frame.low:
        return Settled(frame, tuple(notes))
    for _ in range(LOOKS):
        windows = windows_of(frame, network, view)
        looked = _fullest(windows, frame, view) if len(windows) > SAMPLED else windows
        stars = find_stars(source, frame, network, options_of(model), looked)
        off = size_off(stars, network)
        if not is_off(off):
            return Settled(frame, tuple(notes), stars if looked is windows else None)
        # Blobs told the size badly; the network has seen the nuclei now and tells it better.
        frame = replace(frame, scale=_times(frame.scale, 1 / off))
    notes.append(f"{LOOKS} looks did not settle the size of nuclei: better give nuclei: diameter")
    return Settled(frame, tuple(notes))


def windows_of(
    frame: Frame, network: Network, view: Pooled, *, most: int = WINDOW_BYTES
) -> list[Window]:
    """Windows that may hold nuclei, of at most so many bytes."""
    if frame.low == frame.high:
        return []
    windows = all_windows(frame, network, most)
    if len(windows) == 1:
        return windows
    faint = _faint_tissue(view)
    return [window for window in windows if _tissue_in(window, frame, faint)]


def all_windows(frame: Frame, network: Network, most: int = WINDOW_BYTES) -> list[Window]:
    """Windows that cover the stack."""
    return lay_out(frame.size, network.folder, margin=object_margin(network), most=most)


def options_of(model: ModelFolder) -> StarOptions:
    """The model's own thresholds."""
    return StarOptions(model.prob, model.nms)


def typical_diameter(volumes: Any) -> float:
    """Of the ball with the median of the volumes; NaN without any."""
    return float(np.cbrt(np.median(volumes) * 6 / np.pi)) if len(volumes) else float("nan")


def _times(scale: Triple, factor: float) -> Triple:
    z, y, x = scale
    return z * factor, y * factor, x * factor


def make_frame(
    view: Pooled,
    shape: Sequence[int],
    spacing: Sequence[float],
    model: ModelFolder,
    *,
    scale: float | Literal["auto"],
    diameter: float | None,
) -> tuple[Frame, list[str]]:
    """How a stack is brought to what the network knows, and what is worth knowing about that.

    Parameters
    ----------
    view : the stack or a sample of it, averaged where it is large
    shape, spacing : of the stack itself
    """
    notes = list(model.notes)
    factors = _factors(view, spacing, model, scale, diameter, notes)
    inside = segment_organoids([view.stack], spacing=view.spacing.tolist(), options=TISSUE) > 0
    if isinstance(view, Sample):
        inside[..., view.beside_seams()] = False
    least, most = model.percentiles
    low, high = intensity_range(view.stack, inside, low=least, high=most)
    z, y, x = shape
    return Frame((z, y, x), factors, low, high), notes


def _faint_tissue(view: Pooled) -> NDArray[np.bool_]:
    """Mask of all that may hold a nucleus, on the voxels of the view."""
    found = segment_organoids([view.stack], spacing=view.spacing.tolist(), options=FAINT)
    return np.asarray(found > 0)


def _tissue_in(window: Window, frame: Frame, tissue: NDArray[np.bool_]) -> int:
    """Count the tissue in a window's core; the mask may be coarser than the stack."""
    ratio = [m / n for m, n in zip(tissue.shape, frame.size, strict=True)]
    part = tuple(
        slice(int(a * r), max(int(np.ceil(b * r)), int(a * r) + 1))
        for a, b, r in zip(window.core.start, window.core.stop, ratio, strict=True)
    )
    return int(np.count_nonzero(tissue[part]))


def _fullest(windows: list[Window], frame: Frame, view: Pooled) -> list[Window]:
    """A few windows with the most tissue, in their order."""
    faint = _faint_tissue(view)
    tissue = np.array([_tissue_in(window, frame, faint) for window in windows])
    chosen = np.sort(np.argsort(-tissue, kind="stable")[:SAMPLED])
    return [windows[number] for number in chosen]


def _factors(
    view: Pooled,
    spacing: Sequence[float],
    model: ModelFolder,
    scale: float | Literal["auto"],
    diameter: float | None,
    notes: list[str],
) -> Triple:
    """Voxels of the network per voxel of the stack, by axis."""
    if scale != "auto":
        return float(scale), float(scale), float(scale)
    if model.diameter is None:
        notes.append(f"{model.path.name} does not tell the size of its nuclei: scale 1 was taken")
        return 1.0, 1.0, 1.0
    size = diameter or _estimate(view.stack, view.spacing.tolist())
    if not np.isfinite(size):
        notes.append("no nuclei to tell the scale by: scale 1 was taken")
        return 1.0, 1.0, 1.0
    z, y, x = (d * s / size for d, s in zip(model.diameter, spacing, strict=True))
    low, high = SCALE_LIMITS
    if not all(low < factor < high for factor in (z, y, x)):
        raise InputError(
            f"nuclei of {size:.3g} um would have to be scaled by {z:.3g} x {y:.3g} x {x:.3g} to "
            "the size the network knows: check voxel_size, or give nuclei: diameter or scale"
        )
    return _unless_close(z), _unless_close(y), _unless_close(x)


def _unless_close(factor: float) -> float:
    return 1.0 if 1 / CLOSE < factor < CLOSE else factor


def _estimate(stack: Stack, spacing: Sequence[float]) -> float:
    """Diameter of the blobs that the stack mostly consists of, on a scale that lifts dim ones."""
    low, high = intensity_range(stack, low=5.0, high=99.5)
    lit = lit_surroundings(stack, spacing)
    if lit is not None:
        high = intensity_range(stack, lit, high=99.5)[1]
    if high <= low:
        return float("nan")
    knee = np.float32(KNEE * (high - low))
    return estimate_diameter(np.log1p(np.clip(stack - low, 0, None) / knee), spacing) / BLURRED


def _outlines(stars: Stars, frame: Frame, network: Network, spacing: Sequence[float]) -> Outlines:
    """Polyhedra in micrometres."""
    ratio = np.asarray(frame.ratio)
    step = np.asarray(spacing) / ratio
    vectors = network.geometry.vertices * step
    stretch = np.linalg.norm(vectors, axis=1)
    return Outlines(
        np.asarray(((stars.points + 0.5) / ratio - 0.5) * spacing, np.float32),
        np.asarray(vectors / stretch[:, None], np.float32),
        np.asarray(stars.dist * stretch, np.float32),
    )


def _nothing(stack: Stack, network: Network, frame: Frame, notes: tuple[str, ...]) -> LearnedResult:
    none = Stars.none(network.folder.rays)
    outlines = _outlines(none, frame, network, (1.0, 1.0, 1.0))
    empty = np.zeros(stack.shape, np.uint32)
    return LearnedResult(empty, float("nan"), none.prob, outlines, frame.ratio, notes)
