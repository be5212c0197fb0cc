"""The one way to segment nuclei, whichever method does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.blobs import Pooled
from poolvox.organoid3d.classical import find_nuclei_classically
from poolvox.organoid3d.hot import hot_notes, quieten
from poolvox.organoid3d.models import ModelFolder, read_model
from poolvox.organoid3d.preprocess import check_axes, check_pixels, check_spacing, prepare_stack
from poolvox.organoid3d.survey import Sample
from poolvox.shared.errors import InputError

if TYPE_CHECKING:
    from poolvox.organoid3d.learned import Outlines

__all__ = [
    "SEGMENTERS",
    "Nuclei",
    "NucleiRequest",
    "Segmenter",
    "check_model",
    "find_nuclei",
    "find_prepared",
    "segment_nuclei",
]

# Fewer planes than this are segmented as one: nothing can be said about the third axis.
MIN_PLANES = 3
# Stacks thinner than this many nuclei have no nucleus that a network could see whole.
THIN = 1.5


@dataclass(frozen=True, slots=True)
class NucleiRequest:
    """What a segmenter is asked for.

    Attributes
    ----------
    model : name of a segmenter, `default`, or the folder of a network
    scale : factor that brings nuclei to the size a network was trained on, or `auto`
    diameter : of a typical nucleus, micrometres; None: found by the segmenter
    view : the stack, averaged where it is large, by which a network's windows are chosen; None:
        the stack itself
    sample : of the stack, by which its scale and intensities are; None: the view
    """

    model: str = "default"
    scale: float | Literal["auto"] = "auto"
    diameter: float | None = None
    view: Pooled | None = None
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class Nuclei:
    """Segmented nuclei.

    Attributes
    ----------
    labels : (Z, Y, X) array, 1 to N
    method : what found them
    diameter : of a typical nucleus, micrometres; NaN where there are none
    notes : what is worth knowing: contrast turned round, treated as one plane
    probability : (N,) array, how sure the segmenter is of each; None where it cannot tell
    outlines : the network's own, as rays; None of other segmenters, and of single planes
    scale : voxels of the network per voxel of the stack (z, y, x); None of other segmenters
    threshold : of the probability, below which nothing is a nucleus; None of other segmenters
    """

    labels: NDArray[np.uint32]
    method: str
    diameter: float
    notes: tuple[str, ...] = ()
    probability: NDArray[np.float32] | None = None
    outlines: Outlines | None = None
    scale: tuple[float, float, float] | None = None
    threshold: float | None = None


Segmenter = Callable[[NDArray[np.float32], tuple[float, float, float], NucleiRequest], Nuclei]


def find_nuclei(
    image: Any,
    *,
    spacing: Any = None,
    model: str | Path = "default",
    scale: float | Literal["auto"] = "auto",
    diameter: float | None = None,
) -> Nuclei:
    """Segment nuclei and tell how; parameters as in `segment_nuclei`."""
    check_model(model)
    image = _in_order(image)
    steps = check_spacing(_spacing_of(image, spacing), np.ndim(image))
    if diameter is not None and not (np.isfinite(diameter) and diameter > 0):
        raise InputError(f"diameter must be above 0 micrometres, got {diameter}")
    pixels = np.asarray(image)
    if pixels.ndim == 3:
        check_axes(pixels.shape, steps)
    stack = pixels[None] if pixels.ndim == 2 else pixels
    check_pixels(stack)
    quiet = quieten(stack)
    prepared = prepare_stack(quiet.pixels, steps)
    survey = prepared.survey
    request = NucleiRequest(str(model), scale, diameter, survey.view, survey.sample)
    found = find_prepared(prepared.stack, steps, request)
    labels = found.labels.reshape(pixels.shape)
    notes = (*hot_notes({"": quiet.count}), *prepared.notes, *found.notes)
    return replace(found, labels=labels, notes=notes)


def find_prepared(
    stack: NDArray[np.float32], spacing: tuple[float, float, float], request: NucleiRequest
) -> Nuclei:
    """Segment a (Z, Y, X) stack that is finite and bright where nuclei are."""
    segment = SEGMENTERS.get(request.model, _network)
    planes = stack.shape[0]
    if planes >= MIN_PLANES:
        return segment(stack, spacing, request)
    # No network of ours knows single planes.
    plain = request if segment is _classical else _plain(request)
    flat = _classical(stack.mean(axis=0, keepdims=True), spacing, plain)
    labels = np.repeat(flat.labels, planes, axis=0)
    note = f"{planes} plane{'s' * (planes > 1)}: segmented in 2D, nuclei reach through all of them"
    if segment is not _classical:
        note += ", by the classical method, since the network needs more planes"
    return replace(flat, labels=labels, notes=(*flat.notes, note))


def segment_nuclei(
    image: Any,
    *,
    spacing: Any = None,
    model: str | Path = "default",
    scale: float | Literal["auto"] = "auto",
    diameter: float | None = None,
) -> NDArray[np.uint32]:
    """Segment nuclei.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) array of the nuclei's channel; numpy or DataArray
    spacing : voxel size (z, y, x), micrometres; a DataArray of our stores brings its own
    model : `classical`, `default` (the shipped network), or the folder of a StarDist model
    scale : for networks only: factor to the size they were trained on
    diameter : of a typical nucleus, micrometres; estimated where it is not given

    Returns
    -------
    array of the image's shape, labels 1 to N, 0 is background

    Examples
    --------
    >>> grid = np.indices((12, 40, 40)) * np.reshape([2.0, 0.6, 0.6], (3, 1, 1, 1))
    >>> away = np.linalg.norm(grid - np.reshape([12.0, 12.0, 12.0], (3, 1, 1, 1)), axis=0)
    >>> segment_nuclei(100 + 900.0 * (away < 5), spacing=(2.0, 0.6, 0.6)).max()
    np.uint32(1)
    """
    return find_nuclei(image, spacing=spacing, model=model, scale=scale, diameter=diameter).labels


def _classical(
    stack: NDArray[np.float32], spacing: tuple[float, float, float], request: NucleiRequest
) -> Nuclei:
    if request.scale != "auto":
        raise InputError(
            f"scale is for networks, got {request.scale} with model classical: give diameter, in "
            "micrometres, instead"
        )
    found = find_nuclei_classically(stack, spacing, diameter=request.diameter)
    return Nuclei(found.labels, "classical", found.diameter)


def _network(
    stack: NDArray[np.float32], spacing: tuple[float, float, float], request: NucleiRequest
) -> Nuclei:
    # TensorFlow takes seconds to load: only those pay who use it.
    from poolvox.organoid3d.learned import find_nuclei_by_network

    model = read_model(request.model)
    found = find_nuclei_by_network(
        stack,
        spacing,
        model,
        scale=request.scale,
        diameter=request.diameter,
        view=request.view,
        sample=request.sample,
    )
    if not found.labels.any():
        thin = _too_thin(stack, spacing, model, found.scale)
        if thin:
            plain = _classical(stack, spacing, _plain(request))
            return replace(plain, notes=(*found.notes, *plain.notes, thin))
    return Nuclei(
        found.labels,
        model.method,
        found.diameter,
        found.notes,
        found.probability,
        found.outlines,
        found.scale,
        model.prob,
    )


def _too_thin(
    stack: NDArray[np.float32],
    spacing: tuple[float, float, float],
    model: ModelFolder,
    scale: tuple[float, float, float],
) -> str:
    """Why a network cannot have found anything; empty where it could."""
    if model.diameter is None:
        return ""
    planes, needed = stack.shape[0], THIN * model.diameter[0] / scale[0]
    if planes >= needed:
        return ""
    return (
        f"{planes} planes of {spacing[0]:g} um are too thin for the network ({needed:.0f} planes): "
        "segmented by the classical method"
    )


# What `model` may name besides `default` and the folder of a network.
SEGMENTERS: dict[str, Segmenter] = {"classical": _classical}


def check_model(model: str | Path) -> ModelFolder | None:
    """Refuse a model that cannot be used, before any work; tell which network it is, if any."""
    return None if str(model) in SEGMENTERS else read_model(model)


def _plain(request: NucleiRequest) -> NucleiRequest:
    """What the classical method makes of a request to a network."""
    return NucleiRequest("classical", diameter=request.diameter)


def _in_order(image: Any) -> Any:
    """A DataArray with its axes as (z, y, x) or (y, x); anything else as it is."""
    dims = tuple(getattr(image, "dims", ()))
    if not dims:
        return image
    rest = [axis for axis in dims if axis not in ("z", "y", "x") and image.sizes[axis] > 1]
    if rest or not {"y", "x"} <= set(dims):
        raise InputError(
            f"the image has the axes {', '.join(map(str, dims))}: choose one channel and one time "
            "point, so that z, y and x are left"
        )
    plain = image.squeeze([axis for axis in dims if axis not in ("z", "y", "x")])
    return plain.transpose(*(axis for axis in ("z", "y", "x") if axis in plain.dims))


def _spacing_of(image: Any, spacing: Any) -> Any:
    if spacing is not None:
        return spacing
    stored: Any = getattr(image, "attrs", {}).get("spacing")
    return stored
