"""The one way to segment nuclei, whichever method does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.classical import find_nuclei_classically
from poolvox.organoid3d.models import ModelFolder, read_model
from poolvox.organoid3d.preprocess import check_spacing, prepare_stack
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
    model : its own part of the name: a folder of a network, or ""
    scale : factor that brings nuclei to the size a network was trained on, or `auto`
    diameter : of a typical nucleus, micrometres; None: found by the segmenter
    """

    model: str = ""
    scale: float | Literal["auto"] = "auto"
    diameter: float | None = None


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
    """

    labels: NDArray[np.uint32]
    method: str
    diameter: float
    notes: tuple[str, ...] = ()
    probability: NDArray[np.float32] | None = None
    outlines: Outlines | None = None
    scale: tuple[float, float, float] | None = None


Segmenter = Callable[[NDArray[np.float32], tuple[float, float, float], NucleiRequest], Nuclei]


def find_nuclei(
    image: Any,
    *,
    spacing: Any = None,
    model: str | Path = "classical",
    scale: float | Literal["auto"] = "auto",
    diameter: float | None = None,
) -> Nuclei:
    """Segment nuclei and tell how; parameters as in `segment_nuclei`."""
    segment, own = _choose(model)
    steps = check_spacing(_spacing_of(image, spacing), np.ndim(image))
    if diameter is not None and not (np.isfinite(diameter) and diameter > 0):
        raise InputError(f"diameter must be above 0 micrometres, got {diameter}")
    pixels = np.asarray(image)
    stack = pixels[None] if pixels.ndim == 2 else pixels
    prepared = prepare_stack(stack, steps)
    request = NucleiRequest(own, scale, diameter)
    planes = prepared.stack.shape[0]
    if planes >= MIN_PLANES:
        found = segment(prepared.stack, steps, request)
        return replace(found, notes=(*prepared.notes, *found.notes))
    # No network of ours knows single planes.
    flat = _classical(prepared.stack.mean(axis=0, keepdims=True), steps, _plain(request))
    labels = np.repeat(flat.labels, planes, axis=0).reshape(pixels.shape)
    note = f"{planes} plane{'s' * (planes > 1)}: segmented in 2D, nuclei reach through all of them"
    if segment is not _classical:
        note += ", by the classical method, since the network needs more planes"
    return replace(flat, labels=labels, notes=(*prepared.notes, *flat.notes, note))


def segment_nuclei(
    image: Any,
    *,
    spacing: Any = None,
    model: str | Path = "classical",
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
        stack, spacing, model, scale=request.scale, diameter=request.diameter
    )
    if not found.labels.any():
        thin = _too_thin(stack, spacing, model, found.scale)
        if thin:
            plain = _classical(stack, spacing, _plain(request))
            return replace(plain, notes=(*found.notes, *plain.notes, thin))
    return Nuclei(
        found.labels,
        f"network {model.path.name}, probability above {model.prob:.3g}, overlap {model.nms:.3g}",
        found.diameter,
        found.notes,
        found.probability,
        found.outlines,
        found.scale,
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


def _choose(model: str | Path) -> tuple[Segmenter, str]:
    if str(model) in SEGMENTERS:
        return SEGMENTERS[str(model)], ""
    read_model(model)
    return _network, str(model)


def _plain(request: NucleiRequest) -> NucleiRequest:
    """What the classical method makes of a request to a network."""
    return NucleiRequest(diameter=request.diameter)


def _spacing_of(image: Any, spacing: Any) -> Any:
    if spacing is not None:
        return spacing
    stored: Any = getattr(image, "attrs", {}).get("spacing")
    return stored
